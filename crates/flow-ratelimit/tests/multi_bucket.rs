//! Several limits in one bucket: what they grant, what they say, and what they refuse to be.
#![cfg(not(loom))]

use std::thread;
use std::time::Duration;

use flow_ratelimit::{
    ConfigError, Denied, DeniedByLimit, Limiter, MultiBucket, MultiBucketBuilder, Quota, Rate,
    Snapshot,
};
use flow_rt::sim::Sim;
use flow_rt::{Clock, Instant, ManualClock};

const MS: Duration = Duration::from_millis(1);

fn clock() -> ManualClock {
    ManualClock::starting_at(Instant::from_nanos(3_000_000_000))
}

fn build<C: Clock>(builder: MultiBucketBuilder<C>) -> MultiBucket<C> {
    builder.build().expect("valid limits")
}

fn bucket(clock: &ManualClock, limits: &[&str]) -> MultiBucket<ManualClock> {
    let limits = limits.iter().copied();
    build(MultiBucket::builder().limits(limits).clock(clock.clone()))
}

fn available<C: Clock>(bucket: &MultiBucket<C>) -> Vec<u64> {
    let limits = (0..bucket.count()).filter_map(|index| bucket.limit(index));
    limits.map(|limit| limit.available).collect()
}

fn says<T>(answer: Result<T, DeniedByLimit>) -> (Option<usize>, Option<Duration>) {
    let by = answer.err().expect("it was denied");
    (by.limit, by.retry_after())
}

#[test]
fn all_limits_grant_or_none_is_touched() {
    let clock = clock();
    let both = bucket(&clock, &["10/s burst 10", "1/s burst 3"]);
    let granted = both.try_acquire_n(2).unwrap();
    assert_eq!((granted.remaining(), granted.limit()), (1, 3));
    assert_eq!(granted.reset_after(), 2_000 * MS);
    assert_eq!(says(both.try_acquire_n(2)), (Some(1), Some(1_000 * MS)));
    assert_eq!(says(both.peek_n(2)), (Some(1), Some(1_000 * MS)));
    assert_eq!(available(&both), [8, 1]);
    both.peek().unwrap();
    both.try_acquire().unwrap();
    both.refund(2);
    assert_eq!((available(&both), both.available()), (vec![9, 2], 2));
    assert_eq!(both.try_acquire_n(0).unwrap().remaining(), 2);
    let stats = both.stats();
    assert_eq!((stats.granted, stats.denied, stats.available), (3, 1, 2));
}

#[test]
fn per_second_and_per_hour() {
    let clock = clock();
    let both = bucket(&clock, &["10/s burst 10", "100/h burst 25"]);
    for _ in 0..2 {
        for _ in 0..10 {
            both.try_acquire().unwrap();
        }
        assert_eq!(says(both.try_acquire()), (Some(0), Some(100 * MS)));
        clock.advance(1_000 * MS);
    }
    for _ in 0..5 {
        both.try_acquire().unwrap();
    }
    // 2 s of the 36 have passed since the hourly one was full last, and the other has tokens.
    assert_eq!(says(both.try_acquire()), (Some(1), Some(34_000 * MS)));
    clock.advance(34_000 * MS);
    both.try_acquire().unwrap();
}

/// Each runs over by itself, and only then.
#[test]
fn what_runs_over_is_lost_by_the_limit_that_was_full() {
    let clock = clock();
    let both = bucket(&clock, &["1000/s burst 2", "1/s burst 100"]);
    for _ in 0..40 {
        clock.advance(100 * MS);
        assert!(both.try_acquire_n(3).is_err(), "never more than a burst");
        both.try_acquire_n(2).unwrap();
        assert_eq!(both.limit(0).unwrap().available, 0);
    }
    // 100 less 80, and the 3.9 that came since it was full.
    assert_eq!(available(&both), [0, 23]);
    clock.advance(1_000_000 * MS);
    assert_eq!(available(&both), [2, 100]);
}

