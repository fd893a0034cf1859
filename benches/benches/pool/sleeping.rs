//! Ten thousand tasks at once that each wait for a millisecond.

use core::time::Duration;

use flow_benches::Bench;
use tokio::runtime::Runtime;

use crate::pool;
use crate::wave::{Host, Wave};

static WAVES: Wave = Wave::new();

const TASKS: u64 = 10_000;
const NAP: Duration = Duration::from_millis(1);

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    for host in [Host::Tokio(runtime), Host::Smol] {
        sleeping(bench, host);
    }
}

fn sleeping(bench: &mut Bench, host: Host<'_>) {
    let row = format!("1 ms of waiting, 10,000 slots, {}", host.name());
    if !bench.wants(&row) {
        return;
    }
    let on_tokio = matches!(host, Host::Tokio(_));
    let pool = pool(&host.handle(), TASKS as usize, TASKS as usize);
    bench
        .row(row)
        .batch(TASKS)
        .flow(|n| {
            host.waves(n, async || {
                WAVES.begin(TASKS);
                for _ in 0..TASKS {
                    let task = pool.submit(async move |_cx| nap(on_tokio).await);
                    task.detach().await.expect("the pool is open");
                }
                WAVES.all_arrived().await;
            })
        })
        .peer("spawn", |n| {
            host.waves(n, async || {
                WAVES.begin(TASKS);
                for _ in 0..TASKS {
                    host.spawn(nap(on_tokio));
                }
                WAVES.all_arrived().await;
            })
        })
        .measure();
}

#[allow(clippy::disallowed_methods)] // the host's own timers, on both sides
async fn nap(on_tokio: bool) {
    if on_tokio {
        tokio::time::sleep(NAP).await;
    } else {
        smol::Timer::after(NAP).await;
    }
    WAVES.arrive();
}
