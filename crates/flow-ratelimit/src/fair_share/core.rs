//! One lock for a parent and its children: who may go, and who waits.
//!
//! # State
//! [`Shares`] under the lock of a queue of `waiting`, which has a line for each child. Nothing is
//! decided without the lock, so there is no bit that keeps anybody out, and no word. Each child is a
//! [`Source`] of its own on the same queue: whoever drives it drives all lines.
//!
//! # Invariants
//! 1. Tokens are taken, given back, and granted to those who wait under the lock only.
//! 2. In a line it is first in, first out: nobody takes anything while somebody waits in its line.
//! 3. What is shared is for those who wait, while anybody does. Of the heads that need some of it
//!    the one goes next whose turn it is, and nobody else borrows before it: so a large need is
//!    not passed for ever. What a child has of its own is for its own line alone.
//! 4. A critical section leaves no head that could go by what it did, unless its thread comes
//!    back. One that could go by the time alone is left to its driver, even if that is late:
//!    whoever comes to another line takes nothing that is for it (3), and does not look at all
//!    lines each time.
//! 5. What is there beyond the burst, for a driver that is late, is for those who wait. With the
//!    last of them who is granted it is gone: no newcomer takes of it, and no change keeps it.
//!
//! # Steps
//! - decide: clock; lock; somebody in its line? the head is due? pump. Still somebody? denied. Own
//!   tokens enough? take them. Nobody waits in any line, and with what is shared there are enough?
//!   take both. Else denied.
//! - pump: a head that its own tokens are enough for? grant it. Else the head whose turn it is:
//!   enough with what is shared? grant it, and it is the others' turn.
//! - refund, changes: under the lock; then pump and kick, for all lines.
//!
//! # Source
//! The queue is that of `waiting`; the tokens, and whose turn it is, stand in `shares`.

use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Clock, Instant};
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::shares::Shares;
use crate::decisions::Decisions;
use crate::error::Denied;
use crate::granted::Granted;
use crate::waiting::{self, Drives, Rules, Serves, Source, saturated};
use crate::wakes::Wakes;

/// Those who wait, in a line for each child.
pub(super) type Queue = waiting::Queue<Shares>;

/// What all children share.
pub(super) struct Core<C> {
    pub(super) queue: Mutex<Queue>,
    pub(super) clock: C,
    /// For those who only look: how many wait in all lines, and whether it was closed.
    pub(super) waiting: AtomicUsize,
    pub(super) closed: AtomicBool,
    pub(super) rules: Rules,
}

/// A child, as those know it who wait in its line.
pub(super) struct Child<C> {
    pub(super) core: Arc<Core<C>>,
    pub(super) line: usize,
    pub(super) name: Cow<'static, str>,
    pub(super) decisions: Decisions,
}

impl<C: Clock> Child<C> {
    pub(super) fn try_take(&self, n: u64) -> Result<Granted, Denied> {
        let decision = self.decide(n);
        self.decisions.count(decision.is_ok());
        decision
    }

    /// What [`try_take`](Self::try_take) would say, without taking anything.
    pub(super) fn peek(&self, n: u64) -> Result<(), Denied> {
        let mut wakes = Wakes::new();
        let now = self.core.clock.now();
        let looked = {
            let mut queue = self.core.queue.lock();
            self.come(&mut queue, now, &mut wakes);
            self.enough(&queue, n, now).map(drop)
        };
        wakes.wake();
        looked
    }

    /// Gives `n` tokens back, and to whoever waits for them.
    pub(super) fn refund(&self, n: u64) {
        let now = self.core.clock.now();
        let is_waited_for = {
            let mut queue = self.core.queue.lock();
            self.advance(&mut queue, now);
            let shares = &mut queue.supply;
            // More than a burst never fits.
            let units = shares.units(n.min(shares.burst()));
            shares.put_back(self.line, units);
            self.is_waited_for()
        };
        if is_waited_for {
            self.supply_rose();
        }
    }

