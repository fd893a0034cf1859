//! Pools that find their number of slots: they follow a load within their bounds, and stay put.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use flow_ratelimit::{Aimd, LimitAlgorithm, Vegas, Window};
use flow_rt::sim::{self, Sim};
use flow_rt::{CancellationToken, OnFull, TestRuntime};
use flow_sched::{LoadSource, PoolConfigError, Sizing, WorkerPool};

use crate::common::{LONG, ms, occupy, poll_once};

flow_rt::on_every_runtime! {
    seeds 0..20;
    a_pool_begins_small_and_grows_while_tasks_wait,
    bounds_can_be_set_while_it_runs,
    a_load_over_its_bound_makes_a_pool_smaller,
    tasks_that_never_end_do_not_keep_others_from_slots,
    a_task_that_waits_for_one_in_the_queue_gets_it_a_slot,
    a_full_pool_gets_slots_though_nothing_ends,
    a_lookout_is_there_while_tasks_wait_for_slots,
    a_lookout_does_not_keep_its_pool,
    tasks_that_wait_without_their_slots_use_none,
    a_task_that_finds_a_free_slot_is_no_reason_to_grow,
    a_hand_off_sizes_itself_too,
    a_group_has_the_slots_that_it_needs,
    what_panics_in_it_harms_nothing,
    how_busy_a_pool_is,
}

const WINDOW: Duration = ms(100);

fn pool(rt: &TestRuntime, min: usize, max: usize, sizing: Sizing) -> WorkerPool {
    let builder = WorkerPool::builder().runtime(rt);
    let builder = builder.slots(min..=max).queue(10_000).adaptive(sizing);
    builder.build().unwrap()
}

/// Submits `count` tasks of 10 ms each per 10 ms, for so long.
async fn offer(rt: &TestRuntime, pool: &WorkerPool, count: usize, time: Duration) {
    for _ in 0..time.as_millis() / 10 {
        for _ in 0..count {
            let sleeper = rt.clone();
            let task = pool.submit(async move |_| sleeper.sleep(ms(10)).await);
            task.detach().await.unwrap();
        }
        rt.advance(ms(10)).await;
    }
}

fn limit(pool: &WorkerPool) -> usize {
    pool.sizing().unwrap().limit
}

async fn a_pool_begins_small_and_grows_while_tasks_wait(rt: TestRuntime) {
    let pool = pool(&rt, 1, 20, Sizing::default());
    assert_eq!((limit(&pool), pool.slots()), (1, 1..=1));
    offer(&rt, &pool, 10, ms(2_000)).await;
    let stats = pool.sizing().unwrap();
    assert!(stats.limit >= 10, "{stats:?}");
    assert_eq!((stats.min, stats.max), (1, 20));
    assert!(stats.grown > 2 && stats.grown < 20, "{stats:?}");
    assert_eq!(pool.slots(), 1..=stats.limit);
    assert_eq!(pool.stats().max_slots, stats.limit);
    // No more than half of it at a time, and no decision without a window.
    assert!(pool.shutdown(LONG).await.is_clean());
}

async fn bounds_can_be_set_while_it_runs(rt: TestRuntime) {
    let pool = pool(&rt, 1, 20, Sizing::default());
    offer(&rt, &pool, 10, ms(2_000)).await;
    pool.resize(2..=4).unwrap();
    assert_eq!((limit(&pool), pool.slots()), (4, 2..=4));
    offer(&rt, &pool, 2, ms(1_000)).await;
    assert!(limit(&pool) <= 4);
    pool.resize(6..=8).unwrap();
    assert_eq!((limit(&pool), pool.slots()), (6, 6..=6));
    assert!(pool.resize(0).is_err());
    pool.shutdown(LONG).await;
}

async fn a_group_has_the_slots_that_it_needs(rt: TestRuntime) {
    let pool = pool(&rt, 1, 8, Sizing::default());
    let tasks = (0..500).map(|_| {
        let sleeper = rt.clone();
        async move |_| sleeper.sleep(ms(10)).await.unwrap()
    });
    let before = rt.now();
    let ended = pool.group().run_all(tasks).await;
    assert!(ended.iter().all(Result::is_ok));
    let stats = pool.sizing().unwrap();
    assert!(stats.limit >= 6, "{stats:?}");
    assert!(rt.now() - before < ms(2_500), "one by one it takes 5 s");
    assert!(pool.shutdown(LONG).await.is_clean());
}

