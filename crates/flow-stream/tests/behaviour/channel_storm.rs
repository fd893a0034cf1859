//! Futures dropped at random points, over many interleavings: nothing is lost, order is kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::poll_up_to;
use flow_rt::sim::{self, Sim, SimRng};
use flow_rt::{JoinHandle, OnFull};
use flow_stream::{
    Channel, ChannelBuilder, ChannelStats, Receiver, RecvFuture, RecvManyFuture, RecvTimeoutFuture,
    Sender, SoleReceiver, TryRecvError,
};
use futures_util::{Stream, StreamExt};

const SENDERS: u64 = 4;
const ITEMS: u64 = 25;

/// An item: who sent it, and the how-manieth of that sender it is.
type Item = (u64, u64);

/// Where every item went.
#[derive(Default)]
struct Ledger {
    received: Vec<Item>,
    dropped: Vec<Item>,
    returned: Vec<Item>,
}

impl Ledger {
    /// Each of `SENDERS * ITEMS` items exactly once, in one of the three ways.
    fn check(&self) {
        let mut seen = BTreeMap::<Item, u32>::new();
        for item in self
            .received
            .iter()
            .chain(&self.dropped)
            .chain(&self.returned)
        {
            *seen.entry(*item).or_default() += 1;
        }
        assert!(seen.values().all(|times| *times == 1), "twice: {seen:?}");
        assert_eq!(seen.len() as u64, SENDERS * ITEMS, "lost");
    }
}

type Shared = Arc<Mutex<Ledger>>;

/// Sends its items; drops most sends after a few polls and tries again with the same item.
async fn stormy_sender(tx: Sender<Item>, who: u64, mut rng: SimRng, ledger: Shared) {
    for n in 0..ITEMS {
        let mut item = (who, n);
        loop {
            // Ends come and go.
            let tx = match rng.below(8) {
                0 | 1 => tx.downgrade().upgrade().expect("one is here"),
                2 => {
                    let mut reserve = tx.reserve();
                    if let Some(Ok(permit)) = poll_up_to(&mut reserve, rng.below(3) + 1).await
                        && rng.below(2) == 0
                    {
                        // With nobody to receive it, it is dropped: `storm` keeps a receiver.
                        permit.send(item);
                        break;
                    }
                    continue;
                }
                3 => {
                    let mut many = VecDeque::from([item]);
                    let mut sending = tx.send_many(&mut many);
                    poll_up_to(&mut sending, rng.below(3) + 1).await;
                    drop(sending);
                    if many.is_empty() {
                        break;
                    }
                    if tx.is_closed() {
                        ledger.lock().unwrap().returned.push(item);
                        break;
                    }
                    continue;
                }
                _ => tx.clone(),
            };
            let mut send = tx.send(item);
            let sent = match rng.below(4) {
                0 => Some(send.await),
                polls => {
                    let sent = poll_up_to(&mut send, polls).await;
                    if sent.is_none() {
                        match send.into_inner() {
                            Some(unsent) => item = unsent,
                            // Only of a rendezvous: a receiver has taken it.
                            None => break,
                        }
                    }
                    sent
                }
            };
            match sent {
                Some(Ok(())) => break,
                Some(Err(refused)) => {
                    ledger.lock().unwrap().returned.push(refused.into_inner());
                    break;
                }
                None => {}
            }
        }
    }
}

/// A receiving end of either kind.
trait End: Stream<Item = Item> + Unpin + Send + Sized + 'static {
    /// Ends come and go, with the place that this one may have as a stream.
    fn or_another(self, which: u64) -> Self;
    fn recv(&mut self) -> RecvFuture<'_, Item>;
    fn try_recv(&mut self) -> Result<Item, TryRecvError>;
    fn recv_timeout(&mut self, timeout: Duration) -> RecvTimeoutFuture<'_, Item>;
    fn recv_many<'a>(&'a mut self, to: &'a mut Vec<Item>, max: usize) -> RecvManyFuture<'a, Item>;
    fn stats(&self) -> ChannelStats;
}

macro_rules! ends {
    ($($end:ident: |$this:ident, $which:ident| $another:expr;)*) => {$(
        impl End for $end<Item> {
            fn or_another(self, $which: u64) -> Self {
                let $this = self;
                $another
            }

            fn recv(&mut self) -> RecvFuture<'_, Item> {
                $end::recv(self)
            }

            fn try_recv(&mut self) -> Result<Item, TryRecvError> {
                $end::try_recv(self)
            }

            fn recv_timeout(&mut self, timeout: Duration) -> RecvTimeoutFuture<'_, Item> {
                $end::recv_timeout(self, timeout)
            }

            fn recv_many<'a>(
                &'a mut self,
                to: &'a mut Vec<Item>,
                max: usize,
            ) -> RecvManyFuture<'a, Item> {
                $end::recv_many(self, to, max)
            }

            fn stats(&self) -> ChannelStats {
                $end::stats(self)
            }
        }
    )*};
}

