//! Days on which clocks change, by brute force: every minute of the zone's clock is looked at, or
//! every half of one where the clock is no whole minutes from UTC.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::SystemTime;

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use flow_sched::{Cron, CronPattern, DstGap, DstOverlap, DstPolicy};

use crate::common::{at, seconds};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A minute (or a part of one) around a change: what the zone's clock shows, whether for the first
/// time and whether for the last, and the times that it left out right before.
struct Minute {
    at: i64,
    local: i64,
    is_first: bool,
    is_last: bool,
    left_out: Vec<i64>,
}

/// The minutes around a change, or parts of them of `step` seconds, far enough back for any overlap,
/// and on for any gap.
fn minutes(zone: Tz, (from, until): (i64, i64), step: i64) -> Vec<Minute> {
    let by = usize::try_from(step).unwrap();
    let shown = || {
        (from - DAY - HOUR..until + DAY + HOUR)
            .step_by(by)
            .map(|at| (at, at + offset(zone, at)))
    };
    let (mut first, mut last) = (HashMap::new(), HashMap::new());
    for (at, local) in shown() {
        first.entry(local).or_insert(at);
        last.insert(local, at);
    }
    let mut previous = i64::MAX;
    shown()
        .map(|(at, local)| {
            let left_out = (previous.saturating_add(step)..local).step_by(by).collect();
            previous = local;
            Minute {
                at,
                local,
                is_first: first[&local] == at,
                is_last: last[&local] == at,
                left_out,
            }
        })
        .collect()
}

/// What a policy means, said in another way than the code does: all occurrences from `from` to
/// before `until`, of a pattern of whole minutes whose times on a clock are `fitting`. `minutes`
/// are at least those that show or leave out one of them.
fn model<'a>(
    minutes: impl Iterator<Item = &'a Minute>,
    fitting: &HashSet<i64>,
    policy: DstPolicy,
    (from, until): (i64, i64),
) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    for minute in minutes {
        let counts = match policy.overlap {
            DstOverlap::First => minute.is_first,
            DstOverlap::Last => minute.is_last,
            _ => true,
        };
        if counts && fitting.contains(&minute.local) {
            found.insert(minute.at);
        }
        let Some(&start) = minute.left_out.first() else {
            continue;
        };
        for left_out in &minute.left_out {
            if fitting.contains(left_out) {
                match policy.gap {
                    DstGap::RunAfter => found.insert(minute.at),
                    DstGap::ShiftForward => found.insert(minute.at + (left_out - start)),
                    _ => false,
                };
            }
        }
    }
    found.retain(|at| (from..until).contains(at));
    found
}

