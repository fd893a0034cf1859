//! Text from strangers: an answer for all of it.

use flow_sched::{Cron, CronError, CronPattern, Dialect};
use proptest::prelude::*;

use crate::common::at;

const DIALECTS: [Dialect; 7] = [
    Dialect::Flow,
    Dialect::Ocps,
    Dialect::Vixie,
    Dialect::Quartz,
    Dialect::Robfig,
    Dialect::Cronos,
    Dialect::Croner,
];

/// Reads, shows and searches; whatever is refused says why in one line.
fn feed(text: &str) {
    for dialect in DIALECTS {
        match Cron::parse_as(text, dialect) {
            Ok(cron) => {
                let from = at(1_774_742_400);
                assert!(cron.next_after(from).is_none_or(|next| next > from));
                assert!(cron.prev_before(from).is_none_or(|prev| prev < from));
                let shown = cron.to_string();
                assert_eq!(
                    Cron::parse_as(&shown, dialect).as_ref(),
                    Ok(&cron),
                    "{text:?}"
                );
                assert!(!cron.describe().is_empty());
            }
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
}

#[test]
fn patterns_that_keep_croner_busy_for_seconds_are_refused() {
    for never in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "0 0 1W * +SUN",
        "0 0 0 29 2 * 2025",
    ] {
        let refused = CronPattern::parse(never).unwrap_err();
        assert!(
            matches!(refused, CronError::NeverOccurs { .. }),
            "{refused}"
        );
        let refused = CronPattern::parse_as(never, Dialect::Croner).unwrap_err();
        assert!(
            matches!(refused, CronError::NeverOccurs { .. }),
            "{refused}"
        );
    }
    for dialect in DIALECTS {
        let refused = CronPattern::parse_as(", * * * *", dialect);
        assert!(refused.is_err(), "{dialect:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn text_of_a_patterns_letters(text in "[-0-9*/,LWHA-F#?+@= ]{0,40}") {
        feed(&text);
    }

    #[test]
    fn fields_of_such_letters(text in "([-0-9*/,LW#?+]{1,4} ){4,6}[-0-7*/,LW#?+MONFRI]{1,4}") {
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

/// 2,000 of each kind; more if `FLOW_CRON_INPUTS` says so.
fn cases() -> u32 {
    let more = std::env::var("FLOW_CRON_INPUTS").ok();
    more.and_then(|more| more.parse().ok()).unwrap_or(2_000)
}
