//! Padding, counters and wake lists.
#![cfg(not(loom))]

mod common;

use std::sync::Barrier;

use common::Count;
use flow_sync::{CachePadded, PaddedCounter, PaddedCounters, WakeList};

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
fn more_threads_than_have_a_cell_of_their_own_lose_nothing() {
    let counter = PaddedCounter::new();
    let all = Barrier::new(40);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                counter.add(1);
                // Now each has its cell, or shares one.
                all.wait();
                (0..1000).for_each(|_| counter.add(1));
            });
        }
    });
    assert_eq!(counter.sum(), 40_040);
}

#[test]
fn threads_that_come_and_go_take_over_what_stands_in_a_cell() {
    let counter = PaddedCounter::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    std::thread::scope(|scope| {
                        scope.spawn(|| (0..100).for_each(|_| counter.add(1)));
                    });
                }
            });
        }
    });
    assert_eq!(counter.sum(), 80_000);
}

#[test]
fn what_a_thread_counts_as_its_locals_are_destroyed_is_counted() {
    static LAST_WORDS: PaddedCounter = PaddedCounter::new();
    struct Says;
    impl Drop for Says {
        fn drop(&mut self) {
            LAST_WORDS.add(1);
        }
    }
    thread_local! {
        static BEFORE: Says = const { Says };
        static AFTER: Says = const { Says };
    }
    for _ in 0..32 {
        std::thread::spawn(|| {
            // One is registered before the counter's own, one after it.
            BEFORE.with(|_| ());
            LAST_WORDS.add(1);
            AFTER.with(|_| ());
        })
        .join()
        .expect("it does not panic");
    }
    assert_eq!(LAST_WORDS.sum(), 96);
}

#[test]
fn counters_side_by_side_are_apart() {
    let counters = PaddedCounters::<3>::new();
    counters.add::<0>(1);
    counters.add::<2>(u64::MAX);
    counters.add::<2>(3);
    assert_eq!(format!("{counters:?}"), "[1, 0, 2]");
    assert_eq!(size_of::<PaddedCounters<16>>(), size_of::<PaddedCounter>());
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
