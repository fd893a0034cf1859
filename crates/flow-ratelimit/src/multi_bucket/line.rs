//! How one line of supply follows another: under the queue's lock, at one instant.

use flow_rt::{Clock, Instant};
use flow_sync::sync::atomic::Ordering;

use super::core::{Core, check_burst};
use crate::error::ConfigError;
use crate::rate::Rate;
use crate::supply::{self, Anchor, USED_MASK};
use crate::waiting::{self, Drives, Serves};
use crate::wakes::Wakes;

/// A limit's line of supply in force, and its rate: what its `Params` say to those without the
/// lock.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) line: Anchor,
    pub(crate) rate: Rate,
}

/// The queue of those who wait for all limits.
pub(crate) type Queue = waiting::Queue<Box<[Limit]>>;

impl<C: Clock> Core<C> {
    /// Puts a rate in force from now on, and a burst if there is one.
    pub(super) fn set_quota(
        &self,
        index: usize,
        rate: Rate,
        burst: Option<u64>,
    ) -> Result<(), ConfigError> {
        if index >= self.params.len() {
            return Err(ConfigError::NoSuchLimit {
                given: index,
                limits: self.params.len(),
            });
        }
        supply::check_rate(rate, self.bits)?;
        burst.map_or(Ok(()), |burst| check_burst(burst, self.bits))?;
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        {
            let mut queue = self.queue.lock();
            let queue = &mut *queue;
            // What the old line has earned goes to those who waited under it.
            self.pump_all(queue, now, &mut wakes);
            let lifted = self.lift(queue, index, now);
            let burst = burst.map_or(lifted.burst, |burst| burst << self.bits);
            let used = self.used(self.word(), self.lost(index));
            let line = Anchor { burst, ..lifted }.with_pace(rate, self.bits, used);
            self.publish(queue, index, Limit { line, rate });
            self.pump_all(queue, now, &mut wakes);
            self.kick(queue, now, &mut wakes);
        }
        wakes.wake();
        Ok(())
    }

    /// Moves the anchors that must be, before their numbers run out of range.
    #[cold]
    pub(super) fn move_anchors(&self, now: Instant) {
        let mut queue = self.queue.lock();
        self.move_on(&mut queue, now);
    }

    /// The same, by the lock's holder.
    pub(super) fn move_on(&self, queue: &mut Queue, now: Instant) {
        for index in 0..self.params.len() {
            let Limit { line, rate } = queue.supply[index];
            if line.is_stale(now) {
                let line = self.lift(queue, index, now);
                self.publish(queue, index, Limit { line, rate });
            }
        }
    }

    /// A limit's line, anchored at the present; what ran over by it is noted (invariant 6).
    fn lift(&self, queue: &Queue, index: usize, now: Instant) -> Anchor {
        let Limit { line, rate } = &queue.supply[index];
        let moved = line.moved(now, *rate, self.bits);
        if !line.unlimited {
            let cap = if queue.list.is_empty() {
                line.burst
            } else {
                self.kept(line)
            };
            // First by the line that ends, so that what is used is in sight of the new anchor;
            // that stands on the exact line, which may be a grain lower.
            self.clip(index, line, now, cap + 1);
            self.clip(index, &moved, now, cap);
        }
        moved
    }

    /// Notes what a limit has lost by `now` if it holds `cap` grains at the most.
    pub(super) fn clip(&self, index: usize, line: &Anchor, now: Instant, cap: u64) {
        loop {
            let word = self.word();
            let noted = self.lost(index);
            let used = self.used(word, noted);
            let over = line.level(used, now, cap).spent - line.distance(used);
            if over <= 0 {
                return;
            }
            let risen = noted.wrapping_add(over.cast_unsigned()) & USED_MASK;
            let swapped = self.words.lost[index].compare_exchange_weak(
                noted,
                risen,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if swapped.is_ok() {
                return;
            }
        }
    }

    /// Puts a line in force, for those without the lock too.
    fn publish(&self, queue: &mut Queue, index: usize, limit: Limit) {
        self.params[index].publish(&limit.line, limit.rate);
        queue.supply[index] = limit;
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}
