//! Slots that come and go, and pools that end: by shutdown, by drop, with their runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use flow_rt::sim::{self, Sim};
use flow_rt::{Handle, TestRuntime, block_on};
use flow_sched::{PoolConfigError, Shutdown, TaskError, TaskHandle, WorkerPool};
use futures_util::future::{join, join_all};

use crate::common::{Gate, LONG, ms, poll_once};

flow_rt::on_every_runtime! {
    seeds 0..50;
    the_last_handle_closes_and_drains,
    a_shutdown_that_is_dropped_leaves_the_pool_draining,
    shutdown_of_an_idle_pool_and_of_one_that_never_ran,
    the_shortest_timeout_wins,
    the_pools_token_reaches_tasks,
    a_task_that_ran_too_long_did_not_end_by_itself,
    a_task_that_shuts_its_pool_down_is_not_waited_for,
    a_task_that_shuts_its_pool_down_in_vain_has_its_report,
    a_shutdown_from_a_sub_pool_ends,
    tasks_that_are_told_have_their_time,
    one_grace_ends_while_another_has_time,
    more_slots_start_and_fewer_stay,
    a_hand_off_has_places_as_it_has_slots,
    a_pool_is_resized_while_it_shuts_down,
    a_bad_size_changes_nothing,
}

async fn the_last_handle_closes_and_drains(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..10)
        .map(|_| {
            let (ran, rt) = (ran.clone(), rt.clone());
            pool.try_submit(async move |_| {
                rt.sleep(ms(1)).await.unwrap();
                ran.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap()
        })
        .collect();
    drop(pool.clone());
    assert!(!pool.is_closed());
    drop(pool);
    for handle in join_all(handles).await {
        handle.unwrap();
    }
    assert_eq!(ran.load(Ordering::Relaxed), 10);
}

async fn a_shutdown_that_is_dropped_leaves_the_pool_draining(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let gate = Gate::new();
    let wait = gate.clone();
    let task = pool.try_submit(async move |_| wait.cancelled().await);
    assert!(rt.timeout(ms(1), pool.shutdown(LONG)).await.is_err());
    assert!(pool.is_closed());
    gate.cancel();
    task.unwrap().await.unwrap();
    assert!(pool.shutdown(LONG).await.is_clean());
}

async fn shutdown_of_an_idle_pool_and_of_one_that_never_ran(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(4).queue(8);
    let pool = builder.clone().build().unwrap();
    assert_eq!(pool.stats().slots, 0, "slots start when there is work");
    assert!(pool.shutdown(ms(0)).await.is_clean());
    let pool = builder.build().unwrap();
    join_all((0..8).map(|_| pool.run(async |_| ()))).await;
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(pool.stats().slots, 0);
}

async fn the_shortest_timeout_wins(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let task = pool.try_submit(async move |_| std::future::pending::<()>().await);
    rt.settle().await;
    assert_eq!(pool.stats().running, 1);
    let (long, short) = join(pool.shutdown(LONG), pool.shutdown(ms(5))).await;
    assert_eq!(long, short);
    assert_eq!((long.dropped, long.stuck), (1, 0));
    assert!(task.unwrap().await.unwrap_err().is_cancelled());
}

async fn the_pools_token_reaches_tasks(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    let told = pool
        .try_submit(async |cx| cx.cancellation().cancelled().await)
        .unwrap();
    pool.cancellation().cancel();
    told.await.unwrap();
    // The pool is open, and its tasks are born cancelled.
    assert!(pool.run(async |cx| cx.is_cancelled()).await.unwrap());
}

async fn a_task_that_ran_too_long_did_not_end_by_itself(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    let slow = pool.submit(async |_| std::future::pending::<()>().await);
    let slow = slow.timeout(ms(5)).await.unwrap();
    let sleeper = rt.clone();
    let quick = pool.submit(async move |_| sleeper.sleep(ms(1)).await.unwrap());
    let quick = quick.await.unwrap();
    let report = pool.shutdown(LONG).await;
    assert_eq!((report.completed, report.timed_out), (1, 1));
    assert!(!report.is_clean());
    assert_eq!(report.to_string(), "pool: 1 completed, 1 timed out");
    quick.await.unwrap();
    assert!(matches!(slow.await, Err(TaskError::TimedOut { .. })));
}

async fn a_task_that_shuts_its_pool_down_is_not_waited_for(rt: TestRuntime) {
    // One slot idle, one that drains the queue, and the task's own.
    let pool = WorkerPool::builder().runtime(&rt).slots(3).build().unwrap();
    let nap = |time| {
        let sleeper = rt.clone();
        pool.submit(async move |_| sleeper.sleep(time).await.unwrap())
    };
    for _ in 0..3 {
        nap(ms(1)).detach().await.unwrap();
    }
    rt.advance(ms(1)).await;
    nap(ms(20)).detach().await.unwrap();
    let (inner, before) = (pool.clone(), rt.now());
    let report = pool.run(async move |_| inner.shutdown(LONG).await);
    let report = report.await.unwrap();
    assert_eq!(rt.now() - before, ms(20));
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.completed, 1, "the task that asked is in no count");
    // From without it is a task as any.
    let report = pool.shutdown(LONG).await;
    assert_eq!((report.completed, report.is_clean()), (2, true), "{report}");
    assert_eq!(pool.stats().slots, 0);
    // In a closure that blocks the same holds.
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let inner = pool.clone();
    let report = pool.run_blocking(move |_| poll_once(&mut Box::pin(inner.shutdown(LONG))));
    assert!(matches!(report.await.unwrap(), Poll::Ready(report) if report.is_clean()));
}

