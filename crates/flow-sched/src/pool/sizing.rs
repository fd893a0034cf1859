//! A pool that finds its number of slots by itself.
//!
//! # How
//! The pool watches how long tasks wait for a slot and how long they run. Once per window it asks
//! a [`LimitAlgorithm`] for the most slots that do any good: it sees the tasks' run times as
//! latencies, so that one that goes by latency finds where more tasks at once only make each of
//! them slower. Beside it stand three rules of the pool's own:
//! 1. It grows only while tasks wait for longer than they should, or are turned away while all
//!    slots have been busy for as long. One that is just being submitted does not wait yet.
//! 2. It shrinks when less than half of it is in use, by Little's law: throughput × run time.
//! 3. A load of more than nine tenths of its bound forbids growth; one that is over its bound takes
//!    an eighth per window.
//!
//! Where no task ends the algorithm learns nothing. So when tasks have waited for some windows in
//! which none has ended, there is one slot more, whatever the algorithm asks for.
//!
//! # Damping
//! A step is at most half of the limit up, and a quarter down. Disuse must last for some windows
//! before a step down, and the step leaves a third more than was in use in any of them. If tasks
//! wait again not long after it, the next one takes twice as many windows, unless less than a
//! quarter is in use: so a pool whose load comes and goes does not follow each wave.
//!
//! # When
//! Whoever submits, starts or ends a task after a window's end decides, or is turned away. While
//! tasks wait for slots that are all busy, a [lookout](super::lookout) does too. An idle pool has
//! no timer and decides nothing. Its idle slots leave anyhow.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use flow_ratelimit::{AdaptiveConfigError, Aimd, LimitAlgorithm, Window};
use flow_rt::{Instant, catch, contain};

use super::core::Core;
use super::error::PoolConfigError;
use super::events;
use super::lookout::{self, Lookout};
use super::roster::SlotRange;
use crate::load::{LoadSource, in_range};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a pool finds its number of slots within its range; see
/// [`WorkerPoolBuilder::adaptive`](super::WorkerPoolBuilder::adaptive).
///
/// ```
/// # flow_rt::sim::check(0..1, |rt| async move {
/// use std::time::Duration;
/// use flow_ratelimit::Vegas;
/// use flow_sched::{CpuLoad, Sizing, WorkerPool};
///
/// let mut sizing = Sizing::new(Vegas::new()).target_wait(Duration::from_millis(5));
/// if let Ok(cpu) = CpuLoad::new() {
///     // No growth while the processors are busy for more than 0.81, fewer slots above 0.9.
///     sizing = sizing.load(cpu, 0.9);
/// }
/// let pool = WorkerPool::builder().slots(2..=64).adaptive(sizing).build()?;
/// assert_eq!(pool.sizing().map(|now| now.limit), Some(2));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # });
/// ```
#[derive(Clone)]
pub struct Sizing {
    make: Arc<dyn Fn() -> Box<dyn LimitAlgorithm> + Send + Sync>,
    target_wait: Duration,
    window: Duration,
    loads: Vec<Bounded>,
}

/// A load and the most that it should be.
#[derive(Clone)]
struct Bounded {
    source: Arc<dyn LoadSource>,
    most: f64,
}

impl Sizing {
    /// With this algorithm:
    ///
    /// - [`Aimd`] grows while tasks wait, to the end of the range; it is told nothing by run
    ///   times, unless you name the [longest](Aimd::max_latency). For tasks that mostly wait.
    /// - [`Vegas`](flow_ratelimit::Vegas) and [`Gradient2`](flow_ratelimit::Gradient2) stop where
    ///   tasks slow each other down. For tasks that share a processor, a disk or a service. They
    ///   probe: now and then the limit is a little lower for a window.
    ///
    /// Tasks that time out are the failures that it sees. Run times are from start to end: waits in
    /// [`release_slot`](super::WorkerPool::release_slot) are among them, as are tasks that their
    /// submitters run ([`CallerRuns`](flow_rt::OnFull::CallerRuns)).
    pub fn new(algorithm: impl LimitAlgorithm + Clone + Sync) -> Self {
        Self {
            make: Arc::new(move || Box::new(algorithm.clone())),
            target_wait: Duration::from_millis(10),
            window: Duration::from_millis(100),
            loads: Vec::new(),
        }
    }

