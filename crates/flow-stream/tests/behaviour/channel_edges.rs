//! Channels at the edges: bad input, hooks that panic, threads, no runtime.
//!
//! # What the peers test
//! Of the tests of async-channel (`tests/{bounded,unbounded}.rs`) and of tokio's mpsc
//! (`tests/sync_mpsc.rs`, `tests/sync_mpsc_weak.rs`), those of close, drop and cancel, and where
//! ours are: here unless a module of this suite is named.
//!
//! async-channel:
//! - `send_after_close`: `channel::last_receiver_closes_and_abandons`
//! - `recv_after_close`: `channel::ch151_..`, `channel::ch152_..`
//! - `close_wakes_sender`: `channel::ch163_..`,
//!   `channel_rendezvous::the_last_receiver_sends_the_senders_away`
//! - `close_wakes_receiver`: `channel::last_sender_closes`
//! - `closed`: `channel_room::whoever_waits_for_the_close_is_told`
//! - `force_send`: `channel::ch149_..`
//! - `forget_blocked_sender`, `forget_blocked_receiver`:
//!   `channel_lost::a_wait_that_is_kept_and_not_polled_holds_up_nobody`
//! - `weak`: `channel_room::weak_ends_keep_nothing_open`
//! - `spsc`, `mpmc`, `mpmc_stream`: `channel::ch153_..`, `channel::one_item_between_many_tasks`;
//!   with drops at any point `channel_storm` and `channel_cancels`
//!
//! tokio:
//! - `recv_close_gets_none_idle`, `try_recv_close_while_empty_..`: `channel::ch157_double_close`
//! - `tx_close_gets_none`: `channel::last_sender_closes`
//! - `recv_close_gets_none_reserved`: `channel_room::a_permit_is_good_after_the_close`,
//!   `channel_room::a_wait_for_a_permit_is_a_place_in_the_line`
//! - `ready_close_cancel_bounded`, `permit_available_not_acquired_close`:
//!   `channel_lost::tokio_8260_..`
//! - `reserve_disarm`, `start_send_past_cap`, `drop_permit_releases_permit`, `try_reserve_fails`:
//!   `channel_room::a_permit_is_room`,
//!   `channel_room::a_wait_for_a_permit_is_a_place_in_the_line`
//! - `try_send_fail`, `try_send_fail_with_try_recv`: `channel::ch151_..`, `channel::ch152_..`
//! - `dropping_rx_closes_channel`, `dropping_rx_closes_channel_for_try`:
//!   `channel::last_receiver_closes_and_abandons`
//! - `unconsumed_messages_are_dropped`, `test_msgs_dropped_on_rx_drop`:
//!   `ends_may_be_dropped_in_any_order`, `channel_lost::tokio_7714_..`
//! - `blocking_recv`, `blocking_send`: `threads_may_block`; with `_async`, which panic there:
//!   `threads_of_a_runtime_may_not_block`
//! - `recv_timeout`, and `recv_timeout_panic`, which is an error here: `channel::ch159_..`,
//!   `only_a_wait_with_a_limit_needs_a_runtime`
//! - `dropping_rx_drops_sender_wakers_outside_lock`, `release_waker_on_rx_drop`,
//!   `permit_send_panicking_rx_waker`: `channel_wakers`
//! - `drop_all_elements_during_panic`: `destructors_may_panic`
//! - `weak_sender`, `downgrade_..`, `test_tx_count_weak_sender`:
//!   `channel_room::weak_ends_keep_nothing_open`, `ends_may_be_dropped_in_any_order`
//!
//! Not here, as there is no such thing in this crate: `sender_count`, `receiver_count` and the
//! strong and weak counts, `reserve_many`.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::common::{park, poll};
use flow_rt::{OnFull, block_on, sim};
use flow_stream::{
    Channel, ChannelConfigError, OwnedPermit, Receiver, RecvBlockingError, RecvTimeoutError,
    ReserveOwnedFuture, SendBlockingError, SendError, Sender, WeakSender,
};
use futures_util::StreamExt;

#[test]
fn what_cannot_be_built_says_why() {
    let missing = Channel::<u8>::builder().build().unwrap_err();
    assert_eq!(missing, ChannelConfigError::CapacityMissing);
    assert!(missing.to_string().contains(".capacity(n)"));
    let zero = Channel::<u8>::bounded(0).unwrap_err();
    assert!(zero.to_string().contains("at least 1"));
    let runs = Channel::<u8>::builder()
        .capacity(1)
        .on_full(OnFull::CallerRuns)
        .build()
        .unwrap_err();
    assert_eq!(
        runs.to_string(),
        "a channel cannot answer \"full\" with caller-runs; wait, reject, drop-newest and \
         drop-oldest are allowed"
    );
}

