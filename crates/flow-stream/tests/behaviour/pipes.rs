//! Merging, fanning out, copying and piping, on every runtime.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::common::{park, poll, yield_now};
use flow_rt::{CancellationToken, OnFull, TestRuntime};
use flow_stream::{Channel, FanOut, Merge, PipeEnd, Receiver, ReserveError, SendError, Tee, pipe};
use futures_util::future::FusedFuture;
use futures_util::stream::{self, FusedStream, Stream};
use futures_util::{FutureExt, StreamExt};

flow_rt::on_every_runtime! {
    a_merge_is_fair,
    a_merge_asks_by_priority,
    a_merge_ends_with_its_last_source,
    a_dropped_next_loses_nothing,
    by_turns,
    to_the_least_loaded,
    by_key,
    a_fan_out_waits_where_there_is_room_first,
    a_fan_out_leaves_closed_channels_out,
    a_fan_out_that_does_not_wait,
    a_fan_out_finds_the_room_that_came_meanwhile,
    a_fan_out_over_those_that_reject,
    to_workers_that_meet,
    a_leaked_keyed_send_costs_the_next_nothing,
    what_is_too_heavy_for_all_says_so,
    a_tee_copies_to_all,
    a_tee_that_is_given_up_has_sent_nothing,
    branches_have_their_own_answers,
    what_is_too_heavy_for_a_branch_is_missed,
    no_clones_for_those_that_get_none,
    tees_do_not_hold_up_each_other,
    a_tee_has_a_channel_once,
    a_pipe_moves_all,
    a_pipe_ends_with_its_channel,
    a_pipe_that_is_stopped_gives_back_what_it_has,
    a_pipe_lets_others_run,
    to_and_from_the_channels_of_others,
    in_select,
}

const SEC: Duration = Duration::from_secs(1);

fn poll_next<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

/// Channels of `capacity`, their senders and their receivers.
fn channels<T>(n: usize, capacity: usize) -> (Vec<flow_stream::Sender<T>>, Vec<Receiver<T>>) {
    (0..n).map(|_| Channel::bounded(capacity).unwrap()).unzip()
}

fn all<T>(rx: &Receiver<T>) -> Vec<T> {
    let mut batch = Vec::new();
    rx.drain(&mut batch, usize::MAX);
    batch
}

async fn a_merge_is_fair(_: TestRuntime) {
    let (txs, rxs) = channels(3, 8);
    for (who, tx) in txs.iter().enumerate() {
        // One of them has much more than the others.
        for nth in 0..if who == 0 { 6 } else { 2 } {
            tx.try_send((who, nth)).unwrap();
        }
    }
    let mut merged: Merge<_> = rxs.into_iter().collect();
    assert_eq!(merged.len(), 3);
    let mut order = Vec::new();
    while let Poll::Ready(Some(item)) = poll_next(&mut merged) {
        order.push(item);
    }
    let turns = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)];
    assert_eq!(order[..7], turns);
    assert_eq!(order.len(), 10);
    drop(txs);
    assert_eq!(merged.next().await, None);
}

async fn a_merge_asks_by_priority(rt: TestRuntime) {
    let (txs, mut rxs) = channels(3, 8);
    let (third, second, first) = (rxs.pop().unwrap(), rxs.pop().unwrap(), rxs.pop().unwrap());
    let mut merged = Merge::new().with(first).with_priority(7, second);
    merged.push(7, third);
    assert_eq!(
        format!("{merged:?}"),
        "Merge { sources_by_priority: [(7, 2), (0, 1)], .. }"
    );
    for (who, tx) in txs.iter().enumerate() {
        tx.try_send(who).unwrap();
        tx.try_send(who).unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(merged.next().await.unwrap());
    }
    assert_eq!(order, [1, 2, 1, 2]);
    assert_eq!(merged.next().await, Some(0));
    txs[2].try_send(2).unwrap();
    assert_eq!(
        (merged.next().await, merged.next().await),
        (Some(2), Some(0))
    );
    // It is woken by any of them.
    let late = rt.spawn(async move {
        yield_now().await;
        txs[0].send(9).await
    });
    assert_eq!(merged.next().await, Some(9));
    late.await.unwrap().unwrap();
    assert_eq!(merged.next().await, None);
}

