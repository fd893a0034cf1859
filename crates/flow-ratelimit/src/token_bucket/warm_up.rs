//! Warming up: after a pause tokens come slowly at first, for a service that is cold by then.
//!
//! # State
//! [`WarmUp`], under the lock of the queue; other buckets have none. The way up is a sequence of
//! straight lines of supply, each of which begins where the last one ends: the one in force is
//! the bucket's, those that follow it stand in `ahead`. So whatever happens at a given time, and
//! whoever looks, the supply until then is the same.
//!
//! # Invariants
//! 1. Step `k` of [`STEPS`] goes by `(STEPS + 2k) / (3 STEPS)` of the rate, and begins `k` parts of
//!    the period after the first: never above the straight way up from a third, and never more
//!    than a 48th of the rate below it. The last line goes by the rate itself.
//! 2. Until then the line in force is stale (see `supply`) once the next one begins, and so whoever
//!    has to do with it brings it up to date first.
//! 3. W is set for ever: who takes tokens does it under the lock, for each grant and each request
//!    may be the one that matters for a pause.
//! 4. A new rate or burst, and a moved anchor, plan the lines ahead anew, from the same step on.
//!
//! # What a pause is
//! A time in which there was a token and nobody waited or came. Where tokens come so slowly that
//! there is more than the period between them, a caller who takes each when it comes makes no
//! pause, and gets them at the rate. So does one who comes for many at once when they are there,
//! as it was told: the pause counts from then for those who want as many.
//!
//! It ends with the next request that the bucket can ever grant. Not with its grant: those who
//! wait or reserve, or are told when to come back, know by that when their turn comes.
//!
//! # Source
//! Guava's `SmoothWarmingUp`: a third of the rate, for permits that were stored in idle times.

use core::time::Duration;

use flow_rt::{Clock, Instant};
use flow_sync::sync::atomic::Ordering;

use super::core::{Core, W};
use super::line::Queue;
use crate::error::{ConfigError, Denied};
use crate::granted::Granted;
use crate::rate::Rate;
use crate::supply::{Anchor, Level, Pace, USED_MASK};
use crate::waiting::{Serves, saturated};
use crate::wakes::Wakes;

/// A bucket that warms up: how far it is, and since when nobody came.
pub(crate) struct WarmUp {
    /// In nanoseconds.
    period: u64,
    /// When the way up began.
    began: u64,
    /// The step in force; [`STEPS`] at the top.
    step: u32,
    /// The lines that follow the one in force, the next one last.
    ahead: Vec<Anchor>,
    quiet: Quiet,
}

/// Since when nobody has come, for all that is known.
#[derive(Clone, Copy)]
struct Quiet {
    /// When there was, or will be, a token after the last grant; none before the first request.
    since: Option<Instant>,
    /// How many tokens the last one wanted who was denied, and when they will be there.
    told: Option<(u64, Instant)>,
}

impl Quiet {
    /// For one who wants `n` tokens.
    fn since(&self, n: u64) -> Option<Instant> {
        let since = self.since?;
        Some(match self.told {
            Some((told, ready)) if n >= told => since.max(ready),
            _ => since,
        })
    }
}

impl WarmUp {
    /// For a period that was checked.
    pub(super) fn new(period: Duration) -> Self {
        Self {
            // A year fits.
            period: period.as_nanos() as u64,
            began: 0,
            step: STEPS,
            // One more while they are planned.
            ahead: Vec::with_capacity(STEPS as usize + 1),
            quiet: Quiet {
                since: None,
                told: None,
            },
        }
    }

    /// The period, if there is to be a warm-up.
    pub(super) fn check(period: Duration) -> Result<(), ConfigError> {
        if period > MAX_PERIOD {
            return Err(ConfigError::WarmUpTooLong { given: period });
        }
        Ok(())
    }

    /// `line`, which begins or goes on with the step in force, after those that follow it were
    /// planned.
    fn plan(&mut self, line: Anchor, rate: Rate, bits: u32) -> Anchor {
        self.ahead.clear();
        let mut last = line;
        for step in self.step..STEPS {
            let part = u128::from(self.period) * u128::from(step + 1) / u128::from(STEPS);
            // At most the period.
            let end = self.began.saturating_add(part as u64).max(last.at);
            self.ahead.push(last.until(end));
            last = last
                .moved(Instant::from_nanos(end), pace(rate, step), bits)
                .with_pace(pace(rate, step + 1), bits, 0);
        }
        self.ahead.push(last);
        self.ahead.reverse();
        // It has one at least.
        self.ahead.pop().unwrap_or(line)
    }
}

/// What holds of the lines ahead, for all buckets.
impl Queue {
    /// Whether fast paths must keep out, though nobody waits.
    pub(crate) fn is_shut(&self) -> bool {
        self.closed || self.supply.warm_up.is_some()
    }

    /// What the line in force goes by.
    pub(crate) fn pace(&self) -> Pace {
        self.pace_of(self.supply.rate)
    }

