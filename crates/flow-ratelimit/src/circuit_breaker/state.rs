//! The breaker itself: which calls are let through, and what their outcomes do.
//!
//! # State
//! `word`: a *generation* (61 bits) and a *kind* (3 bits), read by every call and written on a
//! change only. `until`: for an open breaker when it lets trials through, for a half-open one
//! without free places when the trials have had their time. Everything else stands in `inner`
//! under a lock: the window, the trials of this generation, the plan of delays, the totals.
//! Calls that go well while the breaker is closed are counted in `cells` alone.
//!
//! ```text
//!                    too many failed or slow, `open`
//!      CLOSED  ───────────────────────────────────────►  OPEN  ◄──────────────┐
//!        ▲                                                 │                  │
//!        │                                 `until` passed, and somebody comes │
//!        │                                                 ▼                  │
//!        └── enough went well ── TRIALS ◄── a place ──► FULL ── too many were ┘
//!                                                              bad, or late
//!      HELD_OPEN, HELD_CLOSED: by hand, until `reset`, `open` or the other one.
//! ```
//!
//! # Invariants
//! 1. `word` is written under the lock, and each change between closed, open, half-open and held
//!    makes a new generation. `TRIALS` and `FULL` are half-open both, and share one.
//! 2. A permit carries the word it was given by. A failure, a slow call and every end of a trial
//!    looks at the generation under the lock, and changes nothing if its own has passed. So an
//!    outcome counts in the state that let its call through, and no other.
//! 3. In a generation that is half-open, `places` are those that hold a place and those whose
//!    outcome is in: never more than `trials`. A permit that is dropped or ignored gives its
//!    place back, so a trial that says nothing cannot leave the breaker half-open for ever; one
//!    that never ends is given up when `until` has passed.
//! 4. `FULL` means that there is no place, so that nobody takes the lock to learn that.
//! 5. A good call is counted in one of the cells, and taken into the window by the next look
//!    under the lock: before a bad one is added, at the end of a time window's bucket, and
//!    when somebody asks. A good one never opens the breaker, so none of them needs a look.
//! 6. Hooks are called under no lock, one at a time and in the order of the changes: changes are
//!    queued under the lock, and the thread that finds nobody at the queue empties it.
//!
//! # Ordering
//! The word is stored with Release after `until` and loaded with Acquire before it, so that who
//! sees an open breaker sees its time, or a later one's; the word is compared again, so that a
//! later one's is not told. And what happened before the breaker was closed happened before the
//! calls that it then lets through. All else is ordered by the lock: what a thread does on the
//! ground of a word it read without the lock is only to let a call through that a moment ago
//! would have been (the two are concurrent), or to reject one likewise. A good call compares the
//! word again before it counts; in the moment between, the breaker may open and close, and one
//! call of the old generation be taken for a good one of the new.
//!
//! # Source
//! Michael Nygard, *Release It!*, 2007; the windows, slow calls and trials are resilience4j's.
//! The generation is what its issues and those of Polly (#216 to #218) ask for.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::collections::VecDeque;

use flow_rt::{Backoff, Clock, Delays, Instant, contain};
use flow_sync::CachePadded;
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicU64, Ordering};

use super::cells::{Cells, Count};
use super::error::CallRejected;
use super::transition::{BreakerCause as Cause, BreakerState, BreakerTransition as Transition};
use super::window::{Outcome, Tally, Window};

/// What a breaker was built with.
pub(super) struct Settings {
    pub(super) name: Option<Cow<'static, str>>,
    pub(super) failure_rate: f64,
    /// From what duration on a call is slow, and how many may be.
    pub(super) slow: Option<(Duration, f64)>,
    pub(super) minimum_calls: u64,
    pub(super) open_for: Backoff,
    pub(super) trials: u32,
    pub(super) trial_timeout: Duration,
    pub(super) dropped_fails: bool,
    pub(super) hook: Option<Hook>,
}

pub(super) type Hook = Box<dyn Fn(&Transition) + Send + Sync>;

