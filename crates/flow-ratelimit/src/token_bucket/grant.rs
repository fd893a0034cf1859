//! How those who wait are served from a bucket's word, by whoever holds the lock.

use core::time::Duration;

use flow_rt::{Clock, Instant};
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::core::{Core, W};
use super::line::{Lines, Queue};
use crate::error::Denied;
use crate::granted::Granted;
use crate::supply::{Anchor, MAX_BURST};
use crate::waiting::{Rules, Serves, Source, saturated};
use crate::wakes::Wakes;

impl<C: Clock> Source for Core<C> {
    type Supply = Lines;

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn queue(&self) -> &Mutex<Queue> {
        &self.queue
    }

    fn rules(&self) -> &Rules {
        &self.settings.waits
    }

    fn waiting(&self) -> &AtomicUsize {
        &self.waiting
    }

    fn closed(&self) -> &AtomicBool {
        &self.closed
    }

    fn shut(&self) {
        self.word.fetch_or(W, Ordering::AcqRel);
    }

    fn open(&self, queue: &Queue) {
        if !queue.is_shut() {
            self.word.fetch_and(!W, Ordering::AcqRel);
        }
    }

    fn need(&self, queue: &Queue, n: u64) -> Result<u64, Denied> {
        self.grains(&queue.supply.line, n)
    }

    fn most(&self, queue: &Queue) -> u64 {
        self.limit(&queue.supply.line)
    }

    fn decide(&self, n: u64) -> Result<Granted, Denied> {
        self.decide_recalling(n)
    }

    fn answer(&self, queue: &Queue, now: Instant) -> Granted {
        self.granted_at(&queue.supply.line, now)
    }

    fn pump(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) -> bool {
        let mut in_time = false;
        loop {
            let anchor = queue.supply.line;
            if anchor.is_stale(now) && self.move_on(queue, now) {
                continue;
            }
            let word = self.word.load(Ordering::Acquire);
            let room = wakes.room();
            if self.refuse_too_large(queue, &anchor, room, now, wakes) {
                if in_time {
                    // It was refused when the one before it went.
                    queue.first = queue.list.head();
                } else {
                    // What does not fit is gone before the next one comes to stand first.
                    self.clip(&anchor, now, anchor.burst);
                }
                continue;
            }
            let fits = self.what_fits(queue, &anchor, word >> 1, now, room);
            if fits.count == 0 {
                if fits.is_early {
                    queue.first = queue.list.head();
                }
                return room == 0 && !queue.list.is_empty();
            }
            let emptied = fits.count == queue.list.len();
            let next = fits.used << 1 | u64::from(!emptied || queue.is_shut());
            let swapped =
                self.word
                    .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire);
            if swapped.is_err() {
                // A refund came in between: there is more to grant.
                continue;
            }
            for _ in 0..fits.count {
                wakes.push(if anchor.unlimited {
                    queue.list.waive_head()
                } else {
                    queue.list.grant_head()
                });
            }
            if fits.is_early {
                queue.first = queue.list.head();
                in_time = fits.in_time;
            }
            self.mirror(queue);
            self.note_grant(queue, now);
            if emptied {
                queue.wake_sleepers(now, wakes);
                return false;
            }
        }
    }

    fn head_at(&self, queue: &Queue, now: Instant) -> Instant {
        let Some(need) = queue.list.head_need() else {
            return Instant::FAR_FUTURE;
        };
        let anchor = &queue.supply.line;
        if anchor.unlimited {
            return now;
        }
        let used = self.word.load(Ordering::Acquire) >> 1;
        let level = anchor.level(used, now, self.cap(queue, anchor));
        queue
            .ready_at(level.spent, need + self.debt)
            .unwrap_or(Instant::FAR_FUTURE)
    }

    fn wait_of(&self, queue: &Queue, need: u64, now: Instant) -> Duration {
        let anchor = &queue.supply.line;
        if anchor.unlimited {
            return Duration::ZERO;
        }
        let used = self.word.load(Ordering::Acquire) >> 1;
        let level = anchor.level(used, now, self.cap(queue, anchor));
        let grains = saturated(queue.list.sum() + u128::from(need) + u128::from(self.debt));
        match queue.not_yet(level.spent, grains, now) {
            Denied::NotYet { retry_after } => retry_after,
            // No supply at all: only a change of the rate can end this wait.
            _ => Duration::MAX,
        }
    }

    fn mirror(&self, queue: &Queue) {
        let head = queue.list.entries().next();
        let head = head.map_or(0, |(need, reserved)| need << 1 | u64::from(reserved));
        self.head.store(head, Ordering::Release);
        self.reservations
            .store(queue.list.marked(), Ordering::Release);
        // First: who sees that somebody waits finds it shut.
        let is_open = queue.list.is_empty() && !queue.closed;
        self.open.store(is_open, Ordering::Release);
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
        self.count(granted);
    }

    fn before_first(&self, queue: &mut Queue, now: Instant) {
        self.keep_a_burst(queue, now);
    }

    fn note_supply(&self, queue: &mut Queue, now: Instant) {
        self.note_rise(queue, now);
    }

    fn serve_by_credits(&self) {
        self.serve_by_shards();
    }
}