    /// What the line in force would go by at another rate.
    pub(super) fn pace_of(&self, rate: Rate) -> Pace {
        match &self.supply.warm_up {
            Some(warm_up) => pace(rate, warm_up.step),
            None => rate.into(),
        }
    }

    /// The first instant at which `grains` beyond `spent` have been supplied, if ever.
    pub(crate) fn ready_at(&self, spent: i64, grains: u64) -> Option<Instant> {
        let (mut line, mut spent) = (&self.supply.line, spent);
        for next in self.ahead().iter().rev() {
            let supplied = next.base.wrapping_sub(line.base) & USED_MASK;
            if i128::from(spent) + i128::from(grains) <= i128::from(supplied) {
                break;
            }
            (line, spent) = (next, spent.saturating_sub_unsigned(supplied));
        }
        line.ready_at(spent, grains)
    }

    /// When `grains` beyond `spent` will have been supplied, as a denial.
    pub(crate) fn not_yet(&self, spent: i64, grains: u64, now: Instant) -> Denied {
        if self.supply.line.mult == 0 && !self.supply.line.unlimited {
            return Denied::NeverRefills;
        }
        let ready = self.ready_at(spent, grains);
        Denied::NotYet {
            retry_after: ready.map_or(Duration::MAX, |at| at.saturating_duration_since(now)),
        }
    }

    /// Until when a line may be moved without a look at those that follow it.
    pub(super) fn end_of_step(&self) -> Option<Instant> {
        let next = self.ahead().last()?;
        Some(Instant::from_nanos(next.at))
    }

    /// The line that begins at `now`, if there is one: it is in force now.
    pub(super) fn next_step(&mut self, now: Instant) -> Option<Anchor> {
        let warm_up = self.supply.warm_up.as_mut()?;
        let next = warm_up.ahead.pop_if(|next| next.at == now.as_nanos())?;
        warm_up.step += 1;
        Some(next)
    }

    /// `line`, to be put in force next, after those that follow it were planned anew.
    pub(super) fn plan(&mut self, line: Anchor, rate: Rate, bits: u32) -> Anchor {
        match &mut self.supply.warm_up {
            Some(warm_up) => warm_up.plan(line, rate, bits),
            None => line,
        }
    }

    fn ahead(&self) -> &[Anchor] {
        self.supply.warm_up.as_ref().map_or(&[], |it| &it.ahead)
    }
}

impl<C: Clock> Core<C> {
    /// Whether every request goes by the lock.
    pub(crate) fn warms_up(&self) -> bool {
        self.settings.warm_up.is_some()
    }

    /// Takes `n` tokens and leaves `left` grains, or says why not.
    #[cold]
    pub(super) fn take_warming(&self, n: u64, left: u64) -> Result<Granted, Denied> {
        self.look_warming(|queue, quiet, now| {
            if queue.closed {
                return Err(Denied::Closed);
            }
            let need = self.grains(&queue.supply.line, n)?;
            if need > 0 && queue.list.is_empty() {
                self.end_pause(queue, quiet.since(n), now);
            }
            let taken = self.take_locked(queue, need, left, now);
            if let Err(Denied::NotYet { retry_after }) = taken
                && let Some(warm_up) = &mut queue.supply.warm_up
            {
                warm_up.quiet.told = Some((n, now.saturating_add(retry_after)));
            }
            taken
        })
    }

    /// What [`take_warming`](Self::take_warming) would say, without taking anything.
    #[cold]
    pub(super) fn peek_warming(&self, n: u64) -> Result<(), Denied> {
        self.look_warming(|queue, _, now| {
            if queue.closed {
                return Err(Denied::Closed);
            }
            let need = self.grains(&queue.supply.line, n)?;
            let word = self.word.load(Ordering::Acquire);
            self.weigh(queue, word, need, 0, now).map(drop)
        })
    }

    /// The word and the line of supply, as of now.
    #[cold]
    pub(super) fn stand_warming(&self) -> (u64, Anchor) {
        self.look_warming(|queue, _, _| (self.word.load(Ordering::Acquire), queue.supply.line))
    }

    /// After a grant: when there is the next token, nobody has come for it yet.
    pub(crate) fn note_grant(&self, queue: &mut Queue, now: Instant) {
        if queue.supply.warm_up.is_none() {
            return;
        }
        let since = Some(self.token_at(queue, now));
        if let Some(warm_up) = &mut queue.supply.warm_up {
            warm_up.quiet = Quiet { since, told: None };
        }
    }

    /// After tokens came back, or come at another rate: that may be at another time.
    pub(crate) fn note_rise(&self, queue: &mut Queue, now: Instant) {
        let warm_up = queue.supply.warm_up.as_ref();
        if warm_up.is_none_or(|it| it.quiet.since.is_none_or(|since| since <= now)) {
            return;
        }
        let since = Some(self.token_at(queue, now));
        if let Some(warm_up) = &mut queue.supply.warm_up {
            warm_up.quiet.since = since;
        }
    }

