//! Tasks that wait for others of their pool: groups, slots that are lent, pools on pools.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flow_rt::sim::{self, Sim, SimRng};
use flow_rt::{OnFull, TaskContext, TestRuntime};
use flow_sched::{
    GroupError, PoolConfigError, SubmitError, TaskError, WorkerPool, WorkerPoolBuilder,
};
use futures_util::future::{join, join_all};

use crate::common::{Gate, LONG, ms, occupy, poll_once};

flow_rt::on_every_runtime! {
    seeds 0..50;
    a_task_waits_for_another_on_one_slot,
    a_slot_comes_back_before_its_task_goes_on,
    a_task_that_goes_away_leaves_its_slot_whole,
    outside_of_the_pool_nothing_is_lent,
    what_is_awaited_without_a_slot_may_wait_for_room,
    two_waits_of_one_task_lend_one_slot,
    the_last_of_two_waits_has_the_slot_back,
    a_tree_of_groups_finishes_on_one_slot,
    a_hand_off_lends_the_place_with_the_slot,
    a_group_collects_in_order_and_keeps_its_bound,
    the_first_error_cancels_the_rest,
    a_group_says_what_became_of_its_tasks,
    a_group_is_not_lost_to_itself,
    room_that_a_member_was_given_is_not_waited_for,
    a_dropped_group_aborts_what_is_out,
    the_handle_runs_tasks_on_the_slots,
    what_is_spawned_does_not_starve_the_rest,
    what_was_spawned_alone_takes_nobodys_turn,
    a_closed_pool_drops_what_is_spawned,
    a_sub_pool_keeps_its_bound_and_no_idle_slot,
    a_sub_pool_ends_with_its_parent,
}

fn pool(rt: &TestRuntime, slots: usize, queue: usize) -> WorkerPool {
    let builder = WorkerPool::builder().runtime(rt);
    builder.slots(slots).queue(queue).build().unwrap()
}

async fn a_task_waits_for_another_on_one_slot(rt: TestRuntime) {
    let pool = pool(&rt, 1, 4);
    let inner = pool.clone();
    let outer = pool.run(async move |_| {
        let mut sum = 0;
        for n in 0..3 {
            sum += inner
                .release_slot(inner.run(async move |_| n))
                .await
                .unwrap();
        }
        sum
    });
    assert_eq!(outer.await.unwrap(), 3);
    rt.settle().await;
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.slots), (4, 1));
}

async fn a_slot_comes_back_before_its_task_goes_on(rt: TestRuntime) {
    let pool = pool(&rt, 1, 4);
    let (released, other) = (Gate::new(), Gate::new());
    let (waits, inner) = (released.clone(), pool.clone());
    let mut task = pool
        .try_submit(async move |_| inner.release_slot(waits.cancelled()).await)
        .unwrap();
    rt.settle().await;
    let busy = other.clone();
    let second = pool
        .try_submit(async move |_| busy.cancelled().await)
        .unwrap();
    rt.settle().await;
    assert_eq!(pool.stats().running, 2, "one of them without a slot");
    released.cancel();
    rt.settle().await;
    assert!(poll_once(&mut task).is_pending(), "the slot is another's");
    other.cancel();
    second.await.unwrap();
    task.await.unwrap();
    rt.settle().await;
    assert_eq!(pool.stats().slots, 1);
    assert_eq!(pool.run(async |_| 1).await.unwrap(), 1);
}

