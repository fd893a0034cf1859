//! Waiting until nothing else can run.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;

use super::world::World;

/// Ready when every other task is waiting; time has not moved meanwhile.
pub(super) struct UntilIdle<'a> {
    world: &'a Arc<World>,
    registered: bool,
}

impl<'a> UntilIdle<'a> {
    pub(super) fn new(world: &'a Arc<World>) -> Self {
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
            if !self
                .world
                .idle
                .lock()
                .iter()
                .any(|waker| waker.will_wake(cx.waker()))
            {
                return Poll::Ready(());
            }
            return Poll::Pending;
        }
        self.registered = true;
        self.world.idle.lock().push(cx.waker().clone());
        Poll::Pending
    }
}
