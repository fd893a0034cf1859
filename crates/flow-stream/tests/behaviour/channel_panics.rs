//! Foreign code that panics while items are on their way: nothing but what it was given is lost.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::common::poll;
use flow_rt::OnFull;
use flow_stream::{Channel, Receiver, Sender};

const ANSWERS: [OnFull; 4] = [
    OnFull::Wait,
    OnFull::Reject,
    OnFull::DropNewest,
    OnFull::DropOldest,
];

/// An item that is counted while it is there.
struct Item(u64, Arc<AtomicUsize>);

impl Item {
    fn new(weight: u64, there: &Arc<AtomicUsize>) -> Self {
        there.fetch_add(1, Relaxed);
        Self(weight, there.clone())
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Relaxed);
    }
}

/// Panics in `f`?
fn panics<R>(f: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(|| drop(f()))).is_err()
}

/// A channel for 4, which holds an item of 2, and whose scale panics at items of 3.
fn dislikes_threes(answer: OnFull, there: &Arc<AtomicUsize>) -> (Sender<Item>, Receiver<Item>) {
    let weigh = |item: &Item| if item.0 == 3 { panic!("three") } else { item.0 };
    let channel = Channel::builder().max_weight(4, weigh).on_full(answer);
    let (tx, rx) = channel.build().unwrap();
    assert!(tx.try_send(Item::new(2, there)).is_ok());
    (tx, rx)
}

/// It holds what it held, and goes on.
fn is_as_it_was(tx: &Sender<Item>, rx: &Receiver<Item>, there: &Arc<AtomicUsize>) {
    let stats = tx.stats();
    assert_eq!((stats.len, stats.weight, stats.dropped()), (1, 2, 0));
    assert_eq!(there.load(Relaxed), 1);
    assert!(tx.try_send(Item::new(1, there)).is_ok());
    assert_eq!(rx.try_recv().map(|item| item.0), Ok(2));
    assert_eq!(rx.try_recv().map(|item| item.0), Ok(1));
    assert_eq!((tx.len(), there.load(Relaxed)), (0, 0));
}

#[test]
fn a_scale_that_panics_costs_the_one_item() {
    for answer in ANSWERS {
        let ways: [fn(&Sender<Item>, Item); 4] = [
            |tx, item| drop(tx.try_send(item)),
            |tx, item| drop(poll(&mut tx.send(item))),
            |tx, item| drop(poll(&mut tx.send_timeout(item, Duration::ZERO))),
            |tx, item| drop(tx.send_blocking(item)),
        ];
        for way in ways {
            let there = Arc::default();
            let (tx, rx) = dislikes_threes(answer, &there);
            assert!(panics(|| way(&tx, Item::new(3, &there))));
            is_as_it_was(&tx, &rx, &there);
        }
    }
}

#[cfg(feature = "sink")]
#[test]
fn a_scale_that_panics_costs_a_sink_the_one_item() {
    use futures_util::{FutureExt, SinkExt};

    for answer in ANSWERS {
        let there = Arc::default();
        let (tx, rx) = dislikes_threes(answer, &there);
        let mut sink = tx.clone().into_sink();
        let item = Item::new(3, &there);
        assert!(panics(|| sink.send(item).now_or_never()));
        is_as_it_was(&tx, &rx, &there);
        assert!(matches!(sink.flush().now_or_never(), Some(Ok(()))));
    }
}

#[test]
fn a_scale_that_panics_costs_those_who_send_many_nothing() {
    for answer in ANSWERS {
        for waits in [false, true] {
            let there = Arc::default();
            let (tx, rx) = dislikes_threes(answer, &there);
            let mut items: VecDeque<_> = [3, 1].map(|weight| Item::new(weight, &there)).into();
            assert!(panics(|| if waits {
                poll(&mut tx.send_many(&mut items)).is_ready()
            } else {
                tx.try_send_many(&mut items).is_ok()
            }));
            assert!(items.iter().map(|item| item.0).eq([3, 1]));
            items.clear();
            is_as_it_was(&tx, &rx, &there);
        }
    }
}

/// Whichever of the times it is weighed.
#[test]
fn a_scale_that_panics_now_and_then_costs_those_who_send_many_nothing() {
    for answer in ANSWERS {
        for calm in 0..12 {
            let (left, is_on) = (
                Arc::new(AtomicUsize::new(calm)),
                Arc::new(AtomicBool::new(false)),
            );
            let weigh = {
                let (left, is_on) = (left.clone(), is_on.clone());
                move |_: &u64| {
                    let more = |left: usize| left.checked_sub(1);
                    let goes_on = || left.fetch_update(Relaxed, Relaxed, more).is_ok();
                    assert!(!is_on.load(Relaxed) || goes_on(), "enough");
                    1
                }
            };
            let channel = Channel::builder().max_weight(2, weigh).on_full(answer);
            let (tx, rx) = channel.build().unwrap();
            tx.try_send(0).unwrap();
            let mut items: VecDeque<_> = (1..5).collect();
            is_on.store(true, Relaxed);
            let panicked = panics(|| {
                let mut many = tx.send_many(&mut items);
                for _ in 0..4 {
                    let _ = poll(&mut many);
                }
            });
            is_on.store(false, Relaxed);
            assert!(panicked || calm > 0);
            // All of them are somewhere, and those that were not sent in their order.
            let stats = tx.stats();
            let (held, left) = (stats.len as u64, items.len() as u64);
            assert_eq!(held + stats.dropped() + left, 5);
            assert!(items.iter().copied().eq(5 - left..5));
            // Nobody holds room, or a place in the line.
            while rx.try_recv().is_ok() {}
            assert!(tx.try_send(5).is_ok() && tx.try_send(6).is_ok());
        }
    }
}