async fn a_merge_ends_with_its_last_source(_: TestRuntime) {
    let mut none = Merge::<Receiver<u8>>::new();
    assert!(!none.is_terminated() && none.is_empty());
    assert_eq!(none.next().await, None);
    assert!(none.is_terminated());
    let (txs, rxs) = channels(2, 1);
    let mut merged: Merge<_> = rxs.into_iter().collect();
    assert!(poll_next(&mut merged).is_pending());
    txs[0].close();
    txs[1].try_send(1).unwrap();
    assert_eq!(merged.next().await, Some(1));
    assert!(poll_next(&mut merged).is_pending());
    assert_eq!(merged.len(), 1, "what has ended is gone");
    drop(txs);
    assert_eq!(merged.next().await, None);
    assert!(merged.is_terminated());
    let mixed = Merge::new()
        .with(stream::iter(0..3).boxed())
        .with(stream::once(async { 9 }).boxed());
    assert_eq!(mixed.size_hint(), (4, Some(4)));
    assert_eq!(mixed.collect::<Vec<_>>().await, [0, 9, 1, 2]);
}

async fn a_dropped_next_loses_nothing(rt: TestRuntime) {
    let (txs, rxs) = channels(2, 1);
    let mut merged: Merge<_> = rxs.into_iter().collect();
    assert!(merged.next().now_or_never().is_none());
    assert!(rt.timeout(SEC, merged.next()).await.is_err());
    let token = CancellationToken::new();
    token.cancel();
    assert_eq!(token.run_until_cancelled(merged.next()).await, None);
    txs[1].try_send(1).unwrap();
    txs[0].try_send(0).unwrap();
    // What was set aside for its places is there when they are given up.
    let rxs: Vec<_> = merged.into_sources().collect();
    assert_eq!((rxs[0].recv().await, rxs[1].recv().await), (Ok(0), Ok(1)));
}

async fn by_turns(_: TestRuntime) {
    let (txs, rxs) = channels(3, 4);
    let mut fan_out = FanOut::round_robin(txs).unwrap();
    for item in 0..7 {
        fan_out.send(item).await.unwrap();
    }
    assert_eq!(all(&rxs[0]), [0, 3, 6]);
    assert_eq!(all(&rxs[1]), [1, 4]);
    assert_eq!(all(&rxs[2]), [2, 5]);
    // One that is full is passed over.
    for item in 0..12 {
        fan_out.send(item).await.unwrap();
    }
    assert!(all(&rxs[1]).len() == 4 && fan_out.send(12).now_or_never().is_some());
    assert_eq!(all(&rxs[1]), [12]);
}

async fn to_the_least_loaded(_: TestRuntime) {
    let (txs, rxs) = channels(3, 4);
    txs[0].try_send(90).unwrap();
    txs[0].try_send(91).unwrap();
    txs[2].try_send(92).unwrap();
    let mut fan_out = FanOut::least_loaded(txs).unwrap();
    for item in 0..6 {
        fan_out.send(item).await.unwrap();
    }
    assert_eq!(rxs.iter().map(Receiver::len).collect::<Vec<_>>(), [3, 3, 3]);
    assert_eq!(rxs[1].recv().await, Ok(0));
    assert_eq!(
        format!("{fan_out:?}"),
        "FanOut { choice: \"least loaded\", outputs: 3, .. }"
    );
}

