//! Counted permits: lock-free while nobody waits, first come first served when somebody does; or
//! whoever finds them takes them.
//!
//! # State
//! `word: AtomicU64`, on a cache line of its own:
//! ```text
//!   63      58   57       30   29   28   27       0
//!  |  grants  |  in flight  |  C  |  W  |  limit  |
//! ```
//! and `queue`, a mutex over a [`WaitList`] and the marks `closed` and `told`.
//!
//! # Invariants
//! What concerns the queue is said here of the strict order; [`barging`] says it of the other.
//! 1. W and C change only under the lock. W is set while somebody waits, and for ever once
//!    closed: so the fast path looks at one bit. C is set once closed.
//! 2. A waiter is in the list if and only if it is `Waiting`; it holds nothing before it is
//!    `Granted`, and the word is raised in the critical section that grants, before the grant.
//! 3. A critical section that leaves somebody waiting has pumped until the head did not fit, or
//!    says `more` and its thread comes back after waking: a release that serves one, as nearly all
//!    do, needs no list of wakers.
//! 4. Whoever takes a waker out of the list wakes it after unlocking, whatever else panics. No
//!    waker is cloned, woken or dropped under the lock.
//! 5. In flight never rises above the limit in force at that moment, but by one that needs more
//!    and may go alone: it takes all that it needs when nothing is out. In flight may stand above
//!    the limit for that, or because that was lowered since; then nothing is given until it has
//!    fallen.
//! 6. Whoever releases more than is out borrows from the grants, which lack one until that is
//!    taken back. What the word shows as in flight meanwhile is above the truth, as nobody can
//!    release more than 28 bits: nothing is given on it that is not free.
//! 7. Grants in the word and in `laps` are those that were made, in all; a lap is added by the
//!    thread whose grant ended it, so that counting costs nothing but every 64th time.
//!
//! # Steps
//! try: load the word; W set: no. CAS it up by n, and by one grant. Lost: let the word be
//! [for a while](lost_a_race), then anew.
//! pump (locked): the head fits: a CAS takes for it, and clears W if nobody is behind it; then it is
//! granted. A head that needs more than the limit is sent away, or waits until nothing is out if it
//! may go alone: whoever gives the last permit back sees W. `more` if the next would fit as well.
//! enqueue: try; clone the waker; lock; somebody waits: push, with the waker. Else **set W**; push;
//! **pump**; granted: ready. Else store the waker; unlock; wake.
//! release: `fetch_sub`; W in the **returned** value: lock, pump, unlock, wake. The returned value
//! shows that fewer are out: `fetch_add` them back; W in that value: the same.
//! set limit: CAS of the low part; W in the replaced value: the same.
//! cancel: lock; out of the list; was the head: pump (a big head that leaves may free smaller
//! ones). Had been granted: release, so the next in line gets it.
//! close: lock; closed; set W and C; send all away, a list of wakers at a time.
//!
//! # Ordering
//! Setting W and `fetch_sub` are RMWs on one location, so one precedes the other. The release
//! first: pump reads that word afterwards and sees the permit. The enqueuer first: the release's
//! returned value has W, so it locks after the enqueuer and finds the waiter (3). No fence is
//! needed. Looking at the word before W is set, or deciding by a load before the `fetch_sub`,
//! loses the wake-up. The same holds for the limit's CAS.
//! Release on `fetch_sub` and Acquire on the CAS that takes hand the work done under a permit to
//! its next holder; one that was granted gets it through pump's CAS and the mutex. Every other
//! write between them is an RMW too and continues the release sequence: Relaxed will do for it.
//! `laps` orders nothing: a reader may be a lap behind a grant that is under way.
//!
//! # Contention
//! Two cores that take and give back all the time send the word's line to and fro: 26 to 57 ns for
//! both on either core, the further they are apart the more. So whoever loses a race lets the word
//! be for a while, in which the winner does some hundred of the same with the line at home: 12 to
//! 14 ns. A release cannot lose one, and who takes under the lock does not pause there.
//!
//! # Fairness
//! Strict: a newcomer never passes a waiter, and a big need holds up those behind it. A granted
//! waiter that is not polled keeps its permits: the price of handing over. Barging: newcomers
//! pass, and a permit that comes back is free until somebody takes it; whoever was told and is
//! not polled holds up those behind it, but not newcomers. Forgetting a [`PermitWait`] that is
//! queued leaks its slot and, once it is granted, its permits; told, it is never passed by those
//! behind it.
//!
//! # Source
//! tokio's batch semaphore, with the permits handed out whole, and without its lock on every
//! release: a try and a release are the two locked instructions that they cannot do without.