async fn a_task_that_goes_away_leaves_its_slot_whole(rt: TestRuntime) {
    let pool = pool(&rt, 1, 4);
    // While the slot is lent, and while it waits for it.
    for wait_for_slot in [false, true] {
        let (released, other) = (Gate::new(), Gate::new());
        let (waits, inner, busy) = (released.clone(), pool.clone(), other.clone());
        let task = pool
            .try_submit(async move |_| inner.release_slot(waits.cancelled()).await)
            .unwrap();
        rt.settle().await;
        let second = pool
            .try_submit(async move |_| busy.cancelled().await)
            .unwrap();
        rt.settle().await;
        if wait_for_slot {
            released.cancel();
            rt.settle().await;
        }
        assert_eq!(pool.stats().running, 2);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let (third, running) = (Gate::new(), pool.stats().running);
        assert_eq!(running, 1);
        let held = third.clone();
        let third_task = pool
            .try_submit(async move |_| held.cancelled().await)
            .unwrap();
        rt.settle().await;
        assert_eq!(pool.stats().running, 1, "there is one slot");
        other.cancel();
        second.await.unwrap();
        third.cancel();
        third_task.await.unwrap();
        rt.settle().await;
        assert_eq!(pool.stats().slots, 1);
    }
}

async fn outside_of_the_pool_nothing_is_lent(rt: TestRuntime) {
    let (pool, other) = (pool(&rt, 1, 4), pool(&rt, 1, 4));
    assert_eq!(pool.release_slot(async { 7 }).await, 7);
    let gate = Gate::new();
    let mut waits = Box::pin(pool.release_slot(gate.cancelled()));
    assert!(poll_once(&mut waits).is_pending());
    let foreign = pool.clone();
    let sleeper = rt.clone();
    other
        .run(async move |_| foreign.release_slot(sleeper.sleep(ms(1))).await.unwrap())
        .await
        .unwrap();
    let _busy = occupy(&rt, &pool).await;
    pool.try_submit(async |_| ()).unwrap().detach();
    rt.settle().await;
    assert_eq!((pool.stats().running, pool.stats().queued), (1, 1));
    gate.cancel();
    waits.await;
}

async fn what_is_awaited_without_a_slot_may_wait_for_room(rt: TestRuntime) {
    let pool = pool(&rt, 1, 1);
    let inner = pool.clone();
    let sum = pool.run(async move |_| {
        let runs = (1..=5).map(|n| inner.run(async move |_| n));
        let values = inner.release_slot(join_all(runs)).await;
        values.into_iter().map(Result::unwrap).sum::<u32>()
    });
    assert_eq!(sum.await.unwrap(), 15);
}

/// Tasks that count how many of them run at once.
fn counted(rt: &TestRuntime, now: &Arc<AtomicUsize>, most: &Arc<AtomicUsize>) -> Vec<Counted> {
    let task = |_| -> Counted {
        let (rt, now, most) = (rt.clone(), now.clone(), most.clone());
        Box::new(move |_| {
            Box::pin(async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                rt.sleep(ms(1)).await.unwrap();
                now.fetch_sub(1, Ordering::Relaxed);
            })
        })
    };
    (0..4).map(task).collect()
}

type Counted = Box<dyn FnOnce(TaskContext) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

async fn two_waits_of_one_task_lend_one_slot(rt: TestRuntime) {
    let pool = pool(&rt, 1, 4);
    let sub = pool.sub_pool().slots(1).queue(4).build().unwrap();
    // Of one pool, and of one and the pool above it.
    for (own, other) in [(&pool, &pool), (&sub, &sub), (&sub, &pool)] {
        let (now, most) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let groups = [counted(&rt, &now, &most), counted(&rt, &now, &most)];
        let (inner, outer) = (own.clone(), other.clone());
        let task = own.run(async move |_| {
            let [first, second] = groups;
            let (inner, outer) = (inner.group(), outer.group());
            join(inner.run_all(first), outer.run_all(second)).await
        });
        let (first, second) = rt.timeout(LONG, task).await.unwrap().unwrap();
        assert_eq!((first.len(), second.len()), (4, 4));
        assert_eq!(most.load(Ordering::Relaxed), 1);
        rt.settle().await;
        assert_eq!((pool.stats().slots, sub.stats().slots), (1, 0));
    }
}