    /// A critical section that brings the line up to date and serves those who are due. It is told
    /// since when nobody had come before that.
    fn look_warming<T>(&self, look: impl FnOnce(&mut Queue, Quiet, Instant) -> T) -> T {
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        let result = {
            let mut queue = self.queue.lock();
            let queue = &mut *queue;
            let quiet = self.quiet(queue, now);
            self.pump_all(queue, now, &mut wakes);
            look(queue, quiet, now)
        };
        wakes.wake();
        result
    }

    /// Since when nobody has come; if somebody is in the line who is served only now, since the
    /// last one's turn.
    fn quiet(&self, queue: &Queue, now: Instant) -> Quiet {
        let nothing = Quiet {
            since: None,
            told: None,
        };
        if queue.list.is_empty() {
            return queue.supply.warm_up.as_ref().map_or(nothing, |it| it.quiet);
        }
        let sum = saturated(queue.list.sum() + u128::from(self.debt));
        let spent = self.spent(queue, now);
        let turn = queue.ready_at(spent, sum);
        Quiet {
            since: Some(turn.unwrap_or(Instant::FAR_FUTURE)),
            ..nothing
        }
    }

    /// When there is a token, by now or later.
    fn token_at(&self, queue: &Queue, now: Instant) -> Instant {
        if queue.supply.line.unlimited {
            return now;
        }
        let one = (1 << self.bits) + self.debt;
        let ready = queue.ready_at(self.spent(queue, now), one);
        ready.map_or(Instant::FAR_FUTURE, |ready| ready.max(now))
    }

    /// What counts as spent.
    fn spent(&self, queue: &Queue, now: Instant) -> i64 {
        let line = &queue.supply.line;
        let used = self.word.load(Ordering::Acquire) >> 1;
        if queue.promise().is_some() {
            // As the pump sees it: nothing ran over.
            return line.distance(used);
        }
        line.level(used, now, self.cap(queue, line)).spent
    }

    /// Begins to warm up if nobody had come for the period, or ever.
    fn end_pause(&self, queue: &mut Queue, since: Option<Instant>, now: Instant) {
        let Some(warm_up) = &queue.supply.warm_up else {
            return;
        };
        let period = Duration::from_nanos(warm_up.period);
        if since.is_some_and(|since| now.saturating_duration_since(since) < period) {
            return;
        }
        let line = self.lift(queue, now, queue.supply.line.burst, 0);
        if let Some(warm_up) = &mut queue.supply.warm_up {
            (warm_up.began, warm_up.step) = (line.at, 0);
        }
        let used = self.word.load(Ordering::Acquire) >> 1;
        let line = line.with_pace(queue.pace(), self.bits, used);
        self.publish(queue, line, queue.supply.rate);
        // The request that came is as good as a grant.
        self.note_grant(queue, now);
    }

    fn take_locked(
        &self,
        queue: &mut Queue,
        need: u64,
        left: u64,
        now: Instant,
    ) -> Result<Granted, Denied> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let level = self.weigh(queue, word, need, left, now)?;
            let line = queue.supply.line;
            let mut free = level.free;
            if need > 0 && !line.unlimited {
                let taken = line.take(level, need) << 1 | W;
                // Only a refund can come in between.
                if let Err(current) = self.word.compare_exchange_weak(
                    word,
                    taken,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                ) {
                    word = current;
                    continue;
                }
                // What is kept for those who wait may be more than a burst.
                free = free.min(line.burst.cast_signed()) - need.cast_signed();
            }
            if need > 0 {
                self.note_grant(queue, now);
            }
            return Ok(self.granted(&line, free));
        }
    }

    /// Whether `need` grains could be taken and `left` be left.
    fn weigh(
        &self,
        queue: &Queue,
        word: u64,
        need: u64,
        left: u64,
        now: Instant,
    ) -> Result<Level, Denied> {
        let line = &queue.supply.line;
        let others_wait = !queue.list.is_empty();
        let kept = if others_wait {
            self.cap(queue, line)
        } else {
            line.burst
        };
        let level = line.level(word >> 1, now, kept);
        if need == 0 || line.unlimited {
            return Ok(level);
        }
        let denied = if others_wait && !self.may_barge() {
            // Those who wait do not overdraw.
            let grains = queue.list.sum() + u128::from(need.max(self.debt));
            queue.not_yet(level.spent, saturated(grains), now)
        } else if level.free < (need + left).cast_signed() {
            queue.not_yet(level.spent, need + left, now)
        } else {
            return Ok(level);
        };
        Err(match denied {
            // Not zero: one who comes back at once meets the same queue.
            Denied::NotYet { retry_after } if others_wait => Denied::NotYet {
                retry_after: retry_after.max(Duration::from_nanos(1)),
            },
            denied => denied,
        })
    }
}

/// What the line goes by in a step.
const fn pace(rate: Rate, step: u32) -> Pace {
    Pace::part(rate, STEPS + 2 * step, 3 * STEPS)
}

/// On the way up; after them the line goes by the rate.
const STEPS: u32 = 32;

/// As long as any delay of this workspace.
const MAX_PERIOD: Duration = Duration::from_secs(365 * 86_400);