mod barging;
mod wait;
mod word;

use core::fmt;
use core::sync::atomic::AtomicU64 as Plain;
use core::task::Waker;

pub use self::wait::PermitWait;
use self::word::{C, LAP, LIMIT, W, checked, free, grants_of, in_flight_of, limit_of, out, taken};
use crate::backoff::lost_a_race;
use crate::error::{LimitTooLarge, ReleaseTooMany, TryAcquireError};
use crate::padded::CachePadded;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::wait_list::WaitList;
use crate::wake_list::{WakeList, wake};

/// A number of permits, and the queue of those who wait for them.
///
/// This is the core: it counts, its users wrap what it gives in guards.
///
/// ```
/// use flow_sync::{Permits, TryAcquireError};
///
/// let permits = Permits::new(2, usize::MAX)?;
/// permits.try_acquire(2)?;
/// assert_eq!(permits.try_acquire(1), Err(TryAcquireError::Unavailable));
/// assert_eq!(permits.try_acquire(3), Err(TryAcquireError::TooMany { asked: 3, limit: 2 }));
/// permits.release(2)?;
/// assert_eq!(permits.available(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Permits {
    line: CachePadded<Line>,
    max_waiters: usize,
    /// The most that one may take when nothing is out, whatever the limit.
    alone: u32,
    queue: Mutex<Queue>,
}

/// What the fast paths touch.
struct Line {
    word: AtomicU64,
    /// The bits that stop a newcomer: W in the strict order, C where it may pass.
    stop: u64,
    /// Grants that are not in the word. No part of the protocol, so not loom's.
    laps: Plain,
    /// The most grants ever reported.
    reported: Plain,
}

#[derive(Default)]
struct Queue {
    list: WaitList,
    closed: bool,
    /// Barging: the head was told to look, and was not polled since.
    told: bool,
}

impl Permits {
    /// The largest limit: 2^28 - 1.
    pub const MAX_LIMIT: u32 = LIMIT as u32;

