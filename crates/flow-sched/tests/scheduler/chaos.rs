//! Clocks that are set, machines that sleep, drivers that stall: what becomes of every single time
//! that is due, against models of a few lines.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flow_rt::sim::{self, Sim, Stall, Step};
use flow_sched::{
    Due, EndReason, Every, JobContext, JobHandle, JobState, Misfire, Overlap, Scheduler, Trigger,
    TriggerContext,
};

use crate::common::{HOUR, MIN, SEC, ms, scheduler, secs};

/// What a misfire policy makes of times that are due.
struct Model {
    misfire: Misfire,
    /// From one time to the next, in seconds.
    period: u64,
    /// The number of the latest time that is accounted for.
    last: u64,
    started: u64,
    missed: u64,
}

impl Model {
    /// Times that came one by one, each noticed at once. A clock that was set back brings none
    /// again.
    fn on_time(&mut self, number: u64) {
        self.started += number.saturating_sub(self.last);
        self.last = self.last.max(number);
    }

    /// Times that were all noticed at once, `late` seconds after the latest of them.
    fn at_once(&mut self, number: u64, late: u64) {
        let passed = number.saturating_sub(self.last);
        self.last = self.last.max(number);
        let (limit, within) = match self.misfire {
            Misfire::FireOnce { within } => (1, within),
            Misfire::FireAll { limit, within } => (limit as u64, within),
            _ => (1, Misfire::PUNCTUAL),
        };
        let latest =
            (0..passed.min(limit)).filter(|back| secs(late + back * self.period) <= within);
        let started = latest.count() as u64;
        self.started += started;
        self.missed += passed - started;
    }
}

const POLICIES: [Misfire; 5] = [
    Misfire::FireOnce {
        within: Duration::MAX,
    },
    Misfire::FireOnce { within: MIN },
    Misfire::Skip,
    Misfire::FireAll {
        limit: 3,
        within: Duration::MAX,
    },
    Misfire::FireAll {
        limit: 4,
        within: Duration::from_secs(900),
    },
];

#[test]
fn misfire_and_catch_up_follow_their_formulas() {
    const OFTEN: u64 = 7;
    const RARE: u64 = 600;
    sim::check(0..10, |rt| async move {
        let mut rng = rt.rng();
        let scheduler = scheduler(&rt);
        // Two minutes after a time of day that is due, whenever something happens to the clock.
        rt.advance(2 * MIN).await;
        let start = rt.now();
        let jobs = |rare: bool| {
            let (kind, period) = if rare {
                ("rare", RARE)
            } else {
                ("often", OFTEN)
            };
            let made = POLICIES.iter().enumerate().map(|(n, &misfire)| {
                let job = scheduler.job(format!("{kind} {n}"), async |_cx| ());
                let job = if rare {
                    job.cron("*/10 * * * *")
                } else {
                    job.every(secs(OFTEN))
                };
                let last = if rare { number(rt.wall()) } else { 0 };
                let model = Model {
                    misfire,
                    period,
                    last,
                    started: 0,
                    missed: 0,
                };
                (job.misfire(misfire).start().unwrap(), model)
            });
            made.collect::<Vec<(JobHandle, Model)>>()
        };
        let (mut rare, mut often) = (jobs(true), jobs(false));
        let number_often = |rt: &Sim| (rt.now() - start).as_secs() / OFTEN;
        for _ in 0..25 {
            rt.advance(secs(RARE * rng.below(4))).await;
            for (_, model) in &mut rare {
                model.on_time(number(rt.wall()));
            }
            for (_, model) in &mut often {
                model.on_time(number_often(&rt));
            }
            let mut stalled = Duration::ZERO;
            match rng.below(4) {
                0 => rt.step_wall(HOUR, Step::Forward),
                1 => rt.step_wall(HOUR, Step::Backward),
                2 => rt.suspend(8 * HOUR),
                _ => {
                    stalled = secs(10);
                    scheduler.stop();
                    rt.advance(stalled).await;
                    let late = (rt.now() - start).as_secs() % OFTEN;
                    for (_, model) in &mut often {
                        model.at_once(number_often(&rt), late);
                    }
                    scheduler.start();
                }
            }
            for (_, model) in &mut rare {
                model.at_once(number(rt.wall()), 2 * MIN.as_secs());
            }
            // By now the driver has looked at the clock, and nothing of the rare ones came due.
            rt.advance(secs(61)).await;
            for (_, model) in &mut often {
                model.on_time(number_often(&rt));
            }
            for (job, model) in rare.iter().chain(&often) {
                let runs = job.stats().runs;
                assert_eq!(
                    (runs.started, runs.missed),
                    (model.started, model.missed),
                    "{job:?}"
                );
                assert_eq!((runs.completed, runs.skipped), (runs.started, 0), "{job:?}");
            }
            let rest = RARE - 61 - stalled.as_secs();
            rt.advance(secs(rest)).await;
        }
    });
}

