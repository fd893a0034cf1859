//! Intervals that stretch with load.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::TestRuntime;
use flow_sched::{Adaptive, EndReason, JobHandle, JobState, LoadSource, ScheduleError, Window};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs, slow};

flow_rt::on_every_runtime! {
    seeds 0..30;
    case_125_an_interval_grows_and_shrinks_with_load,
    a_delay_after_runs_stretches_too,
    a_stall_is_caught_up_by_the_interval_of_the_time,
    a_window_around_it_and_another_trigger,
    another_trigger_asks_for_no_load,
    an_answer_for_a_time_that_is_dropped_does_not_count,
    a_source_that_panics_or_says_nonsense,
    wrong_values_are_refused,
}

/// A load in hundredths, and how often it was asked for.
#[derive(Clone, Default)]
struct Busy(Arc<AtomicU32>, Arc<AtomicU32>);

impl LoadSource for Busy {
    fn load(&self) -> f64 {
        self.1.fetch_add(1, Relaxed);
        f64::from(self.0.load(Relaxed)) / 100.0
    }
}

async fn case_125_an_interval_grows_and_shrinks_with_load(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let busy = Busy::default();
    busy.0.store(99, Relaxed);
    let job = noting(&scheduler, "poll", &log)
        .every(ms(1_000))
        .adaptive(Adaptive::new(busy.clone(), ms(5_000)));
    let job = job.start().unwrap();
    // 1 s, then 1.5, 2.25, 3.375 and 5 at the most, from one due time to the next.
    rt.advance(ms(18_200)).await;
    assert_eq!(log.millis(), [1_000, 2_500, 4_750, 8_125, 13_125, 18_125]);
    assert_eq!(busy.1.load(Relaxed), 6, "asked once for each");
    // Looking ahead asks for nothing, and goes by the interval as it stands.
    let next = log.wall + ms(23_125);
    assert_eq!(job.upcoming(3), [next, next + secs(5), next + secs(10)]);
    assert_eq!(busy.1.load(Relaxed), 6);
    // About the threshold it stays, on both sides of it.
    busy.0.store(50, Relaxed);
    rt.advance(secs(5)).await;
    busy.0.store(25, Relaxed);
    rt.advance(secs(5)).await;
    assert_eq!(log.len(), 8);
    busy.0.store(24, Relaxed);
    rt.advance(secs(5)).await;
    let last = *log.millis().last().unwrap();
    assert_eq!(last, 33_125);
    // 5 / 1.5, and so on down to what the job was given.
    let steps: [Duration; 4] = [ms(3_333), ms(2_222), ms(1_481), ms(1_000)];
    rt.advance(steps.iter().sum::<Duration>() + ms(10)).await;
    let seen = log.millis()[9..].to_vec();
    let gaps: Vec<_> = [last].iter().chain(&seen).copied().collect();
    let gaps: Vec<_> = gaps.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, step) in gaps.iter().zip(steps) {
        assert!(gap.abs_diff(step.as_millis() as u64) <= 1, "{gaps:?}");
    }
    assert_eq!(gaps.len(), 4);
    rt.advance(secs(60)).await;
    assert_eq!(log.len(), 9 + 4 + 60);
    assert_eq!(job.stats().runs.missed, 0);
}

async fn a_delay_after_runs_stretches_too(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let adaptive = Adaptive::new(|| 1.0, secs(4)).factor(2.0);
    let job = slow(&scheduler, "slow", &log, ms(500))
        .fixed_delay(SEC)
        .adaptive(adaptive);
    job.start().unwrap();
    rt.advance(secs(15)).await;
    assert_eq!(log.millis(), [1_000, 3_500, 8_000, 12_500]);
}

async fn a_stall_is_caught_up_by_the_interval_of_the_time(rt: TestRuntime) {
    let (scheduler, driver) = flow_sched::Scheduler::builder()
        .runtime(&rt)
        .build_with_driver()
        .unwrap();
    let log = Log::new(&rt);
    let busy = Busy::default();
    let adaptive = Adaptive::new(busy.clone(), MIN).threshold(0.9);
    let job = noting(&scheduler, "poll", &log)
        .every(SEC)
        .adaptive(adaptive);
    let job = job.start().unwrap();
    busy.0.store(100, Relaxed);
    rt.advance(secs(10)).await;
    let task = rt.spawn(driver);
    rt.settle().await;
    // Due at 1 s; asked then, so each 1.5 s from there on: 2.5, 4, 5.5, 7, 8.5 and 10.
    let runs = job.stats().runs;
    assert_eq!((runs.started, runs.missed), (1, 6));
    rt.advance(ms(1_500)).await;
    assert_eq!(log.millis(), [10_000, 11_500]);
    scheduler.close();
    task.await.unwrap();
}

