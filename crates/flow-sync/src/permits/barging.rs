//! Passing those who wait: permits come back into the word, and the head is told to look.
//!
//! # State
//! `told` in the queue: the head was woken and has not been polled since. W says that somebody
//! waits and nobody was told, so that a release has something to do under the lock.
//!
//! # Invariants
//! 1. While somebody waits, W is set or the head is told, as each critical section leaves it.
//! 2. W is set before the word is looked at for the last time: a release after that look sees W.
//! 3. Whoever was told looks when it is polled, and gives the turn on when it leaves, however it
//!    leaves. Nobody is granted anything that was not asked for in that very poll.
//!
//! # Steps
//! enqueue: lock; nobody is told: **set W**; try; push.
//! tell (locked): somebody was told: nothing. **Set W**; look; the head fits: told, **clear W**,
//! wake it.
//! poll of a queued one: lock; the head: not told any more, **set W**; try; it succeeded: out of
//! the list, and tell the next.
//! cancel of the head: not told; tell the next.
//!
//! # Ordering
//! That of the strict order: everything is an RMW on the word, and what is behind the lock is the
//! lock's. Setting W and a release's `fetch_sub` follow each other. The release first: the try, or
//! the value that tell's own `fetch_or` returns, shows the permit. W first: the release's returned
//! value has it, so it locks after the section that set it, and finds the head.
//! While the head is told, W is clear (but for a close), and a release does nothing more: the head
//! sets W before it tries, in its poll; if it leaves instead, tell sets W before it looks for the
//! next. So W is Relaxed. What was done under a permit comes by the CAS of the try, as in the
//! strict order: W comes and goes by RMWs, which continue the release sequence.
//! A newcomer looks at C only, so nothing orders it with those who wait: that it may pass is the
//! order that was asked for.
//!
//! # Source
//! event-listener's notify of one, as async-lock's semaphore uses it, with the mark in the word.

use core::task::{Context, Poll, Waker};

use super::wait::{Hold, Place};
use super::word::W;
use super::{PermitWait, Permits, Queue};
use crate::error::{AcquireError, TryAcquireError};
use crate::sync::atomic::Ordering;
use crate::wait_list::Standing;
use crate::wake_list::{discard, wake};

impl Permits {
    pub(super) fn enqueue_barging<P: Hold>(
        permits: &P,
        cx: &Context<'_>,
        n: u32,
        wait: &mut PermitWait<P>,
    ) -> Poll<Result<(), AcquireError>> {
        let this: &Self = permits;
        let waker = cx.waker().clone();
        let (answer, unused) = {
            let mut queue = this.queue.lock();
            if let Err(refused) = this.admits(&queue) {
                (Poll::Ready(Err(refused)), Some(waker))
            } else {
                if !queue.told {
                    this.line.word.fetch_or(W, Ordering::Relaxed);
                }
                match this.try_locked(n) {
                    Err(TryAcquireError::Unavailable) => {
                        let ticket = queue.list.push(u64::from(n), Some(waker));
                        let permits = permits.clone();
                        wait.0 = Some(Place { permits, ticket, n });
                        (Poll::Pending, None)
                    }
                    answer => {
                        if queue.list.is_empty() {
                            this.line.word.fetch_and(!W, Ordering::Relaxed);
                        }
                        (
                            Poll::Ready(answer.map_err(AcquireError::at_once)),
                            Some(waker),
                        )
                    }
                }
            }
        };
        discard(unused);
        answer
    }

    pub(super) fn poll_barging<P: Hold>(
        cx: &Context<'_>,
        wait: &mut PermitWait<P>,
    ) -> Poll<Result<(), AcquireError>> {
        let Some(Place { permits, ticket, n }) = &wait.0 else {
            return Poll::Pending;
        };
        let waker = cx.waker().clone();
        let mut queue = permits.queue.lock();
        let standing = queue.list.standing(*ticket);
        if standing != Standing::Waiting {
            queue.list.cancel(*ticket);
            let answer = permits.outcome(standing, &queue, *n);
            drop(queue);
            wait.0 = None;
            return Poll::Ready(answer);
        }
        if queue.list.head() == Some(*ticket) {
            queue.told = false;
            permits.line.word.fetch_or(W, Ordering::Relaxed);
        }
        let answer = permits.try_locked(*n);
        if answer == Err(TryAcquireError::Unavailable) {
            let old = queue.list.update_waker(*ticket, waker);
            drop(queue);
            drop(old);
            return Poll::Pending;
        }
        let left = queue.list.cancel(*ticket);
        let (next, more) = permits.tell(&mut queue);
        drop(queue);
        wake(next);
        if more {
            permits.pump_all();
        }
        wait.0 = None;
        discard(left.waker);
        Poll::Ready(answer.map_err(AcquireError::at_once))
    }

    /// Tells the head to look if it would find what it needs, or sends it away if it asks for too
    /// much; its waker, and whether there is more to be done.
    #[inline(never)]
    pub(super) fn tell(&self, queue: &mut Queue) -> (Option<Waker>, bool) {
        if queue.closed {
            return (None, false);
        }
        let (Some(head), Some(need)) = (queue.list.head(), queue.list.head_need()) else {
            queue.told = false;
            self.line.word.fetch_and(!W, Ordering::Relaxed);
            return (None, false);
        };
        if queue.told {
            return (None, false);
        }
        let word = self.line.word.fetch_or(W, Ordering::Relaxed);
        if need > u64::from(self.most(word)) {
            return (queue.list.close_head(), true);
        }
        if need > self.free_for(word, need) {
            return (None, false);
        }
        queue.told = true;
        self.line.word.fetch_and(!W, Ordering::Relaxed);
        (queue.list.take_waker(head), false)
    }
}