impl<C: Clock> Core<C> {
    /// What a waiter is told that was granted just now.
    pub(crate) fn granted_at(&self, anchor: &Anchor, now: Instant) -> Granted {
        let used = self.word.load(Ordering::Acquire) >> 1;
        self.granted(anchor, anchor.level(used, now, anchor.burst).free)
    }

    /// Ends the head's wait if a smaller burst has made it hopeless.
    fn refuse_too_large(
        &self,
        queue: &mut Queue,
        anchor: &Anchor,
        room: usize,
        now: Instant,
        wakes: &mut Wakes,
    ) -> bool {
        let too_large = |need| need > anchor.burst && !anchor.unlimited && room > 0;
        if !queue.list.head_need().is_some_and(too_large) {
            return false;
        }
        wakes.push(queue.list.close_head());
        self.mirror(queue);
        if queue.list.is_empty() {
            self.open_fast_path(queue, now, wakes);
        }
        true
    }

    /// How many from the head on can go now.
    fn what_fits(
        &self,
        queue: &Queue,
        anchor: &Anchor,
        used: u64,
        now: Instant,
        room: usize,
    ) -> Fits {
        if anchor.unlimited {
            return Fits {
                count: queue.list.len().min(room),
                used,
                is_early: false,
                in_time: false,
            };
        }
        let mut level = anchor.level(used, now, self.cap(queue, anchor));
        let clipped = level.spent;
        // A reservation that stands first takes its tokens when they come, even if nobody looks:
        // none ran over since. So do those right behind it; a waiter takes them now.
        let mut in_time = queue.promise().is_some();
        if in_time {
            level.spent = anchor.distance(used);
        }
        // What those who wait are served from: they do not overdraw.
        let supplied = anchor.supplied(now) - self.debt.cast_signed();
        let (mut count, mut is_early) = (0, false);
        for (need, reserved) in queue.list.entries().take(room) {
            if in_time && !reserved {
                in_time = false;
                level.spent = level.spent.max(clipped);
            }
            // At most a burst, and within 2^62 of zero: nothing overflows.
            is_early = need > anchor.burst || level.spent + need.cast_signed() > supplied;
            if is_early {
                break;
            }
            level.spent += need.cast_signed();
            count += 1;
        }
        Fits {
            count,
            used: anchor.take(level, 0),
            is_early,
            in_time,
        }
    }

    /// How many tokens the head lacks in the word; none, if nobody waits.
    pub(crate) fn missing_for_head(&self) -> u64 {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let Some(need) = queue.list.head_need() else {
            return 0;
        };
        let anchor = &queue.supply.line;
        let used = self.word.load(Ordering::Acquire) >> 1;
        let mut level = anchor.level(used, now, self.cap(&queue, anchor));
        if queue.promise().is_some() {
            // As the pump sees it: nothing ran over.
            level.free = anchor.supplied(now) - anchor.distance(used);
        }
        self.lacking(need, level.free)
    }

    /// What is kept for those who wait, and what comes while their driver is late.
    pub(crate) fn cap(&self, queue: &Queue, anchor: &Anchor) -> u64 {
        self.cap_with(queue.first_need().unwrap_or(0), anchor)
    }

    /// The same, while one stands first who needs so much and was found to be too early.
    pub(crate) fn cap_with(&self, head: u64, anchor: &Anchor) -> u64 {
        // Credits that are set aside count too: the burst is theirs and the waiters' together.
        let late = anchor.in_time(self.settings.waits.catch_up).min(MAX_BURST);
        let late = late.saturating_sub(anchor.aside << self.bits);
        self.kept(head, anchor).max(late + self.debt).min(MAX_BURST)
    }
}

/// Who can go, from the head on.
struct Fits {
    count: usize,
    /// What is spent with them.
    used: u64,
    /// The next one cannot.
    is_early: bool,
    /// It came to stand first before now.
    in_time: bool,
}
