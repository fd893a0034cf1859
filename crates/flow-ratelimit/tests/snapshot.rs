//! Buckets carried over a restart: exactly, and without a token that nobody supplied.
#![cfg(not(loom))]

use std::time::{Duration, SystemTime};

use flow_ratelimit::{ConfigError, Denied, Rate, Snapshot, TokenBucket};
use flow_rt::sim::Sim;
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// What the simulation's wall clock says is what the snapshots go by.
fn in_sim<T: 'static>(test: impl FnOnce(Sim) -> T + 'static) -> T {
    let report = Sim::new(0).run(|rt| async move { test(rt) });
    report.expect("no deadlock").output
}

fn restored(snapshot: &Snapshot, clock: &ManualClock) -> TokenBucket<ManualClock> {
    let bucket = TokenBucket::builder()
        .restore(snapshot)
        .clock(clock.clone());
    bucket.build().expect("a valid snapshot")
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Take(u64),
    Refund(u64),
    SetRate(u64, u64),
    SetBurst(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_000_000_000_u64).prop_map(Step::Advance),
        8 => (1..1_000_u64).prop_map(Step::Take),
        1 => (0..1_000_u64).prop_map(Step::Refund),
        1 => (0..1_000_000_u64, 1_000_000..10_000_000_000_u64).prop_map(|(n, per)| Step::SetRate(n, per)),
        1 => (1..1_000_u64).prop_map(Step::SetBurst),
        2 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    })]

    /// A bucket that is restarted at any time is the one that was not.
    #[test]
    fn a_restored_bucket_is_the_same(
        tokens in 0..1_000_000_u64,
        per in 1_000_000..10_000_000_000_u64,
        burst in 1..1_000_u64,
        debt in prop_oneof![Just(0), 1..100_u64],
        schedule in prop::collection::vec(steps(), 1..80),
    ) {
        in_sim(move |_| same(tokens, per, burst, debt, &schedule))?;
    }

    /// Whatever the numbers are, restoring them is refused, or harmless.
    #[test]
    fn no_snapshot_panics(
        tokens in any::<u64>(),
        per in 0..u64::MAX,
        burst in any::<u64>(),
        grains in any::<i64>(),
        (bits, fraction) in (0..40_u32, any::<u64>()),
        (shift, since) in (0..64_u32, any::<u64>()),
        debt in prop_oneof![Just(0), any::<u64>()],
    ) {
        in_sim(move |rt| {
            let mut snapshot = TokenBucket::new(Rate::ZERO, 1).expect("valid").snapshot();
            snapshot.rate = Rate::per(tokens >> shift, Duration::from_nanos(per))
                .unwrap_or(Rate::UNLIMITED);
            snapshot.burst = burst >> shift;
            (snapshot.grains, snapshot.bits, snapshot.fraction) = (grains >> shift, bits, fraction);
            snapshot.taken_at = rt.wall() - Duration::from_secs(since >> 34);
            // Of more than 30 fraction bits, or of a debt, there are none.
            let tokens = if bits > 30 { 0 } else { snapshot.grains.max(0) >> bits };
            prop_assert_eq!(snapshot.tokens(), tokens.cast_unsigned());
            let build = || TokenBucket::builder().restore(&snapshot).debt(debt >> shift);
            let Ok(bucket) = build().build() else { return Ok(()) };
            let limit = snapshot.burst;
            prop_assert!(bucket.available() <= limit);
            prop_assert!(bucket.rate().is_unlimited() || bucket.try_acquire_n(u64::MAX).is_err());
            prop_assert!(bucket.snapshot().grains <= 1 << 61);
            if let Ok(other) = build().rate("7/3s").burst(5).build() {
                prop_assert!(other.available() <= 5);
            }
            Ok(())
        })?;
    }
}