async fn a_task_that_shuts_its_pool_down_in_vain_has_its_report(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    let stuck = pool.submit(async |_| std::future::pending::<()>().await);
    let stuck = stuck.await.unwrap();
    let (inner, told) = (pool.clone(), Arc::new(AtomicUsize::new(0)));
    let hears = told.clone();
    let task = pool.run(async move |cx| {
        let how = Shutdown::drain(ms(10)).then_cancel(ms(5));
        let report = inner.shutdown(how).await;
        assert_eq!(report.stuck, 1, "{report}");
        hears.fetch_add(1 + usize::from(cx.is_cancelled()), Ordering::Relaxed);
        report
    });
    let before = rt.now();
    assert!(!task.await.unwrap().is_clean());
    assert_eq!(rt.now() - before, ms(15));
    assert_eq!(told.load(Ordering::Relaxed), 2);
    assert!(stuck.await.unwrap_err().is_cancelled());
    assert_eq!(pool.shutdown(LONG).await.dropped, 1);
}

async fn a_shutdown_from_a_sub_pool_ends(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    let sub = pool.sub_pool().slots(1).build().unwrap();
    let (inner, before) = (pool.clone(), rt.now());
    let report = sub.run(async move |_| inner.shutdown(ms(10)).await);
    assert_eq!(report.await.unwrap().stuck, 0);
    assert_eq!(rt.now() - before, ms(10));
    // The other way round there is nothing special.
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    let sub = pool.sub_pool().slots(1).build().unwrap();
    sub.run(async |_| ()).await.unwrap();
    let inner = sub.clone();
    let report = pool.run(async move |_| inner.shutdown(LONG).await);
    assert!(report.await.unwrap().is_clean());
}

/// A task that stops so long after it was told to.
fn tidies_up(rt: &TestRuntime, pool: &WorkerPool, takes: Duration) -> TaskHandle<()> {
    let rt = rt.clone();
    let task = pool.try_submit(async move |cx| {
        cx.cancellation().cancelled().await;
        rt.sleep(takes).await.unwrap();
    });
    task.unwrap()
}

async fn tasks_that_are_told_have_their_time(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    let (quick, slow) = (tidies_up(&rt, &pool, ms(5)), tidies_up(&rt, &pool, LONG));
    rt.settle().await;
    assert_eq!(pool.stats().running, 2);
    let queued = pool.try_submit(async |_| ()).unwrap();
    let before = rt.now();
    let report = pool
        .shutdown(Shutdown::drain(ms(10)).then_cancel(ms(20)))
        .await;
    assert_eq!(rt.now() - before, ms(30));
    assert_eq!(
        (report.cancelled, report.dropped, report.abandoned),
        (1, 1, 1),
        "{report}"
    );
    quick.await.unwrap();
    assert!(slow.await.unwrap_err().is_cancelled());
    assert!(matches!(queued.await, Err(TaskError::Closed)));
    assert_eq!(pool.shutdown(LONG).await, report);
}

