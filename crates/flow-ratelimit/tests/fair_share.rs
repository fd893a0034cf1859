//! Children of one rate: what they are granted, what they are told, and what they refuse to be.
#![cfg(not(loom))]

use std::thread;
use std::time::Duration;

use flow_ratelimit::{ConfigError, Denied, FairShare, FairShareBuilder, LimiterExt, Rate, Share};
use flow_rt::sim::Sim;
use flow_rt::{Clock, Instant, ManualClock};

const MS: Duration = Duration::from_millis(1);

fn clock() -> ManualClock {
    ManualClock::starting_at(Instant::from_nanos(3_000_000_000))
}

fn build<C: Clock>(builder: FairShareBuilder<C>) -> (FairShare<C>, Vec<Share<C>>) {
    let share = builder.build().expect("valid");
    let children = share.children().collect();
    (share, children)
}

fn two(clock: &ManualClock) -> (FairShare<ManualClock>, Vec<Share<ManualClock>>) {
    let builder = FairShare::builder().rate("100/s burst 40");
    let builder = builder.child("a", 3).child("b", 1);
    build(builder.clock(clock.clone()))
}

fn wait<T: std::fmt::Debug>(answer: Result<T, Denied>) -> Option<Duration> {
    answer.expect_err("it was denied").retry_after()
}

#[test]
fn a_child_takes_its_own_and_then_what_others_left() {
    let clock = clock();
    let (share, children) = two(&clock);
    let granted = children[0].try_acquire_n(20).unwrap();
    assert_eq!((granted.remaining(), granted.limit()), (10, 30));
    // Twenty of its own at 75/s.
    assert_eq!(granted.reset_after(), Duration::from_nanos(266_666_667));
    assert_eq!(wait(children[0].try_acquire_n(11)), Some(10 * MS));
    assert_eq!(wait(children[0].peek_n(11)), Some(10 * MS));

    // 7.5 of its own, and 2.5 that the other had no room for.
    clock.advance(100 * MS);
    assert_eq!(
        (children[0].available(), children[0].stats().kept),
        (20, 17)
    );
    children[0].try_acquire_n(20).unwrap();
    let stats = children[0].stats();
    assert_eq!((stats.granted, stats.denied, stats.borrowed), (2, 1, 2));
    assert_eq!((stats.available, stats.burst, stats.weight), (0, 30, 3));

    children[1].try_acquire_n(10).unwrap();
    assert_eq!((share.available(), children[1].stats().borrowed), (0, 0));
    let stats = share.stats();
    assert_eq!((stats.granted, stats.denied, stats.waiting), (3, 1, 0));
    assert_eq!((stats.burst, stats.rate), (40, Rate::per_second(100)));
}

#[test]
fn nobody_takes_more_than_its_part_at_once() {
    let clock = clock();
    let (share, children) = two(&clock);
    children[0].try_acquire_n(30).unwrap();
    clock.advance(500 * MS);
    // There are fifteen beside what is kept for the other, and its part is ten.
    assert_eq!(children[1].available(), 10);
    let denied = children[1].try_acquire_n(11).unwrap_err();
    assert_eq!(denied, Denied::exceeds_burst(11, 10));
    assert_eq!(
        children[1].peek_n(u64::MAX),
        Err(Denied::exceeds_burst(u64::MAX, 10))
    );
    assert_eq!(share.available(), 40);
    children[1].try_acquire_n(0).unwrap();
}

#[test]
fn what_is_waited_for_may_be_others_that_become_full() {
    let clock = clock();
    let builder = FairShare::builder().rate("100/s burst 100");
    let builder = builder.child("a", 1).child("b", 1).child("c", 2);
    let (_, children) = build(builder.clock(clock.clone()));
    children[0].try_acquire_n(25).unwrap();
    children[1].try_acquire_n(5).unwrap();
    children[2].try_acquire_n(20).unwrap();
    // At a quarter of the rate for 200 ms, until the second is full; at two quarters until the
    // third is, after 400 ms; then at four: 5 + 10 + 10.
    assert_eq!(wait(children[0].try_acquire_n(5)), Some(200 * MS));
    assert_eq!(wait(children[0].try_acquire_n(15)), Some(400 * MS));
    assert_eq!(wait(children[0].try_acquire_n(25)), Some(500 * MS));
    clock.advance(500 * MS);
    children[0].try_acquire_n(25).unwrap();
    assert_eq!((children[1].available(), children[2].available()), (25, 50));
}