ends! {
    Receiver: |rx, which| match which {
        0 => rx.clone(),
        1 => rx.downgrade().upgrade().expect("one is here"),
        _ => rx,
    };
    SoleReceiver: |rx, _which| rx;
}

/// Receives until drained, in every way there is; drops most receives after a few polls.
async fn stormy_receiver<E: End>(mut rx: E, mut rng: SimRng, ledger: Shared) -> E {
    loop {
        rx = rx.or_another(rng.below(8));
        let mut batch = Vec::new();
        let drained = match rng.below(6) {
            0 => rx.recv().await.map(|item| batch.push(item)).is_err(),
            1 => {
                let mut next = rx.next();
                match poll_up_to(&mut next, 2).await {
                    Some(item) => item.map(|item| batch.push(item)).is_none(),
                    None => false,
                }
            }
            2 => match rx.try_recv() {
                Ok(item) => {
                    batch.push(item);
                    false
                }
                Err(TryRecvError::Closed) => true,
                Err(_) => false,
            },
            3 => {
                let mut many = rx.recv_many(&mut batch, 3);
                poll_up_to(&mut many, 3).await == Some(0)
            }
            4 => {
                let mut recv = rx.recv_timeout(Duration::from_nanos(rng.below(3)));
                match (&mut recv).await {
                    Ok(item) => {
                        batch.push(item);
                        false
                    }
                    Err(error) => error == flow_stream::RecvTimeoutError::Closed,
                }
            }
            polls => {
                let mut recv = rx.recv();
                match poll_up_to(&mut recv, polls).await {
                    Some(Ok(item)) => {
                        batch.push(item);
                        false
                    }
                    Some(Err(_)) => true,
                    None => false,
                }
            }
        };
        ledger.lock().unwrap().received.extend(batch);
        if drained {
            return rx;
        }
    }
}

/// What the channel holds.
#[derive(Clone, Copy)]
enum Kind {
    Holds(usize),
    /// Items of 1 to 3.
    Weighs(u64),
    Meets,
}

fn builder(on_full: OnFull, kind: Kind, ledger: &Shared) -> ChannelBuilder<Item> {
    let hook = ledger.clone();
    let builder = match kind {
        Kind::Holds(capacity) => Channel::builder().capacity(capacity),
        Kind::Weighs(limit) => Channel::builder().max_weight(limit, |item: &Item| item.1 % 3 + 1),
        Kind::Meets => Channel::builder().rendezvous(),
    };
    builder
        .on_full(on_full)
        .on_drop(move |item, _| hook.lock().unwrap().dropped.push(item))
}

async fn storm(rt: &Sim, on_full: OnFull, kind: Kind, receivers: usize, close: bool) -> Shared {
    let ledger = Shared::default();
    let (tx, rx) = builder(on_full, kind, &ledger).build().unwrap();
    let ends = (0..receivers).map(|_| rx.clone()).collect();
    drop(rx);
    storm_over(rt, tx, ends, kind, close, &ledger).await;
    ledger
}

/// The same with the one receiver that the channel was built for.
async fn sole_storm(rt: &Sim, on_full: OnFull, kind: Kind, close: bool) -> Shared {
    let ledger = Shared::default();
    let built = builder(on_full, kind, &ledger).build_single_consumer();
    let (tx, rx) = built.unwrap();
    storm_over(rt, tx, vec![rx], kind, close, &ledger).await;
    ledger
}

