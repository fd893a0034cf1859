//! Whether newcomers may pass those who wait.

use ::core::time::Duration;

use flow_rt::{Clock, Instant};
use flow_sync::sync::atomic::Ordering;

use super::core::{Core, W, not_yet};
use crate::error::Denied;
use crate::granted::Granted;
use crate::supply::{Anchor, Level};
use crate::waiting::Serves;

/// Whether a caller may take tokens at once while others wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Fairness {
    /// First in, first out: nobody passes those who wait, so nobody starves.
    #[default]
    Fifo,
    /// Whoever finds enough tokens takes them, whoever waits. Those who wait are still served in
    /// their order, with what is left; and first, with what has come beyond a burst because their
    /// driver is late.
    ///
    /// A small request is not held up behind a large one that saves for its turn. The price is
    /// that **there is no bound on how long one may wait**: newcomers who take all that comes, or
    /// a large request among many small ones, can keep it waiting for ever. For callers who would
    /// be denied otherwise and do not wait, beside few who do.
    ///
    /// A [`Reservation`](crate::Reservation) says when it is ready, so nobody passes one: while
    /// there is any in the line, the bucket is a `Fifo` one.
    Barging,
}

/// Passing those who wait. `W` stays as it is; the swap that takes tokens is the only contest.
impl<C: Clock> Core<C> {
    /// Whether a newcomer may pass those who wait now.
    pub(super) fn may_barge(&self) -> bool {
        self.settings.fairness == Fairness::Barging
            && self.reservations.load(Ordering::Acquire) == 0
    }

    /// Takes `n` tokens beside those who wait, and leaves `left` grains.
    #[cold]
    pub(super) fn barge(&self, n: u64, left: u64) -> Result<Granted, Denied> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let now = self.clock.now();
            if self.serves_first(word, now) {
                word = self.word.load(Ordering::Acquire);
                continue;
            }
            let (anchor, level, need) = self.beside(word, n, left, now)?;
            if anchor.is_stale(now) {
                self.move_anchor(now);
                word = self.word.load(Ordering::Acquire);
                continue;
            }
            if need == 0 || anchor.unlimited {
                return Ok(self.granted(&anchor, level.free));
            }
            match self.word.compare_exchange_weak(
                word,
                anchor.take(level, need) << 1 | word & W,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    // What the head waits for may be more than a burst.
                    let free = level.free.min(anchor.burst.cast_signed());
                    return Ok(self.granted(&anchor, free - need.cast_signed()));
                }
                Err(current) => word = current,
            }
        }
    }

    /// What [`barge`](Self::barge) would say, without taking anything.
    #[cold]
    pub(super) fn peek_beside(&self, n: u64) -> Result<(), Denied> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            let now = self.clock.now();
            if !self.serves_first(word, now) {
                return self.beside(word, n, 0, now).map(drop);
            }
        }
    }

    /// Whether there was more than the head waits for, so that its driver is late: then those who
    /// wait are served. What has come beyond a burst meanwhile is theirs, not a newcomer's.
    fn serves_first(&self, word: u64, now: Instant) -> bool {
        // Nobody is in the line of a closed one.
        if word & W == 0 || self.closed.load(Ordering::Acquire) {
            return false;
        }
        let anchor = self.params.anchor();
        let head = self.head.load(Ordering::Acquire) >> 1;
        let free = anchor
            .level(word >> 1, now, self.cap_with(head, &anchor))
            .free;
        let is_late = !anchor.unlimited && free > self.kept(head, &anchor).cast_signed();
        if is_late {
            self.supply_rose();
        }
        is_late
    }

    /// Whether `n` could be taken: the line, how the bucket stands, and `n` in grains.
    fn beside(
        &self,
        word: u64,
        n: u64,
        left: u64,
        now: Instant,
    ) -> Result<(Anchor, Level, u64), Denied> {
        // Stored before W was set, so seen by who saw W.
        if self.closed.load(Ordering::Acquire) {
            return Err(Denied::Closed);
        }
        let anchor = self.params.anchor();
        let need = self.grains(&anchor, n)?;
        // Nobody loses what is kept for a late driver because somebody else takes a part of it.
        let kept = if word & W == 0 {
            anchor.burst
        } else {
            self.cap_with(self.head.load(Ordering::Acquire) >> 1, &anchor)
        };
        let level = anchor.level(word >> 1, now, kept);
        if level.free < (need + left).cast_signed() && need != 0 && !anchor.unlimited {
            return Err(match not_yet(anchor, level.spent, need + left, now) {
                Denied::NotYet { retry_after } => Denied::NotYet {
                    retry_after: retry_after.max(Duration::from_nanos(1)),
                },
                denied => denied,
            });
        }
        Ok((anchor, level, need))
    }
}