async fn by_key(_: TestRuntime) {
    let (txs, rxs) = channels(4, 1_000);
    let mut fan_out = FanOut::by_key(txs.clone(), |item: &(u32, u32)| item.0);
    for nth in 0..2 {
        for key in 0..200 {
            fan_out.send((key, nth)).await.unwrap();
        }
    }
    let mut home = vec![usize::MAX; 200];
    for (at, rx) in rxs.iter().enumerate() {
        let items = all(rx);
        assert!((50..=150).contains(&items.len()), "{}", items.len());
        for (key, nth) in items {
            let home = &mut home[key as usize];
            assert_eq!(
                *home,
                if nth == 0 { usize::MAX } else { at },
                "together, in order"
            );
            *home = at;
        }
    }
    // Only the keys of the one that closes move.
    txs[2].close();
    for key in 0..200 {
        fan_out.send((key, 2)).await.unwrap();
    }
    assert_eq!(fan_out.len(), 3);
    for (at, rx) in rxs.iter().enumerate() {
        for (key, _) in all(rx) {
            let was = home[key as usize];
            assert!(was == at || was == 2, "key {key} moved from {was} to {at}");
        }
    }
}

async fn a_fan_out_waits_where_there_is_room_first(rt: TestRuntime) {
    let (txs, rxs) = channels(2, 1);
    let mut fan_out = FanOut::round_robin(txs.clone()).unwrap();
    fan_out.send(0).await.unwrap();
    fan_out.send(1).await.unwrap();
    let mut send = fan_out.send(2);
    park(&mut send);
    assert_eq!(rxs[1].recv().await, Ok(1));
    assert!(txs[1].try_send(9).is_err(), "the room is promised");
    (&mut send).await.unwrap();
    assert!(send.is_terminated() && poll(&mut send).is_pending());
    drop(send);
    assert_eq!((all(&rxs[0]), all(&rxs[1])), (vec![0], vec![2]));
    // It left the other line: nothing is promised there.
    txs[0].try_send(3).unwrap();
    txs[1].try_send(4).unwrap();
    // One that is given up gives the item back, and holds nothing.
    let mut send = fan_out.send(5);
    assert!(rt.timeout(SEC, &mut send).await.is_err());
    let token = CancellationToken::new();
    token.cancel();
    assert!(token.run_until_cancelled(&mut send).await.is_none());
    assert_eq!(send.into_inner(), Some(5));
    assert_eq!((all(&rxs[0]), all(&rxs[1])), (vec![3], vec![4]));
    txs[0].try_send(6).unwrap();
    txs[1].try_send(7).unwrap();
}

async fn a_fan_out_leaves_closed_channels_out(_: TestRuntime) {
    let (txs, mut rxs) = channels(3, 2);
    let mut fan_out = FanOut::round_robin(txs).unwrap();
    drop(rxs.remove(1));
    for item in 0..4 {
        fan_out.send(item).await.unwrap();
    }
    assert_eq!(fan_out.len(), 2);
    let mut send = fan_out.send(4);
    park(&mut send);
    drop(rxs.remove(1));
    assert!(poll(&mut send).is_pending());
    rxs[0].close();
    let refused = send.await.unwrap_err();
    assert!(refused.is_closed());
    assert_eq!(refused.into_inner(), 4);
    assert!(fan_out.is_empty());
    let mut keyed = FanOut::by_key([], |item: &u8| *item);
    assert_eq!(keyed.send(1).await.unwrap_err().into_inner(), 1);
}

async fn a_fan_out_that_does_not_wait(_: TestRuntime) {
    let build = |answer| {
        Channel::builder()
            .capacity(1)
            .on_full(answer)
            .build()
            .unwrap()
    };
    let (rejecting, first) = build(OnFull::Reject);
    let (also, second) = build(OnFull::Reject);
    let mut fan_out = FanOut::round_robin([rejecting, also]).unwrap();
    fan_out.send(1).await.unwrap();
    fan_out.send(2).await.unwrap();
    let full = fan_out.send(3).await.unwrap_err();
    assert!(matches!(full, SendError::Full(_)), "{full:?}");
    assert_eq!((all(&first), all(&second)), (vec![1], vec![2]));
    let (dropping, third) = build(OnFull::DropOldest);
    let mut fan_out = FanOut::least_loaded([dropping]).unwrap();
    fan_out.send(1).await.unwrap();
    fan_out.send(2).await.unwrap();
    assert_eq!(all(&third), [2]);
    let (meeting, _rx) = Channel::<u8>::rendezvous();
    assert_eq!(
        FanOut::round_robin([meeting]).unwrap_err(),
        ReserveError::Rendezvous
    );
}

