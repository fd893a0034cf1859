//! One bounded queue, from one thread and between tasks.

use core::future::Future;
use core::time::Duration;

use flow_benches::{Bench, repeat, timed};
use flow_stream::Channel;
use tokio::runtime::Runtime;

const CAPACITY: usize = 1024;
/// Items that go through a channel between tasks.
const ITEMS: u64 = 4096;

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    pairs(bench, runtime);
    bench
        .row("1:1, capacity 1024")
        .batch(ITEMS)
        .flow(|n| between(runtime, n, 1, ours))
        .peer("tokio", |n| between(runtime, n, 1, tokio_mpsc))
        .peer("async-channel", |n| between(runtime, n, 1, async_channel))
        .peer("flume", |n| between(runtime, n, 1, flume))
        .measure();
    bench
        .row("4:4, capacity 1024")
        .batch(ITEMS)
        .flow(|n| between(runtime, n, 4, ours))
        .peer("async-channel", |n| between(runtime, n, 4, async_channel))
        .peer("flume", |n| between(runtime, n, 4, flume))
        .measure();
}

fn pairs(bench: &mut Bench, runtime: &Runtime) {
    let (tx, rx) = Channel::bounded(CAPACITY).expect("a valid capacity");
    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(CAPACITY);
    let (async_tx, async_rx) = async_channel::bounded(CAPACITY);
    let (flume_tx, flume_rx) = flume::bounded(CAPACITY);
    bench
        .row("try_send and try_recv")
        .instructions(10_000)
        .flow(|n| repeat(n, |i| (tx.try_send(i), rx.try_recv())))
        .peer("tokio", |n| {
            repeat(n, |i| (tokio_tx.try_send(i), tokio_rx.try_recv()))
        })
        .peer("async-channel", |n| {
            repeat(n, |i| (async_tx.try_send(i), async_rx.try_recv()))
        })
        .peer("flume", |n| {
            repeat(n, |i| (flume_tx.try_send(i), flume_rx.try_recv()))
        })
        .measure();

    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(CAPACITY);
    bench
        .row("send and recv, one task")
        .flow(|n| alone(runtime, n, async |i| (tx.send(i).await, rx.recv().await)))
        .peer("tokio", |n| {
            alone(runtime, n, async |i| {
                (tokio_tx.send(i).await, tokio_rx.recv().await)
            })
        })
        .peer("async-channel", |n| {
            alone(runtime, n, async |i| {
                (async_tx.send(i).await, async_rx.recv().await)
            })
        })
        .peer("flume", |n| {
            alone(runtime, n, async |i| {
                (flume_tx.send_async(i).await, flume_rx.recv_async().await)
            })
        })
        .measure();
}

/// The same operation over and over, in the task of `block_on`.
fn alone<T>(runtime: &Runtime, n: u64, mut operation: impl AsyncFnMut(u64) -> T) -> Duration {
    timed(|| {
        runtime.block_on(async {
            for i in 0..n {
                core::hint::black_box(operation(i).await);
            }
        });
    })
}

/// A channel's ends: as many of each as there are tasks.
type Ends<S, R> = (Vec<S>, Vec<R>);

trait Tx: Send + 'static {
    fn put(&self, item: u64) -> impl Future<Output = ()> + Send;
}

trait Rx: Send + 'static {
    /// `None` once the channel is closed and empty.
    fn take(&mut self) -> impl Future<Output = Option<u64>> + Send;
}

macro_rules! ends {
    ($tx:ty, $send:ident, $rx:ty, $recv:ident $(, $ok:ident)?) => {
        impl Tx for $tx {
            #[inline]
            async fn put(&self, item: u64) {
                self.$send(item).await.expect("there are receivers");
            }
        }
        impl Rx for $rx {
            #[inline]
            async fn take(&mut self) -> Option<u64> {
                self.$recv().await$(.$ok())?
            }
        }
    };
}

ends!(
    flow_stream::Sender<u64>,
    send,
    flow_stream::Receiver<u64>,
    recv,
    ok
);
ends!(
    tokio::sync::mpsc::Sender<u64>,
    send,
    tokio::sync::mpsc::Receiver<u64>,
    recv
);
ends!(
    async_channel::Sender<u64>,
    send,
    async_channel::Receiver<u64>,
    recv,
    ok
);
ends!(
    flume::Sender<u64>,
    send_async,
    flume::Receiver<u64>,
    recv_async,
    ok
);

fn ours(tasks: usize) -> Ends<flow_stream::Sender<u64>, flow_stream::Receiver<u64>> {
    let (tx, rx) = Channel::bounded(CAPACITY).expect("a valid capacity");
    (vec![tx; tasks], vec![rx; tasks])
}

fn tokio_mpsc(
    tasks: usize,
) -> Ends<tokio::sync::mpsc::Sender<u64>, tokio::sync::mpsc::Receiver<u64>> {
    let (tx, rx) = tokio::sync::mpsc::channel(CAPACITY);
    (vec![tx; tasks], vec![rx])
}

fn async_channel(tasks: usize) -> Ends<async_channel::Sender<u64>, async_channel::Receiver<u64>> {
    let (tx, rx) = async_channel::bounded(CAPACITY);
    (vec![tx; tasks], vec![rx; tasks])
}

fn flume(tasks: usize) -> Ends<flume::Sender<u64>, flume::Receiver<u64>> {
    let (tx, rx) = flume::bounded(CAPACITY);
    (vec![tx; tasks], vec![rx; tasks])
}

/// `n` batches of items from so many tasks to as many others, through one channel.
#[allow(clippy::disallowed_methods)] // the same host for every contender
fn between<S: Tx, R: Rx>(
    runtime: &Runtime,
    n: u64,
    tasks: usize,
    open: fn(usize) -> Ends<S, R>,
) -> Duration {
    let share = n * ITEMS / tasks as u64;
    let (senders, receivers) = open(tasks);
    timed(|| {
        runtime.block_on(async {
            let consumers: Vec<_> = receivers.into_iter().map(consume).collect();
            for tx in senders {
                tokio::spawn(async move {
                    for i in 0..share {
                        tx.put(i).await;
                    }
                });
            }
            let mut received = 0;
            for consumer in consumers {
                received += consumer.await.expect("a consumer panicked");
            }
            assert_eq!(received, share * tasks as u64, "items were lost");
        });
    })
}

#[allow(clippy::disallowed_methods)] // as above
fn consume<R: Rx>(mut rx: R) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let mut received = 0;
        while rx.take().await.is_some() {
            received += 1;
        }
        received
    })
}