pub(super) struct Core<C> {
    word: AtomicU64,
    until: AtomicU64,
    /// When a time window's bucket ends; never for a window by number.
    bucket_ends: AtomicU64,
    /// Whether the clock is read when a call begins, and when a good one ends.
    times_begin: bool,
    times_end: bool,
    clock: C,
    pub(super) settings: Settings,
    pub(super) cells: Cells,
    #[cfg(feature = "tracing")]
    quiet: crate::events::Quiet,
    inner: CachePadded<Mutex<Inner>>,
}

struct Inner {
    window: Window,
    /// The sum of good calls when the window last took them in.
    seen: u64,
    /// How many trials of this generation hold a place or have their outcome in.
    places: u32,
    /// The outcomes that are in.
    trials: Tally,
    /// How long it is open the next times; `None` until it opens.
    delays: Option<Delays>,
    delay: Duration,
    totals: Totals,
    /// Changes that no hook was told of yet, and whether somebody is telling.
    changes: VecDeque<Transition>,
    is_telling: bool,
}

/// What is counted under the lock.
#[derive(Clone, Copy, Default)]
struct Totals {
    /// Good calls that are in no cell: those of trials, and slow ones.
    succeeded: u64,
    failed: u64,
    slow: u64,
    opened: u64,
}

/// How it stands: what `stats` is made of.
pub(super) struct Standing {
    pub(super) state: BreakerState,
    pub(super) tally: Tally,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) slow: u64,
    pub(super) opened: u64,
    pub(super) ignored: u64,
    pub(super) rejected: u64,
}

impl<C: Clock> Core<C> {
    pub(super) fn new(settings: Settings, window: Window, clock: C) -> Self {
        let ends = bucket_ends(&window);
        let times_begin = settings.slow.is_some();
        Self {
            word: AtomicU64::new(CLOSED),
            until: AtomicU64::new(0),
            bucket_ends: AtomicU64::new(ends),
            times_begin,
            times_end: times_begin || matches!(window, Window::Time(_)),
            clock,
            settings,
            cells: Cells::default(),
            #[cfg(feature = "tracing")]
            quiet: crate::events::Quiet::default(),
            inner: CachePadded::new(Mutex::new(Inner {
                window,
                seen: 0,
                places: 0,
                trials: Tally::default(),
                delays: None,
                delay: Duration::ZERO,
                totals: Totals::default(),
                changes: VecDeque::new(),
                is_telling: false,
            })),
        }
    }

    /// Lets a call through, with the word that its permit carries, or rejects it.
    #[inline]
    pub(super) fn enter(&self) -> Result<u64, CallRejected> {
        let word = self.word.load(Ordering::Acquire);
        if kind(word) == CLOSED {
            return Ok(word);
        }
        self.enter_unless_closed(word)
    }

    /// Why a call is rejected that comes now, if no trial can come of it: it is open, and for a
    /// while yet. Counts and changes nothing.
    #[cfg(feature = "tower")]
    #[inline]
    pub(super) fn shut(&self) -> Option<CallRejected> {
        let word = self.word.load(Ordering::Acquire);
        match kind(word) {
            HELD_OPEN => Some(CallRejected::ForcedOpen),
            OPEN => self.still_open(word),
            _ => None,
        }
    }

    #[cfg(feature = "tower")]
    #[cold]
    fn still_open(&self, word: u64) -> Option<CallRejected> {
        let rejected = self.still(OPEN, self.clock.now());
        // As in `enter_unless_closed`.
        rejected.filter(|_| self.word.load(Ordering::Relaxed) == word)
    }

    /// When a call begins: read for those only whose duration matters.
    #[inline]
    pub(super) fn began(&self) -> Instant {
        if self.times_begin {
            self.clock.now()
        } else {
            Instant::ORIGIN
        }
    }

    #[inline(never)]
    fn enter_unless_closed(&self, word: u64) -> Result<u64, CallRejected> {
        let entered = match kind(word) {
            HELD_CLOSED => return Ok(word),
            HELD_OPEN => Err(CallRejected::ForcedOpen),
            TRIALS => self.enter_locked(self.clock.now()),
            kind => {
                let now = self.clock.now();
                match self.still(kind, now) {
                    // `until` may be another generation's, unless the word is still the same.
                    Some(rejected) if self.word.load(Ordering::Relaxed) == word => Err(rejected),
                    _ => self.enter_locked(now),
                }
            }
        };
        if entered.is_err() {
            self.cells.add(Count::Rejected);
        }
        entered
    }

