//! Pools on the slots of other pools: what of the one above holds for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use flow_rt::{OnFull, TestRuntime};
use flow_sched::{PoolPhase, Shutdown, SubmitError, TaskError, TaskHandle, WorkerPool};
use futures_util::future::join_all;

use crate::common::{Gate, LONG, ms, occupy, poll_once};

flow_rt::on_every_runtime! {
    seeds 0..50;
    resized_it_keeps_no_idle_slot,
    the_limit_above_is_not_its_own,
    what_it_has_queued_still_runs_when_the_pool_above_is_closed,
    a_shutdown_above_waits_for_it,
    its_tasks_have_the_grace_of_a_shutdown_above,
    its_tasks_hear_of_a_cancellation_above,
    a_shutdown_above_abandons_and_drops_its_tasks,
    its_shutdown_does_not_wait_for_a_turn_above,
    on_a_closed_pool_it_is_closed,
    one_that_has_ended_holds_nothing_up,
    a_handle_of_its_task_keeps_no_pool_open,
    a_submitters_cancellation_is_not_the_slots,
    a_task_that_waits_in_it_gives_both_slots_away,
    both_slots_come_back_before_the_task_goes_on,
    a_task_that_goes_away_leaves_both_slots_whole,
    a_group_above_has_the_slot_of_its_task,
    a_slot_that_is_wanted_above_comes_back_after_one_task,
    a_sub_pool_that_is_never_idle_does_not_starve_the_pool_above,
    closures_that_block_do_not_starve_the_pool_above,
    sub_pools_take_turns,
    its_task_does_not_wait_for_the_room_above_that_it_keeps,
    a_task_above_does_not_wait_for_the_room_that_its_slot_has_to_make,
    a_task_above_that_waits_in_it_gives_its_slot_away,
    a_task_that_is_run_above_by_its_submitter_gives_that_slot_away,
}

fn pool(rt: &TestRuntime, slots: usize) -> WorkerPool {
    let builder = WorkerPool::builder().runtime(rt);
    builder.slots(slots).queue(8).build().unwrap()
}

fn sub_pool(above: &WorkerPool) -> WorkerPool {
    let builder = above.sub_pool().name("sub").slots(1);
    builder.queue(200).build().unwrap()
}

/// So many tasks, each of which takes a millisecond.
fn naps(rt: &TestRuntime, pool: &WorkerPool, tasks: usize) -> Vec<TaskHandle<()>> {
    let nap = |_| {
        let rt = rt.clone();
        pool.try_submit(async move |_| rt.sleep(ms(1)).await.unwrap())
    };
    (0..tasks).map(nap).collect::<Result<_, _>>().unwrap()
}

async fn resized_it_keeps_no_idle_slot(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    sub.resize(2).unwrap();
    assert_eq!(sub.slots(), 0..=2);
    sub.run(async |_| ()).await.unwrap();
    assert_eq!(above.run(async |_| 1).await.unwrap(), 1);
    sub.resize(1..=1).unwrap();
    assert_eq!(sub.slots(), 0..=1);
    assert_eq!(join_all(naps(&rt, &sub, 2)).await.len(), 2);
    assert_eq!(above.run(async |_| 2).await.unwrap(), 2);
}

async fn the_limit_above_is_not_its_own(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1);
    let above = builder.task_timeout(ms(5)).build().unwrap();
    let sub = sub_pool(&above);
    // One that takes longer, and many that do together.
    let sleeper = rt.clone();
    let long = sub.try_submit(async move |_| sleeper.sleep(ms(20)).await.unwrap());
    let short = naps(&rt, &sub, 20);
    long.unwrap().await.unwrap();
    assert!(join_all(short).await.iter().all(Result::is_ok));
    assert!(!sub.is_closed());
    assert_eq!(above.stats().timed_out, 0);
    // For its own tasks it holds, and so does a limit of the sub-pool's.
    let late = above.run(async |_| std::future::pending::<()>().await);
    assert!(matches!(late.await, Err(TaskError::TimedOut { limit }) if limit == ms(5)));
    let limited = above.sub_pool().task_timeout(ms(7)).build().unwrap();
    let late = limited.run(async |_| std::future::pending::<()>().await);
    assert!(matches!(late.await, Err(TaskError::TimedOut { limit }) if limit == ms(7)));
}

