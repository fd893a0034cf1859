//! The wait list's order, its slots and its memory.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use flow_sync::{Standing, WaitList};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn waker() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), Waker::from(count))
}

#[test]
fn what_is_waived_is_not_told() {
    let mut list = WaitList::new();
    assert!(list.waive_head().is_none());
    let first = list.push(3, Some(Waker::noop().clone()));
    let second = list.push(5, None);
    assert!(list.waive_head().is_some());
    assert_eq!((list.len(), list.sum(), list.head()), (1, 5, Some(second)));
    let cancelled = list.cancel(first);
    assert_eq!((cancelled.standing, cancelled.need), (Standing::Granted, 0));
}

#[test]
fn grants_in_order_and_hands_the_waker_out() {
    let mut list = WaitList::new();
    let (count, first_waker) = waker();
    let first = list.push(5, Some(first_waker));
    let second = list.push(7, None);
    assert_eq!(list.needs().collect::<Vec<_>>(), [5, 7]);
    assert_eq!(list.sum(), 12);
    assert_eq!(list.head(), Some(first));

    list.grant_head().expect("the first has a waker").wake();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(list.standing(first), Standing::Granted);
    assert_eq!((list.len(), list.sum()), (1, 7));

    assert!(list.grant_head().is_none(), "the second has no waker");
    assert_eq!(list.standing(second), Standing::Granted);
    assert!(list.is_empty());
    assert_eq!(list.head_need(), None);

    let left = list.cancel(first);
    assert_eq!((left.standing, left.need), (Standing::Granted, 5));
    assert!(!left.was_head);
    assert_eq!(list.standing(first), Standing::Gone);
}

#[test]
fn wakers_come_back_to_be_dropped_elsewhere() {
    let mut list = WaitList::new();
    let (count, one) = waker();
    let (_, other) = waker();
    let ticket = list.push(1, Some(one.clone()));
    assert!(list.will_wake(ticket, &one));
    assert!(!list.will_wake(ticket, &other));
    let old = list.update_waker(ticket, other.clone());
    assert!(old.is_some_and(|old| old.will_wake(&one)));
    assert!(
        list.cancel(ticket)
            .waker
            .is_some_and(|left| left.will_wake(&other))
    );
    // Neither a ticket that has gone nor a granted one keeps a waker.
    assert!(list.update_waker(ticket, one.clone()).is_some());
    let ticket = list.push(1, None);
    assert!(list.grant_head().is_none());
    assert!(list.update_waker(ticket, one.clone()).is_some());
    drop((list, one, other));
    assert_eq!(Arc::strong_count(&count), 1);
}

#[test]
fn a_stale_ticket_finds_nothing() {
    let mut list = WaitList::new();
    let old = list.push(1, None);
    list.cancel(old);
    let new = list.push(2, None);
    assert_ne!(old, new);
    assert_eq!(list.standing(old), Standing::Gone);
    let left = list.cancel(old);
    assert_eq!((left.standing, left.need), (Standing::Gone, 0));
    assert_eq!(list.standing(new), Standing::Waiting);
    assert!(list.take_waker(old).is_none());
}

#[test]
fn close_takes_all_wakers_in_order() {
    let mut list = WaitList::new();
    let (count, shared) = waker();
    let tickets: Vec<_> = (0..3)
        .map(|n| list.push(n, (n != 1).then(|| shared.clone())))
        .collect();
    let mut wakers = Vec::new();
    list.close_all(&mut wakers);
    assert_eq!(wakers.len(), 2);
    assert_eq!((list.len(), list.sum()), (0, 0));
    for waker in wakers {
        waker.wake();
    }
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
    for ticket in tickets {
        assert_eq!(list.cancel(ticket).standing, Standing::Closed);
    }
}

#[test]
fn the_sum_does_not_overflow() {
    let mut list = WaitList::new();
    for _ in 0..3 {
        list.push(u64::MAX, None);
    }
    assert_eq!(list.sum(), 3 * u128::from(u64::MAX));
}

#[test]
fn memory_is_small_then_chunked_then_given_back() {
    let mut list = WaitList::new();
    assert_eq!(list.capacity(), 0);
    let only = list.push(1, None);
    assert!(list.capacity() <= 8, "one waiter costs little");
    list.cancel(only);

    let tickets: Vec<_> = (0..100_000).map(|_| list.push(1, None)).collect();
    assert!((100_000..101_000).contains(&list.capacity()));
    for ticket in tickets {
        list.cancel(ticket);
    }
    assert_eq!(list.capacity(), 4096);

    // About the edge of a chunk nothing is allocated and nothing freed.
    let held: Vec<_> = (0..8192).map(|_| list.push(1, None)).collect();
    let over = list.push(1, None);
    let capacity = list.capacity();
    list.cancel(over);
    for _ in 0..100 {
        let over = list.push(1, None);
        assert_eq!(list.capacity(), capacity);
        list.cancel(over);
        assert_eq!(list.capacity(), capacity);
    }
    for ticket in held {
        list.cancel(ticket);
    }
    assert_eq!(list.capacity(), 4096);
}

#[test]
fn a_granted_slot_holds_its_chunk() {
    let mut list = WaitList::new();
    let tickets: Vec<_> = (0..20 * 256).map(|_| list.push(1, None)).collect();
    while !list.is_empty() {
        list.grant_head();
    }
    assert!(list.capacity() >= 20 * 256);
    for ticket in tickets {
        assert_eq!(list.cancel(ticket).standing, Standing::Granted);
    }
    assert_eq!(list.capacity(), 4096);
}

#[test]
fn whoever_is_put_back_stands_where_it_stood() {
    let mut list = WaitList::new();
    let tickets: Vec<_> = (0..5).map(|need| list.push(need, None)).collect();
    let waker = || std::task::Waker::noop().clone();
    assert!(list.requeue(tickets[0], waker()).is_some(), "it waits");
    for _ in 0..3 {
        list.grant_head();
    }
    for put_back in [2, 0, 1] {
        assert!(list.requeue(tickets[put_back], waker()).is_none());
    }
    assert!(list.needs().eq(0..5));
    assert_eq!((list.len(), list.sum()), (5, 10));
    assert!(!list.someone_waits_before(tickets[0]) && list.someone_waits_before(tickets[1]));
    // The last one too.
    for _ in 0..5 {
        list.grant_head();
    }
    assert!(list.requeue(tickets[4], waker()).is_none());
    assert!(list.requeue(tickets[3], waker()).is_none());
    assert_eq!(list.head(), Some(tickets[3]));
    let overtaken = tickets
        .iter()
        .map(|ticket| list.someone_waits_before(*ticket));
    assert!(overtaken.eq([false, false, false, false, true]));
    list.cancel(tickets[3]);
    assert_eq!(list.head(), Some(tickets[4]));
    assert!(list.requeue(tickets[3], waker()).is_some(), "it is gone");
}

#[test]
fn counts_those_who_were_granted_before() {
    let mut list = WaitList::new();
    let tickets: Vec<_> = (0..4).map(|_| list.push(0, None)).collect();
    let before = |list: &WaitList| -> Vec<usize> {
        let each = tickets.iter().map(|ticket| list.granted_before(*ticket));
        each.collect()
    };
    for _ in 0..3 {
        list.grant_head();
    }
    assert_eq!(before(&list), [0, 1, 2, 3]);
    list.cancel(tickets[0]);
    assert!(list.requeue(tickets[1], waker().1).is_none());
    assert_eq!(before(&list), [0, 0, 0, 1]);
}
