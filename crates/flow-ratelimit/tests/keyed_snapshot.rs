//! Limiters of keys carried over a restart, without a token that nobody supplied.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{ConfigError, KeyedLimiter, Rate};
use flow_rt::sim::Sim;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What the simulation's wall clock says is what the snapshots go by.
fn in_sim<T: 'static, F: Future<Output = T> + 'static>(test: impl FnOnce(Sim) -> F + 'static) -> T {
    let report = Sim::new(0).run(test);
    report.expect("no deadlock").output
}

#[test]
fn keys_stand_as_they_would_without_the_restart() {
    in_sim(|rt| async move {
        let builder = KeyedLimiter::<str>::builder().rate("1/s").burst(10);
        let limiter = builder
            .max_keys(100)
            .classes(["2/s burst 30"])
            .build()
            .unwrap();
        limiter.try_acquire_n("anna", 9).unwrap();
        limiter.class(1).unwrap().try_acquire_n("ben", 30).unwrap();
        limiter.try_acquire("clara").unwrap();
        let snapshot = limiter.snapshot();
        assert_eq!((snapshot.len(), snapshot.is_empty()), (3, false));
        rt.sleep(2 * SECOND).await;
        let builder = || KeyedLimiter::<str>::builder().max_keys(100);
        let restored = builder().build_from(&snapshot).unwrap();
        for key in ["anna", "ben", "clara", "dora"] {
            for class in [0, 1] {
                let [old, new] = [&limiter, &restored].map(|it| it.class(class).unwrap());
                assert_eq!(old.available(key), new.available(key), "{key} in {class}");
                assert_eq!((old.rate(), old.burst()), (new.rate(), new.burst()));
            }
        }
        assert_eq!((restored.len(), restored.stats().evicted), (2, 0));
        // By a new quota it lacks as many tokens.
        let smaller = builder().rate("1/h").burst(4).classes(["1/h burst 100"]);
        let smaller = smaller.build_from(&snapshot).unwrap();
        let ben = smaller.class(1).unwrap().available("ben");
        assert_eq!((smaller.available("anna"), ben), (0, 74));
    });
}

#[test]
fn kept_keys_are_carried_over_too() {
    in_sim(|rt| async move {
        let builder = || {
            KeyedLimiter::<String>::builder()
                .rate("1/s")
                .burst(10)
                .max_keys(8)
        };
        let limiter = builder().build_exact().unwrap();
        for n in 0..8 {
            limiter.try_acquire_n(&format!("{n}"), n + 1).unwrap();
        }
        let snapshot = limiter.snapshot();
        rt.sleep(SECOND).await;
        let restored = builder().build_exact_from(&snapshot).unwrap();
        let mut both = [&limiter, &restored].map(|it| it.iter().collect::<Vec<_>>());
        for keys in &mut both {
            keys.sort();
        }
        assert_eq!(both[0], both[1]);
        assert_eq!(restored.len(), 7);
        // What there is no room for is counted.
        let few = builder().max_keys(3).build_exact_from(&snapshot).unwrap();
        assert_eq!((few.len(), few.stats().evicted), (3, 4));
    });
}

#[test]
fn a_snapshot_that_fits_no_limiter_is_refused() {
    let limiter = KeyedLimiter::<u64>::builder()
        .rate("1/s")
        .burst(10)
        .max_keys(8);
    let limiter = limiter.classes(["1/s burst 1"]).build().unwrap();
    limiter.class(1).unwrap().try_acquire(&1).unwrap();
    let snapshot = limiter.snapshot();
    let one_class = KeyedLimiter::<u64>::builder()
        .rate("1/s")
        .burst(10)
        .max_keys(8);
    let refused = one_class.build_from(&snapshot).unwrap_err();
    assert!(
        matches!(refused, ConfigError::InvalidSnapshot { .. }),
        "{refused:?}"
    );
    let missing = KeyedLimiter::<u64>::builder().build_from(&snapshot);
    assert_eq!(missing.unwrap_err(), ConfigError::MissingMaxKeys);
    let shown = format!("{snapshot:?}");
    assert!(
        shown.contains("keys: 1") && !shown.contains("secret"),
        "{shown}"
    );
}

