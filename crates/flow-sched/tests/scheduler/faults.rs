//! Bad input and triggers that misbehave.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flow_rt::{Backoff, BoxBlocking, BoxTask, BoxTimer, Handle, Instant, Runtime, TestRuntime};
use flow_sched::{
    CatchUp, Due, EndReason, JobHandle, JobState, Misfire, ScheduleError, Scheduler, Trigger,
    TriggerContext,
};

use crate::common::{HOUR, Log, SEC, ms, noting, scheduler};

flow_rt::on_every_runtime! {
    seeds 0..20;
    cases_109_to_111_bad_patterns_zones_and_builders_are_refused,
    triggers_of_ones_own_and_their_faults,
    a_delay_after_runs_that_is_answered_with_another_ends_the_job,
    the_driver_survives_what_it_is_the_last_to_drop,
    whoever_drops_a_job_last_is_spared_what_is_not_theirs,
}

async fn cases_109_to_111_bad_patterns_zones_and_builders_are_refused(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let cron = |pattern: &'static str| scheduler.job("x", async |_cx| ()).cron(pattern).start();
    for bad in [
        "invalid",
        "0 0 31 2 *",
        ", * * * *",
        "@every 1",
        "",
        "* * * *",
    ] {
        let refused = cron(bad).unwrap_err();
        assert!(
            matches!(refused, ScheduleError::Cron(_)),
            "{bad}: {refused}"
        );
    }
    let over = cron("0 0 0 1 1 * 1999").unwrap_err();
    assert_eq!(over, ScheduleError::NeverDue, "its years are over");
    let job = || scheduler.job("x", async |_cx| ());
    let zone = job()
        .cron("@daily")
        .time_zone("Europe/Berlim")
        .start()
        .unwrap_err();
    assert!(zone.to_string().contains("\"Europe/Berlin\""), "{zone}");
    let lost = job()
        .every(SEC)
        .time_zone("Europe/Berlin")
        .start()
        .unwrap_err();
    assert_eq!(lost, ScheduleError::ZoneWithoutCron);
    assert_eq!(job().start().unwrap_err(), ScheduleError::NoTrigger);
    let two = job().every(SEC).after(SEC).start().unwrap_err();
    assert_eq!(two, ScheduleError::TwoTriggers);
    let timeout = job()
        .every(SEC)
        .timeout(Duration::ZERO)
        .start()
        .unwrap_err();
    assert_eq!(timeout, ScheduleError::ZeroTimeout);
    let within = Misfire::FireOnce {
        within: Duration::ZERO,
    };
    let within = job().every(SEC).misfire(within).start().unwrap_err();
    assert_eq!(within, ScheduleError::ZeroWithin);
    for huge in [Duration::MAX, Duration::from_nanos(u64::MAX)] {
        assert_eq!(
            job().every(huge).start().unwrap_err(),
            ScheduleError::NeverDue
        );
        assert_eq!(
            job().after(huge).start().unwrap_err(),
            ScheduleError::NeverDue
        );
    }
    assert!(scheduler.list().is_empty());
    assert!(
        Scheduler::builder()
            .runtime(&rt)
            .time_zone("Nowhere")
            .build()
            .is_err()
    );
}

/// Never moves on.
struct Stuck(Due);

impl Trigger for Stuck {
    fn next(&self, _cx: &TriggerContext) -> Option<Due> {
        Some(self.0)
    }
}

/// Creeps through the past and never reaches now.
struct Creeping;

impl Trigger for Creeping {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let previous = cx.previous_instant().unwrap_or(Instant::ORIGIN);
        let past = Instant::from_nanos(cx.started().as_nanos() - 1_000);
        Some(Due::At(previous.min(past) + Duration::from_nanos(1)))
    }
}

/// Panics at the second question.
struct Panics;

impl Trigger for Panics {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        assert!(cx.previous().is_none(), "out of ideas");
        Some(Due::At(cx.now() + SEC))
    }
}

/// Answers with what nobody asked for.
struct Lies;

