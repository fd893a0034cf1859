//! Cases WP 69 to 87 of the behaviour catalogue.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use flow_rt::{OnFull, TestRuntime};
use flow_sched::{
    PoolConfigError, SubmitError, TaskError, TaskOutcome, WorkerPool, WorkerPoolBuilder,
};
use futures_util::future::join_all;

use crate::common::{Gate, LONG, ms, occupy, poll_once};

flow_rt::on_every_runtime! {
    seeds 0..50;
    case_69_sizes,
    case_70_elapsed_and_slot,
    case_71_ten_results,
    case_72_the_tasks_own_error,
    case_73_a_panic_reaches_hook_and_handle,
    case_74_a_slot_survives_panics,
    case_75_submit_timeout,
    case_76_a_cancelled_submit_queues_nothing,
    case_77_submit_after_shutdown,
    case_78_task_timeout,
    case_79_hooks,
    case_80_many_submitters,
    case_81_running,
    case_82_queued,
    case_83_shutdown_runs_what_is_queued,
    case_84_shutdown_twice,
    case_85_shutdown_deadline,
    case_86_unread_results_cost_nothing,
    case_87_panics_in_hooks,
}

fn builder(rt: &TestRuntime) -> WorkerPoolBuilder {
    WorkerPool::builder().runtime(rt)
}

async fn case_69_sizes(rt: TestRuntime) {
    for (slots, queue) in [(2, 10), (1, 5)] {
        assert!(builder(&rt).slots(slots).queue(queue).build().is_ok());
    }
    let refused = |builder: WorkerPoolBuilder| builder.build().unwrap_err();
    assert_eq!(refused(builder(&rt).slots(0)), PoolConfigError::NoSlots);
    assert_eq!(refused(builder(&rt).slots(0..=0)), PoolConfigError::NoSlots);
    #[expect(clippy::reversed_empty_ranges, reason = "the point of the case")]
    let empty = 5..=4;
    assert_eq!(
        refused(builder(&rt).slots(empty)),
        PoolConfigError::EmptySlotRange { min: 5, max: 4 }
    );
    assert_eq!(
        refused(builder(&rt).slots(usize::MAX)),
        PoolConfigError::TooManySlots { given: usize::MAX }
    );
    assert_eq!(refused(builder(&rt).queue(0)), PoolConfigError::ZeroQueue);
    assert_eq!(
        refused(builder(&rt).queue(usize::MAX)),
        PoolConfigError::QueueTooLong { given: usize::MAX }
    );
    let given = OnFull::DropNewest;
    assert_eq!(
        refused(builder(&rt).on_full(given)),
        PoolConfigError::UnsupportedOnFull { given }
    );
    let hand_off = builder(&rt).on_full(OnFull::DropOldest).rendezvous();
    assert_eq!(refused(hand_off), PoolConfigError::NothingToDrop);
    for given in [0, 17, usize::MAX] {
        let error = refused(builder(&rt).priorities(given));
        assert_eq!(error, PoolConfigError::Priorities { given });
    }
    assert_eq!(
        refused(builder(&rt).priorities(2).ageing(0)),
        PoolConfigError::ZeroAgeing
    );
    // The last word on the queue counts.
    assert!(builder(&rt).queue(0).unbounded().build().is_ok());
    assert_eq!(
        refused(builder(&rt).rendezvous().queue(0)),
        PoolConfigError::ZeroQueue
    );
    assert_eq!(
        refused(builder(&rt).task_timeout(ms(0))),
        PoolConfigError::ZeroDuration {
            option: "task_timeout"
        }
    );
    assert_eq!(
        refused(builder(&rt).idle_timeout(ms(0))),
        PoolConfigError::ZeroDuration {
            option: "idle_timeout"
        }
    );
    // A slot range may start at none, and a far limit is no limit.
    let pool = builder(&rt)
        .slots(0..=2)
        .task_timeout(std::time::Duration::MAX);
    assert_eq!(pool.build().unwrap().run(async |_| 1).await.unwrap(), 1);
}