/// Before it gives an item back it looks again at those that it cannot wait for.
async fn a_fan_out_finds_the_room_that_came_meanwhile(_: TestRuntime) {
    let (waiting, first) = Channel::bounded(1).unwrap();
    let rejecting = Channel::builder().capacity(1).on_full(OnFull::Reject);
    let (rejecting, second) = rejecting.build().unwrap();
    let mut fan_out = FanOut::round_robin([waiting, rejecting]).unwrap();
    fan_out.send(1).await.unwrap();
    fan_out.send(2).await.unwrap();
    let mut send = fan_out.send(3);
    park(&mut send);
    assert_eq!(second.try_recv(), Ok(2));
    first.close();
    assert!(matches!(poll(&mut send), Poll::Ready(Ok(()))));
    drop(send);
    assert_eq!((all(&first), fan_out.len()), (vec![1], 1));
    let full = fan_out.send(4).await.unwrap_err();
    assert!(matches!(full, SendError::Full(_)), "{full:?}");
    assert_eq!(all(&second), [3]);
}

/// No item waits in those, so that none needs room that is taken in advance.
async fn a_fan_out_over_those_that_reject(_: TestRuntime) {
    let weighed = Channel::builder().max_weight(5, |item: &u64| *item);
    let (weighed, light) = weighed.on_full(OnFull::Reject).build().unwrap();
    let meeting = Channel::builder().rendezvous();
    let (meeting, met) = meeting.on_full(OnFull::Reject).build().unwrap();
    let outputs = [weighed.clone(), meeting.clone()];
    let mut fan_out = FanOut::round_robin(outputs.clone()).unwrap();
    fan_out.send(3).await.unwrap();
    let full = fan_out.send(4).await.unwrap_err();
    assert!(matches!(full, SendError::Full(_)), "{full:?}");
    let mut recv = met.recv();
    park(&mut recv);
    fan_out.send(4).await.unwrap();
    assert_eq!((recv.await, all(&light)), (Ok(4), vec![3]));
    FanOut::least_loaded(outputs).unwrap();
    // A tee takes room in all of them before it sends to any.
    assert_eq!(Tee::new([weighed]).unwrap_err(), ReserveError::Weighed);
    assert_eq!(Tee::new([meeting]).unwrap_err(), ReserveError::Rendezvous);
}

async fn to_workers_that_meet(_: TestRuntime) {
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..2).map(|_| Channel::rendezvous()).unzip();
    let mut fan_out = FanOut::by_key(txs, |item: &u32| item % 2);
    let mut send = fan_out.send(4);
    assert!(poll(&mut send).is_pending());
    assert_eq!(send.into_inner(), Some(4));
    let mut send = fan_out.send(4);
    assert!(poll(&mut send).is_pending());
    let received = rxs.iter().find_map(|rx| rx.try_recv().ok());
    assert_eq!(received, Some(4));
    send.await.unwrap();
    let mut send = fan_out.send(5);
    assert!(poll(&mut send).is_pending());
    for rx in &rxs {
        rx.close();
    }
    assert_eq!(send.await.unwrap_err().into_inner(), 5);
}

