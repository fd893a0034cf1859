//! Random sends, receives, clones, closes and dropped futures beside the list of what was sent:
//! each receiver gets every item from its place on, in order, or is told how many it missed.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{poll_up_to, yield_now};
use flow_rt::sim::{self, Sim, SimRng};
use flow_stream::broadcast::{
    self, OnLag, Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError,
};
use futures_util::StreamExt;

const SENDERS: u64 = 3;
const ITEMS: u64 = 20;

/// An item: who sent it, and the how-manieth of that sender it is. It counts its copies.
#[derive(Debug)]
struct Item(u64, u64, Arc<AtomicUsize>);

impl Item {
    fn new(who: u64, n: u64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self(who, n, alive.clone())
    }
}

impl Clone for Item {
    fn clone(&self) -> Self {
        Self::new(self.0, self.1, &self.2)
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.2.fetch_sub(1, SeqCst);
    }
}

/// What a receiver saw: items, and gaps of so many.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Item(u64, u64),
    Missed(u64),
}

#[derive(Default)]
struct Ledger {
    /// By receiver, the first of which saw everything.
    seen: Vec<Vec<Seen>>,
    returned: u64,
}

type Shared = Arc<Mutex<Ledger>>;

async fn stormy_sender(
    tx: Sender<Item>,
    who: u64,
    mut rng: SimRng,
    ledger: Shared,
    alive: Arc<AtomicUsize>,
) {
    for n in 0..ITEMS {
        let mut item = Item::new(who, n, &alive);
        loop {
            let tx = match rng.below(4) {
                0 => tx.downgrade().upgrade().expect("one is here"),
                _ => tx.clone(),
            };
            let sent = match rng.below(6) {
                0 => Some(tx.send(item).await.map_err(SendError::into_inner)),
                1 => match tx
                    .send_timeout(item, Duration::from_nanos(rng.below(3)))
                    .await
                {
                    Ok(()) => Some(Ok(())),
                    Err(error) => {
                        let closed = tx.is_closed();
                        item = error.into_inner();
                        if !closed {
                            continue;
                        }
                        Some(Err(item))
                    }
                },
                polls => {
                    let mut send = tx.send(item);
                    let sent = poll_up_to(&mut send, polls).await;
                    if sent.is_none() {
                        item = send.into_inner().expect("an unsent item comes back");
                        continue;
                    }
                    sent.map(|sent| sent.map_err(SendError::into_inner))
                }
            };
            if let Some(Err(_returned)) = sent {
                ledger.lock().unwrap().returned += 1;
            }
            break;
        }
        if rng.below(3) == 0 {
            yield_now().await;
        }
    }
}

/// Receives to the end in every way there is, and keeps a record of its own.
async fn stormy_receiver(
    mut rx: Receiver<Item>,
    mut rng: SimRng,
    mut seen: Vec<Seen>,
    ledger: Shared,
) {
    loop {
        // What is to be noted; `None` is the end.
        let outcome = match rng.below(7) {
            0 => Some(rx.recv().await),
            1 => Some(match rx.try_recv() {
                Ok(item) => Ok(item),
                Err(TryRecvError::Closed) => Err(RecvError::Closed),
                Err(TryRecvError::Lagged(n)) => Err(RecvError::Lagged(n)),
                Err(TryRecvError::Disconnected(n)) => Err(RecvError::Disconnected(n)),
                Err(_) => {
                    yield_now().await;
                    continue;
                }
            }),
            2 => {
                let limit = Duration::from_nanos(rng.below(3));
                match rx.recv_timeout(limit).await {
                    Ok(item) => Some(Ok(item)),
                    Err(RecvTimeoutError::Closed) => Some(Err(RecvError::Closed)),
                    Err(RecvTimeoutError::Lagged(n)) => Some(Err(RecvError::Lagged(n))),
                    Err(RecvTimeoutError::Disconnected(n)) => Some(Err(RecvError::Disconnected(n))),
                    Err(_) => None,
                }
            }
            3 => poll_up_to(&mut rx.next(), 3)
                .await
                .map(|next| next.unwrap_or(Err(RecvError::Closed))),
            4 => {
                rx = rx.clone();
                None
            }
            polls => poll_up_to(&mut rx.recv(), polls).await,
        };
        match outcome {
            None => {}
            Some(Ok(item)) => seen.push(Seen::Item(item.0, item.1)),
            Some(Err(RecvError::Lagged(n))) => seen.push(Seen::Missed(n)),
            Some(Err(RecvError::Disconnected(n))) => {
                seen.push(Seen::Missed(n));
                break;
            }
            Some(Err(_)) => break,
        }
        // Some leave in the middle.
        if rng.below(200) == 0 {
            return;
        }
    }
    ledger.lock().unwrap().seen.push(seen);
}

