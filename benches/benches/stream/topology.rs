//! One bounded queue between tasks: so many to so many, on each host, with one core and with two.

use core::future::Future;
use core::time::Duration;

use flow_benches::{Bench, beside, timed};
use flow_stream::Channel;
use tokio::runtime::Runtime;

use crate::host::{Host, workers};

const CAPACITY: usize = 1024;
/// Few enough to be full most of the time.
const SMALL: usize = 64;
/// Items that go through a channel.
const ITEMS: u64 = 4096;
/// Items that a receiver takes at once.
const BATCH: usize = 256;

/// Senders, receivers, capacity.
const SHAPES: [(usize, usize, usize); 5] = [
    (1, 1, CAPACITY),
    (4, 1, CAPACITY),
    (4, 1, SMALL),
    (4, 4, CAPACITY),
    (4, 4, SMALL),
];

/// What tasks run on, and beside what.
#[derive(Clone, Copy)]
struct Place<'a> {
    host: Host<'a>,
    /// A thread that has nothing to do with it keeps one core busy.
    has_neighbour: bool,
    /// The end of the names of its rows.
    name: &'static str,
}

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    let single = workers(1);
    let (tokio, smol) = (Host::Tokio(runtime), Host::smol(2));
    for (host, has_neighbour, name) in [
        (tokio, false, ""),
        (tokio, true, ", one core busy"),
        (Host::Tokio(&single), false, ", one thread"),
        (smol, false, ", on smol"),
        (smol, true, ", one core busy, on smol"),
        (Host::smol(1), false, ", one thread, on smol"),
    ] {
        let place = Place {
            host,
            has_neighbour,
            name,
        };
        for shape in SHAPES {
            place.rows(bench, shape);
        }
        if has_neighbour {
            // The one that waits most often.
            place.rows(bench, (1, 1, SMALL));
        } else {
            place.batches(bench);
        }
    }
}

impl<'a> Place<'a> {
    fn topology(self, (senders, receivers, capacity): (usize, usize, usize)) -> Topology<'a> {
        Topology {
            place: self,
            senders,
            receivers,
            capacity,
        }
    }

    /// The rows of a shape. Beside a neighbour all that is asked is who is faster.
    fn rows(self, bench: &mut Bench, shape: (usize, usize, usize)) {
        let go = self.topology(shape);
        let (senders, receivers, capacity) = shape;
        let name = |kind: &str| {
            let place = self.name;
            format!("{senders}:{receivers}, capacity {capacity}{kind}{place}")
        };
        if receivers == 1 {
            let mut row = bench
                .row(name(", single consumer"))
                .batch(ITEMS)
                .flow(go.through(ours_alone))
                .peer("async-channel", go.through(async_channel));
            if !self.has_neighbour {
                row = row
                    .peer("tokio", go.through(tokio_mpsc))
                    .peer("flume", go.through(flume))
                    .peer("tachyonix", go.through(tachyonix))
                    .peer("kanal", go.through(kanal));
            }
            row.measure();
        }
        let mut row = bench
            .row(name(""))
            .batch(ITEMS)
            .flow(go.through(ours))
            .peer("async-channel", go.through(async_channel));
        if !self.has_neighbour {
            row = if receivers == 1 {
                row.peer("tokio", go.through(tokio_mpsc))
            } else {
                row.peer("flume", go.through(flume))
                    .peer("kanal", go.through(kanal))
            };
        }
        row.measure();
    }

    fn batches(self, bench: &mut Bench) {
        let go = self.topology((4, 1, CAPACITY));
        let place = self.name;
        bench
            .row(format!("4 senders, recv_many of {BATCH}{place}"))
            .batch(ITEMS)
            .flow(go.through(|capacity, ends| batches(ours_alone(capacity, ends))))
            .peer(
                "tokio",
                go.through(|capacity, ends| batches(tokio_mpsc(capacity, ends))),
            )
            .measure();
    }
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

/// So many tasks that send to so many that receive, through one channel.
#[derive(Clone, Copy)]
struct Topology<'a> {
    place: Place<'a>,
    senders: usize,
    receivers: usize,
    capacity: usize,
}

impl<'a> Topology<'a> {
    /// A contender: batches of items through the channel that `open` opens.
    fn through<S: Tx, R: Rx>(
        self,
        open: impl Fn(usize, (usize, usize)) -> Ends<S, R> + 'a,
    ) -> impl FnMut(u64) -> Duration + 'a {
        move |n| {
            let ends = open(self.capacity, (self.senders, self.receivers));
            if self.place.has_neighbour {
                beside(core::hint::spin_loop, || self.run(n, ends))
            } else {
                self.run(n, ends)
            }
        }
    }

    /// `n` batches of items.
    fn run<S: Tx, R: Rx>(self, n: u64, (senders, receivers): Ends<S, R>) -> Duration {
        let host = self.place.host;
        let share = n * ITEMS / self.senders as u64;
        timed(|| {
            host.block_on(async {
                let consume = |rx| host.spawn(consume(rx));
                let consumers: Vec<_> = receivers.into_iter().map(consume).collect();
                let produce = |tx| host.spawn(produce(tx, share));
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