async fn what_it_has_queued_still_runs_when_the_pool_above_is_closed(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    // More than a slot runs in a row, and behind a task that has the only slot above.
    let gate = occupy(&rt, &above).await;
    let tasks = naps(&rt, &sub, 150);
    above.close();
    assert!(sub.is_closed());
    assert!(sub.try_submit(async |_| ()).unwrap_err().is_closed());
    gate.cancel();
    assert!(join_all(tasks).await.iter().all(Result::is_ok));
    assert!(above.shutdown(LONG).await.is_clean());
}

async fn a_shutdown_above_waits_for_it(rt: TestRuntime) {
    let above = pool(&rt, 2);
    let sub = above.sub_pool().slots(2).queue(200).build().unwrap();
    let of_sub = sub.sub_pool().slots(2).queue(200).build().unwrap();
    let tasks = [naps(&rt, &sub, 150), naps(&rt, &of_sub, 150)];
    let report = above.shutdown(LONG).await;
    assert!(report.is_clean(), "{report}");
    for task in tasks.into_iter().flatten() {
        assert!(task.is_finished());
        task.await.unwrap();
    }
    for pool in [above, sub, of_sub] {
        assert_eq!(pool.stats().slots, 0);
    }
}

async fn its_tasks_have_the_grace_of_a_shutdown_above(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let sleeper = rt.clone();
    let tidies_up = sub.try_submit(async move |cx| {
        cx.cancellation().cancelled().await;
        sleeper.sleep(ms(5)).await.unwrap();
    });
    rt.settle().await;
    let queued = sub.try_submit(async |_| ()).unwrap();
    let before = rt.now();
    let how = Shutdown::drain(ms(10)).then_cancel(ms(20));
    let report = above.shutdown(how).await;
    assert_eq!(rt.now() - before, ms(15));
    assert_eq!((report.cancelled, report.dropped), (1, 0), "{report}");
    tidies_up.unwrap().await.unwrap();
    assert!(matches!(queued.await, Err(TaskError::Closed)));
}

async fn its_tasks_hear_of_a_cancellation_above(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let told = sub.try_submit(async |cx| cx.cancellation().cancelled().await);
    above.cancellation().cancel();
    told.unwrap().await.unwrap();
    assert!(!sub.is_closed());
}

async fn a_shutdown_above_abandons_and_drops_its_tasks(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let running = sub.try_submit(async |_| std::future::pending::<()>().await);
    rt.settle().await;
    let queued = sub.try_submit(async |_| ()).unwrap();
    let before = rt.now();
    let report = above.shutdown(ms(5)).await;
    assert_eq!(rt.now() - before, ms(5));
    assert!(!report.is_clean());
    assert!(running.unwrap().await.unwrap_err().is_cancelled());
    assert!(matches!(queued.await, Err(TaskError::Closed)));
    let report = sub.shutdown(LONG).await;
    assert_eq!((report.dropped, report.abandoned), (1, 1), "{report}");
    assert_eq!((above.stats().slots, sub.stats().slots), (0, 0));
}

async fn its_shutdown_does_not_wait_for_a_turn_above(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let gate = occupy(&rt, &above).await;
    let queued = sub.try_submit(async |_| ()).unwrap();
    let before = rt.now();
    let how = Shutdown::drain(ms(5)).then_cancel(ms(5));
    let report = sub.shutdown(how).await;
    assert_eq!(rt.now() - before, ms(10));
    assert_eq!((report.abandoned, report.stuck), (1, 0), "{report}");
    assert!(matches!(queued.await, Err(TaskError::Closed)));
    gate.cancel();
    rt.settle().await;
    assert_eq!(sub.dump().phase, PoolPhase::Ended);
    assert_eq!((sub.stats().slots, above.stats().running), (0, 0));
    assert!(above.shutdown(LONG).await.is_clean());
}

async fn on_a_closed_pool_it_is_closed(rt: TestRuntime) {
    let above = pool(&rt, 1);
    above.close();
    let sub = sub_pool(&above);
    assert!(sub.is_closed());
    assert!(sub.submit(async |_| ()).await.unwrap_err().is_closed());
    assert!(sub.shutdown(LONG).await.is_clean());
    assert!(above.shutdown(LONG).await.is_clean());
}

async fn one_that_has_ended_holds_nothing_up(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let ended = sub_pool(&above);
    ended.run(async |_| ()).await.unwrap();
    assert!(ended.shutdown(LONG).await.is_clean());
    // Its last handle closes it, and its task runs on.
    let dropped = sub_pool(&above);
    let task = naps(&rt, &dropped, 1);
    drop(dropped);
    assert!(!above.is_closed());
    assert!(above.shutdown(LONG).await.is_clean());
    assert!(task[0].is_finished());
}

