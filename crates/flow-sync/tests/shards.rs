//! Shards, in a process of their own: the threads of another test would take seats among these.
#![cfg(not(loom))]

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_sync::Sharded;

#[test]
fn a_thread_keeps_to_its_shard_and_all_are_seen() {
    let seen: Sharded<AtomicU64> = Sharded::default();
    // All at once: one that has ended leaves its shard to the next.
    let all = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mine = seen.mine();
                all.wait();
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