async fn the_last_of_two_waits_has_the_slot_back(rt: TestRuntime) {
    let pool = pool(&rt, 1, 4);
    let (first, second, inner) = (Gate::new(), Gate::new(), pool.clone());
    let gates = (first.clone(), second.clone());
    let mut task = pool
        .try_submit(async move |_| {
            let (first, second) = gates;
            let first = inner.release_slot(first.cancelled());
            join(first, inner.release_slot(second.cancelled())).await
        })
        .unwrap();
    rt.settle().await;
    for gate in [&first, &second] {
        // There is one slot for others, whether one wait is left or two.
        let busy = occupy(&rt, &pool).await;
        let third = pool.try_submit(async |_| ()).unwrap();
        rt.settle().await;
        assert_eq!((pool.stats().running, pool.stats().queued), (2, 1));
        gate.cancel();
        rt.settle().await;
        assert!(!third.is_finished());
        assert!(poll_once(&mut task).is_pending());
        busy.cancel();
        third.await.unwrap();
    }
    task.await.unwrap();
    rt.settle().await;
    let busy = occupy(&rt, &pool).await;
    pool.try_submit(async |_| ()).unwrap().detach();
    rt.settle().await;
    assert_eq!((pool.stats().slots, pool.stats().queued), (1, 1));
    busy.cancel();
}

/// Counts the leaves of a tree whose nodes are groups.
fn leaves(pool: WorkerPool, depth: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
    Box::pin(async move {
        if depth == 0 {
            return 1;
        }
        let below = (0..3).map(|_| {
            let pool = pool.clone();
            move |_cx: TaskContext| leaves(pool, depth - 1)
        });
        let counted = pool.group().run_all(below).await;
        counted.into_iter().map(Result::unwrap).sum()
    })
}

async fn a_tree_of_groups_finishes_on_one_slot(rt: TestRuntime) {
    let hand_off = WorkerPool::builder().runtime(&rt).slots(1).rendezvous();
    for pool in [pool(&rt, 1, 1), hand_off.build().unwrap()] {
        assert_eq!(leaves(pool.clone(), 3).await, 27);
        rt.settle().await;
        assert_eq!((pool.stats().running, pool.stats().slots), (0, 1));
        let sub = pool.sub_pool().slots(1).queue(1).build().unwrap();
        assert_eq!(leaves(sub, 2).await, 9);
        let sub = pool.sub_pool().slots(2).rendezvous().build().unwrap();
        assert_eq!(leaves(sub, 2).await, 9);
        rt.settle().await;
        assert_eq!((pool.stats().running, pool.stats().slots), (0, 1));
    }
}

async fn a_hand_off_lends_the_place_with_the_slot(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1);
    let pool = builder.rendezvous().build().unwrap();
    let (released, inner) = (Gate::new(), pool.clone());
    let waits = released.clone();
    let task = pool
        .try_submit(async move |_| inner.release_slot(waits.cancelled()).await)
        .unwrap();
    rt.settle().await;
    let other = occupy(&rt, &pool).await;
    let full = |pool: &WorkerPool| pool.try_submit(async |_| ()).is_err();
    assert!(full(&pool), "one place was lent, and no more");
    other.cancel();
    rt.settle().await;
    pool.run(async |_| ()).await.unwrap();
    released.cancel();
    task.await.unwrap();
    rt.settle().await;
    // Also from one that goes away.
    let inner = pool.clone();
    let task = pool
        .try_submit(async move |_| inner.release_slot(std::future::pending::<()>()).await)
        .unwrap();
    rt.settle().await;
    task.abort();
    assert!(task.await.is_err());
    rt.settle().await;
    let gate = occupy(&rt, &pool).await;
    assert!(full(&pool), "there is one slot");
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
}