async fn a_handle_of_its_task_keeps_no_pool_open(rt: TestRuntime) {
    let stopped = Arc::new(AtomicUsize::new(0));
    let counted = stopped.clone();
    let above = WorkerPool::builder().runtime(&rt).slots(1).queue(8);
    let above = above.on_slot_stop(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let above = above.build().unwrap();
    let sub = sub_pool(&above);
    let mut handle = sub.submit(async |_| 1).await.unwrap();
    assert_eq!((&mut handle).await.unwrap(), 1);
    drop((sub, above));
    rt.settle().await;
    // Closed with its last handle: its one slot does not stay.
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
    drop(handle);
}

/// The slot that a submit starts runs for others too.
async fn a_submitters_cancellation_is_not_the_slots(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let (ran, asked) = (Arc::new(AtomicUsize::new(0)), Gate::new());
    let caller = flow_rt::TaskContext::under_token(asked.clone());
    let gate = occupy(&rt, &above).await;
    let first = caller.enter(|| sub.try_submit(async |cx| cx.is_cancelled()));
    let counts = ran.clone();
    let second = sub.try_submit(async move |cx| {
        counts.fetch_add(1, Ordering::Relaxed);
        cx.is_cancelled()
    });
    asked.cancel();
    gate.cancel();
    assert!(first.unwrap().await.unwrap());
    assert!(!second.unwrap().await.unwrap());
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

async fn a_task_that_waits_in_it_gives_both_slots_away(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let of_sub = sub_pool(&sub);
    for pool in [&sub, &of_sub] {
        let inner = pool.clone();
        let sum = pool.run(async move |_| {
            let tasks = (1..=3).map(|n| async move |_| n);
            let values = inner.group().run_all(tasks).await;
            values.into_iter().map(Result::unwrap).sum::<u32>()
        });
        assert_eq!(sum.await.unwrap(), 6);
        let (inner, outer) = (pool.clone(), above.clone());
        let both = pool.run(async move |_| {
            // For as long as it waits a task above may run as well.
            let here = inner.release_slot(inner.run(async |_| 1)).await;
            here.unwrap() + inner.release_slot(outer.run(async |_| 2)).await.unwrap()
        });
        assert_eq!(both.await.unwrap(), 3);
        rt.settle().await;
        assert_eq!((pool.stats().slots, above.stats().slots), (0, 1));
    }
    assert_eq!(above.run(async |_| 1).await.unwrap(), 1);
}

async fn both_slots_come_back_before_the_task_goes_on(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    // Whether its slot is another task's of the sub-pool's, or the one above another's.
    for pool in [&sub, &above] {
        let (released, inner) = (Gate::new(), sub.clone());
        let waits = released.clone();
        let mut task = sub
            .try_submit(async move |_| inner.release_slot(waits.cancelled()).await)
            .unwrap();
        rt.settle().await;
        let other = occupy(&rt, pool).await;
        released.cancel();
        rt.settle().await;
        assert!(poll_once(&mut task).is_pending(), "a slot is another's");
        other.cancel();
        task.await.unwrap();
        rt.settle().await;
        assert_eq!((sub.stats().slots, above.stats().slots), (0, 1));
    }
}

async fn a_task_that_goes_away_leaves_both_slots_whole(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    // While the slots are lent, while it waits for that of the sub-pool, and for the one above.
    for busy in [None, Some(&sub), Some(&above)] {
        let (released, inner) = (Gate::new(), sub.clone());
        let waits = released.clone();
        let task = sub
            .try_submit(async move |_| inner.release_slot(waits.cancelled()).await)
            .unwrap();
        rt.settle().await;
        let mut gate = None;
        if let Some(pool) = busy {
            gate = Some(occupy(&rt, pool).await);
            released.cancel();
            rt.settle().await;
        }
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        if let Some(gate) = gate {
            let second = sub.try_submit(async |_| ()).unwrap();
            rt.settle().await;
            assert!(!second.is_finished(), "there is one slot");
            gate.cancel();
            second.await.unwrap();
        }
        sub.run(async |_| ()).await.unwrap();
        rt.settle().await;
        assert_eq!((sub.stats().slots, above.stats().slots), (0, 1));
        let busy = occupy(&rt, &above).await;
        let second = above.try_submit(async |_| ()).unwrap();
        rt.settle().await;
        assert!(!second.is_finished(), "there is one slot above");
        busy.cancel();
        second.await.unwrap();
    }
}

async fn a_group_above_has_the_slot_of_its_task(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let (outer, inner) = (above.clone(), sub.clone());
    let task = sub.run(async move |_| {
        let values = outer.group().run_all((1..=3).map(|n| async move |_| n));
        let mut values = Box::pin(values);
        assert!(poll_once(&mut values).is_pending());
        // Its place in the sub-pool it keeps.
        let other = inner.try_submit(async |_| 7).unwrap();
        let values = values.await;
        assert!(!other.is_finished());
        other.detach();
        values.into_iter().map(Result::unwrap).sum::<u32>()
    });
    assert_eq!(task.await.unwrap(), 6);
    rt.settle().await;
    assert_eq!((sub.stats().slots, above.stats().slots), (0, 1));
}

async fn a_slot_that_is_wanted_above_comes_back_after_one_task(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let (released, lender) = (Gate::new(), above.clone());
    let waits = released.clone();
    let task = above
        .try_submit(async move |_| lender.release_slot(waits.cancelled()).await)
        .unwrap();
    rt.settle().await;
    let naps = naps(&rt, &sub, 50);
    rt.settle().await;
    assert_eq!(sub.stats().running, 1);
    let before = rt.now();
    released.cancel();
    task.await.unwrap();
    assert_eq!(rt.now() - before, ms(1));
    assert!(join_all(naps).await.iter().all(Result::is_ok));
    rt.settle().await;
    assert_eq!((sub.stats().slots, above.stats().slots), (0, 1));
}

async fn its_task_does_not_wait_for_the_room_above_that_it_keeps(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1).queue(1);
    let above = builder.build().unwrap();
    let sub = sub_pool(&above);
    let outer = above.clone();
    let refused = sub.run(async move |_| {
        outer.try_submit(async |_| ()).unwrap();
        let refused = outer.submit(async |_| ()).await.unwrap_err();
        assert!(matches!(refused, SubmitError::Nested { .. }), "{refused}");
        // In a wait without the slot it may.
        outer.release_slot(outer.run(async |_| 1)).await
    });
    assert_eq!(refused.await.unwrap().unwrap(), 1);
    // A closure that blocks keeps it as well.
    let outer = above.clone();
    let refused = sub.run_blocking(move |_| {
        outer.try_submit(async |_| ()).unwrap();
        let mut submit = outer.submit(async |_| ());
        matches!(
            poll_once(&mut submit),
            Poll::Ready(Err(SubmitError::Nested { .. }))
        )
    });
    assert!(refused.await.unwrap());
}

async fn a_task_above_does_not_wait_for_the_room_that_its_slot_has_to_make(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = above.sub_pool().slots(1).queue(1).build().unwrap();
    let of_sub = sub.sub_pool().slots(1).queue(1).build().unwrap();
    for pool in [&sub, &of_sub] {
        let (inner, counts) = (pool.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = counts.clone();
        let refused = above.run(async move |_| {
            let mut refused = Vec::new();
            for _ in 0..3 {
                let counts = counts.clone();
                let task = inner.submit(async move |_| counts.fetch_add(1, Ordering::Relaxed));
                refused.push(matches!(
                    task.detach().await,
                    Err(SubmitError::Nested { capacity: 1, .. })
                ));
            }
            refused
        });
        let refused = rt.timeout(LONG, refused).await.unwrap().unwrap();
        assert_eq!(refused, [false, true, true]);
        rt.settle().await;
        assert_eq!(counted.load(Ordering::Relaxed), 1);
        // From outside, and from a task of another pool, it waits.
        let gate = occupy(&rt, &above).await;
        pool.try_submit(async |_| 1).unwrap().detach();
        let (other, inner) = (self::pool(&rt, 1), pool.clone());
        let waits = other
            .submit(async move |_| inner.run(async |_| 2).await)
            .await
            .unwrap();
        rt.settle().await;
        assert_eq!(pool.stats().waiting, 1);
        gate.cancel();
        assert_eq!(waits.await.unwrap().unwrap(), 2);
    }
}

async fn a_task_above_that_waits_in_it_gives_its_slot_away(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = above.sub_pool().slots(1).queue(1).build().unwrap();
    let of_sub = sub.sub_pool().slots(1).queue(1).build().unwrap();
    for pool in [&sub, &of_sub] {
        let inner = pool.clone();
        let sum = above.run(async move |_| {
            let tasks = (1..=3).map(|n| async move |_| n);
            let values = inner.group().run_all(tasks).await;
            let sum = values.into_iter().map(Result::unwrap).sum::<u32>();
            sum + inner.release_slot(inner.run(async |_| 4)).await.unwrap()
        });
        assert_eq!(rt.timeout(LONG, sum).await.unwrap().unwrap(), 10);
        // A closure that blocks does as well.
        let inner = pool.clone();
        let lent = above.run_blocking(move |_| {
            let mut waits = Box::pin(inner.release_slot(std::future::pending::<()>()));
            poll_once(&mut waits).is_pending()
        });
        assert!(lent.await.unwrap());
        rt.settle().await;
        assert_eq!((pool.stats().slots, above.stats().slots), (0, 1));
        let busy = occupy(&rt, &above).await;
        let second = above.try_submit(async |_| ()).unwrap();
        rt.settle().await;
        assert!(!second.is_finished(), "there is one slot above");
        busy.cancel();
        second.await.unwrap();
    }
}

async fn a_task_that_is_run_above_by_its_submitter_gives_that_slot_away(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = above.sub_pool().slots(1).queue(1);
    let sub = sub.on_full(OnFull::CallerRuns).build().unwrap();
    let inner = sub.clone();
    let task = above.run(async move |_| {
        let first = inner.submit(async |_| 1).await.unwrap();
        // No room: it runs here, and waits for the first.
        let waits = inner.clone();
        let second = inner.submit(async move |_| waits.release_slot(first).await.unwrap());
        second.await.unwrap().await.unwrap()
    });
    assert_eq!(rt.timeout(LONG, task).await.unwrap().unwrap(), 1);
    rt.settle().await;
    assert_eq!((sub.stats().slots, above.stats().slots), (0, 1));
}

/// Whether its tasks wait or are ready at once, one that was submitted above has its turn after 64.
async fn a_sub_pool_that_is_never_idle_does_not_starve_the_pool_above(rt: TestRuntime) {
    for waits in [true, false] {
        let above = pool(&rt, 1);
        let sub = sub_pool(&above);
        let gate = occupy(&rt, &above).await;
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..200 {
            let (rt, ran) = (rt.clone(), ran.clone());
            let task = async move |_| {
                if waits {
                    rt.sleep(ms(1)).await.unwrap();
                }
                ran.fetch_add(1, Ordering::Relaxed);
            };
            sub.try_submit(task).unwrap().detach();
        }
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let ran = ran.clone();
                above.try_submit(async move |_| ran.load(Ordering::Relaxed))
            })
            .collect();
        gate.cancel();
        for (task, expected) in tasks.into_iter().zip([64, 128, 192]) {
            assert_eq!(task.unwrap().await.unwrap(), expected);
        }
        assert!(above.shutdown(LONG).await.is_clean());
        assert_eq!(ran.load(Ordering::Relaxed), 200);
    }
}

