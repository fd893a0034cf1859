//! A circuit breaker in front of a service.

use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};

use flow_rt::{Clock, DefaultClock};
use tower_layer::Layer;
use tower_service::Service;

use super::answer::{Answer, Fail, Respond, RespondWith};
#[cfg(feature = "http")]
use super::answer::{NoBody, ProblemJson};
#[cfg(feature = "http")]
use super::permits::ByStatus;
use super::permits::{ByResult, Judge, Judged};
use crate::circuit_breaker::{CallError, CallRejected, CircuitBreaker, Verdict};

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
/// That of [`CircuitBreaker::call`], a clone of the service, and a box.
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
/// It asks the breaker when the future of a call is first polled, so that a trial begins when its
/// call does.
pub struct CircuitBroken<S, C, J, A> {
    inner: S,
    with: CircuitBreakerLayer<C, J, A>,
}

impl<S, C, J, A, R> Service<R> for CircuitBroken<S, C, J, A>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
    C: Clock + 'static,
    J: Judge<S::Response, S::Error> + Clone + Send + Sync + 'static,
    A: Answer<S::Response, S::Error, CallRejected> + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = A::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, A::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(A::inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The one that is ready goes with the request, its clone takes its place.
        let clone = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, clone);
        let with = self.with.clone();
        Box::pin(async move {
            let calls = with.breaker.classify(|result| with.judge.verdict(result));
            match calls.call(|| service.call(request)).await {
                Ok(response) => Ok(response),
                Err(CallError::Inner(error)) => Err(A::inner(error)),
                Err(CallError::Rejected(why)) => with.answer.denied(why),
            }
        })
    }
}

impl<S: Clone, C, J: Clone, A: Clone> Clone for CircuitBroken<S, C, J, A> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            with: self.with.clone(),
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