    /// Why an open breaker, or one without free places, lets nobody through at `now`; `None` if
    /// its time has passed.
    fn still(&self, kind: u64, now: Instant) -> Option<CallRejected> {
        // Not older than the word by which the caller came here. Acquire: if it is newer, so is
        // the word that the caller looks at next.
        let until = Instant::from_nanos(self.until.load(Ordering::Acquire));
        (now < until).then(|| match kind {
            OPEN => CallRejected::Open {
                retry_after: until - now,
            },
            _ => CallRejected::TrialsRunning,
        })
    }

    fn enter_locked(&self, now: Instant) -> Result<u64, CallRejected> {
        self.change(|inner| {
            let word = self.word.load(Ordering::Relaxed);
            match kind(word) {
                CLOSED | HELD_CLOSED => return Ok(word),
                HELD_OPEN => return Err(CallRejected::ForcedOpen),
                kind @ (OPEN | FULL) => {
                    if let Some(rejected) = self.still(kind, now) {
                        return Err(rejected);
                    }
                    if kind == FULL {
                        self.open(inner, Cause::TrialsTimedOut, now);
                        let retry_after = inner.delay;
                        return Err(CallRejected::Open { retry_after });
                    }
                    inner.places = 0;
                    inner.trials = Tally::default();
                    self.turn(inner, TRIALS, Cause::OpenForPassed);
                }
                _ => {}
            }
            Ok(self.take_place(inner, now))
        })
    }

    /// Takes one of the places, of which there is one.
    fn take_place(&self, inner: &mut Inner, now: Instant) -> u64 {
        let word = self.word.load(Ordering::Relaxed);
        inner.places += 1;
        if inner.places == self.settings.trials {
            self.set_until(now.saturating_add(self.settings.trial_timeout));
            self.word.store(generation(word) | FULL, Ordering::Release);
        }
        generation(word) | TRIALS
    }

    /// A call that was let through with `word` has ended.
    #[inline]
    pub(super) fn finish(&self, word: u64, began: Instant, failed: bool) {
        // All that a good call of a closed breaker without a clock does.
        if !failed && kind(word) == CLOSED && !self.times_end {
            return self.count_good(word);
        }
        self.finish_by_the_clock(word, began, failed);
    }

    #[inline]
    fn count_good(&self, word: u64) {
        let is_current = self.word.load(Ordering::Relaxed) == word;
        self.cells.add(if is_current {
            Count::Good
        } else {
            Count::Ignored
        });
    }

    #[inline(never)]
    fn finish_by_the_clock(&self, word: u64, began: Instant, failed: bool) {
        if kind(word) == HELD_CLOSED {
            return self.cells.add(Count::Ignored);
        }
        let now = self.clock.now();
        let slow = match self.settings.slow {
            // A clock that went back says that no time has passed.
            Some((slow, _)) => now - began >= slow,
            None => false,
        };
        let outcome = Outcome { failed, slow };
        if !outcome.is_bad() && kind(word) == CLOSED {
            // The window stays as it was when the breaker opened.
            let is_current = self.word.load(Ordering::Relaxed) == word;
            if is_current && now.as_nanos() >= self.bucket_ends.load(Ordering::Relaxed) {
                self.take_in(&mut self.inner.lock(), now);
            }
            return self.count_good(word);
        }
        self.settle(word, outcome, now);
    }

