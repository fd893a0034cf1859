//! The test moves time and is no task of the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use flow_rt::sim::Step;
use flow_rt::{Clock, DefaultClock, Handle, Instant, SteppedRuntime, block_on};
use futures_util::FutureExt;
use tokio::sync::{Barrier, Notify};

use crate::hosts::{Log, SECOND, on_every_host};

on_every_host! {
    timers_fire_in_order_of_their_instants,
    what_a_task_does_at_an_instant_comes_before_the_next,
    a_timer_armed_by_a_fired_task_is_followed,
    equal_instants_fire_together,
    time_stands_unless_it_is_moved,
    an_advance_of_nothing_settles,
    advances_at_the_same_time_overlap,
    an_advance_beyond_the_end_of_time_comes_to_it,
    a_dropped_advance_leaves_time_where_it_came_to,
    settle_waits_for_chains_of_wakes,
    settle_waits_for_blocking_closures,
    a_closure_that_waits_for_time_lets_it_move,
    a_closure_may_settle_and_advance,
    tasks_may_settle_and_advance,
    clocks_and_the_current_handle_are_the_runtimes,
    the_wall_clock_moves_with_time_and_by_itself,
    tasks_are_counted_until_they_end,
}

async fn timers_fire_in_order_of_their_instants(rt: SteppedRuntime) {
    let log = Log::new(&rt);
    for (after, name) in [(3, "three"), (1, "one"), (2, "two"), (9, "nine")] {
        let (log, handle) = (log.clone(), Handle::clone(&rt));
        let alarm = rt.sleep(SECOND * after);
        rt.spawn_detached(async move {
            alarm.await.unwrap();
            log.note(handle.now(), name);
        });
    }
    rt.advance(SECOND * 2).await;
    assert_eq!(log.take(), [(1, "one"), (2, "two")]);
    rt.advance(SECOND * 2).await;
    assert_eq!(log.take(), [(3, "three")]);
    rt.advance(SECOND * 5).await;
    assert_eq!(log.take(), [(9, "nine")]);
}

async fn what_a_task_does_at_an_instant_comes_before_the_next(rt: SteppedRuntime) {
    let log = Log::new(&rt);
    let gate = Arc::new(Notify::new());
    for second in 1..=3 {
        let (log, handle, gate) = (log.clone(), Handle::clone(&rt), gate.clone());
        let alarm = rt.sleep(SECOND * second);
        rt.spawn_detached(async move {
            alarm.await.unwrap();
            log.note(handle.now(), "alarm");
            gate.notify_one();
        });
    }
    let (follower, handle) = (log.clone(), Handle::clone(&rt));
    rt.spawn_detached(async move {
        loop {
            gate.notified().await;
            // By way of a task and a closure more.
            let relayed = handle.spawn_blocking(|| ());
            handle.spawn(relayed).await.unwrap().unwrap();
            follower.note(handle.now(), "followed");
        }
    });
    rt.advance(SECOND * 3).await;
    assert_eq!(
        log.take(),
        [
            (1, "alarm"),
            (1, "followed"),
            (2, "alarm"),
            (2, "followed"),
            (3, "alarm"),
            (3, "followed")
        ]
    );
}

async fn a_timer_armed_by_a_fired_task_is_followed(rt: SteppedRuntime) {
    let (log, handle) = (Log::new(&rt), Handle::clone(&rt));
    let noted = log.clone();
    rt.spawn_detached(async move {
        let mut timer = handle.sleep(SECOND);
        for _ in 0..100 {
            (&mut timer).await.unwrap();
            noted.note(handle.now(), "tick");
            timer.arm(handle.now() + SECOND);
        }
    });
    rt.advance(SECOND * 42).await;
    let ticks = log.take();
    assert_eq!(ticks.len(), 42);
    assert!(ticks.iter().zip(1..).all(|((at, _), n)| *at == n));
    rt.advance(SECOND / 2).await;
    assert!(log.take().is_empty());
    rt.advance(SECOND / 2).await;
    assert_eq!(log.take(), [(43, "tick")]);
}

async fn equal_instants_fire_together(rt: SteppedRuntime) {
    let (at, fired) = (rt.now() + SECOND, Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (alarm, handle, fired) = (rt.sleep_until(at), Handle::clone(&rt), fired.clone());
            rt.spawn(async move {
                alarm.await.unwrap();
                fired.fetch_add(1, Ordering::AcqRel);
                assert_eq!(handle.now(), at);
            })
        })
        .collect();
    rt.advance(Duration::from_nanos(999_999_999)).await;
    assert_eq!(fired.load(Ordering::Acquire), 0);
    rt.advance(Duration::from_nanos(1)).await;
    assert_eq!(fired.load(Ordering::Acquire), 100);
    for task in tasks {
        task.await.unwrap();
    }
}

