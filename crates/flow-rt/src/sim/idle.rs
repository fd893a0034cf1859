//! Waiting until nothing else can run.

use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll};
use std::task::Waker;

use flow_sync::sync::Mutex;

use super::world::World;

/// Those who wait until nothing else can run.
#[derive(Default)]
pub(super) struct Idle {
    /// Whether there may be any: the executor takes the lock only then.
    any: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Idle {
    /// Whether there may be any.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes out the one that came last.
    pub(super) fn pop(&self) -> Option<Waker> {
        if !self.is_awaited() {
            return None;
        }
        self.pop_one()
    }

    #[cold]
    fn pop_one(&self) -> Option<Waker> {
        let mut waiting = self.waiting.lock();
        self.any.store(waiting.len() > 1, Ordering::Relaxed);
        waiting.pop()
    }

    pub(super) fn take(&self) -> Vec<Waker> {
        if !self.is_awaited() {
            return Vec::new();
        }
        core::mem::take(&mut *self.waiting.lock())
    }

    fn push(&self, waker: Waker) {
        let mut waiting = self.waiting.lock();
        waiting.push(waker);
        // Under the lock, as the store above: they come in the order of the changes.
        self.any.store(true, Ordering::Release);
    }

    fn holds(&self, waker: &Waker) -> bool {
        self.waiting
            .lock()
            .iter()
            .any(|other| other.will_wake(waker))
    }
}

/// Ready when every other task is waiting; time has not moved meanwhile.
pub(super) struct UntilIdle<'a> {
    world: &'a World,
    registered: bool,
}

impl<'a> UntilIdle<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        Self {
            world,
            registered: false,
        }
    }
}

impl Future for UntilIdle<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.registered {
            // The executor wakes idle waiters only when nothing else is ready.
            if !self.world.idle.holds(cx.waker()) {
                return Poll::Ready(());
            }
            return Poll::Pending;
        }
        self.registered = true;
        self.world.idle.push(cx.waker().clone());
        Poll::Pending
    }
}
