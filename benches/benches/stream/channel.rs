//! One bounded queue, from one thread and between tasks.

use core::future::Future;
use core::time::Duration;

use flow_benches::{Bench, beside, on_threads, repeat, timed};
use flow_rt::OnFull;
use flow_stream::Channel;
use tokio::runtime::Runtime;

const CAPACITY: usize = 1024;
/// Few enough to be full most of the time.
const SMALL: usize = 64;
/// Items that go through a channel between tasks.
const ITEMS: u64 = 4096;
/// Items that a receiver takes at once.
const BATCH: usize = 256;

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    pairs(bench, runtime);
    let tokio = Host::Tokio(runtime);
    topologies(bench, tokio, "");
    beside_a_neighbour(bench, tokio);
    let go = Topology {
        host: tokio,
        senders: 4,
        receivers: 1,
        capacity: CAPACITY,
    };
    bench
        .row("4 senders, recv_many of 256")
        .batch(ITEMS)
        .flow(|n| go.run(n, |capacity, ends| batches(ours_alone(capacity, ends))))
        .peer("tokio", |n| {
            go.run(n, |capacity, ends| batches(tokio_mpsc(capacity, ends)))
        })
        .measure();
    always_full(bench);
    topologies(bench, Host::smol(), ", on smol");
}

/// So many to so many, between the tasks of one host.
fn topologies(bench: &mut Bench, host: Host<'_>, on: &str) {
    for (senders, capacity) in [(1, CAPACITY), (4, CAPACITY), (4, SMALL)] {
        let go = Topology {
            host,
            senders,
            receivers: 1,
            capacity,
        };
        bench
            .row(format!(
                "{senders}:1, capacity {capacity}, single consumer{on}"
            ))
            .batch(ITEMS)
            .flow(|n| go.run(n, ours_alone))
            .peer("tokio", |n| go.run(n, tokio_mpsc))
            .peer("async-channel", |n| go.run(n, async_channel))
            .peer("flume", |n| go.run(n, flume))
            .peer("tachyonix", |n| go.run(n, tachyonix))
            .peer("kanal", |n| go.run(n, kanal))
            .measure();
        bench
            .row(format!("{senders}:1, capacity {capacity}{on}"))
            .batch(ITEMS)
            .flow(|n| go.run(n, ours))
            .peer("tokio", |n| go.run(n, tokio_mpsc))
            .peer("async-channel", |n| go.run(n, async_channel))
            .measure();
    }
    for capacity in [CAPACITY, SMALL] {
        let go = Topology {
            host,
            senders: 4,
            receivers: 4,
            capacity,
        };
        bench
            .row(format!("4:4, capacity {capacity}{on}"))
            .batch(ITEMS)
            .flow(|n| go.run(n, ours))
            .peer("async-channel", |n| go.run(n, async_channel))
            .peer("flume", |n| go.run(n, flume))
            .peer("kanal", |n| go.run(n, kanal))
            .measure();
    }
}

/// As above, while a thread that has nothing to do with it keeps one core busy.
fn beside_a_neighbour(bench: &mut Bench, host: Host<'_>) {
    for (senders, receivers) in [(1, 1), (4, 1), (4, 4)] {
        for capacity in [CAPACITY, SMALL] {
            let go = Topology {
                host,
                senders,
                receivers,
                capacity,
            };
            bench
                .row(format!(
                    "{senders}:{receivers}, capacity {capacity}, one core busy"
                ))
                .batch(ITEMS)
                .flow(|n| one_core_busy(|| go.run(n, ours)))
                .peer("async-channel", |n| {
                    one_core_busy(|| go.run(n, async_channel))
                })
                .measure();
        }
    }
}

/// What `run` measures while another thread spins.
fn one_core_busy(run: impl FnOnce() -> Duration) -> Duration {
    beside(core::hint::spin_loop, run)
}

