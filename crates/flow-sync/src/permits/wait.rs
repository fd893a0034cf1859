//! Waiting in the queue of the permits, in its order.

use core::fmt;
use core::ops::Deref;
use core::task::{Context, Poll};
// Not loom's, which is no receiver of methods; the protocol does not touch the count.
use std::sync::Arc;

use super::word::{C, LIMIT, W, limit_of};
use super::{Permits, Queue};
use crate::error::{AcquireError, TryAcquireError};
use crate::sync::atomic::Ordering;
use crate::wait_list::{Standing, Ticket};
use crate::wake_list::{discard, wake};

/// A place in the queue of [`Permits`]; empty until [`poll_acquire`](Permits::poll_acquire) fills it.
///
/// It keeps the permits alive, or borrows them: then a wait touches no count of references, which
/// all who wait would share. Dropping it gives the place up.
#[must_use = "the place in the queue is given up when this is dropped"]
pub struct PermitWait<P: Deref<Target = Permits> = Arc<Permits>>(pub(super) Option<Place<P>>);

pub(super) struct Place<P> {
    pub(super) permits: P,
    pub(super) ticket: Ticket,
    pub(super) n: u32,
}

/// What a place reaches its permits by.
pub(super) trait Hold: Deref<Target = Permits> + Clone {}

impl<P: Deref<Target = Permits> + Clone> Hold for P {}

impl Permits {
    /// Takes `n` permits, or queues for them.
    ///
    /// While the wait is pending `wait` holds the place in the queue; polled for other permits or
    /// another `n`, it gives that place up and starts anew.
    ///
    /// # Cancel safety
    /// Dropping `wait` gives the place up, and permits that had been granted to the next in line.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if it need not wait, else a short lock; no
    /// allocation in the steady state.
    #[inline]
    pub fn poll_acquire(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        n: u32,
        wait: &mut PermitWait,
    ) -> Poll<Result<(), AcquireError>> {
        Self::poll_held(self, cx, n, wait)
    }