#[test]
fn ends_and_errors_go_where_their_item_may_go() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Send + Sync>() {}
    // `Cell` is Send and not Sync.
    is_sync::<Sender<Cell<u8>>>();
    is_sync::<flow_stream::Receiver<Cell<u8>>>();
    is_sync::<SendError<Cell<u8>>>();
    is_sync::<flow_stream::SendTimeoutError<Cell<u8>>>();
    is_send::<flow_stream::SendFuture<'_, Cell<u8>>>();
    is_send::<flow_stream::RecvTimeoutFuture<'_, Cell<u8>>>();
    is_send::<flow_stream::RecvManyFuture<'_, Cell<u8>>>();
}

#[test]
fn hooks_may_panic_and_may_use_the_channel() {
    let (tx, rx) = Channel::<u32>::builder()
        .capacity(1)
        .on_full(OnFull::DropNewest)
        .on_drop(|item, _| assert_ne!(item, 2, "a hook that panics"))
        .build()
        .unwrap();
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    tx.try_send(3).unwrap();
    assert_eq!(tx.stats().dropped_newest, 2);
    assert_eq!(rx.try_recv(), Ok(1));

    // A hook that sends into the very channel that calls it, and closes it.
    let slot: Arc<std::sync::OnceLock<Sender<u32>>> = Arc::default();
    let hook = slot.clone();
    let (tx, rx) = Channel::<u32>::builder()
        .capacity(1)
        .on_full(OnFull::DropOldest)
        .on_drop(move |item, _| {
            if item == 1 {
                let tx = hook.get().expect("set below");
                tx.try_send(3).unwrap();
                tx.close();
            }
        })
        .build()
        .unwrap();
    assert!(slot.set(tx.clone()).is_ok());
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    assert_eq!(rx.try_recv(), Ok(3));
    assert!(rx.try_recv().is_err());

    // A hook that makes the room that is waited for.
    let slot: Arc<std::sync::OnceLock<Receiver<u32>>> = Arc::default();
    let hook = slot.clone();
    let (tx, rx) = Channel::builder()
        .capacity(1)
        .on_block(move || {
            assert_eq!(hook.get().expect("set below").try_recv(), Ok(1));
        })
        .build()
        .unwrap();
    assert!(slot.set(rx.clone()).is_ok());
    tx.try_send(1).unwrap();
    block_on(tx.send(2)).unwrap().unwrap();
    assert_eq!(rx.try_recv(), Ok(2));
}

/// A destructor that panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a destructor that panics");
    }
}

#[test]
fn destructors_may_panic() {
    let (tx, rx) = Channel::builder()
        .capacity(1)
        .on_full(OnFull::DropOldest)
        .build()
        .unwrap();
    for _ in 0..3 {
        tx.try_send(Bomb).unwrap();
    }
    assert_eq!(tx.stats().dropped_oldest, 2);
    drop(rx);
    assert_eq!(tx.stats().abandoned, 1);
}

/// An item of 8 KiB that counts its drops.
struct Counted {
    drops: Arc<AtomicUsize>,
    _bulk: [u64; 1024],
}

impl Counted {
    fn new(drops: &Arc<AtomicUsize>) -> Self {
        Self {
            drops: drops.clone(),
            _bulk: [0; 1024],
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.fetch_add(1, SeqCst);
    }
}

/// What there can be of a channel, one of each kind; `None` once it was dropped.
struct Ends {
    drops: Arc<AtomicUsize>,
    sent: usize,
    sender: Option<Sender<Counted>>,
    receiver: Option<Receiver<Counted>>,
    /// All the room beside the one item.
    permits: Vec<OwnedPermit<Counted>>,
    /// It waits for room.
    reservation: Option<ReserveOwnedFuture<Counted>>,
    weak: Option<WeakSender<Counted>>,
}

impl Ends {
    const NUMBER: usize = 5;

    fn new(capacity: usize) -> Self {
        let (tx, rx) = Channel::bounded(capacity).unwrap();
        let drops = Arc::default();
        assert!(tx.try_send(Counted::new(&drops)).is_ok());
        let permits = (1..capacity).map(|_| tx.try_reserve_owned().unwrap());
        let permits = permits.collect();
        let mut reservation = tx.reserve_owned();
        park(&mut reservation);
        Self {
            drops,
            sent: 1,
            weak: Some(tx.downgrade()),
            sender: Some(tx),
            receiver: Some(rx),
            permits,
            reservation: Some(reservation),
        }
    }

