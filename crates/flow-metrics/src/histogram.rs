//! A histogram that is recorded into without a lock.
//!
//! # State
//! Values are whole numbers of the smallest unit: nanoseconds for durations, else the things
//! themselves. Each of the [`STRIPES`] stripes owns whole cache lines and holds one number per
//! bucket, one for what is above the last bound, and the sum.
//!
//! # Invariants
//! 1. A number of a bucket only grows, by one for each value recorded.
//! 2. The count is the sum of the buckets and stored nowhere: a snapshot's `+Inf` bucket and its
//!    count can never differ.
//! 3. The sum saturates: it never wraps to a small number.
//!
//! # Ordering
//! All accesses are relaxed: nothing is published by a count. A snapshot taken while others
//! record may have a value's bucket and not yet its part of the sum, or its part of the sum and
//! not yet its bucket; one taken after they are joined has everything.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use crate::error::BoundsError;
use crate::stripe::{self, Line, PER_LINE, STRIPES};

/// Counts values by size, in buckets that are fixed when it is made.
///
/// ```
/// # fn main() -> Result<(), flow_metrics::BoundsError> {
/// use std::time::Duration;
/// use flow_metrics::Histogram;
///
/// let waits = Histogram::seconds(&[Duration::from_millis(1), Duration::from_millis(10)])?;
/// waits.record_duration(Duration::from_millis(1)); // a bound belongs to its bucket
/// waits.record_duration(Duration::from_millis(9));
/// waits.record_duration(Duration::from_secs(1));
///
/// let now = waits.snapshot();
/// assert_eq!(now.counts(), [1, 1, 1]);
/// assert_eq!(now.bounds(), [0.001, 0.01]);
/// assert!((now.sum() - 1.01).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub struct Histogram {
    /// Upper bounds, rising, in the smallest unit.
    bounds: Box<[u64]>,
    /// The same bounds in the unit that is shown.
    shown: Arc<[f64]>,
    /// How many of the smallest unit make one that is shown.
    scale: f64,
    lines: Box<[Line]>,
}

impl Histogram {
    /// A histogram of durations, shown in seconds.
    ///
    /// # Errors
    /// [`BoundsError`] if there is no bound, more than 254, or one not above the one before it.
    pub fn seconds(bounds: &[Duration]) -> Result<Self, BoundsError> {
        let bounds = bounds.iter().copied().map(nanos).collect();
        Self::with_scale(bounds, 1e9)
    }

    /// A histogram of whole numbers: bytes, items.
    ///
    /// # Errors
    /// As [`seconds`](Self::seconds).
    pub fn values(bounds: &[u64]) -> Result<Self, BoundsError> {
        Self::with_scale(bounds.into(), 1.0)
    }

    /// A histogram of durations from 100 µs to 10 s, two or three bounds per decade: what a
    /// service waits for.
    pub fn latency() -> Self {
        const MICROS: [u64; 16] = [
            100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
            1_000_000, 2_500_000, 5_000_000, 10_000_000,
        ];
        let bounds = MICROS.iter().map(|us| us * 1_000).collect();
        Self::with_checked(bounds, 1e9)
    }