    /// Looks at the shares as they are now.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Queue) -> T) -> T {
        let now = self.core.clock.now();
        let mut queue = self.core.queue.lock();
        self.advance(&mut queue, now);
        at(&queue)
    }

    /// Changes the shares, for those who wait too.
    pub(super) fn change<E>(
        &self,
        how: impl FnOnce(&mut Shares, Instant) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut wakes = Wakes::new();
        let now = self.core.clock.now();
        let changed = {
            let mut queue = self.core.queue.lock();
            let queue = &mut *queue;
            // What came by the old ones goes to those who waited under them.
            self.pump_all(queue, now, &mut wakes);
            let changed = how(&mut queue.supply, now);
            self.pump_all(queue, now, &mut wakes);
            self.kick(queue, now, &mut wakes);
            changed
        };
        wakes.wake();
        changed
    }

    /// Brings the shares up to date for one who comes now. Those in front of it who can go already,
    /// since their driver is late, go first.
    fn come(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) {
        self.advance(queue, now);
        let is_behind = !queue.line(self.line).is_empty();
        if is_behind && self.head_at(queue, now) <= now {
            self.pump_all(queue, now, wakes);
        }
    }

    /// Brings the shares up to date. Nobody waits? What a late driver would have is lost.
    fn advance(&self, queue: &mut Queue, now: Instant) {
        queue.supply.set_waited_for(self.is_waited_for());
        queue.supply.advance(now);
    }

    /// Whether somebody waits, by the lock's holder.
    fn is_waited_for(&self) -> bool {
        self.core.waiting.load(Ordering::Acquire) > 0
    }

    /// Whether there are `n` tokens for one who comes now: so many units.
    fn enough(&self, queue: &Queue, n: u64, now: Instant) -> Result<i128, Denied> {
        if queue.closed {
            return Err(Denied::Closed);
        }
        let need = self.need(queue, n)?;
        let shares = &queue.supply;
        if need == 0 {
            return Ok(0);
        }
        let line = queue.line(self.line);
        let units = shares.units(need);
        let is_alone = !self.is_waited_for();
        let there = if is_alone {
            shares.free(self.line)
        } else {
            shares.own(self.line)
        };
        if line.is_empty() && units <= there {
            return Ok(units);
        }
        let then = if is_alone {
            shares.free_at(self.line, units)
        } else {
            // What others borrow is not known: by its own alone it is there.
            let ahead = shares.units(1) * i128::from(saturated(line.sum()));
            shares.own_at_last(self.line, ahead + units)
        };
        let Some(ready) = shares.instant_of(then) else {
            return Err(if shares.rate().is_zero() {
                Denied::NeverRefills
            } else {
                Denied::not_yet(Duration::MAX)
            });
        };
        // Not zero: one who comes back at once meets the same line.
        let wait = ready.saturating_duration_since(now).max(NANOSECOND);
        Err(Denied::not_yet(wait))
    }
}

impl<C: Clock> Source for Child<C> {
    type Supply = Shares;

    fn now(&self) -> Instant {
        self.core.clock.now()
    }

    fn queue(&self) -> &Mutex<Queue> {
        &self.core.queue
    }

    fn rules(&self) -> &Rules {
        &self.core.rules
    }

    fn line(&self) -> usize {
        self.line
    }

    fn waiting(&self) -> &AtomicUsize {
        &self.core.waiting
    }

    fn closed(&self) -> &AtomicBool {
        &self.core.closed
    }

    /// Nobody takes anything without the lock.
    fn shut(&self) {}

    fn open(&self, _: &Queue) {}

    /// In tokens: units are of another size when a weight changes.
    fn need(&self, queue: &Queue, n: u64) -> Result<u64, Denied> {
        let shares = &queue.supply;
        let most = shares.most(self.line);
        if shares.is_unlimited() {
            // Nothing is taken.
            return Ok(0);
        }
        if n > most {
            return Err(Denied::exceeds_burst(n, most));
        }
        Ok(n)
    }

    fn most(&self, queue: &Queue) -> u64 {
        queue.supply.most(self.line)
    }

    fn decide(&self, n: u64) -> Result<Granted, Denied> {
        let mut wakes = Wakes::new();
        let now = self.core.clock.now();
        let decided = {
            let mut queue = self.core.queue.lock();
            let queue = &mut *queue;
            self.come(queue, now, &mut wakes);
            self.enough(queue, n, now).map(|units| {
                queue.supply.take(self.line, units);
                queue.supply.granted(self.line)
            })
        };
        wakes.wake();
        decided
    }

    fn answer(&self, queue: &Queue, _: Instant) -> Granted {
        queue.supply.granted(self.line)
    }