fn offset(zone: Tz, at: i64) -> i64 {
    let utc = DateTime::<Utc>::from_timestamp(at, 0).unwrap().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

const PATTERNS: [&str; 9] = [
    "30 2 * * *",
    "0,30 0-3 * * *",
    "*/15 * * * *",
    "*/20 2 * * *",
    "0 0 * * *",
    "59 23 L * *",
    "5 1,3 * * SUN",
    "0 12 * * *",
    "10 */2 1-15 * *",
];

const POLICIES: [(DstGap, DstOverlap); 9] = [
    (DstGap::Skip, DstOverlap::First),
    (DstGap::Skip, DstOverlap::Last),
    (DstGap::Skip, DstOverlap::Both),
    (DstGap::RunAfter, DstOverlap::First),
    (DstGap::RunAfter, DstOverlap::Last),
    (DstGap::RunAfter, DstOverlap::Both),
    (DstGap::ShiftForward, DstOverlap::First),
    (DstGap::ShiftForward, DstOverlap::Last),
    (DstGap::ShiftForward, DstOverlap::Both),
];

/// Compares all patterns under the policies around a change of the clock.
fn check(zone: Tz, change: i64, policies: &[(DstGap, DstOverlap)]) {
    let minute = change - change.rem_euclid(60);
    let window = (minute - DAY, minute + DAY + 3 * HOUR);
    // So that the clock's whole minutes, and the change, are among what is looked at.
    let step = [offset(zone, change - 1), offset(zone, change), change];
    let step = step.into_iter().fold(60, gcd);
    let minutes = minutes(zone, window, step);
    for text in PATTERNS {
        let pattern = CronPattern::parse(text).unwrap();
        let fitting: HashSet<i64> = Cron::from(pattern.clone())
            .iter_after(at(window.0 - 4 * DAY))
            .map(seconds)
            .take_while(|&local| local < window.1 + 4 * DAY)
            .collect();
        let told: Vec<&Minute> = minutes
            .iter()
            .filter(|minute| fitting.contains(&minute.local) || !minute.left_out.is_empty())
            .collect();
        let cron = Cron::from(pattern).time_zone(zone.name()).unwrap();
        for &(gap, overlap) in policies {
            let policy = DstPolicy { gap, overlap };
            let cron = cron.clone().dst_policy(policy);
            let expected = model(told.iter().copied(), &fitting, policy, window);
            let expected: Vec<i64> = expected.into_iter().collect();
            let forth: Vec<i64> = cron
                .iter_after(at(window.0 - 1))
                .take_while(|next| *next < at(window.1))
                .map(seconds)
                .collect();
            let what = format!("{text} in {zone} around {change} with {policy:?}");
            assert_eq!(forth, expected, "{what}");
            let mut back: Vec<i64> = cron
                .iter_before(at(window.1))
                .take_while(|prev| *prev >= at(window.0))
                .map(seconds)
                .collect();
            back.reverse();
            assert_eq!(back, expected, "{what}, back");
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

/// The changes of a zone's clock from 1970 to 2037, to the second.
fn changes(zone: Tz) -> Vec<i64> {
    const END: i64 = 2_145_916_800;
    let mut found = Vec::new();
    let mut known = offset(zone, 0);
    for at in (0..END).step_by(HOUR as usize * 6) {
        let then = offset(zone, at + 6 * HOUR);
        if then != known {
            let minute = (at..=at + 6 * HOUR)
                .step_by(60)
                .find(|&minute| offset(zone, minute) == then);
            let second =
                |minute: i64| (minute - 59..=minute).find(|&second| offset(zone, second) == then);
            found.extend(minute.and_then(second));
        }
        known = then;
    }
    found
}

/// Zones with one change each of a kind: an hour, half an hour, at midnight, a day left out, no
/// whole minutes, and the rules of several decades.
#[test]
fn days_of_change_in_a_sample_of_zones() {
    for (zone, nth) in [
        (Tz::Europe__Berlin, 0..2),
        (Tz::America__New_York, 60..62),
        (Tz::Australia__Lord_Howe, 40..42),
        (Tz::America__Sao_Paulo, 20..22),
        (Tz::Asia__Amman, 30..32),
        (Tz::Africa__Cairo, 20..22),
        (Tz::Pacific__Apia, 0..4),
        (Tz::Africa__Monrovia, 0..1),
        (Tz::Antarctica__Troll, 0..2),
        (Tz::Asia__Pyongyang, 0..2),
        (Tz::Europe__Dublin, 10..12),
    ] {
        let changes = changes(zone);
        for (i, &change) in changes.iter().enumerate() {
            if nth.contains(&i) {
                check(zone, change, &POLICIES);
            }
        }
    }
}

/// All zones with all their changes under all policies: minutes of computing, so only if
/// `FLOW_CRON_ZONES` is `all`, as in `cargo xtask ci --only cron`; otherwise each 60th zone with
/// each 50th of its changes. Names of one clock are looked at once.
#[test]
#[allow(clippy::print_stdout)] // what was looked at, for who asks with --nocapture
fn days_of_change_in_all_zones() {
    let all = std::env::var("FLOW_CRON_ZONES").is_ok_and(|zones| zones == "all");
    let (zones, some) = if all { (1, 1) } else { (60, 50) };
    let mut known = HashSet::new();
    let mut checked = 0;
    for &zone in TZ_VARIANTS.iter().step_by(zones) {
        let changes = changes(zone);
        let offsets: Vec<i64> = changes.iter().map(|&at| offset(zone, at)).collect();
        if known.insert((offset(zone, 0), changes.clone(), offsets)) {
            for &change in changes.iter().step_by(some) {
                check(zone, change, &POLICIES);
                checked += 1;
            }
        }
    }
    println!("{} clocks, {checked} changes", known.len());
}

/// Midnights are where chrono-tz has them in three zones, one in each third year, and clocks go on
/// changing after its end.
#[test]
fn offsets_are_those_of_the_database_and_go_on() {
    for zone in [
        Tz::Europe__Berlin,
        Tz::America__New_York,
        Tz::Pacific__Auckland,
    ] {
        let cron = Cron::new("0 0 * 1,7 *")
            .unwrap()
            .time_zone(zone.name())
            .unwrap();
        for year in (1970..2099).step_by(3) {
            let from = DateTime::parse_from_rfc3339(&format!("{year}-07-10T12:00:00Z")).unwrap();
            let next = seconds(cron.next_after(SystemTime::from(from)).unwrap());
            assert_eq!(
                (next + offset(zone, next)).rem_euclid(DAY),
                0,
                "{zone} {year}"
            );
        }
        // 2150 has the shape of 2099 in all that clocks depend on.
        let summer = |year| {
            let from = DateTime::parse_from_rfc3339(&format!("{year}-07-10T12:00:00Z")).unwrap();
            let next = seconds(cron.next_after(SystemTime::from(from)).unwrap());
            next.rem_euclid(DAY)
        };
        assert_eq!(summer(2150), summer(2098), "{zone}");
        assert_eq!(summer(2199), summer(2098), "{zone}");
    }
    // Summer time of 2101 begins on the last Sunday of March, at 01:00 UTC.
    let from = DateTime::parse_from_rfc3339("2101-03-26T00:00:00Z").unwrap();
    let cron = Cron::new("TZ=Europe/Berlin 30 2 * * *").unwrap();
    let runs: Vec<String> = cron
        .next_n(SystemTime::from(from), 3)
        .into_iter()
        .map(|run| DateTime::<Utc>::from(run).to_rfc3339())
        .collect();
    assert_eq!(
        runs,
        [
            "2101-03-26T01:30:00+00:00",
            "2101-03-27T01:00:00+00:00",
            "2101-03-28T00:30:00+00:00"
        ]
    );
}