async fn storm_over<E: End>(
    rt: &Sim,
    tx: Sender<Item>,
    ends: Vec<E>,
    kind: Kind,
    close: bool,
    ledger: &Shared,
) {
    let receivers = ends.len();
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    for who in 0..SENDERS {
        tasks.push(rt.spawn(stormy_sender(tx.clone(), who, rt.rng(), ledger.clone())));
    }
    let receiving: Vec<_> = ends
        .into_iter()
        .map(|rx| rt.spawn(stormy_receiver(rx, rt.rng(), ledger.clone())))
        .collect();
    if close {
        let (tx, mut rng) = (tx.clone(), rt.rng());
        tasks.push(rt.spawn(async move {
            for _ in 0..rng.below(100) {
                crate::common::yield_now().await;
            }
            tx.close();
        }));
    }
    drop(tx);
    for task in tasks {
        task.await.unwrap();
    }
    // Those that have ended are kept until all have: a permit may come after the close.
    let mut ended = Vec::new();
    for receiver in receiving {
        ended.push(receiver.await.unwrap());
    }
    let stats = ended[0].stats();
    assert!(match kind {
        Kind::Holds(capacity) => stats.max_len <= capacity,
        Kind::Weighs(limit) => stats.max_len as u64 <= limit,
        Kind::Meets => stats.max_len <= receivers,
    });
    assert_eq!(stats.sent, stats.received + stats.dropped_oldest);
    assert_eq!(stats.len, 0);
}

const KINDS: [Kind; 3] = [Kind::Holds(2), Kind::Weighs(3), Kind::Meets];

#[test]
fn waiting_senders_lose_nothing_and_keep_their_order() {
    sim::check(0..300, |rt| async move {
        let kind = match rt.rng().below(5) {
            0 => Kind::Weighs(4),
            1 => Kind::Meets,
            n => Kind::Holds(n as usize - 1),
        };
        let ledger = storm(&rt, OnFull::Wait, kind, 1, false).await;
        let ledger = ledger.lock().unwrap();
        ledger.check();
        assert!(ledger.dropped.is_empty() && ledger.returned.is_empty());
        for who in 0..SENDERS {
            let order = ledger.received.iter().filter(|item| item.0 == who);
            assert!(order.map(|item| item.1).eq(0..ITEMS), "sender {who}");
        }
    });
}

/// Items give way, but none overtakes another of its sender.
#[test]
fn one_receiver_gets_what_it_gets_in_order() {
    let answers = [
        OnFull::Wait,
        OnFull::Reject,
        OnFull::DropNewest,
        OnFull::DropOldest,
    ];
    for on_full in answers {
        for close in [false, true] {
            sim::check(0..40, |rt| async move {
                for kind in KINDS {
                    if matches!((kind, on_full), (Kind::Meets, OnFull::DropOldest)) {
                        continue;
                    }
                    let ledger = storm(&rt, on_full, kind, 1, close).await;
                    let ledger = ledger.lock().unwrap();
                    ledger.check();
                    for who in 0..SENDERS {
                        let own = ledger.received.iter().filter(|item| item.0 == who);
                        assert!(own.is_sorted(), "sender {who}: {:?}", ledger.received);
                    }
                }
            });
        }
    }
}

#[test]
fn many_receivers_lose_nothing() {
    sim::check(0..300, |rt| async move {
        for kind in KINDS {
            let ledger = storm(&rt, OnFull::Wait, kind, 3, false).await;
            ledger.lock().unwrap().check();
        }
    });
}

#[test]
fn a_close_in_the_middle_returns_or_delivers() {
    sim::check(0..300, |rt| async move {
        for kind in KINDS {
            let ledger = storm(&rt, OnFull::Wait, kind, 3, true).await;
            ledger.lock().unwrap().check();
        }
    });
}

#[test]
fn every_answer_to_full_accounts_for_every_item() {
    for on_full in [OnFull::Reject, OnFull::DropNewest, OnFull::DropOldest] {
        for close in [false, true] {
            sim::check(0..60, |rt| async move {
                for kind in KINDS {
                    if !matches!((kind, on_full), (Kind::Meets, OnFull::DropOldest)) {
                        let ledger = storm(&rt, on_full, kind, 2, close).await;
                        ledger.lock().unwrap().check();
                    }
                }
            });
        }
    }
}

#[test]
fn a_sole_receiver_gets_what_it_gets_in_order() {
    for on_full in [OnFull::Wait, OnFull::Reject, OnFull::DropOldest] {
        for close in [false, true] {
            sim::check(0..150, |rt| async move {
                for kind in [Kind::Holds(1), Kind::Holds(3), Kind::Weighs(3), Kind::Meets] {
                    if matches!((kind, on_full), (Kind::Meets, OnFull::DropOldest)) {
                        continue;
                    }
                    let ledger = sole_storm(&rt, on_full, kind, close).await;
                    let ledger = ledger.lock().unwrap();
                    ledger.check();
                    for who in 0..SENDERS {
                        let own = ledger.received.iter().filter(|item| item.0 == who);
                        assert!(own.is_sorted(), "sender {who}: {:?}", ledger.received);
                    }
                }
            });
        }
    }
}
