//! Permits in classes: each class has a share that is kept for it, and lends what it leaves idle.
//!
//! # State
//! `word: AtomicU64`, cut into fields of one width for `k` classes:
//! ```text
//!   63  62           |   class k-2   | .. |   class 0   |  in flight  |  limit  |
//!  | C | W |  unused |               in flight, of each |  of all     |         |
//! ```
//! The last class has in flight what the others have not. `queue`, a mutex over a [`WaitList`]
//! and the share of each class, and the mark `closed`.
//!
//! # Terms
//! A request is *within its share* if its class would have no more in flight with it than its
//! share. What a class has in flight above its share is *lent* to it.
//!
//! # Invariants
//! 1. W and C change only under the lock. W is set while somebody waits, and for ever once
//!    closed. C is set once closed.
//! 2. A waiter is in its class's list if and only if it is `Waiting`; it holds nothing before it
//!    is `Granted`, and the word is raised in the critical section that grants, before the grant.
//! 3. Of those who wait, the next is the first of the highest class that asks within its share;
//!    if there is none, the first of the highest class. While somebody waits nobody takes
//!    anything before the next, be it from the queue or newly come.
//! 4. A critical section that leaves somebody waiting has pumped until the next did not fit, or
//!    says `more` and its thread comes back after waking.
//! 5. The shares are never more than the limit, in all.
//! 6. In flight never rises above the limit in force at that moment.
//! 7. Whoever takes a waker out of a list wakes it after unlocking. No waker is cloned, woken or
//!    dropped under the lock.
//!
//! Of 3 and 5: **while the first of a class waits within its share, something is lent, and nothing
//! more is lent until it is served.** For if nothing were lent, no class would have more than its
//! share in flight, and the rest of each share would be free. So it waits for permits that are
//! lent and for nothing else, however many of any class come.
//!
//! # Steps
//! try: load the word; W clear: CAS it up by n in both fields. W set, and n are free: lock; there
//! is nobody it would pass (3): CAS.
//! pump (locked): look for the next; it needs more than the limit: send it away; it fits: CAS,
//! grant; and again. Nobody waits any more: clear W.
//! enqueue: lock; somebody of the class waits: push, with the waker. Else **set W**; push;
//! **pump**; granted: ready. Else store the waker; unlock; wake.
//! release: CAS the word down; W in the **replaced** value: lock, pump, unlock, wake.
//! set limit, set share: lock; check (5); change; pump; unlock; wake.
//! cancel: lock; out of the list; was the first of its class: pump. Had been granted: release.
//! close: lock; closed; set W and C; send all away, a list of wakers at a time.
//!
//! # Ordering
//! That of [`Permits`](crate::Permits): setting W and the CAS of a release are RMWs on one
//! location. The release first: pump reads that word afterwards. The enqueuer first: the replaced
//! value has W. Release on the CAS that gives back and Acquire on the one that takes hand on the
//! work done under a permit; every other write is an RMW and continues the release sequence.
//!
//! # Fairness
//! First in, first out in a class; a big need holds up those behind it, and, while it is the next,
//! those of the classes below. Between classes it is priority: what is lent goes to the highest
//! class that asks, for ever if it asks for ever, once nobody is first who is within its share. So
//! a first that needs more than its share waits for ever, with its class behind it, while others
//! use theirs and it never finds enough; though they be lower. A granted waiter that is not polled
//! keeps its permits.
//!
//! # Source
//! Netflix's concurrency-limits, whose partitions keep a share of the limit and lend the rest, with
//! everything in one word, so that a share is neither exceeded nor missed by requests that meet.

mod wait;
mod word;

use core::fmt;
use core::task::Waker;

pub use self::wait::ClassedWait;
use self::word::{C, Layout, W};
use crate::error::{ClassesError, ReleaseTooMany, TryAcquireError};
use crate::padded::CachePadded;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::wait_list::WaitList;
use crate::wake_list::WakeList;

/// A number of permits for several classes of requests, the first the highest.
///
/// Each class has a share that it gets before anybody is lent anything; what it leaves idle the
/// others may have. This is the core: it counts, its users wrap what it gives in guards.
///
/// ```
/// use flow_sync::{ClassedPermits, TryAcquireError};
///
/// let permits = ClassedPermits::new(3, &[2, 1], usize::MAX)?;
/// permits.try_acquire(1, 3)?; // its own, and two that are lent
/// assert_eq!(permits.try_acquire(0, 1), Err(TryAcquireError::Unavailable));
/// permits.release(1, 3)?;
/// assert_eq!((permits.in_flight(), permits.in_flight_of(1)), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ClassedPermits {
    line: CachePadded<Line>,
    max_waiters: usize,
    queue: Mutex<Queue>,
}

