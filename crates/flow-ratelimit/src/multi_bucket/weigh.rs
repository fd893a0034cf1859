//! What a word allows: of all limits together, as their lines of supply stand.

use flow_rt::{Clock, Instant};
use flow_sync::sync::atomic::Ordering;

use super::core::{Core, MAX_LIMIT_BURST, MAX_LIMITS};
use super::denied::DeniedByLimit;
use crate::granted::Granted;
use crate::supply::Anchor;
use crate::token_bucket::core::not_yet;

/// What a word allows.
pub(super) struct Weighed {
    /// The limit with the fewest grains left, after the grant: free, burst, and its pace.
    pub(super) least: Least,
    /// Whether there is anything to take.
    pub(super) takes: bool,
    /// What each limit had lost as far as was noted; and what ran over since, if that is positive.
    over: [(u64, i64); MAX_LIMITS],
}

#[derive(Clone, Copy)]
pub(super) struct Least {
    free: i64,
    burst: u64,
    mult: u64,
    finer: u32,
}

impl<C: Clock> Core<C> {
    /// A limit's line of supply, and what it has used by this word.
    pub(super) fn stand(&self, word: u64, index: usize) -> (Anchor, u64) {
        let used = self.used(word, self.lost(index));
        (self.params[index].anchor(), used)
    }

    /// Whether `n` tokens can be taken of every limit: what is left then, and what ran over.
    /// `None` if it is not so, or an anchor must be moved before.
    pub(super) fn weigh(&self, word: u64, n: u64, now: Instant) -> Option<Weighed> {
        // More than any burst, if it is, and a number to compare with all the same.
        let need = self.grains(n).min(MAX_NEED).cast_signed();
        let mut weighed = Weighed {
            least: Least::NOTHING,
            takes: false,
            over: [(0, 0); MAX_LIMITS],
        };
        let limits = self.params.iter().zip(&self.words.lost);
        for ((params, lost), over_of) in limits.zip(&mut weighed.over) {
            // After the word (4).
            let noted = lost.load(Ordering::Acquire);
            let line = params.anchor();
            if line.unlimited {
                weighed.least.at_most_unlimited(line.burst);
                continue;
            }
            if line.is_stale(now) {
                return None;
            }
            let over = line.over(self.used(word, noted), now, line.burst);
            let free = line.burst.cast_signed() + over.min(0);
            *over_of = (noted, over);
            if free < need && need != 0 {
                return None;
            }
            weighed.takes = need != 0;
            weighed.least.at_most(free - need, &line);
        }
        Some(weighed)
    }

    /// Which limit holds up longest one who needs so many grains, the first of several; none if
    /// all are unlimited. It may be no time at all.
    pub(super) fn longest(
        &self,
        word: u64,
        grains: u64,
        now: Instant,
        cap: impl Fn(&Anchor) -> u64,
    ) -> Option<DeniedByLimit> {
        let each = (0..self.params.len()).filter_map(|index| {
            let (line, used) = self.stand(word, index);
            if line.unlimited {
                return None;
            }
            let level = line.level(used, now, cap(&line));
            Some(DeniedByLimit {
                limit: Some(index),
                denied: not_yet(line, level.spent, grains, now),
            })
        });
        each.reduce(DeniedByLimit::longer)
    }

    /// What the limit with the fewest grains has.
    pub(super) fn least(&self, word: u64, now: Instant) -> Least {
        let mut least = Least::NOTHING;
        for index in 0..self.params.len() {
            let (line, used) = self.stand(word, index);
            if line.unlimited {
                least.at_most_unlimited(line.burst);
            } else {
                least.at_most(line.level(used, now, line.burst).free, &line);
            }
        }
        least
    }

    /// A grant that leaves so much.
    #[inline]
    pub(super) fn granted(&self, least: Least) -> Granted {
        if least.free == i64::MAX {
            return Granted::free(least.burst, self.bits);
        }
        let pace = (least.mult, least.finer);
        Granted::by(pace, least.burst, least.free, 0, self.bits)
    }

    /// How much could come back to the limit that has room for most, whole tokens. What those who
    /// wait are served from may be more than a burst.
    pub(super) fn room(&self, word: u64) -> u64 {
        let room = (0..self.params.len()).map(|index| {
            let (line, used) = self.stand(word, index);
            if line.unlimited {
                return 0;
            }
            let most = self.kept(&line).cast_signed();
            (line.distance(used) + most).max(0).cast_unsigned()
        });
        room.max().unwrap_or(0).next_multiple_of(1 << self.bits)
    }

    /// What is kept for those who wait, and what comes while their driver is late.
    pub(super) fn kept(&self, line: &Anchor) -> u64 {
        let late = line.in_time(self.rules.catch_up).min(MAX_LIMIT_BURST);
        line.burst.max(late)
    }
}

impl Weighed {
    /// What each limit had lost as far as was noted; and what ran over since, if that is positive.
    pub(super) fn over(&self) -> impl Iterator<Item = (u64, i64)> {
        self.over.iter().copied()
    }
}

impl Least {
    /// Nothing limits it.
    const NOTHING: Self = Self {
        free: i64::MAX,
        burst: u64::MAX,
        mult: 0,
        finer: 0,
    };

    #[inline]
    fn at_most(&mut self, free: i64, line: &Anchor) {
        if free < self.free {
            *self = Self {
                free,
                burst: line.burst,
                mult: line.mult,
                finer: line.finer,
            };
        }
    }

    /// Of several unlimited ones the smallest burst is shown.
    #[inline]
    fn at_most_unlimited(&mut self, burst: u64) {
        if self.free == i64::MAX {
            self.burst = self.burst.min(burst);
        }
    }
}

/// More than any limit has, and far from the end of numbers.
const MAX_NEED: u64 = 1 << 62;