async fn a_leaked_keyed_send_costs_the_next_nothing(_: TestRuntime) {
    let (tx, rx) = Channel::rendezvous();
    let mut fan_out = FanOut::by_key([tx], |item: &u32| *item);
    let mut leaked = fan_out.send(1);
    assert!(poll(&mut leaked).is_pending());
    std::mem::forget(leaked);
    let mut send = fan_out.send(2);
    assert!(poll(&mut send).is_pending());
    assert_eq!(rx.try_recv(), Ok(2), "the other was given up");
    send.await.unwrap();
    assert!(rx.try_recv().is_err());

    let mut leaked = fan_out.send(3);
    assert!(poll(&mut leaked).is_pending());
    std::mem::forget(leaked);
    let mut piping = Box::pin(pipe(stream::iter([4]), fan_out));
    assert!(poll(&mut piping).is_pending());
    assert_eq!(rx.try_recv(), Ok(4));
    assert!(piping.await.is_ended());
}

async fn what_is_too_heavy_for_all_says_so(_: TestRuntime) {
    let weighed = |limit, answer| {
        let builder = Channel::builder().max_weight(limit, |item| *item);
        builder.on_full(answer).build().unwrap()
    };
    let (newest, first) = weighed(5, OnFull::DropNewest);
    let (oldest, second) = weighed(8, OnFull::DropOldest);
    let mut fan_out = FanOut::round_robin([newest.clone(), oldest]).unwrap();
    match fan_out.send(9).await {
        Err(SendError::TooHeavy(heavy)) => {
            assert_eq!((heavy.weight(), heavy.limit()), (9, 8), "of the widest");
            assert_eq!(heavy.into_inner(), 9);
        }
        other => panic!("{other:?}"),
    }
    fan_out.send(7).await.unwrap();
    assert_eq!((all(&first), all(&second)), (vec![], vec![7]));
    // It may find room another time in one that rejects it now.
    let rejecting = Channel::builder().capacity(1).on_full(OnFull::Reject);
    let (reject, third) = rejecting.build().unwrap();
    reject.try_send(0).unwrap();
    let mut fan_out = FanOut::round_robin([newest, reject]).unwrap();
    let full = fan_out.send(9).await.unwrap_err();
    assert!(matches!(full, SendError::Full(_)), "{full:?}");
    first.close();
    third.close();
    assert!(fan_out.send(9).await.unwrap_err().is_closed());
}

async fn a_tee_copies_to_all(rt: TestRuntime) {
    let (txs, rxs) = channels(3, 2);
    let mut tee = Tee::new(txs).unwrap();
    let reading = rxs.into_iter().map(|rx| rt.spawn(rx.collect::<Vec<u32>>()));
    let reading: Vec<_> = reading.collect();
    for item in 0..100 {
        tee.send(item).await.unwrap();
    }
    drop(tee);
    for reader in reading {
        assert_eq!(reader.await.unwrap(), (0..100).collect::<Vec<_>>());
    }
}

async fn a_tee_that_is_given_up_has_sent_nothing(rt: TestRuntime) {
    let (txs, mut rxs) = channels(3, 1);
    let mut tee = Tee::new(txs.clone()).unwrap();
    txs[1].try_send(9).unwrap();
    let mut send = tee.send(1);
    park(&mut send);
    assert!(rt.timeout(SEC, &mut send).await.is_err());
    let token = CancellationToken::new();
    token.cancel();
    assert!(token.run_until_cancelled(&mut send).await.is_none());
    assert_eq!(send.into_inner(), Some(1));
    assert!(rxs[0].is_empty() && rxs[2].is_empty());
    // All room that it had is free again.
    txs[0].try_send(9).unwrap();
    txs[2].try_send(9).unwrap();
    // A branch that goes away while it waits holds up nobody.
    let mut send = tee.send(2);
    park(&mut send);
    assert_eq!((all(&rxs[0]), all(&rxs[2])), (vec![9], vec![9]));
    drop(rxs.remove(1));
    (&mut send).await.unwrap();
    assert!(send.is_terminated() && poll(&mut send).is_pending());
    drop(send);
    assert_eq!((all(&rxs[0]), all(&rxs[1])), (vec![2], vec![2]));
    assert_eq!(tee.len(), 2);
    drop(rxs);
    assert_eq!(tee.send(3).await.unwrap_err().into_inner(), 3);
    assert!(tee.is_empty());
}

