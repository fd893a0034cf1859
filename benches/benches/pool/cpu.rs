//! Tasks that compute for ten microseconds: how much of the machine the pool leaves to them.

use core::hint::black_box;
use core::time::Duration;
use std::thread;
use std::time::Instant;

use flow_benches::{Bench, timed};
use tokio::runtime::Runtime;

use crate::pool;
use crate::wave::{Host, WAVE, Wave};

static WAVES: Wave = Wave::new();

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    for host in [Host::Tokio(runtime), Host::Smol] {
        computing(bench, host);
    }
}

fn computing(bench: &mut Bench, host: Host<'_>) {
    let row = format!("10 us of computing, 2 slots, {}", host.name());
    if !bench.wants(&row) {
        return;
    }
    let turns = turns_in(Duration::from_micros(10));
    // As many as the host has.
    let (threads, alone) = match host {
        Host::Tokio(_) => (crate::WORKERS as u64, "two threads and no pool"),
        Host::Smol => (1, "a thread and no pool"),
    };
    let pool = pool(&host.handle(), crate::WORKERS, WAVE as usize);
    bench
        .row(row)
        .batch(WAVE)
        .flow(|n| {
            host.waves(n, async || {
                WAVES.begin(WAVE);
                for _ in 0..WAVE {
                    let task = pool.submit(async move |_cx| {
                        compute(turns);
                        WAVES.arrive();
                    });
                    task.detach().await.expect("the pool is open");
                }
                WAVES.all_arrived().await;
            })
        })
        .peer("spawn", |n| {
            host.waves(n, async || {
                WAVES.begin(WAVE);
                for _ in 0..WAVE {
                    host.spawn(async move {
                        compute(turns);
                        WAVES.arrive();
                    });
                }
                WAVES.all_arrived().await;
            })
        })
        .peer(alone, |n| {
            timed(|| {
                thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            for _ in 0..n * WAVE / threads {
                                compute(turns);
                            }
                        });
                    }
                });
            })
        })
        .measure();
}

/// Turns, not time: a thread that was off its core has not computed.
fn compute(turns: u64) {
    let mut x = black_box(1_u64);
    for _ in 0..turns {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

#[allow(clippy::disallowed_methods)] // it measures real time
fn turns_in(span: Duration) -> u64 {
    const TRIAL: u64 = 1_000_000;
    let fastest = (0..10).map(|_| {
        let start = Instant::now();
        compute(TRIAL);
        start.elapsed()
    });
    let fastest = fastest.min().unwrap_or(span);
    (u128::from(TRIAL) * span.as_nanos() / fastest.as_nanos().max(1)) as u64
}
