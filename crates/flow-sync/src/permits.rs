//! Counted permits: lock-free while nobody waits, first come first served when somebody does.
//!
//! # State
//! `word: AtomicU64`, on a cache line of its own:
//! ```text
//!   63         32   31   30         0
//!  |  in flight  |  W  |    limit    |
//! ```
//! and `queue`, a mutex over a [`WaitList`] and the mark `closed`.
//!
//! # Invariants
//! 1. W changes only under the lock. It is set while somebody waits, and for ever once closed:
//!    so the fast paths know nothing of closing.
//! 2. A waiter is in the list if and only if it is `Waiting`; it holds nothing before it is
//!    `Granted`, and the word is raised in the critical section that grants, before the grant.
//! 3. A critical section that leaves somebody waiting has pumped until the head did not fit, or
//!    says `more` and its thread comes back after waking.
//! 4. Whoever takes a waker out of the list wakes it after unlocking, whatever else panics. No
//!    waker is cloned, woken or dropped under the lock.
//! 5. In flight never rises above the limit in force at that moment. It may stand above a limit
//!    that was lowered since; then nothing is given until it has fallen.
//! 6. In flight is on top, so that whoever releases more than is out borrows from nobody. What
//!    the word shows until that is taken back is above the truth: nothing is given on it.
//!
//! # Steps
//! try: load the word; W set: no. CAS it up by n.
//! pump (locked): count how many from the head on fit; **one** CAS takes for them all, and clears
//! W if the queue ends there; then each is granted. A head that needs more than the limit is
//! sent away.
//! enqueue: try; clone the waker; lock; **set W**; push; **pump**; granted: ready. Else store the
//! waker; unlock; wake.
//! release: `fetch_sub`; W in the **returned** value: lock, pump, unlock, wake. The returned value
//! shows that fewer are out: `fetch_add` them back; W in that value: the same.
//! set limit: CAS of the low half; W in the replaced value: the same.
//! cancel: lock; out of the list; was the head: pump (a big head that leaves may free smaller
//! ones). Had been granted: release, so the next in line gets it.
//! close: lock; closed; set W; send all away, a list of wakers at a time.
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
//!
//! # Fairness
//! Strict: a newcomer never passes a waiter, and a big need holds up those behind it. A granted
//! waiter that is not polled keeps its permits: the price of handing over. Forgetting a
//! [`PermitWait`] that is queued leaks its slot and, once it is granted, its permits.
//!
//! # Source
//! tokio's batch semaphore, with the permits handed out whole, and without its lock on every
//! release: 10.5 ns for a try and a release where it takes 23.

use core::fmt;
use core::task::{Context, Poll, Waker};
// Not loom's, which is no receiver of methods; the protocol does not touch the count.
use std::sync::Arc;

use crate::error::{AcquireError, LimitTooLarge, ReleaseTooMany, TryAcquireError};
use crate::padded::CachePadded;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::wait_list::{Standing, Ticket, WaitList};
use crate::wake_list::WakeList;

/// A number of permits, and the FIFO queue of those who wait for them.
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
    word: CachePadded<AtomicU64>,
    /// Copy of the queue's mark for those who only want to know why they were refused.
    closed: AtomicBool,
    max_waiters: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    list: WaitList,
    closed: bool,
}

impl Permits {
    /// The largest limit: 2^31 - 1.
    pub const MAX_LIMIT: u32 = LIMIT as u32;

    /// `limit` permits, all free. At most `max_waiters` queue for them; `usize::MAX` for any
    /// number.
    ///
    /// # Errors
    /// If `limit` is larger than [`MAX_LIMIT`](Self::MAX_LIMIT).
    pub fn new(limit: u32, max_waiters: usize) -> Result<Self, LimitTooLarge> {
        Ok(Self {
            word: CachePadded::new(AtomicU64::new(checked(limit)?)),
            closed: AtomicBool::new(false),
            max_waiters,
            queue: Mutex::new(Queue::default()),
        })
    }