async fn case_70_elapsed_and_slot(rt: TestRuntime) {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let pool = builder(&rt)
        .slots(1)
        .on_task_end({
            let ends = ends.clone();
            move |end| ends.lock().unwrap().push(end)
        })
        .build()
        .unwrap();
    let sleeper = rt.clone();
    pool.run(async move |_| sleeper.sleep(ms(10)).await.unwrap())
        .await
        .unwrap();
    // Called before the handle is ready.
    let end = ends.lock().unwrap()[0];
    assert_eq!((end.slot, end.outcome), (Some(0), TaskOutcome::Completed));
    assert_eq!(end.elapsed, ms(10));
}

async fn case_71_ten_results(rt: TestRuntime) {
    let pool = builder(&rt).slots(3).queue(10).build().unwrap();
    let mut handles = Vec::new();
    for n in 0..10 {
        let rt = rt.clone();
        let task = async move |_| {
            rt.sleep(ms(5)).await.unwrap();
            n
        };
        handles.push(pool.submit(task).await.unwrap());
    }
    let results: Vec<u32> = join_all(handles).await.into_iter().flatten().collect();
    assert_eq!(results, (0..10).collect::<Vec<_>>());
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.completed), (10, 10));
    assert_eq!((stats.queued, stats.running), (0, 0));
    assert!(stats.slots <= 3, "{stats:?}");
}

async fn case_72_the_tasks_own_error(rt: TestRuntime) {
    let pool = builder(&rt).slots(1).build().unwrap();
    let result = pool.run(async |_| Err::<(), _>("test error")).await;
    assert_eq!(result.unwrap(), Err("test error"));
    assert_eq!(pool.stats().completed, 1);
}

async fn case_73_a_panic_reaches_hook_and_handle(rt: TestRuntime) {
    let seen = Arc::new(Mutex::new(String::new()));
    let pool = builder(&rt)
        .slots(1)
        .on_panic({
            let seen = seen.clone();
            move |panic| panic.message().clone_into(&mut seen.lock().unwrap())
        })
        .build()
        .unwrap();
    let error = pool
        .run(async |_| -> u32 { panic!("out of cheese") })
        .await
        .unwrap_err();
    assert_eq!(*seen.lock().unwrap(), "out of cheese");
    assert!(matches!(error, TaskError::Panicked(panic) if panic.message() == "out of cheese"));
}

async fn case_74_a_slot_survives_panics(rt: TestRuntime) {
    let pool = builder(&rt).slots(1).build().unwrap();
    for _ in 0..20 {
        // In the closure, and in its future.
        let early = pool.run(|_| -> std::future::Ready<()> { panic!("early") });
        let error = early.await.unwrap_err();
        assert_eq!(error.to_string(), "the task panicked: early");
        let late = pool.run(async |_| panic!("late"));
        let error: TaskError = late.await.unwrap_err();
        assert!(error.is_panic());
    }
    assert_eq!(pool.run(async |_| 7).await.unwrap(), 7);
    let stats = pool.stats();
    assert_eq!((stats.panicked, stats.completed, stats.slots), (40, 1, 1));
}

/// A pool of one slot that is busy until the gate opens, with its queue full.
async fn full(rt: &TestRuntime, queue: usize) -> (WorkerPool, Gate) {
    let pool = builder(rt).slots(1).queue(queue).build().unwrap();
    let gate = Gate::new();
    let busy = gate.clone();
    pool.submit(async move |_| busy.cancelled().await)
        .await
        .unwrap()
        .detach();
    rt.settle().await;
    assert_eq!(pool.stats().running, 1);
    for _ in 0..queue {
        pool.try_submit(async |_| ()).unwrap().detach();
    }
    (pool, gate)
}