#[cfg(feature = "pipes")]
mod pipes {
    use super::{Arc, AssertUnwindSafe, AtomicUsize, Channel, Relaxed, catch_unwind, panics, poll};
    use flow_stream::{FanOut, Tee};

    #[test]
    fn a_key_that_panics_has_sent_nothing() {
        let (tx, rx) = Channel::bounded(1).unwrap();
        let key = |item: &u32| if *item == 3 { panic!("three") } else { *item };
        let mut fan_out = FanOut::by_key([tx], key);
        let mut send = fan_out.send(3);
        assert!(panics(|| poll(&mut send)));
        assert_eq!(send.into_inner(), Some(3));
        assert!(poll(&mut fan_out.send(4)).is_ready());
        assert_eq!((rx.len(), rx.try_recv()), (1, Ok(4)));
    }

    /// A key may panic when its item has a place in the line of its channel already.
    #[test]
    fn a_key_that_panics_leaves_no_place_behind() {
        let (tx, rx) = Channel::bounded(1).unwrap();
        tx.try_send(0).unwrap();
        let left = AtomicUsize::new(2);
        let key = move |item: &u32| {
            let more = |left: usize| left.checked_sub(1);
            let asked = left.fetch_update(Relaxed, Relaxed, more);
            assert!(asked.is_ok(), "a key that panics");
            *item
        };
        let mut fan_out = FanOut::by_key([tx.clone()], key);
        let mut send = fan_out.send(3);
        assert!(poll(&mut send).is_pending() && poll(&mut send).is_pending());
        assert!(panics(|| poll(&mut send)));
        assert_eq!((rx.try_recv(), send.into_inner()), (Ok(0), Some(3)));
        tx.try_send(1).unwrap();
        assert_eq!(rx.try_recv(), Ok(1));
    }

    /// Panics when it is copied for the second time.
    struct Copies(Arc<AtomicUsize>);

    impl Clone for Copies {
        fn clone(&self) -> Self {
            assert_ne!(self.0.fetch_add(1, Relaxed), 1, "a clone that panics");
            Self(self.0.clone())
        }
    }

    #[test]
    fn a_clone_that_panics_leaves_the_other_branches_without_a_copy() {
        let (branches, receivers): (Vec<_>, Vec<_>) =
            (0..3).map(|_| Channel::bounded(1).unwrap()).unzip();
        let mut tee = Tee::new(branches.clone()).unwrap();
        let copies = Arc::new(AtomicUsize::new(0));
        assert!(panics(|| poll(&mut tee.send(Copies(copies.clone())))));
        let received = receivers.iter().filter(|rx| rx.try_recv().is_ok());
        assert_eq!(received.count(), 1);
        assert_eq!(
            Arc::strong_count(&copies),
            1,
            "the item went with the panic"
        );
        // The room that was taken for it is free: for others, and for the next.
        assert!(branches.iter().all(|tx| tx.try_reserve().is_ok()));
        assert!(poll(&mut tee.send(Copies(copies.clone()))).is_ready());
        assert!(receivers.iter().all(|rx| rx.try_recv().is_ok()));
        assert_eq!((tee.len(), tee.missed()), (3, 0));
    }

    #[test]
    fn whoever_takes_on_a_thread_may_panic() {
        let (tx, rx) = Channel::bounded(4).unwrap();
        for item in 0..3 {
            tx.try_send(item).unwrap();
        }
        drop(tx);
        let mut taken = Vec::new();
        let mut take = |item| {
            assert_ne!(item, 1, "one who takes and panics");
            taken.push(item);
            Ok::<_, ()>(())
        };
        assert!(panics(|| rx.for_each_blocking(&mut take)));
        assert_eq!(rx.len(), 1, "what it was not given is there");
        assert!(matches!(rx.for_each_blocking(&mut take), Ok(None)));
        assert_eq!(taken, [0, 2]);
    }

    #[test]
    fn an_iterator_that_panics_has_sent_what_it_gave() {
        let (tx, rx) = Channel::bounded(4).unwrap();
        let mut items = (0..3).inspect(|item| assert_ne!(*item, 1, "an iterator that panics"));
        let sent = catch_unwind(AssertUnwindSafe(|| tx.send_all_blocking(items.by_ref())));
        assert!(sent.is_err());
        assert!(matches!(tx.send_all_blocking(items), Ok(1)));
        assert_eq!((rx.try_recv(), rx.try_recv()), (Ok(0), Ok(2)));
        assert!(!tx.is_closed());
    }
}
