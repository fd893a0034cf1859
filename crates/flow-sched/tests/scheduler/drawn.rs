//! What triggers and jitter draw: how it is spread, and that it comes as it was told.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use flow_rt::{TestRuntime, sim};
use flow_sched::{Jitter, Misfire, RandomInterval};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs};

flow_rt::on_every_runtime! {
    seeds 0..5;
    random_intervals_that_were_missed_are_those_that_were_told,
    more_random_intervals_than_are_walked_through_go_on_from_now,
}

/// How far shares of equal parts are from equal: Pearson's statistic.
fn chi_square(counts: &[u64]) -> f64 {
    let all: u64 = counts.iter().sum();
    let expected = all as f64 / counts.len() as f64;
    let parts = counts.iter().map(|&count| count as f64 - expected);
    parts.map(|off| off * off / expected).sum()
}

/// The part of several equal ones that a value from 0 to 1 is in.
fn part(value: f64, parts: usize) -> usize {
    (1..parts)
        .filter(|&n| value * parts as f64 >= n as f64)
        .count()
}

/// That values from 0 to 1 are spread evenly.
fn is_even(values: &[f64], what: &str) {
    let mut tenths = [0; 10];
    for &value in values {
        tenths[part(value, 10)] += 1;
    }
    // One in ten thousand draws that are even has more, for 9 degrees of freedom.
    let off = chi_square(&tenths);
    assert!(off < 33.7, "{what}: {off} of {tenths:?}");
    // Kolmogorov and Smirnov's distance: finer than tenths, and at the ends of the range.
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let many = sorted.len() as f64;
    let distances = (0_u32..).zip(&sorted).map(|(n, &value)| {
        let (below, above) = (f64::from(n) / many, (f64::from(n) + 1.0) / many);
        (value - below).abs().max((above - value).abs())
    });
    let distance = distances.fold(0.0, f64::max) * many.sqrt();
    assert!(distance < 2.23, "{what}: {distance}");
}

/// That they are, and each says nothing of the next one.
fn is_even_one_by_one(values: &[f64], what: &str) {
    is_even(values, what);
    let mut pairs = [0; 16];
    for pair in values.chunks_exact(2) {
        pairs[part(pair[0], 4) * 4 + part(pair[1], 4)] += 1;
    }
    // As likely, for 15 degrees.
    let off = chi_square(&pairs);
    assert!(off < 44.3, "{what}: {off} of {pairs:?}");
}

fn share(value: Duration, least: Duration, most: Duration) -> f64 {
    assert!((least..=most).contains(&value), "{value:?}");
    value.abs_diff(least).as_secs_f64() / most.abs_diff(least).as_secs_f64()
}

#[test]
fn jitter_is_even_over_its_range_and_over_jobs() {
    sim::check(0..5, |rt| async move {
        let rt = TestRuntime::from(rt);
        let scheduler = scheduler(&rt);
        let most = secs(100);
        let jitters = [
            ("full", Jitter::full(most), 0),
            ("equal", Jitter::equal(most), 50),
            ("least", Jitter::full(most).at_least(secs(90)), 90),
        ];
        let logs = jitters.map(|(name, jitter, least)| {
            let log = Log::new(&rt);
            let job = noting(&scheduler, name, &log).every(HOUR).jitter(jitter);
            job.start().unwrap();
            (name, log, secs(least))
        });
        // One delay for each job, with a name and without.
        let (named, unnamed) = (Log::new(&rt), Log::new(&rt));
        for n in 0..1_000 {
            let log = named.clone();
            let job = scheduler.job(format!("{n}"), move |_cx| {
                log.note();
                async {}
            });
            job.every(HOUR)
                .jitter(Jitter::stable(most))
                .max_runs(1)
                .start()
                .unwrap();
            let log = unnamed.clone();
            let job = scheduler.unnamed(move |_cx| {
                log.note();
                async {}
            });
            job.every(HOUR)
                .jitter(Jitter::stable(most))
                .max_runs(1)
                .start()
                .unwrap();
        }
        rt.advance(HOUR * 2_000 + most).await;
        for (name, log, least) in logs {
            let seen = log.seen.lock().unwrap().clone();
            assert_eq!(seen.len(), 2_000, "{name}");
            let late = (1..)
                .zip(seen)
                .map(|(n, at)| share(at.abs_diff(HOUR * n), least, most));
            is_even_one_by_one(&late.collect::<Vec<_>>(), name);
        }
        for (name, log) in [("named", named), ("unnamed", unnamed)] {
            let seen = log.seen.lock().unwrap().clone();
            assert_eq!(seen.len(), 1_000, "{name}");
            let late = seen
                .into_iter()
                .map(|at| share(at.abs_diff(HOUR), Duration::ZERO, most));
            is_even(&late.collect::<Vec<_>>(), name);
        }
    });
}