async fn one_grace_ends_while_another_has_time(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let task = tidies_up(&rt, &pool, LONG);
    rt.settle().await;
    let before = rt.now();
    let patient = pool.shutdown(Shutdown::drain(ms(1)).then_cancel(LONG));
    let (patient, hasty) = join(patient, pool.shutdown(ms(5))).await;
    assert_eq!(rt.now() - before, ms(5));
    assert_eq!(patient, hasty);
    assert_eq!((patient.dropped, patient.stuck), (1, 0));
    assert!(task.await.is_err());
    // One that ends within its grace ends the wait.
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let task = tidies_up(&rt, &pool, ms(5));
    rt.settle().await;
    let before = rt.now();
    let how = Shutdown::drain(ms(0)).then_cancel(LONG);
    assert_eq!(pool.shutdown(how).await.cancelled, 1);
    assert_eq!(rt.now() - before, ms(5));
    task.await.unwrap();
}

/// So many tasks that wait at one gate.
fn waiting(pool: &WorkerPool, gate: &Gate, tasks: usize) -> Vec<TaskHandle<()>> {
    let waits = |_| {
        let gate = gate.clone();
        pool.try_submit(async move |_| gate.cancelled().await)
    };
    (0..tasks).map(waits).collect::<Result<_, _>>().unwrap()
}

async fn more_slots_start_and_fewer_stay(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let gate = Gate::new();
    let tasks = waiting(&pool, &gate, 12);
    rt.settle().await;
    assert_eq!((pool.stats().running, pool.stats().queued), (1, 11));
    pool.resize(4..=8).unwrap();
    rt.settle().await;
    assert_eq!((pool.stats().running, pool.stats().queued), (8, 4));
    // No task is disturbed; the first three that end take their slots along, and so on.
    pool.resize(2).unwrap();
    rt.settle().await;
    assert_eq!((pool.stats().running, pool.stats().slots), (8, 8));
    gate.cancel();
    join_all(tasks).await;
    rt.settle().await;
    assert_eq!((pool.stats().slots, pool.stats().completed), (2, 12));
    // Idle ones leave at once.
    pool.resize(0..=1).unwrap();
    rt.settle().await;
    assert_eq!((pool.stats().slots, pool.stats().idle_slots), (1, 1));
    let gate = Gate::new();
    let tasks = waiting(&pool, &gate, 3);
    rt.settle().await;
    assert_eq!((pool.stats().running, pool.stats().queued), (1, 2));
    gate.cancel();
    join_all(tasks).await;
    pool.resize(3).unwrap();
    let gate = Gate::new();
    let tasks = waiting(&pool, &gate, 3);
    rt.settle().await;
    assert_eq!(pool.stats().running, 3);
    gate.cancel();
    join_all(tasks).await;
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(pool.stats().slots, 0);
}

async fn a_hand_off_has_places_as_it_has_slots(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).rendezvous();
    let pool = pool.build().unwrap();
    let gate = Gate::new();
    let mut tasks = waiting(&pool, &gate, 1);
    assert!(pool.try_submit(async |_| ()).is_err());
    let mut waits = pool.submit(async |_| 7);
    assert!(crate::common::poll_once(&mut waits).is_pending());
    pool.resize(3).unwrap();
    assert_eq!(waits.await.unwrap().await.unwrap(), 7);
    rt.settle().await;
    tasks.extend(waiting(&pool, &gate, 2));
    rt.settle().await;
    pool.resize(1).unwrap();
    gate.cancel();
    join_all(tasks).await;
    rt.settle().await;
    let gate = Gate::new();
    let last = waiting(&pool, &gate, 1);
    assert!(pool.try_submit(async |_| ()).is_err());
    gate.cancel();
    join_all(last).await;
}

async fn a_pool_is_resized_while_it_shuts_down(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let (gate, ended) = (Gate::new(), pool.clone());
    let tasks = waiting(&pool, &gate, 6);
    let shutdown = rt.spawn(async move { ended.shutdown(LONG).await });
    rt.settle().await;
    pool.resize(4).unwrap();
    rt.settle().await;
    assert_eq!(pool.stats().running, 4);
    pool.resize(1).unwrap();
    gate.cancel();
    assert!(shutdown.await.unwrap().is_clean());
    join_all(tasks).await;
    pool.resize(4).unwrap();
    rt.settle().await;
    assert_eq!(pool.stats().slots, 0, "it has ended");
}

