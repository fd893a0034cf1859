//! Closures that may block and are small, all submitted, then all awaited.

use core::time::Duration;

use flow_benches::Bench;
use tokio::runtime::Runtime;

use crate::pool;
use crate::wave::{Host, WAVE};

#[allow(clippy::disallowed_methods)] // the hosts are what is measured against
pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    let host = Host::Tokio(runtime);
    bench
        .row("blocking closures, all submitted, then all awaited, tokio")
        .batch(WAVE)
        .flow(flows(host))
        .peer("spawn_blocking", |n| {
            host.waves(n, async || {
                let mut tasks = Vec::with_capacity(WAVE as usize);
                for i in 0..WAVE {
                    tasks.push(runtime.spawn_blocking(move || i));
                }
                for task in tasks {
                    task.await.expect("no closure fails");
                }
            })
        })
        .peer("a call per closure on the pool", one_each(host))
        .measure();
    bench
        .row("blocking closures, all submitted, then all awaited, smol")
        .batch(WAVE)
        .flow(flows(Host::Smol))
        .peer("unblock", |n| {
            Host::Smol.waves(n, async || {
                let mut tasks = Vec::with_capacity(WAVE as usize);
                for i in 0..WAVE {
                    tasks.push(smol::unblock(move || i));
                }
                for task in tasks {
                    task.await;
                }
            })
        })
        .peer("a call per closure on the pool", one_each(Host::Smol))
        .measure();
    bench
        .row("one blocking closure at a time, tokio")
        .flow({
            let pool = pool(&host.handle(), crate::WORKERS, WAVE as usize);
            move |n| {
                host.waves(n, async || {
                    let value = pool.run_blocking(|_cx| 7).await;
                    value.expect("no closure fails");
                })
            }
        })
        .peer("spawn_blocking", |n| {
            host.waves(n, async || {
                let value = runtime.spawn_blocking(|| 7).await;
                value.expect("no closure fails");
            })
        })
        .measure();
}

fn flows(host: Host<'_>) -> impl FnMut(u64) -> Duration + '_ {
    let pool = pool(&host.handle(), crate::WORKERS, WAVE as usize);
    move |n| {
        host.waves(n, async || {
            let mut tasks = Vec::with_capacity(WAVE as usize);
            for i in 0..WAVE {
                let task = pool.submit_blocking(move |_cx| i);
                tasks.push(task.await.expect("the pool is open"));
            }
            for task in tasks {
                task.await.expect("no closure fails");
            }
        })
    }
}

/// What the pool did before it made one call for many: a task that awaits a call of its own.
fn one_each(host: Host<'_>) -> impl FnMut(u64) -> Duration + '_ {
    let handle = host.handle();
    let pool = pool(&handle, crate::WORKERS, WAVE as usize);
    move |n| {
        host.waves(n, async || {
            let mut tasks = Vec::with_capacity(WAVE as usize);
            for i in 0..WAVE {
                let handle = handle.clone();
                let task = pool.submit(async move |_cx| handle.spawn_blocking(move || i).await);
                tasks.push(task.await.expect("the pool is open"));
            }
            for task in tasks {
                let value = task.await.expect("no task fails");
                value.expect("no closure fails");
            }
        })
    }
}