async fn a_group_collects_in_order_and_keeps_its_bound(rt: TestRuntime) {
    let pool = pool(&rt, 8, 2);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks = (0..20_u64).map(|n| {
        let (rt, now, most) = (rt.clone(), now.clone(), most.clone());
        async move |_| {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            rt.sleep(ms(20 - n)).await.unwrap();
            now.fetch_sub(1, Ordering::Relaxed);
            n
        }
    });
    let results = pool.group().at_once(3).unwrap().run_all(tasks).await;
    let values: Vec<u64> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, (0..20).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::Relaxed), 3);
    let none = pool.group().at_once(0).unwrap_err();
    assert_eq!(none, PoolConfigError::EmptyGroup);
    let empty: [fn(TaskContext) -> std::future::Ready<()>; 0] = [];
    assert!(pool.group().run_all(empty).await.is_empty());
    let numbers = pool
        .group()
        .try_run_all((0..3).map(|n| async move |_| Ok::<_, ()>(n)));
    assert_eq!(numbers.await.unwrap(), [0, 1, 2]);
}

async fn the_first_error_cancels_the_rest(rt: TestRuntime) {
    let pool = pool(&rt, 4, 2);
    let started = Arc::new(AtomicUsize::new(0));
    let tasks = (0..100).map(|n| {
        let (rt, started) = (rt.clone(), started.clone());
        async move |_| {
            started.fetch_add(1, Ordering::Relaxed);
            rt.sleep(if n == 2 { ms(1) } else { LONG }).await.unwrap();
            if n == 2 { Err("two") } else { Ok(n) }
        }
    });
    let before = rt.now();
    let error = pool.group().try_run_all(tasks).await.unwrap_err();
    assert!(matches!(
        error,
        GroupError::Failed {
            index: 2,
            error: "two"
        }
    ));
    assert_eq!(rt.now() - before, ms(1));
    // Nothing of it runs any more, and most of it never did.
    assert_eq!((pool.stats().running, pool.stats().queued), (0, 0));
    assert!(started.load(Ordering::Relaxed) <= 5);
    assert_eq!(pool.run(async |_| 7).await.unwrap(), 7);
}

/// A member that was given room is polled by the task that submits, which has to go on.
async fn room_that_a_member_was_given_is_not_waited_for(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1).queue(1);
    let pool = builder.on_full(OnFull::DropOldest).build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let held = Gate::new();
    let tasks = (0..2).map(|_| {
        let opens = held.clone();
        async move |_: TaskContext| opens.cancelled().await
    });
    let group = pool.group().at_once(2).unwrap();
    let mut all = Box::pin(group.run_all(tasks));
    assert!(poll_once(&mut all).is_pending());
    gate.cancel();
    rt.settle().await;
    // The slot has the first member, and the second one its place.
    let refused = pool.submit(async |_| ()).detach().await;
    assert!(matches!(
        refused,
        Err(SubmitError::Full { capacity: 1, .. })
    ));
    held.cancel();
    assert_eq!(all.await.len(), 2);
    assert!(pool.shutdown(LONG).await.is_clean());
}

/// More at once than the queue holds, before any slot is there.
async fn a_group_is_not_lost_to_itself(rt: TestRuntime) {
    for (on_full, at_once) in [
        (OnFull::Reject, None),
        (OnFull::Reject, Some(100)),
        (OnFull::DropOldest, None),
        (OnFull::CallerRuns, None),
    ] {
        let builder = WorkerPool::builder().runtime(&rt).slots(8).queue(4);
        let pool = builder.on_full(on_full).build().unwrap();
        let run = async || {
            let mut group = pool.group();
            if let Some(tasks) = at_once {
                group = group.at_once(tasks).unwrap();
            }
            let tasks = (0..20).map(|n| {
                let sleeper = rt.clone();
                async move |_| {
                    sleeper.sleep(ms(1)).await.unwrap();
                    n
                }
            });
            group.run_all(tasks).await
        };
        let values: Vec<_> = run().await.into_iter().map(Result::unwrap).collect();
        assert_eq!(values, (0..20).collect::<Vec<_>>());
        let stats = pool.stats();
        assert_eq!((stats.completed, stats.rejected), (20, 0), "{stats:?}");
        if on_full == OnFull::Reject {
            // With none of its tasks out it is a submitter as any.
            let gates: Vec<_> = (0..8).map(|_| Gate::new()).collect();
            for gate in gates.iter().chain(&gates[..4]) {
                let opens = gate.clone();
                let waits = pool.submit(async move |_| opens.cancelled().await);
                waits.detach().await.unwrap();
                rt.settle().await;
            }
            let refused = run().await;
            let is_full = |ended: &Result<_, _>| matches!(ended, Err(TaskError::Full { .. }));
            assert!(refused.iter().all(is_full), "{refused:?}");
            for gate in gates {
                gate.cancel();
            }
        }
        assert!(pool.shutdown(LONG).await.is_clean());
    }
}