impl Trigger for Lies {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let previous = cx.previous_instant().unwrap_or(cx.started());
        Some(Due::At(previous + SEC))
    }

    fn catch_up(&self, cx: &TriggerContext) -> Option<CatchUp> {
        Some(CatchUp::new(cx.now() + HOUR, 7))
    }
}

async fn triggers_of_ones_own_and_their_faults(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let failed = JobState::Ended(EndReason::TriggerFailed);
    let past = Due::At(rt.now());
    let stuck = noting(&scheduler, "stuck", &log)
        .trigger(Stuck(past))
        .start()
        .unwrap();
    let wall = Stuck(Due::Wall(rt.wall()));
    let stuck_wall = noting(&scheduler, "stuck wall", &log)
        .trigger(wall)
        .start()
        .unwrap();
    rt.settle().await;
    assert_eq!((stuck.state(), stuck_wall.state()), (failed, failed));
    assert!(log.len() <= 2);
    let creeping = noting(&scheduler, "creeping", &log)
        .trigger(Creeping)
        .start()
        .unwrap();
    let panics = noting(&scheduler, "panics", &log)
        .trigger(Panics)
        .start()
        .unwrap();
    let lies = noting(&scheduler, "lies", &log)
        .trigger(Lies)
        .start()
        .unwrap();
    rt.advance(ms(3_500)).await;
    assert_eq!(panics.state(), failed);
    assert_eq!(panics.stats().runs.started, 0);
    assert_eq!(lies.stats().runs.completed, 3);
    assert_eq!(creeping.state(), failed);
    assert!(scheduler.stats().wakeups < 200, "no hot loop");
    let first = scheduler
        .job("first", async |_cx| ())
        .trigger(Faulty)
        .start()
        .unwrap_err();
    assert!(matches!(first, ScheduleError::TriggerPanicked { .. }));
}

/// A delay after runs that never becomes a time.
struct Evasive;

impl Trigger for Evasive {
    fn next(&self, _cx: &TriggerContext) -> Option<Due> {
        Some(Due::AfterRun(SEC))
    }

    fn after_run(&self, _due: Due, _cx: &TriggerContext) -> Option<Due> {
        Some(Due::AfterRun(SEC))
    }
}

async fn a_delay_after_runs_that_is_answered_with_another_ends_the_job(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let failed = JobState::Ended(EndReason::TriggerFailed);
    let start = |name| {
        let job = noting(&scheduler, name, &log).trigger(Evasive);
        job.start().unwrap()
    };
    let runs = start("runs");
    // Its first time passes while it is paused: the delay counts from its resumption.
    let paused = start("paused");
    assert!(paused.pause());
    rt.advance(ms(1_500)).await;
    assert_eq!((runs.state(), log.len()), (failed, 1));
    assert!(!paused.resume());
    assert_eq!((paused.state(), paused.stats().runs.started), (failed, 0));
    assert_eq!(scheduler.stats().jobs, 0);
}

struct Faulty;

impl Trigger for Faulty {
    fn next(&self, _cx: &TriggerContext) -> Option<Due> {
        panic!("at once")
    }
}

/// Panics when it goes.
struct Grumpy;

impl Trigger for Grumpy {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        Some(Due::At(cx.now() + HOUR))
    }
}

impl Drop for Grumpy {
    fn drop(&mut self) {
        panic!("on its way out");
    }
}

async fn the_driver_survives_what_it_is_the_last_to_drop(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    drop(
        noting(&scheduler, "grumpy", &log)
            .trigger(Grumpy)
            .start()
            .unwrap(),
    );
    rt.settle().await;
    assert!(scheduler.remove("grumpy"));
    noting(&scheduler, "poll", &log).every(SEC).start().unwrap();
    rt.advance(2 * SEC).await;
    assert_eq!(log.millis(), [1_000, 2_000]);
}

/// A value of a user's that panics when it goes; says how many have gone.
struct Captured(Arc<AtomicU32>);

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("on its way out");
    }
}

/// A trigger that holds one.
struct Holds(Captured);

impl Trigger for Holds {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        let _ = &self.0;
        Some(Due::At(cx.now() + HOUR))
    }
}