    /// Takes in the outcome of a trial, or a bad one.
    fn settle(&self, word: u64, outcome: Outcome, now: Instant) {
        self.change(|inner| {
            let current = self.word.load(Ordering::Relaxed);
            if generation(current) != generation(word) {
                return self.cells.add(Count::Ignored);
            }
            let totals = &mut inner.totals;
            totals.succeeded += u64::from(!outcome.failed);
            totals.failed += u64::from(outcome.failed);
            totals.slow += u64::from(outcome.slow);
            if kind(word) == CLOSED {
                self.take_in(inner, now);
                inner.window.push(outcome);
                let tally = inner.window.tally();
                if tally.calls >= self.settings.minimum_calls
                    && let Some(cause) = self.too_many(tally, tally.calls, Causes::WINDOW)
                {
                    self.open(inner, cause, now);
                }
                return;
            }
            inner.trials.add(outcome);
            let trials = u64::from(self.settings.trials);
            // Of all trials, so that it need not wait for the last one to say no.
            if let Some(cause) = self.too_many(inner.trials, trials, Causes::TRIALS) {
                self.open(inner, cause, now);
            } else if inner.trials.calls == trials {
                self.close(inner, Cause::TrialsSucceeded, now);
            }
        });
    }

    /// A call that was let through with `word` has ended without an outcome.
    pub(super) fn abandon(&self, word: u64) {
        self.cells.add(Count::Ignored);
        if kind(word) != TRIALS {
            return;
        }
        let mut inner = self.inner.lock();
        let current = self.word.load(Ordering::Relaxed);
        if generation(current) == generation(word) {
            inner.places -= 1;
            self.word
                .store(generation(current) | TRIALS, Ordering::Release);
        }
    }

    /// Opens as too many failures would; nothing if it is open, and for a while yet.
    pub(super) fn trip(&self) {
        let now = self.clock.now();
        self.change(|inner| {
            let is_open = kind(self.word.load(Ordering::Relaxed)) == OPEN;
            if !is_open || self.still(OPEN, now).is_none() {
                self.open(inner, Cause::Manual, now);
            }
        });
    }

    /// Closes, with everything forgotten that it was judged by.
    pub(super) fn reset(&self) {
        let now = self.clock.now();
        self.change(|inner| self.close(inner, Cause::Manual, now));
    }

    /// Lets nobody through, or everybody, until it is told otherwise.
    pub(super) fn hold(&self, open: bool) {
        let kind = if open { HELD_OPEN } else { HELD_CLOSED };
        self.change(|inner| {
            if self::kind(self.word.load(Ordering::Relaxed)) != kind {
                self.turn(inner, kind, Cause::Manual);
            }
        });
    }

    #[inline]
    pub(super) fn state(&self) -> BreakerState {
        state(self.word.load(Ordering::Acquire))
    }

    pub(super) fn standing(&self) -> Standing {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let word = self.word.load(Ordering::Relaxed);
        if kind(word) == CLOSED {
            self.take_in(&mut inner, now);
        }
        let totals = inner.totals;
        Standing {
            state: state(word),
            tally: match kind(word) {
                TRIALS | FULL => inner.trials,
                _ => inner.window.tally(),
            },
            succeeded: totals.succeeded + self.cells.sum(Count::Good),
            failed: totals.failed,
            slow: totals.slow,
            opened: totals.opened,
            ignored: self.cells.sum(Count::Ignored),
            rejected: self.cells.sum(Count::Rejected),
        }
    }

    /// Brings the window up to `now`, with the good calls that were counted since (5).
    fn take_in(&self, inner: &mut Inner, now: Instant) {
        let good = self.cells.sum(Count::Good);
        // Those of before go into the bucket that was in use.
        inner.window.good(good.wrapping_sub(inner.seen));
        inner.seen = good;
        if let Window::Time(window) = &mut inner.window {
            window.turn(now);
            self.bucket_ends.store(window.ends(), Ordering::Relaxed);
        }
    }

    /// Why so many bad ones of so many calls are too many, if they are.
    fn too_many(&self, tally: Tally, of: u64, causes: Causes) -> Option<Cause> {
        // A quotient of whole numbers is the same as the literal that was meant: 7 of 100 is 0.07.
        let rate = |bad: u64| bad as f64 / of as f64;
        if rate(tally.failed) >= self.settings.failure_rate {
            return Some(causes.failed);
        }
        let (_, slow_rate) = self.settings.slow?;
        (rate(tally.slow) >= slow_rate).then_some(causes.slow)
    }

