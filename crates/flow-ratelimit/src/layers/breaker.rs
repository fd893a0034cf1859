//! A circuit breaker in front of a service.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use flow_rt::{Clock, DefaultClock};
use tower_layer::Layer;
use tower_service::Service;

use super::answer::{Answer, Fail, Respond, RespondWith};
#[cfg(feature = "http")]
use super::answer::{NoBody, ProblemJson};
#[cfg(feature = "http")]
use super::permits::ByStatus;
use super::permits::{ByResult, Judge, Judged};
use crate::circuit_breaker::{CallRejected, CircuitBreaker, OwnedCallPermit, Verdict};

/// Keeps requests from a service that fails, as a [`CircuitBreaker`] says, and tells it how they went.
///
/// All services that come from a layer and its clones share the breaker, and so do clones of these.
/// Denials are [`CallRejected`], in HTTP the status 503 and `Retry-After`.
///
/// | who says how it went | |
/// |---|---|
/// | [`ByResult`] | the default: an error is a failure |
/// | [`by_status`](Self::by_status) | the status of a response of HTTP, too |
/// | [`judge`](Self::judge) | a closure of your own |
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io;
/// use flow_ratelimit::{CircuitBreaker, CircuitBreakerLayer, LimitError};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let breaker = CircuitBreaker::builder().minimum_calls(1).build()?;
/// let service = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(&breaker).fail())
///     .service(service_fn(async |_: u32| Err::<(), _>(io::Error::other("down"))));
///
/// let failed = flow_rt::block_on(service.clone().oneshot(6))?.unwrap_err();
/// assert!(matches!(failed, LimitError::Inner(_)));
/// let rejected = flow_rt::block_on(service.oneshot(6))?.unwrap_err();
/// assert!(rejected.retry_after().is_some());
/// # Ok(())
/// # }
/// ```
///
/// # Cost
/// That of [`CircuitBreaker::try_acquire_owned`] and of its permit, and clones of the judge and the
/// answer.
pub struct CircuitBreakerLayer<C = DefaultClock, J = ByResult, A = Respond> {
    breaker: CircuitBreaker<C>,
    judge: J,
    answer: A,
}

impl<C> CircuitBreakerLayer<C> {
    /// Through this breaker.
    pub fn new(breaker: &CircuitBreaker<C>) -> Self {
        Self {
            breaker: breaker.clone(),
            judge: ByResult,
            answer: Respond::DEFAULT,
        }
    }
}

impl<C, J, A> CircuitBreakerLayer<C, J, A> {
    /// `verdict` says how it went.
    pub fn judge<F, Res, E>(self, verdict: F) -> CircuitBreakerLayer<C, Judged<F>, A>
    where
        F: Fn(&Result<Res, E>) -> Verdict + Clone,
    {
        self.judged(Judged(verdict))
    }

    /// The status of a response says how it went.
    #[cfg(feature = "http")]
    pub fn by_status(self) -> CircuitBreakerLayer<C, ByStatus, A> {
        self.judged(ByStatus)
    }

    /// Denials are errors: [`LimitError`](crate::LimitError).
    pub fn fail(self) -> CircuitBreakerLayer<C, J, Fail> {
        self.answering(Fail)
    }

    /// Denials are responses that `respond` makes of them, so that the service fails no more than
    /// the one in it does.
    pub fn respond_with<F, Res>(self, respond: F) -> CircuitBreakerLayer<C, J, RespondWith<F>>
    where
        F: Fn(&CallRejected) -> Res + Clone,
    {
        self.answering(RespondWith(respond))
    }

    fn judged<T>(self, judge: T) -> CircuitBreakerLayer<C, T, A> {
        CircuitBreakerLayer {
            breaker: self.breaker,
            judge,
            answer: self.answer,
        }
    }

    fn answering<T>(self, answer: T) -> CircuitBreakerLayer<C, J, T> {
        CircuitBreakerLayer {
            breaker: self.breaker,
            judge: self.judge,
            answer,
        }
    }
}

#[cfg(feature = "http")]
impl<C, J> CircuitBreakerLayer<C, J, Respond<NoBody>> {
    /// Gives denials a body: a problem in JSON, by RFC 9457.
    pub fn problem_json(self) -> CircuitBreakerLayer<C, J, Respond<ProblemJson>> {
        let answer = self.answer.clone().with_body();
        self.answering(answer)
    }
}

impl<S, C, J: Clone, A: Clone> Layer<S> for CircuitBreakerLayer<C, J, A> {
    type Service = CircuitBroken<S, C, J, A>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBroken {
            inner,
            with: self.clone(),
            shut: None,
        }
    }
}

