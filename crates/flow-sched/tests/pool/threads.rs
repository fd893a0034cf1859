//! Real threads against one another: the races that a simulation on one thread cannot have.
//!
//! A lost wake-up or a lost place shows as a hang, a queue that holds too many as a panic.

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_rt::{Handle, OnFull, block_on};
use flow_sched::{TaskError, WorkerPool};

use crate::common::{LONG, quiet};

fn host() -> (tokio::runtime::Runtime, Handle) {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    (rt, handle)
}

#[test]
fn a_task_that_comes_as_the_slot_falls_asleep_runs() {
    let (_host, handle) = host();
    let builder = WorkerPool::builder().runtime(&handle);
    let pool = builder.slots(1).queue(1).build().unwrap();
    // One task at a time: every one meets a slot that is about to sleep, or just has.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..10_000 {
                    assert_eq!(block_on(pool.run(async move |_| n)).unwrap().unwrap(), n);
                }
            });
        }
    });
    assert_eq!(pool.stats().completed, 20_000);
}

#[test]
fn a_million_tasks_run_after_a_storm_of_panics() {
    quiet();
    let (_host, handle) = host();
    let builder = WorkerPool::builder().runtime(&handle);
    let pool = builder.slots(4).queue(1_024).build().unwrap();
    let ran = Arc::new(AtomicU64::new(0));
    block_on(async {
        for _ in 0..2_000 {
            let panics = pool.submit(async |_| -> () { panic!("quiet: storm") });
            panics.detach().await.unwrap();
        }
        for _ in 0..1_000_000 {
            let ran = ran.clone();
            let counts = pool.submit(async move |_| ran.fetch_add(1, Ordering::Relaxed));
            counts.detach().await.unwrap();
        }
        assert!(pool.shutdown(LONG).await.is_clean());
    })
    .unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 1_000_000);
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.panicked), (1_000_000, 2_000));
}

#[test]
fn a_full_queue_holds_no_more_and_serves_everybody() {
    let (_host, handle) = host();
    let builder = WorkerPool::builder().runtime(&handle);
    let pool = builder.slots(2).queue(2).build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pool = &pool;
            scope.spawn(move || {
                for _ in 0..5_000 {
                    if thread == 0 {
                        pool.try_submit(async |_| ()).ok();
                    } else {
                        block_on(pool.submit(async |_| ())).unwrap().unwrap();
                    }
                }
            });
        }
    });
    assert!(block_on(pool.shutdown(LONG)).unwrap().is_clean());
    let stats = pool.stats();
    assert_eq!(stats.submitted + stats.rejected, 20_000);
    assert_eq!(stats.completed, stats.submitted);
}

/// Nothing is more urgent than what they bring.
#[test]
fn who_drops_the_oldest_is_not_refused() {
    let (_host, handle) = host();
    for priorities in [1, 2] {
        let builder = WorkerPool::builder().runtime(&handle).slots(1);
        let builder = builder.queue(priorities).priorities(priorities);
        let pool = builder.on_full(OnFull::DropOldest).build().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..30_000 {
                        let submit = pool.submit(async |_| ()).detach();
                        block_on(submit).unwrap().unwrap();
                    }
                });
            }
        });
        assert!(block_on(pool.shutdown(LONG)).unwrap().is_clean());
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.rejected), (90_000, 0), "{stats:?}");
        assert_eq!(stats.completed + stats.evicted, 90_000, "{stats:?}");
    }
}

#[test]
fn a_close_that_races_with_submitters_loses_no_task() {
    let (_host, handle) = host();
    for round in 0..1_000 {
        // No slot may be rescued by its idle time-out.
        let builder = WorkerPool::builder().runtime(&handle).idle_timeout(LONG);
        let pool = builder.slots(1..=2).queue(2).build().unwrap();
        let (ran, accepted) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    start.wait();
                    loop {
                        let ran = ran.clone();
                        let task = async move |_| ran.fetch_add(1, Ordering::Relaxed);
                        match block_on(pool.submit(task)).unwrap() {
                            Ok(handle) => handle.detach(),
                            Err(refused) => return assert!(refused.is_closed()),
                        }
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            start.wait();
            for _ in 0..round % 50 {
                std::thread::yield_now();
            }
            let report = block_on(pool.shutdown(LONG)).unwrap();
            assert!(report.is_clean(), "{report}");
        });
        assert_eq!(
            ran.load(Ordering::Relaxed),
            accepted.load(Ordering::Relaxed)
        );
        assert_eq!(pool.stats().slots, 0);
    }
}

#[test]
fn an_abort_that_races_with_the_run_has_one_winner() {
    let (_host, handle) = host();
    let builder = WorkerPool::builder().runtime(&handle);
    let pool = builder.slots(2).queue(64).build().unwrap();
    let ran = Arc::new(AtomicU64::new(0));
    let (mut completed, mut cancelled) = (0, 0);
    for n in 0..20_000 {
        let ran = ran.clone();
        let task = pool.submit(async move |_| ran.fetch_add(1, Ordering::Relaxed));
        let task = block_on(task).unwrap().unwrap();
        for _ in 0..n % 40 {
            std::hint::spin_loop();
        }
        task.abort();
        match block_on(task).unwrap() {
            Ok(_) => completed += 1,
            Err(TaskError::Cancelled) => cancelled += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(completed + cancelled, 20_000);
    assert!(ran.load(Ordering::Relaxed) >= completed);
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.cancelled), (completed, cancelled));
}
