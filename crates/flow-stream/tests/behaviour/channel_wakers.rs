//! Wakers that a channel was given: it wakes, replaces and drops them without a lock, keeps none
//! beyond its wait, and is not stopped by one that panics.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use crate::common::poll;
use flow_stream::{Channel, Receiver, Sender, TryRecvError};
use futures_util::StreamExt;

/// One over each queue, full.
fn kinds() -> [(Sender<u64>, Receiver<u64>); 3] {
    let weighed = Channel::builder().max_weight(2, |_| 2);
    let kinds = [
        Channel::bounded(1).unwrap(),
        weighed.build().unwrap(),
        Channel::rendezvous(),
    ];
    for (tx, _) in &kinds {
        while tx.try_send(0).is_ok() {}
    }
    kinds
}

/// Polls twice, so that it parks, with a waker that only the channel keeps then.
fn park_with<F: Future + Unpin>(future: &mut F, wake: impl Wake + Send + Sync + 'static) {
    let waker = Waker::from(Arc::new(wake));
    for _ in 0..2 {
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut *future).poll(&mut cx).is_pending());
    }
}

/// Uses the channel as it goes, which would lock up under one of its locks.
struct Nosy<F: Fn()>(F, Arc<AtomicU64>);

impl<F: Fn()> Wake for Nosy<F> {
    fn wake(self: Arc<Self>) {}
    fn wake_by_ref(self: &Arc<Self>) {}
}

impl<F: Fn()> Drop for Nosy<F> {
    fn drop(&mut self) {
        (self.0)();
        self.1.fetch_add(1, SeqCst);
    }
}

#[test]
fn wakers_go_outside_of_every_lock() {
    let gone = Arc::new(AtomicU64::new(0));
    for (tx, rx) in kinds() {
        let other = tx.clone();
        let sends = move || {
            let _ = (other.try_send(8), other.stats(), poll(&mut other.send(9)));
        };
        let nosy = || Nosy(sends.clone(), gone.clone());
        // Replaced by another, and dropped with its wait.
        let mut send = tx.send(1);
        park_with(&mut send, nosy());
        park_with(&mut send, nosy());
        assert_eq!(gone.swap(0, SeqCst), 1);
        drop(send);
        assert_eq!(gone.swap(0, SeqCst), 1);
        // Woken, for good: tokio's `dropping_rx_drops_sender_wakers_outside_lock`.
        let mut sends = [tx.send(2), tx.send(3)];
        for send in &mut sends {
            park_with(send, nosy());
        }
        rx.close();
        assert_eq!(gone.swap(0, SeqCst), 2);
        assert!(sends.iter_mut().all(|send| poll(send).is_ready()));
    }
    for (tx, rx) in kinds() {
        let _ = rx.try_recv();
        let other = rx.clone();
        let receives = move || {
            let _ = (other.try_recv(), other.stats(), poll(&mut other.recv()));
        };
        let nosy = || Nosy(receives.clone(), gone.clone());
        let mut recv = rx.recv();
        park_with(&mut recv, nosy());
        park_with(&mut recv, nosy());
        assert_eq!(gone.swap(0, SeqCst), 1);
        drop(recv);
        assert_eq!(gone.swap(0, SeqCst), 1);
        let mut recvs = [rx.recv(), rx.recv()];
        for recv in &mut recvs {
            park_with(recv, nosy());
        }
        tx.close();
        assert_eq!(gone.swap(0, SeqCst), 2);
        assert!(recvs.iter_mut().all(|recv| poll(recv).is_ready()));
    }
}

/// Counts how many there are.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
    fn wake_by_ref(self: &Arc<Self>) {}
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// tokio's `release_waker_on_rx_drop`.
#[test]
fn a_receiver_that_goes_lets_its_waker_go() {
    let count = Arc::default();
    for (tx, mut rx) in kinds() {
        let _ = rx.try_recv();
        park_with(&mut rx.next(), Counted::new(&count));
        assert_eq!(count.load(SeqCst), 1, "its place is the receiver's");
        drop(rx);
        assert_eq!(count.load(SeqCst), 0);
        assert!(tx.try_send(1).is_err());
    }
}

/// A waker that panics when it is woken by another.
struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
    fn wake_by_ref(self: &Arc<Self>) {}
}

/// tokio's `permit_send_panicking_rx_waker`; here the sender hears nothing of it.
#[test]
fn a_permit_sends_though_the_waker_panics() {
    let (tx, rx) = Channel::bounded(1).unwrap();
    let mut recv = rx.recv();
    park_with(&mut recv, Rude);
    tx.try_reserve().unwrap().send(7);
    assert_eq!((rx.len(), rx.try_recv()), (1, Err(TryRecvError::Empty)));
    assert_eq!(poll(&mut recv), Poll::Ready(Ok(7)));
    tx.try_send(8).unwrap();
    rx.close();
    assert_eq!(
        (rx.try_recv(), rx.try_recv()),
        (Ok(8), Err(TryRecvError::Closed))
    );
}