#[test]
fn a_refund_is_the_childs_own_first() {
    let clock = clock();
    let (share, children) = two(&clock);
    children[1].try_acquire_n(10).unwrap();
    children[1].refund(4);
    assert_eq!((children[1].stats().kept, share.available()), (4, 34));
    children[0].try_acquire_n(10).unwrap();
    children[1].refund(8);
    // Two of them did not fit its part: they are anybody's.
    assert_eq!(
        (children[1].stats().kept, children[0].available()),
        (10, 22)
    );
    children[0].refund(u64::MAX);
    assert_eq!((share.available(), children[0].available()), (40, 30));
}

#[test]
fn changes_mint_and_lose_nothing() {
    let clock = clock();
    let (share, children) = two(&clock);
    children[0].try_acquire_n(30).unwrap();
    children[1].try_acquire_n(6).unwrap();
    clock.advance(40 * MS);
    assert_eq!((children[0].available(), children[1].available()), (3, 5));

    // Half each; what they have stays.
    children[1].set_weight(3).unwrap();
    assert_eq!((children[0].burst(), children[1].burst()), (20, 20));
    assert_eq!((children[0].available(), children[1].available()), (3, 5));
    share.set_rate("200/s").unwrap();
    clock.advance(30 * MS);
    assert_eq!((children[0].available(), children[1].available()), (6, 8));
    assert_eq!(
        (share.rate(), share.available()),
        (Rate::per_second(200), 14)
    );

    share.set_burst(10).unwrap();
    assert_eq!((children[0].available(), children[1].available()), (5, 5));
    share.set_burst(100).unwrap();
    assert_eq!(share.available(), 10);
    assert_eq!((children[0].burst(), share.burst()), (50, 100));

    let refused = children[0].set_weight(300).unwrap_err();
    assert_eq!(
        refused,
        ConfigError::BurstBelowShares {
            given: 100,
            min: 101
        }
    );
    assert_eq!(children[0].set_weight(0), Err(ConfigError::ZeroWeight));
    assert_eq!(share.set_burst(0), Err(ConfigError::ZeroBurst));
    let refused = share.set_burst(1).unwrap_err();
    assert_eq!(refused, ConfigError::BurstBelowShares { given: 1, min: 2 });
    assert!(share.set_rate("much").is_err());
    assert!(share.set_rate(Rate::per_second(u64::MAX)).is_err());
    assert_eq!((children[0].weight(), share.available()), (3, 10));
}

#[test]
fn without_a_limit_and_without_a_supply() {
    let clock = clock();
    let (share, children) = two(&clock);
    children[0].try_acquire_n(30).unwrap();
    share.set_rate(Rate::ZERO).unwrap();
    assert_eq!(children[0].try_acquire(), Err(Denied::NeverRefills));
    share.set_rate(Rate::UNLIMITED).unwrap();
    let granted = children[0].try_acquire_n(u64::MAX).unwrap();
    assert_eq!(
        (granted.remaining(), granted.reset_after()),
        (30, Duration::ZERO)
    );
    assert_eq!((share.available(), children[0].available()), (40, 30));
    // It was switched off, and begins full.
    share.set_rate("100/s").unwrap();
    children[0].try_acquire_n(30).unwrap();
    children[1].try_acquire_n(10).unwrap();
    assert_eq!(share.available(), 0);
}

#[test]
fn a_clock_that_goes_back_mints_nothing() {
    let clock = clock();
    let (share, children) = two(&clock);
    children[0].try_acquire_n(30).unwrap();
    children[1].try_acquire_n(10).unwrap();
    let start = clock.now();
    clock.advance(100 * MS);
    assert_eq!(share.available(), 10);
    clock.set(start);
    assert_eq!(share.available(), 10);
    children[0].try_acquire_n(7).unwrap();
    clock.set(start + 100 * MS);
    assert_eq!(share.available(), 3);
}

/// By an instant that one thread read before another looked at a later one.
#[test]
fn a_rate_that_is_changed_by_an_old_instant_goes_on_from_the_latest() {
    let clock = clock();
    let (share, children) = two(&clock);
    children[0].try_acquire_n(30).unwrap();
    children[1].try_acquire_n(10).unwrap();
    let start = clock.now();
    clock.advance(100 * MS);
    assert_eq!(share.available(), 10);
    clock.set(start);
    share.set_rate("1/s").unwrap();
    assert_eq!(share.available(), 10);
    clock.set(start + 1_100 * MS);
    assert_eq!(share.available(), 11);
}