async fn time_stands_unless_it_is_moved(rt: SteppedRuntime) {
    let start = rt.now();
    let task = rt.spawn(rt.sleep(Duration::from_nanos(1)));
    for _ in 0..100 {
        rt.settle().await;
    }
    assert!(!task.is_finished());
    assert_eq!(rt.now(), start);
    rt.advance(Duration::from_nanos(1)).await;
    assert!(task.is_finished());
}

async fn an_advance_of_nothing_settles(rt: SteppedRuntime) {
    let start = rt.now();
    for _ in 0..100 {
        let tasks: Vec<_> = (0..10).map(|n| rt.spawn(async move { n })).collect();
        rt.advance(Duration::ZERO).await;
        assert!(tasks.iter().all(flow_rt::JoinHandle::is_finished));
    }
    let due = rt.spawn(rt.sleep(Duration::ZERO));
    rt.advance(Duration::ZERO).await;
    assert!(due.is_finished());
    assert_eq!(rt.now(), start);
}

async fn advances_at_the_same_time_overlap(rt: SteppedRuntime) {
    let start = rt.now();
    let log = Log::new(&rt);
    for second in 1..=5 {
        let (log, handle) = (log.clone(), Handle::clone(&rt));
        let alarm = rt.sleep(SECOND * second);
        rt.spawn_detached(async move {
            alarm.await.unwrap();
            log.note(handle.now(), "alarm");
        });
    }
    let seconds = |n: u32| rt.advance(SECOND * n);
    futures_util::future::join3(seconds(2), seconds(4), seconds(3)).await;
    assert_eq!(rt.now() - start, SECOND * 4);
    let alarms = log.take();
    assert!(alarms.iter().map(|(at, _)| *at).eq(1..=4));
}

async fn an_advance_beyond_the_end_of_time_comes_to_it(rt: SteppedRuntime) {
    let last = Instant::FAR_FUTURE - Duration::from_nanos(1);
    let at_the_end = rt.spawn(rt.sleep_until(last));
    let never = rt.spawn(rt.sleep(Duration::MAX));
    rt.advance(SECOND * 86_400 * 365 * 100).await;
    assert!(!at_the_end.is_finished());
    rt.advance(Duration::MAX).await;
    assert_eq!(rt.now(), last);
    assert!(at_the_end.is_finished());
    assert!(!never.is_finished());
    // There is nothing after it.
    rt.advance(Duration::MAX).await;
    rt.advance(Duration::from_nanos(1)).await;
    assert_eq!(rt.now(), last);
    assert!(!never.is_finished());
    let from_then_on = rt.spawn(rt.sleep(Duration::from_nanos(1)));
    rt.settle().await;
    assert!(!from_then_on.is_finished());
}

async fn a_dropped_advance_leaves_time_where_it_came_to(rt: SteppedRuntime) {
    let start = rt.now();
    let block = Arc::new(Notify::new());
    let (alarm, unblocked) = (rt.sleep(SECOND), block.clone());
    let (stuck, hold) = (rt.clone(), Arc::new(AtomicBool::new(false)));
    let held = hold.clone();
    rt.spawn_detached(async move {
        alarm.await.unwrap();
        // Busy until the flag is up: an advance cannot pass it.
        while !held.load(Ordering::Acquire) {
            stuck.spawn_blocking(std::thread::yield_now).await.unwrap();
        }
        unblocked.notify_one();
    });
    {
        let mut advance = std::pin::pin!(rt.advance(SECOND * 10));
        while rt.now() == start {
            assert!((&mut advance).now_or_never().is_none());
            rt.spawn(async {}).await.unwrap();
        }
    }
    assert_eq!(rt.now() - start, SECOND);
    hold.store(true, Ordering::Release);
    block.notified().await;
    // The seat is free again.
    rt.advance(SECOND).await;
    assert_eq!(rt.now() - start, SECOND * 2);
}

async fn settle_waits_for_chains_of_wakes(rt: SteppedRuntime) {
    for _ in 0..50 {
        let gates: Vec<_> = (0..20).map(|_| Arc::new(Notify::new())).collect();
        let last = Arc::new(AtomicBool::new(false));
        for pair in gates.windows(2) {
            let (from, to) = (pair[0].clone(), pair[1].clone());
            rt.spawn_detached(async move {
                from.notified().await;
                to.notify_one();
            });
        }
        let (end, reached) = (gates.last().unwrap().clone(), last.clone());
        rt.spawn_detached(async move {
            end.notified().await;
            reached.store(true, Ordering::Release);
        });
        rt.settle().await;
        assert!(!last.load(Ordering::Acquire));
        gates[0].notify_one();
        rt.settle().await;
        assert!(last.load(Ordering::Acquire));
    }
}

async fn settle_waits_for_blocking_closures(rt: SteppedRuntime) {
    for _ in 0..20 {
        let jobs: Vec<_> = (0..8)
            .map(|n| {
                rt.spawn_blocking(move || {
                    std::thread::yield_now();
                    n
                })
            })
            .collect();
        rt.settle().await;
        assert!(jobs.iter().all(flow_rt::JoinHandle::is_finished));
    }
}

