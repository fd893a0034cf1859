//! Samples from many threads, and the one thread that closes a window of them.
//!
//! # State
//! A [`Cell`] per few threads: count and sum of latencies in one word, and beside it their
//! squares, the fastest, failures and the most in flight. `end`: when the window is over, or
//! `CLOSING`. `epoch`: how often the limit was lowered.
//!
//! # Invariants
//! 1. Whoever changed `end` from a time to `CLOSING` is the closer, and the only one until it
//!    stores the next time: at most one thread runs the algorithm and sets the limit.
//! 2. A latency is in one window: it is added in one step and taken in one. What else a sample
//!    says may be taken with the window after it.
//! 3. Samples of permits from before the last decrease are not added. One that had passed the
//!    check as the epoch rose falls into the window after the decrease, which nobody sees.
//! 4. `end` is at most 16 windows ahead, or the window is over: so a clock that was put back,
//!    however far, holds no window open for longer. The bound is a constant; beside a length of
//!    each window, read on its own, a window was closed that had just been opened.
//!
//! # Steps
//! sample: epoch unchanged? add to the cell of this thread. Is the window over? claim.
//! claim: CAS `end` to `CLOSING`; lost: somebody else closes it. Enough samples? Take each word by
//! a swap with 0. Else put `end` back.
//! close (the limiter): ask the algorithm; set the limit; lowered: **then** raise the epoch;
//! store the next `end`.
//! After a decrease the first window is short and thrown away: it holds only permits that were
//! quick, for the slow ones from after the decrease are not back yet. Its latency would be too
//! low, and every decrease would call the service faster than it is.
//!
//! # Ordering
//! The store of `end` is a release, the CAS an acquire: what the closer wrote for itself is seen
//! by the next. The epoch is raised by a release after the limit was set, and read by an acquire
//! before the clock: what has the new epoch began after the decrease. The cells need no order but
//! that of each word.
//!
//! # Sampling
//! Two looks at the clock and two RMWs per sample are several times what a permit costs. A window
//! needs some hundred samples, so under much traffic only one permit in `stride` is a sample;
//! the stride follows from the window before. Which one is left to a hash of their number, so that
//! no pattern of the traffic's own decides it: successes and failures are left out in equal shares
//! and the mean is that of all. What is in flight is counted for all of them, by the limiter.
//!
//! A cell that is full before its window is over, as one is in the window in which traffic begins,
//! takes no more; of its permits one in `MAX_STRIDE` looks whether the window is over, and counts
//! those left out, so that the next stride is right at once.

use core::time::Duration;

use flow_rt::{Clock, Instant};
use flow_sync::Sharded;
use flow_sync::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::Window;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Windows {
    cells: Sharded<Cell>,
    end: AtomicU64,
    epoch: AtomicU32,
    stride: AtomicU32,
    /// The closer's own.
    opened: AtomicU64,
    is_settling: AtomicBool,
    shortest: u64,
    min_samples: u64,
}

#[derive(Debug, Default)]
struct Cell {
    /// Permits until the next one that is a sample.
    skip: AtomicU32,
    /// Permits since the start, for the hash.
    turn: AtomicU32,
    /// How many latencies, in the upper 13 bits, and their sum in nanoseconds.
    latencies: AtomicU64,
    /// The sum of their squares: the bits of an f64 of nanoseconds.
    squares: AtomicU64,
    /// The fastest, as its complement, so that 0 is none.
    fastest: AtomicU64,
    failures: AtomicU64,
    most_in_flight: AtomicU32,
    /// Samples that found the cell full.
    beyond: AtomicU32,
}

/// The beginning of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    at: u64,
    epoch: u32,
}

/// How a permit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    Overloaded,
}

impl Windows {
    pub(super) fn new(now: Instant, length: Duration, min_samples: u32) -> Self {
        let shortest = nanos(length);
        Self {
            cells: Sharded::default(),
            end: AtomicU64::new(after(now.as_nanos(), shortest)),
            epoch: AtomicU32::new(0),
            stride: AtomicU32::new(1),
            opened: AtomicU64::new(now.as_nanos()),
            is_settling: AtomicBool::new(false),
            shortest,
            min_samples: u64::from(min_samples),
        }
    }

    /// A permit was taken; its beginning if it is a sample.
    #[inline]
    pub(super) fn begin(&self, clock: &impl Clock) -> Option<Started> {
        let cell = self.cells.mine();
        let skip = cell.skip.load(Ordering::Relaxed);
        if skip > 0 {
            // A lost update only moves the next sample.
            cell.skip.store(skip - 1, Ordering::Relaxed);
            return None;
        }
        Some(self.begin_sample(cell, clock))
    }

