//! How those who wait are served by all limits at once, by whoever holds the lock.
//!
//! All limits share the grains that are spent and the needs of those who wait, so the head can go
//! when the last of them has enough, and from there on whoever fits the scarcest.
//!
//! # What is kept for a late driver
//! In a bucket of one limit nothing runs over while somebody waits before the head could go. Of
//! several the others may be full by then: they lose what comes until the head can go, as if
//! nobody waited, and only what comes after that is kept up to `catch_up`.

use core::time::Duration;

use flow_rt::{Clock, Instant};
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::core::{Core, W};
use super::line::{Limit, Queue};
use crate::error::Denied;
use crate::granted::Granted;
use crate::supply::Anchor;
use crate::waiting::{Rules, Serves, Source, saturated};
use crate::wakes::Wakes;

impl<C: Clock> Source for Core<C> {
    type Supply = Box<[Limit]>;

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn queue(&self) -> &Mutex<Queue> {
        &self.queue
    }

    fn rules(&self) -> &Rules {
        &self.rules
    }

    fn waiting(&self) -> &AtomicUsize {
        &self.waiting
    }

    fn closed(&self) -> &AtomicBool {
        &self.closed
    }

    fn shut(&self) {
        self.words.word.fetch_or(W, Ordering::AcqRel);
    }

    fn open(&self, queue: &Queue) {
        if !queue.closed {
            self.words.word.fetch_and(!W, Ordering::AcqRel);
        }
    }

    fn need(&self, queue: &Queue, n: u64) -> Result<u64, Denied> {
        let need = self.grains(n);
        match smallest(queue) {
            Some(burst) if need > burst => Err(Denied::exceeds_burst(n, burst >> self.bits)),
            Some(_) => Ok(need),
            // Nothing is taken of unlimited ones.
            None => Ok(0),
        }
    }

    fn most(&self, queue: &Queue) -> u64 {
        smallest(queue).unwrap_or(u64::MAX) >> self.bits
    }

    fn decide(&self, n: u64) -> Result<Granted, Denied> {
        Ok(self.decide_now(n)?)
    }

    fn answer(&self, _: &Queue, now: Instant) -> Granted {
        self.granted(self.least(self.word(), now))
    }

    fn pump(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) -> bool {
        loop {
            self.move_on(queue, now);
            let room = wakes.room();
            if self.refuse_too_large(queue, room, now, wakes) {
                continue;
            }
            // First, so that the swap fails if anything changes while it is settled.
            let word = self.word();
            self.settle(queue, now);
            let fits = self.what_fits(queue, word, now, room);
            if fits.count == 0 {
                return room == 0 && !queue.list.is_empty();
            }
            let emptied = fits.count == queue.list.len();
            let shut = if emptied && !queue.closed { 0 } else { W };
            let next = word.wrapping_add(fits.grains << 1) & !W | shut;
            let swapped = self.words.word.compare_exchange_weak(
                word,
                next,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if swapped.is_err() {
                // A refund came in between: there is more to grant.
                continue;
            }
            for _ in 0..fits.count {
                wakes.push(if fits.is_free {
                    queue.list.waive_head()
                } else {
                    queue.list.grant_head()
                });
            }
            self.mirror(queue);
            if emptied {
                queue.wake_sleepers(now, wakes);
                return false;
            }
        }
    }

    fn head_at(&self, queue: &Queue, now: Instant) -> Instant {
        match queue.list.head_need() {
            Some(need) => self.ready_at(queue, need, now),
            None => Instant::FAR_FUTURE,
        }
    }

    fn wait_of(&self, queue: &Queue, need: u64, now: Instant) -> Duration {
        let grains = saturated(queue.list.sum() + u128::from(need));
        let ready = self.ready_at(queue, grains, now);
        if ready.is_far_future() {
            return Duration::MAX;
        }
        ready.saturating_duration_since(now)
    }

    fn mirror(&self, queue: &Queue) {
        self.waiting.store(queue.list.len(), Ordering::Release);
        self.queued
            .store(saturated(queue.list.sum()), Ordering::Release);
    }

    fn give_need_back(&self, need: u64) {
        self.refund_grains(need);
    }

    fn give_tokens_back(&self, n: u64) {
        self.refund(n);
    }

    fn note_decision(&self, granted: bool) {
        self.count_decision(granted);
    }

    fn before_first(&self, queue: &mut Queue, now: Instant) {
        self.clip_all(queue, now, |line| line.burst);
    }
}

impl<C: Clock> Core<C> {
    /// Ends the head's wait if a smaller burst has made it hopeless.
    fn refuse_too_large(
        &self,
        queue: &mut Queue,
        room: usize,
        now: Instant,
        wakes: &mut Wakes,
    ) -> bool {
        let (Some(need), Some(burst)) = (queue.list.head_need(), smallest(queue)) else {
            return false;
        };
        if need <= burst || room == 0 {
            return false;
        }
        wakes.push(queue.list.close_head());
        self.mirror(queue);
        if queue.list.is_empty() {
            self.open_fast_path(queue, now, wakes);
        }
        true
    }

    /// Notes what ran over until the head could go, and since then: see the head of this file.
    fn settle(&self, queue: &Queue, now: Instant) {
        if queue.list.is_empty() {
            return;
        }
        let due = self.head_at(queue, now).min(now);
        self.clip_all(queue, due, |line| line.burst);
        self.clip_all(queue, now, |line| self.kept(line));
    }

    /// Notes what all limits have lost by then that hold no more than that.
    fn clip_all(&self, queue: &Queue, then: Instant, cap: impl Fn(&Anchor) -> u64) {
        for (index, Limit { line, .. }) in queue.supply.iter().enumerate() {
            if !line.unlimited {
                self.clip(index, line, then, cap(line));
            }
        }
    }

    /// How many from the head on can go now, by this word.
    fn what_fits(&self, queue: &Queue, word: u64, now: Instant, room: usize) -> Fits {
        let limits = queue.supply.iter().enumerate();
        let limited = limits.filter(|(_, limit)| !limit.line.unlimited);
        let free = limited.map(|(index, Limit { line, .. })| {
            let used = self.used(word, self.lost(index));
            line.level(used, now, self.kept(line)).free
        });
        let free = free.min();
        let mut fits = Fits {
            count: 0,
            grains: 0,
            is_free: free.is_none(),
        };
        for need in queue.list.needs().take(room) {
            match free {
                // Each at most a burst, and the sum no more than is free.
                Some(free) if (fits.grains + need).cast_signed() > free => break,
                Some(_) => fits.grains += need,
                None => {}
            }
            fits.count += 1;
        }
        fits
    }

    /// When all limits have supplied so many grains beyond what is spent, if ever.
    fn ready_at(&self, queue: &Queue, grains: u64, now: Instant) -> Instant {
        let word = self.word();
        let each = queue.supply.iter().enumerate().map(|(index, limit)| {
            let line = &limit.line;
            if line.unlimited {
                return now;
            }
            let used = self.used(word, self.lost(index));
            let level = line.level(used, now, self.kept(line));
            line.ready_at(level.spent, grains)
                .unwrap_or(Instant::FAR_FUTURE)
        });
        each.max().unwrap_or(now)
    }
}

/// Who can go, from the head on.
struct Fits {
    count: usize,
    /// What is taken for them.
    grains: u64,
    /// Nothing is: there is no limit.
    is_free: bool,
}

/// The smallest burst, in grains, of those limits that have one.
fn smallest(queue: &Queue) -> Option<u64> {
    let limited = queue.supply.iter().filter(|limit| !limit.line.unlimited);
    limited.map(|limit| limit.line.burst).min()
}
