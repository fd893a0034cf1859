//! The token bucket without waiting, on a clock moved by hand: what there is to say about behaviour
//! cases 1 to 33 beyond their scripts in `bucket_cases`, by number.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{ConfigError, Denied, Rate, TokenBucket};
use flow_rt::{Instant, ManualClock};

fn bucket(rate: Rate, burst: u64) -> (TokenBucket<ManualClock>, ManualClock) {
    started(rate, burst, burst)
}

fn started(rate: Rate, burst: u64, initial: u64) -> (TokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::starting_at(Instant::from_nanos(1_000_000_007));
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(burst)
        .initial(initial)
        .clock(clock.clone())
        .build()
        .expect("a valid bucket");
    (bucket, clock)
}

fn retry_after(denied: Result<impl Sized, Denied>) -> Duration {
    match denied.map(drop) {
        Err(denied) => denied.retry_after().expect("a time to come back"),
        Ok(()) => panic!("it was granted"),
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn tb_04_05_06_07_26_wrong_values_are_refused_by_build() {
    // Negative numbers and NaN are no texts of rates; the types refuse them elsewhere.
    for text in [
        "-1/s",
        "NaN/s",
        "+1/s",
        "1.5/s",
        "1e3/s",
        "/s",
        "1/",
        "1/0s",
        "1/-2s",
        "1/fortnight",
        "",
        "100",
        "99999999999999999999/s",
        "1/99999999999999999999999999999999999999999s",
        "1/999999999999999999999999999999s",
    ] {
        let refused = TokenBucket::new(text, 5).map(drop);
        assert!(
            matches!(&refused, Err(ConfigError::InvalidRate { text: given, .. }) if **given == *text),
            "{text}: {refused:?}"
        );
    }
    let (bucket, _) = bucket(Rate::per_second(1), 5);
    assert!(bucket.set_rate("-1/s").is_err() && bucket.set_rate("NaN/s").is_err());
    assert_eq!(bucket.rate(), Rate::per_second(1));

    let refused = |builder: flow_ratelimit::TokenBucketBuilder| builder.build().map(drop);
    let builder = || TokenBucket::builder().rate("1/s").burst(5);
    assert_eq!(refused(builder()), Ok(()));
    assert_eq!(refused(builder().burst(0)), Err(ConfigError::ZeroBurst));
    assert_eq!(
        refused(builder().max_waiters(0)),
        Err(ConfigError::ZeroWaiters)
    );
    assert_eq!(
        refused(builder().initial(6)),
        Err(ConfigError::InitialAboveBurst { given: 6, burst: 5 })
    );
    assert_eq!(
        refused(TokenBucket::builder().burst(5)),
        Err(ConfigError::MissingRate)
    );
    assert_eq!(
        refused(TokenBucket::builder().rate("1/s")),
        Err(ConfigError::MissingBurst)
    );
}

#[test]
fn tb_08_every() {
    let every = |ms| Rate::every(Duration::from_millis(ms)).expect("not zero");
    assert_eq!(every(100), Rate::per_second(10));
    assert_eq!(every(1_000), Rate::per_second(1));
    assert_eq!(every(2_000), Rate::per_minute(30));
}

#[test]
fn tb_09_every_zero_is_refused_and_names_unlimited() {
    let refused = Rate::every(Duration::ZERO).expect_err("no rate");
    assert_eq!(refused, ConfigError::ZeroPeriod);
    assert!(refused.to_string().contains("Rate::UNLIMITED"));
    assert_eq!(Rate::per(7, Duration::ZERO), Err(ConfigError::ZeroPeriod));
}

#[test]
fn tb_13_nothing_is_always_there() {
    let (bucket, _) = bucket(Rate::ZERO, 1);
    bucket.try_acquire().expect("one");
    assert!(bucket.try_acquire_n(0).is_ok());
    bucket.close();
    assert_eq!(bucket.try_acquire_n(0), Err(Denied::Closed));
}

#[test]
fn tb_14_33_more_than_the_burst_is_refused_and_takes_nothing() {
    let (bucket, _) = bucket(Rate::per_second(1_000), 5);
    for n in [6, 101, u64::MAX] {
        let denied = bucket.try_acquire_n(n).expect_err("too many");
        assert!(
            matches!(denied, Denied::ExceedsBurst { requested, burst: 5, .. } if requested == n)
        );
        assert_eq!(denied.retry_after(), None);
    }
    assert_eq!(bucket.available(), 5);
}

#[test]
fn tb_15_16_retry_after_is_exact() {
    let (bucket, _) = bucket(Rate::per_second(10), 1);
    bucket.try_acquire().expect("one");
    assert_eq!(retry_after(bucket.try_acquire()), 100 * MS);

    let (bucket, _) = started(Rate::per_second(10), 2, 1);
    bucket.try_acquire().expect("one to start with");
    assert_eq!(retry_after(bucket.peek()), 100 * MS);
}

#[test]
fn tb_17_18_19_a_refund_gives_back_what_fits() {
    let (bucket, clock) = started(Rate::per_second(10), 2, 1);
    assert_eq!(retry_after(bucket.peek_n(2)), 100 * MS);
    bucket.try_acquire().expect("one");
    bucket.refund(1);
    assert_eq!(bucket.available(), 1);
    // However often it comes back: never more than a full bucket.
    for n in [1, 3, u64::MAX] {
        bucket.refund(n);
        assert_eq!(bucket.available(), 2);
    }
    bucket.try_acquire_n(2).expect("full");
    assert!(bucket.try_acquire().is_err());
    clock.advance(100 * MS);
    assert_eq!(bucket.available(), 1);
}

#[test]
fn tb_22_28_rate_zero_never_refills() {
    let (bucket, clock) = bucket(Rate::ZERO, 5);
    for _ in 0..5 {
        bucket.try_acquire().expect("in the burst");
    }
    assert_eq!(bucket.try_acquire(), Err(Denied::NeverRefills));
    clock.advance(3_600_000 * MS);
    assert_eq!(bucket.try_acquire(), Err(Denied::NeverRefills));
    bucket.refund(2);
    assert_eq!(bucket.available(), 2);
}

#[test]
fn tb_23_24_25_rate_and_burst_change_alone() {
    let (bucket, clock) = bucket(Rate::per_second(10), 5);
    bucket.set_rate(Rate::per_second(20)).expect("valid");
    assert_eq!((bucket.rate(), bucket.burst()), (Rate::per_second(20), 5));
    bucket.set_burst(2).expect("valid");
    assert_eq!((bucket.rate(), bucket.burst()), (Rate::per_second(20), 2));
    assert_eq!(bucket.available(), 2);
    assert_eq!(bucket.set_burst(0), Err(ConfigError::ZeroBurst));
    assert_eq!(bucket.burst(), 2);

    // A larger burst finds nothing that ran over before.
    clock.advance(3_600_000 * MS);
    bucket.set_burst(1_000).expect("valid");
    assert_eq!(bucket.available(), 2);
    clock.advance(100 * MS);
    assert_eq!(bucket.available(), 4);
}

#[test]
fn tb_27_unlimited_grants_everything() {
    let (bucket, _) = bucket(Rate::UNLIMITED, 5);
    for n in (0..1_000).chain([u64::MAX]) {
        assert_eq!(bucket.try_acquire_n(n).expect("no limit").remaining(), 5);
    }
    assert_eq!(bucket.available(), 5);
    bucket.set_rate(Rate::per_second(10)).expect("valid");
    assert_eq!(bucket.available(), 5);
    bucket.try_acquire_n(5).expect("full");
    assert_eq!(retry_after(bucket.try_acquire()), 100 * MS);
    bucket.set_rate(Rate::UNLIMITED).expect("valid");
    assert!(bucket.try_acquire_n(99).is_ok());
}

#[test]
fn tb_29_a_tiny_rate_saturates() {
    let ten_thousand_million_seconds = Duration::from_secs(10_000_000_000);
    let rate = Rate::every(ten_thousand_million_seconds).expect("not zero");
    let (bucket, _) = started(rate, 1_000, 0);
    let hundred = retry_after(bucket.try_acquire_n(100));
    assert_eq!(hundred, Duration::MAX);
    // One takes 317 years, which the clock can still tell: never early, and late by less than a
    // nanosecond per second.
    let one = retry_after(bucket.try_acquire_n(1));
    let late = one.checked_sub(ten_thousand_million_seconds);
    assert!(
        late.is_some_and(|it| it < Duration::from_secs(10)),
        "{one:?}"
    );

    let never = Rate::every(Duration::MAX).expect("not zero");
    let (bucket, clock) = started(never, u64::from(u32::MAX), 0);
    assert_eq!(retry_after(bucket.try_acquire()), Duration::MAX);
    clock.set(Instant::FAR_FUTURE);
    assert_eq!(retry_after(bucket.try_acquire()), Duration::MAX);
}

#[test]
fn tb_30_a_clock_that_goes_back_mints_and_loses_nothing() {
    let (bucket, clock) = bucket(Rate::per_second(10), 5);
    clock.advance(1_000 * MS);
    bucket.try_acquire_n(3).expect("full");
    let before = flow_rt::Clock::now(&clock);
    for back in [Instant::ORIGIN, Instant::from_nanos(1_000_000_008)] {
        clock.set(back);
        assert!(bucket.available() <= 2);
        clock.set(before);
        assert_eq!(bucket.available(), 2);
    }
    // Not by a change of the rate either.
    clock.set(Instant::ORIGIN);
    bucket.set_rate(Rate::per_second(20)).expect("valid");
    clock.set(before);
    assert!(bucket.available() <= 5);
}

#[test]
fn tb_31_threads_take_no_more_than_there_is() {
    let (bucket, clock) = bucket(Rate::per_second(1_000), 50);
    let granted: usize = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| (0..100).filter(|_| bucket.try_acquire().is_ok()).count()))
            .collect();
        for _ in 0..100 {
            clock.advance(MS);
        }
        takers
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .sum()
    });
    assert!((50..=150).contains(&granted), "{granted}");
    let stats = bucket.stats();
    assert_eq!(
        (stats.granted as usize, stats.granted + stats.denied),
        (granted, 1_000)
    );
}