    #[inline(never)]
    fn begin_sample(&self, cell: &Cell, clock: &impl Clock) -> Started {
        let stride = if cell.is_full() {
            MAX_STRIDE
        } else {
            self.stride.load(Ordering::Relaxed)
        };
        if stride > 1 {
            let turn = cell.turn.load(Ordering::Relaxed).wrapping_add(1);
            cell.turn.store(turn, Ordering::Relaxed);
            cell.skip.store(gap(turn, stride), Ordering::Relaxed);
        }
        self.now(clock)
    }

    /// The beginning of a sample that begins now.
    #[inline]
    pub(super) fn now(&self, clock: &impl Clock) -> Started {
        let epoch = self.epoch.load(Ordering::Acquire);
        let at = clock.now().as_nanos();
        Started { at, epoch }
    }

    /// Adds a sample; true if its window is over.
    pub(super) fn end(&self, started: Started, now: Instant, in_flight: u32, how: Ended) -> bool {
        let now = now.as_nanos();
        if started.epoch == self.epoch.load(Ordering::Acquire) {
            let cell = self.cells.mine();
            match (how, now.checked_sub(started.at)) {
                (Ended::Well, Some(latency)) => cell.add(latency.min(MAX_LATENCY)),
                // The clock went back meanwhile: nobody knows how long it took.
                (Ended::Well, None) => {}
                (Ended::Overloaded, _) => cell.add_failure(),
            }
            if cell.most_in_flight.load(Ordering::Relaxed) < in_flight {
                cell.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
            }
        }
        let end = self.end.load(Ordering::Relaxed);
        end != CLOSING && self.is_over(end, now)
    }

    /// Makes the caller the closer if the window is over still, and there is enough in it.
    pub(super) fn claim(&self, now: Instant, limit: u32) -> Option<Claim<'_>> {
        let now = now.as_nanos();
        let end = self.end.load(Ordering::Relaxed);
        if end == CLOSING || !self.is_over(end, now) {
            return None;
        }
        self.end
            .compare_exchange(end, CLOSING, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        let mut claim = Claim {
            windows: self,
            next: end,
            length: self.shortest,
            window: None,
        };
        if self.is_settling.load(Ordering::Relaxed) {
            self.is_settling.store(false, Ordering::Relaxed);
            self.beyond();
            self.take(limit, now);
            claim.open(now, self.shortest);
            return None;
        }
        if self.samples() < self.min_samples {
            return None;
        }
        let beyond = self.beyond();
        let window = self.take(limit, now);
        self.adjust_stride(&window, beyond);
        // A service slower than a window: the limit of now must show in what it sees.
        let twice = window
            .mean_latency()
            .map_or(0, |latency| nanos(latency) * 2);
        claim.open(now, twice.clamp(self.shortest, self.shortest * LONGER));
        claim.window = Some(window);
        Some(claim)
    }

    fn is_over(&self, end: u64, now: u64) -> bool {
        // Wraps to a large number if the end has passed (4).
        end.wrapping_sub(now).wrapping_sub(1) >= self.shortest * LONGER
    }

    /// Samples in the open window.
    fn samples(&self) -> u64 {
        let of = |cell: &Cell| {
            let latencies = cell.latencies.load(Ordering::Relaxed);
            (latencies >> COUNT_SHIFT) + cell.failures.load(Ordering::Relaxed)
        };
        self.cells.iter().map(of).sum()
    }

    /// Permits that found their cells full, about: each sample stands for those it left out.
    fn beyond(&self) -> u64 {
        let of = |cell: &Cell| u64::from(cell.beyond.swap(0, Ordering::Relaxed));
        self.cells.iter().map(of).sum::<u64>() * u64::from(MAX_STRIDE)
    }

    /// Takes everything out of the cells.
    fn take(&self, limit: u32, now: u64) -> Window {
        let (mut count, mut sum, mut squares, mut failures) = (0, 0, 0.0, 0_u64);
        let (mut fastest, mut most) = (0, 0);
        for cell in self.cells.iter() {
            let latencies = cell.latencies.swap(0, Ordering::Relaxed);
            count += latencies >> COUNT_SHIFT;
            sum += latencies & SUM;
            squares += f64::from_bits(cell.squares.swap(0, Ordering::Relaxed));
            failures += cell.failures.swap(0, Ordering::Relaxed);
            fastest = cell.fastest.swap(0, Ordering::Relaxed).max(fastest);
            most = cell.most_in_flight.swap(0, Ordering::Relaxed).max(most);
        }
        let opened = self.opened.swap(now, Ordering::Relaxed);
        let mean = sum / count.max(1);
        // A sample that is being added may be in one sum and not in the other.
        let variance = squares / count.max(1) as f64 - mean as f64 * mean as f64;
        #[allow(clippy::cast_sign_loss)] // the root of what is at least 0
        let deviation = Duration::from_nanos(variance.max(0.0).sqrt() as u64);
        let fastest = if fastest == 0 { mean } else { !fastest };
        Window::new(limit)
            .successes(count, Duration::from_nanos(mean))
            .deviation(deviation)
            .fastest(Duration::from_nanos(fastest))
            .failures(failures)
            .max_in_flight(most)
            .length(Duration::from_nanos(now.saturating_sub(opened)))
    }