async fn a_bad_size_changes_nothing(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    assert_eq!(pool.resize(0), Err(PoolConfigError::NoSlots));
    let given = usize::MAX;
    assert_eq!(
        pool.resize(given),
        Err(PoolConfigError::TooManySlots { given })
    );
    #[expect(clippy::reversed_empty_ranges, reason = "the point of the case")]
    let empty = pool.resize(5..=4);
    assert_eq!(
        empty,
        Err(PoolConfigError::EmptySlotRange { min: 5, max: 4 })
    );
    assert_eq!(pool.slots(), 2..=2);
}

async fn burst(rt: &Sim, pool: &WorkerPool, tasks: usize) {
    let gate = Gate::new();
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let gate = gate.clone();
            pool.try_submit(async move |_| gate.cancelled().await)
                .unwrap()
        })
        .collect();
    rt.run_until_idle().await;
    gate.cancel();
    join_all(handles).await;
    rt.run_until_idle().await;
}

#[test]
fn slots_start_when_needed_and_leave_when_idle() {
    sim::check(0..50, |rt| async move {
        let stay = Duration::from_secs(1);
        let pool = WorkerPool::builder()
            .slots(1..=4)
            .idle_timeout(stay)
            .build()
            .unwrap();
        burst(&rt, &pool, 1).await;
        assert_eq!(pool.stats().slots, 1);
        burst(&rt, &pool, 10).await;
        assert_eq!((pool.stats().slots, pool.stats().idle_slots), (4, 4));
        rt.advance(stay / 2).await;
        assert_eq!(pool.stats().slots, 4);
        rt.advance(stay).await;
        assert_eq!((pool.stats().slots, pool.stats().idle_slots), (1, 1));
        // The one that stays needs no timer, and works; the others come back.
        rt.advance(stay * 10).await;
        burst(&rt, &pool, 3).await;
        assert_eq!(pool.stats().slots, 3);
        let report = pool.shutdown(Duration::ZERO).await;
        assert!(report.is_clean(), "{report}");
        assert_eq!(rt.live_tasks(), 0);
    });
}

#[test]
fn an_idle_pool_may_have_no_slot() {
    sim::check(0..50, |rt| async move {
        let builder = WorkerPool::builder().slots(0..=2);
        let pool = builder.idle_timeout(ms(10)).build().unwrap();
        for _ in 0..3 {
            burst(&rt, &pool, 2).await;
            assert_eq!(pool.stats().slots, 2);
            rt.advance(ms(20)).await;
            assert_eq!((pool.stats().slots, rt.live_tasks()), (0, 0));
        }
    });
}

#[test]
fn a_slot_stays_as_long_after_each_task() {
    sim::check(0..50, |rt| async move {
        let builder = WorkerPool::builder().slots(0..=1);
        let pool = builder.idle_timeout(ms(10)).build().unwrap();
        // Its timer is armed for the first stay, and finds the others begun when it fires.
        for pause in [6, 3, 9] {
            pool.run(async |_| ()).await.unwrap();
            rt.advance(ms(pause)).await;
            assert_eq!(pool.stats().slots, 1);
        }
        pool.run(async |_| ()).await.unwrap();
        rt.advance(Duration::from_micros(9_999)).await;
        assert_eq!(pool.stats().slots, 1);
        rt.advance(Duration::from_micros(1)).await;
        assert_eq!((pool.stats().slots, rt.live_tasks()), (0, 0));
    });
}

#[test]
fn a_slot_that_is_woken_for_nothing_stays_no_longer() {
    sim::check(0..50, |rt| async move {
        let builder = WorkerPool::builder().slots(0..=1);
        let pool = builder.idle_timeout(ms(10)).build().unwrap();
        pool.run(async |_| ()).await.unwrap();
        for _ in 0..2 {
            rt.advance(ms(4)).await;
            // Whoever sets the bounds wakes all that sleep.
            pool.resize(0..=1).unwrap();
            rt.run_until_idle().await;
            assert_eq!(pool.stats().slots, 1);
        }
        rt.advance(ms(2)).await;
        assert_eq!((pool.stats().slots, rt.live_tasks()), (0, 0));
    });
}