    /// [`poll_acquire`](Self::poll_acquire) for a wait that borrows the permits, whose caller has
    /// just [tried](Self::try_take) in vain or holds a place: it does not look for free permits
    /// before it takes the lock.
    #[inline]
    pub fn poll_wait<'a>(
        &'a self,
        cx: &mut Context<'_>,
        n: u32,
        wait: &mut PermitWait<&'a Self>,
    ) -> Poll<Result<(), AcquireError>> {
        Self::poll_slowly(&self, cx, n, wait)
    }

    #[inline]
    fn poll_held<P: Hold>(
        permits: &P,
        cx: &mut Context<'_>,
        n: u32,
        wait: &mut PermitWait<P>,
    ) -> Poll<Result<(), AcquireError>> {
        if wait.0.is_none() && permits.try_take(n) {
            return Poll::Ready(Ok(()));
        }
        Self::poll_slowly(permits, cx, n, wait)
    }

    /// All but the permits that are there at once, which the caller has looked for.
    #[inline]
    fn poll_slowly<P: Hold>(
        permits: &P,
        cx: &Context<'_>,
        n: u32,
        wait: &mut PermitWait<P>,
    ) -> Poll<Result<(), AcquireError>> {
        if let Some(place) = &wait.0 {
            let (theirs, ours): (&Self, &Self) = (&place.permits, permits);
            if core::ptr::eq(theirs, ours) && place.n == n {
                return if permits.is_barging() {
                    Self::poll_barging(cx, wait)
                } else {
                    Self::poll_queued(cx, wait)
                };
            }
            wait.cancel();
        }
        let word = permits.line.word.load(Ordering::Relaxed);
        // Else it may queue, as most do: no need to ask for the reason.
        if word & C != 0 || n == 0 || n > limit_of(word) {
            let answer = permits.denied(word, n);
            if answer != Err(TryAcquireError::Unavailable) {
                return Poll::Ready(answer.map_err(AcquireError::at_once));
            }
        }
        if permits.is_barging() {
            Self::enqueue_barging(permits, cx, n, wait)
        } else {
            Self::enqueue(permits, cx, n, wait)
        }
    }

    /// Why nobody more may queue.
    pub(super) fn admits(&self, queue: &Queue) -> Result<(), AcquireError> {
        if queue.closed {
            return Err(AcquireError::Closed);
        }
        if queue.list.len() >= self.max_waiters {
            return Err(AcquireError::QueueFull {
                max_waiters: self.max_waiters,
            });
        }
        Ok(())
    }

    #[inline(never)]
    fn enqueue<P: Hold>(
        permits: &P,
        cx: &Context<'_>,
        n: u32,
        wait: &mut PermitWait<P>,
    ) -> Poll<Result<(), AcquireError>> {
        let this: &Self = permits;
        let waker = cx.waker().clone();
        let (answer, more, unused) = {
            let mut queue = this.queue.lock();
            if let Err(refused) = this.admits(&queue) {
                return Poll::Ready(Err(refused));
            }
            if !queue.list.is_empty() {
                // W is set, and whether the head fits is known: nothing more is to be done (3).
                let ticket = queue.list.push(u64::from(n), Some(waker));
                let permits = permits.clone();
                wait.0 = Some(Place { permits, ticket, n });
                return Poll::Pending;
            }
            // Nobody else is in the list, so that the pump wakes nobody.
            this.line.word.fetch_or(W, Ordering::Relaxed);
            let ticket = queue.list.push(u64::from(n), None);
            let (_, more) = this.pump(&mut queue);
            let (answer, unused) = match queue.list.standing(ticket) {
                Standing::Waiting => {
                    let unused = queue.list.update_waker(ticket, waker);
                    let permits = permits.clone();
                    wait.0 = Some(Place { permits, ticket, n });
                    (Poll::Pending, unused)
                }
                standing => {
                    queue.list.cancel(ticket);
                    (Poll::Ready(this.outcome(standing, &queue, n)), Some(waker))
                }
            };
            (answer, more, unused)
        };
        if more {
            this.pump_all();
        }
        discard(unused);
        answer
    }

    fn poll_queued<P: Hold>(
        cx: &Context<'_>,
        wait: &mut PermitWait<P>,
    ) -> Poll<Result<(), AcquireError>> {
        let Some(Place { permits, ticket, n }) = &wait.0 else {
            return Poll::Pending;
        };
        // Cloned without the lock, and only for one that waits on in another task.
        let mut waker = None;
        loop {
            let mut queue = permits.queue.lock();
            if let Some(standing) = queue.list.end(*ticket) {
                let answer = permits.outcome(standing, &queue, *n);
                drop(queue);
                wait.0 = None;
                return Poll::Ready(answer);
            }
            if queue.list.will_wake(*ticket, cx.waker()) {
                return Poll::Pending;
            }
            let old = waker
                .take()
                .map(|waker| queue.list.update_waker(*ticket, waker));
            drop(queue);
            if old.is_some() {
                return Poll::Pending;
            }
            waker = Some(cx.waker().clone());
        }
    }

    /// The answer for one that waits no longer.
    pub(super) fn outcome(
        &self,
        standing: Standing,
        queue: &Queue,
        n: u32,
    ) -> Result<(), AcquireError> {
        match standing {
            Standing::Granted => Ok(()),
            Standing::Closed if !queue.closed => Err(AcquireError::TooMany {
                asked: n,
                limit: self.most(self.line.word.load(Ordering::Relaxed)),
            }),
            Standing::Closed | Standing::Waiting | Standing::Gone => Err(AcquireError::Closed),
        }
    }
}

impl PermitWait {
    /// No place.
    pub const fn new() -> Self {
        Self(None)
    }
}

impl PermitWait<&Permits> {
    /// No place, for a wait that borrows its permits.
    pub const fn borrowed() -> Self {
        Self(None)
    }
}

impl<P: Deref<Target = Permits>> PermitWait<P> {
    /// Whether it holds a place.
    pub const fn is_queued(&self) -> bool {
        self.0.is_some()
    }

    /// Gives the place up. Permits that had been granted go to the next in line.
    #[inline]
    pub fn cancel(&mut self) {
        if self.0.is_some() {
            self.leave();
        }
    }

    #[cold]
    #[inline(never)]
    fn leave(&mut self) {
        let Some(Place {
            permits, ticket, ..
        }) = self.0.take()
        else {
            return;
        };
        let (mut waker, mut more) = (None, false);
        let left = {
            let mut queue = permits.queue.lock();
            let left = queue.list.cancel(ticket);
            if left.was_head {
                queue.told = false;
                (waker, more) = permits.pump(&mut queue);
            }
            left
        };
        wake(waker);
        if more {
            permits.pump_all();
        }
        if left.standing == Standing::Granted {
            // It was granted, so it is out.
            let _ = permits.release((left.need & LIMIT) as u32);
        }
        discard(left.waker);
    }
}

impl Default for PermitWait {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Deref<Target = Permits>> Drop for PermitWait<P> {
    #[inline]
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<P: Deref<Target = Permits>> fmt::Debug for PermitWait<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PermitWait")
            .field("queued", &self.is_queued())
            .finish()
    }
}