#[test]
fn the_peer_that_wraps() {
    // governor admits twice this at its per_hour(1): t × (burst - 1) wraps there.
    for burst in [5_124_095, 5_124_096, 100_000_000, u64::from(u32::MAX)] {
        let (bucket, _) = bucket(Rate::per_hour(1), burst);
        let mut admitted = 0;
        for part in [burst / 2, burst - burst / 2, 1, burst] {
            admitted += if bucket.try_acquire_n(part).is_ok() {
                part
            } else {
                0
            };
        }
        assert_eq!(admitted, burst);
    }
}

#[test]
fn rates_that_do_not_divide_a_nanosecond() {
    for rate in [7_000_000, 23_000_000, 300_000_000, 700_000_000, 999_999_937] {
        let (bucket, clock) = bucket(Rate::per_second(rate), 1_000_000_000);
        bucket.try_acquire_n(1_000_000_000).expect("full");
        clock.advance(Duration::from_secs(1));
        // Within a grain: never a token more, and a whole second's worth is there.
        assert!((rate - 1..=rate).contains(&bucket.available()), "{rate}");
    }
}

#[test]
fn what_does_not_fit_the_word_is_refused_with_the_bound() {
    let Err(ConfigError::RateTooHigh {
        given,
        max_per_second,
    }) = TokenBucket::new(Rate::per_second(u64::MAX), 1).map(drop)
    else {
        panic!("too high");
    };
    assert_eq!(given, Rate::per_second(u64::MAX));
    assert!(TokenBucket::new(Rate::per_second(max_per_second), 1).is_ok());
    assert!(TokenBucket::new(Rate::per_second(max_per_second + 1), 1).is_err());

    let Err(ConfigError::BurstTooLarge {
        given: u64::MAX,
        max,
    }) = TokenBucket::new(Rate::per_second(1), u64::MAX).map(drop)
    else {
        panic!("too large");
    };
    let (bucket, clock) = bucket(Rate::per_second(max_per_second), max);
    bucket.try_acquire_n(max).expect("full");
    clock.advance(Duration::from_secs(1));
    assert!((max_per_second - 1..=max_per_second).contains(&bucket.available()));

    let (bucket, _) = self::bucket(Rate::per_second(1), 1);
    assert!(matches!(
        bucket.set_rate(Rate::per(u64::MAX, Duration::from_nanos(1))),
        Err(ConfigError::RateTooHigh { .. })
    ));
    assert!(matches!(
        bucket.set_burst(u64::MAX),
        Err(ConfigError::BurstTooLarge { .. })
    ));
    assert!(bucket.set_rate(Rate::per_second(1_000_000_000)).is_ok());
}