async fn a_window_around_it_and_another_trigger(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let first_half = Window::new("00:00-12:00").unwrap();
    let job = noting(&scheduler, "poll", &log)
        .every(HOUR)
        .window(first_half)
        .adaptive(Adaptive::new(|| 1.0, 4 * HOUR).factor(2.0));
    let job = job.start().unwrap();
    rt.advance(25 * HOUR).await;
    let hours: Vec<_> = log.millis().iter().map(|at| at / 3_600_000).collect();
    assert_eq!(hours, [1, 3, 7, 11, 24], "15:00 is put off to the opening");
    job.update(flow_sched::Every::new(HOUR)).unwrap();
    rt.advance(3 * HOUR).await;
    assert_eq!(log.len(), 8);
}

async fn another_trigger_asks_for_no_load(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let source = || panic!("nobody is to ask");
    let job = noting(&scheduler, "poll", &log)
        .every(HOUR)
        .adaptive(Adaptive::new(source, 4 * HOUR));
    let job = job.start().unwrap();
    job.update(flow_sched::Every::new(SEC)).unwrap();
    rt.advance(ms(3_500)).await;
    assert_eq!(log.millis(), [1_000, 2_000, 3_000]);
    assert_eq!(job.state(), JobState::Active);
}

async fn an_answer_for_a_time_that_is_dropped_does_not_count(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let slot: Arc<Mutex<Option<JobHandle>>> = Arc::default();
    let interrupts = slot.clone();
    let source = move || {
        let job = interrupts.lock().unwrap().take();
        if let Some(job) = job {
            // The time it is asked for is forgotten.
            assert!(job.pause() && job.resume());
        }
        1.0
    };
    let job = noting(&scheduler, "poll", &log)
        .every(SEC)
        .adaptive(Adaptive::new(source, MIN).factor(2.0));
    *slot.lock().unwrap() = Some(job.start().unwrap());
    rt.advance(ms(9_000)).await;
    // From the 2nd second on, as if nobody had asked before.
    assert_eq!(log.millis(), [2_000, 4_000, 8_000]);
}

async fn a_source_that_panics_or_says_nonsense(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let panics = noting(&scheduler, "panics", &log)
        .every(SEC)
        .adaptive(Adaptive::new(|| panic!("no load"), MIN));
    let panics = panics.start().unwrap();
    let odd = Log::new(&rt);
    let says = [f64::NAN, -1.0, f64::INFINITY, 0.4];
    let asked = AtomicU32::new(0);
    let source = move || says[asked.fetch_add(1, Relaxed) as usize % 4];
    noting(&scheduler, "odd", &odd)
        .every(SEC)
        .adaptive(Adaptive::new(source, MIN).factor(2.0))
        .start()
        .unwrap();
    rt.advance(secs(7)).await;
    assert_eq!(panics.state(), JobState::Ended(EndReason::TriggerFailed));
    assert_eq!(log.len(), 0);
    // No number is no load, and more than all of it is all of it.
    assert_eq!(odd.millis(), [1_000, 2_000, 3_000, 5_000, 7_000]);
}

async fn wrong_values_are_refused(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let job = || scheduler.job("x", async |_cx| ());
    let adaptive = || Adaptive::new(|| 0.0, MIN);
    let refused = |adaptive: Adaptive| job().every(SEC).adaptive(adaptive).start().unwrap_err();
    let (least, most) = (SEC, ms(999));
    let short = refused(Adaptive::new(|| 0.0, most));
    assert_eq!(short, ScheduleError::EmptyRange { least, most });
    for given in [0.0, 1.0, -0.5, f64::INFINITY] {
        let error = refused(adaptive().threshold(given));
        assert_eq!(error, ScheduleError::Threshold { given });
    }
    assert_eq!(
        refused(adaptive().threshold(f64::NAN)).to_string(),
        "a threshold of NaN, allowed is a load of more than 0 and less than 1"
    );
    for given in [1.0, 0.0, 1_000.5, f64::NEG_INFINITY] {
        let error = refused(adaptive().factor(given));
        assert_eq!(error, ScheduleError::Factor { given });
    }
    assert_eq!(
        refused(adaptive().factor(f64::NAN)).to_string(),
        "a factor of NaN for intervals, allowed are more than 1 to 1000"
    );
    let zero = job().every(Duration::ZERO).adaptive(adaptive()).start();
    assert_eq!(zero.unwrap_err(), ScheduleError::ZeroInterval);
    let error = job().cron("@daily").adaptive(adaptive()).start();
    let error = error.unwrap_err();
    assert_eq!(error, ScheduleError::AdaptiveWithoutInterval);
    assert_eq!(
        error.to_string(),
        "`adaptive` stretches an interval: that of `every` or `fixed_delay`"
    );
}