    fn adjust_stride(&self, window: &Window, beyond: u64) {
        let samples = window.success_count() + window.failure_count();
        let permits = u64::from(self.stride.load(Ordering::Relaxed)) * samples + beyond;
        let stride = (permits / ENOUGH).clamp(1, MAX_STRIDE.into());
        self.stride.store(stride as u32, Ordering::Relaxed);
    }
}

impl Cell {
    #[inline]
    fn add(&self, latency: u64) {
        if self.is_left_out() {
            return;
        }
        self.latencies
            .fetch_add(1 << COUNT_SHIFT | latency, Ordering::Relaxed);
        let square = latency as f64 * latency as f64;
        let add = |squares| Some((f64::from_bits(squares) + square).to_bits());
        // The closure never refuses, so there is no error to see.
        let _ = self
            .squares
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        if self.fastest.load(Ordering::Relaxed) < !latency {
            self.fastest.fetch_max(!latency, Ordering::Relaxed);
        }
    }

    #[inline]
    fn add_failure(&self) {
        if !self.is_left_out() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The cell is full: counts a sample that is not taken.
    fn is_left_out(&self) -> bool {
        let is_full = self.is_full();
        if is_full {
            let beyond = self.beyond.load(Ordering::Relaxed);
            // A lost update makes a stride a little shorter.
            self.beyond
                .store(beyond.saturating_add(1), Ordering::Relaxed);
        }
        is_full
    }

    /// The window has seen enough, and the word holds no more latencies. Then failures are left
    /// out too, or their share would be wrong.
    #[inline]
    fn is_full(&self) -> bool {
        let latencies = self.latencies.load(Ordering::Relaxed) >> COUNT_SHIFT;
        latencies + self.failures.load(Ordering::Relaxed) >= FULL
    }
}

/// The right to close a window; dropped, it opens the next one.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    windows: &'a Windows,
    next: u64,
    length: u64,
    window: Option<Window>,
}

impl Claim<'_> {
    /// What was in the window that is closed.
    pub(super) fn window(&self) -> Option<&Window> {
        self.window.as_ref()
    }

    /// The limit was lowered, just now: permits from before say nothing any more.
    pub(super) fn lowered(&mut self, now: Instant) {
        self.windows.epoch.fetch_add(1, Ordering::Release);
        self.windows.is_settling.store(true, Ordering::Relaxed);
        let slowest = self.window.as_ref().map_or(0, |window| {
            let mean = window.mean_latency().unwrap_or_default();
            nanos(mean.saturating_add(window.latency_deviation())).saturating_mul(SETTLE)
        });
        self.open(now.as_nanos(), slowest.clamp(1, self.length));
    }

    fn open(&mut self, now: u64, length: u64) {
        (self.next, self.length) = (after(now, length), length);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.windows.end.store(self.next, Ordering::Release);
    }
}

/// How many permits to skip until the next sample: `stride - 1` on average, by a hash of `turn`.
fn gap(turn: u32, stride: u32) -> u32 {
    let hash = turn.wrapping_mul(0x9E37_79B9) >> 8;
    hash % (2 * stride - 1)
}

/// When a window that opens now ends; never the mark.
fn after(now: u64, length: u64) -> u64 {
    now.saturating_add(length).min(CLOSING - 1)
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

/// Somebody is at it.
const CLOSING: u64 = u64::MAX;
const COUNT_SHIFT: u32 = 51;
const SUM: u64 = (1 << COUNT_SHIFT) - 1;
/// Samples per cell and window; as many threads again may be past the look at it.
const FULL: u64 = 1 << 12;
/// 4.5 minutes: 2^13 of them do not overflow the sum. What takes longer counts as this long.
const MAX_LATENCY: u64 = (1 << 38) - 1;
/// Samples that a window should have: of latencies that vary as much as they are long they know
/// the mean to 2 %, and they cost a two-hundredth of a core.
const ENOUGH: u64 = 2_048;
/// The most that can be asked for.
pub(super) const MOST_SAMPLES: u64 = 1_024;
/// Few enough that a stride which is too long for sudden calm is soon over.
const MAX_STRIDE: u32 = 64;
/// How many times longer a window is for a slow service, and no longer: one clock that leaped
/// must not hold it open for minutes.
const LONGER: u64 = 16;
/// So many times mean and deviation after a decrease the slow ones are back, but for a few.
const SETTLE: u64 = 4;
