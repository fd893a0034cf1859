//! Empty tasks that nobody waits for one by one.

use core::future::Future;
use core::pin::Pin;

use flow_benches::Bench;
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use crate::pool;
use crate::wave::{Host, WAVE, Wave};

static WAVES: Wave = Wave::new();

const PRODUCERS: u64 = 4;

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    for host in [Host::Tokio(runtime), Host::Smol] {
        for slots in [2, 64] {
            fire(bench, host, slots);
        }
        producers(bench, host);
    }
}

fn fire(bench: &mut Bench, host: Host<'_>, slots: usize) {
    let row = format!("fire and forget, {slots} slots, {}", host.name());
    if !bench.wants(&row) {
        return;
    }
    let pool = pool(&host.handle(), slots, WAVE as usize);
    let channel = Channel::start(host, slots);
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(crate::WORKERS)
        .build()
        .expect("threads can be started");
    let threads = threadpool::ThreadPool::new(crate::WORKERS);
    let row = bench
        .row(row)
        .batch(WAVE)
        .flow(|n| {
            host.waves(n, async || {
                WAVES.begin(WAVE);
                for _ in 0..WAVE {
                    let task = pool.submit(async |_cx| WAVES.arrive());
                    task.detach().await.expect("the pool is open");
                }
                WAVES.all_arrived().await;
            })
        })
        .peer("spawn", |n| {
            host.waves(n, async || {
                WAVES.begin(WAVE);
                for _ in 0..WAVE {
                    host.spawn(async { WAVES.arrive() });
                }
                WAVES.all_arrived().await;
            })
        })
        .peer("async-channel", |n| {
            host.waves(n, async || {
                WAVES.begin(WAVE);
                for _ in 0..WAVE {
                    channel.send(async { WAVES.arrive() }).await;
                }
                WAVES.all_arrived().await;
            })
        })
        .peer("rayon", |n| {
            host.waves(n, async || {
                WAVES.begin(WAVE);
                for _ in 0..WAVE {
                    rayon.spawn(|| WAVES.arrive());
                }
                WAVES.all_arrived().await;
            })
        })
        .peer("threadpool", |n| {
            host.waves(n, async || {
                WAVES.begin(WAVE);
                for _ in 0..WAVE {
                    threads.execute(|| WAVES.arrive());
                }
                WAVES.all_arrived().await;
            })
        });
    // It has as many slots, and two threads of its own; once is enough.
    if matches!(host, Host::Tokio(_)) {
        row.goflow(&format!("pool, {slots}")).measure();
    } else {
        row.measure();
    }
}

/// The same from four tasks of the host's, beside one.
fn producers(bench: &mut Bench, host: Host<'_>) {
    let row = format!("fire and forget, 4 producers, {}", host.name());
    if !bench.wants(&row) {
        return;
    }
    let pool = &pool(&host.handle(), crate::WORKERS, WAVE as usize);
    let wave = |producers| async move {
        WAVES.begin(WAVE);
        let share = WAVE / producers;
        join_all((0..producers).map(|_| {
            let pool = pool.clone();
            host.handle().spawn(async move {
                for _ in 0..share {
                    let task = pool.submit(async |_cx| WAVES.arrive());
                    task.detach().await.expect("the pool is open");
                }
            })
        }))
        .await;
        WAVES.all_arrived().await;
    };
    bench
        .row(row)
        .batch(WAVE)
        .flow(|n| host.waves(n, async || wave(PRODUCERS).await))
        .peer("one producer", |n| host.waves(n, async || wave(1).await))
        .measure();
}

/// Boxed futures in a bounded channel, and tasks that receive and await them.
struct Channel(async_channel::Sender<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Channel {
    fn start(host: Host<'_>, workers: usize) -> Self {
        let (sender, receiver) = async_channel::bounded(WAVE as usize);
        for _ in 0..workers {
            let receiver = receiver.clone();
            host.spawn(async move {
                while let Ok(task) = receiver.recv().await {
                    let task: Pin<Box<dyn Future<Output = ()> + Send>> = task;
                    task.await;
                }
            });
        }
        Self(sender)
    }

    async fn send(&self, task: impl Future<Output = ()> + Send + 'static) {
        let sent = self.0.send(Box::pin(task)).await;
        sent.expect("the workers are there");
    }
}