fn same(
    tokens: u64,
    per: u64,
    burst: u64,
    debt: u64,
    schedule: &[Step],
) -> Result<(), TestCaseError> {
    let rate = |n, per| Rate::per(n, Duration::from_nanos(per)).expect("not zero");
    let clock = ManualClock::starting_at(Instant::from_nanos(1_000_000_007));
    let build = || {
        let bucket = TokenBucket::builder().debt(debt).clock(clock.clone());
        bucket.rate(rate(tokens, per)).burst(burst)
    };
    let one = build().build().expect("valid");
    let mut other = build().build().expect("valid");
    for &step in schedule {
        match step {
            Step::Advance(nanos) => clock.advance(Duration::from_nanos(nanos)),
            Step::Take(n) => {
                let (granted, same) =
                    (one.try_acquire_n(n).is_ok(), other.try_acquire_n(n).is_ok());
                if granted != same {
                    // Two grains at the most are missing: from here on they differ.
                    let denied = if granted { &other } else { &one }.snapshot();
                    let need = (n.cast_signed() - debt.cast_signed()) << denied.bits;
                    prop_assert!(need - denied.grains <= 2);
                    return Ok(());
                }
            }
            Step::Refund(n) => {
                one.refund(n);
                other.refund(n);
            }
            Step::SetRate(n, per) => {
                one.set_rate(rate(n, per)).expect("in range");
                other.set_rate(rate(n, per)).expect("in range");
            }
            Step::SetBurst(burst) => {
                one.set_burst(burst).expect("in range");
                other.set_burst(burst).expect("in range");
            }
            Step::Restart => {
                let snapshot = other.snapshot();
                let bucket = TokenBucket::builder().restore(&snapshot).debt(debt);
                // On another clock, as after a restart: what counts is the time that passes.
                other = bucket
                    .clock(clock.clone())
                    .build()
                    .expect("its own snapshot");
                prop_assert_eq!(other.snapshot(), snapshot);
                prop_assert_eq!((other.rate(), other.burst()), (one.rate(), one.burst()));
            }
        }
        // Between its anchors a line is rounded up by a fraction of a grain.
        let (one, other) = (one.snapshot().grains, other.snapshot().grains);
        prop_assert!(one.abs_diff(other) <= 2, "{one} {other} after {step:?}");
    }
    Ok(())
}

#[test]
fn what_came_since_is_credited_up_to_the_burst() {
    in_sim(|rt| {
        let clock = ManualClock::new();
        let bucket = TokenBucket::builder()
            .rate("10/s")
            .burst(5)
            .clock(clock.clone());
        let bucket = bucket.build().expect("valid");
        bucket.try_acquire_n(5).expect("full");
        let mut snapshot = bucket.snapshot();
        assert_eq!(snapshot.taken_at, rt.wall());
        for (ms, tokens) in [
            (0, 0),
            (99, 0),
            (100, 1),
            (450, 4),
            (500, 5),
            (86_400_000, 5),
        ] {
            snapshot.taken_at = rt.wall() - ms * MS;
            assert_eq!(restored(&snapshot, &clock).available(), tokens, "{ms} ms");
        }
        // The fraction counts too.
        snapshot.taken_at = rt.wall() - 450 * MS;
        let bucket = restored(&snapshot, &clock);
        bucket.try_acquire_n(4).expect("there");
        let denied = bucket.try_acquire().map(drop);
        assert_eq!(denied.map_err(|it| it.retry_after()), Err(Some(50 * MS)));

        // A wall clock that was put back, and one that was put forward for ever.
        snapshot.taken_at = rt.wall() + Duration::from_secs(3_600);
        assert_eq!(restored(&snapshot, &clock).available(), 0);
        snapshot.taken_at = SystemTime::UNIX_EPOCH;
        assert_eq!(restored(&snapshot, &clock).available(), 5);
    });
}

#[test]
fn other_limits_take_what_there_was() {
    in_sim(|_| {
        let clock = ManualClock::new();
        let bucket = TokenBucket::builder()
            .rate("10/s")
            .burst(1_000_000)
            .initial(7);
        let snapshot = bucket
            .clock(clock.clone())
            .build()
            .expect("valid")
            .snapshot();
        let build = |rate: &str, burst| {
            let bucket = TokenBucket::builder().restore(&snapshot).rate(rate);
            bucket
                .burst(burst)
                .clock(clock.clone())
                .build()
                .expect("valid")
        };
        let tokens = [
            ("1/h", 10),
            ("1000000000/s", 10),
            ("1/s", 5),
            ("1/s", 1 << 58),
        ]
        .map(|(rate, burst)| build(rate, burst).available());
        assert_eq!(tokens, [7, 7, 5, 7]);
        assert_eq!(build("unlimited", 9).available(), 9);
        assert_eq!(build("0/s", 9).snapshot().tokens(), 7);
    });
}