#[test]
fn idle_for_centuries_and_then_exact() {
    for rate in [1, 1_000_000_000, 1 << 60] {
        let (bucket, clock) = bucket(Rate::per_second(rate), 7);
        for at in [
            1 << 30,
            1 << 40,
            1 << 50,
            1 << 60,
            1 << 62,
            1 << 63,
            u64::MAX - 1,
        ] {
            clock.set(Instant::from_nanos(at));
            assert_eq!(bucket.available(), 7);
            bucket.try_acquire_n(7).expect("full");
            assert_eq!(bucket.available(), 0, "{rate} {at}");
            bucket.refund(2);
            assert_eq!(bucket.available(), 2);
        }
    }
}

#[test]
fn a_grant_tells_what_is_left() {
    let (bucket, clock) = bucket(Rate::per_second(10), 5);
    let granted = bucket.try_acquire_n(3).expect("full");
    assert_eq!((granted.remaining(), granted.limit()), (2, 5));
    assert_eq!(granted.reset_after(), 300 * MS);
    clock.advance(50 * MS);
    let granted = bucket.try_acquire().expect("two");
    assert_eq!((granted.remaining(), granted.reset_after()), (1, 350 * MS));
    let shown = format!("{bucket:?} {granted:?} {:?}", TokenBucket::builder());
    assert!(
        shown.contains("available: 1") && shown.contains("350ms"),
        "{shown}"
    );
}