async fn whoever_drops_a_job_last_is_spared_what_is_not_theirs(rt: TestRuntime) {
    for closed in [true, false] {
        let scheduler = scheduler(&rt);
        let gone = Arc::new(AtomicU32::new(0));
        let captured = || Arc::new(Captured(gone.clone()));
        let [run, when, retry_if, give_up] = [(); 4].map(|()| captured());
        let job = scheduler.job("grumpy", move |_cx| {
            let run = run.clone();
            async move {
                let _ = &run;
                Err::<(), _>(std::io::Error::other("it fails"))
            }
        });
        let job = job.when(move |_cx| {
            let _ = &when;
            async { true }
        });
        let job = job.retry(Backoff::constant(SEC));
        let job = job.retry_if(move |_error| {
            let _ = &retry_if;
            false
        });
        let job = job.on_give_up(move |_report| {
            let _ = &give_up;
        });
        let job = job.trigger(Holds(Captured(gone.clone())));
        let job = job.start().unwrap();
        if closed {
            scheduler.shutdown(SEC).await;
            drop(scheduler);
            rt.settle().await;
            assert_eq!(gone.load(Ordering::Relaxed), 1, "what the closure held");
            // This one is the last to know the job; `drop` comes back all the same.
            drop(job);
        } else {
            drop((job, scheduler));
            rt.settle().await;
        }
        assert_eq!(gone.load(Ordering::Relaxed), 5, "closed: {closed}");
    }
}

/// A runtime that does what it was told to when its wall clock is read.
struct Hooked {
    inner: Handle,
    on_wall: Arc<OnWall>,
}

type OnWall = Mutex<Option<Box<dyn FnMut() + Send>>>;
type Start<'a> = &'a dyn Fn() -> Result<JobHandle, ScheduleError>;

impl Runtime for Hooked {
    fn spawn(&self, task: BoxTask) {
        self.inner.spawn_detached(task);
    }

    fn spawn_blocking(&self, _job: BoxBlocking) {
        unreachable!("nothing here blocks");
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        self.inner.timer(at)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall(&self) -> SystemTime {
        // Taken out meanwhile: it may panic.
        let hook = self.on_wall.lock().unwrap().take();
        if let Some(mut hook) = hook {
            hook();
            self.on_wall.lock().unwrap().get_or_insert(hook);
        }
        self.inner.wall()
    }
}

#[test]
fn a_clock_that_panics_or_looks_at_the_scheduler_is_read_before_anything_has_changed() {
    flow_rt::sim::check(0..3, |rt| async move {
        let on_wall = Arc::<OnWall>::default();
        let hooked = Hooked {
            inner: (*rt).clone(),
            on_wall: on_wall.clone(),
        };
        let scheduler = scheduler(&Handle::new(hooked));
        let daily = || scheduler.job("daily", async |_cx| ()).cron("@daily");
        let once = || {
            scheduler
                .job("once", async |_cx| ())
                .once_at(rt.wall() + HOUR)
        };
        let start_all = || {
            let mut started = scheduler
                .start_all([daily()])
                .map_err(|all| all.error().clone())?;
            Ok(started.remove(0))
        };
        let cases: [Start<'_>; 3] = [&|| daily().start(), &|| once().start(), &start_all];
        for start in cases {
            let before = scheduler.stats().scheduled;
            *on_wall.lock().unwrap() = Some(Box::new(|| panic!("the clock is broken")));
            assert!(catch_unwind(AssertUnwindSafe(start)).is_err());
            assert_eq!(scheduler.stats().scheduled, before);
            assert!(scheduler.list().is_empty());
            let looker = scheduler.clone();
            *on_wall.lock().unwrap() = Some(Box::new(move || {
                assert!(looker.list().is_empty());
            }));
            let job = start().unwrap();
            *on_wall.lock().unwrap() = None;
            rt.sleep(25 * HOUR).await;
            assert_eq!(job.stats().runs.completed, 1, "the driver has heard of it");
            job.remove().await;
        }
    });
}