impl<C, J: Clone, A: Clone> Clone for CircuitBreakerLayer<C, J, A> {
    /// Another layer of the same breaker.
    fn clone(&self) -> Self {
        Self {
            breaker: self.breaker.clone(),
            judge: self.judge.clone(),
            answer: self.answer.clone(),
        }
    }
}

impl<C, J, A> fmt::Debug for CircuitBreakerLayer<C, J, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

/// A service behind a circuit breaker: see [`CircuitBreakerLayer`].
///
/// It asks the breaker in the call, so that a trial begins when its call does, and a service that is
/// only ready keeps no place from others. A call that is rejected leaves the service that was ready to
/// the next one.
///
/// While the breaker is open it is ready to say no, and the service behind it is not asked whether it
/// is: one that is down may never be. One that fails to be ready is judged like a call that failed;
/// how long it takes to be ready is no part of a call.
pub struct CircuitBroken<S, C, J, A> {
    inner: S,
    with: CircuitBreakerLayer<C, J, A>,
    /// What the call will answer with: it was ready for that, and the service was not asked.
    shut: Option<CallRejected>,
}

impl<S, C, J, A, R> Service<R> for CircuitBroken<S, C, J, A>
where
    S: Service<R>,
    C: Clock,
    J: Judge<S::Response, S::Error> + Clone,
    A: Answer<S::Response, S::Error, CallRejected>,
{
    type Response = S::Response;
    type Error = A::Error;
    type Future = BrokenFuture<S::Future, C, J, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // One that nobody has called for is of a moment that has passed.
        self.shut = self.with.breaker.shut();
        if self.shut.is_some() {
            // The service is not needed to say no.
            return Poll::Ready(Ok(()));
        }
        let Err(error) = ready!(self.inner.poll_ready(cx)) else {
            return Poll::Ready(Ok(()));
        };
        let failed = Err(error);
        let verdict = self.with.judge.verdict(&failed);
        if let Ok(permit) = self.with.breaker.try_acquire() {
            permit.finish(verdict);
        }
        Poll::Ready(failed.map(drop).map_err(A::inner))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let entered = match self.shut.take() {
            None => self.with.breaker.try_acquire_owned(),
            Some(why) => {
                self.with.breaker.count_rejected();
                Err(why)
            }
        };
        let state = match entered {
            // The permit is there before the call: if that panics it has failed.
            Ok(permit) => State::Called {
                response: self.inner.call(request),
                permit: Some(permit),
            },
            Err(why) => State::Denied { why },
        };
        BrokenFuture {
            state,
            judge: self.with.judge.clone(),
            answer: self.with.answer.clone(),
        }
    }
}

impl<S: Clone, C, J: Clone, A: Clone> Clone for CircuitBroken<S, C, J, A> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            with: self.with.clone(),
            shut: None,
        }
    }
}

impl<S: fmt::Debug, C, J, A> fmt::Debug for CircuitBroken<S, C, J, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBroken")
            .field("inner", &self.inner)
            .field("breaker", &self.with.breaker)
            .finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    /// The response through a [`CircuitBroken`].
    ///
    /// # Cancel safety
    /// That of the service's future, which is dropped with it. The call is ignored then, or a failure
    /// if the breaker was built [so](crate::CircuitBreakerBuilder::dropped_fails); a trial gives its
    /// place back.
    #[must_use = "futures do nothing unless polled"]
    pub struct BrokenFuture<F, C: Clock, J, A> {
        #[pin]
        state: State<F, C>,
        judge: J,
        answer: A,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProj]
    enum State<F, C: Clock> {
        Called { #[pin] response: F, permit: Option<OwnedCallPermit<C>> },
        Denied { why: CallRejected },
        Ended,
    }
}

impl<F, C, J, A, Res, E> Future for BrokenFuture<F, C, J, A>
where
    F: Future<Output = Result<Res, E>>,
    C: Clock,
    J: Judge<Res, E>,
    A: Answer<Res, E, CallRejected>,
{
    type Output = Result<Res, A::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let output = match this.state.as_mut().project() {
            StateProj::Called { response, permit } => {
                // Out here it is dropped by a panic, of the call or the judge, which is a failure.
                let held = permit.take();
                let Poll::Ready(result) = response.poll(cx) else {
                    *permit = held;
                    return Poll::Pending;
                };
                if let Some(held) = held {
                    held.finish(this.judge.verdict(&result));
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

impl<F, C: Clock, J, A> fmt::Debug for BrokenFuture<F, C, J, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = match &self.state {
            State::Denied { why } => Some(why),
            State::Called { .. } | State::Ended => None,
        };
        f.debug_struct("BrokenFuture")
            .field("denied", &denied)
            .finish_non_exhaustive()
    }
}