    /// How long tasks may wait for a slot, on average, without more slots; 10 ms unless set.
    pub fn target_wait(mut self, wait: Duration) -> Self {
        self.target_wait = wait;
        self
    }

    /// How often the pool decides, at the most; 100 ms unless set.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// A load that should not be more than `most`: while it is, the pool shrinks by an eighth per
    /// window. It does not grow while the load is more than nine tenths of `most`, so that growth
    /// does not lead over the bound. Several may be given; each bounds the pool.
    pub fn load(mut self, source: impl LoadSource + 'static, most: f64) -> Self {
        let source = Arc::new(source);
        self.loads.push(Bounded { source, most });
        self
    }

    pub(super) fn check(&self) -> Result<(), PoolConfigError> {
        for (option, given) in [("target_wait", self.target_wait), ("window", self.window)] {
            if given.is_zero() {
                return Err(PoolConfigError::ZeroDuration { option });
            }
        }
        for load in &self.loads {
            if !(load.most > 0.0 && load.most < 1.0) {
                let wrong = AdaptiveConfigError::parameter(
                    "load",
                    load.most,
                    "a share of more than 0 and less than 1",
                );
                return Err(PoolConfigError::Sizing(wrong));
            }
        }
        (self.make)().check().map_err(PoolConfigError::Sizing)
    }
}

impl Default for Sizing {
    /// With [`Aimd`].
    fn default() -> Self {
        Self::new(Aimd::new())
    }
}

impl fmt::Debug for Sizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds: Vec<_> = self.loads.iter().map(|load| load.most).collect();
        f.debug_struct("Sizing")
            .field("algorithm", &(self.make)())
            .field("target_wait", &self.target_wait)
            .field("window", &self.window)
            .field("loads", &bounds)
            .finish()
    }
}

/// How a pool that sizes itself has fared; see [`WorkerPool::sizing`](super::WorkerPool::sizing).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct SizingStats {
    /// The fewest slots that it may come to.
    pub min: usize,
    /// The most.
    pub max: usize,
    /// Slots that may live now.
    pub limit: usize,
    /// Decisions for more slots.
    pub grown: u64,
    /// Decisions for fewer.
    pub shrunk: u64,
    /// How long tasks waited for a slot on average, in the last window.
    pub wait: Duration,
    /// How long they ran on average, in the last window; from start to end, whether or not they
    /// had a slot all the while.
    pub run: Duration,
    /// Tasks that have ended per second, in the last window.
    pub throughput: f64,
    /// Slots that were in use on average, in the last window, by throughput and run time.
    pub used: f64,
    /// The largest share of its bound that a load had, at the last decision; over 1 it is over
    /// its bound. 0 without a load.
    pub pressure: f64,
}

/// A pool's own.
pub(super) struct Sizer {
    /// When the window ends, in nanoseconds; [`NEVER`] before the first task.
    ends: AtomicU64,
    /// Whether somebody decides: one at a time, and nobody waits for it.
    is_deciding: AtomicBool,
    /// When a task started last, in nanoseconds.
    last_start: AtomicU64,
    /// A short lock for each start and each end, beside the clock that these read anyhow.
    sums: Mutex<Sums>,
    /// Locked by whoever decides.
    control: Mutex<Control>,
    told: Mutex<Told>,
    /// Whether the limit is below the most that it may be: as it was told last.
    can_grow: AtomicBool,
    pub(super) lookout: Lookout,
    window: Duration,
    loads: Vec<Bounded>,
}

/// Who looks whether the window is over, as far as the pool's figures do not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// One whose task counts as queued and has just come.
    Coming,
    /// One whose task was not taken.
    TurnedAway,
    Other,
}

/// What is in force.
struct Told {
    /// As the user has set them.
    bounds: SlotRange,
    stats: SizingStats,
}

