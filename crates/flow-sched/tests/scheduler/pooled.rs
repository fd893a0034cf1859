//! Runs on a pool: full, closed, and under random use.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use flow_rt::sim::{self, Sim};
use flow_rt::{OnFull, TaskContext, TestRuntime};
use flow_sched::{
    JobContext, Overlap, ScheduleError, Scheduler, SchedulerReport, Shutdown, TriggerNowError,
    WorkerPool,
};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, secs};

flow_rt::on_every_runtime! {
    seeds 0..50;
    case_106_a_full_pool_delays_only_its_own_job,
    a_pools_dump_names_the_jobs_of_its_runs,
    a_pool_that_rejects_lets_runs_wait_all_the_same,
    whatever_a_full_pool_does_with_others_tasks_runs_wait_for_room,
    a_run_asked_for_in_its_own_full_pool_waits_and_is_not_rejected,
    runs_that_wait_for_a_pool_are_reported_when_it_closes_or_their_job_goes,
    a_removed_job_waits_for_no_room_in_a_pool,
    a_shutdown_tells_the_runs_in_a_pool_to_stop,
    a_run_has_its_context_and_one_by_hand_that_of_its_caller,
    the_most_urgent_run_goes_first,
    a_scheduler_on_a_sub_pool_takes_a_slot_for_its_runs_alone,
}

async fn case_106_a_full_pool_delays_only_its_own_job(rt: TestRuntime) {
    let narrow = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(1)
        .build()
        .unwrap();
    let blocked = Arc::new(flow_rt::CancellationToken::new());
    for _ in 0..2 {
        let go = blocked.clone();
        narrow
            .submit(async move |_cx| go.cancelled().await)
            .await
            .unwrap();
        rt.settle().await;
    }
    let scheduler = Scheduler::builder().pool(&narrow).build().unwrap();
    let wide = Scheduler::builder().runtime(&rt).build().unwrap();
    let log = Log::new(&rt);
    let a = noting(&scheduler, "a", &log).every(SEC).start().unwrap();
    let b = noting(&scheduler, "b", &log).every(SEC).start().unwrap();
    noting(&wide, "c", &log).every(SEC).start().unwrap();
    // Of the same scheduler: what needs no room in the pool comes on time.
    let asked = Log::new(&rt);
    let asks = asked.clone();
    let d = noting(&scheduler, "d", &log).every(SEC).when(move |_cx| {
        asks.note();
        async { false }
    });
    let d = d.start().unwrap();
    rt.advance(ms(5_500)).await;
    assert_eq!(log.len(), 5, "only c has run");
    assert_eq!(asked.millis(), [1_000, 2_000, 3_000, 4_000, 5_000]);
    assert_eq!(d.stats().runs.declined, 5);
    d.remove().await;
    assert_eq!(
        (a.stats().running, a.stats().runs.skipped),
        (1, 4),
        "the timetable goes on"
    );
    blocked.cancel();
    rt.advance(ms(10)).await;
    assert_eq!(log.len(), 7);
    assert_eq!(narrow.stats().rejected, 0, "whoever waits is not rejected");
    rt.advance(secs(2)).await;
    assert_eq!(b.stats().runs.completed, 3);
    let report = scheduler.shutdown(SEC).await;
    assert_eq!(report.jobs, 2);
}

async fn a_pool_that_rejects_lets_runs_wait_all_the_same(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(1)
        .on_full(OnFull::Reject)
        .build()
        .unwrap();
    let blocked = Arc::new(flow_rt::CancellationToken::new());
    for _ in 0..2 {
        let go = blocked.clone();
        pool.submit(async move |_cx| go.cancelled().await)
            .await
            .unwrap();
        rt.settle().await;
    }
    assert!(pool.submit(async |_cx| ()).await.is_err(), "it is full");
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let log = Log::new(&rt);
    let job = noting(&scheduler, "a", &log).every(SEC).start().unwrap();
    rt.advance(ms(1_500)).await;
    let stats = job.stats();
    assert_eq!((log.len(), stats.running, stats.runs.dropped), (0, 1, 0));
    blocked.cancel();
    rt.settle().await;
    assert_eq!((log.len(), job.stats().runs.completed), (1, 1));
    assert_eq!(pool.stats().rejected, 1, "the submit alone");
    scheduler.shutdown(SEC).await;
}