async fn branches_have_their_own_answers(_: TestRuntime) {
    let build = |answer| {
        Channel::builder()
            .capacity(1)
            .on_full(answer)
            .build()
            .unwrap()
    };
    let (wait, waiting) = build(OnFull::Wait);
    let (reject, rejecting) = build(OnFull::Reject);
    let (newest, first) = build(OnFull::DropNewest);
    let (oldest, last) = build(OnFull::DropOldest);
    let mut tee = Tee::new([wait, reject, newest, oldest]).unwrap();
    tee.send(1).await.unwrap();
    assert_eq!(all(&waiting), [1]);
    tee.send(2).await.unwrap();
    assert_eq!((all(&waiting), all(&rejecting)), (vec![2], vec![1]));
    assert_eq!((all(&first), all(&last)), (vec![1], vec![2]));
    assert_eq!(tee.missed(), 1);
    for rx in [rejecting, first, last] {
        drop(rx);
    }
    tee.send(3).await.unwrap();
    assert_eq!((all(&waiting), tee.len()), (vec![3], 1));
    let (weighed, _rx) = Channel::builder()
        .max_weight(5, |item| *item)
        .build()
        .unwrap();
    assert_eq!(Tee::new([weighed]).unwrap_err(), ReserveError::Weighed);
}

async fn what_is_too_heavy_for_a_branch_is_missed(_: TestRuntime) {
    for answer in [OnFull::DropNewest, OnFull::DropOldest] {
        let weighed = Channel::builder().max_weight(5, |item| *item);
        let (light, weighing) = weighed.on_full(answer).build().unwrap();
        let (any, rest) = Channel::bounded(8).unwrap();
        let mut tee = Tee::new([light, any]).unwrap();
        for item in [3, 6, 5] {
            tee.send(item).await.unwrap();
        }
        assert_eq!(tee.missed(), 1, "what is dropped is not missed");
        assert_eq!(weighing.stats().dropped(), 1);
        weighing.close();
        tee.send(6).await.unwrap();
        assert_eq!((tee.missed(), tee.len()), (1, 1));
        assert_eq!(all(&rest), [3, 6, 5, 6]);
    }
}

/// Counts its clones.
#[derive(Debug, Default)]
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

async fn no_clones_for_those_that_get_none(_: TestRuntime) {
    let rejecting = (0..3).map(|_| {
        let builder = Channel::builder().capacity(1).on_full(OnFull::Reject);
        builder.build().unwrap()
    });
    let (mut txs, _rxs): (Vec<_>, Vec<_>) = rejecting.unzip();
    let (tx, rx) = Channel::bounded(2).unwrap();
    txs.push(tx);
    let mut tee = Tee::new(txs).unwrap();
    let clones = Arc::new(AtomicUsize::new(0));
    tee.send(Counted(clones.clone())).await.unwrap();
    assert_eq!(clones.load(Ordering::Relaxed), 3);
    tee.send(Counted(clones.clone())).await.unwrap();
    assert_eq!((tee.missed(), rx.len()), (3, 2));
    // The last branch, whichever it is, gets the item itself or none.
    assert!(clones.load(Ordering::Relaxed) <= 4);
}

async fn tees_do_not_hold_up_each_other(rt: TestRuntime) {
    let (txs, rxs) = channels(2, 1);
    let mut other: Vec<_> = txs.clone();
    other.reverse();
    let tees = [txs, other].map(|txs| {
        let mut tee = Tee::new(txs).unwrap();
        rt.spawn(async move {
            for item in 0..50 {
                tee.send(item).await.unwrap();
                yield_now().await;
            }
        })
    });
    let read = rxs.into_iter().map(|rx| rt.spawn(rx.count()));
    for reader in read.collect::<Vec<_>>() {
        assert_eq!(reader.await.unwrap(), 100);
    }
    for tee in tees {
        tee.await.unwrap();
    }
}