/// What happened in a window.
#[derive(Default)]
struct Sums {
    began: Option<Instant>,
    waited: u64,
    waits: f64,
    ran: u64,
    runs: f64,
    squares: f64,
    fastest: Duration,
    failed: u64,
}

impl Sizer {
    pub(super) fn new(sizing: &Sizing, bounds: SlotRange) -> Self {
        let limit = bounds.min().max(1);
        Self {
            ends: AtomicU64::new(NEVER),
            is_deciding: AtomicBool::new(false),
            last_start: AtomicU64::new(0),
            sums: Mutex::new(Sums::default()),
            control: Mutex::new(Control::new((sizing.make)(), sizing.target_wait)),
            told: Mutex::new(Told {
                bounds,
                stats: SizingStats {
                    min: bounds.min() as usize,
                    max: bounds.max() as usize,
                    limit: limit as usize,
                    ..SizingStats::default()
                },
            }),
            can_grow: AtomicBool::new(limit < bounds.max()),
            lookout: Lookout::default(),
            window: sizing.window,
            loads: sizing.loads.clone(),
        }
    }

    /// The range that is in force.
    pub(super) fn range(&self) -> SlotRange {
        let told = self.told.lock();
        SlotRange::new(told.stats.min, told.stats.limit)
    }

    pub(super) fn stats(&self) -> SizingStats {
        self.told.lock().stats
    }

    /// Sets the bounds of the limit.
    pub(super) fn set_bounds(&self, core: &Arc<Core>, bounds: SlotRange) {
        {
            let mut told = self.told.lock();
            let (min, max) = (bounds.min() as usize, bounds.max() as usize);
            told.bounds = bounds;
            told.stats.limit = told.stats.limit.clamp(min.max(1), max);
            (told.stats.min, told.stats.max) = (min, max);
            self.told_of(&told);
        }
        self.apply(core);
        // It may grow now.
        lookout::post(core, self);
    }

    fn told_of(&self, told: &Told) {
        let can_grow = told.stats.limit < told.stats.max;
        self.can_grow.store(can_grow, Ordering::Release);
    }

    /// Whether a decision may give more slots.
    #[inline]
    pub(super) fn can_grow(&self) -> bool {
        self.can_grow.load(Ordering::Acquire)
    }

    /// When the window ends.
    pub(super) fn ends(&self) -> Instant {
        Instant::from_nanos(self.ends.load(Ordering::Relaxed))
    }