#[test]
fn the_longest_wait_is_the_answer_and_never_is_longer() {
    let clock = clock();
    let all = bucket(&clock, &["10/s burst 5", "1/s burst 5", "4/s burst 5"]);
    all.try_acquire_n(5).unwrap();
    assert_eq!(says(all.try_acquire_n(2)), (Some(1), Some(2_000 * MS)));
    let text = all.try_acquire_n(2).unwrap_err().to_string();
    assert_eq!(
        text,
        "limit 1 of the bucket: not enough tokens yet; retry after 2s"
    );
    // Whoever waits so long is admitted by all, and not a moment sooner.
    clock.advance(Duration::from_nanos(1_999_999_999));
    assert_eq!(
        says(all.try_acquire_n(2)),
        (Some(1), Some(Duration::from_nanos(1)))
    );
    clock.advance(Duration::from_nanos(1));
    all.try_acquire_n(2).unwrap();

    all.set_quota(2, Rate::ZERO).unwrap();
    all.try_acquire_n(3).unwrap_err();
    let denied = all.try_acquire_n(5).unwrap_err();
    assert_eq!(
        (denied.limit, denied.denied),
        (Some(2), Denied::NeverRefills)
    );
    // Of a refund by one limit there is nothing to refuse: it goes to all.
    all.refund(3);
    all.try_acquire_n(2).unwrap();
    all.close();
    let denied = all.try_acquire_n(0).unwrap_err();
    assert_eq!((denied.limit, denied.denied), (None, Denied::Closed));
    assert_eq!(denied.to_string(), "the limiter is closed");
    assert!(all.is_closed());
}

#[test]
fn more_than_the_smallest_burst_is_refused_at_once() {
    let clock = clock();
    let both = bucket(&clock, &["10/s burst 10", "1/s burst 3"]);
    let refused = both.try_acquire_n(4).unwrap_err();
    assert_eq!(refused.limit, Some(1));
    assert_eq!(refused.denied, Denied::exceeds_burst(4, 3));
    assert_eq!(both.try_acquire_n(u64::MAX).unwrap_err().limit, Some(1));
    assert_eq!(both.peek_n(11).unwrap_err().limit, Some(1));
    assert_eq!(available(&both), [10, 3]);
}

#[test]
fn limits_that_are_equal_or_implied_do_no_harm() {
    let clock = clock();
    let all = bucket(&clock, &["4/s burst 2", "4/s burst 2", "100/s burst 50"]);
    all.try_acquire_n(2).unwrap();
    // The first of those that wait as long.
    assert_eq!(says(all.try_acquire()), (Some(0), Some(250 * MS)));
    clock.advance(250 * MS);
    all.try_acquire().unwrap();
    assert_eq!(says(all.try_acquire_n(3)), (Some(0), None));

    let one = bucket(&clock, &["1/s burst 1"]);
    one.try_acquire().unwrap();
    assert_eq!(says(one.try_acquire()), (Some(0), Some(1_000 * MS)));
}

#[test]
fn zero_and_unlimited_rates() {
    let clock = clock();
    let quota = |rate, burst| Quota {
        rate,
        burst: Some(burst),
    };
    let limits = [quota(Rate::UNLIMITED, 1), quota(Rate::ZERO, 3)];
    let both = build(MultiBucket::builder().limits(limits).clock(clock.clone()));
    assert_eq!(both.available(), 3);
    assert_eq!(both.try_acquire_n(2).unwrap().remaining(), 1);
    let denied = both.try_acquire_n(2).unwrap_err();
    assert_eq!(denied.limit, Some(1));
    assert_eq!(denied.denied, Denied::NeverRefills);

    both.set_quota(1, Rate::UNLIMITED).unwrap();
    let granted = both.try_acquire_n(u64::MAX).unwrap();
    assert_eq!((granted.remaining(), granted.limit()), (1, 1));
    assert_eq!(granted.reset_after(), Duration::ZERO);
    both.refund(u64::MAX);
    both.refund(1);

    // A limit that limits again is full.
    both.set_quota(1, "1/h burst 7").unwrap();
    assert_eq!(available(&both), [1, 7]);
    both.try_acquire_n(7).unwrap();
    both.set_quota(0, "1/h burst 9").unwrap();
    assert_eq!(available(&both), [9, 0]);
}

