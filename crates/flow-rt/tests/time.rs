//! Instants and clocks at their extremes.
#![cfg(not(loom))]

use std::sync::Arc;
use std::time::Duration;

use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

const NANO: Duration = Duration::from_nanos(1);

#[test]
fn arithmetic_saturates_at_both_ends() {
    let last = Instant::from_nanos(u64::MAX - 1);
    assert!(!last.is_far_future());
    assert_eq!(last + NANO, Instant::FAR_FUTURE);
    assert_eq!(last + Duration::MAX, Instant::FAR_FUTURE);
    assert_eq!(Instant::FAR_FUTURE + NANO, Instant::FAR_FUTURE);
    assert_eq!(Instant::ORIGIN - NANO, Instant::ORIGIN);
    assert_eq!(Instant::FAR_FUTURE - Duration::MAX, Instant::ORIGIN);
    assert_eq!(Instant::ORIGIN - Instant::FAR_FUTURE, Duration::ZERO);
    assert_eq!(
        Instant::FAR_FUTURE - Instant::ORIGIN,
        Duration::from_nanos(u64::MAX)
    );
    let mut at = Instant::from_nanos(5);
    at += 2 * NANO;
    at -= 10 * NANO;
    assert_eq!(at, Instant::ORIGIN);
}

#[test]
fn instants_print_as_distances_and_never() {
    assert_eq!(format!("{:?}", Instant::from_nanos(1_500_000)), "+1.5ms");
    assert_eq!(format!("{:?}", Instant::FAR_FUTURE), "never");
}

#[test]
fn std_instants_go_both_ways() {
    let now = Instant::now_monotonic();
    assert_eq!(now.to_std().map(Instant::from_std), Some(now));
    assert!(Instant::ORIGIN.to_std() < now.to_std());
    // Before the process's origin: the origin.
    let day = Duration::from_secs(86_400);
    if let Some(before) = now.to_std().and_then(|now| now.checked_sub(day)) {
        assert_eq!(Instant::from_std(before), Instant::ORIGIN);
    }
}

proptest! {
    #[test]
    fn instants_agree_with_integers(at in any::<u64>(), by in any::<u64>()) {
        let (instant, duration) = (Instant::from_nanos(at), Duration::from_nanos(by));
        prop_assert_eq!((instant + duration).as_nanos(), at.saturating_add(by));
        prop_assert_eq!((instant - duration).as_nanos(), at.saturating_sub(by));
        prop_assert_eq!(instant.checked_add(duration).map(Instant::as_nanos), at.checked_add(by));
        let other = Instant::from_nanos(by);
        prop_assert_eq!((instant - other).as_nanos(), u128::from(at.saturating_sub(by)));
        prop_assert_eq!(instant < other, at < by);
    }

    #[test]
    fn durations_beyond_u64_saturate(seconds in u64::MAX / 1_000_000_000 + 1..=u64::MAX) {
        let by = Duration::from_secs(seconds);
        prop_assert_eq!(Instant::ORIGIN + by, Instant::FAR_FUTURE);
        prop_assert_eq!(Instant::ORIGIN.checked_add(by), None);
        prop_assert_eq!(Instant::FAR_FUTURE - by, Instant::ORIGIN);
    }
}

#[test]
fn a_manual_clock_stands_until_it_is_moved() {
    let clock = ManualClock::starting_at(Instant::from_nanos(10));
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    assert_eq!(shared.now(), Instant::from_nanos(10));
    clock.advance(5 * NANO);
    assert_eq!(Clock::now(&&shared), Instant::from_nanos(15));
    clock.set(Instant::from_nanos(3));
    assert_eq!(shared.now(), Instant::from_nanos(3));
    clock.advance(Duration::MAX);
    clock.advance(NANO);
    assert_eq!(shared.now(), Instant::FAR_FUTURE);
    assert_eq!(format!("{clock:?}"), "ManualClock(never)");
}