#[cfg(feature = "serde")]
#[test]
fn it_is_plain_data() {
    use flow_ratelimit::KeyedSnapshot;

    let limiter = KeyedLimiter::<u64>::new("1/h", 10, 8).unwrap();
    limiter.try_acquire_n(&1, 4).unwrap();
    let snapshot = limiter.snapshot();
    let text = serde_json::to_string(&snapshot).unwrap();
    let read: KeyedSnapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(read, snapshot);
    let refuse = |from: &str, to: &str| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        let read: KeyedSnapshot = serde_json::from_str(&changed).unwrap();
        let refused = KeyedLimiter::<u64>::builder().max_keys(8).build_from(&read);
        assert!(
            matches!(refused, Err(ConfigError::InvalidSnapshot { .. })),
            "{changed}"
        );
    };
    refuse("\"class\":0", "\"class\":1");
    refuse("\"bits\":30", "\"bits\":31");
    refuse("\"burst\":10", "\"burst\":0");
    refuse("\"burst\":10", "\"burst\":18446744073709551615");
    refuse("\"rate\":\"1/h\"", "\"rate\":\"18446744073709551615/ns\"");
    let lacking = text.split("\"lacking\":").nth(1).unwrap();
    let lacking = lacking.split('}').next().unwrap();
    // More than there can be is all there can be.
    let most = text.replace(lacking, "18446744073709551615");
    let read: KeyedSnapshot = serde_json::from_str(&most).unwrap();
    let builder = KeyedLimiter::<u64>::builder().max_keys(8);
    assert_eq!(builder.build_from(&read).unwrap().available(&1), 0);
    let secret = text.split("\"secret\":").nth(1).unwrap();
    let secret = secret.split(']').next().unwrap();
    // None, and those that no limiter has: all keys would be one under the last, for a start.
    for other in [
        "null",
        "[7,0]",
        "[7,1]",
        "[7,8]",
        "[7,18446744073709551615]",
    ] {
        refuse(&format!("{secret}]"), other);
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Take(u64, u64),
    SetRate(u64),
    SetBurst(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_000_u64).prop_map(Step::Advance),
        8 => (0..8_u64, 1..30_u64).prop_map(|(key, n)| Step::Take(key, n)),
        1 => (0..1_000_u64).prop_map(Step::SetRate),
        1 => (1..30_u64).prop_map(Step::SetBurst),
        2 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    })]

    /// A limiter that is restarted at any time is the one that was not, but for a grain: rates are
    /// whole tokens a millisecond here, which leave none over.
    #[test]
    fn a_restored_limiter_is_the_same(schedule in prop::collection::vec(steps(), 1..80)) {
        let all_same = in_sim(move |rt| async move {
            let build = || {
                let builder = KeyedLimiter::<u64>::builder().rate("1000/s").burst(20);
                builder.max_keys(8).build().unwrap()
            };
            let (twin, mut restarted) = (build(), build());
            for step in schedule {
                match step {
                    Step::Advance(millis) => rt.sleep(MS * millis as u32).await,
                    Step::Take(key, n) => {
                        let [a, b] = [&twin, &restarted].map(|it| it.try_acquire_n(&key, n));
                        prop_assert_eq!(a.map(|it| it.remaining()), b.map(|it| it.remaining()));
                    }
                    Step::SetRate(rate) => {
                        for it in [&twin, &restarted] {
                            it.set_rate(Rate::per_second(1_000 * rate)).unwrap();
                        }
                    }
                    Step::SetBurst(burst) => {
                        for it in [&twin, &restarted] {
                            it.set_burst(burst).unwrap();
                        }
                    }
                    Step::Restart => {
                        let snapshot = restarted.snapshot();
                        let builder = KeyedLimiter::builder().max_keys(8);
                        restarted = builder.build_from(&snapshot).unwrap();
                    }
                }
                for key in 0..8 {
                    prop_assert_eq!(twin.available(&key), restarted.available(&key));
                }
            }
            Ok(())
        });
        all_same?;
    }
}