async fn whatever_a_full_pool_does_with_others_tasks_runs_wait_for_room(rt: TestRuntime) {
    for on_full in [OnFull::DropOldest, OnFull::CallerRuns, OnFull::Reject] {
        let pool = WorkerPool::builder().runtime(&rt).slots(1).queue(1);
        let pool = pool.on_full(on_full).build().unwrap();
        let go = Arc::new(flow_rt::CancellationToken::new());
        let mut others = Vec::new();
        for _ in 0..2 {
            let go = go.clone();
            let other = pool.submit(async move |_cx| go.cancelled().await);
            others.push(other.await.unwrap());
            rt.settle().await;
        }
        let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
        let log = Log::new(&rt);
        let due = noting(&scheduler, "due", &log).after(SEC).start().unwrap();
        rt.advance(ms(1_500)).await;
        assert_eq!((log.len(), due.stats().running), (0, 1), "{on_full}");
        let asked = noting(&scheduler, "asked", &log).after(HOUR);
        let asked = asked.start().unwrap();
        if on_full == OnFull::Reject {
            let full = Err(TriggerNowError::PoolFull { capacity: 1 });
            assert_eq!(asked.trigger_now().await, full);
        } else {
            let mut waits = pin!(asked.trigger_now());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(waits.as_mut().poll(&mut cx).is_pending(), "{on_full}");
            assert_eq!((log.len(), asked.stats().running), (0, 1), "{on_full}");
            go.cancel();
            waits.await.unwrap();
        }
        go.cancel();
        for other in others {
            other.await.unwrap();
        }
        rt.settle().await;
        assert_eq!(due.stats().runs.completed, 1);
        let runs = asked.stats().runs;
        let rejected = u64::from(on_full == OnFull::Reject);
        assert_eq!((runs.completed, runs.dropped), (1 - rejected, rejected));
        assert_eq!((pool.stats().evicted, pool.stats().rejected), (0, rejected));
        scheduler.shutdown(SEC).await;
    }
}

async fn a_run_asked_for_in_its_own_full_pool_waits_and_is_not_rejected(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).queue(1);
    let pool = pool.build().unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let log = Log::new(&rt);
    let asked = noting(&scheduler, "asked", &log).every(secs(60)).start();
    let (asked, full) = (asked.unwrap(), pool.clone());
    let asks = scheduler.job("asks", move |_cx| {
        let (asked, pool) = (asked.clone(), full.clone());
        async move {
            pool.try_submit(async |_cx| ()).unwrap();
            asked.trigger_now().await
        }
    });
    let asks = asks.after(SEC).start().unwrap();
    rt.advance(secs(2)).await;
    assert_eq!((asks.stats().runs.completed, log.len()), (1, 1));
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.rejected), (3, 0));
    scheduler.shutdown(SEC).await;
}

async fn runs_that_wait_for_a_pool_are_reported_when_it_closes_or_their_job_goes(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(1)
        .build()
        .unwrap();
    let go = Arc::new(flow_rt::CancellationToken::new());
    for _ in 0..2 {
        let go = go.clone();
        pool.submit(async move |_cx| go.cancelled().await)
            .await
            .unwrap();
        rt.settle().await;
    }
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let log = Log::new(&rt);
    let removed = noting(&scheduler, "removed", &log)
        .every(SEC)
        .start()
        .unwrap();
    let kept = noting(&scheduler, "kept", &log).every(SEC).start().unwrap();
    rt.advance(ms(1_500)).await;
    let gone = rt.spawn(removed.remove());
    go.cancel();
    assert!(gone.await.unwrap());
    rt.settle().await;
    assert_eq!(
        (removed.stats().runs.dropped, kept.stats().runs.completed),
        (1, 1)
    );
    assert_eq!(log.len(), 1);
    pool.close();
    rt.advance(SEC).await;
    let runs = kept.stats().runs;
    assert_eq!((runs.started, runs.dropped), (2, 1));
    assert_eq!(kept.trigger_now().await, Err(TriggerNowError::PoolClosed));
    assert_eq!(scheduler.stats().running, 0);
}