async fn a_group_says_what_became_of_its_tasks(rt: TestRuntime) {
    let pool = pool(&rt, 2, 2);
    let tasks = (0..3).map(|n| {
        async move |_| {
            assert!(n != 1, "one");
            n
        }
    });
    let results = pool.group().run_all(tasks).await;
    assert!(matches!(results[0], Ok(0)) && matches!(results[2], Ok(2)));
    assert!(matches!(&results[1], Err(TaskError::Panicked(panic)) if panic.message() == "one"));
    let panics = [async |_| -> Result<(), std::fmt::Error> { panic!("here") }];
    let error = pool.group().try_run_all(panics).await.unwrap_err();
    assert_eq!(error.to_string(), "task 0 of the group gave no value");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the task panicked: here");
    let fails = [async |_| Err::<(), _>(std::fmt::Error)];
    let error = pool.group().try_run_all(fails).await.unwrap_err();
    assert_eq!(error.to_string(), "task 0 of the group failed");
    assert!(std::error::Error::source(&error).is_some());
    pool.close();
    let refused = pool.group().run_all((0..3).map(|n| async move |_| n)).await;
    assert_eq!(refused.len(), 3);
    let closed = |result: &Result<i32, TaskError>| matches!(result, Err(TaskError::Closed));
    assert!(refused.iter().all(closed), "{refused:?}");
}

async fn a_dropped_group_aborts_what_is_out(rt: TestRuntime) {
    let pool = pool(&rt, 2, 2);
    let waits = (0..9).map(|_| async |_| std::future::pending::<()>().await);
    let group = pool.group().run_all(waits);
    assert!(rt.timeout(ms(1), group).await.is_err());
    rt.settle().await;
    let stats = pool.stats();
    assert_eq!((stats.running, stats.queued, stats.cancelled), (0, 0, 2));
}

async fn the_handle_runs_tasks_on_the_slots(rt: TestRuntime) {
    let pool = pool(&rt, 2, 1);
    let handle = pool.handle();
    assert_eq!(handle.name(), "a worker pool");
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut group = handle.task_group();
    // Many more than the queue holds: a spawn does not wait.
    for _ in 0..20 {
        let (handle, now, most) = (handle.clone(), now.clone(), most.clone());
        group.spawn(async move {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            handle.sleep(ms(5)).await.unwrap();
            now.fetch_sub(1, Ordering::Relaxed);
        });
    }
    let before = rt.now();
    while let Some(ended) = group.join_next().await {
        ended.unwrap();
    }
    assert_eq!(rt.now() - before, ms(50));
    assert_eq!(most.load(Ordering::Relaxed), 2);
    assert_eq!(handle.spawn_blocking(|| 7).await.unwrap(), 7);
    let panicked: Result<(), _> = handle.spawn(async { panic!("spawned") }).await;
    assert!(panicked.unwrap_err().is_panic());
    let aborted = handle.spawn(std::future::pending::<()>());
    aborted.abort();
    assert!(aborted.await.is_err());
    // Another pool on it.
    let above = WorkerPool::builder().runtime(&handle).slots(1).build();
    assert_eq!(above.unwrap().run(async |_| 8).await.unwrap(), 8);
}