async fn a_load_over_its_bound_makes_a_pool_smaller(rt: TestRuntime) {
    let percent = Arc::new(AtomicU32::new(0));
    let source = percent.clone();
    let load = move || f64::from(source.load(Ordering::Relaxed)) / 100.0;
    let pool = pool(&rt, 2, 32, Sizing::default().load(load, 0.5));
    offer(&rt, &pool, 16, ms(2_000)).await;
    let before = limit(&pool);
    assert!(before >= 16, "{before}");
    // Close to its bound: it stays where it is.
    percent.store(48, Ordering::Relaxed);
    offer(&rt, &pool, 16, ms(500)).await;
    assert_eq!(limit(&pool), before);
    percent.store(80, Ordering::Relaxed);
    offer(&rt, &pool, 4, ms(500)).await;
    let after = limit(&pool);
    assert!(after < before && after >= before / 3, "{before} to {after}");
    assert!(pool.sizing().unwrap().pressure > 1.5);
    offer(&rt, &pool, 1, ms(4_000)).await;
    assert_eq!(limit(&pool), 2, "its least");
    pool.shutdown(LONG).await;
}

async fn tasks_that_never_end_do_not_keep_others_from_slots(rt: TestRuntime) {
    let pool = pool(&rt, 1, 8, Sizing::default());
    let gate = occupy(&rt, &pool).await;
    let waits = pool.submit(async |_| 7).await.unwrap();
    // Nothing starts and nothing ends: those who submit see that tasks wait.
    rt.advance(WINDOW).await;
    let last = pool.submit(async |_| 8).await.unwrap();
    assert_eq!(limit(&pool), 2);
    assert_eq!((waits.await.unwrap(), last.await.unwrap()), (7, 8));
    gate.cancel();
    pool.shutdown(LONG).await;
}

/// Nobody comes, and nothing starts or ends.
async fn a_task_that_waits_for_one_in_the_queue_gets_it_a_slot(rt: TestRuntime) {
    for sizing in [
        Sizing::default(),
        // It learns nothing where no task ends.
        Sizing::new(Vegas::new()),
        // Longer than a window.
        Sizing::default().target_wait(ms(350)),
    ] {
        let pool = pool(&rt, 1, 8, sizing);
        let signal = CancellationToken::new();
        let heard = signal.clone();
        let first = pool.submit(async move |_| heard.cancelled().await);
        first.detach().await.unwrap();
        // Though it has been busy for long.
        rt.advance(LONG).await;
        let second = pool.submit(async move |_| signal.cancel());
        second.detach().await.unwrap();
        rt.advance(WINDOW / 2).await;
        assert_eq!(pool.stats().queued, 1, "it has hardly waited");
        for _ in 0..10 {
            rt.advance(WINDOW).await;
        }
        let stats = pool.stats();
        assert_eq!((stats.completed, stats.queued), (2, 0), "{stats:?}");
        // Perhaps one for the wait of the window in which it started.
        assert!((2..=3).contains(&limit(&pool)), "{}", limit(&pool));
        assert!(pool.shutdown(LONG).await.is_clean());
    }
}

async fn a_full_pool_gets_slots_though_nothing_ends(rt: TestRuntime) {
    for (queue, on_full) in [
        (0, OnFull::Wait),
        (0, OnFull::Reject),
        (2, OnFull::Wait),
        (2, OnFull::Reject),
        (2, OnFull::DropOldest),
    ] {
        let builder = WorkerPool::builder().runtime(&rt).slots(1..=4);
        let builder = builder.on_full(on_full).adaptive(Sizing::default());
        let builder = match queue {
            0 => builder.rendezvous(),
            tasks => builder.queue(tasks),
        };
        let pool = builder.build().unwrap();
        let gate = CancellationToken::new();
        for _ in 0..20 {
            let opens = gate.clone();
            let mut submit = pool.submit(async move |_| opens.cancelled().await);
            for _ in 0..5 {
                if poll_once(&mut submit).is_ready() {
                    break;
                }
                rt.advance(WINDOW).await;
            }
            drop(submit);
            rt.advance(WINDOW * 5).await;
        }
        let stats = pool.stats();
        assert_eq!(limit(&pool), 4, "{queue} {on_full}: {stats:?}");
        assert_eq!(stats.running, 4, "{queue} {on_full}: {stats:?}");
        gate.cancel();
        assert!(pool.shutdown(LONG).await.is_clean());
    }
}

