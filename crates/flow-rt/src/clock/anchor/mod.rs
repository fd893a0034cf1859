//! A counter read as CLOCK_MONOTONIC's time, to which each thread ties it anew every 8 ms.
//!
//! # State
//! [`Line`], one a thread, nothing shared: at `raw` ticks it was `nanos`, and since then `mult` /
//! 2^32 nanoseconds went by per tick; that holds for `span` ticks, of which `seen` were read.
//! [`Scale`], one a process: the counter, and the rate that some thread measured last, for
//! threads that have none yet.
//!
//! # Invariants
//! 1. A thread's readings never go back: along a line `seen` only rises, and a new line starts at
//!    what was read last, or later.
//! 2. A line is followed for `span` ticks only, 8 ms by its own reckoning. So a reading is never
//!    more than 8 ms ahead of what the counter's course so far allows, and `ticks * mult` is
//!    below 2^55 for any two readings of any counter.
//! 3. The rate is within 1/512 of what was calibrated. A stretch of time in which the counter ran
//!    otherwise is *implausible*: it is not measured, only re-anchored.
//! 4. A counter that was implausible again and again is distrusted, by all threads and for good:
//!    then CLOCK_MONOTONIC is read every time.
//!
//! # A reading
//! Counter, distance to the line's start, one comparison (the line is over, or the counter
//! jumped, either way), another (it stands, or went back a little), multiply. Everything else is
//! in the cold path, which also is the first reading's, since a line of no length is over at
//! once. It all fits into the shadow of the counter's read; comparing times in place of ticks did
//! not, and cost 1.5 ns.
//!
//! # Error
//! A fix puts CLOCK_MONOTONIC between two counter reads; it is off by half of what lies between
//! them, 20 ns as a rule and 125 at the most: it is repeated when a thread was interrupted inside.
//! The rate between two fixes 8 ms apart is then right to 5 ppm as a rule, and the next line ends
//! 40 ns off; a line is as long as makes 250 ns the most. The calibration's 100 ppm matter for a
//! thread's first line only, which lasts 1 ms. Where the
//! kernel itself changes its rate, the line in force is off by as much, for 8 ms at the most:
//! 0.5 µs for 60 ppm. Where the old line ran ahead, the new one starts ahead (1) and runs slower,
//! until both meet at its end.
//!
//! # Ordering
//! A thread reads its own cells. `Scale`'s atomics are hints that stand for themselves: Relaxed.
//!
//! # Source
//! The vDSO's own scheme (mult and shift from a base, renewed by the timekeeper), kept per thread
//! so that it needs no sequence lock; redis and others found a calibrated rate alone to drift.

use core::cell::Cell;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[cfg(test)]
mod tests;

/// A counter and the clock it is tied to.
pub(super) trait Source {
    /// The counter: any number of ticks, meant to rise evenly.
    fn raw(&self) -> u64;

    /// CLOCK_MONOTONIC in nanoseconds.
    fn mono(&self) -> u64;
}

/// What all threads know of a counter.
pub(super) struct Scale<S> {
    source: S,
    /// Nanoseconds per tick as calibrated, times 2^32.
    nominal: u64,
    /// As measured last.
    rate: AtomicU64,
    distrusted: AtomicBool,
}

/// What one thread knows of it.
pub(super) struct Line {
    raw: Cell<u64>,
    nanos: Cell<u64>,
    mult: Cell<u64>,
    span: Cell<u64>,
    seen: Cell<u64>,
    /// CLOCK_MONOTONIC at `raw`; `nanos` may be ahead of it.
    fixed: Cell<u64>,
    /// How far `fixed` may be off, in nanoseconds.
    blur: Cell<u64>,
    /// How strange the counter was lately.
    strikes: Cell<u32>,
}

