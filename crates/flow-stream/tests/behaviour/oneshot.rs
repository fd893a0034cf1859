//! One item, once: what tokio's oneshot is tested for, and what a dropped or late end means.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::common::{poll, poll_up_to, yield_now};
use flow_rt::{Handle, TestRuntime, sim};
use flow_stream::oneshot::{
    self, RecvBlockingError, RecvError, RecvTimeoutError, SendError, TryRecvError,
};
use futures_util::FutureExt;
use futures_util::future::{Either, FusedFuture, select};

const SEC: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    the_item_arrives,
    a_sender_that_goes_away_ends_the_wait,
    a_receiver_that_goes_away_is_noticed,
    a_closed_channel_gives_what_was_sent,
    a_wait_with_a_limit_can_be_repeated,
    a_receiver_is_selected_over,
}

async fn the_item_arrives(rt: TestRuntime) {
    let (tx, rx) = oneshot::channel();
    let receiver = rt.spawn(rx);
    yield_now().await;
    assert!(!tx.is_closed());
    tx.send("hello").unwrap();
    assert_eq!(receiver.await.unwrap(), Ok("hello"));
    // Sent first, received later.
    let (tx, rx) = oneshot::channel();
    tx.send(1).unwrap();
    assert_eq!(rx.await, Ok(1));
}

async fn a_sender_that_goes_away_ends_the_wait(rt: TestRuntime) {
    let (tx, rx) = oneshot::channel::<u8>();
    let receiver = rt.spawn(rx);
    yield_now().await;
    drop(tx);
    assert_eq!(receiver.await.unwrap(), Err(RecvError::Closed));
}

async fn a_receiver_that_goes_away_is_noticed(rt: TestRuntime) {
    let (mut tx, rx) = oneshot::channel::<u8>();
    let sender = rt.spawn(async move {
        tx.closed().await;
        assert!(tx.is_closed());
        tx.send(1)
    });
    yield_now().await;
    drop(rx);
    let refused = sender.await.unwrap().unwrap_err();
    assert_eq!(refused.into_inner(), 1);
}

async fn a_closed_channel_gives_what_was_sent(_: TestRuntime) {
    let (tx, mut rx) = oneshot::channel();
    tx.send(1).unwrap();
    rx.close();
    rx.close();
    assert_eq!(rx.await, Ok(1));

    let (mut tx, mut rx) = oneshot::channel();
    rx.close();
    tx.closed().await;
    assert!(matches!(tx.send(1), Err(SendError::Closed(_))));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(rx.await, Err(RecvError::Closed));
}

async fn a_wait_with_a_limit_can_be_repeated(rt: TestRuntime) {
    let (tx, mut rx) = oneshot::channel();
    let start = rt.now();
    let mut recv = rx.recv_timeout(SEC).runtime(&rt);
    assert_eq!(
        (&mut recv).await,
        Err(RecvTimeoutError::TimedOut { timeout: SEC })
    );
    assert!(recv.is_terminated() && poll(&mut recv).is_pending());
    assert!(rt.now() - start >= SEC);
    assert_eq!(
        rx.recv_timeout(Duration::ZERO).await,
        Err(RecvTimeoutError::TimedOut {
            timeout: Duration::ZERO
        })
    );
    let later = rt.clone();
    let sender = rt.spawn(async move {
        later.sleep(SEC).await.unwrap();
        tx.send(7)
    });
    assert_eq!(rx.recv_timeout(2 * SEC).runtime(&rt).await, Ok(7));
    sender.await.unwrap().unwrap();
    let again = rx.recv_timeout(SEC).await;
    assert_eq!(again, Err(RecvTimeoutError::Closed));
}

async fn a_receiver_is_selected_over(rt: TestRuntime) {
    let (tx, mut rx) = oneshot::channel();
    for _ in 0..3 {
        match select(&mut rx, Box::pin(yield_now())).await {
            Either::Left((outcome, _)) => panic!("{outcome:?}"),
            Either::Right(((), _)) => {}
        }
    }
    let sender = rt.spawn(async move { tx.send(3) });
    assert_eq!((&mut rx).await, Ok(3));
    assert!(rx.is_terminated() && poll(&mut rx).is_pending());
    sender.await.unwrap().unwrap();
}

#[test]
fn try_recv_tells_not_yet_from_never() {
    let (tx, mut rx) = oneshot::channel();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    tx.send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    // Awaited after it was received in another way it does not hang.
    assert_eq!(poll(&mut rx), Poll::Ready(Err(RecvError::Closed)));

    let (tx, mut rx) = oneshot::channel::<u8>();
    drop(tx);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(rx.recv_blocking(), Err(RecvBlockingError::Closed));
}

#[test]
fn a_thread_waits_for_its_item_and_a_runtime_thread_does_not() {
    let (tx, mut rx) = oneshot::channel();
    let sender = std::thread::spawn(move || tx.send(5));
    assert_eq!(rx.recv_blocking(), Ok(5));
    sender.join().unwrap().unwrap();
    sim::check(0..1, |_| async {
        let (tx, mut rx) = oneshot::channel();
        let refused = rx.recv_blocking().unwrap_err();
        assert!(
            matches!(refused, RecvBlockingError::MustNotBlock(_)),
            "{refused:?}"
        );
        tx.send(1).unwrap();
        assert_eq!(rx.recv_blocking(), Ok(1));
    });
}

