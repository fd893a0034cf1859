//! Answers to a full queue, pools without a bound, and pools without a queue.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flow_rt::{OnFull, TaskContext, TestRuntime};
use flow_sched::{SubmitError, TaskError, TrySubmitError, WorkerPool, WorkerPoolBuilder};
use futures_util::future::join_all;

use crate::common::{Gate, LONG, ms, occupy, poll_once};

flow_rt::on_every_runtime! {
    seeds 0..50;
    the_oldest_task_makes_room,
    an_aborted_task_makes_room_for_nothing_else,
    the_submitter_runs_what_the_queue_does_not_take,
    a_submitter_that_goes_away_takes_its_task_along,
    a_submitters_task_obeys_timeout_abort_and_shutdown,
    a_nested_submit_runs_its_task_itself,
    hooks_are_told_of_no_slot_where_there_is_none,
    a_task_that_its_submitter_runs_is_in_the_submitters_slot,
    an_unbounded_queue_takes_everything,
    a_hand_off_takes_as_many_as_there_are_slots,
    submitters_wait_for_a_slot_of_a_hand_off,
    a_hand_off_gives_the_slot_back_however_the_task_ends,
}

fn builder(rt: &TestRuntime) -> WorkerPoolBuilder {
    WorkerPool::builder().runtime(rt).slots(1)
}

async fn the_oldest_task_makes_room(rt: TestRuntime) {
    let builder = builder(&rt).queue(2).on_full(OnFull::DropOldest);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let task = |n: u32| {
        let order = order.clone();
        async move |_| order.lock().unwrap().push(n)
    };
    let mut handles = Vec::new();
    for n in 0..5 {
        // By either way of submitting, and never with a wait.
        handles.push(if n % 2 == 0 {
            pool.try_submit(task(n)).unwrap()
        } else {
            pool.submit(task(n)).await.unwrap()
        });
    }
    assert_eq!((pool.stats().queued, pool.stats().evicted), (2, 3));
    assert!(handles[2].is_finished(), "an evicted task has ended");
    gate.cancel();
    let results = join_all(handles).await;
    let evicted = |result: &Result<(), TaskError>| matches!(result, Err(TaskError::Evicted));
    assert!(results[..3].iter().all(evicted), "{results:?}");
    assert!(results[3..].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(*order.lock().unwrap(), [3, 4]);
    let stats = pool.stats();
    assert_eq!(
        (stats.submitted, stats.completed, stats.rejected),
        (6, 3, 0)
    );
    assert!(pool.shutdown(LONG).await.is_clean());
    assert!(pool.submit(async |_| ()).await.unwrap_err().is_closed());
}

async fn an_aborted_task_makes_room_for_nothing_else(rt: TestRuntime) {
    let builder = builder(&rt).queue(1).on_full(OnFull::DropOldest);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let aborted = pool.try_submit(async |_| 1).unwrap();
    aborted.abort();
    let next = pool.try_submit(async |_| 2).unwrap();
    gate.cancel();
    assert!(aborted.await.unwrap_err().is_cancelled());
    assert_eq!(next.await.unwrap(), 2);
    let stats = pool.stats();
    assert_eq!((stats.cancelled, stats.evicted, stats.completed), (1, 0, 2));
}

fn caller_runs(rt: &TestRuntime) -> WorkerPool {
    let builder = builder(rt).queue(1).on_full(OnFull::CallerRuns);
    builder.build().unwrap()
}

/// Makes the pool's slot busy and its queue full.
async fn fill(rt: &TestRuntime, pool: &WorkerPool) -> Gate {
    let gate = occupy(rt, pool).await;
    pool.try_submit(async |_| ()).unwrap().detach();
    gate
}

async fn the_submitter_runs_what_the_queue_does_not_take(rt: TestRuntime) {
    let pool = caller_runs(&rt);
    let gate = fill(&rt, &pool).await;
    // A submit that never waits does not run a task either.
    let full = pool.try_submit(async |_| 1).unwrap_err();
    assert!(matches!(full, TrySubmitError::Full { capacity: 1, .. }));
    let (sleeper, before) = (rt.clone(), rt.now());
    let mut submit = pool.submit(async move |cx: TaskContext| {
        assert_eq!(
            TaskContext::current().unwrap().cancellation(),
            cx.cancellation()
        );
        sleeper.sleep(ms(5)).await.unwrap();
        7
    });
    assert!(poll_once(&mut submit).is_pending());
    assert_eq!(pool.stats().running, 2, "the submitter's is the second");
    let handle = submit.await.unwrap();
    assert!(handle.is_finished());
    assert_eq!(rt.now() - before, ms(5));
    assert_eq!(handle.await.unwrap(), 7);
    // A panic ends the task, and is no business of the submitter's.
    let panicked = pool.submit(async |_| -> u8 { panic!("here") }).await;
    assert!(panicked.unwrap().await.unwrap_err().is_panic());
    let blocking = pool.submit_blocking(|_| 8).await.unwrap();
    assert_eq!(blocking.await.unwrap(), 8);
    assert!(rt.timeout(ms(1), pool.run(async |_| ())).await.is_ok());
    gate.cancel();
    let report = pool.shutdown(LONG).await;
    assert!(report.is_clean(), "{report}");
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed), (6, 5));
    assert_eq!((stats.panicked, stats.rejected), (1, 1));
}