async fn a_removed_job_waits_for_no_room_in_a_pool(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).queue(1);
    let pool = pool.build().unwrap();
    let go = Arc::new(flow_rt::CancellationToken::new());
    let blocks = go.clone();
    pool.submit(async move |_cx| blocks.cancelled().await)
        .await
        .unwrap();
    rt.settle().await;
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let log = Log::new(&rt);
    let start = |name| noting(&scheduler, name, &log).every(SEC).start().unwrap();
    let queued = start("queued");
    rt.advance(ms(1_500)).await;
    assert_eq!(pool.stats().queued, 1);
    let waits = start("waits");
    rt.advance(ms(1_500)).await;
    let asked = noting(&scheduler, "asked", &log).every(HOUR);
    let asked = asked.start().unwrap();
    let by_hand = rt.spawn({
        let asked = asked.clone();
        async move { asked.trigger_now().await }
    });
    let closed = noting(&scheduler, "closed", &log).after(SEC);
    let closed = closed.start().unwrap();
    rt.advance(ms(1_500)).await;

    // Nobody has made room.
    let removed = rt.timeout(MIN, waits.remove()).await;
    assert!(removed.expect("it waits for room"));
    let stats = waits.stats();
    assert_eq!((stats.running, stats.runs.dropped), (0, 1));
    assert!(asked.remove().await);
    assert_eq!(by_hand.await.unwrap(), Err(TriggerNowError::Ended));
    let stats = asked.stats();
    assert_eq!((stats.running, stats.runs.dropped), (0, 1));
    // It keeps its place in the queue, and that is all.
    assert!(queued.remove().await);
    let stats = queued.stats();
    assert_eq!((stats.running, stats.runs.dropped), (0, 1));
    assert_eq!(stats.last.unwrap().scheduled_at, log.wall + SEC);
    assert_eq!(pool.stats().queued, 1);
    // What ends in another way lets its run begin.
    assert_eq!(closed.stats().running, 1);
    scheduler.close();
    rt.settle().await;
    go.cancel();
    rt.settle().await;
    let stats = queued.stats();
    assert_eq!((stats.running, stats.runs.dropped), (0, 1));
    assert_eq!((log.len(), closed.stats().runs.completed), (1, 1));
    assert_eq!(scheduler.stats().running, 0);
}

async fn a_shutdown_tells_the_runs_in_a_pool_to_stop(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(3).queue(1);
    let pool = pool.build().unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let log = Log::new(&rt);
    let job = |name, stubborn: bool| {
        let log = log.clone();
        let job = scheduler.job(name, move |cx: JobContext| {
            let log = log.clone();
            async move {
                cx.cancellation().cancelled().await;
                let reason = cx.cancellation().reason().unwrap();
                assert_eq!(&*reason, "the scheduler was shut down");
                if stubborn {
                    log.rt.sleep(HOUR).await.unwrap();
                }
                log.note();
            }
        });
        job.after(SEC).start().unwrap()
    };
    // Removed before, it is told all the same.
    let removed = job("removed", false);
    let heeds = job("heeds", false);
    let stubborn = job("stubborn", true);
    rt.advance(ms(1_500)).await;
    drop(removed.remove());
    let queued = job("queued", false);
    rt.advance(ms(1_000)).await;
    let waits = job("waits", false);
    rt.advance(ms(1_000)).await;
    let asked = noting(&scheduler, "asked", &log).every(HOUR);
    let asked = asked.start().unwrap();
    let by_hand = rt.spawn({
        let asked = asked.clone();
        async move { asked.trigger_now().await }
    });
    rt.settle().await;
    let jobs = [&removed, &heeds, &stubborn, &queued, &waits, &asked];
    let running = jobs.map(|job| job.stats().running);
    assert_eq!((running, pool.stats().queued), ([1; 6], 1));
    let how = Shutdown::drain(SEC).then_cancel(SEC);
    let report = scheduler.shutdown(how).await;
    assert_eq!((report.finished, report.cancelled, report.left), (0, 6, 1));
    assert_eq!(
        report.to_string(),
        "5 jobs ended, 0 runs finished, 6 told to stop, 1 of them still in progress"
    );
    // 3.5 s until then, and one more for all to end by themselves. The one that waits for room is
    // told too if there is room before it hears of that.
    let dropped = waits.stats().runs.dropped as usize;
    let by_hand = by_hand.await.unwrap();
    let dropped_by_hand = usize::from(by_hand == Err(TriggerNowError::Ended));
    assert_eq!(asked.stats().runs.dropped as usize, dropped_by_hand);
    let begun = 5 - dropped - dropped_by_hand;
    assert_eq!(log.millis(), vec![4_500; begun]);
    assert_eq!(queued.stats().runs.completed, 1);
    rt.advance(HOUR).await;
    assert_eq!(stubborn.stats().runs.completed, 1);
    assert_eq!(scheduler.shutdown(SEC).await, SchedulerReport::default());
}

