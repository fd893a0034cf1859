//! One value and who watches it: what tokio's watch is tested for, and what closures that panic
//! leave behind.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use crate::common::{poll, poll_up_to, yield_now};
use flow_rt::{TestRuntime, sim};
use flow_stream::watch::{self, RecvError, SendError};
use futures_util::future::FusedFuture;
use futures_util::stream::FusedStream;
use futures_util::{FutureExt, StreamExt};

flow_rt::on_every_runtime! {
    receivers_see_the_latest,
    the_last_value_is_seen_before_the_end,
    a_wait_for_a_value_ends_at_it,
    senders_wait_until_nobody_watches,
    a_stream_gives_what_was_not_seen,
    many_watch_one,
}

async fn receivers_see_the_latest(rt: TestRuntime) {
    let (tx, mut rx) = watch::channel(0);
    let waiting = rt.spawn(async move {
        rx.changed().await.unwrap();
        let value = *rx.borrow_and_update();
        (value, rx)
    });
    yield_now().await;
    tx.send(1).unwrap();
    let (value, mut rx) = waiting.await.unwrap();
    assert_eq!(value, 1);
    tx.send(2).unwrap();
    tx.send(3).unwrap();
    rx.changed().await.unwrap();
    assert_eq!(*rx.borrow(), 3);
    assert!(poll(&mut rx.changed()).is_pending());
    assert_eq!(tx.stats().changes, 3);
}

async fn the_last_value_is_seen_before_the_end(rt: TestRuntime) {
    let (tx, mut rx) = watch::channel("one");
    let other = tx.clone();
    tx.send("two").unwrap();
    drop(tx);
    assert!(!rx.is_closed());
    drop(other);
    assert!(rx.is_closed());
    assert_eq!(rx.has_changed(), Ok(true));
    rx.changed().await.unwrap();
    assert_eq!(rx.has_changed(), Err(RecvError::Closed));
    assert_eq!(rx.changed().await, Err(RecvError::Closed));
    assert_eq!(*rx.borrow(), "two");

    let (tx, mut rx) = watch::channel(0);
    let waiting = rt.spawn(async move { rx.changed().await });
    yield_now().await;
    drop(tx);
    assert_eq!(waiting.await.unwrap(), Err(RecvError::Closed));
}

async fn a_wait_for_a_value_ends_at_it(rt: TestRuntime) {
    let (tx, mut rx) = watch::channel(0);
    // The value that is there counts, seen or not.
    assert_eq!(*rx.wait_for(|value| *value == 0).await.unwrap(), 0);
    let waiting = rt.spawn(async move {
        let value = rx.wait_for(|value| *value > 2).await.map(|value| *value);
        (value, rx)
    });
    for value in 1..=3 {
        tx.send(value).unwrap();
        yield_now().await;
    }
    let (value, mut rx) = waiting.await.unwrap();
    assert_eq!(value, Ok(3));
    assert_eq!(rx.has_changed(), Ok(false));
    // Of a closed channel the last value is looked at once, and then there is an end.
    tx.send(4).unwrap();
    drop(tx);
    assert_eq!(rx.wait_for(|value| *value == 4).await.map(|v| *v), Ok(4));
    assert_eq!(rx.wait_for(|value| *value == 4).await.map(|v| *v), Ok(4));
    let mut looks = 0;
    let never = rx.wait_for(|_| {
        looks += 1;
        false
    });
    assert_eq!(never.await.map(|v| *v), Err(RecvError::Closed));
    assert_eq!(looks, 1);
}

async fn senders_wait_until_nobody_watches(rt: TestRuntime) {
    let (tx, rx) = watch::channel(0);
    let other = rx.clone();
    let watched = tx.clone();
    let closed = rt.spawn(async move { watched.closed().await });
    drop(rx);
    yield_now().await;
    assert!(!tx.is_closed() && !closed.is_finished());
    drop(other);
    closed.await.unwrap();
    assert!(tx.is_closed());
    let refused = tx.send(1).unwrap_err();
    assert!(matches!(refused, SendError::NoReceiver(_)));
    assert_eq!((refused.into_inner(), *tx.borrow()), (1, 0));
    assert_eq!(tx.send_replace(2), 0);
    let rx = tx.subscribe();
    assert_eq!((rx.has_changed(), *rx.borrow()), (Ok(false), 2));
    tx.send(3).unwrap();
    assert_eq!(rx.has_changed(), Ok(true));
}

