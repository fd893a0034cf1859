//! One item to many, one value to many, and one item to one.

use core::future::Future;
use core::time::Duration;

use flow_benches::{Bench, repeat, timed};
use flow_stream::broadcast::{self, OnLag};
use flow_stream::{oneshot, watch};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast as tokio_broadcast, oneshot as tokio_oneshot, watch as tokio_watch};

use crate::host::Host;

const RECEIVERS: usize = 4;
/// Items that go through a broadcast between tasks; it holds all of them, so nobody lags.
const ITEMS: u64 = 4096;
/// Fewer than that, where senders wait for the slowest receiver.
const CAPACITY: usize = 1024;

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    broadcast_from_one_thread(bench);
    watch_from_one_thread(bench);
    for (host, on) in [(Host::Tokio(runtime), ""), (Host::smol(2), ", on smol")] {
        broadcasts(bench, host, on);
        watches(bench, host, on);
    }
    watched_by_many(bench);
    bench
        .row("oneshot, made, sent and received")
        .instructions(1_000)
        .flow(|n| {
            repeat(n, |i| {
                let (tx, mut rx) = oneshot::channel();
                (tx.send(i).is_ok(), rx.try_recv())
            })
        })
        .peer("tokio", |n| {
            repeat(n, |i| {
                let (tx, mut rx) = tokio_oneshot::channel();
                (tx.send(i).is_ok(), rx.try_recv())
            })
        })
        .measure();
    bench
        .row("oneshot, awaited before it is sent")
        .flow(|n| {
            awaited(runtime, n, || {
                let (tx, rx) = oneshot::channel();
                (async move { rx.await.is_ok() }, move || tx.send(1).is_ok())
            })
        })
        .peer("tokio", |n| {
            awaited(runtime, n, || {
                let (tx, rx) = tokio_oneshot::channel();
                (async move { rx.await.is_ok() }, move || tx.send(1).is_ok())
            })
        })
        .measure();
}

fn broadcast_from_one_thread(bench: &mut Bench) {
    let (tx, rx) = lossy(CAPACITY);
    let mut receivers = vec![rx; RECEIVERS];
    let (tokio_tx, tokio_rx) = tokio_broadcast::channel(CAPACITY);
    let mut tokio_rx = vec![tokio_rx];
    tokio_rx.resize_with(RECEIVERS, || tokio_tx.subscribe());
    let (async_tx, async_rx) = async_broadcast::broadcast(CAPACITY);
    let mut async_rx = vec![async_rx; RECEIVERS];
    bench
        .row("broadcast to 4, try_send and try_recv")
        .instructions(10_000)
        .flow(|n| {
            repeat(n, |i| {
                let sent = tx.try_send(i).is_ok();
                let received = receivers
                    .iter_mut()
                    .filter_map(|rx| rx.try_recv().ok())
                    .sum::<u64>();
                (sent, received)
            })
        })
        .peer("tokio", |n| {
            repeat(n, |i| {
                let sent = tokio_tx.send(i).is_ok();
                let received = tokio_rx
                    .iter_mut()
                    .filter_map(|rx| rx.try_recv().ok())
                    .sum::<u64>();
                (sent, received)
            })
        })
        .peer("async-broadcast", |n| {
            repeat(n, |i| {
                let sent = async_tx.try_broadcast(i).is_ok();
                let received = async_rx
                    .iter_mut()
                    .filter_map(|rx| rx.try_recv().ok())
                    .sum::<u64>();
                (sent, received)
            })
        })
        .measure();
}

fn broadcasts(bench: &mut Bench, host: Host<'_>, on: &str) {
    bench
        .row(format!("broadcast to 4, nobody lags{on}"))
        .batch(ITEMS)
        .flow(|n| rounds(host, n, || lossy(ITEMS as usize)))
        .peer("tokio", |n| {
            rounds(host, n, || tokio_broadcast::channel(ITEMS as usize))
        })
        .peer("async-broadcast", |n| {
            rounds(host, n, || async_broadcast::broadcast(ITEMS as usize))
        })
        .measure();
    bench
        .row(format!("broadcast to 4, capacity 1024, senders wait{on}"))
        .batch(ITEMS)
        .flow(|n| {
            rounds(host, n, || {
                broadcast::channel(CAPACITY).expect("a valid capacity")
            })
        })
        .peer("async-broadcast", |n| {
            rounds(host, n, || async_broadcast::broadcast(CAPACITY))
        })
        .measure();
}

fn lossy(capacity: usize) -> (broadcast::Sender<u64>, broadcast::Receiver<u64>) {
    let builder = broadcast::builder().on_lag(OnLag::DropOldest);
    builder
        .capacity(capacity)
        .build()
        .expect("a valid capacity")
}

trait Tx: Send + 'static {
    fn put(&self, item: u64) -> impl Future<Output = bool> + Send;
}

trait Rx: Send + Sized + 'static {
    fn another(&self) -> Self;
    fn take(&mut self) -> impl Future<Output = bool> + Send;
}

impl Tx for broadcast::Sender<u64> {
    async fn put(&self, item: u64) -> bool {
        self.send(item).await.is_ok()
    }
}

impl Rx for broadcast::Receiver<u64> {
    fn another(&self) -> Self {
        self.subscribe()
    }

    async fn take(&mut self) -> bool {
        self.recv().await.is_ok()
    }
}

impl Tx for tokio_broadcast::Sender<u64> {
    async fn put(&self, item: u64) -> bool {
        self.send(item).is_ok()
    }
}