#[test]
fn conservation_of_runs_under_random_use() {
    sim::check(0..100, |rt| async move {
        let mut rng = rt.rng();
        let pool = WorkerPool::builder()
            .runtime(&rt)
            .slots(1..=2)
            .queue(2)
            .build()
            .unwrap();
        let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
        let policies = [
            Overlap::Skip,
            Overlap::BufferOne,
            Overlap::CancelPrevious,
            Overlap::Allow(2),
        ];
        let jobs: Vec<_> = (0..6_u64)
            .map(|n| {
                let time = ms(rng.below(200));
                let job = scheduler.job_with(
                    format!("{n}"),
                    rt.clone(),
                    move |_cx, rt: Sim| async move {
                        rt.sleep(time).await;
                    },
                );
                let job = job.overlap(policies[rng.below(4) as usize]);
                let period = ms(1 + rng.below(100));
                let job = if rng.chance(1, 3) {
                    job.fixed_delay(period)
                } else {
                    job.every(period)
                };
                job.start().unwrap()
            })
            .collect();
        for _ in 0..40 {
            let job = &jobs[rng.below(6) as usize];
            match rng.below(6) {
                0 => drop(job.pause()),
                1 => drop(job.resume()),
                2 => drop(job.trigger_now().await),
                3 if rng.chance(1, 8) => drop(job.remove().await),
                _ => rt.sleep(ms(rng.below(100))).await,
            }
            for job in &jobs {
                let stats = job.stats();
                let runs = stats.runs;
                let ended =
                    runs.completed + runs.failed + runs.panicked + runs.timed_out + runs.dropped;
                assert_eq!(runs.started, ended + stats.running as u64);
                assert!(stats.running <= 2);
            }
        }
        let report = scheduler.shutdown(secs(60)).await;
        assert_eq!(report.cancelled, 0);
        let stats = scheduler.stats();
        assert_eq!((stats.running, stats.jobs), (0, 0));
        assert_eq!(
            stats.runs.started,
            stats.runs.completed + stats.runs.dropped
        );
        let of_jobs: u64 = jobs.iter().map(|job| job.stats().runs.started).sum();
        assert_eq!(stats.runs.started, of_jobs);
    });
}

async fn a_run_has_its_context_and_one_by_hand_that_of_its_caller(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    for builder in [
        Scheduler::builder().runtime(&rt),
        Scheduler::builder().pool(&pool),
    ] {
        let caller = TaskContext::new().with_baggage("by", "hand").unwrap();
        // The driver does not keep the context of whoever builds.
        let scheduler = caller.enter(|| builder.build().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = async |cx: JobContext, seen: Arc<Mutex<Vec<Option<String>>>>| {
            let current = TaskContext::current().unwrap();
            assert_eq!(current.cancellation(), cx.cancellation());
            let by = current.baggage("by").map(str::to_owned);
            seen.lock().unwrap().push(by);
        };
        let job = scheduler.job_with("job", seen.clone(), note);
        let job = job.every(SEC).start().unwrap();
        rt.advance(ms(1_500)).await;
        caller.clone().scope(job.trigger_now()).await.unwrap();
        rt.advance(ms(1_000)).await;
        job.remove().await;
        let seen = seen.lock().unwrap();
        assert_eq!(*seen, [None, Some("hand".to_owned()), None]);
    }
}

async fn the_most_urgent_run_goes_first(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(3)
        .priorities(3)
        .build()
        .unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let order: Arc<Mutex<Vec<&str>>> = Arc::default();
    let job = |name: &'static str| {
        let note = async |cx: JobContext, order: Arc<Mutex<Vec<&'static str>>>| {
            let name = ["a", "b", "c", "d", "hand"]
                .into_iter()
                .find(|name| cx.job() == *name);
            order.lock().unwrap().extend(name);
        };
        scheduler.job_with(name, order.clone(), note).after(SEC)
    };
    let go = Arc::new(flow_rt::CancellationToken::new());
    let blocks = go.clone();
    pool.submit(async move |_cx| blocks.cancelled().await)
        .await
        .unwrap();
    // The last one waits for room outside of the queue.
    for (name, priority) in [("a", 0), ("b", 1), ("c", 2), ("d", 2)] {
        job(name).priority(priority).start().unwrap();
    }
    let hand = job("hand").priority(1).start().unwrap();
    rt.advance(ms(1_500)).await;
    assert_eq!(pool.stats().queued, 3);
    go.cancel();
    rt.settle().await;
    assert_eq!(order.lock().unwrap()[0], "c");
    assert_eq!(order.lock().unwrap().len(), 5);
    assert_eq!(hand.stats().runs.completed, 1);

    let refused = |priority| job("e").priority(priority).start().unwrap_err();
    let error = refused(3);
    assert_eq!(
        error,
        ScheduleError::UnknownPriority {
            given: 3,
            priorities: 3
        }
    );
    assert_eq!(
        error.to_string(),
        "a priority of 3, where runs have 3: allowed are 0 to 2"
    );
    let alone = Scheduler::builder().runtime(&rt).build().unwrap();
    let alone = alone.job("e", async |_cx| ()).every(SEC).priority(1);
    assert_eq!(
        alone.start().unwrap_err(),
        ScheduleError::UnknownPriority {
            given: 1,
            priorities: 1
        }
    );
}

