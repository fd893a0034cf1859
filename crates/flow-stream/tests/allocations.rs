//! What a channel allocates for an item: nothing, once it is under way.
#![cfg(all(feature = "channel", not(loom)))]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use flow_rt::OnFull;
use flow_stream::broadcast::OnLag;
use flow_stream::{Channel, ChannelBuilder, Receiver, Sender, broadcast, oneshot, watch};

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Allocations of `round` after ten of them.
fn steady(mut round: impl FnMut()) -> u64 {
    (0..10).for_each(|_| round());
    measure(|| (0..1_000).for_each(|_| round())).count_total
}

/// One of each kind, over each queue; they hold two items or none.
fn kinds() -> Vec<(&'static str, ChannelBuilder<u64>)> {
    vec![
        ("over a ring", Channel::builder().capacity(2)),
        ("weighed", Channel::builder().max_weight(2, |_| 1)),
        ("rendezvous", Channel::builder().rendezvous()),
    ]
}

#[test]
fn items_that_do_not_wait() {
    for answer in [
        OnFull::Wait,
        OnFull::Reject,
        OnFull::DropNewest,
        OnFull::DropOldest,
    ] {
        let (tx, rx) = Channel::builder()
            .capacity(4)
            .on_full(answer)
            .build()
            .unwrap();
        let count = steady(|| {
            for item in 0..6 {
                drop(tx.try_send(item));
            }
            while rx.try_recv().is_ok() {}
        });
        assert_eq!(count, 0, "{answer}");
    }
    let (tx, rx) = Channel::unbounded();
    let count = steady(|| {
        (0..8).for_each(|item| tx.try_send(item).unwrap());
        while rx.try_recv().is_ok() {}
    });
    assert_eq!(count, 0, "unbounded");
}

/// A channel that grows keeps the memory for some thousand items, and not that of a burst.
#[test]
fn the_memory_of_a_burst_goes_back() {
    const BURST: u64 = 100_000;
    let unbounded = || Channel::builder().capacity(1 << 40);
    let mut batch = Vec::with_capacity(BURST as usize);
    for (name, builder) in [
        ("unbounded", unbounded()),
        ("oldest", unbounded().on_full(OnFull::DropOldest)),
        ("weighed", Channel::builder().max_weight(u64::MAX, |_| 1)),
    ] {
        let (tx, rx) = builder.build().unwrap();
        let left = |drain: &mut dyn FnMut()| {
            let all = measure(|| {
                (0..BURST).for_each(|item| tx.try_send(item).unwrap());
                drain();
            });
            assert!(rx.is_empty() && all.bytes_max > 8 * BURST, "{name}");
            assert!(all.bytes_current < 256 << 10, "{name}: {all:?}");
        };
        left(&mut || while rx.try_recv().is_ok() {});
        left(&mut || while poll(&mut rx.recv()).is_ready() {});
        left(&mut || {
            rx.drain(&mut batch, usize::MAX);
            batch.clear();
        });
    }
}

/// A sender and a receiver that park for each other.
#[test]
fn items_that_wait() {
    fn meet(tx: &Sender<u64>, rx: &Receiver<u64>) {
        let mut recv = rx.recv();
        let parked = poll(&mut recv).is_pending() && poll(&mut recv).is_pending();
        assert!(parked);
        tx.try_send(1).unwrap();
        assert_eq!(poll(&mut recv), Poll::Ready(Ok(1)));
        while tx.try_send(2).is_ok() {}
        let (mut first, mut second) = (tx.send(3), tx.send(4));
        for send in [&mut first, &mut second] {
            assert!(poll(send).is_pending() && poll(send).is_pending());
        }
        drop(second);
        let mut taken = 0;
        while taken != 3 {
            taken = rx.try_recv().unwrap_or(0);
            drop(poll(&mut first));
        }
    }
    for (name, builder) in kinds() {
        let (tx, rx) = builder.build().unwrap();
        assert_eq!(steady(|| meet(&tx, &rx)), 0, "{name}");
    }
}

