//! Waiting in the queue of the permits, in its order.

use core::fmt;
use core::task::{Context, Poll};
// Not loom's, which is no receiver of methods; the protocol does not touch the count.
use std::sync::Arc;

use super::word::{LIMIT, W};
use super::{Permits, Queue};
use crate::error::{AcquireError, TryAcquireError};
use crate::sync::atomic::Ordering;
use crate::wait_list::{Standing, Ticket};
use crate::wake_list::WakeList;

/// A place in the queue of [`Permits`]; empty until [`poll_acquire`](Permits::poll_acquire) fills it.
///
/// Dropping it gives the place up.
#[derive(Default)]
#[must_use = "the place in the queue is given up when this is dropped"]
pub struct PermitWait(pub(super) Option<Place>);

pub(super) struct Place {
    pub(super) permits: Arc<Permits>,
    pub(super) ticket: Ticket,
    pub(super) n: u32,
}

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
        if wait.0.is_none() && self.try_take(n).is_ok() {
            return Poll::Ready(Ok(()));
        }
        self.poll_slowly(cx, n, wait)
    }

    #[cold]
    fn poll_slowly(
        self: &Arc<Self>,
        cx: &Context<'_>,
        n: u32,
        wait: &mut PermitWait,
    ) -> Poll<Result<(), AcquireError>> {
        if let Some(place) = &wait.0 {
            if Arc::ptr_eq(&place.permits, self) && place.n == n {
                return if self.is_barging() {
                    Self::poll_barging(cx, wait)
                } else {
                    Self::poll_queued(cx, wait)
                };
            }
            wait.cancel();
        }
        match self.try_acquire(n) {
            Err(TryAcquireError::Unavailable) if self.is_barging() => {
                self.enqueue_barging(cx, n, wait)
            }
            Err(TryAcquireError::Unavailable) => self.enqueue(cx, n, wait),
            answer => Poll::Ready(answer.map_err(AcquireError::at_once)),
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
            if let Err(refused) = self.admits(&queue) {
                return Poll::Ready(Err(refused));
            }
            self.line.word.fetch_or(W, Ordering::Relaxed);
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
                limit: self.limit(),
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
        let mut wakes = WakeList::new();
        let mut more = false;
        let left = {
            let mut queue = permits.queue.lock();
            let left = queue.list.cancel(ticket);
            if left.was_head {
                queue.told = false;
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
            let _ = permits.release((left.need & LIMIT) as u32);
        }
        // `left.waker` is dropped here, last: it may panic.
    }
}

impl Drop for PermitWait {
    #[inline]
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