async fn what_is_spawned_does_not_starve_the_rest(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1).ageing(2);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let before = ran.clone();
    let submitted = pool.try_submit(async move |_| before.load(Ordering::Relaxed));
    let handle = pool.handle();
    for _ in 0..10 {
        let ran = ran.clone();
        let counts = async move { ran.fetch_add(1, Ordering::Relaxed) };
        handle.spawn(counts).detach();
    }
    gate.cancel();
    assert!(submitted.unwrap().await.unwrap() <= 2);
    drop(handle);
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(ran.load(Ordering::Relaxed), 10);
}

async fn what_was_spawned_alone_takes_nobodys_turn(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1).ageing(2);
    let pool = builder.build().unwrap();
    let handle = pool.handle();
    for _ in 0..5 {
        handle.spawn(async {}).await.unwrap();
    }
    rt.settle().await;
    let gate = occupy(&rt, &pool).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let (first, second) = (ran.clone(), ran.clone());
    let submitted = pool.try_submit(async move |_| second.fetch_add(1, Ordering::Relaxed));
    let spawned = handle.spawn(async move { first.fetch_add(1, Ordering::Relaxed) });
    gate.cancel();
    assert_eq!(spawned.await.unwrap(), 0, "it goes first, as ever");
    assert_eq!(submitted.unwrap().await.unwrap(), 1);
}

async fn a_closed_pool_drops_what_is_spawned(rt: TestRuntime) {
    let pool = pool(&rt, 1, 1);
    let handle = pool.handle();
    drop(pool.clone());
    assert!(!pool.is_closed());
    pool.close();
    let dropped = handle.spawn(async { 7 }).await;
    assert!(dropped.is_err());
    assert!(handle.spawn_blocking(|| 7).await.is_err());
    assert_eq!(pool.stats().submitted, 0);
}

async fn a_sub_pool_keeps_its_bound_and_no_idle_slot(rt: TestRuntime) {
    let pool = pool(&rt, 4, 8);
    let sub = pool
        .sub_pool()
        .name("sub")
        .slots(2)
        .queue(200)
        .build()
        .unwrap();
    let gate = Gate::new();
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let gate = gate.clone();
            sub.try_submit(async move |_| gate.cancelled().await)
                .unwrap()
        })
        .collect();
    rt.settle().await;
    assert_eq!((sub.stats().running, sub.stats().queued), (2, 4));
    assert_eq!(pool.stats().running, 2, "its slots are tasks of the pool");
    assert_eq!(pool.run(async |_| 1).await.unwrap(), 1);
    gate.cancel();
    for task in tasks {
        task.await.unwrap();
    }
    rt.settle().await;
    assert_eq!((sub.stats().slots, pool.stats().running), (0, 0));
    let values = sub.group().run_all((0..150).map(|n| async move |_| n));
    let values: Vec<i32> = values.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, (0..150).collect::<Vec<_>>());
    rt.settle().await;
    assert_eq!((sub.stats().slots, pool.stats().running), (0, 0));
    assert!(sub.shutdown(LONG).await.is_clean());
    assert!(pool.shutdown(LONG).await.is_clean());
}

async fn a_sub_pool_ends_with_its_parent(rt: TestRuntime) {
    let pool = pool(&rt, 1, 8);
    let sub = pool.sub_pool().slots(1).build().unwrap();
    let running = sub
        .try_submit(async |_| std::future::pending::<()>().await)
        .unwrap();
    let queued = sub.try_submit(async |_| ()).unwrap();
    rt.settle().await;
    pool.shutdown(ms(1)).await;
    assert!(running.await.is_err());
    assert!(queued.await.is_err());
    rt.settle().await;
    assert!(sub.is_closed());
    assert_eq!(sub.stats().slots, 0);
}

/// A pool, and how many of its tasks work now.
#[derive(Clone)]
struct Ground {
    pool: WorkerPool,
    slots: usize,
    inside: Arc<AtomicUsize>,
}