    /// Before the first poll of a task, which may be long.
    pub(super) fn starts(&self, now: Instant) {
        self.last_start.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn waited(&self, time: Duration) {
        let mut sums = self.sums.lock();
        sums.waited += 1;
        sums.waits += time.as_secs_f64();
    }

    pub(super) fn ran(&self, time: Duration, is_failure: bool) {
        let mut sums = self.sums.lock();
        let seconds = time.as_secs_f64();
        sums.fastest = if sums.ran == 0 {
            time
        } else {
            sums.fastest.min(time)
        };
        sums.ran += 1;
        sums.runs += seconds;
        sums.squares += seconds * seconds;
        sums.failed += u64::from(is_failure);
    }

    /// Decides if the window is over.
    #[inline]
    pub(super) fn look(&self, core: &Arc<Core>, now: Instant, who: Looks) {
        let ends = self.ends.load(Ordering::Relaxed);
        if ends == NEVER {
            self.begin(now);
        } else if now.as_nanos() >= ends && !self.is_deciding.swap(true, Ordering::Acquire) {
            self.decide(core, now, who);
            self.is_deciding.store(false, Ordering::Release);
        }
    }

    fn begin(&self, now: Instant) -> Sums {
        let ends = (now + self.window).as_nanos();
        let began = Some(now);
        let before = core::mem::replace(
            &mut *self.sums.lock(),
            Sums {
                began,
                ..Sums::default()
            },
        );
        self.ends.store(ends, Ordering::Relaxed);
        before
    }

    #[cold]
    fn decide(&self, core: &Arc<Core>, now: Instant, who: Looks) {
        if now.as_nanos() < self.ends.load(Ordering::Relaxed) {
            // Somebody else has, between the two looks.
            return;
        }
        // The sources and the algorithm are the user's code: under no lock that anybody waits for.
        let shares = self.loads.iter().map(Bounded::share);
        let pressure = shares.fold(0.0, f64::max);
        let sums = self.begin(now);
        let (stats, limit) = (core.stats(), self.stats().limit);
        let last_start = Instant::from_nanos(self.last_start.load(Ordering::Relaxed));
        // Read at different times, so perhaps too many.
        let without_slot = core.roster.lent() + core.roster.guests() as u64;
        let running = stats.running.saturating_sub(without_slot);
        let mut waiting = match who {
            Looks::Coming => stats.queued.saturating_sub(1),
            Looks::TurnedAway => stats.queued + 1,
            Looks::Other => stats.queued,
        };
        if core.is_hand_off() {
            // It has no queue but its submitters.
            waiting += stats.waiting as u64;
        }
        let mut seen = sums.seen(limit, now, running, waiting, pressure);
        if waiting > 0 && running >= limit as u64 {
            // What waits has waited since then at least, or came after it: near enough.
            let began = sums.began.unwrap_or(now);
            let since = if who == Looks::TurnedAway {
                last_start
            } else {
                last_start.max(self.lookout.posted().unwrap_or(began))
            };
            seen.wait = seen.wait.max(now - since);
        }
        let wanted = self.control.lock().next(&seen);
        let (before, after) = {
            let mut told = self.told.lock();
            let stats = &mut told.stats;
            let limit = wanted.clamp(stats.min.max(1), stats.max);
            let before = core::mem::replace(&mut stats.limit, limit);
            stats.grown += u64::from(limit > before);
            stats.shrunk += u64::from(limit < before);
            (stats.wait, stats.run) = (seen.wait, seen.window.mean_latency().unwrap_or_default());
            stats.throughput = sums.ran as f64 / seconds(seen.window.elapsed());
            (stats.used, stats.pressure) = (seen.used, pressure);
            self.told_of(&told);
            (before, limit)
        };
        if before != after {
            events::sized(core, before, after, seen.wait, seen.used);
            self.apply(core);
            // What had all slots that there may be may have too few of them now.
            lookout::post(core, self);
        }
    }

    /// Brings the slots to the range in force, whoever else does so at the same time.
    fn apply(&self, core: &Arc<Core>) {
        loop {
            let range = self.range();
            core.resize(range);
            // After it: whoever changes the range from here on brings it about.
            if self.range() == range {
                return;
            }
        }
    }
}

impl Bounded {
    /// What the source says, as a share of its bound.
    fn share(&self) -> f64 {
        match catch(|| self.source.load()) {
            Ok(load) => in_range(load) / self.most,
            Err(panic) => {
                contain(|| drop(panic));
                0.0
            }
        }
    }
}

impl Sums {
    fn seen(&self, limit: usize, now: Instant, running: u64, waiting: u64, pressure: f64) -> Seen {
        let elapsed = self.began.map_or(Duration::ZERO, |began| now - began);
        // If none has ended, those that run are all that is known.
        let used = match self.ran {
            0 => running as f64,
            // Those that run for longer than a window have not ended in it.
            _ => (self.runs / seconds(elapsed)).max(running.saturating_sub(1) as f64),
        };
        let mean = |sum: f64, count: u64| sum / count.max(1) as f64;
        let wait = seconds_of(mean(self.waits, self.waited));
        let run = mean(self.runs, self.ran);
        let variance = mean(self.squares, self.ran) - run * run;
        let busy = (running + waiting)
            .min(limit as u64)
            .max(slots_of(used) as u64);
        let window = Window::new(small(limit as u64))
            .successes(self.ran - self.failed, seconds_of(run))
            .deviation(seconds_of(variance.max(0.0).sqrt()))
            .fastest(self.fastest)
            .failures(self.failed)
            .max_in_flight(small(busy))
            .length(elapsed);
        Seen {
            window,
            ended: self.ran,
            wait,
            used,
            pressure,
        }
    }
}

/// What a decision goes by.
struct Seen {
    window: Window,
    /// Tasks.
    ended: u64,
    wait: Duration,
    used: f64,
    pressure: f64,
}

/// What decides. It reads no clock, so that equal windows make equal decisions.
struct Control {
    algorithm: Box<dyn LimitAlgorithm>,
    target_wait: Duration,
    /// Windows in a row in which less than half was in use.
    calm: u32,
    /// The most that was in use in one of them.
    peak: f64,
    /// How many of them make a step down, unless a quarter would do.
    patience: u32,
    /// Windows since the last step down.
    since_shrunk: u32,
    /// Windows in a row in which tasks waited and none ended.
    blind: u32,
}

impl Control {
    fn new(algorithm: Box<dyn LimitAlgorithm>, target_wait: Duration) -> Self {
        Self {
            algorithm,
            target_wait,
            calm: 0,
            peak: 0.0,
            patience: PATIENCE,
            since_shrunk: u32::MAX,
            blind: 0,
        }
    }

