//! Random histories of all kinds of tasks at once: whatever is awaited, let go, aborted, blocks,
//! comes in groups, gives its slot away or is spawned, in a pool and a pool on it, which are resized
//! and shut down meanwhile. Each closure runs once at the most and is gone at the end, and the
//! figures add up all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flow_rt::sim::{self, Sim, SimRng};
use flow_rt::{OnFull, TaskContext};
use flow_sched::{PoolStats, Shutdown, WorkerPool};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::common::{ms, quiet};

#[derive(Default)]
struct World {
    /// Closures alive.
    closures: AtomicUsize,
    /// Closures called.
    runs: AtomicUsize,
    /// Closures made.
    made: AtomicUsize,
}

/// Counts a closure while it lives; called twice it could not be, for it is moved.
struct Counted(Arc<World>);

impl Counted {
    fn new(world: &Arc<World>) -> Self {
        world.closures.fetch_add(1, Ordering::Relaxed);
        world.made.fetch_add(1, Ordering::Relaxed);
        Self(world.clone())
    }

    fn runs(&self) {
        self.0.runs.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.closures.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An async closure of some length, which may panic at its end.
fn task(
    rt: &Sim,
    rng: &mut SimRng,
    world: &Arc<World>,
) -> impl FnOnce(TaskContext) -> BoxFuture<'static, ()> + Send + use<> {
    let (rt, counted) = (rt.clone(), Counted::new(world));
    let (naps, panics, heeds) = (rng.below(4), rng.below(8) == 0, rng.below(6) == 0);
    move |cx| {
        async move {
            counted.runs();
            for _ in 0..naps {
                rt.sleep(ms(1)).await;
            }
            if heeds {
                cx.cancellation().cancelled().await;
            }
            assert!(!panics, "quiet: chosen by the seed");
        }
        .boxed()
    }
}

/// One that blocks.
fn closure(rng: &mut SimRng, world: &Arc<World>) -> impl FnOnce(TaskContext) + Send + use<> {
    let (counted, panics) = (Counted::new(world), rng.below(8) == 0);
    move |_cx| {
        counted.runs();
        assert!(!panics, "quiet: chosen by the seed");
    }
}

async fn client(rt: Sim, mut rng: SimRng, pool: WorkerPool, world: Arc<World>) {
    let mut held = Vec::new();
    for _ in 0..rng.below(12) {
        match rng.below(9) {
            0 => drop(pool.run(task(&rt, &mut rng, &world)).await),
            1 => drop(pool.submit(task(&rt, &mut rng, &world)).detach().await),
            2 => drop(pool.submit(task(&rt, &mut rng, &world)).detach().try_now()),
            3 => held.extend(pool.submit(task(&rt, &mut rng, &world)).try_now()),
            4 => held.extend(pool.submit_blocking(closure(&mut rng, &world)).await),
            5 => drop(
                pool.submit_blocking(closure(&mut rng, &world))
                    .detach()
                    .await,
            ),
            6 => {
                let tasks: Vec<_> = (0..rng.below(5))
                    .map(|_| task(&rt, &mut rng, &world))
                    .collect();
                let at_once = 1 + rng.below(3) as usize;
                pool.group().at_once(at_once).unwrap().run_all(tasks).await;
            }
            7 => {
                let (counted, inner) = (Counted::new(&world), pool.clone());
                let [first, second, third] = [(); 3].map(|()| task(&rt, &mut rng, &world));
                let nested = pool.submit(async move |_cx| {
                    counted.runs();
                    let _ = inner.release_slot(inner.run(first)).await;
                    inner.group().run_all([second, third]).await;
                });
                held.extend(nested.timeout(ms(rng.below(6))).await);
            }
            _ => {
                let (counted, rt) = (Counted::new(&world), rt.clone());
                pool.handle().spawn_detached(async move {
                    counted.runs();
                    rt.sleep(ms(1)).await;
                });
            }
        }
        add_up(&pool.stats());
        if rng.below(3) == 0 {
            rt.sleep(ms(rng.below(4))).await;
        }
        if rng.below(3) == 0
            && let Some(handle) = held.pop()
        {
            handle.abort();
            // Either way it has an end of which the counters know: that of most is looked at.
            if rng.below(4) > 0 {
                let _ = handle.await;
            }
        }
    }
    for handle in held {
        let _ = handle.await;
    }
}

fn add_up(stats: &PoolStats) {
    let ended = stats.completed + stats.panicked + stats.timed_out;
    let dropped = stats.cancelled + stats.evicted;
    let all = stats.queued + stats.running + ended + dropped;
    assert_eq!(stats.submitted, all, "{stats:?}");
}

async fn history(rt: Sim) {
    let mut rng = rt.rng();
    let world = Arc::new(World::default());
    let max = 1 + rng.below(4) as usize;
    let builder = WorkerPool::builder()
        .slots(rng.below(max as u64 + 1) as usize..=max)
        .queue(1 + rng.below(4) as usize)
        .idle_timeout(ms(1 + rng.below(5)));
    let builder = match rng.below(7) {
        0 => builder.unbounded(),
        1 => builder.rendezvous(),
        2 => builder.on_full(OnFull::Reject),
        3 => builder.on_full(OnFull::DropOldest),
        4 => builder.priorities(2),
        _ => builder,
    };
    let pool = builder.build().unwrap();
    let sub = pool.sub_pool().slots(1 + rng.below(3) as usize);
    let sub = sub.queue(1 + rng.below(3) as usize).build().unwrap();
    let mut clients = rt.task_group();
    for _ in 0..=rng.below(4) {
        let pool = if rng.below(3) == 0 { &sub } else { &pool };
        clients.spawn(client(rt.clone(), rt.rng(), pool.clone(), world.clone()));
    }
    for _ in 0..rng.below(4) {
        rt.sleep(ms(rng.below(8))).await;
        let slots = 1 + rng.below(4) as usize;
        let resized = if rng.below(3) == 0 { &sub } else { &pool };
        resized
            .resize(rng.below(slots as u64 + 1) as usize..=slots)
            .unwrap();
    }
    let (within, grace) = (ms(rng.below(20)), ms(rng.below(4)));
    let called = rt.now();
    let report = pool
        .shutdown(Shutdown::drain(within).then_cancel(grace))
        .await;
    assert!(rt.now() - called <= within + grace, "{report}");
    add_up(&pool.stats());
    add_up(&sub.stats());
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    rt.run_until_idle().await;
    rt.sleep(Duration::from_secs(1)).await;

    for pool in [&pool, &sub] {
        let stats = pool.stats();
        add_up(&stats);
        assert_eq!((stats.queued, stats.running, stats.slots), (0, 0, 0));
    }
    assert_eq!(world.closures.load(Ordering::Relaxed), 0, "a task leaked");
    let (runs, made) = (&world.runs, &world.made);
    assert!(runs.load(Ordering::Relaxed) <= made.load(Ordering::Relaxed));
    assert_eq!(rt.live_tasks(), 0);
}

#[test]
fn tasks_of_all_kinds_end_and_every_figure_adds_up() {
    quiet();
    sim::check(0..2_000, history);
}