/// The driver, and what waits before a run, are no tasks of the pool above.
async fn a_scheduler_on_a_sub_pool_takes_a_slot_for_its_runs_alone(rt: TestRuntime) {
    let above = WorkerPool::builder().runtime(&rt).slots(1);
    let above = above.task_timeout(ms(100)).build().unwrap();
    let pool = above.sub_pool().slots(1).build().unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let log = Log::new(&rt);
    let job = noting(&scheduler, "a", &log).every(SEC).start().unwrap();
    rt.advance(ms(500)).await;
    assert_eq!(above.stats().running, 0);
    assert_eq!(above.run(async |_cx| 1).await.unwrap(), 1);
    rt.advance(ms(2_100)).await;
    assert_eq!((log.len(), job.stats().runs.completed), (2, 2));
    assert_eq!(above.run(async |_cx| 2).await.unwrap(), 2);
    assert_eq!(above.stats().timed_out, 0);
    assert_eq!(scheduler.shutdown(SEC).await.jobs, 1);
}

async fn a_pools_dump_names_the_jobs_of_its_runs(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).queue(1);
    let pool = pool.track_tasks(true).build().unwrap();
    let scheduler = Scheduler::builder().runtime(&rt).pool(&pool);
    let scheduler = scheduler.build().unwrap();
    let forever = async |_cx| std::future::pending::<()>().await;
    let job = |name| scheduler.job(name, forever);
    job("runs").after(SEC).start().unwrap();
    job("queued").after(2 * SEC).start().unwrap();
    job("waits for room").after(3 * SEC).start().unwrap();
    rt.advance(3 * SEC).await;
    let dump = pool.dump();
    assert_eq!(dump.running()[0].name.as_deref(), Some("runs"));
    assert_eq!(dump.queued()[0].name.as_deref(), Some("queued"));
    scheduler.remove("runs");
    scheduler.close();
    pool.shutdown(Duration::ZERO).await;
    let open = WorkerPool::builder()
        .runtime(&rt)
        .slots(2)
        .track_tasks(true);
    let open = open.build().unwrap();
    let scheduler = Scheduler::builder().runtime(&rt).pool(&open);
    let scheduler = scheduler.build().unwrap();
    let by_hand = scheduler.job("by hand", forever).cron("@yearly").start();
    by_hand.unwrap().trigger_now().await.unwrap();
    scheduler.unnamed(forever).after(SEC).start().unwrap();
    rt.advance(SEC).await;
    let dump = open.dump();
    let names: Vec<_> = dump
        .running()
        .iter()
        .map(|task| task.name.as_deref())
        .collect();
    assert_eq!(names, [Some("by hand"), None]);
    scheduler.close();
    open.shutdown(Duration::ZERO).await;
}