#[test]
fn a_stay_begins_anew_after_a_task_during_which_its_timer_fired() {
    sim::check(0..50, |rt| async move {
        let builder = WorkerPool::builder().slots(0..=1);
        let pool = builder.idle_timeout(ms(10)).build().unwrap();
        pool.run(async |_| ()).await.unwrap();
        rt.advance(ms(5)).await;
        let inner = rt.clone();
        pool.run(async move |_| inner.sleep(ms(20)).await)
            .await
            .unwrap();
        rt.advance(Duration::from_micros(9_999)).await;
        assert_eq!(pool.stats().slots, 1);
        rt.advance(Duration::from_micros(1)).await;
        assert_eq!((pool.stats().slots, rt.live_tasks()), (0, 0));
    });
}

#[test]
fn a_slot_that_stays_for_good_has_no_timer() {
    for seed in 0..50 {
        let run = Sim::new(seed).run(|rt| async move {
            let builder = WorkerPool::builder().slots(1..=2);
            let pool = builder.idle_timeout(ms(10)).build().unwrap();
            burst(&rt, &pool, 2).await;
            rt.advance(ms(5)).await;
            // One of the two stays until 15 ms; the other leaves at 10 ms.
            pool.run(async |_| ()).await.unwrap();
            rt.advance(ms(7)).await;
            assert_eq!(pool.stats().slots, 1);
            // Its timer is armed for 15 ms, and nothing hurries it any more.
            pool.run(async |_| ()).await.unwrap();
            rt.run_until_idle().await;
            pool
        });
        let report = run.unwrap();
        assert_eq!(report.leaked.len(), 1, "the slot: {:?}", report.leaked);
        assert!(report.armed.is_empty(), "{:?}", report.armed);
    }
}

#[test]
fn a_sleeping_slot_retires_or_takes_the_task_that_comes_at_that_instant() {
    sim::check(0..300, |rt| async move {
        let builder = WorkerPool::builder().slots(0..=2);
        let pool = builder.idle_timeout(ms(10)).build().unwrap();
        pool.run(async |_| ()).await.unwrap();
        rt.sleep(ms(10)).await;
        assert_eq!(pool.run(async |_| 1).await.unwrap(), 1);
        assert!(pool.shutdown(LONG).await.is_clean());
    });
}

#[test]
fn a_task_that_blocks_its_thread_is_reported_as_stuck() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let (open, wait) = std::sync::mpsc::channel::<()>();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    let report = rt.block_on(async {
        let pool = WorkerPool::builder().runtime(&handle).slots(1).build();
        let pool = pool.unwrap();
        let started = Gate::new();
        let tell = started.clone();
        let task = pool.try_submit(async move |_| {
            tell.cancel();
            wait.recv().unwrap();
        });
        started.cancelled().await;
        let report = pool.shutdown(ms(1)).await;
        open.send(()).unwrap();
        task.unwrap().await.unwrap();
        report
    });
    assert_eq!(report.stuck, 1);
    assert_eq!(report.to_string(), "pool: 0 completed, 1 stuck");
}

#[test]
fn a_runtime_that_goes_away_cancels_what_it_had() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    let builder = WorkerPool::builder().runtime(&handle);
    let pool = builder.slots(2).queue(4).build().unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            pool.try_submit(async |_| std::future::pending::<()>().await)
                .unwrap()
        })
        .collect();
    let mut waits = Box::pin(pool.shutdown(LONG));
    drop(rt);
    // Everything ends on a plain thread, with no runtime at all.
    block_on(async {
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        assert!(matches!(
            pool.run(async |_| 1).await,
            Err(TaskError::Closed)
        ));
        (&mut waits).await;
    })
    .unwrap();
    assert_eq!((pool.stats().slots, pool.stats().cancelled), (0, 4));
}

#[test]
fn a_runtime_that_is_gone_already_cancels_the_first_task() {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    drop(rt);
    let pool = WorkerPool::builder().runtime(&handle).build().unwrap();
    let lost = pool.try_submit(async |_| 1).unwrap();
    assert!(block_on(lost).unwrap().unwrap_err().is_cancelled());
    assert!(pool.is_closed());
}

#[test]
fn without_a_runtime_the_error_says_what_to_do() {
    // smol's executor is always at hand here, so only the conversion can be tested.
    let error = PoolConfigError::from(flow_rt::HandleError::NotFound);
    assert!(error.to_string().contains(".runtime(&handle)"));
}