/// What the fast paths touch.
struct Line {
    word: AtomicU64,
    layout: Layout,
    /// One permit of each class in the word; 0 where there is no class.
    units: [u64; ClassedPermits::MAX_CLASSES],
}

struct Queue {
    classes: Box<[Class]>,
    /// Waiters of all classes.
    len: usize,
    closed: bool,
}

struct Class {
    list: WaitList,
    share: u32,
}

/// In which order requests go: within its share or not, and its class.
type Rank = (bool, usize);

impl ClassedPermits {
    /// The most classes.
    pub const MAX_CLASSES: usize = 8;

    /// The largest limit for so many classes, which share one word: 2^28 - 1 for one, 2^20 - 1
    /// for two, 2^15 - 1 for three, 2^12 - 1 for four, 2^10 - 1, 2^8 - 1, 2^7 - 1 and 2^6 - 1 for
    /// more; 0 if so many cannot be had.
    pub const fn max_limit(classes: usize) -> u32 {
        if classes == 0 || classes > Self::MAX_CLASSES {
            return 0;
        }
        Layout::new(classes).max_limit()
    }

    /// `limit` permits, all free, for as many classes as there are `shares`, the first the
    /// highest. At most `max_waiters` queue for them in all; `usize::MAX` for any number.
    ///
    /// # Errors
    /// [`ClassesError`] if there are too few or too many classes, the limit is too large for them,
    /// or the shares are more than the limit.
    pub fn new(limit: u32, shares: &[u32], max_waiters: usize) -> Result<Self, ClassesError> {
        if shares.is_empty() || shares.len() > Self::MAX_CLASSES {
            return Err(ClassesError::WrongNumber {
                given: shares.len(),
                max: Self::MAX_CLASSES,
            });
        }
        let layout = Layout::new(shares.len());
        let word = layout.checked(limit)?;
        let class = |&share| Class {
            list: WaitList::new(),
            share,
        };
        let queue = Queue {
            classes: shares.iter().map(class).collect(),
            len: 0,
            closed: false,
        };
        check_shares(queue.shares(), limit)?;
        Ok(Self {
            line: CachePadded::new(Line {
                word: AtomicU64::new(word),
                layout,
                units: layout.units(),
            }),
            max_waiters,
            queue: Mutex::new(queue),
        })
    }

    /// Takes `n` permits for a class if they are free and nobody is passed by that: nobody of its
    /// class, nobody who asks within his share unless this does too and is of a higher class, and
    /// nobody of a higher class unless only this asks within its share. 0 permits are always free.
    ///
    /// # Cost
    /// One load and one RMW; no RMW if too few are free. A short lock if they are and somebody
    /// waits.
    #[inline]
    pub fn try_acquire(&self, class: usize, n: u32) -> Result<(), TryAcquireError> {
        self.try_take(class, n)
            .or_else(|word| self.try_slowly(class, n, word))
    }