    /// `limit` permits, all free, that are handed out in the order of asking. At most
    /// `max_waiters` queue for them; `usize::MAX` for any number.
    ///
    /// # Errors
    /// If `limit` is larger than [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn new(limit: u32, max_waiters: usize) -> Result<Self, LimitTooLarge> {
        Self::with_stop(limit, max_waiters, W)
    }

    /// Permits like those of [`new`](Self::new) that newcomers may take whoever waits.
    ///
    /// The first in the queue is woken when it would find what it needs, and looks again. Faster
    /// where many want few: a permit that comes back can be taken at once, by whoever runs. How
    /// long one may wait is not bounded.
    ///
    /// # Errors
    /// If `limit` is larger than [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn barging(limit: u32, max_waiters: usize) -> Result<Self, LimitTooLarge> {
        Self::with_stop(limit, max_waiters, C)
    }

    fn with_stop(limit: u32, max_waiters: usize, stop: u64) -> Result<Self, LimitTooLarge> {
        Ok(Self {
            line: CachePadded::new(Line {
                word: AtomicU64::new(checked(limit)?),
                stop,
                laps: Plain::new(0),
                reported: Plain::new(0),
            }),
            max_waiters,
            alone: 0,
            queue: Mutex::new(Queue::default()),
        })
    }

    /// The same permits, of which one may take up to `most` when nothing is out, whatever the
    /// limit: a need above a limit that moves is not refused, but waits until it goes alone. More
    /// than both is refused.
    ///
    /// ```
    /// use flow_sync::{Permits, TryAcquireError};
    ///
    /// let permits = Permits::new(2, usize::MAX)?.alone_up_to(5)?;
    /// permits.try_acquire(5)?;
    /// assert_eq!((permits.available(), permits.in_flight()), (0, 5));
    /// permits.release(5)?;
    /// permits.try_acquire(1)?;
    /// assert_eq!(permits.try_acquire(5), Err(TryAcquireError::Unavailable));
    /// assert_eq!(permits.try_acquire(6), Err(TryAcquireError::TooMany { asked: 6, limit: 5 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If `most` is larger than [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn alone_up_to(mut self, most: u32) -> Result<Self, LimitTooLarge> {
        checked(most)?;
        self.alone = most;
        Ok(self)
    }

    /// Takes `n` permits if they are free and nobody waits, or it may pass; 0 permits are always
    /// free.
    ///
    /// # Cost
    /// One load and one RMW; no RMW if it fails. Half a microsecond to one and a half for each time
    /// that another thread changed the word in between.
    #[inline]
    pub fn try_acquire(&self, n: u32) -> Result<(), TryAcquireError> {
        self.take(n).or_else(|word| self.denied(word, n))
    }

    /// [`try_acquire`](Self::try_acquire) without the reason, and for 0 permits only if nobody
    /// waits or it may pass.
    #[inline]
    pub fn try_take(&self, n: u32) -> bool {
        self.take(n).is_ok()
    }

    /// Takes, or gives the word on which there was nothing to take.
    #[inline]
    fn take(&self, n: u32) -> Result<(), u64> {
        match self.take_now(n) {
            Some(answer) => answer,
            None => self.take_later(n),
        }
    }

    /// After a lost race. Out of line: with the loop in line, the way of most is one of jumps.
    #[cold]
    #[inline(never)]
    fn take_later(&self, n: u32) -> Result<(), u64> {
        loop {
            lost_a_race();
            if let Some(answer) = self.take_now(n) {
                return answer;
            }
        }
    }

    /// Takes, or gives the word on which there was nothing to take; `None` after a lost race.
    #[inline]
    fn take_now(&self, n: u32) -> Option<Result<(), u64>> {
        let word = self.line.word.load(Ordering::Relaxed);
        if u64::from(n) > free(word) || word & self.line.stop != 0 {
            return Some(Err(word));
        }
        let (taken, lap) = taken(word, u64::from(n));
        // Acquire: what was done under the permits before. Not weak, as a pause wants a reason.
        self.line
            .word
            .compare_exchange(word, taken, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        if lap {
            self.count_lap();
        }
        Some(Ok(()))
    }

    /// Gives `n` permits back, to the first in the queue if anybody waits.
    ///
    /// The caller gives back only what it took: that two callers mix up what each of them took
    /// goes unnoticed.
    ///
    /// # Errors
    /// If fewer than `n` are out. Nothing has changed then; while the call lasts, fewer may seem
    /// to be free than are. Of several such calls at the same moment one may go unnoticed, and
    /// then too few are free for good.
    ///
    /// # Cost
    /// One RMW while nobody waits.
    #[inline]
    pub fn release(&self, n: u32) -> Result<(), ReleaseTooMany> {
        if n > Self::MAX_LIMIT {
            return Err(self.too_many(n));
        }
        // Release: what was done under the permits, to the next holder.
        let word = &self.line.word;
        let before = word.fetch_sub(out(u64::from(n)), Ordering::Release);
        if in_flight_of(before) < u64::from(n) {
            return Err(self.take_back(before, n));
        }
        if before & W != 0 {
            self.pump_all();
        }
        Ok(())
    }

    /// Changes the limit and gives the one before.
    ///
    /// Raised, it lets waiters in. Lowered below what is in flight, nothing is given until enough
    /// has come back; a waiter that needs more than the limit is sent away when it is its turn.
    ///
    /// # Errors
    /// If `limit` is larger than [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn set_limit(&self, limit: u32) -> Result<u32, LimitTooLarge> {
        let low = checked(limit)?;
        let mut word = self.line.word.load(Ordering::Relaxed);
        while let Err(now) = self.line.word.compare_exchange_weak(
            word,
            low | word & !LIMIT,
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            word = now;
        }
        if word & W != 0 {
            self.pump_all();
        }
        Ok(limit_of(word))
    }

    /// Refuses from now on, and sends the waiters away. Permits that are out can come back.
    ///
    /// Idempotent.
    pub fn close(&self) {
        loop {
            let mut wakes = WakeList::new();
            let done = {
                let mut queue = self.queue.lock();
                queue.closed = true;
                self.line.word.fetch_or(W | C, Ordering::Relaxed);
                while wakes.room() > 0 && !queue.list.is_empty() {
                    give(&mut wakes, queue.list.close_head());
                }
                queue.list.is_empty()
            };
            wakes.wake();
            if done {
                return;
            }
        }
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.line.word.load(Ordering::Relaxed) & C != 0
    }

    /// Permits that are free.
    #[inline]
    pub fn available(&self) -> u32 {
        free(self.line.word.load(Ordering::Relaxed)) as u32
    }

    /// Permits that are out, those granted to waiters included. Above the limit for a while after
    /// that was lowered, and while one is out that [went alone](Self::alone_up_to).
    #[inline]
    pub fn in_flight(&self) -> u32 {
        in_flight_of(self.line.word.load(Ordering::Relaxed)) as u32
    }

    /// The limit in force.
    #[inline]
    pub fn limit(&self) -> u32 {
        limit_of(self.line.word.load(Ordering::Relaxed))
    }

    /// How many may queue.
    pub fn max_waiters(&self) -> usize {
        self.max_waiters
    }

    /// Who waits now. Locks shortly if anybody does.
    pub fn waiting(&self) -> usize {
        if self.line.word.load(Ordering::Relaxed) & W == 0 && !self.is_barging() {
            return 0;
        }
        self.queue.lock().list.len()
    }

    /// Requests that were granted so far, those of waiters that were dropped before they looked
    /// included.
    ///
    /// Never less than it said before; beside grants that are under way it may be 64 behind for
    /// each of them.
    pub fn granted(&self) -> u64 {
        let word = self.line.word.load(Ordering::Acquire);
        let granted = self.line.laps.load(Ordering::Relaxed);
        let granted = granted.wrapping_add(grants_of(word));
        let reported = self.line.reported.fetch_max(granted, Ordering::Relaxed);
        granted.max(reported)
    }

    /// As [`try_acquire`](Self::try_acquire), under the lock, which it does not hold for longer
    /// after a lost race.
    fn try_locked(&self, n: u32) -> Result<(), TryAcquireError> {
        loop {
            if let Some(answer) = self.take_now(n) {
                return answer.or_else(|word| self.denied(word, n));
            }
        }
    }

    #[inline]
    fn is_barging(&self) -> bool {
        self.line.stop == C
    }

    #[cold]
    fn count_lap(&self) {
        self.line.laps.fetch_add(LAP, Ordering::Relaxed);
    }

    #[cold]
    fn too_many(&self, n: u32) -> ReleaseTooMany {
        ReleaseTooMany {
            given: n,
            in_flight: self.in_flight(),
        }
    }

    /// Undoes the release of more than is out (6).
    #[cold]
    fn take_back(&self, before: u64, n: u32) -> ReleaseTooMany {
        let back = out(u64::from(n));
        let word = self.line.word.fetch_add(back, Ordering::Relaxed);
        // A lap that ended only because a grant was borrowed, or did not because of that.
        match (before < back, word.checked_add(back).is_none()) {
            (true, false) => {
                self.line.laps.fetch_sub(LAP, Ordering::Relaxed);
            }
            (false, true) => self.count_lap(),
            _ => {}
        }
        // Whoever queued in between did so because nothing seemed to be free.
        if word & W != 0 {
            self.pump_all();
        }
        ReleaseTooMany {
            given: n,
            in_flight: in_flight_of(before) as u32,
        }
    }

    /// Why `n` permits cannot be had at `word`.
    #[cold]
    fn denied(&self, word: u64, n: u32) -> Result<(), TryAcquireError> {
        if word & C != 0 {
            Err(TryAcquireError::Closed)
        } else if n == 0 {
            // Nothing of the word is needed: not even its count.
            self.line.laps.fetch_add(1, Ordering::Relaxed);
            Ok(())
        } else if n > self.most(word) {
            Err(TryAcquireError::TooMany {
                asked: n,
                limit: self.most(word),
            })
        } else if n > limit_of(word) {
            self.take_alone(n)
        } else {
            Err(TryAcquireError::Unavailable)
        }
    }

    /// Takes `n` permits, more than the limit, if nothing is out and nobody waits or it may pass.
    fn take_alone(&self, n: u32) -> Result<(), TryAcquireError> {
        let mut word = self.line.word.load(Ordering::Relaxed);
        loop {
            if word & self.line.stop != 0 || u64::from(n) > self.free_for(word, u64::from(n)) {
                return Err(TryAcquireError::Unavailable);
            }
            let (taken, lap) = taken(word, u64::from(n));
            // Acquire: what was done under the permits before.
            match self
                .line
                .word
                .compare_exchange(word, taken, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    if lap {
                        self.count_lap();
                    }
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
    }

    /// What one may ask for that waits at `word`.
    fn most(&self, word: u64) -> u32 {
        limit_of(word).max(self.alone)
    }

    /// What the next one may take at `word`, who needs so much.
    #[inline]
    fn free_for(&self, word: u64, need: u64) -> u64 {
        if need <= u64::from(self.alone) && in_flight_of(word) == 0 {
            return need.max(free(word));
        }
        free(word)
    }

    /// Grants to the head what it needs and clears W if nobody is behind it, or sends it away if it
    /// asks for too much; its waker, and whether there is more to be done.
    #[inline]
    fn pump(&self, queue: &mut Queue) -> (Option<Waker>, bool) {
        if self.is_barging() {
            return self.tell(queue);
        }
        while !queue.closed {
            let word = self.line.word.load(Ordering::Relaxed);
            let (head, next) = {
                let mut needs = queue.list.needs();
                (needs.next(), needs.next())
            };
            let need = head.unwrap_or_default();
            let Some(left) = self.free_for(word, need).checked_sub(need) else {
                if need > u64::from(self.most(word)) {
                    return (queue.list.close_head(), true);
                }
                // It must wait, and a release after the load above sees W: something is out, as
                // nobody waits for nothing.
                break;
            };
            let (taken, lap) = head.map_or((word, false), |need| taken(word, need));
            let keep = if next.is_some() { !0 } else { !W };
            // Acquire: what was done under the permits before; on to the granted by the lock.
            if self
                .line
                .word
                .compare_exchange(word, taken & keep, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            if lap {
                self.count_lap();
            }
            let more = next.is_some_and(|next| next <= left || next > u64::from(self.most(word)));
            return (queue.list.grant_head(), more);
        }
        (None, false)
    }

    #[cold]
    fn pump_all(&self) {
        // As a rule there is one to wake.
        let (waker, more) = self.pump(&mut self.queue.lock());
        wake(waker);
        if more {
            self.pump_more();
        }
    }

    #[cold]
    #[inline(never)]
    fn pump_more(&self) {
        let mut more = true;
        while more {
            let mut wakes = WakeList::new();
            {
                let mut queue = self.queue.lock();
                while more && wakes.room() > 0 {
                    let waker;
                    (waker, more) = self.pump(&mut queue);
                    give(&mut wakes, waker);
                }
            }
            wakes.wake();
        }
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits")
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

fn give(wakes: &mut WakeList, waker: Option<Waker>) {
    if let Some(waker) = waker {
        let full = wakes.push(waker).is_err();
        debug_assert!(!full, "room was counted before");
    }
}