async fn a_lookout_is_there_while_tasks_wait_for_slots(rt: TestRuntime) {
    let pool = pool(&rt, 1, 2, Sizing::default());
    let slots_only = |slots| {
        let stats = pool.stats();
        assert_eq!((stats.slots, rt.live_tasks()), (slots, slots), "{stats:?}");
    };
    for _ in 0..3 {
        // The slot is free, or started for it.
        pool.run(async |_| ()).await.unwrap();
        rt.settle().await;
        slots_only(1);
    }
    let gate = occupy(&rt, &pool).await;
    slots_only(1);
    pool.submit(async |_| ()).detach().await.unwrap();
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 2, "it waits");
    gate.cancel();
    rt.advance(WINDOW).await;
    slots_only(1);
    let gates = [occupy(&rt, &pool).await, CancellationToken::new()];
    for _ in 0..2 {
        let opens = gates[1].clone();
        let waits = pool.submit(async move |_| opens.cancelled().await);
        waits.detach().await.unwrap();
    }
    for _ in 0..3 {
        rt.advance(WINDOW).await;
    }
    // There may be no more slots, so that nobody looks out for it.
    assert_eq!((limit(&pool), pool.stats().queued), (2, 1));
    slots_only(2);
    pool.resize(1..=3).unwrap();
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 3, "now there may be");
    for _ in 0..3 {
        rt.advance(WINDOW).await;
    }
    assert_eq!((limit(&pool), pool.stats().queued), (3, 0));
    for gate in gates {
        gate.cancel();
    }
    assert!(pool.shutdown(LONG).await.is_clean());
}

async fn a_lookout_does_not_keep_its_pool(rt: TestRuntime) {
    let kept = Arc::new(());
    let keeps = kept.clone();
    let builder = WorkerPool::builder().runtime(&rt).slots(1..=8);
    let builder = builder.on_slot_start(move |_| drop(keeps.clone()));
    let pool = builder.adaptive(Sizing::default()).build().unwrap();
    let gate = occupy(&rt, &pool).await;
    pool.submit(async |_| ()).detach().await.unwrap();
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 2);
    drop(pool);
    gate.cancel();
    rt.settle().await;
    assert_eq!(Arc::strong_count(&kept), 1, "the pool has gone");
    assert_eq!(rt.live_tasks(), 1, "the lookout sleeps");
    rt.advance(WINDOW).await;
    assert_eq!(rt.live_tasks(), 0);
}

/// So many tasks that wait in `release_slot`, until the gate opens.
async fn waiters(rt: &TestRuntime, pool: &WorkerPool, tasks: usize) -> CancellationToken {
    let gate = CancellationToken::new();
    for _ in 0..tasks {
        let (gate, lender) = (gate.clone(), pool.clone());
        let task = async move |_| lender.release_slot(gate.cancelled()).await;
        pool.submit(task).detach().await.unwrap();
    }
    rt.settle().await;
    assert_eq!(pool.stats().running, tasks as u64);
    gate
}

async fn tasks_that_wait_without_their_slots_use_none(rt: TestRuntime) {
    let pool = pool(&rt, 1, 64, Sizing::default());
    offer(&rt, &pool, 40, ms(3_000)).await;
    rt.advance(LONG).await;
    let before = limit(&pool);
    assert!(before >= 30, "{before}");
    let gate = waiters(&rt, &pool, 64).await;
    offer(&rt, &pool, 1, ms(20_000)).await;
    let stats = pool.sizing().unwrap();
    assert!(stats.limit <= 4, "{before} to {stats:?}");
    gate.cancel();
    pool.shutdown(LONG).await;
}

