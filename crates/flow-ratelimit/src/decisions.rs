//! How often a limiter said yes, and how often no.

#[cfg(feature = "metrics")]
use flow_metrics::{Desc, Sink};
use flow_sync::{Here, PaddedCounters};

/// Decisions in cells that few deciding threads share or none, 3 KiB of them. If nobody asks they
/// stay as they are: boxed, to save that room, they would be a pointer further from every decision.
pub(crate) struct Decisions(Option<PaddedCounters<2>>);

const GRANTED: usize = 0;
const DENIED: usize = 1;

impl Decisions {
    pub(crate) fn new(is_counted: bool) -> Self {
        Self(is_counted.then(PaddedCounters::new))
    }

    #[inline]
    pub(crate) fn count(&self, granted: bool) {
        if granted {
            self.granted(1);
        } else {
            self.denied();
        }
    }

    /// Counts requests that were granted, all at once.
    #[inline]
    pub(crate) fn granted(&self, requests: u64) {
        if let Some(counts) = &self.0 {
            counts.add::<GRANTED>(requests);
        }
    }

    /// Where this thread counts, looked up ahead of a decision.
    #[inline]
    pub(crate) fn here(&self) -> Tally<'_> {
        Tally(self.0.as_ref().map(PaddedCounters::here))
    }

    #[inline]
    pub(crate) fn denied(&self) {
        if let Some(counts) = &self.0 {
            counts.add::<DENIED>(1);
        }
    }

    /// Grants and denials so far, if they are counted.
    pub(crate) fn so_far(&self) -> Option<(u64, u64)> {
        let counts = self.0.as_ref()?;
        Some((counts.sum::<GRANTED>(), counts.sum::<DENIED>()))
    }
}

/// Where one thread counts decisions, if they are counted.
pub(crate) struct Tally<'a>(Option<Here<'a, 2>>);

impl Tally<'_> {
    /// Counts one request that was granted.
    #[inline]
    pub(crate) fn granted(&self) {
        if let Some(here) = &self.0 {
            here.add::<GRANTED>(1);
        }
    }
}

/// Shows grants and denials, if they are counted, by a counter whose last label is the decision.
#[cfg(feature = "metrics")]
pub(crate) fn show(
    counted: Option<(u64, u64)>,
    out: &mut dyn Sink,
    desc: &'static Desc,
    labels: &[(&'static str, &str)],
) {
    let Some((granted, denied)) = counted else {
        return;
    };
    for (decision, count) in [("granted", granted), ("denied", denied)] {
        let labels: Vec<_> = labels
            .iter()
            .copied()
            .chain([("decision", decision)])
            .collect();
        out.counter(desc, &labels, count);
    }
}
