//! Tasks with a value each: all submitted, then all awaited.

use flow_benches::Bench;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::pool;
use crate::wave::{Host, WAVE};

#[allow(clippy::disallowed_methods)] // the hosts are what is measured against
pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    on_tokio(bench, runtime);
    on_smol(bench);
}

fn flows(host: Host<'_>) -> impl FnMut(u64) -> core::time::Duration + '_ {
    let pool = pool(&host.handle(), crate::WORKERS, WAVE as usize);
    move |n| {
        host.waves(n, async || {
            let mut tasks = Vec::with_capacity(WAVE as usize);
            for i in 0..WAVE {
                let task = pool.submit(async move |_cx| i);
                tasks.push(task.await.expect("the pool is open"));
            }
            for task in tasks {
                task.await.expect("no task fails");
            }
        })
    }
}

#[allow(clippy::disallowed_methods)] // as above
fn on_tokio(bench: &mut Bench, runtime: &Runtime) {
    let host = Host::Tokio(runtime);
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(crate::WORKERS)
        .build()
        .expect("threads can be started");
    let threads = threadpool::ThreadPool::new(crate::WORKERS);
    bench
        .row("with handle, all submitted, then all awaited, tokio")
        .batch(WAVE)
        .flow(flows(host))
        .peer("spawn and join", |n| {
            host.waves(n, async || {
                let mut tasks = Vec::with_capacity(WAVE as usize);
                for i in 0..WAVE {
                    tasks.push(tokio::spawn(async move { i }));
                }
                for task in tasks {
                    task.await.expect("no task fails");
                }
            })
        })
        .peer("JoinSet", |n| {
            host.waves(n, async || {
                let mut tasks = JoinSet::new();
                for i in 0..WAVE {
                    tasks.spawn(async move { i });
                }
                while let Some(task) = tasks.join_next().await {
                    task.expect("no task fails");
                }
            })
        })
        .peer("rayon and oneshot", |n| {
            host.waves(n, async || with_oneshot(|task| rayon.spawn(task)).await)
        })
        .peer("threadpool and oneshot", |n| {
            host.waves(n, async || {
                with_oneshot(|task| threads.execute(task)).await;
            })
        })
        .measure();
}

#[allow(clippy::disallowed_methods)] // as above
fn on_smol(bench: &mut Bench) {
    bench
        .row("with handle, all submitted, then all awaited, smol")
        .batch(WAVE)
        .flow(flows(Host::Smol))
        .peer("spawn and join", |n| {
            Host::Smol.waves(n, async || {
                let mut tasks = Vec::with_capacity(WAVE as usize);
                for i in 0..WAVE {
                    tasks.push(smol::spawn(async move { i }));
                }
                for task in tasks {
                    task.await;
                }
            })
        })
        .measure();
}

/// Pools whose tasks have no values are given tasks that send them.
async fn with_oneshot(execute: impl Fn(Box<dyn FnOnce() + Send>)) {
    let mut values = Vec::with_capacity(WAVE as usize);
    for i in 0..WAVE {
        let (give, value) = tokio::sync::oneshot::channel();
        execute(Box::new(move || {
            let _ = give.send(i);
        }));
        values.push(value);
    }
    for value in values {
        value.await.expect("no task fails");
    }
}
