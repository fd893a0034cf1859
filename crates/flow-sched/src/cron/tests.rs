//! Steps are counted, not timed; and text from strangers, with an answer for all of it.

use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;

use super::cursor::{count_fields, is_blank};
use super::dialect::Dialect;
use super::dst::{self, MOST_SPANS, MOST_STEPS};
use super::error::CronError;
use super::parser::MAX_BYTES;
use super::pattern::{CronPattern, Spec};
use super::search::MOST_MONTHS;
use super::zone;

fn steps(pattern: &CronPattern, zone: Tz, from: i64) -> u32 {
    let Spec::Calendar(fields) = &pattern.spec else {
        return 0;
    };
    let table = zone::table(zone);
    let (mut forth, mut back) = (0, 0);
    dst::next(fields, table, pattern.dst, from, &mut forth);
    dst::prev(fields, table, pattern.dst, from, &mut back);
    forth.max(back)
}

#[test]
fn every_zone_has_a_place() {
    assert!(
        TZ_VARIANTS
            .iter()
            .all(|&zone| (zone as usize) < zone::PLACES)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// They are counted eight bytes at a time; here, one after the other.
    #[test]
    fn fields_are_counted_as_they_are_split(
        text in prop::collection::vec(prop_oneof![
            2 => Just(b' '), 1 => Just(b'\t'), 3 => Just(b'*'), 1 => 1..=u8::MAX,
        ], 0..=MAX_BYTES),
    ) {
        let text = text.trim_ascii();
        let split = text.split(|&byte| is_blank(byte)).filter(|field| !field.is_empty());
        prop_assert_eq!(count_fields(text), split.count());
    }
}

#[test]
fn rare_days_are_found_in_few_steps() {
    for (text, most) in [
        ("* * * * *", 1),
        ("0 0 1 1 *", 2),
        ("0 0 29 2 *", 10),
        ("0 0 29 2 +MON", 42),
        ("0 0 31 * +MON#5", 40),
        ("0 0 1W 2 +SAT#1", MOST_MONTHS),
        ("0 0 0 1 1 * 2199", 2),
    ] {
        let Ok(pattern) = CronPattern::parse(text) else {
            continue;
        };
        for year in 0..130 {
            for zone in [Tz::UTC, Tz::Europe__Berlin] {
                let taken = steps(&pattern, zone, year * 31_556_952);
                // A change of the clock may make it look again.
                let most = 2 * most + MOST_SPANS;
                assert!(taken <= most, "{text} in year {year}: {taken}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn no_pattern_takes_more(
        text in "(0|\\*) (0|\\*) (29|30|31|L|LW|[1-9]W|\\*) (2|4|[1-9]|\\*|2,4,11) \\+?([0-6]|[0-6]#[1-5]|[0-6]#L|\\*)",
        year in "( (\\*|2199|1970|2100,2096|19[7-9]0-2150/[1-9]))?",
        from in -2_000_000_000_i64..7_000_000_000,
        zone in prop::sample::select(vec![Tz::UTC, Tz::America__New_York, Tz::Pacific__Apia]),
    ) {
        let text = if year.is_empty() { text } else { format!("0 {text}{year}") };
        if let Ok(pattern) = CronPattern::parse_as(&text, Dialect::Flow) {
            let taken = steps(&pattern, zone, from);
            prop_assert!(taken <= MOST_STEPS, "{}: {}", text, taken);
        }
    }
}

/// Reads a text in every dialect, shows and searches it; whatever is refused says why in one line.
fn feed(text: &str) {
    for dialect in [
        Dialect::Flow,
        Dialect::Ocps,
        Dialect::Vixie,
        Dialect::Quartz,
        Dialect::Robfig,
        Dialect::Cronos,
        Dialect::Croner,
    ] {
        match CronPattern::parse_seeded(text, dialect, text.len() as u64) {
            Ok(pattern) => {
                for zone in [Tz::UTC, Tz::Europe__Berlin] {
                    let taken = steps(&pattern, zone, 1_774_742_400);
                    assert!(taken <= MOST_STEPS, "{text:?} in {zone}: {taken}");
                }
                let shown = pattern.to_string();
                let again = CronPattern::parse_as(&shown, dialect);
                assert_eq!(again.as_ref(), Ok(&pattern), "{text:?}");
                assert!(!pattern.describe().is_empty());
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "{error}");
                // Or it would have no place.
                assert!(!matches!(error, CronError::Croner { .. }), "{error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn text_of_a_patterns_letters(text in "[-0-9*/,LWHA-F#?+@= ]{0,40}") {
        feed(&text);
    }

    #[test]
    fn fields_of_such_letters(text in "([-0-9*/,LWH#?+]{1,4} ){4,6}[-0-7*/,LWH#?+MONFRI]{1,4}") {
        feed(&text);
    }

    #[test]
    fn text_of_any_letters(text in "\\PC{0,60}") {
        feed(&text);
    }

    #[test]
    fn bytes_of_any_kind(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        feed(&String::from_utf8_lossy(&bytes));
    }
}

/// 2,000 of each kind; more if `FLOW_CRON_INPUTS` says so, as in `cargo xtask ci --only cron`.
fn cases() -> u32 {
    let more = std::env::var("FLOW_CRON_INPUTS").ok();
    more.and_then(|more| more.parse().ok()).unwrap_or(2_000)
}
