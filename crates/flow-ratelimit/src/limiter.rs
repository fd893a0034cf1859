//! The traits that others take: limiters of any kind, and whoever decides.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::BoxTimer;

use crate::error::{AcquireError, Denied};
use crate::granted::Granted;
use crate::wait_state::WaitState;

/// A limiter in this process: says who may go now, and lets the others wait their turn.
///
/// Object-safe; the futures are in [`LimiterExt`].
pub trait Limiter: Send + Sync {
    /// Takes `n` tokens now, or says why not. Never waits; 0 tokens are there as long as it is open.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied>;

    /// What [`try_acquire_n`](Self::try_acquire_n) would say now, without taking anything. Like
    /// that it may serve those who wait and could have gone already.
    ///
    /// # Errors
    /// [`Denied`].
    fn peek_n(&self, n: u64) -> Result<(), Denied>;

    /// Gives `n` tokens back that were taken and not used. What does not fit is lost.
    fn refund(&self, n: u64);

    /// Takes `n` tokens now or later. While it is pending `state` holds the place in the queue;
    /// poll again with the same `n` and the same `state`.
    ///
    /// One whose `state` has a [limit](WaitState::limit) of zero is to be granted or refused at once.
    /// It may be asked so once more for a wait that is at its limit, with a fresh state and a waker
    /// that does nothing.
    ///
    /// # Errors
    /// [`AcquireError`]; nothing was taken then.
    ///
    /// # Cancel safety
    /// Dropping `state` ends the wait without losing a token.
    fn poll_acquire_n(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>>;

    /// Ends a wait, as dropping its `state` would.
    fn cancel(&self, state: &mut WaitState) {
        state.leave();
    }
}

macro_rules! limiter_by_deref {
    ($($type:ty),*) => {$(
        impl<L: Limiter + ?Sized> Limiter for $type {
            fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
                (**self).try_acquire_n(n)
            }

            fn peek_n(&self, n: u64) -> Result<(), Denied> {
                (**self).peek_n(n)
            }

            fn refund(&self, n: u64) {
                (**self).refund(n);
            }

            fn poll_acquire_n(
                &self,
                cx: &mut Context<'_>,
                n: u64,
                state: &mut WaitState,
            ) -> Poll<Result<Granted, AcquireError>> {
                (**self).poll_acquire_n(cx, n, state)
            }

            fn cancel(&self, state: &mut WaitState) {
                (**self).cancel(state);
            }
        }
    )*};
}

limiter_by_deref!(&L, Box<L>, Arc<L>);

/// The futures and short forms of every [`Limiter`], `dyn Limiter` too.
pub trait LimiterExt: Limiter {
    /// Takes one token now, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    fn try_acquire(&self) -> Result<Granted, Denied> {
        self.try_acquire_n(1)
    }

    /// Whether one token could be taken now.
    ///
    /// # Errors
    /// [`Denied`].
    fn peek(&self) -> Result<(), Denied> {
        self.peek_n(1)
    }

    /// Waits for one token, first in, first out.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    fn acquire(&self) -> Acquire<'_, Self> {
        self.acquire_n(1)
    }

    /// Waits for `n` tokens, first in, first out. A large `n` holds up those behind it.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    fn acquire_n(&self, n: u64) -> Acquire<'_, Self> {
        Acquire {
            limiter: self,
            n,
            state: WaitState::new(),
            ended: false,
        }
    }

    /// Waits for one token, for `limit` at the most, counted from the first poll.
    ///
    /// Fails at once if the token cannot be there in time. See
    /// [`acquire_n_timeout`](Self::acquire_n_timeout).
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    fn acquire_timeout(&self, limit: Duration) -> AcquireTimeout<'_, Self> {
        self.acquire_n_timeout(1, limit)
    }

    /// Waits for `n` tokens, for `limit` at the most, counted from the first poll.
    ///
    /// Fails at once if the tokens cannot be there in time, by the rate and the queue of that
    /// moment. If the rate is lowered during the wait it ends at the limit, with the answer of that
    /// instant to one who comes then and has no time: how long the tokens would take, or why they
    /// will never come; the tokens, if they are there. A grant at the same instant as the limit
    /// wins.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing and passes the turn on.
    ///
    /// # Cost
    /// One boxed timer if it has to wait.
    fn acquire_n_timeout(&self, n: u64, limit: Duration) -> AcquireTimeout<'_, Self> {
        AcquireTimeout {
            acquire: Acquire {
                limiter: self,
                n,
                state: WaitState::with_limit(limit),
                ended: false,
            },
            limit,
            timer: None,
        }
    }
}

impl<L: Limiter + ?Sized> LimiterExt for L {}

/// Waiting for tokens: see [`LimiterExt::acquire_n`]. Once it has returned it stays pending.
///
/// # Cancel safety
/// Dropping it takes nothing and passes the turn on; tokens that it was granted and has not
/// returned yet go back.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a, L: ?Sized> {
    limiter: &'a L,
    n: u64,
    state: WaitState,
    ended: bool,
}

impl<L: ?Sized> Acquire<'_, L> {
    /// Ends the wait for good.
    fn give_up(&mut self) {
        self.ended = true;
        self.state.leave();
    }
}

impl<L: Limiter + ?Sized> Future for Acquire<'_, L> {
    type Output = Result<Granted, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.ended {
            // Not again: the tokens were asked for once.
            return Poll::Pending;
        }
        let polled = this.limiter.poll_acquire_n(cx, this.n, &mut this.state);
        this.ended = polled.is_ready();
        polled
    }
}

