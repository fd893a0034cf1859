//! One decision: whether there are tokens, and the swap that takes them.
//!
//! # Steps
//! The clock; what the last denial found out; the parameters, and how much they have supplied by
//! now; the word, and whether they are still in force; the swap. The order and why it is right
//! stand in `core`.
//!
//! # Cost
//! Reading the clock takes most of the time. A core reads it no sooner than the last swap is done,
//! and swaps no sooner than what the swap depends on is there; so what counts is the chain from the
//! clock to the swap, and what there is to do before the one and after the other. An attempt keeps
//! to what a grant needs, all in registers: whatever is in its way is found out anew, out of line
//! and from the clock on. What is counted is looked up between clock and swap. Words are compared and
//! made in twice their numbers, as they stand. The new word is chosen of two without a branch: with
//! one, by which the swap need not wait for the clock where the bucket is not full, that bucket is no
//! faster and a full one takes 10.6 ns in place of 9.4.
//!
//! Supply does not depend on the word and is computed before it is loaded: between that and the swap
//! there is a handful of additions. Who loses a race leaves the winner alone for a while: two threads
//! get through more than by turns.

use core::time::Duration;

use flow_rt::{Clock, Instant};
use flow_sync::lost_a_race;
use flow_sync::sync::atomic::Ordering;

use super::core::{Core, W, not_yet};
use crate::error::Denied;
use crate::granted::Granted;
use crate::params::Look;
use crate::waiting::Serves;

impl<C: Clock> Core<C> {
    /// Takes `n` tokens if they are there, without overdrawing: for those who can wait.
    #[inline]
    pub(crate) fn decide_paid(&self, n: u64) -> Result<Granted, Denied> {
        let (granted, ..) = self.decide_by::<false, _>(n, |_| 0, || ())?;
        Ok(granted)
    }

