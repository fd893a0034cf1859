//! How one line of supply follows another: under the queue's lock, at one instant.

use flow_rt::{Clock, Instant};
use flow_sync::sync::atomic::Ordering;

use super::core::{Core, W};
use crate::error::ConfigError;
use crate::rate::Rate;
use crate::supply::Anchor;
use crate::token_bucket::warm_up::WarmUp;
use crate::waiting::{self, Drives, Serves};
use crate::wakes::Wakes;

/// What a bucket's waiters are served from: what `params` says to those without the lock.
pub(crate) struct Lines {
    /// The line of supply in force, and its rate.
    pub(crate) line: Anchor,
    pub(crate) rate: Rate,
    /// Beside them, what follows the line; if the bucket warms up.
    pub(crate) warm_up: Option<Box<WarmUp>>,
}

/// A bucket's queue.
pub(crate) type Queue = waiting::Queue<Lines>;

/// What begins with a new line of supply.
pub(crate) enum Change {
    Rate(Rate),
    /// What the line keeps in grains, and what is set aside in tokens.
    Burst {
        burst: u64,
        aside: u64,
    },
    /// A burst of which as much is spent as of the last, in grains.
    Capacity(u64),
}

impl<C: Clock> Core<C> {
    /// Ends one line of supply and begins another, at one instant. `next` is asked under the
    /// lock; if it refuses nothing has changed. `back` grains come back with it.
    pub(crate) fn change(
        &self,
        back: u64,
        next: impl FnOnce(&Anchor) -> Result<Change, ConfigError>,
    ) -> Result<(), ConfigError> {
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        {
            let mut queue = self.queue.lock();
            let change = next(&queue.supply.line)?;
            // What the old line has earned goes to those who waited under it.
            self.pump_all(&mut queue, now, &mut wakes);
            let head = queue.list.head_need().unwrap_or(0);
            let kept = self.kept(head, &queue.supply.line);
            let anchor = self.lift(&queue, now, kept, back);
            let used = self.word.load(Ordering::Acquire) >> 1;
            let (anchor, rate) = match change {
                Change::Rate(rate) => {
                    let pace = queue.pace_of(rate);
                    (anchor.with_pace(pace, self.bits, used), rate)
                }
                Change::Burst { burst, aside } => {
                    let shared = Anchor {
                        burst,
                        aside,
                        ..anchor
                    };
                    (shared, queue.supply.rate)
                }
                Change::Capacity(burst) => (anchor.with_capacity(burst), queue.supply.rate),
            };
            self.publish(&mut queue, anchor, rate);
            self.pump_all(&mut queue, now, &mut wakes);
            self.kick(&mut queue, now, &mut wakes);
            self.note_rise(&mut queue, now);
        }
        wakes.wake();
        Ok(())
    }

    /// Puts a line in force, and what is to follow it.
    pub(super) fn publish(&self, queue: &mut Queue, line: Anchor, rate: Rate) {
        let line = queue.plan(line, rate, self.bits);
        self.put_in_force(queue, line, rate);
    }

    /// Puts a line in force, for those without the lock too.
    fn put_in_force(&self, queue: &mut Queue, line: Anchor, rate: Rate) {
        (queue.supply.line, queue.supply.rate) = (line, rate);
        self.params.publish(&line, rate);
    }

    /// A burst in tokens that is shared out anew: what the line keeps, and what is set aside.
    pub(super) fn sharing(&self, kept: u64, aside: u64) -> Change {
        Change::Burst {
            burst: (kept << self.bits) + self.debt,
            aside,
        }
    }

    /// Moves the anchor before its numbers run out of range.
    #[cold]
    pub(super) fn move_anchor(&self, now: Instant) {
        let mut queue = self.queue.lock();
        // Somebody may have moved it before.
        if queue.supply.line.is_stale(now) {
            self.move_on(&mut queue, now);
        }
        drop(queue);
    }

    /// Moves the anchor towards the present. Whether it moved: what is due to a reservation by
    /// the line as it is must be taken first.
    pub(crate) fn move_on(&self, queue: &mut Queue, now: Instant) -> bool {
        let anchor = queue.supply.line;
        let word = self.word.load(Ordering::Acquire);
        if queue
            .promise()
            .is_some_and(|need| self.is_due(&anchor, word, need, now))
        {
            return false;
        }
        // What comes beyond the line's range is not lost to one who stands first: step by step.
        let until = match queue.promise() {
            Some(_) => anchor.horizon_after(now),
            None => now,
        };
        let until = queue.end_of_step().map_or(until, |end| until.min(end));
        let anchor = self.lift(queue, until, self.cap(queue, &anchor), 0);
        match queue.next_step(until) {
            Some(next) => self.put_in_force(queue, next, queue.supply.rate),
            None => self.publish(queue, anchor, queue.supply.rate),
        }
        true
    }

    /// Moves the anchor to the present, by the lock's holder. `used` is lifted first, to what
    /// a bucket of `cap` grains holds (invariant 4), and `back` grains come back on top of that:
    /// for a burst that grows by as much, and is published next.
    pub(crate) fn lift(&self, queue: &Queue, now: Instant, cap: u64, back: u64) -> Anchor {
        let anchor = queue.supply.line;
        let moved = anchor.moved(now, queue.pace(), self.bits);
        if !anchor.unlimited {
            // First by the line that ends, so that `used` is in sight of the new anchor; that
            // stands on the exact line, which may be a grain lower, and a full bucket is full.
            self.clip(&anchor, now, cap + 1);
            self.raise(&moved, now, cap, back);
        }
        moved
    }

    /// What ran over is gone before somebody comes to stand first who may need more than a burst.
    pub(crate) fn keep_a_burst(&self, queue: &Queue, now: Instant) {
        let anchor = queue.supply.line;
        if self.debt > 0 && !anchor.unlimited {
            self.clip(&anchor, now, anchor.burst);
        }
    }

    /// Lifts `used` to what a bucket of `cap` grains holds.
    pub(crate) fn clip(&self, anchor: &Anchor, now: Instant, cap: u64) {
        self.raise(anchor, now, cap, 0);
    }

    /// The same, and `back` grains less than that.
    fn raise(&self, anchor: &Anchor, now: Instant, cap: u64, back: u64) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let level = anchor.level(word >> 1, now, cap);
            let lifted = anchor.lifted(level, back) << 1 | word & W;
            match self
                .word
                .compare_exchange_weak(word, lifted, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
    }
}