/// With room for one of its two items in a channel, each of two tees would wait for the other's.
async fn a_tee_has_a_channel_once(_: TestRuntime) {
    let (txs, _rxs) = channels::<u8>(2, 2);
    let twice = txs.iter().chain(&txs).cloned();
    assert_eq!(Tee::new(twice).unwrap_err(), ReserveError::Twice);
}

async fn a_pipe_moves_all(rt: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    let piping = rt.spawn(pipe(stream::iter(0..500), tx));
    assert_eq!(rx.collect::<Vec<_>>().await, (0..500).collect::<Vec<_>>());
    assert!(piping.await.unwrap().is_ended());

    let (txs, rxs) = channels(2, 500);
    let to_any = pipe(stream::iter(0..500), FanOut::round_robin(txs).unwrap());
    assert!(to_any.await.is_ended());
    assert!(rxs.iter().all(|rx| rx.len() == 250 && rx.is_closed()));

    let (txs, rxs) = channels(2, 500);
    let mut to_all = pipe(stream::iter(0..500), Tee::new(txs).unwrap());
    assert!((&mut to_all).await.is_ended());
    assert!(rxs.iter().all(|rx| rx.len() == 500 && rx.is_closed()));
    assert!(to_all.is_terminated() && poll(&mut to_all).is_pending());
    assert_eq!(to_all.moved(), 500);
}

async fn a_pipe_ends_with_its_channel(_: TestRuntime) {
    let (tx, rx) = Channel::bounded(2).unwrap();
    let mut piping = pipe(stream::iter(0..9), tx);
    park(&mut piping);
    assert!(format!("{piping:?}").contains("moved: 2"), "{piping:?}");
    rx.close();
    let Poll::Ready(PipeEnd::Refused(refused)) = poll(&mut piping) else {
        panic!("it is closed");
    };
    assert_eq!(refused.into_inner(), 2);
    assert_eq!(all(&rx), [0, 1]);
}

async fn a_pipe_that_is_stopped_gives_back_what_it_has(rt: TestRuntime) {
    for meets in [false, true] {
        let (tx, _rx) = if meets {
            Channel::rendezvous()
        } else {
            Channel::bounded(1).unwrap()
        };
        let mut piping = pipe(stream::iter(0..9_u64), tx);
        assert!(rt.timeout(SEC, &mut piping).await.is_err());
        let token = CancellationToken::new();
        let stop = rt.spawn({
            let token = token.clone();
            async move { token.cancel() }
        });
        assert!(token.run_until_cancelled(&mut piping).await.is_none());
        stop.await.unwrap();
        let (rest, held, moved) = piping.into_parts();
        assert_eq!((held, moved), (Some(moved), u64::from(!meets)));
        assert_eq!(rest.count().await as u64, 8 - moved);
    }
}