async fn a_task_that_finds_a_free_slot_is_no_reason_to_grow(rt: TestRuntime) {
    let pool = pool(&rt, 1, 64, Sizing::default());
    let gate = waiters(&rt, &pool, 64).await;
    for _ in 0..100 {
        pool.submit(async |_| ()).detach().await.unwrap();
        rt.advance(ms(20)).await;
    }
    let stats = pool.sizing().unwrap();
    assert_eq!((stats.limit, stats.grown), (1, 0), "{stats:?}");
    gate.cancel();
    pool.shutdown(LONG).await;
}

/// A hand-off has no queue: its submitters are those who wait.
async fn a_hand_off_sizes_itself_too(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1..=6);
    let builder = builder.rendezvous().adaptive(Sizing::default());
    let pool = builder.build().unwrap();
    for _ in 0..100 {
        let sleeper = rt.clone();
        let task = pool.submit(async move |_| sleeper.sleep(ms(50)).await);
        task.detach().await.unwrap();
    }
    let stats = pool.sizing().unwrap();
    assert!(stats.grown > 0 && stats.limit > 2, "{stats:?}");
    assert_eq!(pool.stats().max_slots, stats.limit);
    // Nobody waits, and one slot is in use: the others go.
    offer(&rt, &pool, 1, ms(10_000)).await;
    let stats = pool.sizing().unwrap();
    assert!(stats.shrunk > 0 && stats.limit <= 2, "{stats:?}");
    assert!(pool.shutdown(LONG).await.is_clean());
}

async fn what_panics_in_it_harms_nothing(rt: TestRuntime) {
    #[derive(Debug, Clone)]
    struct Broken;

    impl LimitAlgorithm for Broken {
        fn on_window(&mut self, _window: &Window) -> u32 {
            panic!("quiet: no idea")
        }
    }

    crate::common::quiet();
    let sizing = Sizing::new(Broken).load(|| panic!("quiet: no idea"), 0.5);
    let pool = pool(&rt, 2, 8, sizing);
    offer(&rt, &pool, 4, ms(500)).await;
    assert_eq!(limit(&pool), 2);
    assert!(pool.shutdown(LONG).await.is_clean());
}

async fn how_busy_a_pool_is(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(4)
        .queue(10)
        .build();
    let pool = pool.unwrap();
    let load = pool.load();
    let is = |expected: f64| (load.load() - expected).abs() < 1e-9;
    assert!(is(0.0));
    let gates = [occupy(&rt, &pool).await, occupy(&rt, &pool).await];
    assert!(is(0.5));
    let more: Vec<_> = (0..6)
        .map(|_| pool.submit(async |_| pending::<()>().await))
        .collect();
    for mut submit in more {
        assert!(poll_once(&mut submit).is_ready());
    }
    assert!(is(1.0), "not more than all of it");
    drop(gates);
    pool.shutdown(ms(0)).await;
    drop(pool);
    rt.settle().await;
    assert!(is(0.0));
}

#[test]
fn what_cannot_be_is_refused() {
    sim::check(0..1, |_rt| async move {
        let build = |sizing| WorkerPool::builder().adaptive(sizing).build().unwrap_err();
        let zero = build(Sizing::default().window(Duration::ZERO));
        assert_eq!(zero, PoolConfigError::ZeroDuration { option: "window" });
        let zero = build(Sizing::default().target_wait(Duration::ZERO));
        let option = "target_wait";
        assert_eq!(zero, PoolConfigError::ZeroDuration { option });
        for most in [0.0, 1.0, -0.5, f64::NAN] {
            let wrong = build(Sizing::default().load(|| 0.0, most));
            let text = wrong.to_string();
            assert!(
                text.contains("a share of more than 0 and less than 1"),
                "{text}"
            );
        }
        let wrong = build(Sizing::new(Aimd::new().backoff(2.0)));
        assert!(matches!(wrong, PoolConfigError::Sizing(_)));
    });
}

