//! The layers that put a service behind permits.

use core::fmt;
use core::time::Duration;

use flow_rt::{Clock, DefaultClock};
use tower_layer::Layer;

use super::super::answer::{Fail, Respond, RespondWith};
#[cfg(feature = "http")]
use super::super::answer::{NoBody, ProblemJson};
use super::super::patience::Patience;
use super::Bounded;
#[cfg(feature = "http")]
use super::source::ByStatus;
use super::source::{ByResult, Judged, Learning};
use crate::adaptive::AdaptiveLimiter;
use crate::circuit_breaker::Verdict;
use crate::concurrency::{ConcurrencyLimiter, PermitError};

/// Lets so many requests be under way at once as a [`ConcurrencyLimiter`] has permits.
///
/// All services that come from a layer and its clones share the limiter, and so do clones of these.
/// Who finds no permit waits, first in, first out; [`wait_up_to`](Self::wait_up_to) and
/// [`reject`](Self::reject) say otherwise. (Limits of rate [reject](crate::RateLimitLayer) unless
/// told otherwise: a permit comes back when a request ends, which is soon.) Denials are
/// [`PermitError`]s, in HTTP the status 503.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::{ConcurrencyLayer, ConcurrencyLimiter};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let limiter = ConcurrencyLimiter::new(1)?;
/// let service = ServiceBuilder::new()
///     .layer(ConcurrencyLayer::new(&limiter).reject().fail())
///     .service(service_fn(async |n: u32| Ok::<_, std::io::Error>(n + 1)));
///
/// let permit = limiter.try_acquire()?;
/// let denied = flow_rt::block_on(service.clone().oneshot(6))?.unwrap_err();
/// assert!(denied.is_busy());
/// drop(permit);
/// assert_eq!(flow_rt::block_on(service.oneshot(6))??, 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer<A = Respond> {
    limiter: ConcurrencyLimiter,
    patience: Patience,
    answer: A,
}

impl ConcurrencyLayer {
    /// So many at once as the limiter has permits.
    pub fn new(limiter: &ConcurrencyLimiter) -> Self {
        Self {
            limiter: limiter.clone(),
            patience: Patience::Wait,
            answer: Respond::DEFAULT,
        }
    }
}

impl<A> ConcurrencyLayer<A> {
    fn answering<T>(self, answer: T) -> ConcurrencyLayer<T> {
        ConcurrencyLayer {
            limiter: self.limiter,
            patience: self.patience,
            answer,
        }
    }
}

impl<S, A: Clone> Layer<S> for ConcurrencyLayer<A> {
    type Service = Bounded<S, ConcurrencyLimiter, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Bounded::new(
            inner,
            self.limiter.clone(),
            self.patience,
            self.answer.clone(),
        )
    }
}

/// Lets so many requests be under way at once as an [`AdaptiveLimiter`] finds good, and tells it how
/// they went.
///
/// All else is as in a [`ConcurrencyLayer`].
///
/// | who says how it went | |
/// |---|---|
/// | [`ByResult`] | the default: an error is a failure |
/// | [`by_status`](Self::by_status) | the status of a response of HTTP, too |
/// | [`judge`](Self::judge) | a closure of your own |
///
/// A request whose future is dropped says nothing. The latency begins when the service is ready:
/// call it then.
pub struct AdaptiveLayer<C = DefaultClock, J = ByResult, A = Respond> {
    limiter: AdaptiveLimiter<C>,
    judge: J,
    patience: Patience,
    answer: A,
}

impl<C> AdaptiveLayer<C> {
    /// So many at once as the limiter finds good.
    pub fn new(limiter: &AdaptiveLimiter<C>) -> Self {
        Self {
            limiter: limiter.clone(),
            judge: ByResult,
            patience: Patience::Wait,
            answer: Respond::DEFAULT,
        }
    }
}

impl<C, J, A> AdaptiveLayer<C, J, A> {
    /// `verdict` says how it went.
    pub fn judge<F, Res, E>(self, verdict: F) -> AdaptiveLayer<C, Judged<F>, A>
    where
        F: Fn(&Result<Res, E>) -> Verdict + Clone,
    {
        self.judged(Judged(verdict))
    }

    /// The status of a response says how it went.
    #[cfg(feature = "http")]
    pub fn by_status(self) -> AdaptiveLayer<C, ByStatus, A> {
        self.judged(ByStatus)
    }

    fn judged<T>(self, judge: T) -> AdaptiveLayer<C, T, A> {
        AdaptiveLayer {
            limiter: self.limiter,
            judge,
            patience: self.patience,
            answer: self.answer,
        }
    }

    fn answering<T>(self, answer: T) -> AdaptiveLayer<C, J, T> {
        AdaptiveLayer {
            limiter: self.limiter,
            judge: self.judge,
            patience: self.patience,
            answer,
        }
    }
}

impl<S, C: Clock + 'static, J: Clone, A: Clone> Layer<S> for AdaptiveLayer<C, J, A> {
    type Service = Bounded<S, Learning<C, J>, A>;

    fn layer(&self, inner: S) -> Self::Service {
        let source = Learning {
            limiter: self.limiter.clone(),
            judge: self.judge.clone(),
        };
        Bounded::new(inner, source, self.patience, self.answer.clone())
    }
}

impl<C, J: Clone, A: Clone> Clone for AdaptiveLayer<C, J, A> {
    /// Another layer of the same limiter.
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            judge: self.judge.clone(),
            patience: self.patience,
            answer: self.answer.clone(),
        }
    }
}

impl<C, J, A> fmt::Debug for AdaptiveLayer<C, J, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLayer")
            .field("limiter", &self.limiter)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

macro_rules! patience_and_answers {
    ($layer:ident $(, $own:ident)*) => {
        impl<$($own,)* A> $layer<$($own,)* A> {
            /// Requests that find no permit are denied.
            pub fn reject(mut self) -> Self {
                self.patience = Patience::Reject;
                self
            }

            /// Requests wait for a permit, however long that takes. The default.
            pub fn wait(mut self) -> Self {
                self.patience = Patience::Wait;
                self
            }

            /// Requests wait for a permit up to `limit`, and then are denied.
            pub fn wait_up_to(mut self, limit: Duration) -> Self {
                self.patience = Patience::UpTo(limit);
                self
            }

            /// Denials are errors: [`LimitError`](crate::LimitError).
            pub fn fail(self) -> $layer<$($own,)* Fail> {
                self.answering(Fail)
            }

            /// Denials are responses that `respond` makes of them, so that the service fails no
            /// more than the one in it does.
            pub fn respond_with<F, Res>(self, respond: F) -> $layer<$($own,)* RespondWith<F>>
            where
                F: Fn(&PermitError) -> Res + Clone,
            {
                self.answering(RespondWith(respond))
            }
        }

        #[cfg(feature = "http")]
        impl<$($own),*> $layer<$($own,)* Respond<NoBody>> {
            /// Gives denials a body: a problem in JSON, by RFC 9457.
            pub fn problem_json(self) -> $layer<$($own,)* Respond<ProblemJson>> {
                let answer = self.answer.clone().with_body();
                self.answering(answer)
            }
        }
    };
}

patience_and_answers!(ConcurrencyLayer);
patience_and_answers!(AdaptiveLayer, C, J);