async fn a_pipe_lets_others_run(rt: TestRuntime) {
    let (tx, _rx) = Channel::unbounded();
    let moved = Arc::new(Mutex::new(0));
    let counted = moved.clone();
    let source = stream::repeat(1).inspect(move |_| *counted.lock().unwrap() += 1);
    let mut piping = pipe(source, tx);
    assert!(poll(&mut piping).is_pending());
    let first = *moved.lock().unwrap();
    assert_eq!(first, 128);
    let token = CancellationToken::new();
    let stop = rt.spawn({
        let token = token.clone();
        async move { token.cancel() }
    });
    assert!(token.run_until_cancelled(piping).await.is_none());
    stop.await.unwrap();
    // What counts is what is moved in one poll, not since it last let others run.
    let (tx, _rx) = Channel::unbounded();
    let (mut given, mut woken) = (0, false);
    let source = stream::poll_fn(move |cx| {
        if given % 100 == 0 && given > 0 && !core::mem::replace(&mut woken, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        (given, woken) = (given + 1, false);
        Poll::Ready(Some(given))
    });
    let mut piping = pipe(source, tx);
    for moved in [100, 200, 300] {
        assert!(poll(&mut piping).is_pending());
        assert_eq!(piping.moved(), moved);
    }
}

async fn to_and_from_the_channels_of_others(rt: TestRuntime) {
    // async-channel's receivers are streams.
    let (theirs, source) = smol::channel::bounded(2);
    let (tx, rx) = Channel::bounded(2).unwrap();
    let into_ours = rt.spawn(pipe(Box::pin(source), tx));
    let (out, sink) = tokio::sync::mpsc::channel(2);
    let into_theirs = rt.spawn(async move {
        while let Ok(item) = rx.recv().await {
            out.send(item).await.unwrap();
        }
    });
    let sender = rt.spawn(async move {
        for item in 0..100 {
            theirs.send(item).await.unwrap();
        }
    });
    let mut sink = sink;
    let (back, end) = Channel::bounded(2).unwrap();
    let (out, last) = smol::channel::bounded(2);
    let into_the_last = rt.spawn(async move {
        while let Ok(item) = end.recv().await {
            out.send(item).await.unwrap();
        }
    });
    let collected = rt.spawn(Box::pin(last).collect::<Vec<_>>());
    let from_tokio = pipe(stream::poll_fn(move |cx| sink.poll_recv(cx)), back);
    assert!(from_tokio.await.is_ended());
    assert_eq!(collected.await.unwrap(), (0..100).collect::<Vec<_>>());
    assert!(into_ours.await.unwrap().is_ended());
    into_theirs.await.unwrap();
    into_the_last.await.unwrap();
    sender.await.unwrap();
}

async fn in_select(_: TestRuntime) {
    let (txs, rxs) = channels(2, 4);
    let mut merged: Merge<_> = rxs.into_iter().collect();
    let (out, rx) = Channel::bounded(8).unwrap();
    let mut fan_out = FanOut::round_robin([out.clone()]).unwrap();
    let mut tee = Tee::new([out.clone()]).unwrap();
    let mut piping = pipe(stream::iter(0..2), out);
    let (mut sent, mut copied) = (fan_out.send(7), tee.send(8));
    txs[0].try_send(1).unwrap();
    drop(txs);
    let mut got = Vec::new();
    loop {
        futures_util::select! {
            item = merged.select_next_some() => got.push(item),
            end = piping => assert!(end.is_ended()),
            sent = sent => sent.unwrap(),
            copied = copied => copied.unwrap(),
            complete => break,
        }
    }
    assert_eq!(got, [1]);
    let mut all = all(&rx);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 7, 8]);
}

#[test]
fn threads_bridge_to_std() {
    let (std_tx, std_rx) = std::sync::mpsc::sync_channel(2);
    let (tx, rx) = Channel::bounded(2).unwrap();
    let (out_tx, out_rx) = std::sync::mpsc::sync_channel(2);
    let into_ours = std::thread::spawn(move || tx.send_all_blocking(std_rx));
    let into_std = std::thread::spawn(move || rx.for_each_blocking(|item| out_tx.send(item)));
    let sender = std::thread::spawn(move || (0..100).try_for_each(|item| std_tx.send(item)));
    assert_eq!(
        out_rx.iter().take(60).collect::<Vec<_>>(),
        (0..60).collect::<Vec<_>>()
    );
    // The far end goes away, and one after the other they end with the item that got stuck.
    drop(out_rx);
    assert!(into_std.join().unwrap().unwrap().is_some());
    assert!(into_ours.join().unwrap().unwrap_err().is_closed());
    assert!(sender.join().unwrap().is_err());
    let (tx, mut rx) = Channel::builder()
        .capacity(2)
        .build_single_consumer()
        .unwrap();
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    drop(tx);
    let mut got = Vec::new();
    let ended = rx.for_each_blocking(|item| {
        if !got.is_empty() {
            return Err(item);
        }
        got.push(item);
        Ok(())
    });
    assert_eq!((got, ended.unwrap()), (vec![1], Some(2)));
}