/// A channel that nobody receives from and whose oldest item gives way.
fn always_full(bench: &mut Bench) {
    let (tx, _rx) = Channel::builder()
        .capacity(CAPACITY)
        .on_full(OnFull::DropOldest)
        .build()
        .expect("valid");
    let (mut peer, _peer_rx) = async_broadcast::broadcast(CAPACITY);
    peer.set_overflow(true);
    let (tokio_tx, _tokio_rx) = tokio::sync::broadcast::channel(CAPACITY);
    for (threads, goflow) in [(1, "drop oldest"), (2, "drop oldest, 2")] {
        bench
            .row(format!("drop oldest when full, {threads} thread(s)"))
            .flow(|n| on_threads(threads, n, |i| drop(tx.try_send(i))))
            .peer("async-broadcast", |n| {
                on_threads(threads, n, |i| peer.try_broadcast(i))
            })
            .peer("tokio broadcast", |n| {
                on_threads(threads, n, |i| drop(tokio_tx.send(i)))
            })
            .goflow(goflow)
            .measure();
    }
}

fn pairs(bench: &mut Bench, runtime: &Runtime) {
    let (tx, rx) = Channel::bounded(CAPACITY).expect("a valid capacity");
    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(CAPACITY);
    let (async_tx, async_rx) = async_channel::bounded(CAPACITY);
    let (flume_tx, flume_rx) = flume::bounded(CAPACITY);
    let (tachyonix_tx, mut tachyonix_rx) = tachyonix::channel(CAPACITY);
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
        .peer("tachyonix", |n| {
            repeat(n, |i| (tachyonix_tx.try_send(i), tachyonix_rx.try_recv()))
        })
        .measure();

    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(CAPACITY);
    let (tachyonix_tx, mut tachyonix_rx) = tachyonix::channel(CAPACITY);
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
        .peer("tachyonix", |n| {
            alone(runtime, n, async |i| {
                (tachyonix_tx.send(i).await, tachyonix_rx.recv().await)
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
    /// How many items came; `None` once the channel is closed and empty.
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
                self.$recv().await$(.$ok())?.map(|_| 1)
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

ends!(
    tachyonix::Sender<u64>,
    send,
    tachyonix::Receiver<u64>,
    recv,
    ok
);
ends!(
    kanal::AsyncSender<u64>,
    send,
    kanal::AsyncReceiver<u64>,
    recv,
    ok
);

impl Rx for flow_stream::SoleReceiver<u64> {
    #[inline]
    async fn take(&mut self) -> Option<u64> {
        self.recv().await.ok().map(|_| 1)
    }
}

/// A receiver that takes what is there.
struct Batches<R>(R, Vec<u64>);

fn batches<S, R>((senders, receivers): Ends<S, R>) -> Ends<S, Batches<R>> {
    let with_room = |rx| Batches(rx, Vec::with_capacity(BATCH));
    (senders, receivers.into_iter().map(with_room).collect())
}

impl Rx for Batches<flow_stream::SoleReceiver<u64>> {
    async fn take(&mut self) -> Option<u64> {
        self.1.clear();
        let taken = self.0.recv_many(&mut self.1, BATCH).await;
        (taken > 0).then_some(taken as u64)
    }
}

impl Rx for Batches<tokio::sync::mpsc::Receiver<u64>> {
    async fn take(&mut self) -> Option<u64> {
        self.1.clear();
        let taken = self.0.recv_many(&mut self.1, BATCH).await;
        (taken > 0).then_some(taken as u64)
    }
}

fn ours(
    capacity: usize,
    (senders, receivers): (usize, usize),
) -> Ends<flow_stream::Sender<u64>, flow_stream::Receiver<u64>> {
    let (tx, rx) = Channel::bounded(capacity).expect("a valid capacity");
    (vec![tx; senders], vec![rx; receivers])
}

fn ours_alone(
    capacity: usize,
    (senders, _): (usize, usize),
) -> Ends<flow_stream::Sender<u64>, flow_stream::SoleReceiver<u64>> {
    let channel = Channel::builder().capacity(capacity);
    let (tx, rx) = channel.build_single_consumer().expect("a valid capacity");
    (vec![tx; senders], vec![rx])
}

fn tokio_mpsc(
    capacity: usize,
    (senders, _): (usize, usize),
) -> Ends<tokio::sync::mpsc::Sender<u64>, tokio::sync::mpsc::Receiver<u64>> {
    let (tx, rx) = tokio::sync::mpsc::channel(capacity);
    (vec![tx; senders], vec![rx])
}

fn async_channel(
    capacity: usize,
    (senders, receivers): (usize, usize),
) -> Ends<async_channel::Sender<u64>, async_channel::Receiver<u64>> {
    let (tx, rx) = async_channel::bounded(capacity);
    (vec![tx; senders], vec![rx; receivers])
}

fn flume(
    capacity: usize,
    (senders, receivers): (usize, usize),
) -> Ends<flume::Sender<u64>, flume::Receiver<u64>> {
    let (tx, rx) = flume::bounded(capacity);
    (vec![tx; senders], vec![rx; receivers])
}

fn tachyonix(
    capacity: usize,
    (senders, _): (usize, usize),
) -> Ends<tachyonix::Sender<u64>, tachyonix::Receiver<u64>> {
    let (tx, rx) = tachyonix::channel(capacity);
    (vec![tx; senders], vec![rx])
}

fn kanal(
    capacity: usize,
    (senders, receivers): (usize, usize),
) -> Ends<kanal::AsyncSender<u64>, kanal::AsyncReceiver<u64>> {
    let (tx, rx) = kanal::bounded_async(capacity);
    (vec![tx; senders], vec![rx; receivers])
}

/// Two threads that run tasks: the same for every contender.
#[derive(Clone, Copy)]
enum Host<'a> {
    Tokio(&'a Runtime),
    Smol(&'static smol::Executor<'static>),
}

/// A task's end.
enum Join<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Smol(smol::Task<T>),
}

impl Host<'_> {
    /// smol's executor, which has as many threads as tokio's.
    fn smol() -> Self {
        let executor: &'static smol::Executor<'static> = Box::leak(Box::default());
        for _ in 0..2 {
            std::thread::spawn(|| smol::block_on(executor.run(core::future::pending::<()>())));
        }
        Self::Smol(executor)
    }

    #[allow(clippy::disallowed_methods)] // the host itself is measured
    fn spawn<T: Send + 'static>(self, task: impl Future<Output = T> + Send + 'static) -> Join<T> {
        match self {
            Self::Tokio(runtime) => Join::Tokio(runtime.spawn(task)),
            Self::Smol(executor) => Join::Smol(executor.spawn(task)),
        }
    }

    fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        match self {
            Self::Tokio(runtime) => runtime.block_on(future),
            Self::Smol(_) => smol::block_on(future),
        }
    }
}

impl<T> Join<T> {
    async fn join(self) -> T {
        match self {
            Self::Tokio(task) => task.await.expect("a task panicked"),
            Self::Smol(task) => task.await,
        }
    }
}

/// So many tasks that send to so many that receive, through one channel.
#[derive(Clone, Copy)]
struct Topology<'a> {
    host: Host<'a>,
    senders: usize,
    receivers: usize,
    capacity: usize,
}

impl Topology<'_> {
    /// `n` batches of items.
    fn run<S: Tx, R: Rx>(
        self,
        n: u64,
        open: impl Fn(usize, (usize, usize)) -> Ends<S, R>,
    ) -> Duration {
        let share = n * ITEMS / self.senders as u64;
        let (senders, receivers) = open(self.capacity, (self.senders, self.receivers));
        timed(|| {
            self.host.block_on(async {
                let consume = |rx| self.host.spawn(consume(rx));
                let consumers: Vec<_> = receivers.into_iter().map(consume).collect();
                let produce = |tx| self.host.spawn(produce(tx, share));
                let producers: Vec<_> = senders.into_iter().map(produce).collect();
                let mut received = 0;
                for consumer in consumers {
                    received += consumer.join().await;
                }
                for producer in producers {
                    producer.join().await;
                }
                assert_eq!(received, share * self.senders as u64, "items were lost");
            });
        })
    }
}

async fn produce<S: Tx>(tx: S, share: u64) {
    for i in 0..share {
        tx.put(i).await;
    }
}

async fn consume<R: Rx>(mut rx: R) -> u64 {
    let mut received = 0;
    while let Some(taken) = rx.take().await {
        received += taken;
    }
    received
}