#[test]
fn a_limit_without_a_runtime_says_so() {
    let (tx, mut rx) = oneshot::channel::<u8>();
    let host = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(host.handle().clone()).unwrap();
    let mut recv = rx.recv_timeout(SEC).runtime(&handle);
    assert!(poll(&mut recv).is_pending());
    drop(host);
    assert!(matches!(
        poll(&mut recv),
        Poll::Ready(Err(RecvTimeoutError::Stopped(_)))
    ));
    drop(tx);
}

#[test]
fn an_item_that_nobody_takes_is_dropped_once_with_its_receiver() {
    let item = Arc::new(());
    let (tx, rx) = oneshot::channel();
    tx.send(item.clone()).unwrap();
    assert_eq!(Arc::strong_count(&item), 2);
    drop(rx);
    assert_eq!(Arc::strong_count(&item), 1);
    // Refused, it comes back.
    let (tx, rx) = oneshot::channel();
    drop(rx);
    let back = tx.send(item).unwrap_err().into_inner();
    assert_eq!(Arc::strong_count(&back), 1);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn the_last_waker_left_is_woken_and_all_are_let_go() {
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let wakers = (Waker::from(first.clone()), Waker::from(second.clone()));
    let (tx, mut rx) = oneshot::channel();
    let mut poll_with = |waker: &Waker| {
        let mut cx = Context::from_waker(waker);
        rx.poll_unpin(&mut cx)
    };
    assert!(poll_with(&wakers.0).is_pending());
    assert!(poll_with(&wakers.1).is_pending());
    assert!(poll_with(&wakers.1).is_pending());
    tx.send(1).unwrap();
    assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (0, 1));
    assert_eq!(poll_with(&wakers.1), Poll::Ready(Ok(1)));

    let (mut tx, rx) = oneshot::channel::<u8>();
    for waker in [&wakers.1, &wakers.0] {
        assert!(tx.poll_closed(&mut Context::from_waker(waker)).is_pending());
    }
    drop(rx);
    assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (1, 1));
    drop((tx, wakers));
    assert_eq!(
        (Arc::strong_count(&first), Arc::strong_count(&second)),
        (1, 1)
    );
}

/// A waker that panics when it is woken.
struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[test]
fn a_waker_that_panics_is_not_the_senders_trouble() {
    let (tx, mut rx) = oneshot::channel();
    let rude = Waker::from(Arc::new(Rude));
    assert!(rx.poll_unpin(&mut Context::from_waker(&rude)).is_pending());
    tx.send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
}

fn is_sync<T: Send + Sync>(_: &T) {}

#[test]
fn ends_show_how_the_channel_stands() {
    let (tx, rx) = oneshot::channel();
    assert_eq!(format!("{tx:?}"), "Sender { state: \"open\", .. }");
    tx.send(1).unwrap();
    assert_eq!(format!("{rx:?}"), "Receiver { state: \"sent\", .. }");
    let (tx, mut rx) = oneshot::channel::<std::cell::Cell<u8>>();
    let recv = rx.recv_timeout(SEC);
    assert_eq!(
        format!("{recv:?}"),
        "RecvTimeoutFuture { timeout: 1s, done: false, .. }"
    );
    drop(recv);
    rx.close();
    assert_eq!(format!("{tx:?}"), "Sender { state: \"closed\", .. }");
    is_sync(&tx);
    is_sync(&rx);
    is_sync(&tx.send(std::cell::Cell::new(1)).unwrap_err());
}

/// Both ends do what they like at any time: the item is received, returned or dropped, once.
#[test]
fn whatever_the_ends_do_the_item_is_accounted_for() {
    sim::check(0..500, |rt| async move {
        let item = Arc::new(());
        let (mut tx, mut rx) = oneshot::channel();
        let mut rng = rt.rng();
        let sent = item.clone();
        let sender = rt.spawn(async move {
            for _ in 0..rng.below(4) {
                match rng.below(3) {
                    0 => yield_now().await,
                    1 => drop(poll_up_to(&mut Box::pin(tx.closed()), 2).await),
                    _ => drop(tx.is_closed()),
                }
            }
            if rng.below(4) == 0 {
                return Some(Err(sent));
            }
            Some(tx.send(sent).map_err(SendError::into_inner))
        });
        let mut rng = rt.rng();
        let receiver = rt.spawn(async move {
            loop {
                match rng.below(8) {
                    0 => return None,
                    1 => rx.close(),
                    2 => {
                        if let Ok(item) = rx.try_recv() {
                            return Some(item);
                        }
                    }
                    3 => {
                        let timeout = Duration::from_nanos(rng.below(2));
                        if let Ok(item) = rx.recv_timeout(timeout).await {
                            return Some(item);
                        }
                    }
                    4 => return (&mut rx).await.ok(),
                    _ => {
                        if let Some(outcome) = poll_up_to(&mut rx, 2).await {
                            return outcome.ok();
                        }
                    }
                }
            }
        });
        let (sent, received) = (sender.await.unwrap().unwrap(), receiver.await.unwrap());
        match (&sent, &received) {
            // Received, or dropped with its receiver.
            (Ok(()), Some(_)) | (Err(_), None) => assert_eq!(Arc::strong_count(&item), 2),
            (Ok(()), None) => assert_eq!(Arc::strong_count(&item), 1),
            (Err(_), Some(_)) => panic!("returned and received"),
        }
    });
}