/// `seen` is `all` with some runs left out, each of which it was told the length of.
fn agrees(seen: &[Seen], all: &[Seen], whole: bool) {
    let mut at = 0;
    for one in seen {
        match one {
            Seen::Missed(n) => at += *n as usize,
            item @ Seen::Item(..) => {
                assert_eq!(Some(item), all.get(at), "at {at} of {all:?} in {seen:?}");
                at += 1;
            }
        }
    }
    assert!(!whole || at == all.len(), "{seen:?} of {all:?}");
}

async fn storm(rt: Sim, on_lag: OnLag, close: bool) {
    let (ledger, alive) = (Shared::default(), Arc::new(AtomicUsize::new(0)));
    let mut rng = rt.rng();
    let capacity = rng.below(4) as usize + 1;
    let (tx, mut rx) = broadcast::builder()
        .capacity(capacity)
        .on_lag(on_lag)
        .build()
        .unwrap();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let task = stormy_receiver(rx.clone(), rt.rng(), Vec::new(), ledger.clone());
        tasks.push(rt.spawn(task));
    }
    let mut senders = Vec::new();
    for who in 0..SENDERS {
        let task = stormy_sender(tx.clone(), who, rt.rng(), ledger.clone(), alive.clone());
        senders.push(rt.spawn(task));
    }
    if close {
        let (tx, mut rng) = (tx.clone(), rt.rng());
        senders.push(rt.spawn(async move {
            for _ in 0..rng.below(60) {
                yield_now().await;
            }
            tx.close();
        }));
    }
    let weak = tx.downgrade();
    drop(tx);
    // The record of everything, as far as it does not miss some itself.
    let mut all = Vec::new();
    let mut late = 0;
    loop {
        assert!(rx.stats().len <= capacity);
        match rx.recv().await {
            Ok(item) => all.push(Seen::Item(item.0, item.1)),
            Err(RecvError::Lagged(n)) => all.push(Seen::Missed(n)),
            Err(RecvError::Disconnected(n)) => {
                all.push(Seen::Missed(n));
                break;
            }
            Err(_) => break,
        }
        // Clones begin where their original is.
        if late < 3 && rng.below(10) == 0 {
            late += 1;
            let task = stormy_receiver(rx.clone(), rt.rng(), all.clone(), ledger.clone());
            tasks.push(rt.spawn(task));
        }
    }
    for task in senders.into_iter().chain(tasks) {
        task.await.unwrap();
    }
    assert!(weak.upgrade().is_none());
    let stats = rx.stats();
    let ledger = ledger.lock().unwrap();
    assert_eq!(stats.sent + ledger.returned, SENDERS * ITEMS);
    if on_lag == OnLag::Wait {
        assert_eq!((stats.evicted, stats.missed), (0, 0));
        assert_eq!(all.len() as u64, stats.sent);
        for who in 0..SENDERS {
            let order = all.iter().filter_map(|seen| match seen {
                Seen::Item(by, n) if *by == who => Some(*n),
                _ => None,
            });
            // From its first on: after the close all come back.
            assert!(order.zip(0..).all(|(n, expected)| n == expected));
        }
        for seen in &ledger.seen {
            agrees(seen, &all, true);
        }
    } else {
        for seen in ledger.seen.iter().chain([&all]) {
            let told: u64 = seen
                .iter()
                .map(|seen| match seen {
                    Seen::Item(..) => 1,
                    Seen::Missed(n) => *n,
                })
                .sum();
            assert!(told <= stats.sent);
            assert!(on_lag == OnLag::Disconnect || told == stats.sent);
        }
    }
    drop(rx);
    assert_eq!(alive.load(SeqCst), 0, "an item outlived its receivers");
}

#[test]
fn waiting_senders_reach_every_receiver_in_order() {
    sim::check(0..300, |rt| storm(rt, OnLag::Wait, false));
}

#[test]
fn a_close_in_the_middle_returns_or_delivers() {
    sim::check(0..300, |rt| storm(rt, OnLag::Wait, true));
}

#[test]
fn who_lags_is_told_of_every_item_it_missed() {
    for close in [false, true] {
        sim::check(0..200, |rt| storm(rt, OnLag::DropOldest, close));
    }
}

#[test]
fn who_is_disconnected_leaves_nothing_behind() {
    for close in [false, true] {
        sim::check(0..200, |rt| storm(rt, OnLag::Disconnect, close));
    }
}

/// Threads of a host, which the simulation has not: what they get is what was sent, in order.
#[test]
fn threads_lose_nothing() {
    const EACH: u64 = 2_000;
    let (tx, rx) = broadcast::channel(16).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut rx = rx.clone();
            scope.spawn(move || {
                let mut next = [0; 4];
                while let Ok((who, n)) = rx.recv_blocking() {
                    let expected: &mut u64 = &mut next[who];
                    assert_eq!(n, *expected);
                    *expected += 1;
                }
                assert_eq!(next, [EACH; 4]);
            });
        }
        drop(rx);
        for who in 0..4 {
            let tx = tx.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    tx.send_blocking((who, n)).unwrap();
                }
            });
        }
        drop(tx);
    });
}
