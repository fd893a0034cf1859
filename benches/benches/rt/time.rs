//! Timers that move, and time-outs that are not needed.

use core::future::{Future, ready};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use flow_benches::{Bench, repeat};
use flow_rt::Handle;
use tokio::runtime::Builder;

use crate::Hosts;

const HOUR: Duration = Duration::from_secs(3600);
const STEP: Duration = Duration::from_micros(100);

pub(crate) fn rows(bench: &mut Bench, hosts: &Hosts) {
    // A runtime of its own: one that has had timers armed remembers when it wakes up next.
    let alone = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let handle = Handle::tokio(alone.handle().clone()).expect("it has timers");
    {
        // Entered, and outside of a task: tokio counts a task's polls against a budget.
        let _context = alone.enter();
        re_arm_tokio(bench, "tokio, the next one due", &handle);
        re_arm_and_fire(bench, &handle);
    }

    let _context = hosts.workers.enter();
    let half = hosts.on_workers.now() + HOUR / 2;
    let mut earlier = hosts.on_workers.timer(half);
    let _ = poll(Pin::new(&mut earlier));
    re_arm_tokio(bench, "tokio, others due before", &hosts.on_workers);
    drop(earlier);

    re_arm_async_io(bench, "smol", &Handle::smol());
    re_arm_async_io(bench, "async-std", &Handle::async_std());
    timeout(bench, &hosts.on_workers);
}

fn re_arm_tokio(bench: &mut Bench, case: &str, handle: &Handle) {
    // The clock is std's on both sides.
    #[allow(clippy::disallowed_methods)]
    let start = tokio::time::Instant::now() + HOUR;
    bench
        .row(format!("re-arm a timer later, {case}"))
        .instructions(10_000)
        .flow(|n| repeat(n, re_armed(handle)))
        .peer("native reset", move |n| {
            let mut sleep = Box::pin(tokio::time::sleep_until(start));
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

/// So few moves before each fire that every one of them is made.
fn re_arm_and_fire(bench: &mut Bench, handle: &Handle) {
    const MOVES: u64 = 16;
    // Before the runtime was made, which has fired nothing later as long as nobody drives it.
    let past = handle.now() - HOUR / 2;
    // The clock is std's on both sides.
    #[allow(clippy::disallowed_methods)]
    let host_past = tokio::time::Instant::now() - HOUR / 2;
    bench
        .row("re-arm a timer 16 times later and once to the past, tokio")
        .batch(MOVES + 1)
        .instructions(1_000)
        .flow(|n| {
            let start = past + 2 * HOUR;
            let mut timer = handle.timer(start);
            repeat(n, |_| {
                for i in 1..=MOVES {
                    timer.arm(start + later(i));
                    let _ = poll(Pin::new(&mut timer));
                }
                timer.arm(past);
                poll(Pin::new(&mut timer)).is_ready()
            })
        })
        .peer("native reset", |n| {
            let start = host_past + 2 * HOUR;
            let mut sleep = Box::pin(tokio::time::sleep_until(start));
            repeat(n, |_| {
                for i in 1..=MOVES {
                    sleep.as_mut().reset(start + later(i));
                    let _ = poll(sleep.as_mut());
                }
                sleep.as_mut().reset(host_past);
                poll(sleep.as_mut()).is_ready()
            })
        })
        .measure();
}

fn re_arm_async_io(bench: &mut Bench, host: &str, handle: &Handle) {
    #[allow(clippy::disallowed_methods)]
    let start = std::time::Instant::now() + HOUR;
    bench
        .row(format!("re-arm a timer later, {host}"))
        .flow(|n| repeat(n, re_armed(handle)))
        .peer("async-io set_at", |n| {
            let mut native = async_io::Timer::at(start);
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