async fn a_submitter_that_goes_away_takes_its_task_along(rt: TestRuntime) {
    let pool = caller_runs(&rt);
    let gate = fill(&rt, &pool).await;
    let held = Arc::new(());
    let holds = held.clone();
    // The time to wait for room is not a time to run.
    let submit = pool.submit_timeout(
        async move |_| {
            std::future::pending::<()>().await;
            drop(holds);
        },
        ms(1),
    );
    assert!(rt.timeout(ms(10), submit).await.is_err());
    assert_eq!(Arc::strong_count(&held), 1);
    let stats = pool.stats();
    assert_eq!((stats.running, stats.cancelled), (1, 1));
    gate.cancel();
    assert_eq!(pool.shutdown(LONG).await.cancelled, 0);
}

async fn a_submitters_task_obeys_timeout_abort_and_shutdown(rt: TestRuntime) {
    let pool = caller_runs(&rt);
    let _gate = fill(&rt, &pool).await;
    let late = pool.submit(async |_| std::future::pending::<()>().await);
    let late = late.timeout(ms(5)).await.unwrap();
    let late = late.await;
    assert!(matches!(late, Err(TaskError::TimedOut { limit }) if limit == ms(5)));
    let (running, told) = (pool.clone(), Arc::new(AtomicBool::new(false)));
    let tell = told.clone();
    let submitter = rt.spawn(async move {
        let task = running.submit(async move |cx: TaskContext| {
            cx.cancellation().cancelled().await;
            tell.store(true, Ordering::Release);
        });
        task.await.unwrap().await
    });
    rt.settle().await;
    assert_eq!(pool.stats().running, 2);
    let report = pool.shutdown(ms(5)).await;
    assert_eq!((report.cancelled, report.dropped), (1, 1), "{report}");
    submitter.await.unwrap().unwrap();
    assert!(told.load(Ordering::Acquire));
}

async fn a_nested_submit_runs_its_task_itself(rt: TestRuntime) {
    let pool = caller_runs(&rt);
    let inner = pool.clone();
    let sum = pool.run(async move |_| {
        let queued = inner.submit(async |_| 1).await.unwrap();
        let here = inner.submit(async |_| 2).await.unwrap();
        (queued, here.await.unwrap())
    });
    let (queued, here) = sum.await.unwrap();
    assert_eq!(queued.await.unwrap() + here, 3);
}

async fn hooks_are_told_of_no_slot_where_there_is_none(rt: TestRuntime) {
    let slots = Arc::new(Mutex::new(Vec::new()));
    let (starts, ends) = (slots.clone(), slots.clone());
    let builder = builder(&rt).queue(1).on_full(OnFull::CallerRuns);
    let builder = builder.on_task_start(move |slot| starts.lock().unwrap().push(slot));
    let builder = builder.on_task_end(move |end| ends.lock().unwrap().push(end.slot));
    let pool = builder.build().unwrap();
    let gate = fill(&rt, &pool).await;
    pool.submit(async |_| ()).detach().await.unwrap();
    pool.submit_blocking(|_| ()).detach().await.unwrap();
    assert_eq!(*slots.lock().unwrap(), [Some(0), None, None, None, None]);
    gate.cancel();
    pool.shutdown(LONG).await;
    assert_eq!(slots.lock().unwrap()[5..], [Some(0); 3]);
}

