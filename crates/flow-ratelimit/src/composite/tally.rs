//! What a composite has done, and what it is called: shared by all of its handles.

// Counts take part in no protocol: core's atomics under loom too.
#[cfg(feature = "tracing")]
use core::sync::atomic::AtomicBool;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::borrow::Cow;
use std::sync::Arc;

use flow_sync::PaddedCounter;

use super::{CompositeStats, DeniedBy};
use crate::decisions::Decisions;
#[cfg(feature = "tracing")]
use crate::error::Denied;

/// What a builder made beside the limits.
pub(crate) struct Tally {
    pub(super) name: Option<Cow<'static, str>>,
    decisions: Decisions,
    /// How often each limit denied; empty if nobody asks.
    denied_by: Box<[PaddedCounter]>,
    waiting: AtomicUsize,
    /// Whether it was told that nobody goes any more: of the first limit that was found closed, and
    /// of no other.
    #[cfg(feature = "tracing")]
    is_told: AtomicBool,
}

impl Tally {
    pub(super) fn new(name: Option<Cow<'static, str>>, limits: usize, is_counted: bool) -> Self {
        let counted = if is_counted { limits } else { 0 };
        Self {
            name,
            decisions: Decisions::new(is_counted),
            denied_by: (0..counted).map(|_| PaddedCounter::new()).collect(),
            waiting: AtomicUsize::new(0),
            #[cfg(feature = "tracing")]
            is_told: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn granted(&self) {
        self.decisions.granted(1);
    }

    pub(super) fn denied(&self, by: DeniedBy) {
        self.decisions.denied();
        // One that is asked about other limits may have more of them than were counted for.
        if let Some(count) = self.denied_by.get(by.index) {
            count.add(1);
        }
        #[cfg(feature = "tracing")]
        if by.denied == Denied::Closed
            // Only the first ones write: all others leave the line where it is.
            && !self.is_told.load(Ordering::Relaxed)
            && !self.is_told.swap(true, Ordering::Relaxed)
        {
            crate::events::member_closed(self.name.as_deref(), by.index);
        }
    }

    pub(super) fn stats(&self) -> CompositeStats {
        let (granted, denied) = self.decisions.so_far().unwrap_or_default();
        CompositeStats {
            granted,
            denied,
            waiting: self.waiting.load(Ordering::Relaxed),
            denied_by: self.denied_by.iter().map(PaddedCounter::sum).collect(),
        }
    }

    /// Grants and denials so far, if they are counted.
    #[cfg(feature = "metrics")]
    pub(super) fn counted(&self) -> Option<(u64, u64)> {
        self.decisions.so_far()
    }
}

/// One who waits is counted as long as this lives.
pub(crate) struct Waits(Arc<Tally>);

impl Waits {
    /// One more who waits for a composite; the same one if it has come from another of its lines.
    pub(crate) fn in_line(before: Option<Self>, tally: Option<&Arc<Tally>>) -> Option<Self> {
        let tally = tally?;
        let before = before.filter(|it| Arc::ptr_eq(&it.0, tally));
        Some(before.unwrap_or_else(|| {
            tally.waiting.fetch_add(1, Ordering::Relaxed);
            Self(tally.clone())
        }))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