    /// Takes `n` tokens without counting, and credits beyond them: as many as `more` makes of those
    /// that would be left.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line the parameters go through memory: 6 ns of 24"
    )]
    pub(crate) fn decide_with(
        &self,
        n: u64,
        more: impl Fn(u64) -> u64,
    ) -> Result<(Granted, u64), Denied> {
        let (granted, credits, ()) = self.decide_by::<true, _>(n, more, || ())?;
        Ok((granted, credits))
    }

    /// Takes `n` tokens without counting, and does what `prepare` does while it is not known yet
    /// what the time is.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `decide_with`")]
    pub(crate) fn decide_prepared<const OVERDRAWS: bool, P>(
        &self,
        n: u64,
        prepare: impl FnOnce() -> P,
    ) -> Result<(Granted, P), Denied> {
        let (granted, _, prepared) = self.decide_by::<OVERDRAWS, _>(n, |_| 0, prepare)?;
        Ok((granted, prepared))
    }

    /// Takes `n` tokens, overdrawing or only if they are there, and credits beyond them.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "as `decide_with`, which it is part of"
    )]
    fn decide_by<const OVERDRAWS: bool, P>(
        &self,
        n: u64,
        more: impl Fn(u64) -> u64,
        prepare: impl FnOnce() -> P,
    ) -> Result<(Granted, u64, P), Denied> {
        let now = self.clock.now();
        // Those who come again and again; who can wait, waits.
        if OVERDRAWS
            && n == 1
            && let Some(denied) = self.still_denied(now)
        {
            return Err(denied);
        }
        let prepared = prepare();
        let keeps = if OVERDRAWS { 0 } else { self.debt };
        match self.attempt::<false>(n, keeps, now, &more) {
            Ok((granted, credits)) => Ok((granted, credits, prepared)),
            Err(miss) => {
                // By its parts: as a whole it would be where the callee put it, all answers in memory.
                let is_raced = matches!(miss, Miss::Raced);
                let (granted, credits) = self.decide_after::<OVERDRAWS>(n, more, is_raced)?;
                Ok((granted, credits, prepared))
            }
        }
    }

    /// Takes `n` tokens, and credits beyond them, if nothing is in the way; and nothing that is
    /// found more quickly than it can be told apart from what is, unless it looks `CLOSELY`.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "as `decide_with`, which it is part of"
    )]
    fn attempt<const CLOSELY: bool>(
        &self,
        n: u64,
        keeps: u64,
        now: Instant,
        more: impl Fn(u64) -> u64,
    ) -> Result<(Granted, u64), Miss> {
        let Look {
            version,
            anchor,
            end,
        } = self.params.look();
        let mut elapsed = now.as_nanos().wrapping_sub(anchor.at);
        if CLOSELY {
            if anchor.unlimited || anchor.is_stale(now) {
                return Err(Miss::Special);
            }
            elapsed = anchor.elapsed(now);
        } else if elapsed >= end {
            return Err(Miss::Special);
        }
        let burst = anchor.burst.cast_signed();
        let supplied = anchor.supplied_in(elapsed);
        let need = n.wrapping_mul(self.token);
        let word = self.word.load(Ordering::Acquire);
        if word & W != 0 {
            return Err(Miss::Behind);
        }
        if !self.params.are_still(version) {
            // The word may be newer than what was read.
            return Err(Miss::Outdated);
        }
        // As `Anchor::level` has it, and `grains`, of which this is twice as much: so far are words
        // from one another. At most 2^62 parts are supplied, or held.
        let base = anchor.base << 1;
        let spent = word.wrapping_sub(base).cast_signed();
        let held = supplied - (spent >> 1);
        let is_full = held > burst;
        // Of a need that is too large, any number.
        let left = if is_full { burst } else { held }.wrapping_sub(need.cast_signed());
        let is_too_large = n > u64::from(u32::MAX) && n > anchor.burst >> self.bits;
        if is_too_large || left < keeps.cast_signed() && n != 0 {
            return Err(Miss::Lacks { word, version });
        }
        let pace = (anchor.mult, anchor.finer);
        let grant = |left| Granted::by(pace, anchor.burst, left, self.debt, self.bits);
        if n == 0 {
            return Ok((grant(left), 0));
        }
        let credits = more(self.tokens(left));
        // No more than is left, so no more than there is.
        let taken = (need + (credits << self.bits)) << 1;
        // Both at hand, so that it is a choice and not a branch, which costs a nanosecond after the swap.
        let least = base.wrapping_sub(anchor.burst << 1).wrapping_add(taken);
        let of_full = least.wrapping_add(supplied.cast_unsigned() << 1);
        let of_other = word.wrapping_add(taken);
        let next = if is_full { of_full } else { of_other };
        let swapped =
            self.word
                .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire);
        match swapped {
            Ok(_) => Ok((grant(left), credits)),
            Err(_) => Err(Miss::Raced),
        }
    }

    /// Goes on after an attempt that came to nothing: from the start, so that the attempt need not
    /// keep at hand what only few want.
    #[cold]
    #[inline(never)]
    fn decide_after<const OVERDRAWS: bool>(
        &self,
        n: u64,
        more: impl Fn(u64) -> u64,
        mut is_raced: bool,
    ) -> Result<(Granted, u64), Denied> {
        let keeps = if OVERDRAWS { 0 } else { self.debt };
        if self.warms_up() && self.word.load(Ordering::Acquire) & W != 0 {
            // Always out of line: it is not looked at the clock twice for that.
            return Ok((self.take_warming(n, keeps)?, 0));
        }
        loop {
            if is_raced {
                lost_a_race();
            }
            let now = self.clock.now();
            let attempt = self.attempt::<true>(n, keeps, now, &more);
            is_raced = matches!(attempt, Err(Miss::Raced));
            let done = match attempt {
                Ok(taken) => return Ok(taken),
                Err(Miss::Behind) => self.decide_behind(n, keeps, now)?,
                Err(Miss::Special) => self.decide_specially(n, keeps, now)?,
                Err(Miss::Lacks { word, version }) => {
                    match self.deny(n, keeps, (word, version), now, OVERDRAWS && n == 1) {
                        Some(denied) => return Err(denied),
                        None => None,
                    }
                }
                Err(Miss::Outdated | Miss::Raced) => None,
            };
            if let Some(granted) = done {
                return Ok((granted, 0));
            }
        }
    }

    /// Decides where W may be set; `None` if it is not, any more.
    #[cold]
    fn decide_behind(&self, n: u64, keeps: u64, now: Instant) -> Result<Option<Granted>, Denied> {
        if self.warms_up() {
            return self.take_warming(n, keeps).map(Some);
        }
        if self.may_barge() {
            return self.barge(n, keeps).map(Some);
        }
        self.keep_out(n, now)?;
        let (word, now) = (self.word.load(Ordering::Acquire), self.clock.now());
        if word & W != 0 {
            // Others came in between: they were first.
            return self.answer_behind(n, now).map(Some);
        }
        Ok(None)
    }

    /// Decides for a bucket without a limit, or moves the anchor; `None` if there is more to do.
    #[cold]
    fn decide_specially(
        &self,
        n: u64,
        keeps: u64,
        now: Instant,
    ) -> Result<Option<Granted>, Denied> {
        if self.word.load(Ordering::Acquire) & W != 0 {
            return self.decide_behind(n, keeps, now);
        }
        let anchor = self.params.anchor();
        if anchor.is_stale(now) {
            self.move_anchor(now);
        }
        Ok(anchor.unlimited.then(|| self.granted(&anchor, 0)))
    }

    /// Why there are not `n` tokens by this word and these parameters; `None` if the parameters
    /// are not in force any more.
    #[cold]
    fn deny(
        &self,
        n: u64,
        keeps: u64,
        (word, version): (u64, u64),
        now: Instant,
        is_remembered: bool,
    ) -> Option<Denied> {
        let look = self.params.look();
        if look.version != version || !self.params.is_in_force(&look) {
            return None;
        }
        let need = match self.grains(&look.anchor, n) {
            Ok(need) => need,
            Err(denied) => return Some(denied),
        };
        let spent = look.anchor.level(word >> 1, now, look.anchor.burst).spent;
        let denied = not_yet(look.anchor, spent, need + keeps, now);
        if is_remembered {
            self.denial.remember(word, version, now, denied);
        }
        Some(denied)
    }

    /// The answer to a request for one token, if one like it was denied and nothing has changed.
    #[inline]
    fn still_denied(&self, now: Instant) -> Option<Denied> {
        let until = self.denial.recall(now)?;
        // The word before the parameters (2).
        let is_same = self.word.load(Ordering::Acquire) == until.word
            && self.params.version() == until.version;
        is_same.then(|| Denied::NotYet {
            retry_after: Duration::from_nanos(until.ready - now.as_nanos()),
        })
    }

    /// The way of those whom W keeps out. `Ok` if what was in the way is gone.
    #[cold]
    pub(super) fn keep_out(&self, n: u64, now: Instant) -> Result<(), Denied> {
        if self.reservation_is_due(now) {
            self.supply_rose();
            return Ok(());
        }
        match self.answer_behind(n, now) {
            // Those in front can go already, their driver is late: grant them here.
            Err(Denied::NotYet { retry_after }) if retry_after <= Duration::from_nanos(1) => {
                self.supply_rose();
                Ok(())
            }
            // They went meanwhile, and were counted with those who still wait.
            Err(Denied::NotYet { .. }) if self.word.load(Ordering::Acquire) & W == 0 => Ok(()),
            Err(denied) => Err(denied),
            Ok(_) => Ok(()),
        }
    }

    /// The answer for one who stands behind all who wait.
    #[cold]
    pub(super) fn answer_behind(&self, n: u64, now: Instant) -> Result<Granted, Denied> {
        // Stored before W was set, so seen by who saw W.
        if self.closed.load(Ordering::Acquire) {
            return Err(Denied::Closed);
        }
        let used = self.word.load(Ordering::Acquire) >> 1;
        let anchor = self.params.anchor();
        let head = self.head.load(Ordering::Acquire) >> 1;
        let level = anchor.level(used, now, self.kept(head, &anchor));
        let need = self.grains(&anchor, n)?;
        if need == 0 || anchor.unlimited {
            return Ok(self.granted(&anchor, level.free));
        }
        // Those who wait do not overdraw.
        let queued = self.queued.load(Ordering::Acquire);
        let grains = queued.saturating_add(need.max(self.debt));
        match not_yet(anchor, level.spent, grains, now) {
            // Not zero: one who comes back at once meets the same queue.
            Denied::NotYet { retry_after } => Err(Denied::NotYet {
                retry_after: retry_after.max(Duration::from_nanos(1)),
            }),
            denied => Err(denied),
        }
    }
}

/// Why an attempt came to nothing.
enum Miss {
    /// W was set.
    Behind,
    /// There is no limit, or the anchor must be moved; or is ahead of the clock, to who does not
    /// look closely.
    Special,
    /// The parameters were not in force any more.
    Outdated,
    /// There were not enough tokens by this word and these parameters.
    Lacks { word: u64, version: u64 },
    /// Somebody else changed the word.
    Raced,
}