#[test]
fn closed_is_for_ever() {
    let (bucket, _) = bucket(Rate::UNLIMITED, 5);
    bucket.close();
    bucket.close();
    assert!(bucket.is_closed());
    assert_eq!(bucket.try_acquire(), Err(Denied::Closed));
    assert_eq!(bucket.peek(), Err(Denied::Closed));
    bucket.refund(1);
    bucket.set_rate("5/s").expect("harmless");
    assert_eq!(bucket.try_acquire(), Err(Denied::Closed));
}

#[test]
fn uncounted_buckets_count_nothing() {
    let bucket = TokenBucket::builder()
        .rate("1/s")
        .burst(1)
        .counted(false)
        .build()
        .expect("valid");
    bucket.try_acquire().expect("one");
    assert_eq!((bucket.stats().granted, bucket.stats().denied), (0, 0));
}

/// The line that the anchor moves along is exact, the one between is rounded up: by a fraction
/// of a grain, which must not be missing from a full bucket afterwards.
#[test]
fn a_full_bucket_stays_full_by_any_change() {
    let period = Duration::from_nanos(3_821_363_526);
    let (bucket, clock) = bucket(Rate::per(221_011, period).expect("not zero"), 1);
    for nanos in [3_708_188_173, 389_970_045, 2_329_886_045, 988_332_083] {
        for more in 0..2_000 {
            clock.advance(Duration::from_nanos(nanos + more));
            bucket.set_rate(Rate::ZERO).expect("valid");
            assert_eq!(bucket.available(), 1, "{nanos} {more}");
            let rate = Rate::per(221_011 + more, period).expect("not zero");
            bucket.set_rate(rate).expect("valid");
        }
    }
}
