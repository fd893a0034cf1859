//! Timers that move, and time-outs that are not needed.

use core::future::{Future, ready};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use flow_benches::{Bench, repeat};
use flow_rt::Handle;

use crate::Hosts;

const HOUR: Duration = Duration::from_secs(3600);
const STEP: Duration = Duration::from_micros(100);

pub(crate) fn rows(bench: &mut Bench, hosts: &Hosts) {
    // Outside of a task, where tokio does not count polls against a budget.
    let _context = hosts.workers.enter();
    re_arm_tokio(bench, hosts);
    re_arm_async_io(bench, "smol", &Handle::smol());
    re_arm_async_io(bench, "async-std", &Handle::async_std());
    timeout(bench, &hosts.on_workers);
}

fn re_arm_tokio(bench: &mut Bench, hosts: &Hosts) {
    // The clock is std's on both sides.
    #[allow(clippy::disallowed_methods)]
    let start = tokio::time::Instant::now() + HOUR;
    let mut timer = re_armed(&hosts.on_workers);
    let mut sleep = Box::pin(tokio::time::sleep_until(start));
    bench
        .row("re-arm a timer later, tokio")
        .instructions(10_000)
        .flow(|n| repeat(n, &mut timer))
        .peer("native reset", move |n| {
            repeat(n, |i| {
                sleep.as_mut().reset(start + later(i));
                poll(sleep.as_mut())
            })
        })
        .peer("new boxed sleep", |n| {
            repeat(n, |i| {
                let mut sleep = Box::pin(tokio::time::sleep_until(start + later(i)));
                poll(sleep.as_mut())
            })
        })
        .measure();
}

fn re_arm_async_io(bench: &mut Bench, host: &str, handle: &Handle) {
    #[allow(clippy::disallowed_methods)]
    let start = std::time::Instant::now() + HOUR;
    let mut timer = re_armed(handle);
    let mut native = async_io::Timer::at(start);
    bench
        .row(format!("re-arm a timer later, {host}"))
        .flow(|n| repeat(n, &mut timer))
        .peer("async-io set_at", |n| {
            repeat(n, |i| {
                native.set_at(start + later(i));
                poll(Pin::new(&mut native)).is_ready()
            })
        })
        .peer("new boxed timer", |n| {
            repeat(n, |i| {
                let mut timer = Box::pin(async_io::Timer::at(start + later(i)));
                poll(timer.as_mut()).is_ready()
            })
        })
        .measure();
}

/// One timer of a handle, moved to a later time and polled.
fn re_armed(handle: &Handle) -> impl FnMut(u64) -> bool {
    let start = handle.now() + HOUR;
    let mut timer = handle.timer(start);
    move |i| {
        timer.arm(start + later(i));
        poll(Pin::new(&mut timer)).is_ready()
    }
}

fn timeout(bench: &mut Bench, handle: &Handle) {
    bench
        .row("timeout of a ready future")
        .instructions(10_000)
        .flow(|n| repeat(n, |i| poll(pin!(handle.timeout(HOUR, ready(i))))))
        .peer("tokio", |n| {
            repeat(n, |i| poll(pin!(tokio::time::timeout(HOUR, ready(i)))))
        })
        .peer("async-std", |n| {
            repeat(n, |i| {
                poll(pin!(async_std::future::timeout(HOUR, ready(i))))
            })
        })
        .measure();
}

/// The time of the `i`th arming of a round.
fn later(i: u64) -> Duration {
    STEP * (i as u32 & 0x00ff_ffff)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