/// Far beyond the horizon of the line, and of what a word holds.
#[test]
fn idle_for_centuries() {
    let clock = ManualClock::new();
    let builder = FairShare::builder().rate("1000000000/s burst 2000000000");
    let builder = builder.child("a", u32::MAX / 2).child("b", u32::MAX / 2);
    let (share, children) = build(builder.clock(clock.clone()));
    for _ in 0..40 {
        children[0].try_acquire_n(1_000_000_000).unwrap();
        children[1].try_acquire_n(500_000_000).unwrap();
        assert_eq!(share.available(), 500_000_000);
        clock.advance(Duration::from_secs(400_000_000));
        assert_eq!(
            (share.available(), children[0].available()),
            (2_000_000_000, 1_000_000_000)
        );
    }
}

#[test]
fn as_exact_as_the_rate_for_ever() {
    let clock = clock();
    let builder = FairShare::builder().rate(Rate::per(7, Duration::from_secs(3)).unwrap());
    let builder = builder.burst(30).child("a", 3).child("b", 4).child("c", 7);
    let (_, children) = build(builder.clock(clock.clone()));
    for child in &children {
        while child.try_acquire().is_ok() {}
    }
    let mut taken = [0; 3];
    for _ in 0..42_000 {
        clock.advance(Duration::from_millis(100));
        for (taken, child) in taken.iter_mut().zip(&children) {
            *taken += u64::from(child.try_acquire().is_ok());
        }
    }
    // 9,800 tokens in 4,200 seconds; what was there at first has fractions.
    for (taken, part) in taken.into_iter().zip([2_100, 2_800, 4_900]) {
        assert!((part..=part + 1).contains(&taken), "{taken} of {part}");
    }
}

#[test]
fn closed_for_all() {
    let clock = clock();
    let (share, children) = two(&clock);
    let other = share.clone();
    other.close();
    other.close();
    assert!(share.is_closed());
    assert_eq!(children[0].try_acquire(), Err(Denied::Closed));
    assert_eq!(children[1].try_acquire_n(0), Err(Denied::Closed));
    assert_eq!(share.stats().denied, 2);
}

#[test]
fn children_are_found_by_name() {
    let share = FairShare::builder().rate("1/s burst 4").name("api");
    let (share, children) = build(share.child("a", 1).child("b", 3));
    assert_eq!(share.name(), Some("api"));
    assert_eq!(share.child("b").unwrap().weight(), 3);
    assert_eq!(children[0].clone().name(), "a");
    let unknown = share.child("c").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        r#"there is no child "c", only ["a", "b"]"#
    );
    let shown = format!("{share:?} {:?}", FairShare::builder());
    assert!(
        shown.contains("\"api\"") && shown.contains("FairShareBuilder"),
        "{shown}"
    );
    LimiterExt::try_acquire(&share.child("a").unwrap()).unwrap();
}

#[test]
fn threads_take_no_more_than_there_is() {
    let clock = clock();
    let (share, children) = two(&clock);
    let taken: u64 = thread::scope(|scope| {
        let takers: Vec<_> = (0..4)
            .map(|number| {
                let child = &children[number % 2];
                scope.spawn(move || (0..100).filter(|_| child.try_acquire().is_ok()).count())
            })
            .collect();
        let taken = takers.into_iter().map(|it| it.join().unwrap());
        taken.sum::<usize>() as u64
    });
    assert_eq!((taken, share.available()), (40, 0));
    let counted = share.stats();
    assert_eq!((counted.granted, counted.denied), (40, 360));
}

#[test]
fn refuses_what_is_none() {
    let refused = |builder: FairShareBuilder| builder.build().map(drop).unwrap_err();
    let new = FairShare::builder;
    assert_eq!(refused(new().burst(3)), ConfigError::MissingRate);
    assert_eq!(
        refused(new().rate("1/s").child("a", 1)),
        ConfigError::MissingBurst
    );
    assert_eq!(refused(new().rate("1/s burst 1")), ConfigError::NoChildren);
    assert!(matches!(
        refused(new().rate("often").burst(1).child("a", 1)),
        ConfigError::InvalidRate { .. }
    ));
    let one = || new().rate("1/s").burst(5).child("a", 1);
    assert_eq!(
        refused(one().child("a", 2)),
        ConfigError::DuplicateChild { name: "a".into() }
    );
    assert_eq!(refused(one().child("b", 0)), ConfigError::ZeroWeight);
    assert_eq!(
        refused(one().child("b", 5)),
        ConfigError::BurstBelowShares { given: 5, min: 6 }
    );
    assert_eq!(
        refused(one().child("b", u32::MAX)),
        ConfigError::WeightsTooLarge {
            given: 1 << 32,
            max: (1 << 32) - 1
        }
    );
    assert_eq!(refused(one().max_waiters(0)), ConfigError::ZeroWaiters);
    let zero = new().rate("1/s").burst(0).child("a", 1);
    assert_eq!(refused(zero), ConfigError::ZeroBurst);
    let large = new().rate("1/s").burst(u64::MAX).child("a", 1);
    assert!(matches!(refused(large), ConfigError::BurstTooLarge { .. }));
    let fast = new()
        .rate(Rate::per_second(u64::MAX))
        .burst(1)
        .child("a", 1);
    assert!(matches!(refused(fast), ConfigError::RateTooHigh { .. }));
}

