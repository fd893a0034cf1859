//! A single task for a pool that sleeps: how long until its first poll.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use flow_benches::Bench;
use tokio::runtime::Runtime;

use crate::pool;
use crate::wave::{Host, Wave};

static WAVES: Wave = Wave::new();
static POLLED: AtomicU64 = AtomicU64::new(0);

/// Long enough for the host's threads to fall asleep.
const CALM: Duration = Duration::from_micros(300);

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    for host in [Host::Tokio(runtime), Host::Smol] {
        idle(bench, host);
    }
}

#[allow(clippy::disallowed_methods)] // it measures real time
fn idle(bench: &mut Bench, host: Host<'_>) {
    let row = format!("idle, to the first poll, {}", host.name());
    if !bench.wants(&row) {
        return;
    }
    let pool = pool(&host.handle(), crate::WORKERS, 16);
    let origin = Instant::now();
    let first_polls = |n, start: &dyn Fn()| {
        let mut waited = Duration::ZERO;
        for _ in 0..n {
            thread::sleep(CALM);
            WAVES.begin(1);
            let before = origin.elapsed();
            start();
            host.block_on(WAVES.all_arrived());
            let polled = Duration::from_nanos(POLLED.load(Ordering::Relaxed));
            waited += polled.saturating_sub(before);
        }
        waited
    };
    let polled = move || {
        let now = origin.elapsed().as_nanos() as u64;
        POLLED.store(now, Ordering::Relaxed);
        WAVES.arrive();
    };
    bench
        .row(row)
        .flow(|n| {
            first_polls(n, &|| {
                let task = pool.try_submit(async move |_cx| polled());
                task.expect("there is room").detach();
            })
        })
        .peer("spawn", |n| {
            first_polls(n, &|| host.spawn(async move { polled() }))
        })
        .measure();
}