impl<S: Source> Scale<S> {
    /// Measures the counter's rate against CLOCK_MONOTONIC; `None` if it cannot be told.
    ///
    /// `wait` lets about so much time go by.
    pub(super) fn calibrate(source: S, mut wait: impl FnMut(Duration)) -> Option<Self> {
        let mut pause = SHORTEST;
        let mut from = Fix::take(&source, 0, CALIBRATION_TRIES);
        for _ in 0..CALIBRATIONS {
            wait(Duration::from_nanos(pause));
            let to = Fix::take(&source, 0, CALIBRATION_TRIES);
            let ticks = to.raw.wrapping_sub(from.raw);
            let passed = to.nanos.saturating_sub(from.nanos);
            let nominal = rate(passed, ticks);
            // Right to 100 ppm, and a counter between 4 MHz and 1 THz.
            let blur = u128::from(from.width) + u128::from(to.width);
            if blur * 10_000 <= u128::from(ticks) && (1 << 22..1 << 40).contains(&nominal) {
                return Some(Self {
                    source,
                    nominal,
                    rate: AtomicU64::new(nominal),
                    distrusted: AtomicBool::new(false),
                });
            }
            pause *= 2;
            if to.width <= from.width {
                from = to;
            }
        }
        None
    }

    /// Whether CLOCK_MONOTONIC is read instead.
    pub(super) fn is_distrusted(&self) -> bool {
        self.distrusted.load(Ordering::Relaxed)
    }

    fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }
}

impl Line {
    /// A line of no length: the first reading starts one.
    pub(super) const fn new() -> Self {
        Self {
            raw: Cell::new(0),
            nanos: Cell::new(0),
            mult: Cell::new(0),
            span: Cell::new(0),
            seen: Cell::new(0),
            fixed: Cell::new(0),
            blur: Cell::new(0),
            strikes: Cell::new(0),
        }
    }

    /// The time in nanoseconds.
    #[inline]
    pub(super) fn now<S: Source>(&self, scale: &Scale<S>) -> u64 {
        let ticks = scale.source.raw().wrapping_sub(self.raw.get());
        if ticks >= self.span.get() {
            return self.look(scale, ticks);
        }
        if ticks <= self.seen.get() {
            return self.look_again(scale, ticks);
        }
        self.seen.set(ticks);
        self.last()
    }

    /// By itself, so that either comparison is a branch.
    #[cold]
    #[inline(never)]
    fn look_again<S: Source>(&self, scale: &Scale<S>, ticks: u64) -> u64 {
        self.look(scale, ticks)
    }

    /// Reads CLOCK_MONOTONIC and starts a new line, if the counter deserves it.
    #[cold]
    #[inline(never)]
    fn look<S: Source>(&self, scale: &Scale<S>, ticks: u64) -> u64 {
        if scale.is_distrusted() {
            self.span.set(0);
            return self.advance(scale.source.mono());
        }
        let stood_still = ticks < self.span.get();
        let fix = Fix::take(&scale.source, (CLEAR << 32) / scale.rate(), TRIES);
        let blur = nanos(fix.width, scale.rate());
        if blur > BLURRED {
            // Interrupted each time, or reading either takes long, or cores disagree.
            self.strike(scale, 1);
            self.span.set(0);
            return self.advance(fix.nanos);
        }
        let (rate, reach) = if self.blur.get() == 0 {
            (scale.rate(), SHORTEST)
        } else {
            self.measure(scale, &fix, blur, stood_still)
        };
        self.start(&fix, blur.max(1), rate, reach)
    }

    /// The rate since the last fix, and for how long to rely on it.
    fn measure<S: Source>(
        &self,
        scale: &Scale<S>,
        fix: &Fix,
        blur: u64,
        stood_still: bool,
    ) -> (u64, u64) {
        let ticks = fix.raw.wrapping_sub(self.raw.get());
        let passed = fix.nanos.saturating_sub(self.fixed.get());
        let expected = nanos(ticks, scale.nominal);
        let allowed = (passed / TOLERANCE).saturating_add(SLACK + blur + self.blur.get());
        if expected.abs_diff(passed) > allowed {
            self.strike(scale, 16);
            return (scale.rate(), SHORTEST);
        }
        // Not between two ticks of a slow counter, nor two reads that the processor reordered.
        if stood_still && fix.nanos.saturating_sub(self.last()) > SLACK {
            self.strike(scale, 1);
        }
        if passed < SHORTEST / 2 {
            return (scale.rate(), SHORTEST);
        }
        self.strikes.set(self.strikes.get().saturating_sub(1));
        let narrow = scale.nominal / TOLERANCE;
        let rate = rate(passed, ticks).clamp(scale.nominal - narrow, scale.nominal + narrow);
        scale.rate.store(rate, Ordering::Relaxed);
        // As far as the blur makes the rate good for `DRIFT`.
        let blurs = blur.saturating_add(self.blur.get()).max(1);
        let reach = passed.saturating_mul(2 * DRIFT) / blurs;
        (rate, reach.min(LONGEST))
    }

