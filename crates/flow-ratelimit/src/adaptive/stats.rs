//! What an adaptive limiter has decided.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::Window;
use crate::concurrency::ConcurrencyStats;

/// What an [`AdaptiveLimiter`](super::AdaptiveLimiter) has done and decided, and how it stands.
///
/// Each number is exact, but for what [`ConcurrencyStats`] says of its own beside grants that are
/// under way; together they are of about the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdaptiveStats {
    /// Permits: granted, denied, in flight, waited for; and the limit.
    pub permits: ConcurrencyStats,
    /// Windows that were decided upon.
    pub windows: u64,
    /// Of these, the ones that raised the limit.
    pub increases: u64,
    /// Of these, the ones that lowered it.
    pub decreases: u64,
    /// The mean latency of the last one with a success.
    pub last_latency: Option<Duration>,
    /// The failures among the samples of all windows.
    pub failures: u64,
}

/// Written by the closer of a window alone, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    windows: AtomicU64,
    increases: AtomicU64,
    decreases: AtomicU64,
    failures: AtomicU64,
    /// In nanoseconds; 0 is none.
    last_latency: AtomicU64,
    #[cfg(feature = "tracing")]
    pub(super) quiet: crate::events::Quiet,
}

impl Decisions {
    /// `limit` was made of `window`.
    pub(super) fn count(&self, window: &Window, limit: u32) {
        self.windows.fetch_add(1, Ordering::Relaxed);
        if limit > window.limit() {
            self.increases.fetch_add(1, Ordering::Relaxed);
        }
        if limit < window.limit() {
            self.decreases.fetch_add(1, Ordering::Relaxed);
        }
        self.failures
            .fetch_add(window.failure_count(), Ordering::Relaxed);
        if let Some(latency) = window.mean_latency() {
            // It is a mean of at most 4.5 minutes.
            let nanos = latency.as_nanos() as u64;
            self.last_latency.store(nanos, Ordering::Relaxed);
        }
    }

    pub(super) fn stats(&self, permits: ConcurrencyStats) -> AdaptiveStats {
        let last = self.last_latency.load(Ordering::Relaxed);
        AdaptiveStats {
            permits,
            windows: self.windows.load(Ordering::Relaxed),
            increases: self.increases.load(Ordering::Relaxed),
            decreases: self.decreases.load(Ordering::Relaxed),
            last_latency: (last > 0).then(|| Duration::from_nanos(last)),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}
