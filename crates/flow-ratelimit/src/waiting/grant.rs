//! Granting from the head of the queue, by whoever holds the lock.

use flow_rt::{Clock, Instant};
use flow_sync::sync::atomic::Ordering;

use super::Queue;
use crate::supply::{Anchor, MAX_BURST};
use crate::token_bucket::core::{Core, W};
use crate::wakes::Wakes;

impl<C: Clock> Core<C> {
    /// Grants from the head on whatever fits, as far as `wakes` has room.
    ///
    /// Whether it had no room for more: the caller comes back, or leaves it to a driver.
    pub(crate) fn pump(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) -> bool {
        let mut in_time = false;
        loop {
            let anchor = queue.line;
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
                wakes.push(queue.list.grant_head());
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

    /// The queue became empty by other means than a grant.
    pub(super) fn open_fast_path(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) {
        if !queue.is_shut() {
            self.word.fetch_and(!W, Ordering::AcqRel);
        }
        queue.wake_sleepers(now, wakes);
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

    /// After tokens came back: grants what fits now.
    #[cold]
    pub(crate) fn supply_rose(&self) {
        let mut wakes = Wakes::new();
        loop {
            let now = self.clock.now();
            let more = {
                let mut queue = self.queue.lock();
                let more = self.pump(&mut queue, now, &mut wakes);
                self.note_supply(&mut queue, now);
                self.kick(&mut queue, now, &mut wakes);
                more
            };
            wakes.wake();
            if !more {
                return;
            }
        }
    }

    /// Grants what fits now, however much it is.
    pub(crate) fn pump_all(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) {
        wakes.widen();
        self.pump(queue, now, wakes);
    }

    /// How many tokens the head lacks in the word; none, if nobody waits.
    pub(crate) fn missing_for_head(&self) -> u64 {
        let now = self.clock.now();
        let queue = self.queue.lock();
        let Some(need) = queue.list.head_need() else {
            return 0;
        };
        let anchor = &queue.line;
        let used = self.word.load(Ordering::Acquire) >> 1;
        let mut level = anchor.level(used, now, self.cap(&queue, anchor));
        if queue.promise().is_some() {
            // As the pump sees it: nothing ran over.
            level.free = anchor.supplied(now) - anchor.distance(used);
        }
        self.lacking(need, level.free)
    }

    /// Lets nobody wait any more.
    pub(crate) fn close(&self) {
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        {
            let mut queue = self.queue.lock();
            let queue = &mut *queue;
            if queue.promise().is_some() {
                // What is due to a reservation is its own, though nobody has looked.
                self.pump_all(queue, now, &mut wakes);
            }
            queue.closed = true;
            // Before W: who sees W set must find out why.
            self.closed.store(true, Ordering::Release);
            self.word.fetch_or(W, Ordering::AcqRel);
            queue.list.close_all(wakes.all());
            queue.wake_seats(&mut wakes);
            self.mirror(queue);
        }
        wakes.wake();
    }

    /// Stores what those who do not lock want to know.
    pub(crate) fn mirror(&self, queue: &Queue) {
        let head = queue.list.entries().next();
        let head = head.map_or(0, |(need, reserved)| need << 1 | u64::from(reserved));
        self.head.store(head, Ordering::Release);
        self.reservations
            .store(queue.list.marked(), Ordering::Release);
        self.waiting.store(queue.list.len(), Ordering::Release);
        self.queued
            .store(saturated(queue.list.sum()), Ordering::Release);
    }

    /// What is kept for those who wait, and what comes while their driver is late.
    pub(crate) fn cap(&self, queue: &Queue, anchor: &Anchor) -> u64 {
        self.cap_with(queue.first_need().unwrap_or(0), anchor)
    }

    /// The same, while one stands first who needs so much and was found to be too early.
    pub(crate) fn cap_with(&self, head: u64, anchor: &Anchor) -> u64 {
        // Credits that are set aside count too: the burst is theirs and the waiters' together.
        let late = anchor.in_time(self.settings.catch_up).min(MAX_BURST);
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

pub(crate) fn saturated(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}