#[test]
fn batches_and_permits() {
    let (tx, rx) = Channel::bounded(64).unwrap();
    let (mut items, mut batch) = (VecDeque::with_capacity(64), Vec::with_capacity(64));
    let count = steady(|| {
        items.extend(0..48_u64);
        tx.try_send_many(&mut items).unwrap();
        tx.try_reserve().unwrap().send(48);
        tx.try_reserve_owned().unwrap().send(49);
        drop(tx.try_reserve().unwrap());
        assert_eq!(rx.drain(&mut batch, 64), 50);
        batch.clear();
    });
    assert_eq!(count, 0);
}

/// Every receiver parks, is woken and takes, by each answer to lag; and so does a sender.
#[test]
fn broadcasts() {
    for policy in [OnLag::Wait, OnLag::DropOldest, OnLag::Disconnect] {
        let builder = broadcast::builder().capacity(2).on_lag(policy);
        let (tx, mut one) = builder.build::<u64>().unwrap();
        let mut two = one.clone();
        let count = steady(|| {
            let (mut first, mut second) = (one.recv(), two.recv());
            for recv in [&mut first, &mut second] {
                assert!(poll(recv).is_pending() && poll(recv).is_pending());
            }
            tx.try_send(1).unwrap();
            for recv in [&mut first, &mut second] {
                assert_eq!(poll(recv), Poll::Ready(Ok(1)));
            }
            drop((first, second));
            if policy != OnLag::Wait {
                return;
            }
            tx.try_send(2).unwrap();
            tx.try_send(3).unwrap();
            let mut send = tx.send(4);
            assert!(poll(&mut send).is_pending() && poll(&mut send).is_pending());
            for item in [2, 3] {
                assert_eq!((one.try_recv(), two.try_recv()), (Ok(item), Ok(item)));
            }
            assert!(poll(&mut send).is_ready());
            assert_eq!((one.try_recv(), two.try_recv()), (Ok(4), Ok(4)));
        });
        assert_eq!(count, 0, "{policy}");
    }
}

#[test]
fn a_value_that_changes() {
    let (tx, mut one) = watch::channel(0_u64);
    let mut two = one.clone();
    let count = steady(|| {
        let (mut first, mut second) = (one.changed(), two.changed());
        for changed in [&mut first, &mut second] {
            assert!(poll(changed).is_pending());
        }
        tx.send_replace(1);
        for changed in [&mut first, &mut second] {
            assert!(poll(changed).is_ready());
        }
    });
    assert_eq!(count, 0);
}

/// One for the channel, none for its item, however it comes.
#[test]
fn one_item() {
    let at_once = || {
        let (tx, mut rx) = oneshot::channel();
        tx.send(1).unwrap();
        assert_eq!(rx.try_recv(), Ok(1));
    };
    assert_eq!(steady(at_once), 1_000);
    let awaited = || {
        let (tx, mut rx) = oneshot::channel();
        assert!(poll(&mut rx).is_pending());
        tx.send(1).unwrap();
        assert_eq!(poll(&mut rx), Poll::Ready(Ok(1)));
    };
    assert_eq!(steady(awaited), 1_000);
}

#[cfg(feature = "pipes")]
#[test]
fn items_that_are_spread_and_copied() {
    use flow_stream::{FanOut, Merge, Tee};
    use futures_util::{FutureExt, StreamExt};

    let (txs, rxs): (Vec<_>, Vec<_>) = (0..3).map(|_| Channel::bounded(8).unwrap()).unzip();
    let mut merged: Merge<_> = rxs.into_iter().collect();
    let mut tee = Tee::new(txs.clone()).unwrap();
    let mut by_turns = FanOut::round_robin(txs.clone()).unwrap();
    let mut least = FanOut::least_loaded(txs.clone()).unwrap();
    let mut keyed = FanOut::by_key(txs, |item: &u64| *item);
    let count = steady(|| {
        for item in 0..3 {
            tee.send(item).now_or_never().unwrap().unwrap();
            by_turns.send(item).now_or_never().unwrap().unwrap();
            least.send(item).now_or_never().unwrap().unwrap();
            keyed.send(0).now_or_never().unwrap().unwrap();
            let mut taken = 0;
            while merged.next().now_or_never().is_some() {
                taken += 1;
            }
            assert_eq!(taken, 6);
        }
    });
    assert_eq!(count, 0);
}