    /// Starts a line at `fix`, for `reach` nanoseconds. The time there.
    fn start(&self, fix: &Fix, blur: u64, rate: u64, reach: u64) -> u64 {
        let from = self.advance(fix.nanos);
        let span = (reach << 32) / rate;
        // Ahead of the time: slower by that much, so that it is right at the end.
        let ahead = (from - fix.nanos).min(reach / 2);
        self.raw.set(fix.raw);
        self.mult.set(rate - (ahead << 32) / span);
        // Near the end of all numbers a line has no length, so that it never leads beyond.
        self.span.set(if from > LAST { 0 } else { span });
        self.fixed.set(fix.nanos);
        self.blur.set(blur);
        from
    }

    /// Ends the line at `to`, unless that were back. The time there.
    fn advance(&self, to: u64) -> u64 {
        let to = to.max(self.last());
        self.nanos.set(to);
        self.seen.set(0);
        to
    }

    /// The last reading.
    #[inline]
    fn last(&self) -> u64 {
        // Below 2^55 (2): there is room for it after `LAST`.
        self.nanos.get() + ((self.seen.get() * self.mult.get()) >> 32)
    }

    fn strike<S: Source>(&self, scale: &Scale<S>, weight: u32) {
        let strikes = self.strikes.get().saturating_add(weight);
        self.strikes.set(strikes);
        if strikes >= OUT {
            scale.distrusted.store(true, Ordering::Relaxed);
        }
    }
}

/// A value of the counter and one of CLOCK_MONOTONIC, for one moment.
struct Fix {
    raw: u64,
    nanos: u64,
    /// Ticks between the two counter reads around.
    width: u64,
}

impl Fix {
    /// The sharpest of `tries`, or the first that is no wider than `clear` ticks.
    fn take<S: Source>(source: &S, clear: u64, tries: u32) -> Self {
        let mut best = Self::one(source);
        for _ in 1..tries {
            if best.width <= clear {
                break;
            }
            let next = Self::one(source);
            if next.width < best.width {
                best = next;
            }
        }
        best
    }

    fn one<S: Source>(source: &S) -> Self {
        let before = source.raw();
        let nanos = source.mono();
        let width = source.raw().wrapping_sub(before);
        Self {
            raw: before.wrapping_add(width / 2),
            nanos,
            width,
        }
    }
}

/// Nanoseconds of so many ticks, at the most all there are.
fn nanos(ticks: u64, rate: u64) -> u64 {
    let nanos = (u128::from(ticks) * u128::from(rate)) >> 32;
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Nanoseconds per tick, times 2^32.
fn rate(nanos: u64, ticks: u64) -> u64 {
    let rate = (u128::from(nanos) << 32) / u128::from(ticks.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// No line of any length starts after it, in nanoseconds: in five centuries.
const LAST: u64 = u64::MAX - (1 << 23);
/// A line's first length, in nanoseconds; it grows as the rate gets better known.
const SHORTEST: u64 = 1_000_000;
/// A line's length at the most.
const LONGEST: u64 = 8_000_000;
/// A fix this sharp is not repeated, in nanoseconds.
const CLEAR: u64 = 60;
/// A fix wider than this is none.
const BLURRED: u64 = 250;
/// How far a line may be off at its end by what is not known of the rate.
const DRIFT: u64 = 250;
/// One part in so many is the most that a rate may be off.
const TOLERANCE: u64 = 512;
/// What any stretch may be off, beside its fixes' blur.
const SLACK: u64 = 1_000;
const TRIES: u32 = 5;
const CALIBRATION_TRIES: u32 = 16;
const CALIBRATIONS: u32 = 10;
/// Four implausible stretches in close succession.
const OUT: u32 = 64;