/// One task is left behind by another that may compute for long.
#[test]
fn a_lookout_is_posted_before_the_first_poll() {
    sim::check(0..8, |rt| async move {
        let builder = WorkerPool::builder().slots(1..=4);
        let pool = builder.adaptive(Sizing::default()).build().unwrap();
        let host = rt.clone();
        let before = rt.live_tasks();
        let first = pool.try_submit(async move |_| host.live_tasks()).unwrap();
        let second = pool.try_submit(async |_| ()).unwrap();
        assert_eq!(
            first.await.unwrap(),
            before + 2,
            "a slot, and who looks out"
        );
        second.await.unwrap();
    });
}

/// Random arrivals: gaps and runs of exponential length, `slots` in use on average.
async fn arrivals(rt: &Sim, pool: &WorkerPool, slots: f64, time: Duration, seen: &mut Vec<usize>) {
    let mut rng = rt.rng();
    let mut random = move |mean: Duration| {
        let uniform = (rng.below(1_000_000) as f64 + 0.5) / 1e6;
        mean.mul_f64(-uniform.ln())
    };
    let run = ms(20);
    let until = rt.now() + time;
    while rt.now() < until {
        let (sleeper, nap) = (rt.clone(), random(run));
        let task = pool.submit(async move |_| sleeper.sleep(nap).await);
        task.detach().await.unwrap();
        rt.sleep(random(run.div_f64(slots))).await;
        let now = limit(pool);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
}

/// How often the limit turned from up to down or back.
fn turns(limits: &[usize]) -> usize {
    let ups: Vec<_> = limits.windows(2).map(|pair| pair[1] > pair[0]).collect();
    ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// A load that steps from 2 slots to 20 and back: the pool follows both, in its bounds, and is
/// still in between.
#[test]
fn a_step_in_load_is_followed_without_oscillation() {
    sim::check(0..8, |rt| async move {
        let builder = WorkerPool::builder().slots(1..=40).unbounded();
        let pool = builder.adaptive(Sizing::default()).build().unwrap();
        let minute = Duration::from_secs(60);
        let (mut low, mut high, mut again) = (Vec::new(), Vec::new(), Vec::new());
        arrivals(&rt, &pool, 2.0, minute, &mut low).await;
        let at_low = limit(&pool);
        arrivals(&rt, &pool, 20.0, minute, &mut high).await;
        let at_high = limit(&pool);
        arrivals(&rt, &pool, 2.0, minute, &mut again).await;
        let at_last = limit(&pool);
        let all = [&low[..], &high, &again].concat();
        assert!(all.iter().all(|limit| (1..=40).contains(limit)));
        assert!((2..=12).contains(&at_low), "{low:?}");
        assert!((20..=40).contains(&at_high), "{high:?}");
        assert!((2..=12).contains(&at_last), "{again:?}");
        // Each minute has 600 windows, and random loads make what is in use come and go.
        for limits in [&low, &high, &again] {
            assert!(turns(limits) <= 8, "{limits:?}");
        }
        pool.shutdown(LONG).await;
    });
}

/// Tasks that slow each other down from 8 at once on: more slots than that do no good, and an
/// algorithm that goes by latency finds it.
#[test]
fn slots_that_do_no_good_are_not_taken() {
    sim::check(0..3, |rt| async move {
        let builder = WorkerPool::builder().slots(1..=64).queue(64);
        let builder = builder.adaptive(Sizing::new(Vegas::new()));
        let pool = builder.build().unwrap();
        let at_once = Arc::new(AtomicUsize::new(0));
        let until = rt.now() + Duration::from_secs(60);
        let mut most = 0;
        while rt.now() < until {
            let (sleeper, at_once) = (rt.clone(), at_once.clone());
            let task = pool.submit(async move |_| {
                let now = at_once.fetch_add(1, Ordering::Relaxed) + 1;
                sleeper
                    .sleep(ms(10).mul_f64((now as f64 / 8.0).max(1.0)))
                    .await;
                at_once.fetch_sub(1, Ordering::Relaxed);
            });
            task.detach().await.unwrap();
            if until - rt.now() < Duration::from_secs(30) {
                most = most.max(limit(&pool));
            }
        }
        let stats = pool.sizing().unwrap();
        assert!((6..=16).contains(&stats.limit), "{stats:?}");
        assert!(most <= 20, "{most} in the second half");
        pool.shutdown(LONG).await;
    });
}