async fn a_closure_that_waits_for_time_lets_it_move(rt: SteppedRuntime) {
    let handle = Handle::clone(&rt);
    let job = rt.spawn_blocking(move || {
        let start = handle.now();
        block_on(handle.sleep(SECOND)).unwrap().unwrap();
        block_on(handle.spawn(handle.sleep(SECOND * 2)))
            .unwrap()
            .unwrap()
            .unwrap();
        handle.now() - start
    });
    rt.settle().await;
    rt.advance(SECOND).await;
    assert!(!job.is_finished());
    rt.advance(SECOND * 2).await;
    assert!(job.is_finished());
    assert_eq!(job.await.unwrap(), SECOND * 3);
}

async fn a_closure_may_settle_and_advance(rt: SteppedRuntime) {
    let mover = rt.clone();
    let job = rt.spawn_blocking(move || {
        let task = mover.spawn(mover.sleep(SECOND));
        block_on(mover.settle()).unwrap();
        assert!(!task.is_finished());
        block_on(mover.advance(SECOND)).unwrap();
        assert!(task.is_finished());
    });
    job.await.unwrap();
}

async fn tasks_may_settle_and_advance(rt: SteppedRuntime) {
    let start = rt.now();
    let all = Arc::new(Barrier::new(5));
    let movers: Vec<_> = (1..=5)
        .map(|n| {
            let (mover, all) = (rt.clone(), all.clone());
            rt.spawn(async move {
                all.wait().await;
                let task = mover.spawn(mover.sleep(SECOND * n));
                mover.settle().await;
                mover.advance(SECOND * n).await;
                assert!(task.is_finished());
                mover.settle().await;
            })
        })
        .collect();
    for mover in movers {
        mover.await.unwrap();
    }
    assert_eq!(rt.now() - start, SECOND * 5);
}

async fn clocks_and_the_current_handle_are_the_runtimes(rt: SteppedRuntime) {
    let other = SteppedRuntime::over(&Handle::smol());
    other.advance(SECOND * 1_000).await;
    assert_ne!(rt.id(), other.id());

    let check = |rt: &SteppedRuntime| {
        let (id, now) = (rt.id(), rt.now());
        move || {
            let current = Handle::current().unwrap();
            assert_eq!(current.id(), id);
            assert_eq!(current.now(), now);
            let clock = DefaultClock::new();
            assert_eq!(clock.now(), now);
            clock
        }
    };
    let (here, there) = (check(&rt), check(&other));
    let clock = rt.spawn(async move { here() }).await.unwrap();
    let other_clock = other.spawn(async move { there() }).await.unwrap();
    rt.spawn_blocking(check(&rt)).await.unwrap();
    other.spawn_blocking(check(&other)).await.unwrap();
    {
        let _inside = rt.enter();
        check(&rt)();
        let _deeper = other.enter();
        check(&other)();
    }
    // A task of one that starts one on the other.
    let (there, handle) = (check(&other), Handle::clone(&other));
    let started = rt.spawn(async move { handle.spawn(async move { there() }).await });
    started.await.unwrap().unwrap();

    // Outside they are not, nor under a real handle inside.
    assert_ne!(Handle::current().unwrap().id(), rt.id());
    let machine = rt.spawn(async {
        let _real = Handle::smol().enter();
        format!("{:?}", DefaultClock::new())
    });
    let machine = machine.await.unwrap();
    assert!(machine.starts_with("DefaultClock(machine"), "{machine}");

    let before = other_clock.now();
    rt.advance(SECOND).await;
    assert_eq!(clock.now(), rt.now());
    assert_eq!(other_clock.now(), before);
}

async fn the_wall_clock_moves_with_time_and_by_itself(rt: SteppedRuntime) {
    let (start, wall) = (rt.now(), rt.wall());
    rt.advance(SECOND * 60).await;
    assert_eq!(rt.wall(), wall + SECOND * 60);
    rt.step_wall(SECOND * 3_600, Step::Backward);
    assert_eq!(rt.wall(), wall + SECOND * 60 - SECOND * 3_600);
    rt.suspend(SECOND * 7_200);
    assert_eq!(rt.wall(), wall + SECOND * 60 + SECOND * 3_600);
    assert_eq!(rt.now() - start, SECOND * 60);
}

async fn tasks_are_counted_until_they_end(rt: SteppedRuntime) {
    assert_eq!(rt.live_tasks(), 0);
    let aborted = rt.spawn(rt.sleep(SECOND));
    rt.spawn(rt.sleep(SECOND)).detach();
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 2);
    aborted.abort();
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 1);
    rt.advance(SECOND).await;
    assert_eq!(rt.live_tasks(), 0);
    assert!(format!("{rt:?}").contains(rt.name().split(',').next().unwrap()));
}
