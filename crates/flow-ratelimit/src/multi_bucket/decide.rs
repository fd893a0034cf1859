//! One decision: whether every limit has enough, and the swap that takes it of all of them.
//!
//! The order of the steps, and why it is right, stand in `core`. Two limits are the rule, and have a
//! straight way: it computes what they have supplied before it loads the word, and keeps to what a
//! grant needs, as `token_bucket::decide` does. Whatever is in its way, and any other number of
//! limits, is for the general one.

use core::time::Duration;

use flow_rt::{Clock, Instant};
use flow_sync::lost_a_race;
use flow_sync::sync::atomic::Ordering;

use super::core::{Core, PLACES, W};
use super::denied::DeniedByLimit;
use crate::error::Denied;
use crate::granted::Granted;
use crate::params::{Look, Params};
use crate::supply::USED_MASK;
use crate::waiting::Serves;

impl<C: Clock> Core<C> {
    /// Takes `n` tokens of each limit, or says which has too few.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "as in a token bucket: out of line the answer goes through memory"
    )]
    pub(super) fn try_take(&self, n: u64) -> Result<Granted, DeniedByLimit> {
        let granted = self
            .decide_now(n)
            .inspect_err(|_| self.count_decision(false))?;
        self.count_decision(true);
        Ok(granted)
    }

    /// The same, without counting.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `try_take`, which it is part of")]
    pub(super) fn decide_now(&self, n: u64) -> Result<Granted, DeniedByLimit> {
        let now = self.clock.now();
        if n == 1
            && let Some(denied) = self.still_denied(now)
        {
            return Err(denied);
        }
        // By their parts: as a whole an answer would be where the callee put it, and all in memory.
        let granted = match self.params.both() {
            Some(both) => match self.attempt(both, n, now) {
                Ok(granted) => granted,
                Err(miss) => self.decide_after(n, matches!(miss, Miss::Raced))?,
            },
            None => self.decide_by_any(n, now)?,
        };
        Ok(granted)
    }

    /// Takes `n` tokens of two limits, if nothing is in the way.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `try_take`, which it is part of")]
    fn attempt(&self, params: &[Params; 2], n: u64, now: Instant) -> Result<Granted, Miss> {
        let [one, other] = params;
        let one = Supply::until(one, now).ok_or(Miss::Other)?;
        let other = Supply::until(other, now).ok_or(Miss::Other)?;
        let word = self.word();
        // After the word (4).
        let noted = [self.lost(0), self.lost(1)];
        // Of what is more than this there may be any number of grains.
        let is_plain = n.wrapping_sub(1) < u64::from(u32::MAX);
        if word & W != 0 || !is_plain || !one.is_in_force() || !other.is_in_force() {
            return Err(Miss::Other);
        }
        let need = (n * self.token).cast_signed();
        let spent = word & self.spent_mask;
        let [held, others] = [one.held(spent, noted[0]), other.held(spent, noted[1])];
        let [full, others_full] = [one.burst(), other.burst()];
        let left = held.min(full) - need;
        let others_left = others.min(others_full) - need;
        if left < 0 || others_left < 0 {
            return Err(Miss::Other);
        }
        if held > full && !self.note_lost(0, noted[0], held - full)
            || others > others_full && !self.note_lost(1, noted[1], others - others_full)
            || !self.take(word, need.cast_unsigned())
        {
            return Err(Miss::Raced);
        }
        Ok(if others_left < left {
            other.granted(others_left, self.bits)
        } else {
            one.granted(left, self.bits)
        })
    }

    /// Notes what ran over of a limit that had lost as much as was `noted`. Whether nobody else has
    /// noted more meanwhile.
    #[inline]
    fn note_lost(&self, index: usize, noted: u64, over: i64) -> bool {
        let risen = noted.wrapping_add(over.cast_unsigned()) & USED_MASK;
        let lost = &self.words.lost[index];
        lost.compare_exchange(noted, risen, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Takes grains, no more than a burst, which fits; if the word is still the same. The tag stays.
    #[inline]
    fn take(&self, word: u64, grains: u64) -> bool {
        let next = word.wrapping_add(grains << 1);
        self.words
            .word
            .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Goes on after an attempt that came to nothing: from the start, so that the attempt need not
    /// keep at hand what only few want.
    #[cold]
    #[inline(never)]
    fn decide_after(&self, n: u64, is_raced: bool) -> Result<Granted, DeniedByLimit> {
        if is_raced {
            lost_a_race();
        }
        self.decide_by_any(n, self.clock.now())
    }

    /// Takes `n` tokens of each limit, however many there are.
    #[inline(never)]
    fn decide_by_any(&self, n: u64, mut now: Instant) -> Result<Granted, DeniedByLimit> {
        loop {
            let word = self.word();
            if word & W != 0 {
                self.keep_out(n, now)?;
                now = self.clock.now();
                if self.word() & W != 0 {
                    // Others came in between: they were first.
                    return self.answer_behind(n, now);
                }
                continue;
            }
            let Some(weighed) = self.weigh(word, n, now) else {
                self.find_out(word, n, now)?;
                now = self.clock.now();
                continue;
            };
            if !weighed.takes {
                return Ok(self.granted(weighed.least));
            }
            let mut over = weighed.over().enumerate();
            let is_noted =
                over.all(|(index, (noted, over))| over <= 0 || self.note_lost(index, noted, over));
            if is_noted && self.take(word, self.grains(n)) {
                return Ok(self.granted(weighed.least));
            }
            lost_a_race();
            now = self.clock.now();
        }
    }

    /// The answer to a request for one token, if one like it was denied and nothing has changed.
    /// What may be noted as lost meanwhile was of limits that are full.
    #[inline]
    fn still_denied(&self, now: Instant) -> Option<DeniedByLimit> {
        let until = self.denial.recall(now)?;
        // The word before the parameters (4).
        let is_same = self.word() == until.word
            && self.version.load(Ordering::Acquire) == until.version / PLACES;
        is_same.then(|| DeniedByLimit {
            limit: Some((until.version % PLACES) as usize),
            denied: Denied::not_yet(Duration::from_nanos(until.ready - now.as_nanos())),
        })
    }

    /// What [`try_take`](Self::try_take) would say, without taking or noting anything.
    pub(super) fn peek(&self, n: u64) -> Result<(), DeniedByLimit> {
        loop {
            let mut now = self.clock.now();
            let mut word = self.word();
            if word & W != 0 {
                self.keep_out(n, now)?;
                (word, now) = (self.word(), self.clock.now());
                if word & W != 0 {
                    return self.answer_behind(n, now).map(drop);
                }
            }
            if self.weigh(word, n, now).is_some() {
                return Ok(());
            }
            self.find_out(word, n, now)?;
        }
    }

    /// Why nothing could be taken by this word; `Ok` if that is not so any more.
    #[cold]
    #[inline(never)]
    fn find_out(&self, word: u64, n: u64, now: Instant) -> Result<(), DeniedByLimit> {
        if self.params.iter().any(|it| it.anchor().is_stale(now)) {
            self.move_anchors(now);
            return Ok(());
        }
        self.refuse_too_many(n)?;
        // Before the parameters that it is of: see `still_denied`.
        let version = self.version.load(Ordering::Acquire);
        match self.longest(word, self.grains(n), now, |line| line.burst) {
            Some(by) if by.retry_after() != Some(Duration::ZERO) => {
                if let Some(limit) = by.limit.filter(|_| n == 1) {
                    let place = version * PLACES + limit as u64;
                    self.denial.remember(word, place, now, by.denied);
                }
                Err(by)
            }
            _ => Ok(()),
        }
    }

    /// The way of those whom W keeps out. `Ok` if what was in the way is gone.
    #[cold]
    fn keep_out(&self, n: u64, now: Instant) -> Result<(), DeniedByLimit> {
        match self.answer_behind(n, now) {
            // Those in front can go already, their driver is late: grant them here.
            Err(by) if by.retry_after().is_some_and(|it| it <= NANOSECOND) => {
                self.supply_rose();
                Ok(())
            }
            // They went meanwhile, and were counted with those who still wait.
            Err(by) if by.retry_after().is_some() && self.word() & W == 0 => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// The answer for one who stands behind all who wait.
    #[cold]
    fn answer_behind(&self, n: u64, now: Instant) -> Result<Granted, DeniedByLimit> {
        // Stored before W was set, so seen by who saw W.
        if self.closed.load(Ordering::Acquire) {
            return Err(DeniedByLimit::of_all(Denied::Closed));
        }
        self.refuse_too_many(n)?;
        let word = self.word();
        let ahead = self.queued.load(Ordering::Acquire);
        let grains = ahead.saturating_add(self.grains(n));
        match self.longest(word, grains, now, |line| self.kept(line)) {
            Some(mut by) if n > 0 => {
                if let Denied::NotYet { retry_after } = &mut by.denied {
                    // Not zero: one who comes back at once meets the same queue.
                    *retry_after = (*retry_after).max(NANOSECOND);
                }
                Err(by)
            }
            _ => Ok(self.granted(self.least(word, now))),
        }
    }

    /// Refuses what the smallest burst never holds.
    fn refuse_too_many(&self, n: u64) -> Result<(), DeniedByLimit> {
        let limits = self.params.iter().map(Params::anchor).enumerate();
        let limited = limits.filter(|(_, line)| !line.unlimited);
        match limited.min_by_key(|(_, line)| line.burst) {
            Some((limit, line)) if self.grains(n) > line.burst => Err(DeniedByLimit {
                limit: Some(limit),
                denied: Denied::exceeds_burst(n, line.burst >> self.bits),
            }),
            _ => Ok(()),
        }
    }
}

/// Why an attempt came to nothing.
enum Miss {
    /// Somebody else changed what it was about to.
    Raced,
    /// There was something in the way, or were not enough tokens.
    Other,
}

/// What a limit has supplied, by parameters that are not known to be whole yet.
struct Supply<'a> {
    params: &'a Params,
    look: Look,
    /// Grains ever supplied, modulo 2^63, and above that any bit.
    grains: u64,
}

impl<'a> Supply<'a> {
    /// None of a limit without one, or where the anchor must be moved, or is ahead of the clock.
    #[inline]
    fn until(params: &'a Params, now: Instant) -> Option<Self> {
        let look = params.look();
        let elapsed = now.as_nanos().wrapping_sub(look.anchor.at);
        (elapsed < look.end).then(|| Self {
            grains: look.anchor.all_supplied_in(elapsed),
            params,
            look,
        })
    }

    /// Whether it is of use, by what was loaded since.
    #[inline]
    fn is_in_force(&self) -> bool {
        self.params.is_in_force(&self.look)
    }

    /// What the limit has, perhaps more than it holds, by twice the grains that were spent and those
    /// that it has lost.
    #[inline]
    fn held(&self, spent: u64, lost: u64) -> i64 {
        // As `Anchor::level` has it. At most 2^62 grains are held.
        let unspent = self.grains.wrapping_sub(lost) << 1;
        unspent.wrapping_sub(spent).cast_signed() >> 1
    }

    #[inline]
    fn burst(&self) -> i64 {
        self.look.anchor.burst.cast_signed()
    }

    /// A grant that leaves so much.
    #[inline]
    fn granted(&self, left: i64, bits: u32) -> Granted {
        let line = &self.look.anchor;
        Granted::by((line.mult, line.finer), line.burst, left, 0, bits)
    }
}

/// The least that anybody is told to wait behind others.
const NANOSECOND: Duration = Duration::from_nanos(1);