async fn a_stream_gives_what_was_not_seen(rt: TestRuntime) {
    let (tx, rx) = watch::channel(0);
    let mut changes = rx.into_changes();
    assert!(changes.next().now_or_never().is_none());
    let sender = rt.spawn(async move {
        for value in 1..=3 {
            tx.send(value).unwrap();
            yield_now().await;
        }
        tx
    });
    let mut last = 0;
    while last < 3 {
        let next = changes.next().await.unwrap();
        assert!(next > last);
        last = next;
    }
    let tx = sender.await.unwrap();
    assert!(changes.next().now_or_never().is_none());
    let mut rx = changes.into_inner();
    assert_eq!(tx.receiver_count(), 1);
    rx.mark_changed();
    drop(tx);
    let mut changes = rx.into_changes();
    assert_eq!(changes.next().await, Some(3));
    assert!(!changes.is_terminated());
    assert_eq!(changes.next().await, None);
    assert_eq!(changes.next().await, None);
    assert!(changes.is_terminated());
}

async fn many_watch_one(rt: TestRuntime) {
    let (tx, rx) = watch::channel(0_u32);
    let watchers: Vec<_> = (0..40)
        .map(|_| {
            let mut rx = rx.clone();
            rt.spawn(async move {
                let mut last = 0;
                while rx.changed().await.is_ok() {
                    let now = *rx.borrow();
                    assert!(now >= last);
                    last = now;
                }
                last
            })
        })
        .collect();
    drop(rx);
    for value in 1..=20 {
        tx.send(value).unwrap();
        yield_now().await;
    }
    drop(tx);
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), 20);
    }
}

#[test]
fn marks_and_clones_keep_what_was_seen() {
    let (tx, mut rx) = watch::channel(0);
    assert_eq!(rx.has_changed(), Ok(false));
    rx.mark_changed();
    assert_eq!(rx.has_changed(), Ok(true));
    assert!(rx.borrow().has_changed());
    assert_eq!(rx.clone().has_changed(), Ok(true));
    rx.mark_unchanged();
    assert_eq!(rx.clone().has_changed(), Ok(false));
    tx.send(1).unwrap();
    assert!(rx.borrow_and_update().has_changed());
    assert!(!rx.borrow_and_update().has_changed());
    assert!(!tx.borrow().has_changed());
    // Two that only look do not exclude one another.
    let (one, other) = (rx.borrow(), tx.borrow());
    assert_eq!(*one, *other);
}

#[test]
fn only_a_change_is_told() {
    let (tx, mut rx) = watch::channel(vec![1]);
    assert!(!tx.send_if_modified(|_| false));
    assert!(poll(&mut rx.changed()).is_pending());
    assert!(tx.send_if_modified(|list| {
        list.push(2);
        true
    }));
    tx.send_modify(|list| list.push(3));
    assert_eq!(poll(&mut rx.changed()), Poll::Ready(Ok(())));
    assert_eq!(*rx.borrow(), [1, 2, 3]);
    assert_eq!(tx.stats().changes, 2);
}

#[test]
fn a_closure_that_panics_tells_nobody_and_locks_nobody_out() {
    let (tx, mut rx) = watch::channel(1);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        tx.send_modify(|value| {
            *value = 2;
            panic!("a closure that panics");
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(rx.has_changed(), Ok(false));
    assert_eq!(*rx.borrow(), 2);

    let mut looks = 0;
    let mut wait = rx.wait_for(|value| {
        looks += 1;
        assert!(looks != 1, "a predicate that panics");
        *value == 3
    });
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut wait))).is_err());
    tx.send(3).unwrap();
    match poll(&mut wait) {
        Poll::Ready(Ok(value)) => assert_eq!(*value, 3),
        other => panic!("{other:?}"),
    }
    assert!(wait.is_terminated());
    assert!(poll(&mut wait).is_pending(), "it was ready before");
}

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_dropped_wait_leaves_nothing_behind() {
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let (tx, mut rx) = watch::channel(0);
    let mut wait = rx.changed();
    let mut cx = Context::from_waker(&waker);
    assert!(wait.poll_unpin(&mut cx).is_pending());
    assert!(wait.poll_unpin(&mut cx).is_pending());
    assert_eq!(Arc::strong_count(&count), 3);
    drop(wait);
    assert_eq!(Arc::strong_count(&count), 2);
    tx.send(1).unwrap();
    assert_eq!(count.0.load(SeqCst), 0);
    // Nothing was seen by it.
    assert_eq!(poll(&mut rx.changed()), Poll::Ready(Ok(())));
    // One that waits is woken once for many changes.
    let mut wait = rx.changed();
    assert!(wait.poll_unpin(&mut cx).is_pending());
    tx.send(2).unwrap();
    tx.send(3).unwrap();
    assert_eq!((count.0.load(SeqCst), Arc::strong_count(&count)), (1, 2));
    assert!(wait.poll_unpin(&mut cx).is_ready());
    assert!(wait.is_terminated() && poll(&mut wait).is_pending());
}

