//! The script's arithmetic on a real server, with time given by hand, against exact integers.

use crate::server::Server;
use proptest::prelude::*;

const SCRIPT: &str = include_str!("../../src/bucket.lua");

/// The script with the time as a fifth argument and without expiry, which follows real time.
fn by_hand() -> String {
    let now = "local now = tonumber(ARGV[5])";
    let script = SCRIPT
        .replace("local time = redis.call('TIME')", now)
        .replace("local now = time[1] * 1000000 + time[2]\n", "")
        .replace(", 'PX', full_in", "");
    assert!(!script.contains("TIME") && !script.contains("PX") && script.contains(now));
    script
}

struct Model {
    units: u128,
    since: u128,
}

#[derive(Debug, Clone)]
struct Step {
    /// Microseconds, perhaps back.
    passes: i64,
    /// Tokens to take.
    takes: u64,
}

fn steps(burst: u64) -> impl Strategy<Value = Vec<Step>> {
    let passes = prop_oneof![
        -50_i64..5_000,
        -1_000_000_i64..0,
        0_i64..2_000_000,
        0_i64..10_000_000_000
    ];
    let step = (passes, 0..=burst).prop_map(|(passes, takes)| Step { passes, takes });
    proptest::collection::vec(step, 1..60)
}

fn settings() -> impl Strategy<Value = (u64, u64, u64)> {
    // Units of a token, units per microsecond, burst: small, and up to the last exact number.
    let small = (1_u64..5_000, 1_u64..5_000, 1_u64..1_000);
    let large = (1_u64..(1 << 33), 1_u64..(1 << 53), 1_u64..(1 << 20));
    prop_oneof![small, large]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_script_is_exact(
        ((token, supply, burst), steps) in
            settings().prop_flat_map(|settings| (Just(settings), steps(settings.2)))
    ) {
        let server = Server::start();
        let script = by_hand();
        let capacity = u128::from(token) * u128::from(burst);
        prop_assert!(capacity <= 1 << 53);
        let mut now = 1_790_000_000_000_000_i64;
        let mut model = Model { units: capacity, since: u128::from(now.unsigned_abs()) };
        for step in steps {
            now += step.passes;
            let cost = u128::from(step.takes) * u128::from(token);
            let arguments = [
                capacity.to_string(),
                token.to_string(),
                supply.to_string(),
                cost.to_string(),
                now.to_string(),
            ];
            let mut words = vec!["EVAL", &script, "1", "flow:{k}"];
            words.extend(arguments.iter().map(String::as_str));
            let answer: i128 = server.command(&words).parse().unwrap();

            let passed = u128::from(now.unsigned_abs()).saturating_sub(model.since);
            let units = (model.units + passed * u128::from(supply)).min(capacity);
            if units < cost {
                prop_assert_eq!(answer, -1 - units.cast_signed());
                // What the clock went back by is not waited for.
                if u128::from(now.unsigned_abs()) < model.since {
                    model = Model { units, since: u128::from(now.unsigned_abs()) };
                }
            } else {
                prop_assert_eq!(answer, (units - cost).cast_signed());
                if cost > 0 {
                    model = Model { units: units - cost, since: u128::from(now.unsigned_abs()) };
                }
            }
        }
    }
}

#[test]
fn a_clock_that_went_back_supplies_from_there() {
    let server = Server::start();
    let script = by_hand();
    // One unit is a token and comes in a microsecond; the bucket holds ten.
    let take = |cost: &str, now: &str| {
        server.command(&["EVAL", &script, "1", "flow:{k}", "10", "1", "1", cost, now])
    };
    assert_eq!(take("10", "1000000"), "0");
    assert_eq!(take("1", "1000"), "-1", "none yet, a second before");
    assert_eq!(take("0", "1004"), "4", "four came since");
    assert_eq!(take("1", "1000"), "-1", "and none while it goes back");
    assert_eq!(take("3", "1004"), "1");
}
