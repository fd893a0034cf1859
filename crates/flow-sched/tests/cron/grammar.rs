//! Every form that some dialect has, in fields of all sorts, read by each dialect: what it takes it
//! shows, reads back as an equal pattern, and searches the same both ways.

use std::collections::HashMap;

use flow_sched::{Cron, Dialect};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::common::{DIALECTS, at};

const SEED: u64 = 7;

/// A value, a range either way round, or either of them with a step; a list of some.
fn plain(min: u32, max: u32) -> impl Strategy<Value = String> {
    let step = 1..=max / 2;
    let item = prop_oneof![
        4 => (min..=max).prop_map(|value| value.to_string()),
        2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a}-{b}")),
        1 => (min..=max, min..=max, step.clone()).prop_map(|(a, b, n)| format!("{a}-{b}/{n}")),
        1 => (min..=max, step.clone()).prop_map(|(a, n)| format!("{a}/{n}")),
        1 => step.prop_map(|n| format!("*/{n}")),
    ];
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => item.clone(),
        1 => prop::collection::vec(item, 2..4).prop_map(|items| items.join(",")),
    ]
}

fn hashed(max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("H".to_owned()),
        (1..=max).prop_map(|n| format!("H/{n}"))
    ]
}

fn clock(max: u32) -> impl Strategy<Value = String> {
    prop_oneof![5 => plain(0, max), 1 => hashed(max)]
}

fn day() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => plain(1, 31),
        3 => Just("?".to_owned()),
        1 => hashed(28),
        1 => prop::sample::select(vec!["L", "LW", "L,15", "1,L"]).prop_map(str::to_owned),
        1 => (1..=30_u32).prop_map(|n| format!("L-{n}")),
        1 => (1..=30_u32).prop_map(|n| format!("L-{n}W")),
        1 => (1..=31_u32).prop_map(|n| format!("{n}W")),
    ]
}

fn month() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => plain(1, 12),
        1 => prop::sample::select(vec!["JAN", "feb-apr", "NOV-FEB", "Mar/3", "H"])
            .prop_map(str::to_owned),
    ]
}

fn weekday() -> impl Strategy<Value = String> {
    let nth = || (0..=7_u32, 1..=5_u32).prop_map(|(day, n)| format!("{day}#{n}"));
    let last = || (0..=7_u32).prop_map(|day| format!("{day}L"));
    let one = prop_oneof![
        4 => plain(0, 7),
        3 => Just("?".to_owned()),
        1 => nth(),
        1 => (nth(), last()).prop_map(|(a, b)| format!("{a},{b}")),
        1 => last(),
        1 => prop::sample::select(vec!["MON-FRI", "fri-sun", "SAT-TUE", "FRI#L", "THUL", "L", "H"])
            .prop_map(str::to_owned),
    ];
    (one, prop::bool::weighted(0.2))
        .prop_map(|(field, both)| if both { format!("+{field}") } else { field })
}

fn pattern() -> impl Strategy<Value = String> {
    let five = (clock(59), clock(23), day(), month(), weekday())
        .prop_map(|(m, h, dom, mon, dow)| format!("{m} {h} {dom} {mon} {dow}"));
    let year = prop_oneof![
        Just("*".to_owned()),
        (1970..=2199_u32).prop_map(|year| year.to_string()),
        (1970..=2100_u32, 2000..=2199_u32, 1..=9_u32).prop_map(|(a, b, n)| format!("{a}-{b}/{n}")),
    ];
    (five, clock(59), year, 5..=7_u32).prop_map(|(five, second, year, fields)| match fields {
        5 => five,
        6 => format!("{second} {five}"),
        _ => format!("{second} {five} {year}"),
    })
}

fn check(text: &str, dialect: Dialect, from: i64) -> Result<(), TestCaseError> {
    let Ok(cron) = Cron::parse_seeded(text, dialect, SEED) else {
        return Ok(());
    };
    let shown = cron.to_string();
    match Cron::parse_as(&shown, dialect) {
        Ok(again) => {
            prop_assert_eq!(&again, &cron, "{:?} as {}", dialect, shown);
            prop_assert_eq!(again.to_string(), shown, "{:?}", dialect);
        }
        Err(error) => {
            return Err(TestCaseError::fail(format!(
                "{dialect:?} as {shown}: {error}"
            )));
        }
    }
    prop_assert!(!cron.describe().is_empty());
    for zone in ["UTC", "Europe/Berlin"] {
        let cron = cron.clone().time_zone(zone).expect("a zone");
        let (next, prev) = (cron.next_after(at(from)), cron.prev_before(at(from)));
        let between = cron.matches(at(from)).then_some(at(from));
        prop_assert!(next.is_none_or(|next| next > at(from) && cron.matches(next)));
        prop_assert!(prev.is_none_or(|prev| prev < at(from) && cron.matches(prev)));
        if let (Some(next), Some(prev)) = (next, prev) {
            prop_assert_eq!(cron.prev_before(next), Some(between.unwrap_or(prev)));
            prop_assert_eq!(cron.next_after(prev), Some(between.unwrap_or(next)));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_a_dialect_takes_reads_back(text in pattern(), from in 0..6_000_000_000_i64) {
        for dialect in DIALECTS {
            check(&text, dialect, from)?;
        }
    }
}

/// A test of patterns that nobody takes would show nothing.
#[test]
fn each_dialect_takes_many_of_them() {
    let mut taken = HashMap::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..4_000 {
        let text = pattern()
            .new_tree(&mut runner)
            .expect("a pattern")
            .current();
        for dialect in DIALECTS {
            let is_taken = Cron::parse_seeded(&text, dialect, SEED).is_ok();
            *taken.entry(dialect).or_insert(0) += u32::from(is_taken);
        }
    }
    assert!(taken.values().all(|&taken| taken > 20), "{taken:?}");
}