    /// Drops one of them; permits by using them, if so.
    fn end(&mut self, which: usize, uses_permits: bool) {
        match which {
            0 => self.sender = None,
            1 => self.receiver = None,
            2 if uses_permits => {
                for permit in self.permits.drain(..) {
                    permit.send(Counted::new(&self.drops));
                    self.sent += 1;
                }
            }
            2 => self.permits.clear(),
            3 => self.reservation = None,
            _ => self.weak = None,
        }
    }

    fn check(&self) {
        let sends = self.sender.is_some() || self.reservation.is_some() || !self.permits.is_empty();
        if let Some(weak) = &self.weak {
            assert_eq!(weak.upgrade().is_some(), sends);
        }
        if let Some(sender) = &self.sender {
            assert_eq!(sender.is_closed(), self.receiver.is_none());
        }
        let drops = self.drops.load(SeqCst);
        if let Some(receiver) = &self.receiver {
            assert_eq!(receiver.is_closed(), !sends);
            assert_eq!((receiver.len(), drops), (self.sent, 0));
        } else {
            assert_eq!(drops, self.sent, "nobody can receive them");
        }
    }
}

/// Every order of the numbers below `n`.
pub(crate) fn orders(n: usize) -> Vec<Vec<usize>> {
    let Some(last) = n.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let shorter = orders(last).into_iter();
    let longer = shorter.flat_map(|order| {
        (0..n).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    });
    longer.collect()
}

#[test]
fn ends_may_be_dropped_in_any_order() {
    let orders = orders(Ends::NUMBER);
    assert_eq!(orders.len(), 120);
    // Of items so large, the second does not fit into a ring.
    for (capacity, uses_permits) in [(2, false), (2, true), (1024, false)] {
        for order in &orders {
            let mut ends = Ends::new(capacity);
            ends.check();
            for which in order {
                ends.end(*which, uses_permits);
                ends.check();
            }
        }
    }
}

/// A waker that panics when it is woken.
struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// A waker that counts how often it is woken.
#[derive(Default)]
struct Polite(AtomicU32);

impl Wake for Polite {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_waker_that_panics_costs_nobody_else_a_wake_up() {
    let (tx, rx) = Channel::<u32>::bounded(1).unwrap();
    let polite = Arc::new(Polite::default());
    let wakers = [Waker::from(Arc::new(Rude)), Waker::from(polite.clone())];
    let mut parked = [rx.recv(), rx.recv()];
    for (recv, waker) in parked.iter_mut().zip(&wakers) {
        // The first poll wakes itself, so it gets a waker that may be woken.
        assert!(poll(recv).is_pending());
        let mut cx = Context::from_waker(waker);
        assert!(std::pin::Pin::new(recv).poll(&mut cx).is_pending());
    }
    tx.close();
    assert_eq!(polite.0.load(SeqCst), 1);
    assert!(parked.iter_mut().all(|recv| poll(recv).is_ready()));
}

#[test]
fn places_are_strictly_first_come_first_served() {
    let (tx, rx) = Channel::bounded(2).unwrap();
    tx.try_send(0).unwrap();
    tx.try_send(1).unwrap();
    let mut sends: Vec<_> = (2..6).map(|item| tx.send(item)).collect();
    sends.iter_mut().for_each(park);
    // The one in the middle leaves; its place closes up.
    assert_eq!(sends.remove(1).into_inner(), Some(3));
    assert_eq!(rx.try_recv(), Ok(0));
    assert!(tx.try_send(9).is_err(), "a newcomer does not overtake");
    assert!(poll(&mut sends[1]).is_pending());
    assert!(matches!(poll(&mut sends[0]), Poll::Ready(Ok(()))));
    drop(sends.remove(0));
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.try_recv(), Ok(2));
    assert!(sends.iter_mut().all(|send| poll(send).is_ready()));
    assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(4), Ok(5)));
}

#[test]
fn a_batch_leaves_what_is_set_aside() {
    let (tx, rx) = Channel::bounded(8).unwrap();
    let mut parked = rx.recv();
    park(&mut parked);
    for item in 0..4 {
        tx.try_send(item).unwrap();
    }
    let mut batch = Vec::new();
    assert_eq!(
        poll(&mut rx.recv_many(&mut batch, 10)),
        Poll::Ready(3),
        "one is set aside for the parked receiver"
    );
    assert_eq!(poll(&mut parked), Poll::Ready(Ok(3)));
    assert_eq!(batch, [0, 1, 2]);
}