    /// The limit for the next window.
    fn next(&mut self, seen: &Seen) -> usize {
        let limit = seen.window.limit() as usize;
        // The algorithm is the user's code.
        let asked = match catch(|| self.algorithm.on_window(&seen.window)) {
            Ok(asked) => asked as usize,
            Err(panic) => {
                contain(|| drop(panic));
                limit
            }
        };
        self.since_shrunk = self.since_shrunk.saturating_add(1);
        if self.since_shrunk == FORGOTTEN {
            self.patience = PATIENCE;
        }
        let is_starved = seen.wait > self.target_wait;
        self.blind = if is_starved && seen.ended == 0 {
            self.blind + 1
        } else {
            0
        };
        if seen.pressure > 1.0 {
            self.calm = 0;
            return limit - (limit / 8).max(1).min(limit - 1);
        }
        if asked < limit {
            self.calm = 0;
            return asked.max(limit - (limit / 4).max(1).min(limit - 1));
        }
        if is_starved {
            self.calm = 0;
            if seen.pressure > HOLD {
                return limit;
            }
            if self.since_shrunk <= self.patience * MISTAKE {
                // The last step down was a mistake.
                self.patience = (self.patience * 2).min(MOST_PATIENCE);
                self.since_shrunk = FORGOTTEN;
            }
            let least = if self.blind >= BLIND {
                self.blind = 0;
                limit + 1
            } else {
                limit
            };
            return asked.clamp(least, limit + (limit / 2).max(1));
        }
        if seen.used >= limit as f64 * LOW {
            self.calm = 0;
            return limit;
        }
        self.peak = if self.calm == 0 {
            seen.used
        } else {
            self.peak.max(seen.used)
        };
        self.calm += 1;
        let is_far_too_much = self.peak < limit as f64 * LOW / 2.0;
        let patience = if is_far_too_much {
            PATIENCE
        } else {
            self.patience
        };
        if self.calm < patience {
            return limit;
        }
        self.calm = 0;
        let needed = slots_of(self.peak / GOAL);
        let next = needed.max(limit - (limit / 4).max(1)).max(1).min(limit);
        if next < limit {
            self.since_shrunk = 0;
        }
        next
    }
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// More than none.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64().max(1e-9)
}

/// Whole slots for such a use.
fn slots_of(used: f64) -> usize {
    #[allow(clippy::cast_sign_loss)] // a use is of times, and not below 0
    let slots = used.ceil() as usize;
    slots
}

fn seconds_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

const NEVER: u64 = u64::MAX;

/// The share of the limit below which it is too much, and that a step down aims at.
const LOW: f64 = 0.5;
const GOAL: f64 = 0.75;

/// The share of a load's bound above which the pool does not grow.
const HOLD: f64 = 0.9;

/// Calm windows before a step down: at first, and at the most.
const PATIENCE: u32 = 10;
const MOST_PATIENCE: u32 = 160;

/// Windows in a row in which tasks wait and none ends, before there is a slot more.
const BLIND: u32 = 5;

/// How soon, in patiences, a wait shows that a step down was a mistake.
const MISTAKE: u32 = 16;

/// Windows after a step down that was none, or was made up for, until the patience is as at first.
const FORGOTTEN: u32 = MOST_PATIENCE * MISTAKE + 1;