async fn case_75_submit_timeout(rt: TestRuntime) {
    let (pool, gate) = full(&rt, 1).await;
    let before = rt.now();
    let refused = pool
        .submit_timeout(async |_| 5, ms(10))
        .await
        .expect_err("there is no room");
    assert_eq!(rt.now() - before, ms(10));
    assert!(matches!(refused, SubmitError::TimedOut { timeout, .. } if timeout == ms(10)));
    // Zero does not wait at all.
    let at_once = pool.submit_timeout(async |_| 5, ms(0)).await;
    assert!(matches!(at_once, Err(SubmitError::TimedOut { .. })));
    assert_eq!(pool.stats().waiting, 0);
    gate.cancel();
    // The task came back, and runs now.
    assert_eq!(pool.run(refused.into_inner()).await.unwrap(), 5);
    assert_eq!(pool.stats().rejected, 2);
}

async fn case_76_a_cancelled_submit_queues_nothing(rt: TestRuntime) {
    let (pool, gate) = full(&rt, 1).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let mut submit = pool.submit(async move |_| count.fetch_add(1, Ordering::Relaxed));
    assert!(poll_once(&mut submit).is_pending());
    assert_eq!(pool.stats().waiting, 1);
    drop(submit);
    assert_eq!((pool.stats().waiting, pool.stats().submitted), (0, 2));
    assert_eq!(Arc::strong_count(&ran), 1, "the task was not dropped");
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

async fn case_77_submit_after_shutdown(rt: TestRuntime) {
    let pool = builder(&rt).slots(1).build().unwrap();
    assert_eq!(pool.shutdown(LONG).await.completed, 0);
    assert!(pool.is_closed());
    let error = pool.submit(async |_| 1).await.unwrap_err();
    assert!(error.is_closed());
    assert_eq!(
        error.to_string(),
        "the pool is closed and takes no more tasks"
    );
    assert!(pool.try_submit(async |_| 1).unwrap_err().is_closed());
    assert!(matches!(
        pool.run(async |_| 1).await,
        Err(TaskError::Closed)
    ));
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.rejected), (0, 3));
}

async fn case_78_task_timeout(rt: TestRuntime) {
    let pool = builder(&rt).slots(1).task_timeout(ms(5)).build().unwrap();
    let told = Arc::new(Mutex::new(None));
    let (sleeper, tell, before) = (rt.clone(), told.clone(), rt.now());
    let ignores_it = pool.run(async move |cx| {
        *tell.lock().unwrap() = Some(cx.clone());
        sleeper.sleep(LONG).await.unwrap();
    });
    let error = ignores_it.await.unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { limit } if limit == ms(5)));
    assert_eq!(rt.now() - before, ms(5));
    let cx = told.lock().unwrap().take().unwrap();
    assert!(cx.is_cancelled(), "what it started elsewhere is told too");
    assert_eq!(cx.deadline().instant(), Some(before + ms(5)));
    // Counted from the start of each run: the slot's timer is armed anew.
    for _ in 0..3 {
        let sleeper = rt.clone();
        pool.run(async move |_| sleeper.sleep(ms(4)).await.unwrap())
            .await
            .unwrap();
    }
    assert_eq!(pool.run(async |_| 1).await.unwrap(), 1);
    // A task's own limit holds beside the pool's.
    let sleeper = rt.clone();
    let own = pool
        .submit(async move |_| sleeper.sleep(LONG).await.unwrap())
        .timeout(ms(1));
    let error = own.await.unwrap().await.unwrap_err();
    assert!(matches!(error, TaskError::TimedOut { limit } if limit == ms(1)));
}

#[derive(Default)]
struct Calls {
    slot_start: AtomicUsize,
    slot_stop: AtomicUsize,
    task_start: AtomicUsize,
    task_end: AtomicUsize,
}

fn count(calls: &Arc<Calls>, which: fn(&Calls) -> &AtomicUsize) -> impl Fn() + use<> {
    let calls = calls.clone();
    move || {
        which(&calls).fetch_add(1, Ordering::Relaxed);
    }
}