#[test]
fn quotas_change_one_by_one_and_mint_nothing() {
    let clock = clock();
    let both = bucket(&clock, &["10/s burst 10", "2/s burst 8"]);
    both.try_acquire_n(8).unwrap();
    clock.advance(500 * MS);
    both.set_quota(0, "2/s").unwrap();
    assert_eq!(available(&both), [7, 1]);
    assert_eq!(both.limit(0).unwrap().rate, Rate::per_second(2));
    assert_eq!(both.limit(0).unwrap().burst, 10);
    clock.advance(1_000 * MS);
    assert_eq!(available(&both), [9, 3]);
    both.set_quota(0, "2/s burst 4").unwrap();
    both.set_quota(0, "2/s burst 20").unwrap();
    assert_eq!(available(&both), [4, 3]);
    both.refund(100);
    assert_eq!(available(&both), [20, 8]);

    let out_of_range = both.set_quota(2, Rate::ZERO).unwrap_err();
    assert_eq!(
        out_of_range,
        ConfigError::NoSuchLimit {
            given: 2,
            limits: 2
        }
    );
    assert_eq!(
        both.set_quota(1, "2/s burst 0").unwrap_err(),
        ConfigError::ZeroBurst
    );
    both.set_quota(1, "often").unwrap_err();
    let too_high = both.set_quota(1, Rate::per_second(u64::MAX)).unwrap_err();
    assert!(matches!(too_high, ConfigError::RateTooHigh { .. }));
    let huge = Quota {
        rate: Rate::ZERO,
        burst: Some(u64::MAX),
    };
    let too_large = both.set_quota(1, huge).unwrap_err();
    assert!(matches!(too_large, ConfigError::BurstTooLarge { .. }));
    assert_eq!(both.limit(1).unwrap().rate, Rate::per_second(2));
    assert_eq!(both.limit(2), None);
}

#[test]
fn what_is_no_bucket_is_refused() {
    let none: [&str; 0] = [];
    let refused = MultiBucket::new(none).unwrap_err();
    assert_eq!(refused, ConfigError::NoLimits);
    assert_eq!(
        refused.to_string(),
        "no limit was given: give the builder one at least"
    );
    let refused = MultiBucket::new(["1/s burst 1"; 8]).unwrap_err();
    assert_eq!(refused, ConfigError::TooManyLimits { given: 8, max: 7 });
    assert_eq!(
        refused.to_string(),
        "8 limits are too many for one limiter: at most 7"
    );
    let refused = MultiBucket::new(["1/s burst 1", "60/min"]).unwrap_err();
    assert_eq!(refused, ConfigError::LimitWithoutBurst { index: 1 });
    assert_eq!(
        refused.to_string(),
        "limit 1 has no burst: write it like \"100/s burst 20\""
    );
    let refused = MultiBucket::new(["1/s burst 0"]).unwrap_err();
    assert_eq!(refused, ConfigError::ZeroBurst);
    let refused = MultiBucket::new(["1/s burst 1", "soon"]).unwrap_err();
    assert!(matches!(refused, ConfigError::InvalidRate { .. }));
    let refused = MultiBucket::builder()
        .limit("1/s burst 1")
        .max_waiters(0)
        .build()
        .unwrap_err();
    assert_eq!(refused, ConfigError::ZeroWaiters);
    let refused = ConfigError::NoSuchLimit {
        given: 4,
        limits: 2,
    };
    assert_eq!(
        refused.to_string(),
        "there is no limit 4: the bucket has 2, from 0 on"
    );

    // The widest that fit, and one more.
    let quota = |burst| Quota {
        rate: Rate::per_second(1 << 52),
        burst: Some(burst),
    };
    MultiBucket::new([quota(1 << 50), quota(1)]).unwrap();
    let refused = MultiBucket::new([quota(1), quota((1 << 50) + 1)]).unwrap_err();
    assert_eq!(
        refused,
        ConfigError::BurstTooLarge {
            given: (1 << 50) + 1,
            max: 1 << 50
        }
    );
}

#[test]
fn no_number_of_refunds_does_harm() {
    let clock = clock();
    let both = bucket(&clock, &["1000000000/s burst 2", "1/s burst 200000000"]);
    for _ in 0..5 {
        for _ in 0..100 {
            both.refund(u64::MAX);
            both.refund(1 << 40);
        }
        assert_eq!(available(&both), [2, 200_000_000]);
        both.try_acquire_n(2).unwrap();
        assert_eq!(available(&both), [0, 199_999_998]);
        clock.advance(Duration::from_secs(100_000_000));
    }
    both.try_acquire_n(2).unwrap();
    both.set_quota(0, "1/h burst 200000000").unwrap();
    for _ in 0..100 {
        both.refund(150_000_000);
        assert_eq!(available(&both), [150_000_000, 200_000_000]);
        both.try_acquire_n(150_000_000).unwrap();
    }
}

#[test]
fn a_clock_that_goes_back_mints_nothing() {
    let clock = clock();
    let both = bucket(&clock, &["10/s burst 4", "100/h burst 6"]);
    both.try_acquire_n(4).unwrap();
    let start = clock.now();
    for _ in 0..10 {
        clock.set(Instant::ORIGIN);
        both.try_acquire().unwrap_err();
        clock.set(start);
    }
    clock.advance(200 * MS);
    both.try_acquire_n(2).unwrap();
    assert_eq!(says(both.try_acquire()).0, Some(1));
}