impl Rx for tokio_broadcast::Receiver<u64> {
    fn another(&self) -> Self {
        self.resubscribe()
    }

    async fn take(&mut self) -> bool {
        self.recv().await.is_ok()
    }
}

impl Tx for async_broadcast::Sender<u64> {
    async fn put(&self, item: u64) -> bool {
        self.broadcast_direct(item).await.is_ok()
    }
}

impl Rx for async_broadcast::Receiver<u64> {
    fn another(&self) -> Self {
        self.new_receiver()
    }

    async fn take(&mut self) -> bool {
        self.recv_direct().await.is_ok()
    }
}

/// `n` rounds: a broadcast, a task that sends the items and one for each receiver.
fn rounds<S: Tx, R: Rx>(host: Host<'_>, n: u64, open: impl Fn() -> (S, R)) -> Duration {
    let mut all = Duration::ZERO;
    for _ in 0..n {
        let (tx, rx) = open();
        let mut receivers: Vec<_> = (1..RECEIVERS).map(|_| rx.another()).collect();
        receivers.push(rx);
        // The memory of the broadcast is not what is measured.
        all += timed(|| {
            host.block_on(async {
                let consumers: Vec<_> = receivers
                    .into_iter()
                    .map(|mut rx| {
                        host.spawn(async move {
                            let mut received = 0;
                            while rx.take().await {
                                received += 1;
                            }
                            received
                        })
                    })
                    .collect();
                let producer = host.spawn(async move {
                    for i in 0..ITEMS {
                        assert!(tx.put(i).await, "there are receivers");
                    }
                });
                for consumer in consumers {
                    let received: u64 = consumer.join().await;
                    assert_eq!(received, ITEMS, "items were lost");
                }
                producer.join().await;
            });
        });
    }
    all
}

fn watch_from_one_thread(bench: &mut Bench) {
    let (tx, rx) = watch::channel(0);
    let (tokio_tx, tokio_rx) = tokio_watch::channel(0);
    bench
        .row("watch, send")
        .instructions(10_000)
        .flow(|n| repeat(n, |i| tx.send(i).is_ok()))
        .peer("tokio", |n| repeat(n, |i| tokio_tx.send(i).is_ok()))
        .measure();
    bench
        .row("watch, borrow")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| *rx.borrow()))
        .peer("tokio", |n| repeat(n, |_| *tokio_rx.borrow()))
        .measure();
}

fn watches(bench: &mut Bench, host: Host<'_>, on: &str) {
    let (tx, mut rx) = watch::channel(0);
    let (tokio_tx, mut tokio_rx) = tokio_watch::channel(0);
    bench
        .row(format!("watch, send and changed, one task{on}"))
        .flow(|n| {
            host.alone(n, async |i| {
                (tx.send(i).is_ok(), rx.changed().await.is_ok(), *rx.borrow())
            })
        })
        .peer("tokio", |n| {
            host.alone(n, async |i| {
                let sent = tokio_tx.send(i).is_ok();
                (sent, tokio_rx.changed().await.is_ok(), *tokio_rx.borrow())
            })
        })
        .measure();
}

fn watched_by_many(bench: &mut Bench) {
    bench
        .row("watch, 4 tasks wait for each value")
        .batch(ITEMS / 16)
        .flow(|n| {
            let (tx, rx) = watch::channel(0);
            let watcher = |mut rx: watch::Receiver<u64>| async move {
                while rx.changed().await.is_ok() {}
                *rx.borrow()
            };
            let watchers = (0..RECEIVERS).map(|_| watcher(rx.clone())).collect();
            watched(n, watchers, move |i| {
                tx.send_replace(i);
            })
        })
        .peer("tokio", |n| {
            let (tx, rx) = tokio_watch::channel(0);
            let watcher = |mut rx: tokio_watch::Receiver<u64>| async move {
                while rx.changed().await.is_ok() {}
                *rx.borrow()
            };
            let watchers = (0..RECEIVERS).map(|_| watcher(rx.clone())).collect();
            watched(n, watchers, move |i| {
                tx.send_replace(i);
            })
        })
        .measure();
}

/// Sends `n` batches of values and lets the watchers run after each value, on one thread, so that
/// they wait again before the next.
#[allow(clippy::disallowed_methods)] // as above
fn watched<F>(n: u64, watchers: Vec<F>, send: impl Fn(u64)) -> Duration
where
    F: Future<Output = u64> + 'static,
{
    let local = tokio::task::LocalSet::new();
    let single = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without threads");
    let last = n * (ITEMS / 16);
    timed(|| {
        local.block_on(&single, async {
            let watchers: Vec<_> = watchers.into_iter().map(tokio::task::spawn_local).collect();
            tokio::task::yield_now().await;
            for i in 1..=last {
                send(i);
                tokio::task::yield_now().await;
            }
            drop(send);
            for watcher in watchers {
                assert_eq!(watcher.await.expect("a watcher panicked"), last);
            }
        });
    })
}

/// A receiver that waits in one half of a task, and the send in the other.
fn awaited<F, S>(runtime: &Runtime, n: u64, open: impl Fn() -> (F, S)) -> Duration
where
    F: Future<Output = bool>,
    S: FnOnce() -> bool,
{
    timed(|| {
        runtime.block_on(async {
            for _ in 0..n {
                let (received, send) = open();
                let send = async { send() };
                let both = futures_util::future::join(received, send).await;
                assert_eq!(both, (true, true));
            }
        });
    })
}