/// The number of the ten minutes that a time is in.
fn number(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap().as_secs() / 600
}

/// A rate with a last time.
struct Until {
    rate: Every,
    last: Due,
}

impl Trigger for Until {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let next = self.rate.next(cx)?;
        let over = match (next, self.last) {
            (Due::At(next), Due::At(last)) => next > last,
            (Due::Wall(next), Due::Wall(last)) => next > last,
            _ => true,
        };
        (!over).then_some(next)
    }
}

#[test]
fn every_time_that_is_due_is_run_skipped_or_missed_under_clock_chaos() {
    let stall = Stall::new(20, ms(1)..=secs(10)).of("flow scheduler");
    Sim::builder().stall(stall).check(0..20, |rt| async move {
        let mut rng = rt.rng();
        let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
        let policies = [
            (Overlap::Skip, 1),
            (Overlap::BufferOne, 1),
            (Overlap::BufferAll(3), 1),
            (Overlap::CancelPrevious, 1),
            (Overlap::TerminatePrevious, 1),
            (Overlap::Allow(2), 2),
        ];
        let (start, wall) = (rt.now(), rt.wall());
        let mut jobs = Vec::new();
        for (overlap, at_once) in policies {
            for on_wall in [false, true] {
                let (period, last) = if on_wall {
                    (MIN, Due::Wall(wall + 200 * MIN))
                } else {
                    (SEC, Due::At(start + secs(200)))
                };
                let rate = Every::new(period);
                let rate = if on_wall { rate.aligned() } else { rate };
                let misfire = match rng.below(3) {
                    0 => Misfire::Skip,
                    1 => Misfire::FireAll {
                        limit: 1 + rng.below(5) as usize,
                        within: secs(1 + rng.below(300)),
                    },
                    _ => Misfire::default(),
                };
                let seen = Arc::new(Mutex::new(None));
                let inside = Arc::new(AtomicUsize::new(0));
                let most = u64::try_from(period.as_millis() * 3).unwrap();
                let draws = Mutex::new(rt.rng());
                let with = (rt.clone(), inside, seen.clone());
                let job = scheduler.job_with(
                    format!("{overlap:?} {on_wall}"),
                    with,
                    move |cx: JobContext, (rt, inside, seen): (Sim, Arc<AtomicUsize>, Arc<Mutex<_>>)| {
                        let takes = ms(draws.lock().unwrap().below(most));
                        async move {
                            let _inside = Inside::enter(&inside, at_once);
                            *seen.lock().unwrap() = Some((cx.scheduled_at(), cx.due()));
                            let sleep = rt.sleep(takes);
                            cx.cancellation().run_until_cancelled(sleep).await;
                        }
                    },
                );
                let job = job.trigger(Until { rate, last }).overlap(overlap);
                let job = job.misfire(misfire).start().unwrap();
                jobs.push((job, overlap, misfire, last, seen));
            }
        }
        // What happens to the clocks, until all times have passed on both of them.
        while rt.now() < start + secs(300) || rt.wall() < wall + 210 * MIN {
            rt.sleep(ms(rng.below(20_000))).await;
            match rng.below(40) {
                0 => rt.step_wall(HOUR, Step::Forward),
                1..3 => rt.step_wall(HOUR, Step::Backward),
                3 => rt.suspend(8 * HOUR),
                _ => {}
            }
        }
        // Looked at, run, and what was buffered too.
        rt.sleep(HOUR).await;
        let mut sum = 0;
        for (job, overlap, misfire, last, seen) in &jobs {
            let runs = job.stats().runs;
            assert_eq!(job.state(), JobState::Ended(EndReason::Finished), "{job:?}");
            assert_eq!(runs.started + runs.skipped + runs.missed, 200, "{job:?}");
            assert_eq!(runs.started, runs.completed + runs.terminated, "{job:?}");
            sum += runs.started + runs.skipped + runs.missed;
            let keeps_last = matches!(
                overlap,
                Overlap::BufferOne | Overlap::CancelPrevious | Overlap::TerminatePrevious
            );
            if keeps_last && *misfire == Misfire::default() {
                let (at, due) = seen.lock().unwrap().expect("it ran");
                match *last {
                    Due::Wall(last) => assert_eq!(at, last, "{job:?}"),
                    Due::At(last) => assert_eq!(due, last, "{job:?}"),
                    _ => unreachable!("jobs end at a time"),
                }
            }
        }
        let all = scheduler.stats().runs;
        assert_eq!(all.started + all.skipped + all.missed, sum);
    });
}

/// Counts who is inside, and lets no more in than may be.
struct Inside(Arc<AtomicUsize>);

impl Inside {
    fn enter(inside: &Arc<AtomicUsize>, most: usize) -> Self {
        assert!(inside.fetch_add(1, Relaxed) < most, "too many at once");
        Self(inside.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