async fn case_79_hooks(rt: TestRuntime) {
    let calls = Arc::new(Calls::default());
    let (a, b, c, d) = (
        count(&calls, |calls| &calls.slot_start),
        count(&calls, |calls| &calls.slot_stop),
        count(&calls, |calls| &calls.task_start),
        count(&calls, |calls| &calls.task_end),
    );
    // Per number: a start, then a stop.
    let lives = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    let (starts, stops) = (lives.clone(), lives);
    let pool = builder(&rt)
        .slots(0..=2)
        .on_slot_start(move |slot| {
            if !starts[slot].swap(true, Ordering::Relaxed) {
                a();
            }
        })
        .on_slot_stop(move |slot| {
            if stops[slot].swap(false, Ordering::Relaxed) {
                b();
            }
        })
        .on_task_start(move |_| c())
        .on_task_end(move |_| d())
        .build()
        .unwrap();
    // Two tasks that meet need two slots.
    let (here, there) = (Gate::new(), Gate::new());
    let handles = [(&here, &there), (&there, &here)].map(|(mine, other)| {
        let (mine, other) = (mine.clone(), other.clone());
        pool.try_submit(async move |_| {
            mine.cancel();
            other.cancelled().await;
        })
        .unwrap()
    });
    join_all(handles).await;
    let seen = |which: fn(&Calls) -> &AtomicUsize| which(&calls).load(Ordering::Relaxed);
    assert_eq!(seen(|calls| &calls.slot_start), 2);
    assert_eq!(seen(|calls| &calls.task_start), 2);
    assert_eq!(seen(|calls| &calls.task_end), 2);
    assert_eq!(seen(|calls| &calls.slot_stop), 0);
    // Their numbers are the next ones'.
    pool.resize(0..=1).unwrap();
    rt.settle().await;
    pool.resize(0..=2).unwrap();
    let stopped = seen(|calls| &calls.slot_stop);
    assert_eq!(stopped, 1);
    let (first, second) = (occupy(&rt, &pool).await, occupy(&rt, &pool).await);
    assert_eq!(seen(|calls| &calls.slot_start), 3);
    first.cancel();
    second.cancel();
    pool.shutdown(LONG).await;
    assert_eq!(seen(|calls| &calls.slot_stop), 3);
}

async fn case_80_many_submitters(rt: TestRuntime) {
    let pool = builder(&rt).slots(4).queue(8).build().unwrap();
    let ran = Arc::new(AtomicU64::new(0));
    let mut group = rt.task_group();
    for _ in 0..10 {
        let (pool, ran) = (pool.clone(), ran.clone());
        group.spawn(async move {
            for _ in 0..20 {
                let ran = ran.clone();
                pool.submit(async move |_| ran.fetch_add(1, Ordering::Relaxed))
                    .await
                    .unwrap()
                    .detach();
            }
        });
    }
    while let Some(ended) = group.join_next().await {
        ended.unwrap();
    }
    let report = pool.shutdown(LONG).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(ran.load(Ordering::Relaxed), 200);
    assert_eq!(pool.stats().completed, 200);
}

async fn case_81_running(rt: TestRuntime) {
    let pool = builder(&rt).slots(1..=2).build().unwrap();
    let gate = Gate::new();
    let handles = [(); 2].map(|()| {
        let gate = gate.clone();
        pool.try_submit(async move |_| gate.cancelled().await)
            .unwrap()
    });
    rt.settle().await;
    assert_eq!(pool.stats().running, 2);
    gate.cancel();
    join_all(handles).await;
    assert_eq!(pool.stats().running, 0);
}

async fn case_82_queued(rt: TestRuntime) {
    let (pool, gate) = full(&rt, 3).await;
    assert_eq!((pool.stats().queued, pool.stats().running), (3, 1));
    assert!(format!("{pool:?}").contains("queued: 3"), "{pool:?}");
    gate.cancel();
    rt.settle().await;
    assert_eq!(pool.stats().completed, 4);
    assert_eq!(pool.stats().queued, 0);
}