#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    struct Rude;
    impl Wake for Rude {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }
    let rude = Waker::from(Arc::new(Rude));
    let (tx, rx) = watch::channel(0);
    let (mut first, mut second) = (rx.clone(), rx);
    let (mut first, mut second) = (first.changed(), second.changed());
    assert!(
        first
            .poll_unpin(&mut Context::from_waker(&rude))
            .is_pending()
    );
    let woken = Arc::new(Count::default());
    let note = Waker::from(woken.clone());
    assert!(
        second
            .poll_unpin(&mut Context::from_waker(&note))
            .is_pending()
    );
    tx.send(1).unwrap();
    assert_eq!(woken.0.load(SeqCst), 1);
}

/// A destructor of an old value that uses the channel, as none of the channel's locks is held.
#[test]
fn an_old_value_may_use_the_channel_as_it_goes() {
    struct Last(Option<watch::Receiver<Last>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(rx) = &self.0 {
                assert!(rx.borrow().0.is_none());
            }
        }
    }
    let (tx, rx) = watch::channel(Last(None));
    tx.send_replace(Last(Some(rx.clone())));
    drop(tx.send_replace(Last(None)));
    drop(rx);
}

fn is_send<T: Send>(_: &T) {}

#[test]
fn ends_show_how_the_channel_stands() {
    let (tx, mut rx) = watch::channel(1);
    tx.send(2).unwrap();
    let text = "Sender { changes: 1, senders: 1, receivers: 1, .. }";
    assert_eq!(format!("{tx:?}"), text);
    assert_eq!(
        format!("{:?}", rx.borrow()),
        "Ref { value: 2, has_changed: true }"
    );
    let changed = rx.changed();
    assert_eq!(
        format!("{changed:?}"),
        "ChangedFuture { parked: false, done: false, .. }"
    );
    drop(changed);
    let wait = rx.wait_for(|_| true);
    assert_eq!(
        format!("{wait:?}"),
        "WaitForFuture { parked: false, done: false, .. }"
    );
    drop(wait);
    assert!(format!("{rx:?}").starts_with("Receiver { changes: 1"));
    assert!(format!("{:?}", rx.into_changes()).starts_with("Changes { receiver: "));
    is_send(&tx);
    is_send(&tx.subscribe().changed());
}

/// Random watchers beside a list of all values: each sees some of them in order, and the last.
#[test]
fn watchers_agree_with_the_list_of_values() {
    sim::check(0..300, |rt| async move {
        let (tx, rx) = watch::channel(0_u64);
        let mut tasks = VecDeque::new();
        for _ in 0..3 {
            let (mut rx, mut rng) = (rx.clone(), rt.rng());
            tasks.push_back(rt.spawn(async move {
                let mut last = 0;
                loop {
                    let ended = match rng.below(6) {
                        0 => rx.changed().await.is_err(),
                        1 => matches!(
                            poll_up_to(&mut rx.changed(), rng.below(3) + 1).await,
                            Some(Err(_))
                        ),
                        2 => {
                            let floor = last + rng.below(2);
                            let mut wait = rx.wait_for(|value| *value >= floor);
                            let found = poll_up_to(&mut wait, 2).await.map(|r| r.map(|v| *v));
                            match found {
                                Some(Ok(value)) => {
                                    assert!(value >= floor);
                                    false
                                }
                                Some(Err(RecvError::Closed)) => true,
                                Some(Err(other)) => panic!("{other}"),
                                None => false,
                            }
                        }
                        3 => {
                            let mut changes = rx.into_changes();
                            let next = poll_up_to(&mut changes.next(), 2).await;
                            rx = changes.into_inner();
                            if let Some(Some(value)) = next {
                                assert!(value >= last);
                                last = value;
                            }
                            next == Some(None)
                        }
                        4 => {
                            rx = rx.clone();
                            false
                        }
                        _ => {
                            yield_now().await;
                            false
                        }
                    };
                    let now = *rx.borrow();
                    assert!(now >= last, "{now} after {last}");
                    last = now;
                    if ended {
                        return last;
                    }
                }
            }));
        }
        drop(rx);
        let mut rng = rt.rng();
        let mut last = 0;
        for value in 1..=rng.below(20) + 1 {
            match rng.below(3) {
                0 => drop(tx.send_replace(value)),
                1 => tx.send_modify(|place| *place = value),
                _ => tx.send(value).unwrap(),
            }
            last = value;
            if rng.below(2) == 0 {
                yield_now().await;
            }
        }
        assert_eq!(tx.stats().changes, last);
        drop(tx);
        for task in tasks {
            assert_eq!(task.await.unwrap(), last);
        }
    });
}