    fn pump(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) -> bool {
        self.advance(queue, now);
        let was_waited_for = self.is_waited_for();
        let mut more = false;
        loop {
            let refused = hopeless(queue);
            let goes = next(queue);
            if refused.is_none() && goes.is_none() {
                break;
            }
            if wakes.room() == 0 {
                more = true;
                break;
            }
            if let Some(line) = refused {
                wakes.push(queue.line_mut(line).close_head());
            } else if let Some((line, units)) = goes {
                let waker = if queue.supply.is_unlimited() {
                    queue.line_mut(line).waive_head()
                } else {
                    queue.supply.take_in_turn(line, units);
                    queue.line_mut(line).grant_head()
                };
                wakes.push(waker);
            }
        }
        self.mirror(queue);
        if was_waited_for && !self.is_waited_for() {
            // What was there for a late driver is nobody's in the rest of this section either (5).
            queue.supply.set_waited_for(false);
            queue.wake_sleepers(now, wakes);
        }
        more
    }

    fn head_at(&self, queue: &Queue, now: Instant) -> Instant {
        let shares = &queue.supply;
        if next(queue).is_some() || hopeless(queue).is_some() {
            return now;
        }
        let own = heads(queue).map(|(line, need)| shares.own_at_last(line, shares.units(need)));
        let borrower = heads(queue).min_by_key(|&(line, _)| (shares.turn_of(line), line));
        let borrowed = borrower.map(|(line, need)| shares.free_at(line, shares.units(need)));
        let first = own.chain(borrowed).min();
        first
            .and_then(|then| shares.instant_of(then))
            .map_or(Instant::FAR_FUTURE, |at| at.max(now))
    }

    /// If all that others leave goes to this line.
    fn wait_of(&self, queue: &Queue, need: u64, now: Instant) -> Duration {
        let shares = &queue.supply;
        if shares.is_unlimited() {
            return Duration::ZERO;
        }
        let tokens = queue.line(self.line).sum() + u128::from(need);
        let units = shares.units(1) * i128::from(saturated(tokens));
        shares
            .instant_of(shares.free_at(self.line, units))
            .map_or(Duration::MAX, |ready| ready.saturating_duration_since(now))
    }

    fn mirror(&self, queue: &Queue) {
        let lines = 0..queue.supply.weights().count();
        let waiting = lines.map(|line| queue.line(line).len()).sum();
        self.core.waiting.store(waiting, Ordering::Release);
    }

    fn give_need_back(&self, need: u64) {
        self.refund(need);
    }

    fn give_tokens_back(&self, n: u64) {
        self.refund(n);
    }

    fn note_decision(&self, granted: bool) {
        self.decisions.count(granted);
    }

    fn before_first(&self, queue: &mut Queue, now: Instant) {
        // What ran over before is lost, though somebody waits from here on.
        self.advance(queue, now);
        queue.supply.begin_to_wait(self.line);
    }
}

/// The line whose head goes next, if one can, and what it needs.
fn next(queue: &Queue) -> Option<(usize, i128)> {
    let shares = &queue.supply;
    let mut borrower = None;
    for (line, need) in heads(queue) {
        if shares.is_unlimited() {
            return Some((line, 0));
        }
        let units = shares.units(need);
        if units <= shares.own(line) {
            return Some((line, units));
        }
        let turn = (shares.turn_of(line), line, units);
        borrower = Some(borrower.map_or(turn, |first| turn.min(first)));
    }
    let (_, line, units) = borrower?;
    (units <= shares.free(line)).then_some((line, units))
}

/// A line whose head needs more than its child can have since something was changed.
fn hopeless(queue: &Queue) -> Option<usize> {
    if queue.supply.is_unlimited() {
        return None;
    }
    let mut heads = heads(queue);
    heads.find_map(|(line, need)| (need > queue.supply.most(line)).then_some(line))
}

/// The first of each line in which somebody waits, and how many tokens it needs.
fn heads(queue: &Queue) -> impl Iterator<Item = (usize, u64)> + '_ {
    let lines = queue.supply.weights().enumerate();
    lines.filter_map(|(line, _)| Some((line, queue.line(line).head_need()?)))
}

/// The least that anybody is told to wait behind others.
const NANOSECOND: Duration = Duration::from_nanos(1);