/// With a queue, or a hand-off.
fn ground(rng: &mut SimRng, builder: WorkerPoolBuilder) -> Ground {
    let slots = 1 + rng.below(3) as usize;
    let builder = builder.slots(slots);
    let builder = match rng.below(3) {
        0 => builder.rendezvous(),
        _ => builder.queue(1 + rng.below(3) as usize),
    };
    Ground {
        pool: builder.build().unwrap(),
        slots,
        inside: Arc::default(),
    }
}

/// Random trees of tasks that release their slots, on a pool and a sub-pool of it, in one wait or in
/// two at once: never more than the slots run, all end.
async fn forest(rt: Sim) {
    let mut rng = rt.rng();
    let mut grounds = vec![ground(&mut rng, WorkerPool::builder())];
    if rng.below(2) == 0 {
        let builder = grounds[0].pool.sub_pool();
        grounds.push(ground(&mut rng, builder));
    }
    let mut trees = rt.task_group();
    for _ in 0..3 {
        let depth = rng.below(4) as u32;
        trees.spawn(node(rt.clone(), grounds.clone(), depth));
    }
    if rng.below(2) == 0 {
        rt.sleep(ms(rng.below(10))).await;
        let Ground { pool, slots, .. } = grounds.last().unwrap();
        pool.resize(1 + rng.below(*slots as u64) as usize).unwrap();
    }
    while let Some(ended) = trees.join_next().await {
        ended.unwrap();
    }
    rt.run_until_idle().await;
    for Ground { pool, slots, .. } in &grounds {
        let stats = pool.stats();
        assert!(stats.slots <= *slots);
        assert_eq!((stats.running, stats.queued), (0, 0));
    }
    assert!(grounds[0].pool.shutdown(LONG).await.is_clean());
}

/// A task of one of the pools, and those that it waits for.
fn node(rt: Sim, grounds: Vec<Ground>, depth: u32) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let at = rt.rng().below(grounds.len() as u64) as usize;
        let pool = grounds[at].pool.clone();
        // Whoever is above may wait in either: the slot that it gives up is the same.
        let lenders = [(); 2].map(|()| {
            let lender = at.max(rt.rng().below(grounds.len() as u64) as usize);
            grounds[lender].pool.clone()
        });
        let task = async move |_| {
            let works = async |naps: u64| {
                // One of the sub-pool's works in both.
                for Ground { inside, slots, .. } in &grounds[..=at] {
                    assert!(inside.fetch_add(1, Ordering::Relaxed) < *slots);
                }
                rt.sleep(ms(naps)).await;
                for Ground { inside, .. } in &grounds[..=at] {
                    inside.fetch_sub(1, Ordering::Relaxed);
                }
            };
            works(1).await;
            if depth > 0 {
                let below = || node(rt.clone(), grounds.clone(), depth - 1);
                let [first, second] = &lenders;
                if rt.rng().below(2) == 0 {
                    first.release_slot(join(below(), below())).await;
                } else {
                    let first = first.release_slot(below());
                    join(first, second.release_slot(below())).await;
                }
                works(u64::from(depth)).await;
            }
        };
        pool.run(task).await.unwrap();
    })
}

#[test]
fn never_more_than_the_slots_run() {
    sim::check(0..300, forest);
}

/// A group that goes with many members out aborts them in one order.
#[test]
fn one_seed_is_one_order_of_aborts() {
    let run = Sim::new(5).run_twice(|rt| async move {
        let pool = WorkerPool::builder()
            .runtime(&rt)
            .slots(20)
            .build()
            .unwrap();
        let tasks = (0..20).map(|n| {
            async move |_| {
                if n == 19 {
                    return Err(n);
                }
                pending::<Result<(), i32>>().await
            }
        });
        pool.group().try_run_all(tasks).await.unwrap_err();
    });
    assert!(run.is_ok(), "{run:?}");
}
