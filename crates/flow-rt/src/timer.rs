//! A timer that can be armed again: the one way a primitive waits for time.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::instant::Instant;

/// A re-armable timer on a runtime's clock.
///
/// Arming a timer *later* costs a small part of making a new one (benches, `rt`), so a primitive
/// keeps one and moves it.
pub trait Timer: Send {
    /// Moves the timer to `at`: it fires at or after `at`, never before.
    ///
    /// Callable at any time, before and after it fired, polled or not. It registers nothing by
    /// itself: the caller polls afterwards.
    fn arm(self: Pin<&mut Self>, at: Instant);

    /// Ready once the time has come, and again on every later poll until armed anew.
    ///
    /// The last waker wins. It may be woken early too, and then finds the timer pending: a timer
    /// that is moved later often may be left where it is until that time has come.
    /// `Err(Stopped)` when the runtime that keeps the time is gone.
    fn poll_fired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>>;
}

/// A boxed [`Timer`], as [`Runtime::timer`](crate::Runtime::timer) returns it.
///
/// It is also a future of its firing, which stays ready until it is armed anew.
///
/// # Cancel safety
/// Dropping it disarms it. A future that borrows it may be dropped at any time: the timer stays
/// armed as it was.
pub struct BoxTimer(Pin<Box<dyn Timer>>);

impl BoxTimer {
    /// Boxes a timer.
    pub fn new(timer: impl Timer + 'static) -> Self {
        Self(Box::pin(timer))
    }

    /// A timer from any function that makes a sleep: for runtimes whose timers cannot be moved.
    ///
    /// Arming drops the sleep and makes a new one at the next poll, so it costs what a new
    /// sleep costs. `sleep` is asked only for instants before [`Instant::FAR_FUTURE`].
    pub fn from_sleep<F, S>(at: Instant, sleep: F) -> Self
    where
        F: Fn(Instant) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::new(FromSleep {
            at,
            make: sleep,
            state: SleepState::Armed,
        })
    }

    /// Moves the timer to `at`. See [`Timer::arm`].
    ///
    /// # Cost
    /// On tokio, smol and async-std it only notes the instant; the next poll moves the host's timer.
    /// One that is moved later more than 32 times before it fires is left where it is from then on,
    /// which costs less than the host's own move, and wakes its task early, once.
    pub fn arm(&mut self, at: Instant) {
        self.0.as_mut().arm(at);
    }

    /// Ready once the time has come. See [`Timer::poll_fired`].
    pub fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        self.0.as_mut().poll_fired(cx)
    }
}

impl Future for BoxTimer {
    type Output = Result<(), Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_fired(cx)
    }
}

impl fmt::Debug for BoxTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxTimer").finish_non_exhaustive()
    }
}

/// The runtime that was to keep the time is gone, so the timer will never fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped;

impl Stopped {
    /// The error, for timers of custom runtimes.
    pub const fn new() -> Self {
        Self
    }
}

impl Default for Stopped {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime that kept this timer has been shut down; it will never fire")
    }
}

impl std::error::Error for Stopped {}

struct FromSleep<F, S> {
    at: Instant,
    make: F,
    state: SleepState<S>,
}

enum SleepState<S> {
    /// Armed, and no sleep made yet.
    Armed,
    Sleeping(Pin<Box<S>>),
    Fired,
}

impl<F, S> Timer for FromSleep<F, S>
where
    F: Fn(Instant) -> S + Send,
    S: Future<Output = ()> + Send,
{
    fn arm(self: Pin<&mut Self>, at: Instant) {
        let this = self.get_mut();
        this.at = at;
        this.state = SleepState::Armed;
    }

    fn poll_fired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                SleepState::Armed if this.at.is_far_future() => return Poll::Pending,
                SleepState::Armed => {
                    this.state = SleepState::Sleeping(Box::pin((this.make)(this.at)));
                }
                SleepState::Sleeping(sleep) => {
                    core::task::ready!(sleep.as_mut().poll(cx));
                    this.state = SleepState::Fired;
                }
                SleepState::Fired => return Poll::Ready(Ok(())),
            }
        }
    }
}

// The sleep is boxed, so nothing in the timer is pinned in place.
impl<F, S> Unpin for FromSleep<F, S> {}
