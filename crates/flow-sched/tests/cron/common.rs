//! What several tests need.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flow_sched::Dialect;

pub(crate) const DIALECTS: [Dialect; 7] = [
    Dialect::Flow,
    Dialect::Ocps,
    Dialect::Vixie,
    Dialect::Quartz,
    Dialect::Robfig,
    Dialect::Cronos,
    Dialect::Croner,
];

/// So many seconds after the epoch, or before it.
pub(crate) fn at(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

/// The seconds of a whole second.
pub(crate) fn seconds(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs().cast_signed(),
        Err(before) => -before.duration().as_secs().cast_signed(),
    }
}