async fn case_83_shutdown_runs_what_is_queued(rt: TestRuntime) {
    let pool = builder(&rt).name("io").slots(2).queue(50).build().unwrap();
    let ran = Arc::new(AtomicU64::new(0));
    for _ in 0..50 {
        let (ran, rt) = (ran.clone(), rt.clone());
        let task = async move |_| {
            rt.sleep(ms(1)).await.unwrap();
            ran.fetch_add(1, Ordering::Relaxed);
        };
        pool.submit(task).await.unwrap().detach();
    }
    let done = pool.stats().completed;
    let report = pool.shutdown(LONG).await;
    assert_eq!(ran.load(Ordering::Relaxed), 50);
    assert_eq!(report.completed, 50 - done);
    assert!(report.is_clean());
    assert_eq!(report.to_string(), format!("io: {} completed", 50 - done));
    assert_eq!(pool.stats().slots, 0);
}

async fn case_84_shutdown_twice(rt: TestRuntime) {
    let (pool, gate) = full(&rt, 2).await;
    let other = pool.clone();
    let first = rt.spawn(async move { other.shutdown(LONG).await });
    rt.settle().await;
    assert!(pool.is_closed());
    let mut second = Box::pin(pool.shutdown(LONG));
    assert!(poll_once(&mut second).is_pending());
    gate.cancel();
    let second = second.await;
    assert_eq!(second.completed, 3);
    assert_eq!(first.await.unwrap(), second);
    assert_eq!(pool.shutdown(ms(0)).await, second);
}

async fn case_85_shutdown_deadline(rt: TestRuntime) {
    let pool = builder(&rt).name("io").slots(2).queue(4).build().unwrap();
    let listens = pool
        .submit(async move |cx| {
            cx.cancellation().cancelled().await;
            "told"
        })
        .await
        .unwrap();
    let ignores = pool
        .submit(async move |_| std::future::pending::<()>().await)
        .await
        .unwrap();
    rt.settle().await;
    assert_eq!(pool.stats().running, 2);
    let queued: Vec<_> = (0..3)
        .map(|_| pool.try_submit(async |_| ()).unwrap())
        .collect();
    let before = rt.now();
    let report = pool.shutdown(ms(10)).await;
    assert_eq!(rt.now() - before, ms(10));
    assert_eq!(
        report.to_string(),
        "io: 0 completed, 1 cancelled, 1 dropped, 3 never ran"
    );
    assert_eq!(listens.await.unwrap(), "told");
    assert!(ignores.await.unwrap_err().is_cancelled());
    for handle in queued {
        assert!(matches!(handle.await, Err(TaskError::Closed)));
    }
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.cancelled), (1, 4));
    assert_eq!((stats.running, stats.queued, stats.slots), (0, 0, 0));
}

async fn case_86_unread_results_cost_nothing(rt: TestRuntime) {
    let pool = builder(&rt).slots(2).queue(64).build().unwrap();
    let mut unread = Vec::new();
    for n in 0..2_000 {
        let handle = pool.submit(async move |_| vec![n; 4]).await.unwrap();
        if n % 2 == 0 {
            unread.push(handle);
        }
    }
    let report = pool.shutdown(LONG).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(pool.stats().completed, 2_000);
    assert!(unread.iter().all(flow_sched::TaskHandle::is_finished));
    assert_eq!(unread.pop().unwrap().await.unwrap(), [1_998; 4]);
}

async fn case_87_panics_in_hooks(rt: TestRuntime) {
    let pool = builder(&rt)
        .slots(1)
        .on_slot_start(|_| panic!("slot start"))
        .on_slot_stop(|_| panic!("slot stop"))
        .on_task_start(|_| panic!("task start"))
        .on_task_end(|_| panic!("task end"))
        .on_panic(|_| panic!("panic"))
        .build()
        .unwrap();
    for n in 0..5 {
        assert_eq!(pool.run(async move |_| n).await.unwrap(), n);
        let panicked: Result<(), _> = pool.run(async |_| panic!("task")).await;
        assert!(panicked.unwrap_err().is_panic());
    }
    let report = pool.shutdown(LONG).await;
    assert_eq!((report.completed, report.is_clean()), (0, true));
    assert_eq!((pool.stats().completed, pool.stats().panicked), (5, 5));
}