#[test]
fn years_of_rest_and_of_the_highest_rate() {
    let clock = clock();
    let both = bucket(&clock, &["1000000000/s burst 1000", "1/h burst 1000"]);
    for _ in 0..100 {
        clock.advance(Duration::from_secs(86_400 * 42));
        both.try_acquire_n(1_000).unwrap();
        assert_eq!(says(both.try_acquire()).0, Some(1));
        assert!(both.limit(0).unwrap().available <= 1_000);
    }
}

#[test]
fn threads_take_of_all_alike() {
    let clock = clock();
    let both = bucket(&clock, &["0/s burst 900", "0/s burst 700"]);
    let granted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let taken = (0..400).filter(|_| {
                        let taken = both.try_acquire_n(3).is_ok();
                        if taken {
                            both.refund(1);
                        }
                        taken
                    });
                    taken.count()
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    let spent = u64::try_from(granted * 2).unwrap();
    assert_eq!(available(&both), [900 - spent, 700 - spent]);
    assert!(both.available() < 3);
}

#[test]
fn it_is_a_limiter_and_shows_itself() {
    let clock = clock();
    let builder = MultiBucket::builder().limit("1/s burst 2").name("api");
    let bucket = build(builder.limit("9/h burst 9").clock(clock));
    let limiter: &dyn Limiter = &bucket;
    assert_eq!(limiter.try_acquire_n(3), Err(Denied::exceeds_burst(3, 2)));
    limiter.try_acquire_n(2).unwrap();
    let denied = limiter.peek_n(1).unwrap_err();
    assert_eq!(denied.retry_after(), Some(1_000 * MS));
    limiter.refund(1);
    let other = bucket.clone();
    other.try_acquire().unwrap();
    let shown = format!("{bucket:?}");
    assert!(shown.starts_with("MultiBucket { name: Some(\"api\"), limits: [LimitStats"));
    assert_eq!(bucket.name(), Some("api"));

    let builder = MultiBucket::builder().limit("1/s burst 2").counted(false);
    assert!(format!("{builder:?}").contains("counted: false"));
    let uncounted = build(builder);
    uncounted.try_acquire().unwrap();
    assert_eq!(uncounted.stats().granted, 0);
}

#[test]
fn it_goes_on_from_its_snapshots() {
    let done = Sim::new(0).run(|rt| async move {
        let both = MultiBucket::new(["10/s burst 10", "100/h burst 25"]).unwrap();
        both.try_acquire_n(10).unwrap();
        rt.sleep(250 * MS).await;
        both.try_acquire_n(2).unwrap();
        let snapshots = both.snapshots();
        let tokens = snapshots.iter().map(Snapshot::tokens);
        assert_eq!(tokens.collect::<Vec<_>>(), [0, 13]);
        let again = MultiBucket::builder().restore(&snapshots).build().unwrap();
        for _ in 0..20 {
            rt.sleep(150 * MS).await;
            assert_eq!(available(&again), available(&both));
            assert_eq!(again.try_acquire_n(2).err(), both.try_acquire_n(2).err());
        }
        assert_eq!(again.snapshots()[1].grains, both.snapshots()[1].grains);

        // By other quotas: what has come since came by the old ones.
        rt.sleep(100 * MS).await;
        let builder = MultiBucket::builder().limits(["1/h burst 4", "1/h burst 100"]);
        let other = builder.restore(&snapshots).build().unwrap();
        assert_eq!(available(&other), [4, 13]);
        assert_eq!(other.limit(1).unwrap().burst, 100);

        let builder = MultiBucket::builder().limit("1/h burst 4");
        let refused = builder.restore(&snapshots).build().unwrap_err();
        assert_eq!(
            refused,
            ConfigError::OtherSnapshots {
                given: 2,
                limits: 1
            }
        );
        assert_eq!(
            refused.to_string(),
            "2 snapshots were given for 1 limits: give one for each, in their order"
        );
        let mut wrong = snapshots.clone();
        wrong[1].grains = i64::MAX;
        let refused = MultiBucket::builder().restore(&wrong).build().unwrap_err();
        assert!(matches!(refused, ConfigError::InvalidSnapshot { .. }));
    });
    done.expect("no failure");
}