async fn a_task_that_its_submitter_runs_is_in_the_submitters_slot(rt: TestRuntime) {
    let outer = builder(&rt).queue(1).build().unwrap();
    let inner = caller_runs(&rt);
    let gate = fill(&rt, &inner).await;
    let (pool, guests) = (outer.clone(), inner.clone());
    let task = outer.run(async move |_| {
        pool.try_submit(async |_| ()).unwrap().detach();
        let guest = async move |_: TaskContext| {
            // Room there would be made by the slot that this keeps.
            let refused = pool.submit(async |_| ()).await.unwrap_err();
            assert!(matches!(refused, SubmitError::Nested { .. }), "{refused}");
            pool.release_slot(pool.run(async |_| 1)).await.unwrap()
        };
        guests.submit(guest).await.unwrap().await.unwrap()
    });
    assert_eq!(task.await.unwrap(), 1);
    gate.cancel();
    inner.shutdown(LONG).await;
}

async fn an_unbounded_queue_takes_everything(rt: TestRuntime) {
    let pool = builder(&rt).unbounded().build().unwrap();
    assert_eq!(pool.capacity(), None);
    let gate = occupy(&rt, &pool).await;
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..3_000 {
        let ran = ran.clone();
        pool.try_submit(async move |_| ran.fetch_add(1, Ordering::Relaxed))
            .unwrap()
            .detach();
    }
    assert_eq!(pool.stats().queued, 3_000);
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(ran.load(Ordering::Relaxed), 3_000);
}

async fn a_hand_off_takes_as_many_as_there_are_slots(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(0..=2).rendezvous();
    let pool = pool.build().unwrap();
    assert_eq!(pool.capacity(), Some(0));
    let gates = [occupy(&rt, &pool).await, occupy(&rt, &pool).await];
    let full = pool.try_submit(async |_| 3).unwrap_err();
    assert!(matches!(full, TrySubmitError::Full { capacity: 0, .. }));
    assert_eq!(pool.stats().queued, 0);
    gates[0].cancel();
    rt.settle().await;
    assert_eq!(
        pool.try_submit(full.into_inner()).unwrap().await.unwrap(),
        3
    );
    gates[1].cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
    assert!(pool.try_submit(async |_| 3).unwrap_err().is_closed());
}

async fn submitters_wait_for_a_slot_of_a_hand_off(rt: TestRuntime) {
    let pool = builder(&rt).rendezvous().build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let mut first = pool.submit(async |_| 1);
    let mut second = pool.submit(async |_| 2);
    assert!(poll_once(&mut first).is_pending());
    assert!(poll_once(&mut second).is_pending());
    let inner = pool.clone();
    let nested = pool.submit_timeout(async |_| 3, ms(1)).await;
    assert!(matches!(nested, Err(SubmitError::TimedOut { .. })));
    gate.cancel();
    assert_eq!(first.await.unwrap().await.unwrap(), 1);
    assert_eq!(second.await.unwrap().await.unwrap(), 2);
    // From inside the slot there is nothing to wait for.
    let nested = pool.run(async move |_| inner.submit(async |_| 4).await.is_err());
    assert!(nested.await.unwrap());
}

async fn a_hand_off_gives_the_slot_back_however_the_task_ends(rt: TestRuntime) {
    let pool = builder(&rt).rendezvous().build().unwrap();
    assert!(pool.run(async |_| -> u8 { panic!("gone") }).await.is_err());
    let late = pool.submit(async |_| std::future::pending::<()>().await);
    assert!(late.timeout(ms(1)).await.unwrap().await.is_err());
    let aborted = pool.try_submit(async |_| std::future::pending::<()>().await);
    let aborted = aborted.unwrap();
    aborted.abort();
    assert!(aborted.await.is_err());
    rt.settle().await;
    assert_eq!(pool.run(async |_| 5).await.unwrap(), 5);
    let last = pool.try_submit(async |cx: TaskContext| cx.cancellation().cancelled().await);
    let report = pool.shutdown(ms(1)).await;
    assert_eq!(report.stuck, 0);
    assert_eq!(report.cancelled + report.abandoned, 1, "{report}");
    drop(last);
}