async fn closures_that_block_do_not_starve_the_pool_above(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let gate = occupy(&rt, &above).await;
    let ran = Arc::new(AtomicUsize::new(0));
    for n in 0..180 {
        let ran = ran.clone();
        // A task in between ends what one thread runs in a row.
        if n % 10 == 0 {
            sub.try_submit(async |_| ()).unwrap().detach();
        } else {
            let closure = sub.submit_blocking(move |_| ran.fetch_add(1, Ordering::Relaxed));
            closure.detach().try_now().unwrap();
        }
    }
    let before = ran.clone();
    let task = above.try_submit(async move |_| before.load(Ordering::Relaxed));
    gate.cancel();
    let before = task.unwrap().await.unwrap();
    assert!((30..80).contains(&before), "{before}");
    assert!(above.shutdown(LONG).await.is_clean());
}

async fn sub_pools_take_turns(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let subs = [sub_pool(&above), sub_pool(&above)];
    let gate = occupy(&rt, &above).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    for (n, sub) in subs.iter().enumerate() {
        for _ in 0..130 {
            let (rt, order) = (rt.clone(), order.clone());
            let task = async move |_| {
                rt.sleep(ms(1)).await.unwrap();
                order.lock().unwrap().push(n);
            };
            sub.try_submit(task).unwrap().detach();
        }
    }
    gate.cancel();
    assert!(above.shutdown(LONG).await.is_clean());
    let order = order.lock().unwrap();
    let turns: Vec<_> = order.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert_eq!(turns, [64, 64, 64, 64, 2, 2]);
}