#[test]
fn a_single_look_at_the_stream_takes_no_place() {
    let (tx, mut rx) = Channel::bounded(2).unwrap();
    assert!(poll(&mut rx.next()).is_pending());
    let other = rx.clone();
    tx.try_send(1).unwrap();
    assert_eq!(poll(&mut other.recv()), Poll::Ready(Ok(1)));
}

#[test]
fn a_sole_receiver_parks_at_its_first_poll() {
    let (tx, mut rx) = Channel::builder()
        .capacity(2)
        .build_single_consumer()
        .unwrap();
    let wakes = Arc::new(Polite::default());
    let waker = Waker::from(wakes.clone());
    let mut next = rx.next();
    let mut cx = Context::from_waker(&waker);
    assert!(std::pin::Pin::new(&mut next).poll(&mut cx).is_pending());
    assert_eq!(wakes.0.load(SeqCst), 0);
    tx.try_send(1).unwrap();
    assert_eq!(wakes.0.load(SeqCst), 1);
    assert_eq!(poll(&mut next), Poll::Ready(Some(1)));
}

#[test]
fn a_receive_without_time_only_tries() {
    let (tx, rx) = Channel::bounded(2).unwrap();
    let _company = tx.clone();
    let wakes = Arc::new(Polite::default());
    let waker = Waker::from(wakes.clone());
    let mut recv = rx.recv_timeout(Duration::ZERO);
    let timed_out = std::pin::Pin::new(&mut recv).poll(&mut Context::from_waker(&waker));
    let timeout = Duration::ZERO;
    assert_eq!(
        timed_out,
        Poll::Ready(Err(RecvTimeoutError::TimedOut { timeout }))
    );
    assert_eq!(
        wakes.0.load(SeqCst),
        0,
        "it does not ask to be polled again"
    );
    tx.try_send(1).unwrap();
    assert!(
        poll(&mut recv).is_pending(),
        "it is over, and takes nothing"
    );
    assert_eq!(poll(&mut rx.recv_timeout(timeout)), Poll::Ready(Ok(1)));
    tx.close();
    let closed = Poll::Ready(Err(RecvTimeoutError::Closed));
    assert_eq!(poll(&mut rx.recv_timeout(timeout)), closed);
}

#[test]
fn threads_may_block() {
    let (tx, rx) = Channel::bounded(1).unwrap();
    let sender = std::thread::spawn(move || {
        for item in 0..100 {
            tx.send_blocking(item).unwrap();
        }
    });
    for item in 0..100 {
        assert_eq!(rx.recv_blocking(), Ok(item));
    }
    assert_eq!(rx.recv_blocking(), Err(RecvBlockingError::Closed));
    sender.join().unwrap();
}

#[test]
fn threads_of_a_runtime_may_not_block() {
    sim::check(0..1, |_| async {
        let (tx, rx) = Channel::bounded(1).unwrap();
        // What need not wait is no trouble.
        tx.send_blocking(1).unwrap();
        match tx.send_blocking(2) {
            Err(SendBlockingError::MustNotBlock { item, .. }) => assert_eq!(item.into_inner(), 2),
            other => panic!("{other:?}"),
        }
        assert_eq!(rx.recv_blocking(), Ok(1));
        let refused = rx.recv_blocking();
        assert!(matches!(refused, Err(RecvBlockingError::MustNotBlock(_))));
    });
}

#[test]
fn only_a_wait_with_a_limit_needs_a_runtime() {
    // A plain thread of a test binary that has smol as a fallback: so ask for nothing.
    let (tx, rx) = Channel::bounded(1).unwrap();
    block_on(async {
        tx.send_timeout(1, Duration::from_secs(1)).await.unwrap();
        assert_eq!(rx.recv_timeout(Duration::from_secs(1)).await, Ok(1));
        assert!(rx.recv_timeout(Duration::ZERO).await.is_err());
    })
    .unwrap();
}

#[test]
fn a_runtime_that_is_gone_ends_the_wait() {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = flow_rt::Handle::tokio(rt.handle().clone()).unwrap();
    let (_tx, rx) = Channel::<u8>::builder()
        .capacity(1)
        .runtime(&handle)
        .build()
        .unwrap();
    let mut recv = rx.recv_timeout(Duration::from_secs(3_600));
    park(&mut recv);
    drop(rt);
    assert!(matches!(
        poll(&mut recv),
        Poll::Ready(Err(RecvTimeoutError::Stopped(_)))
    ));
}