    /// Takes, or gives the word on which there was nothing to take without a look at the queue.
    #[inline]
    fn try_take(&self, class: usize, n: u32) -> Result<(), u64> {
        let Line {
            word: line, layout, ..
        } = &*self.line;
        let mut word = line.load(Ordering::Relaxed);
        let Some(unit) = self.unit(class) else {
            return Err(word);
        };
        loop {
            if u64::from(n) > layout.free(word) || word & W != 0 {
                return Err(word);
            }
            // Acquire: what was done under the permits before.
            match line.compare_exchange_weak(
                word,
                word + u64::from(n) * unit,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    #[cold]
    fn try_slowly(&self, class: usize, n: u32, word: u64) -> Result<(), TryAcquireError> {
        let Some(unit) = self.unit(class) else {
            return Err(TryAcquireError::UnknownClass {
                class,
                classes: self.classes(),
            });
        };
        if !self.may_fit(n, word)? {
            return Err(TryAcquireError::Unavailable);
        }
        if n == 0 {
            // Nobody is passed by nothing.
            return Ok(());
        }
        let queue = self.queue.lock();
        loop {
            let word = self.line.word.load(Ordering::Relaxed);
            if !self.may_fit(n, word)? || self.passes_anybody(&queue, class, n, word) {
                return Err(TryAcquireError::Unavailable);
            }
            if self.take(word, u64::from(n) * unit) {
                return Ok(());
            }
        }
    }

    /// Whether so many are free at `word`; an error if they cannot be.
    fn may_fit(&self, n: u32, word: u64) -> Result<bool, TryAcquireError> {
        let limit = self.line.layout.limit(word) as u32;
        if word & C != 0 {
            Err(TryAcquireError::Closed)
        } else if n > limit {
            Err(TryAcquireError::TooMany { asked: n, limit })
        } else {
            Ok(u64::from(n) <= self.line.layout.free(word))
        }
    }

    /// Whether somebody waits who goes before a newcomer (3).
    fn passes_anybody(&self, queue: &Queue, class: usize, n: u32, word: u64) -> bool {
        let rank = self.rank(queue, word, class, u64::from(n));
        let next = self.next(queue, word);
        queue.head_need(class).is_some() || next.is_some_and(|(next, _)| next < rank)
    }

    /// Gives `n` permits of a class back, to the next that waits if anybody does.
    ///
    /// # Errors
    /// If fewer than `n` of the class are out, as of a class that there is not. Nothing has
    /// changed then.
    ///
    /// # Cost
    /// One load and one RMW while nobody waits.
    #[inline]
    pub fn release(&self, class: usize, n: u32) -> Result<(), ReleaseTooMany> {
        let Line {
            word: line, layout, ..
        } = &*self.line;
        let unit = self.unit(class).unwrap_or_default();
        let mut word = line.load(Ordering::Relaxed);
        loop {
            let in_flight = layout.in_flight_of(word, class);
            if u64::from(n) > in_flight {
                return Err(ReleaseTooMany {
                    given: n,
                    in_flight: in_flight as u32,
                });
            }
            // Release: what was done under the permits, to the next holder.
            match line.compare_exchange_weak(
                word,
                word - u64::from(n) * unit,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & W != 0 {
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
    /// If `limit` is too large for so many classes, or less than their shares. Nothing has changed
    /// then.
    pub fn set_limit(&self, limit: u32) -> Result<u32, ClassesError> {
        let layout = self.line.layout;
        let low = layout.checked(limit)?;
        self.change(|queue| {
            check_shares(queue.shares(), limit)?;
            let mut word = self.line.word.load(Ordering::Relaxed);
            while let Err(now) = self.line.word.compare_exchange_weak(
                word,
                layout.with_limit(word, low),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                word = now;
            }
            Ok(layout.limit(word) as u32)
        })
    }

    /// Changes the share of a class and gives the one before. Takes nothing back from anybody.
    ///
    /// # Errors
    /// If there is no such class, or all shares would be more than the limit. Nothing has changed
    /// then.
    pub fn set_share(&self, class: usize, share: u32) -> Result<u32, ClassesError> {
        self.change(|queue| {
            let Some(old) = queue.classes.get(class).map(|class| class.share) else {
                return Err(ClassesError::UnknownClass {
                    class,
                    classes: queue.classes.len(),
                });
            };
            let shares = queue.shares() - u64::from(old) + u64::from(share);
            check_shares(shares, self.limit())?;
            queue.classes[class].share = share;
            Ok(old)
        })
    }

    /// Changes what says who is next, and lets in those who fit now.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Queue) -> Result<T, ClassesError>,
    ) -> Result<T, ClassesError> {
        let mut wakes = WakeList::of_one();
        let (before, more) = {
            let mut queue = self.queue.lock();
            (change(&mut queue)?, self.pump(&mut queue, &mut wakes))
        };
        wakes.wake();
        if more {
            self.pump_all();
        }
        Ok(before)
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
                let mut done = true;
                for class in 0..queue.classes.len() {
                    while wakes.room() > 0 && queue.head_need(class).is_some() {
                        give(&mut wakes, queue.close_head(class));
                    }
                    done &= queue.head_need(class).is_none();
                }
                done
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

    /// How many classes there are.
    #[inline]
    pub fn classes(&self) -> usize {
        self.line.layout.classes()
    }

    /// Permits that are free.
    #[inline]
    pub fn available(&self) -> u32 {
        self.line
            .layout
            .free(self.line.word.load(Ordering::Relaxed)) as u32
    }

    /// Permits that are out, those granted to waiters included.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.line
            .layout
            .in_flight(self.line.word.load(Ordering::Relaxed)) as u32
    }

    /// Permits of a class that are out; 0 of a class that there is not.
    #[inline]
    pub fn in_flight_of(&self, class: usize) -> u32 {
        let word = self.line.word.load(Ordering::Relaxed);
        self.line.layout.in_flight_of(word, class) as u32
    }

    /// The limit in force.
    #[inline]
    pub fn limit(&self) -> u32 {
        self.line
            .layout
            .limit(self.line.word.load(Ordering::Relaxed)) as u32
    }

    /// The share of a class; 0 of a class that there is not. Locks shortly.
    pub fn share(&self, class: usize) -> u32 {
        let queue = self.queue.lock();
        queue.classes.get(class).map_or(0, |class| class.share)
    }

    /// How many may queue.
    pub fn max_waiters(&self) -> usize {
        self.max_waiters
    }

    /// Who waits now. Locks shortly if anybody does.
    pub fn waiting(&self) -> usize {
        self.counted_in_queue(|queue| queue.len)
    }

    /// Who of a class waits now. Locks shortly if anybody does.
    pub fn waiting_of(&self, class: usize) -> usize {
        self.counted_in_queue(|queue| queue.classes.get(class).map_or(0, |class| class.list.len()))
    }

    fn counted_in_queue(&self, count: impl FnOnce(&Queue) -> usize) -> usize {
        if self.line.word.load(Ordering::Relaxed) & W == 0 {
            return 0;
        }
        count(&self.queue.lock())
    }

    /// One permit of the class in the word.
    #[inline]
    fn unit(&self, class: usize) -> Option<u64> {
        let unit = self.line.units.get(class).copied();
        unit.filter(|&unit| unit != 0)
    }

    /// Swaps the word for one with `more` out; false if it has changed.
    fn take(&self, word: u64, more: u64) -> bool {
        // Acquire: what was done under the permits before; on to the granted by the lock.
        let taken = self.line.word.compare_exchange(
            word,
            word + more,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        taken.is_ok()
    }

    fn rank(&self, queue: &Queue, word: u64, class: usize, need: u64) -> Rank {
        let with_it = self.line.layout.in_flight_of(word, class) + need;
        (with_it > u64::from(queue.classes[class].share), class)
    }

    /// The next of those who wait (3), and what it needs.
    fn next(&self, queue: &Queue, word: u64) -> Option<(Rank, u64)> {
        let heads = (0..queue.classes.len())
            .filter_map(|class| queue.head_need(class).map(|need| (class, need)));
        heads
            .map(|(class, need)| (self.rank(queue, word, class, need), need))
            .min()
    }

    /// Grants to the next while permits last; true if `wakes` was full before that.
    fn pump<const N: usize>(&self, queue: &mut Queue, wakes: &mut WakeList<N>) -> bool {
        while !queue.closed {
            let word = self.line.word.load(Ordering::Relaxed);
            let Some(((_, class), need)) = self.next(queue, word) else {
                self.line.word.fetch_and(!W, Ordering::Relaxed);
                return false;
            };
            let too_big = need > self.line.layout.limit(word);
            if !too_big && need > self.line.layout.free(word) {
                // It must wait, and a release after the load above sees W.
                return false;
            }
            if wakes.room() == 0 {
                return true;
            }
            if too_big {
                give(wakes, queue.close_head(class));
            } else if self.take(word, need * self.line.units[class]) {
                give(wakes, queue.grant_head(class));
            }
        }
        false
    }

    #[cold]
    fn pump_all(&self) {
        // As a rule there is one to wake.
        let mut wakes = WakeList::of_one();
        let mut more = self.pump(&mut self.queue.lock(), &mut wakes);
        wakes.wake();
        while more {
            let mut wakes = WakeList::new();
            more = self.pump(&mut self.queue.lock(), &mut wakes);
            wakes.wake();
        }
    }
}

impl fmt::Debug for ClassedPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassedPermits")
            .field("classes", &self.classes())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("waiting", &self.waiting())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Queue {
    fn shares(&self) -> u64 {
        let shares = self.classes.iter().map(|class| u64::from(class.share));
        shares.sum()
    }

    fn head_need(&self, class: usize) -> Option<u64> {
        self.classes[class].list.head_need()
    }

    fn grant_head(&mut self, class: usize) -> Option<Waker> {
        self.len -= 1;
        self.classes[class].list.grant_head()
    }

    fn close_head(&mut self, class: usize) -> Option<Waker> {
        self.len -= 1;
        self.classes[class].list.close_head()
    }
}

fn check_shares(shares: u64, limit: u32) -> Result<(), ClassesError> {
    if shares > u64::from(limit) {
        return Err(ClassesError::SharesAboveLimit { shares, limit });
    }
    Ok(())
}

fn give<const N: usize>(wakes: &mut WakeList<N>, waker: Option<Waker>) {
    if let Some(waker) = waker {
        let full = wakes.push(waker).is_err();
        debug_assert!(!full, "room was counted before");
    }
}
