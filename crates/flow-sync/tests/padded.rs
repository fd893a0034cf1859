//! Padding, counters and wake lists.
#![cfg(not(loom))]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use common::Count;
use flow_sync::{CachePadded, PaddedCounter, Sharded, WakeList};

#[test]
fn padded_values_are_lines_apart() {
    assert_eq!(align_of::<CachePadded<u8>>(), 128);
    assert_eq!(size_of::<CachePadded<u8>>(), 128);
    let mut value = CachePadded::new(1);
    *value += 1;
    assert_eq!((*value, value.into_inner()), (2, 2));
}

#[test]
fn counters_count_over_threads_and_wrap() {
    let counter = PaddedCounter::new();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..1000).for_each(|_| counter.add(1)));
        }
    });
    assert_eq!(counter.sum(), 16_000);
    counter.add(u64::MAX);
    assert_eq!(counter.sum(), 15_999);
}

#[test]
fn a_thread_keeps_to_its_shard_and_all_are_seen() {
    let seen: Sharded<AtomicU64> = Sharded::default();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mine = seen.mine();
                (0..100).for_each(|_| {
                    assert!(std::ptr::eq(mine, seen.mine()));
                    mine.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
    });
    let shards: Vec<_> = seen.iter().map(|it| it.load(Ordering::Relaxed)).collect();
    assert_eq!(shards.iter().sum::<u64>(), 1_600);
    assert!(
        shards.len() > 1 && shards.iter().all(|it| *it > 0),
        "{seen:?}"
    );
}

#[test]
fn a_wake_list_holds_16_and_wakes_on_demand() {
    let count = Count::new();
    let mut list = WakeList::new();
    for left in (0..WakeList::CAPACITY).rev() {
        list.push(count.waker()).unwrap();
        assert_eq!(list.room(), left);
    }
    assert!(list.push(count.waker()).is_err());
    list.wake();
    assert_eq!((count.get(), list.room()), (16, 16));
    list.push(count.waker()).unwrap();
    drop(list);
    assert_eq!(count.get(), 16);
}
