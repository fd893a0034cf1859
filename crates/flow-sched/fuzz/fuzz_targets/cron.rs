//! Any bytes as a pattern of any dialect: it is refused with a reason that shows it, or it says
//! what it means, reads back, and finds its times in a bounded number of steps (which `Cron`
//! asserts in builds with debug assertions, as `cargo fuzz` makes them).
//!
//! `cargo +nightly fuzz run cron` in `crates/flow-sched`; `-- -dict=fuzz/cron.dict` gets further
//! in.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use flow_sched::{Cron, Dialect};
use libfuzzer_sys::{Corpus, fuzz_target};

const DIALECTS: [Dialect; 7] = [
    Dialect::Flow,
    Dialect::Ocps,
    Dialect::Vixie,
    Dialect::Quartz,
    Dialect::Robfig,
    Dialect::Cronos,
    Dialect::Croner,
];

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Some((&first, text)) = bytes.split_first() else {
        return Corpus::Reject;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return Corpus::Reject;
    };
    let dialect = DIALECTS[usize::from(first) % DIALECTS.len()];
    let cron = match Cron::parse_seeded(text, dialect, u64::from(first)) {
        Ok(cron) => cron,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Corpus::Keep;
        }
    };
    assert!(!cron.describe().is_empty());
    let shown = cron.to_string();
    assert_eq!(
        Cron::parse_as(&shown, dialect).as_ref(),
        Ok(&cron),
        "{shown}"
    );
    let at = UNIX_EPOCH + Duration::from_secs(u64::from(first) * 10_000_000);
    let (next, prev) = (cron.next_after(at), cron.prev_before(at));
    // A period has a next time from any time on, and none of its own.
    let fits = |time| cron.pattern().period().is_some() || cron.matches(time);
    assert!(next.is_none_or(|next| next > at && fits(next)));
    assert!(prev.is_none_or(|prev| prev < at && fits(prev)));
    Corpus::Keep
});
