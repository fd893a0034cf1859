//! Waiting in the queue of a class.

use core::fmt;
use core::task::{Context, Poll};
// Not loom's, which is no receiver of methods; the protocol does not touch the count.
use std::sync::Arc;

use super::word::W;
use super::{ClassedPermits, Queue};
use crate::error::{AcquireError, TryAcquireError};
use crate::sync::atomic::Ordering;
use crate::wait_list::{Standing, Ticket};
use crate::wake_list::WakeList;

/// A place in the queue of a class of [`ClassedPermits`]; empty until
/// [`poll_acquire`](ClassedPermits::poll_acquire) fills it.
///
/// Dropping it gives the place up.
#[derive(Default)]
#[must_use = "the place in the queue is given up when this is dropped"]
pub struct ClassedWait(Option<Place>);

struct Place {
    permits: Arc<ClassedPermits>,
    ticket: Ticket,
    class: usize,
    n: u32,
}

impl ClassedPermits {
    /// Takes `n` permits for a class, or queues for them.
    ///
    /// While the wait is pending `wait` holds the place in the queue; polled for other permits,
    /// another class or another `n`, it gives that place up and starts anew.
    ///
    /// # Cancel safety
    /// Dropping `wait` gives the place up, and permits that had been granted to the next.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) if it need not wait, else a short lock; no
    /// allocation in the steady state.
    #[inline]
    pub fn poll_acquire(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        class: usize,
        n: u32,
        wait: &mut ClassedWait,
    ) -> Poll<Result<(), AcquireError>> {
        if wait.0.is_none() && self.try_take(class, n).is_ok() {
            return Poll::Ready(Ok(()));
        }
        self.poll_slowly(cx, class, n, wait)
    }

    #[cold]
    fn poll_slowly(
        self: &Arc<Self>,
        cx: &Context<'_>,
        class: usize,
        n: u32,
        wait: &mut ClassedWait,
    ) -> Poll<Result<(), AcquireError>> {
        if let Some(place) = &wait.0 {
            if Arc::ptr_eq(&place.permits, self) && (place.class, place.n) == (class, n) {
                return self.poll_queued(cx, wait);
            }
            wait.cancel();
        }
        match self.try_acquire(class, n) {
            Err(TryAcquireError::Unavailable) => self.enqueue(cx, class, n, wait),
            answer => Poll::Ready(answer.map_err(AcquireError::at_once)),
        }
    }

    fn enqueue(
        self: &Arc<Self>,
        cx: &Context<'_>,
        class: usize,
        n: u32,
        wait: &mut ClassedWait,
    ) -> Poll<Result<(), AcquireError>> {
        let waker = cx.waker().clone();
        let mut wakes = WakeList::of_one();
        // An unused waker is dropped last: foreign code, which may panic.
        let (answer, more, _unused) = {
            let mut queue = self.queue.lock();
            if queue.closed {
                return Poll::Ready(Err(AcquireError::Closed));
            }
            if queue.len >= self.max_waiters {
                let max_waiters = self.max_waiters;
                return Poll::Ready(Err(AcquireError::QueueFull { max_waiters }));
            }
            queue.len += 1;
            if queue.head_need(class).is_some() {
                // W is set, and whether the first of the class goes is known (4).
                let ticket = queue.classes[class].list.push(u64::from(n), Some(waker));
                wait.0 = Some(Place {
                    permits: self.clone(),
                    ticket,
                    class,
                    n,
                });
                return Poll::Pending;
            }
            self.line.word.fetch_or(W, Ordering::Relaxed);
            let ticket = queue.classes[class].list.push(u64::from(n), None);
            let more = self.pump(&mut queue, &mut wakes);
            let list = &mut queue.classes[class].list;
            let (answer, unused) = match list.standing(ticket) {
                Standing::Waiting => {
                    let unused = list.update_waker(ticket, waker);
                    wait.0 = Some(Place {
                        permits: self.clone(),
                        ticket,
                        class,
                        n,
                    });
                    (Poll::Pending, unused)
                }
                standing => {
                    list.cancel(ticket);
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

    fn poll_queued(
        &self,
        cx: &Context<'_>,
        wait: &mut ClassedWait,
    ) -> Poll<Result<(), AcquireError>> {
        let Some(Place {
            ticket, class, n, ..
        }) = wait.0
        else {
            return Poll::Pending;
        };
        // Cloned without the lock, and only for one that waits on in another task.
        let mut waker = None;
        loop {
            let mut queue = self.queue.lock();
            let list = &mut queue.classes[class].list;
            if let Some(standing) = list.end(ticket) {
                let answer = self.outcome(standing, &queue, n);
                drop(queue);
                wait.0 = None;
                return Poll::Ready(answer);
            }
            if list.will_wake(ticket, cx.waker()) {
                return Poll::Pending;
            }
            let old = waker.take().map(|waker| list.update_waker(ticket, waker));
            drop(queue);
            if old.is_some() {
                return Poll::Pending;
            }
            waker = Some(cx.waker().clone());
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
}

impl ClassedWait {
    /// No place.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether it holds a place.
    pub const fn is_queued(&self) -> bool {
        self.0.is_some()
    }

    /// Gives the place up. Permits that had been granted go to the next.
    #[inline]
    pub fn cancel(&mut self) {
        if let Some(place) = self.0.take() {
            place.leave();
        }
    }
}

impl Place {
    #[cold]
    #[inline(never)]
    fn leave(self) {
        let Self {
            permits,
            ticket,
            class,
            n,
        } = self;
        let mut wakes = WakeList::of_one();
        let mut more = false;
        let left = {
            let mut queue = permits.queue.lock();
            let left = queue.classes[class].list.cancel(ticket);
            queue.len -= usize::from(left.standing == Standing::Waiting);
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
            let _ = permits.release(class, n);
        }
        // `left.waker` is dropped here, last: it may panic.
    }
}

impl Drop for ClassedWait {
    #[inline]
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for ClassedWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassedWait")
            .field("queued", &self.is_queued())
            .finish()
    }
}