#[test]
fn debts_are_carried_over() {
    in_sim(|rt| {
        let clock = ManualClock::new();
        let bucket = TokenBucket::builder().rate("10/s").burst(5).debt(10);
        let bucket = bucket.clock(clock.clone()).build().expect("valid");
        bucket.try_acquire_n(15).expect("on credit");
        let mut snapshot = bucket.snapshot();
        assert!(snapshot.grains < 0);
        assert_eq!(snapshot.tokens(), 0);
        let retry = |bucket: &TokenBucket<ManualClock>| match bucket.try_acquire() {
            Err(Denied::NotYet { retry_after, .. }) => retry_after,
            other => panic!("{other:?}"),
        };
        // It owes ten, and may owe none any more.
        assert_eq!(retry(&restored(&snapshot, &clock)), 1_100 * MS);
        snapshot.taken_at = rt.wall() - 300 * MS;
        assert_eq!(retry(&restored(&snapshot, &clock)), 800 * MS);
    });
}

#[test]
fn what_is_no_snapshot_is_refused() {
    let bucket = TokenBucket::new(Rate::per_second(10), 5).expect("valid");
    let snapshot = bucket.snapshot();
    let refused = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = snapshot;
        change(&mut snapshot);
        let refused = TokenBucket::builder().restore(&snapshot).build();
        match refused.map(drop) {
            Err(ConfigError::InvalidSnapshot { reason }) => reason,
            other => panic!("{other:?}"),
        }
    };
    let reasons = [
        refused(&|it| it.bits = 31),
        refused(&|it| it.rate = Rate::per_second(u64::MAX)),
        refused(&|it| it.burst = u64::MAX),
        refused(&|it| it.grains += 1),
        refused(&|it| it.grains = i64::MIN),
    ];
    for (reason, named) in reasons
        .iter()
        .zip(["bits", "rate", "burst", "tokens", "owed"])
    {
        assert!(reason.contains(named), "{reason}");
    }
    let twice = TokenBucket::builder().restore(&snapshot).initial(1).build();
    assert_eq!(twice.map(drop), Err(ConfigError::InitialAndSnapshot));
    // Outside of any runtime it goes by the machine's wall clock.
    let bucket = TokenBucket::builder().restore(&snapshot).build();
    assert_eq!(bucket.expect("valid").available(), 5);
}

#[test]
fn those_in_the_line_are_not_in_it() {
    in_sim(|_| {
        let clock = ManualClock::new();
        let bucket = TokenBucket::builder().rate("10/s").burst(5).initial(2);
        let bucket = bucket.clock(clock.clone()).build().expect("valid");
        let early = bucket.reserve_n(5).expect("in line");
        assert_eq!(bucket.snapshot().tokens(), 2);
        clock.advance(early.delay() + 100 * MS);
        // It has its tokens now, though nobody has looked.
        assert_eq!(bucket.snapshot().tokens(), 1);
        assert!(early.ready_at() <= clock.now());
    });
}

#[cfg(feature = "serde")]
#[test]
fn rates_and_snapshots_are_read_as_they_were_written() {
    for rate in [Rate::per_second(100), Rate::UNLIMITED, Rate::ZERO] {
        let text = serde_json::to_string(&rate).expect("a text");
        assert_eq!(text, format!("\"{rate}\""));
        assert_eq!(serde_json::from_str::<Rate>(&text).expect("its own"), rate);
    }
    let refused = serde_json::from_str::<Rate>("\"100\"").expect_err("no rate");
    assert!(refused.to_string().contains("no slash"), "{refused}");

    let bucket = TokenBucket::new("7/3s", 5).expect("valid");
    bucket.try_acquire_n(3).expect("full");
    let snapshot = bucket.snapshot();
    let text = serde_json::to_string(&snapshot).expect("plain data");
    assert_eq!(
        serde_json::from_str::<Snapshot>(&text).expect("its own"),
        snapshot
    );
}