    fn with_scale(bounds: Box<[u64]>, scale: f64) -> Result<Self, BoundsError> {
        if bounds.is_empty() {
            return Err(BoundsError::Empty);
        }
        if bounds.len() > MAX_BOUNDS {
            return Err(BoundsError::TooMany {
                given: bounds.len(),
                allowed: MAX_BOUNDS,
            });
        }
        if let Some(at) = bounds.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(BoundsError::NotRising { index: at + 1 });
        }
        Ok(Self::with_checked(bounds, scale))
    }

    fn with_checked(bounds: Box<[u64]>, scale: f64) -> Self {
        let lines = STRIPES * lines_per_stripe(bounds.len());
        Self {
            shown: bounds.iter().map(|&bound| bound as f64 / scale).collect(),
            scale,
            lines: (0..lines).map(|_| Line::new()).collect(),
            bounds,
        }
    }

    /// Records a duration; one of more than 584 years counts as that.
    ///
    /// For histograms made by [`seconds`](Self::seconds) and [`latency`](Self::latency).
    ///
    /// # Cost
    /// As [`record`](Self::record).
    #[inline]
    pub fn record_duration(&self, duration: Duration) {
        self.record(nanos(duration));
    }

    /// Records a value in the smallest unit: nanoseconds in a histogram of durations.
    ///
    /// # Cost
    /// A binary search over the bounds and two atomic operations on lines that few threads
    /// share.
    #[inline]
    pub fn record(&self, value: u64) {
        let stripe = stripe::current();
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.number(stripe, bucket).fetch_add(1, Ordering::Relaxed);
        // Invariant 3. The closure never refuses, so there is no error to see.
        let _ = self.number(stripe, self.bounds.len() + 1).fetch_update(
            Ordering::Relaxed,
            Ordering::Relaxed,
            |sum| Some(sum.saturating_add(value)),
        );
    }

    /// Everything recorded so far.
    ///
    /// Of a value that is being recorded meanwhile it may have the count without its part of the
    /// sum, or the other way round.
    ///
    /// # Cost
    /// Eight loads per bucket and an allocation.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut counts = vec![0; self.bounds.len() + 1];
        let mut sum = 0_u64;
        for stripe in 0..STRIPES {
            for (bucket, count) in counts.iter_mut().enumerate() {
                *count += self.number(stripe, bucket).load(Ordering::Relaxed);
            }
            let part = self.number(stripe, self.bounds.len() + 1);
            sum = sum.saturating_add(part.load(Ordering::Relaxed));
        }
        HistogramSnapshot {
            bounds: self.shown.clone(),
            counts,
            sum: sum as f64 / self.scale,
        }
    }

    /// The `index`th number of a stripe: buckets, the one above, the sum.
    #[inline]
    fn number(&self, stripe: usize, index: usize) -> &AtomicU64 {
        let line = stripe * lines_per_stripe(self.bounds.len()) + index / PER_LINE;
        &self.lines[line].0[index % PER_LINE]
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// What a histogram held when it was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    bounds: Arc<[f64]>,
    counts: Vec<u64>,
    sum: f64,
}

impl HistogramSnapshot {
    /// A snapshot of values that were counted elsewhere: rising upper bounds, the count of each
    /// bucket, then the count above the last bound.
    ///
    /// # Errors
    /// [`BoundsError`] if the bounds are not finite and rising or the counts do not fit them.
    pub fn new(
        bounds: impl Into<Arc<[f64]>>,
        counts: Vec<u64>,
        sum: f64,
    ) -> Result<Self, BoundsError> {
        let bounds = bounds.into();
        if bounds.is_empty() {
            return Err(BoundsError::Empty);
        }
        for (index, bound) in bounds.iter().enumerate() {
            if !bound.is_finite() || (index > 0 && bounds[index - 1] >= *bound) {
                return Err(BoundsError::NotRising { index });
            }
        }
        if counts.len() != bounds.len() + 1 {
            return Err(BoundsError::Counts {
                given: counts.len(),
                expected: bounds.len() + 1,
            });
        }
        Ok(Self {
            bounds,
            counts,
            sum,
        })
    }

    /// The upper bounds of the buckets, rising, each belonging to its bucket.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// How many values fell in each bucket, and last, above all bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, &n| sum.saturating_add(n))
    }

    /// The sum of the values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The value that a fraction `q` of the values do not exceed, taken as evenly spread inside
    /// their bucket; the last bound for what is above it. `None` without values, or if `q` is
    /// not from 0 to 1.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = q * total as f64;
        let mut below = 0.0;
        let mut lower = self.bounds[0].min(0.0);
        for (&upper, &count) in self.bounds.iter().zip(&self.counts) {
            let count = count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(lower + (upper - lower) * ((rank - below) / count).max(0.0));
            }
            below += count;
            lower = upper;
        }
        Some(lower)
    }

    /// Adds the values of `other`, if its bounds are the same.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        if self.bounds != other.bounds {
            return false;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.sum += other.sum;
        true
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Lines for the buckets, the one above and the sum.
#[inline]
const fn lines_per_stripe(bounds: usize) -> usize {
    (bounds + 2).div_ceil(PER_LINE)
}

/// More would make a histogram larger than the thing it watches.
const MAX_BOUNDS: usize = 254;
