//! Permits in front of a service: so many requests at once, by a fixed limit or one that learns.
//!
//! # Readiness
//! 1. A service that says it is ready holds a permit, or the refusal that the call will answer with.
//! 2. A permit that is held goes to the call, and from there back to the limiter when the response
//!    is there or its future dropped; or back at once if the service is dropped.
//! 3. The service is asked whether it is ready once there is a permit for it. For a limit that
//!    learns, the request begins when it is.
//! 4. A clone holds nothing, whatever its original does.

mod layers;
mod source;

use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use tower_service::Service;

use super::answer::Answer;
use super::patience::{Alone, Bound, Ended, Patience};
use crate::concurrency::PermitError;

pub use layers::{AdaptiveLayer, ConcurrencyLayer};
#[cfg(feature = "http")]
pub use source::ByStatus;
use source::Learn;
pub use source::{ByResult, Judge, Judged, Learning, PermitSource};

/// A service of which so many requests are under way at once: see [`ConcurrencyLayer`] and
/// [`AdaptiveLayer`].
///
/// It takes its permit when it is asked whether it is ready, and gives it back if it is dropped
/// without having been called. A clone has no permit yet.
pub struct Bounded<S, P: PermitSource, A> {
    inner: S,
    source: P,
    held: Held<P>,
    /// The service was not ready when the permit was there.
    is_late: bool,
    patience: Patience,
    answer: A,
}

enum Held<P: PermitSource> {
    Nothing,
    Waits(Box<Wait<P>>),
    Permit(P::Permit),
    Refusal(PermitError),
}

struct Wait<P: PermitSource> {
    acquire: Alone<P::Acquire>,
    end: Bound,
}

impl<S, P: PermitSource, A> Bounded<S, P, A> {
    fn new(inner: S, source: P, patience: Patience, answer: A) -> Self {
        Self {
            inner,
            source,
            held: Held::Nothing,
            is_late: false,
            patience,
            answer,
        }
    }

    /// Whether there is a permit for the call; if not, there is a refusal.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Held::Permit(_) = self.held {
            return Poll::Ready(true);
        }
        let result = match (&mut self.held, self.patience) {
            (Held::Waits(wait), _) => ready!(wait.poll(cx, &self.source)),
            // A refusal that nobody has called for is of a moment that has passed.
            (_, Patience::Reject) => self.source.try_now(),
            (held, patience) => match self.source.poll_now(cx) {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    *held = Held::Waits(Box::new(Wait {
                        acquire: Alone::new(self.source.acquire()),
                        end: Bound::new(patience),
                    }));
                    return self.poll_permit(cx);
                }
            },
        };
        self.held = match result {
            Ok(permit) => Held::Permit(permit),
            Err(why) => Held::Refusal(why),
        };
        Poll::Ready(matches!(self.held, Held::Permit(_)))
    }
}

impl<P: PermitSource> Wait<P> {
    fn poll(&mut self, cx: &mut Context<'_>, of: &P) -> Poll<Result<P::Permit, PermitError>> {
        let acquire = self.acquire.get();
        if let Poll::Ready(result) = Pin::new(&mut *acquire).poll(cx) {
            return Poll::Ready(result);
        }
        let ended = ready!(self.end.poll_end(cx, || of.runtime()));
        // The permit may have come at this very instant: then it is the answer.
        if let Poll::Ready(result) = Pin::new(acquire).poll(cx) {
            return Poll::Ready(result);
        }
        Poll::Ready(Err(match ended {
            Ended::InTime(limit) => PermitError::Timeout { limit },
            Ended::NoRuntime(error) => PermitError::NoRuntime(error),
            Ended::Stopped(stopped) => PermitError::Stopped(stopped),
        }))
    }
}