#[test]
fn random_intervals_are_even_over_their_range() {
    sim::check(0..5, |rt| async move {
        let rt = TestRuntime::from(rt);
        let (least, most) = (SEC, secs(3));
        let scheduler = scheduler(&rt);
        let log = Log::new(&rt);
        let job = noting(&scheduler, "random", &log).trigger(RandomInterval::new(least..=most));
        job.max_runs(2_001).start().unwrap();
        rt.advance(secs(3 * 2_001)).await;
        let seen = log.seen.lock().unwrap().clone();
        let gaps = seen
            .windows(2)
            .map(|pair| share(pair[1].abs_diff(pair[0]), least, most));
        let gaps: Vec<_> = gaps.collect();
        assert_eq!(gaps.len(), 2_000);
        is_even_one_by_one(&gaps, "gaps");
    });
}

async fn random_intervals_that_were_missed_are_those_that_were_told(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let seen: std::sync::Arc<std::sync::Mutex<Vec<SystemTime>>> = std::sync::Arc::default();
    let job = scheduler.job_with("random", seen.clone(), async |cx, seen| {
        let (cx, seen): (
            flow_sched::JobContext,
            std::sync::Arc<std::sync::Mutex<Vec<_>>>,
        ) = (cx, seen);
        seen.lock().unwrap().push(cx.scheduled_at());
    });
    let job = job.trigger(RandomInterval::new(ms(10)..=ms(30)));
    let misfire = Misfire::FireAll {
        limit: 5,
        within: HOUR,
    };
    let job = job.misfire(misfire).start().unwrap();
    let told: Vec<_> = job.upcoming(6_000);
    assert!(scheduler.stop());
    // Some three thousand of them, more than a walk takes.
    rt.advance(MIN).await;
    assert!(scheduler.start());
    rt.settle().await;
    let passed = told.partition_point(|&at| at <= log.wall + MIN);
    assert!((2_000..6_000).contains(&passed), "{passed}");
    assert_eq!(*seen.lock().unwrap(), told[passed - 5..passed]);
    assert_eq!(job.stats().runs.missed, passed as u64 - 5);
    assert_eq!(
        job.upcoming(20),
        told[passed..passed + 20],
        "the next ones too"
    );
}

async fn more_random_intervals_than_are_walked_through_go_on_from_now(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let often = RandomInterval::new(Duration::from_micros(50)..=Duration::from_micros(150));
    let job = noting(&scheduler, "random", &log)
        .trigger(often)
        .start()
        .unwrap();
    assert!(scheduler.stop());
    rt.advance(MIN).await;
    job.pause();
    assert!(
        job.resume(),
        "what passed in a pause is not asked for one by one"
    );
    rt.advance(MIN).await;
    assert!(scheduler.start());
    rt.settle().await;
    job.pause();
    let runs = job.stats().runs;
    assert!(runs.started >= 1, "{runs:?}");
    assert!((65_536..70_000).contains(&runs.missed), "{runs:?}");
    assert!(job.resume());
    let next: BTreeSet<_> = job.upcoming(3).into_iter().collect();
    let (now, soon) = (rt.wall(), Duration::from_micros(450));
    assert!(
        next.iter().all(|&at| now < at && at <= now + soon),
        "{next:?} after {now:?}"
    );
    assert_eq!(next.len(), 3);
}
