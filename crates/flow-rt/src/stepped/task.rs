//! Tasks and closures on the host, wrapped so that they are counted and know their runtime.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::sync::Arc;
use std::task::Waker;

use super::busy::Activity;
use super::world::World;
use crate::ambient;
use crate::runtime::BoxBlocking;

pin_project_lite::pin_project! {
    /// A future that is counted while it could go on: queued on the host, or being polled.
    pub(super) struct Counted<F: Future> {
        #[pin]
        future: Option<F>,
        ended: Ended,
    }

    impl<F: Future> PinnedDrop for Counted<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let world = this.ended.activity.world.clone();
                // Destructors wake and spawn: the count goes down after what they cause.
                let _dropping = world.busy.hold();
                let _inside = ambient::enter_counted(world.handle());
                this.future.set(None);
            }
        }
    }
}

/// Ends the activity when dropped: after the future, and if its destructor panics too.
struct Ended {
    activity: Arc<Activity>,
    waker: Waker,
}

impl<F: Future> Counted<F> {
    pub(super) fn new(world: &Arc<World>, future: F) -> Self {
        let activity = Activity::queued(world);
        let waker = Waker::from(activity.clone());
        Self {
            future: Some(future),
            ended: Ended { activity, waker },
        }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let Ended { activity, waker } = &*this.ended;
        if !activity.start(cx.waker()) {
            return Poll::Pending;
        }
        let inside = ambient::enter_counted(activity.world.handle());
        let polled = match this.future.as_mut().as_pin_mut() {
            Some(future) => poll(future, waker),
            None => Poll::Pending,
        };
        if polled.is_ready() {
            this.future.set(None);
            activity.end();
            return polled;
        }
        drop(inside);
        if activity.park() {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.activity.end();
    }
}

/// Wraps a closure so that it is counted until it has run, or until the host drops it.
pub(super) fn counted_blocking(world: &Arc<World>, job: BoxBlocking) -> BoxBlocking {
    world.busy.enter();
    let counted = CountedJob(world.clone());
    Box::new(move || {
        // Declared first, so that it is dropped after the closure and everything it owns.
        let counted = counted;
        let _inside = ambient::enter_counted(counted.0.handle());
        job();
    })
}

struct CountedJob(Arc<World>);

impl Drop for CountedJob {
    fn drop(&mut self) {
        self.0.busy.leave();
    }
}

pin_project_lite::pin_project! {
    /// A future that a counted closure blocks on: while it is parked, the closure is not counted.
    ///
    /// The closure's count is lent to it, and comes back with the result or the drop.
    pub(crate) struct Lent<F> {
        #[pin]
        future: F,
        returned: Returned,
    }
}

struct Returned {
    activity: Arc<Activity>,
    waker: Waker,
}

impl<F: Future> Lent<F> {
    pub(super) fn new(world: &Arc<World>, future: F) -> Self {
        let activity = Activity::taking_over(world);
        let waker = Waker::from(activity.clone());
        Self {
            future,
            returned: Returned { activity, waker },
        }
    }
}

impl<F: Future> Future for Lent<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Returned { activity, waker } = &*this.returned;
        if !activity.start(cx.waker()) {
            return Poll::Pending;
        }
        let polled = poll(this.future, waker);
        if polled.is_pending() && activity.park() {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if !self.activity.retire() {
            self.activity.world.busy.enter();
        }
    }
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    let mut cx = Context::from_waker(waker);
    #[cfg(feature = "tokio")]
    return crate::adapter::tokio::poll_unconstrained(future, &mut cx);
    #[cfg(not(feature = "tokio"))]
    future.poll(&mut cx)
}
