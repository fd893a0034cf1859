//! Slow machines and clocks that lie.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use flow_rt::sim::{self, Sim, Stall, Step};

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

#[test]
fn the_wall_clock_steps_and_suspends_while_monotonic_time_does_not() {
    sim::check(0..1, |rt| async move {
        let (wall, now) = (rt.wall(), rt.now());
        rt.step_wall(HOUR, Step::Backward);
        assert_eq!(rt.wall(), wall - HOUR);
        rt.suspend(HOUR * 8);
        assert_eq!((rt.wall(), rt.now()), (wall + HOUR * 7, now));
        rt.sleep(HOUR).await;
        assert_eq!(rt.wall(), wall + HOUR * 8);
    });
}

#[test]
fn the_wall_clock_starts_where_it_is_told_before_the_epoch_too() {
    let starts = [
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH - HOUR,
        SystemTime::UNIX_EPOCH + HOUR * 1_000_000,
    ];
    for start in starts {
        let run = Sim::new(0).wall_clock(start).run(|rt| async move {
            let before = rt.wall();
            rt.sleep(HOUR).await;
            (before, rt.wall())
        });
        assert_eq!(run.unwrap().output, (start, start + HOUR));
    }
}

#[test]
fn a_slewed_wall_clock_runs_fast_slow_not_at_all_or_backward() {
    sim::check(0..1, |rt| async move {
        let mut wall = rt.wall();
        for (ppm, passes) in [
            (500, Some(HOUR + MILLI * 1_800)),
            (-500, Some(MILLI * (3_600_000 - 1_800))),
            (-1_000_000, Some(Duration::ZERO)),
            (0, Some(HOUR)),
            (-2_000_000, None),
        ] {
            rt.slew_wall(ppm);
            assert_eq!(rt.wall(), wall, "a slew is no step");
            rt.sleep(HOUR).await;
            wall = match passes {
                Some(passes) => wall + passes,
                None => wall - HOUR,
            };
            assert_eq!(rt.wall(), wall, "{ppm} ppm");
        }
        rt.slew_wall(i32::MAX);
        rt.step_wall(Duration::MAX, Step::Forward);
        assert!(rt.wall() > wall, "saturated");
        rt.step_wall(Duration::MAX, Step::Backward);
        rt.step_wall(Duration::MAX, Step::Backward);
        assert!(rt.wall() < wall, "saturated");
    });
}

#[test]
fn a_poll_takes_what_it_costs_and_time_stands_still_inside_it() {
    let report = Sim::new(0)
        .poll_cost(MILLI)
        .run(|rt| async move {
            let start = rt.now();
            for _ in 0..10 {
                let before = rt.now();
                assert_eq!(rt.now(), before);
                crate::yield_now().await;
            }
            rt.now() - start
        })
        .unwrap();
    assert_eq!(report.output, MILLI * 10);
    assert_eq!(report.elapsed, MILLI * 11);
}

#[test]
fn a_timer_that_comes_due_while_others_run_is_late_and_fires() {
    let late = Arc::new(AtomicU64::new(0));
    let seen = late.clone();
    Sim::new(0)
        .poll_cost(MILLI)
        .livelock_polls(10)
        .run(|rt| async move {
            let inner = rt.clone();
            rt.spawn_detached(async move {
                let due = inner.now() + MILLI * 20;
                let _ = inner.sleep_until(due).await;
                seen.store((inner.now() - due).as_nanos() as u64, Ordering::SeqCst);
            });
            // Busy without rest: the timer fires in between, and no livelock is seen.
            for _ in 0..100 {
                crate::yield_now().await;
            }
        })
        .unwrap();
    let late = Duration::from_nanos(late.load(Ordering::SeqCst));
    assert!(late < MILLI * 50, "{late:?}");
}

#[test]
fn a_blocking_closure_takes_its_time_while_tasks_go_on() {
    Sim::builder()
        .blocking_cost(SECOND)
        .check(0..20, |rt| async move {
            let start = rt.now();
            let jobs: Vec<_> = (0..3).map(|n| rt.spawn_blocking(move || n)).collect();
            rt.sleep(MILLI).await;
            assert!(!jobs[0].is_finished());
            for (n, job) in jobs.into_iter().enumerate() {
                assert_eq!(job.await.unwrap(), n);
            }
            assert_eq!(rt.now() - start, SECOND, "at once, on threads of their own");
        });
    sim::check(0..20, |rt| async move {
        let start = rt.now();
        assert_eq!(rt.spawn_blocking(|| 7).await.unwrap(), 7);
        assert_eq!(rt.now(), start, "for nothing, unless told otherwise");
    });
}

/// When a task that ticks every millisecond got its turn, in so many ticks.
async fn ticks(rt: Sim) -> Vec<Duration> {
    let start = rt.now();
    let inner = rt.clone();
    let ticker = rt.spawn_named("the ticker", async move {
        let mut at = Vec::new();
        for _ in 0..100 {
            inner.sleep(MILLI).await;
            at.push(inner.now() - start);
        }
        at
    });
    ticker.await.unwrap()
}

#[test]
fn stalls_hold_tasks_back_by_the_seed() {
    let stalled = |seed| {
        Sim::new(seed)
            .stall(Stall::new(10, MILLI * 5..=MILLI * 50))
            .run(ticks)
            .unwrap()
            .output
    };
    let smooth = Sim::new(1).run(ticks).unwrap().output;
    assert_eq!(smooth[99], MILLI * 100);
    assert_eq!(stalled(1), stalled(1), "the same seed");
    assert_ne!(stalled(1), stalled(2), "another one");
    let gaps: Vec<_> = stalled(1)
        .windows(2)
        .map(|two| two[1].saturating_sub(two[0]))
        .collect();
    let long = gaps.iter().filter(|gap| **gap >= MILLI * 6).count();
    assert!((2..40).contains(&long), "{long} of 100");
    assert!(gaps.iter().all(|gap| *gap <= MILLI * 51), "{gaps:?}");
}

#[test]
fn stalls_can_be_for_one_task_and_others_go_on() {
    let run = |name: &'static str| {
        Sim::new(3)
            .stall(Stall::new(1, SECOND..=SECOND).of(name))
            .run(ticks)
            .unwrap()
            .output
    };
    assert_eq!(run("somebody else")[99], MILLI * 100);
    // Every poll, the first one too.
    assert_eq!(run("the ticker")[99], (SECOND + MILLI) * 100 + SECOND);
}

#[test]
fn stalls_of_nothing_and_without_a_range_stall_nothing() {
    #[allow(clippy::reversed_empty_ranges)] // that is the case
    let rules = [Stall::new(0, MILLI..=MILLI), Stall::new(1, SECOND..=MILLI)];
    for rule in rules {
        let run = Sim::new(0).stall(rule).run(ticks).unwrap();
        assert_eq!(run.output[99], MILLI * 100);
    }
    let for_ever = Stall::new(2, Duration::ZERO..=Duration::MAX).of("nobody");
    assert!(Sim::new(0).stall(for_ever).run(ticks).is_ok());
}

#[test]
fn stalls_do_not_lose_wakes_and_end_with_the_run() {
    Sim::builder()
        .stall(Stall::new(3, MILLI..=SECOND))
        .leaks(sim::Policy::Fail)
        .check(0..100, |rt| async move {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let task = rt.spawn(async move { receiver.await.unwrap() });
            rt.spawn_detached(async move { sender.send(5).unwrap() });
            assert_eq!(task.await.unwrap(), 5);
            rt.spawn_detached(async {});
        });
}
