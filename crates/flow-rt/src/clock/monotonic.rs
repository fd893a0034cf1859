//! The machine's time where there is no counter to read, or none is wanted: CLOCK_MONOTONIC.

use crate::instant::Instant;

#[inline]
pub(super) fn now() -> Instant {
    Instant::now_monotonic()
}

/// There is nothing to find out.
pub(super) fn ask() {}

pub(super) fn is_tsc() -> bool {
    false
}
