//! Random histories over many seeds: nothing is lost, nothing runs twice, the figures add up.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::OnFull;
use flow_rt::sim::{self, Sim, SimRng};
use flow_sched::{PoolStats, Shutdown, SubmitError, TaskError, TaskHandle, WorkerPool};

use crate::common::{Gate, ms, quiet};

/// What everybody counts, beside what the pool counts.
#[derive(Default)]
struct World {
    /// Task closures alive: queued, running or held by a submitter.
    closures: AtomicUsize,
    runs: AtomicU64,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    results: Mutex<Results>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
struct Results {
    completed: u64,
    panicked: u64,
    timed_out: u64,
    cancelled: u64,
    evicted: u64,
}

/// Counts a task's closure while it lives, and that it runs once.
struct Counted {
    world: Arc<World>,
}

impl Counted {
    fn new(world: &Arc<World>) -> Self {
        world.closures.fetch_add(1, Ordering::Relaxed);
        Self {
            world: world.clone(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.world.closures.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Inside(Arc<World>);

impl Inside {
    fn enter(counted: &Counted) -> Self {
        let world = counted.world.clone();
        world.runs.fetch_add(1, Ordering::Relaxed);
        let now = world.inside.fetch_add(1, Ordering::Relaxed) + 1;
        world.most_inside.fetch_max(now, Ordering::Relaxed);
        Self(world)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add_up(stats: &PoolStats) {
    let parts = stats.queued
        + stats.running
        + stats.completed
        + stats.panicked
        + stats.timed_out
        + stats.cancelled
        + stats.evicted;
    assert_eq!(stats.submitted, parts, "{stats:?}");
}

async fn submitter(rt: Sim, mut rng: SimRng, pool: WorkerPool, priorities: u64, world: Arc<World>) {
    for _ in 0..rng.below(12) {
        let counted = Counted::new(&world);
        let began = Arc::new(AtomicBool::new(false));
        let (kind, inner, begins) = (rng.below(7), rt.clone(), began.clone());
        let nap = ms(rng.below(6));
        let task = async move |cx: flow_rt::TaskContext| {
            let _inside = Inside::enter(&counted);
            begins.store(true, Ordering::Relaxed);
            match kind {
                0 => {}
                1 => inner.sleep(nap).await,
                2 => panic!("quiet: chosen by the seed"),
                3 => pending().await,
                4 => cx.cancellation().cancelled().await,
                5 => {
                    inner.sleep(nap).await;
                    panic!("quiet: chosen by the seed, late");
                }
                _ => {
                    for _ in 0..nap.as_millis() {
                        inner.sleep(ms(1)).await;
                    }
                }
            }
        };
        let refused = |_| world.refused.fetch_add(1, Ordering::Relaxed);
        let priority = rng.below(priorities) as usize;
        let handle = match rng.below(4) {
            0 => pool
                .submit(task)
                .priority(priority)
                .try_now()
                .map_err(|e| refused(e.into_inner())),
            1 => pool
                .submit_timeout(task, ms(rng.below(3)))
                .await
                .map_err(|e| refused(e.into_inner())),
            2 => {
                let submit = pool.submit(task).timeout(ms(rng.below(4)));
                let submit = submit.priority(priority);
                match rt.timeout(ms(rng.below(4)), submit).await {
                    Ok(answer) => answer.map_err(|e| refused(e.into_inner())),
                    // Dropped while the submitter ran it.
                    Err(_) if began.load(Ordering::Relaxed) => {
                        world.accepted.fetch_add(1, Ordering::Relaxed);
                        world.results.lock().unwrap().cancelled += 1;
                        continue;
                    }
                    // Dropped while it waited: not submitted, and not counted as refused.
                    Err(_) => continue,
                }
            }
            _ => pool.submit(task).await.map_err(|e: SubmitError<_>| {
                assert!(!matches!(e, SubmitError::TimedOut { .. }));
                refused(e.into_inner())
            }),
        };
        let Ok(handle) = handle else { continue };
        world.accepted.fetch_add(1, Ordering::Relaxed);
        rt.spawn(holder(rt.clone(), rt.rng(), handle, world.clone()))
            .detach();
        add_up(&pool.stats());
        if rng.below(3) == 0 {
            rt.sleep(ms(rng.below(4))).await;
        }
    }
}

/// Awaits a handle, perhaps after aborting the task at some time.
async fn holder(rt: Sim, mut rng: SimRng, handle: TaskHandle<()>, world: Arc<World>) {
    if rng.below(3) == 0 {
        rt.sleep(ms(rng.below(8))).await;
        handle.abort();
    }
    let result = handle.await;
    let mut results = world.results.lock().unwrap();
    match result {
        Ok(()) => results.completed += 1,
        Err(TaskError::Panicked(_)) => results.panicked += 1,
        Err(TaskError::TimedOut { .. }) => results.timed_out += 1,
        Err(TaskError::Cancelled | TaskError::Closed) => results.cancelled += 1,
        Err(TaskError::Evicted) => results.evicted += 1,
        Err(other) => panic!("not from a handle: {other}"),
    }
}

async fn history(rt: Sim) {
    let mut rng = rt.rng();
    let world = Arc::new(World::default());
    let max = 1 + rng.below(4) as usize;
    let min = rng.below(max as u64 + 1) as usize;
    let mut builder = WorkerPool::builder()
        .slots(min..=max)
        .queue(1 + rng.below(4) as usize)
        .idle_timeout(ms(1 + rng.below(5)));
    if rng.below(2) == 0 {
        builder = builder.task_timeout(ms(1 + rng.below(6)));
    }
    let priorities = 1 + rng.below(3);
    builder = builder.priorities(priorities as usize);
    let kind = rng.below(8);
    builder = match kind {
        0 => builder.unbounded(),
        1 => builder.rendezvous(),
        2 => builder.on_full(OnFull::Reject),
        3 => builder.on_full(OnFull::DropOldest),
        4 => builder.on_full(OnFull::CallerRuns),
        5 => builder.on_full(OnFull::CallerRuns).rendezvous(),
        _ => builder,
    };
    let pool = builder.build().unwrap();
    // Each submitter may run one task itself.
    let guests = if matches!(kind, 4 | 5) { 4 } else { 0 };
    let mut submitters = rt.task_group();
    for _ in 0..=rng.below(4) {
        let (rt, rng) = (rt.clone(), rt.rng());
        submitters.spawn(submitter(rt, rng, pool.clone(), priorities, world.clone()));
    }
    let mut shutdowns = rt.task_group();
    for _ in 0..=rng.below(2) {
        let (delay, within) = (ms(rng.below(30)), ms(rng.below(20)));
        let grace = ms(rng.below(3) * rng.below(5));
        let (rt, pool) = (rt.clone(), pool.clone());
        shutdowns.spawn(async move {
            rt.sleep(delay).await;
            let called = rt.now();
            let how = Shutdown::drain(within).then_cancel(grace);
            let report = pool.shutdown(how).await;
            // It ends by its deadline, whatever the tasks do.
            assert!(rt.now() - called <= within + grace, "{report}");
            report
        });
    }
    for _ in 0..rng.below(3) {
        rt.sleep(ms(rng.below(10))).await;
        let slots = 1 + rng.below(max as u64) as usize;
        pool.resize(rng.below(slots as u64 + 1) as usize..=slots)
            .unwrap();
    }
    let mut reports = Vec::new();
    while let Some(report) = shutdowns.join_next().await {
        reports.push(report.unwrap());
        add_up(&pool.stats());
    }
    while let Some(ended) = submitters.join_next().await {
        ended.unwrap();
    }
    rt.run_until_idle().await;
    // Holders that sleep before an abort of what has ended.
    rt.sleep(Duration::from_secs(1)).await;

    let stats = pool.stats();
    add_up(&stats);
    assert_eq!((stats.queued, stats.running, stats.slots), (0, 0, 0));
    assert_eq!(stats.submitted, world.accepted.load(Ordering::Relaxed));
    assert_eq!(stats.rejected, world.refused.load(Ordering::Relaxed));
    let by_pool = Results {
        completed: stats.completed,
        panicked: stats.panicked,
        timed_out: stats.timed_out,
        cancelled: stats.cancelled,
        evicted: stats.evicted,
    };
    assert_eq!(*world.results.lock().unwrap(), by_pool);
    assert!(world.most_inside.load(Ordering::Relaxed) <= max + guests);
    assert!(world.runs.load(Ordering::Relaxed) <= stats.submitted);
    assert_eq!(world.inside.load(Ordering::Relaxed), 0);
    assert_eq!(world.closures.load(Ordering::Relaxed), 0, "a task leaked");
    assert!(
        reports
            .iter()
            .all(|report| *report == reports[0] && report.stuck == 0)
    );
    assert_eq!(rt.live_tasks(), 0);
}

#[test]
fn every_task_has_one_end_and_every_figure_adds_up() {
    quiet();
    sim::check(0..3_000, history);
}

#[test]
fn no_wake_up_is_lost() {
    // Three slots, a queue of one, submitters that wait: a lost wake-up is a deadlock, and the
    // simulation reports those.
    sim::check(0..10_000, |rt| async move {
        let pool = WorkerPool::builder().slots(1..=3).queue(1).build().unwrap();
        let done = Arc::new(AtomicU64::new(0));
        let mut group = rt.task_group();
        for _ in 0..4 {
            let (pool, done) = (pool.clone(), done.clone());
            group.spawn(async move {
                for _ in 0..4 {
                    let done = done.clone();
                    let task = async move |_| done.fetch_add(1, Ordering::Relaxed);
                    pool.run(task).await.unwrap();
                }
            });
        }
        while let Some(ended) = group.join_next().await {
            ended.unwrap();
        }
        assert_eq!(done.load(Ordering::Relaxed), 16);
    });
}

#[test]
fn tasks_that_need_one_another_all_get_a_slot() {
    // Every task waits for all others: slots must be woken or started for each of them.
    sim::check(0..500, |rt| async move {
        let pool = WorkerPool::builder().slots(0..=6).queue(6).build().unwrap();
        for _ in 0..3 {
            let (arrived, all) = (Arc::new(AtomicUsize::new(0)), Gate::new());
            let handles: Vec<_> = (0..6)
                .map(|_| {
                    let (arrived, all) = (arrived.clone(), all.clone());
                    pool.try_submit(async move |_| {
                        if arrived.fetch_add(1, Ordering::Relaxed) + 1 == 6 {
                            all.cancel();
                        }
                        all.cancelled().await;
                    })
                    .unwrap()
                })
                .collect();
            for handle in handles {
                handle.await.unwrap();
            }
            rt.run_until_idle().await;
        }
    });
}