impl<S, P, A, R> Service<R> for Bounded<S, P, A>
where
    S: Service<R>,
    P: Learn<S::Response, S::Error>,
    A: Answer<S::Response, S::Error, PermitError>,
{
    type Response = S::Response;
    type Error = A::Error;
    type Future = BoundedFuture<S::Future, P, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if !ready!(self.poll_permit(cx)) {
            // The service is not needed to say no.
            return Poll::Ready(Ok(()));
        }
        let polled = self.inner.poll_ready(cx).map_err(A::inner);
        let was_late = mem::replace(&mut self.is_late, polled.is_pending());
        if was_late
            && polled.is_ready()
            && let Held::Permit(permit) = &mut self.held
        {
            P::readied(permit);
        }
        polled
    }

    fn call(&mut self, request: R) -> Self::Future {
        let held = mem::replace(&mut self.held, Held::Nothing);
        self.is_late = false;
        let permit = match held {
            Held::Permit(permit) => Ok(permit),
            Held::Refusal(why) => Err(why),
            // A call that nobody was ready for gets what there is now.
            Held::Nothing => self.source.try_now(),
            Held::Waits(wait) => {
                // Its place, or the permit that has come to it, would be in the way.
                drop(wait);
                self.source.try_now()
            }
        };
        let state = match permit {
            Ok(permit) => State::Called {
                response: self.inner.call(request),
                permit: Some(permit),
            },
            Err(why) => State::Denied { why },
        };
        BoundedFuture {
            state,
            judge: self.source.judge(),
            answer: self.answer.clone(),
        }
    }
}

impl<S: Clone, P: PermitSource, A: Clone> Clone for Bounded<S, P, A> {
    /// A service behind the same limit, with no permit yet.
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            self.source.clone(),
            self.patience,
            self.answer.clone(),
        )
    }
}

impl<S: fmt::Debug, P: PermitSource, A> fmt::Debug for Bounded<S, P, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = match self.held {
            Held::Nothing => "nothing",
            Held::Waits(_) => "a place in the queue",
            Held::Permit(_) => "a permit",
            Held::Refusal(_) => "a refusal",
        };
        f.debug_struct("Bounded")
            .field("inner", &self.inner)
            .field("holds", &holds)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    /// The response through a [`Bounded`].
    ///
    /// The permit goes back when the response is there; the body of a response of HTTP may come
    /// after that.
    ///
    /// # Cancel safety
    /// That of the service's future, which is dropped with it. The permit goes back.
    #[must_use = "futures do nothing unless polled"]
    pub struct BoundedFuture<F, P: PermitSource, A> {
        #[pin]
        state: State<F, P::Permit>,
        judge: P::Judge,
        answer: A,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProj]
    enum State<F, T> {
        Called { #[pin] response: F, permit: Option<T> },
        Denied { why: PermitError },
        Ended,
    }
}

impl<F, P, A, Res, E> Future for BoundedFuture<F, P, A>
where
    F: Future<Output = Result<Res, E>>,
    P: Learn<Res, E>,
    A: Answer<Res, E, PermitError>,
{
    type Output = Result<Res, A::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let output = match this.state.as_mut().project() {
            StateProj::Called { response, permit } => {
                // Out here it goes back at once if the call panics.
                let held = permit.take();
                let Poll::Ready(result) = response.poll(cx) else {
                    *permit = held;
                    return Poll::Pending;
                };
                if let Some(held) = held {
                    P::end(this.judge, held, &result);
                }
                result.map_err(A::inner)
            }
            StateProj::Denied { why } => this.answer.denied(*why),
            StateProj::Ended => return Poll::Pending,
        };
        this.state.set(State::Ended);
        Poll::Ready(output)
    }
}

impl<F, P: PermitSource, A> fmt::Debug for BoundedFuture<F, P, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = match &self.state {
            State::Denied { why } => Some(why),
            State::Called { .. } | State::Ended => None,
        };
        f.debug_struct("BoundedFuture")
            .field("denied", &denied)
            .finish_non_exhaustive()
    }
}
