//! Intervals: on every runtime, and the policies for missed ticks.

use std::future::pending;
use std::time::Duration;

use flow_rt::sim::{self, Sim};
use flow_rt::{Instant, MissedTicks, TestRuntime, ZeroPeriod};
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt};

const MS: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

flow_rt::on_every_runtime! {
    ticks_are_due_at_multiples_of_the_period,
    a_period_of_zero_is_refused,
    a_period_of_ever_never_ticks,
    a_dropped_tick_is_not_taken,
    an_interval_is_a_stream,
}

async fn ticks_are_due_at_multiples_of_the_period(rt: TestRuntime) {
    let start = rt.now();
    let mut ticks = rt.interval_at(start + MS, 3 * MS).unwrap();
    for k in 0..5 {
        let due = ticks.tick().await.unwrap();
        assert_eq!(due, start + MS + 3 * MS * k);
        assert_eq!(rt.now(), due);
    }
    assert_eq!(ticks.period(), 3 * MS);
}

async fn a_period_of_zero_is_refused(rt: TestRuntime) {
    assert_eq!(rt.interval(Duration::ZERO).unwrap_err(), ZeroPeriod);
    assert_eq!(
        rt.interval_at(Instant::ORIGIN, Duration::ZERO).unwrap_err(),
        ZeroPeriod
    );
    assert!(ZeroPeriod.to_string().contains("longer than zero"));
}

async fn a_period_of_ever_never_ticks(rt: TestRuntime) {
    for policy in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
        let mut ticks = rt.interval(Duration::MAX).unwrap().on_missed(policy);
        let never = select(Box::pin(ticks.tick()), rt.sleep(YEAR)).await;
        assert!(matches!(never, Either::Right(_)));

        // A first tick and then never again.
        let mut ticks = rt
            .interval_at(rt.now(), Duration::MAX)
            .unwrap()
            .on_missed(policy);
        ticks.tick().await.unwrap();
        let never = select(Box::pin(ticks.tick()), rt.sleep(YEAR)).await;
        assert!(matches!(never, Either::Right(_)));
    }
}

async fn a_dropped_tick_is_not_taken(rt: TestRuntime) {
    let start = rt.now() + 2 * MS;
    let mut ticks = rt.interval_at(start, MS).unwrap();
    while ticks.tick().now_or_never().is_none() {
        rt.sleep(MS).await.unwrap();
        assert!(rt.timeout(Duration::ZERO, pending::<()>()).await.is_err());
    }
    assert_eq!(ticks.tick().await.unwrap(), start + MS);
}

async fn an_interval_is_a_stream(rt: TestRuntime) {
    let start = rt.now();
    let dues: Vec<_> = rt.interval_at(start, MS).unwrap().take(3).collect().await;
    assert_eq!(dues, [start, start + MS, start + 2 * MS]);
}

/// Ticks every 10 ms; the one due at 10 is taken at 45. Then when the next ones come.
fn after_a_stall(policy: MissedTicks) -> Vec<(u128, u128)> {
    let run = Sim::new(1).run(|rt| async move {
        let start = rt.now();
        let mut ticks = rt.interval(10 * MS).unwrap().on_missed(policy);
        rt.sleep(45 * MS).await;
        let mut seen = Vec::new();
        for _ in 0..6 {
            let due = ticks.tick().await.unwrap();
            seen.push(((due - start).as_millis(), (rt.now() - start).as_millis()));
        }
        seen
    });
    run.unwrap().output
}

#[test]
fn missed_ticks_burst_unless_told_otherwise() {
    assert_eq!(MissedTicks::default(), MissedTicks::Burst);
    let expected = [(10, 45), (20, 45), (30, 45), (40, 45), (50, 50), (60, 60)];
    assert_eq!(after_a_stall(MissedTicks::Burst), expected);
}

#[test]
fn missed_ticks_may_delay_the_rest() {
    let expected = [(10, 45), (55, 55), (65, 65), (75, 75), (85, 85), (95, 95)];
    assert_eq!(after_a_stall(MissedTicks::Delay), expected);
}

#[test]
fn a_late_tick_that_missed_none_moves_no_other() {
    for policy in [MissedTicks::Delay, MissedTicks::Skip] {
        sim::check(0..5, |rt| async move {
            let start = rt.now();
            let mut ticks = rt.interval(10 * MS).unwrap().on_missed(policy);
            rt.sleep(13 * MS).await;
            assert_eq!(ticks.tick().await.unwrap() - start, 10 * MS, "{policy:?}");
            assert_eq!(ticks.tick().await.unwrap() - start, 20 * MS, "{policy:?}");
        });
    }
}

#[test]
fn missed_ticks_may_be_skipped() {
    let expected = [(10, 45), (50, 50), (60, 60), (70, 70), (80, 80), (90, 90)];
    assert_eq!(after_a_stall(MissedTicks::Skip), expected);
}

#[test]
fn a_skip_that_lands_on_a_tick_takes_the_next_one() {
    sim::check(0..5, |rt| async move {
        let start = rt.now();
        let mut ticks = rt.interval(10 * MS).unwrap().on_missed(MissedTicks::Skip);
        rt.sleep(40 * MS).await;
        assert_eq!(ticks.tick().await.unwrap() - start, 10 * MS);
        assert_eq!(ticks.tick().await.unwrap() - start, 50 * MS);
    });
}

#[test]
fn a_year_of_ticks_does_not_drift() {
    sim::check(0..1, |rt| async move {
        let (start, period) = (rt.now(), Duration::from_nanos(3_600_000_000_001));
        let mut ticks = rt.interval(period).unwrap();
        for k in 1..=8_760 {
            assert_eq!(ticks.tick().await.unwrap(), start + period * k);
        }
        assert_eq!(rt.now(), start + period * 8_760);
    });
}