#[test]
fn goes_on_after_a_restart() {
    let snapshot = Sim::new(0).run(|rt| async move {
        let builder = FairShare::builder().rate("100/s burst 40");
        let (share, children) = build(builder.child("a", 3).child("b", 1));
        children[0].try_acquire_n(30).expect("it starts full");
        rt.sleep(100 * MS).await;
        // Ten, of which two and a half are anybody's.
        let snapshot = share.snapshot();
        assert_eq!((snapshot.tokens(), snapshot.taken_at()), (20, rt.wall()));

        rt.sleep(100 * MS).await;
        let (restored, children) = build(FairShare::builder().restore(&snapshot));
        assert_eq!(
            (restored.rate(), restored.burst()),
            (Rate::per_second(100), 40)
        );
        assert_eq!(
            (children[0].available(), children[0].stats().kept),
            (20, 15)
        );
        assert_eq!(children[1].available(), 15.min(children[1].burst()));
        assert_eq!(share.available(), restored.available());
        rt.sleep(100 * MS).await;
        assert_eq!(share.available(), restored.available());
        snapshot
    });
    let snapshot = snapshot.expect("no panic").output;

    // Other children, another burst: what nobody has a claim to is shared.
    let (other, children) = build(
        FairShare::builder()
            .restore(&snapshot)
            .burst(20)
            .child("b", 1)
            .child("new", 1)
            .clock(ManualClock::new()),
    );
    assert_eq!((other.burst(), other.available()), (20, 20));
    assert_eq!((children[0].stats().kept, children[1].burst()), (10, 10));
    let refused = FairShare::builder().restore(&snapshot).burst(3).build();
    assert_eq!(
        refused.map(drop),
        Err(ConfigError::BurstBelowShares { given: 3, min: 4 })
    );
    assert_eq!(snapshot, snapshot.clone());
}

/// Either may be given alone, and the other one is the snapshot's.
#[test]
fn goes_on_by_another_rate_or_burst() {
    let (share, children) = two(&clock());
    children[0].try_acquire_n(30).unwrap();
    children[1].try_acquire_n(10).unwrap();
    let snapshot = share.snapshot();
    let restore = || FairShare::builder().restore(&snapshot).clock(clock());
    let (faster, _) = build(restore().rate("200/s"));
    assert_eq!((faster.rate(), faster.burst()), (Rate::per_second(200), 40));
    let (larger, _) = build(restore().burst(80));
    assert_eq!((larger.rate(), larger.burst()), (Rate::per_second(100), 80));
    let (other, _) = build(restore().rate("200/s burst 80"));
    assert_eq!((other.rate(), other.burst()), (Rate::per_second(200), 80));
    let refused = restore().rate("200/s burst 80").burst(40).build();
    assert!(matches!(refused, Err(ConfigError::TwoBursts { .. })));
}

#[cfg(feature = "serde")]
#[test]
fn a_snapshot_in_a_file_is_checked() {
    use flow_ratelimit::FairShareSnapshot;

    let (share, children) = build(
        FairShare::builder()
            .rate("1/h burst 40")
            .child("a", 3)
            .child("b", 1),
    );
    children[0].try_acquire_n(7).unwrap();
    let text = serde_json::to_string(&share.snapshot()).unwrap();
    let read: FairShareSnapshot = serde_json::from_str(&text).unwrap();
    let (again, _) = build(FairShare::builder().restore(&read));
    assert_eq!(again.available(), 33);

    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        let read: FairShareSnapshot = serde_json::from_value(value).unwrap();
        FairShare::builder()
            .restore(&read)
            .build()
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let shown = refused(&|it| it["children"][0]["grains"] = u64::MAX.into());
    assert!(shown.contains("more is kept for children"), "{shown}");
    let shown = refused(&|it| it["all"]["bits"] = 31.into());
    assert!(shown.contains("fraction bits"), "{shown}");
    let shown = refused(&|it| it["children"][0]["weight"] = 0.into());
    assert!(shown.contains("at least 1"), "{shown}");
}