impl<L: ?Sized> fmt::Debug for Acquire<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("n", &self.n)
            .field("waiting", &self.state.is_waiting())
            .finish_non_exhaustive()
    }
}

/// Waiting for tokens up to a limit: see [`LimiterExt::acquire_n_timeout`].
///
/// # Cancel safety
/// That of [`Acquire`]; its timer goes with it.
#[must_use = "futures do nothing unless polled"]
pub struct AcquireTimeout<'a, L: ?Sized> {
    acquire: Acquire<'a, L>,
    limit: Duration,
    timer: Option<BoxTimer>,
}

impl<L: Limiter + ?Sized> Future for AcquireTimeout<'_, L> {
    type Output = Result<Granted, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(result) = Pin::new(&mut self.acquire).poll(cx) {
            return Poll::Ready(result);
        }
        let this = self.get_mut();
        if this.acquire.ended {
            return Poll::Pending;
        }
        let timer = match &mut this.timer {
            Some(timer) => timer,
            none => match this.acquire.state.runtime_or_current() {
                Ok(runtime) => none.insert(runtime.sleep(this.limit)),
                Err(error) => {
                    this.acquire.give_up();
                    return Poll::Ready(Err(AcquireError::NoRuntime(error)));
                }
            },
        };
        let fired = core::task::ready!(timer.poll_fired(cx));
        this.acquire.state.hurry();
        // The tokens may have come at this very instant: then they are the answer.
        if let Poll::Ready(result) = Pin::new(&mut this.acquire).poll(cx) {
            return Poll::Ready(result);
        }
        this.acquire.give_up();
        Poll::Ready(match fired {
            Ok(()) => this.ask_now(),
            Err(_) => Err(AcquireError::Stopped),
        })
    }
}

impl<L: Limiter + ?Sized> AcquireTimeout<'_, L> {
    /// What somebody hears who does not wait: what was known when the wait began may have changed
    /// by its end.
    fn ask_now(&self) -> Result<Granted, AcquireError> {
        let Acquire { limiter, n, .. } = &self.acquire;
        let mut state = WaitState::with_limit(Duration::ZERO);
        let cx = &mut Context::from_waker(Waker::noop());
        match limiter.poll_acquire_n(cx, *n, &mut state) {
            // Of a limiter that waits all the same, or cannot say so without a runtime.
            Poll::Pending
            | Poll::Ready(Err(AcquireError::NoRuntime(_) | AcquireError::Stopped)) => {
                Err(AcquireError::Timeout {
                    would_wait: self.limit,
                })
            }
            Poll::Ready(result) => result,
        }
    }
}

impl<L: ?Sized> fmt::Debug for AcquireTimeout<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireTimeout")
            .field("n", &self.acquire.n)
            .field("limit", &self.limit)
            .field("waiting", &self.acquire.state.is_waiting())
            .finish_non_exhaustive()
    }
}

/// Whoever says who may go, here or elsewhere: what throttles and layers ask.
///
/// Every [`Limiter`] decides; for a state with a [limit](WaitState::limit) of zero it does as
/// [`try_acquire_n`](Limiter::try_acquire_n), which may take on
/// [debt](crate::TokenBucketBuilder::debt). Limiters that ask a server implement it by
/// [`WaitState::poll_elsewhere`].
///
/// ```
/// use std::sync::Arc;
/// use std::task::{Context, Poll};
/// use flow_ratelimit::{Decide, Denied, Granted, WaitState};
/// # struct Server;
/// # impl Server {
/// #     async fn take(self: Arc<Self>, n: u64) -> Result<Granted, Denied> {
/// #         if n > 10 { return Err(Denied::exceeds_burst(n, 10)); }
/// #         Ok(Granted::new(10 - n, 10, std::time::Duration::ZERO))
/// #     }
/// # }
///
/// struct OnServer(Arc<Server>);
///
/// impl Decide for OnServer {
///     fn poll_decide(
///         &self,
///         cx: &mut Context<'_>,
///         n: u64,
///         state: &mut WaitState,
///     ) -> Poll<Result<Granted, Denied>> {
///         state.poll_elsewhere(cx, &*self.0, n, || self.0.clone().take(n))
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limiter = OnServer(Arc::new(Server));
/// let mut state = WaitState::new();
/// let granted = flow_rt::block_on(std::future::poll_fn(|cx| limiter.poll_decide(cx, 3, &mut state)))??;
/// assert_eq!(granted.remaining(), 7);
/// # Ok(())
/// # }
/// ```
pub trait Decide: Send + Sync {
    /// Decides about `n` tokens, now or later; pending while it waits, with the wait in `state`.
    /// Poll again with the same `n` and the same `state`.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then, as far as this process knows.
    ///
    /// # Cancel safety
    /// Dropping `state` ends the wait. Nothing is lost in this process; what a server has taken
    /// by then is the implementation's to say.
    fn poll_decide(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, Denied>>;
}

impl<L: Limiter + ?Sized> Decide for L {
    fn poll_decide(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, Denied>> {
        if state.limit() == Some(Duration::ZERO) && !state.is_waiting() {
            // Neither a runtime nor a place in a line is needed to say no, and the reason is the
            // limiter's own: waits know fewer.
            return Poll::Ready(self.try_acquire_n(n));
        }
        self.poll_acquire_n(cx, n, state)
            .map(|result| result.map_err(Denied::from))
    }
}
