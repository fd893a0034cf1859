//! Cells for one number: a counter spread over padded cells, and a gauge.

use core::fmt;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::stripe::{self, STRIPES};

/// A number that only grows, spread over padded cells so that threads do not contend.
///
/// Usable in a `static`. Counting is relaxed: it orders nothing else. It wraps at 2^64.
///
/// ```
/// use flow_metrics::Counter;
///
/// static ORDERS: Counter = Counter::new();
/// ORDERS.add(2);
/// ORDERS.increment();
/// assert_eq!(ORDERS.get(), 3);
/// ```
pub struct Counter([Cell; STRIPES]);

#[repr(align(128))]
struct Cell(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self([const { Cell(AtomicU64::new(0)) }; STRIPES])
    }

    /// Adds one.
    ///
    /// # Cost
    /// One atomic add to a cell that few threads share.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    ///
    /// # Cost
    /// As [`increment`](Self::increment).
    #[inline]
    pub fn add(&self, n: u64) {
        self.0[stripe::current()].0.fetch_add(n, Ordering::Relaxed);
    }

    /// What was added so far, on all threads.
    ///
    /// # Cost
    /// Eight loads.
    pub fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, cell| {
            sum.wrapping_add(cell.0.load(Ordering::Relaxed))
        })
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.get()).finish()
    }
}

/// A number that goes up and down, in one cell. Usable in a `static`.
///
/// ```
/// use flow_metrics::Gauge;
///
/// let waiting = Gauge::new();
/// waiting.add(2);
/// waiting.subtract(1);
/// assert_eq!(waiting.get(), 1);
/// ```
#[derive(Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// A gauge at zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Moves it up. Wraps at the ends of `i64`.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Moves it down. Wraps at the ends of `i64`.
    #[inline]
    pub fn subtract(&self, n: i64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets it.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value now.
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gauge").field(&self.get()).finish()
    }
}