    fn open(&self, inner: &mut Inner, cause: Cause, now: Instant) {
        let delays = inner.delays.take().or_else(|| {
            // It was checked when the breaker was built.
            self.settings.open_for.delays().ok()
        });
        if let Some(mut delays) = delays {
            // `build` has taken the plan's ends away: a breaker does not give up.
            inner.delay = delays.next_within(Duration::ZERO).unwrap_or(inner.delay);
            inner.delays = Some(delays);
        }
        inner.totals.opened += 1;
        self.set_until(now.saturating_add(inner.delay));
        self.turn(inner, OPEN, cause);
    }

    fn close(&self, inner: &mut Inner, cause: Cause, now: Instant) {
        inner.delays = None;
        // What was counted while it was not closed belongs to nobody.
        inner.seen = self.cells.sum(Count::Good);
        inner.window.clear(now);
        self.bucket_ends
            .store(bucket_ends(&inner.window), Ordering::Relaxed);
        self.turn(inner, CLOSED, cause);
    }

    fn set_until(&self, until: Instant) {
        self.until.store(until.as_nanos(), Ordering::Release);
    }

    /// Makes a new generation.
    fn turn(&self, inner: &mut Inner, kind: u64, cause: Cause) {
        let before = self.word.load(Ordering::Relaxed);
        let next = generation(before).wrapping_add(GENERATION) | kind;
        // Publishes `until`.
        self.word.store(next, Ordering::Release);
        let (from, to) = (state(before), state(next));
        let is_heard = cfg!(feature = "tracing") || self.settings.hook.is_some();
        if from != to && is_heard {
            inner.changes.push_back(Transition { from, to, cause });
        }
    }

    /// Does `what` under the lock, and then tells the hook of the changes (6).
    fn change<T>(&self, what: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        let done = what(&mut inner);
        if inner.changes.is_empty() || inner.is_telling {
            return done;
        }
        inner.is_telling = true;
        drop(inner);
        self.tell();
        done
    }

    #[cold]
    fn tell(&self) {
        loop {
            let change = {
                let mut inner = self.inner.lock();
                let change = inner.changes.pop_front();
                inner.is_telling = change.is_some();
                change
            };
            let Some(change) = change else {
                return;
            };
            #[cfg(feature = "tracing")]
            contain(|| {
                let (name, now) = (self.settings.name.as_deref(), self.clock.now());
                crate::events::breaker_changed(name, change, &self.quiet, now);
            });
            if let Some(hook) = &self.settings.hook {
                contain(|| hook(&change));
            }
        }
    }
}

impl<C> fmt::Debug for Core<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", &self.settings.name)
            .field("state", &state(self.word.load(Ordering::Acquire)))
            .field("failure_rate", &self.settings.failure_rate)
            .field("slow_call", &self.settings.slow)
            .finish_non_exhaustive()
    }
}

/// What is said of too many bad ones.
#[derive(Clone, Copy)]
struct Causes {
    failed: Cause,
    slow: Cause,
}

impl Causes {
    const WINDOW: Self = Self {
        failed: Cause::FailureRate,
        slow: Cause::SlowCallRate,
    };
    const TRIALS: Self = Self {
        failed: Cause::TrialsFailed,
        slow: Cause::TrialsSlow,
    };
}

fn bucket_ends(window: &Window) -> u64 {
    match window {
        Window::Count(_) => u64::MAX,
        Window::Time(window) => window.ends(),
    }
}

fn state(word: u64) -> BreakerState {
    match kind(word) {
        CLOSED => BreakerState::Closed,
        OPEN => BreakerState::Open,
        HELD_OPEN => BreakerState::ForcedOpen,
        HELD_CLOSED => BreakerState::ForcedClosed,
        _ => BreakerState::HalfOpen,
    }
}

#[inline]
const fn kind(word: u64) -> u64 {
    word & (GENERATION - 1)
}

#[inline]
const fn generation(word: u64) -> u64 {
    word & !(GENERATION - 1)
}

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const TRIALS: u64 = 2;
const FULL: u64 = 3;
const HELD_OPEN: u64 = 4;
const HELD_CLOSED: u64 = 5;
/// One generation.
const GENERATION: u64 = 8;