    /// Takes `n` permits if they are free and nobody waits; 0 permits are always free.
    ///
    /// # Cost
    /// One load and one RMW; no RMW if it fails.
    #[inline]
    pub fn try_acquire(&self, n: u32) -> Result<(), TryAcquireError> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if u64::from(n) > free(word) || word & W != 0 {
                return self.denied(word, n);
            }
            let taken = word + out(u64::from(n));
            // Acquire: what was done under the permits before.
            match self
                .word
                .compare_exchange_weak(word, taken, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Takes `n` permits, or queues for them.
    ///
    /// While the wait is pending `wait` holds the place in the queue; polled for other permits or
    /// another `n`, it gives that place up and starts anew.
    ///
    /// # Cancel safety
    /// Dropping `wait` gives the place up, and permits that had been granted to the next in line.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if nobody waits, else a short lock; no
    /// allocation in the steady state.
    #[inline]
    pub fn poll_acquire(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        n: u32,
        wait: &mut PermitWait,
    ) -> Poll<Result<(), AcquireError>> {
        if let Some(place) = &wait.0 {
            if Arc::ptr_eq(&place.permits, self) && place.n == n {
                return Self::poll_queued(cx, wait);
            }
            wait.cancel();
        }
        match self.try_acquire(n) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(TryAcquireError::TooMany { asked, limit }) => {
                Poll::Ready(Err(AcquireError::TooMany { asked, limit }))
            }
            Err(TryAcquireError::Closed) => Poll::Ready(Err(AcquireError::Closed)),
            Err(TryAcquireError::Unavailable) => self.enqueue(cx, n, wait),
        }
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
        // Release: what was done under the permits, to the next holder.
        let before = self.word.fetch_sub(out(u64::from(n)), Ordering::Release);
        if before < out(u64::from(n)) {
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
        let mut word = self.word.load(Ordering::Relaxed);
        while let Err(now) = self.word.compare_exchange_weak(
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
                self.closed.store(true, Ordering::Relaxed);
                // Release: a fast path that is refused by this W sees the store above.
                self.word.fetch_or(W, Ordering::Release);
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
        self.word.load(Ordering::Acquire) & W != 0 && self.closed.load(Ordering::Relaxed)
    }

    /// Permits that are free.
    #[inline]
    pub fn available(&self) -> u32 {
        free(self.word.load(Ordering::Relaxed)) as u32
    }

    /// Permits that are out, those granted to waiters included. Above the limit for a while after
    /// that was lowered.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        in_flight_of(self.word.load(Ordering::Relaxed)) as u32
    }

    /// The limit in force.
    #[inline]
    pub fn limit(&self) -> u32 {
        limit_of(self.word.load(Ordering::Relaxed))
    }

    /// How many may queue.
    pub fn max_waiters(&self) -> usize {
        self.max_waiters
    }

    /// Who waits now. Locks shortly if anybody does.
    pub fn waiting(&self) -> usize {
        if self.word.load(Ordering::Relaxed) & W == 0 {
            return 0;
        }
        self.queue.lock().list.len()
    }

    /// Undoes the release of more than is out (6).
    #[cold]
    fn take_back(&self, before: u64, n: u32) -> ReleaseTooMany {
        let word = self.word.fetch_add(out(u64::from(n)), Ordering::Relaxed);
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
        if word & W != 0 && self.is_closed() {
            Err(TryAcquireError::Closed)
        } else if n == 0 {
            Ok(())
        } else if n > limit_of(word) {
            Err(TryAcquireError::TooMany {
                asked: n,
                limit: limit_of(word),
            })
        } else {
            Err(TryAcquireError::Unavailable)
        }
    }

    #[cold]
    fn enqueue(
        self: &Arc<Self>,
        cx: &Context<'_>,
        n: u32,
        wait: &mut PermitWait,
    ) -> Poll<Result<(), AcquireError>> {
        let waker = cx.waker().clone();
        let mut wakes = WakeList::new();
        // An unused waker is dropped last: foreign code, which may panic.
        let (answer, more, _unused) = {
            let mut queue = self.queue.lock();
            if queue.closed {
                return Poll::Ready(Err(AcquireError::Closed));
            }
            if queue.list.len() >= self.max_waiters {
                return Poll::Ready(Err(AcquireError::QueueFull {
                    max_waiters: self.max_waiters,
                }));
            }
            self.word.fetch_or(W, Ordering::Relaxed);
            let ticket = queue.list.push(u64::from(n), None);
            let more = self.pump(&mut queue, &mut wakes);
            let (answer, unused) = match queue.list.standing(ticket) {
                Standing::Waiting => {
                    let unused = queue.list.update_waker(ticket, waker);
                    let permits = self.clone();
                    wait.0 = Some(Place { permits, ticket, n });
                    (Poll::Pending, unused)
                }
                standing => {
                    queue.list.cancel(ticket);
                    (Poll::Ready(self.outcome(standing, &queue, n)), Some(waker))
                }
            };
            (answer, more, unused)
        };
        wakes.wake();
        if more {
            self.pump_all();
        }
        answer
    }

    fn poll_queued(cx: &Context<'_>, wait: &mut PermitWait) -> Poll<Result<(), AcquireError>> {
        let Some(Place { permits, ticket, n }) = &wait.0 else {
            return Poll::Pending;
        };
        let waker = cx.waker().clone();
        let mut queue = permits.queue.lock();
        match queue.list.standing(*ticket) {
            Standing::Waiting => {
                let old = queue.list.update_waker(*ticket, waker);
                drop(queue);
                drop(old);
                Poll::Pending
            }
            standing => {
                queue.list.cancel(*ticket);
                let answer = permits.outcome(standing, &queue, *n);
                drop(queue);
                wait.0 = None;
                Poll::Ready(answer)
            }
        }
    }

    /// The answer for one that waits no longer.
    fn outcome(&self, standing: Standing, queue: &Queue, n: u32) -> Result<(), AcquireError> {
        match standing {
            Standing::Granted => Ok(()),
            Standing::Closed if !queue.closed => Err(AcquireError::TooMany {
                asked: n,
                limit: self.limit(),
            }),
            Standing::Closed | Standing::Waiting | Standing::Gone => Err(AcquireError::Closed),
        }
    }

    /// Grants from the head on while permits last; true if `wakes` was full before that.
    fn pump(&self, queue: &mut Queue, wakes: &mut WakeList) -> bool {
        while !queue.closed {
            let word = self.word.load(Ordering::Relaxed);
            let Fit { count, total, next } = fit(&queue.list, free(word), wakes.room());
            if count > 0 || next.is_none() {
                let keep = if next.is_some() { !0 } else { !W };
                // Acquire: what was done under the permits before; on to the granted by the lock.
                if self
                    .word
                    .compare_exchange(
                        word,
                        (word + out(total)) & keep,
                        Ordering::Acquire,
                        Ordering::Relaxed,
                    )
                    .is_err()
                {
                    continue;
                }
                for _ in 0..count {
                    give(wakes, queue.list.grant_head());
                }
            }
            match next {
                // The list was full, or this word was used up: look at it again.
                Some(_) if count > 0 => {}
                Some(_) if wakes.room() == 0 => return true,
                Some(need) if need > u64::from(limit_of(word)) => {
                    give(wakes, queue.list.close_head());
                }
                // Nobody waits any more; or the head must, and a release after the load above sees W.
                _ => return false,
            }
        }
        false
    }

    #[cold]
    fn pump_all(&self) {
        let mut more = true;
        while more {
            let mut wakes = WakeList::new();
            more = self.pump(&mut self.queue.lock(), &mut wakes);
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

/// A place in the queue of [`Permits`]; empty until [`poll_acquire`](Permits::poll_acquire) fills it.
///
/// Dropping it gives the place up.
#[derive(Default)]
#[must_use = "the place in the queue is given up when this is dropped"]
pub struct PermitWait(Option<Place>);

struct Place {
    permits: Arc<Permits>,
    ticket: Ticket,
    n: u32,
}

impl PermitWait {
    /// No place.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether it holds a place.
    pub const fn is_queued(&self) -> bool {
        self.0.is_some()
    }

    /// Gives the place up. Permits that had been granted go to the next in line.
    pub fn cancel(&mut self) {
        let Some(Place {
            permits, ticket, ..
        }) = self.0.take()
        else {
            return;
        };
        let mut wakes = WakeList::new();
        let mut more = false;
        let left = {
            let mut queue = permits.queue.lock();
            let left = queue.list.cancel(ticket);
            if left.was_head {
                more = permits.pump(&mut queue, &mut wakes);
            }
            left
        };
        wakes.wake();
        if more {
            permits.pump_all();
        }
        if left.standing == Standing::Granted {
            // It was granted, so it is out.
            let _ = permits.release(left.need as u32);
        }
        // `left.waker` is dropped here, last: it may panic.
    }
}

impl Drop for PermitWait {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for PermitWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermitWait")
            .field("queued", &self.is_queued())
            .finish()
    }
}

/// The limit, where it stands in the word.
const fn checked(limit: u32) -> Result<u64, LimitTooLarge> {
    if limit > Permits::MAX_LIMIT {
        return Err(LimitTooLarge { given: limit });
    }
    Ok(limit as u64)
}

const fn limit_of(word: u64) -> u32 {
    (word & LIMIT) as u32
}

const fn in_flight_of(word: u64) -> u64 {
    word >> OUT_SHIFT
}

/// So many permits, where those in flight stand in the word.
const fn out(n: u64) -> u64 {
    n << OUT_SHIFT
}

const fn free(word: u64) -> u64 {
    (word & LIMIT).saturating_sub(in_flight_of(word))
}

/// How much of a queue fits.
struct Fit {
    count: usize,
    total: u64,
    /// The need of the first that does not; `None` if all do.
    next: Option<u64>,
}

/// How many from the head on fit into `free` permits, but no more than `room`.
fn fit(list: &WaitList, free: u64, room: usize) -> Fit {
    let (mut count, mut total) = (0, 0);
    let mut needs = list.needs();
    let next = loop {
        match needs.next() {
            Some(need) if count < room && total + need <= free => {
                count += 1;
                total += need;
            }
            next => break next,
        }
    };
    Fit { count, total, next }
}

fn give(wakes: &mut WakeList, waker: Option<Waker>) {
    if let Some(waker) = waker {
        let full = wakes.push(waker).is_err();
        debug_assert!(!full, "room was counted before");
    }
}

const LIMIT: u64 = W - 1;
const W: u64 = 1 << 31;
const OUT_SHIFT: u32 = 32;
