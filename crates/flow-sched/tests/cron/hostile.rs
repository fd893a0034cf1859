//! Patterns that keep other libraries busy.

use flow_sched::{CronError, CronPattern, Dialect};

use crate::common::DIALECTS;

#[test]
fn patterns_that_never_occur_are_refused() {
    for never in [
        "0 0 30 2 *",
        "0 0 31 2,4,6,9,11 *",
        "0 0 1W * +SUN",
        "0 0 0 29 2 * 2025",
    ] {
        for dialect in [Dialect::Flow, Dialect::Croner] {
            let refused = CronPattern::parse_as(never, dialect).unwrap_err();
            assert!(
                matches!(refused, CronError::NeverOccurs { .. }),
                "{refused}"
            );
        }
    }
    for dialect in DIALECTS {
        let refused = CronPattern::parse_as(", * * * *", dialect);
        assert!(refused.is_err(), "{dialect:?}");
    }
}
