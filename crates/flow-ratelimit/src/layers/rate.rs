//! A limit of rate in front of a service.
//!
//! # Readiness
//! 1. A service that says it is ready holds one token, or the denial that the call will answer with.
//! 2. A token that is held goes to the call, and once to the limiter if the service is dropped.
//! 3. A clone holds nothing, whatever its original does.

use core::fmt;
use core::mem;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use super::answer::{Answer, Fail, Respond, RespondWith};
#[cfg(feature = "http")]
use super::answer::{NoBody, ProblemJson};
use super::future::LimitedFuture;
use super::gate::{ByKey, OneLimit};
use super::key::WithoutKey;
use super::keyed::KeyedRateLimit;
use super::patience::{Bound, Ended, Patience};
use crate::error::Denied;
#[cfg(feature = "http")]
use crate::fields::Policy;
use crate::granted::Granted;
use crate::limiter::Limiter;
use crate::wait_state::WaitState;

/// Lets requests through to a service as a limiter says: one token each.
///
/// All services that come from a layer and its clones share the limiter, and so do clones of these.
///
/// | the limit | |
/// |---|---|
/// | [`new`](Self::new) | one [`Limiter`] for all requests, asked when the service is to be ready |
/// | [`keyed`](RateLimitLayer::keyed) | a limit for each key, asked in the call |
///
/// | who may not go | |
/// |---|---|
/// | at once | the default |
/// | [`wait`](Self::wait) | waits for the turn, as long as it takes |
/// | [`wait_up_to`](Self::wait_up_to) | waits for a while; is denied at once if that cannot suffice |
///
/// | and then gets | |
/// |---|---|
/// | a response of HTTP, with the feature `http` | the default: [`Respond`] |
/// | a response of your own | [`respond_with`](Self::respond_with) |
/// | an error | [`fail`](Self::fail): for services that are not HTTP |
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # flow_rt::sim::Sim::new(0).run(|_rt| async {
/// use flow_ratelimit::{LimitError, RateLimitLayer, TokenBucket};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let bucket = TokenBucket::builder().rate("1/s").burst(1).build()?;
/// let service = ServiceBuilder::new()
///     .layer(RateLimitLayer::new(&bucket).fail())
///     .service(service_fn(async |n: u32| Ok::<_, std::io::Error>(n + 1)));
///
/// assert_eq!(service.clone().oneshot(6).await?, 7);
/// let denied = service.oneshot(6).await.unwrap_err();
/// assert!(matches!(denied, LimitError::Denied(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?.output
/// # }
/// ```
///
/// # Several limits
/// Of layers one around the other, those outside have spent a token when one inside denies. So a
/// limit for each client belongs outside of one for all, or a client that asks too often spends
/// what is there for the others. (Outside is the first layer of a `ServiceBuilder`, and the last of
/// an axum `Router`.) Where a client shall not spend its own token either when the limit for all
/// denies, ask both at once:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # flow_rt::sim::Sim::new(0).run(|_rt| async {
/// use std::convert::Infallible;
/// use std::task::{Context, Poll};
/// use flow_ratelimit::{
///     Composite, Decide, DecideKey, Denied, Granted, KeyedLimiter, RateLimitLayer, TokenBucket,
///     WaitState,
/// };
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// #[derive(Clone)]
/// struct Both {
///     per_client: KeyedLimiter<u32>,
///     all: TokenBucket,
/// }
///
/// impl DecideKey<u32> for Both {
///     fn poll_decide_key(
///         &self,
///         cx: &mut Context<'_>,
///         client: &u32,
///         n: u64,
///         state: &mut WaitState,
///     ) -> Poll<Result<Granted, Denied>> {
///         Composite::new((self.per_client.key(client), &self.all)).poll_decide(cx, n, state)
///     }
/// }
///
/// let per_client = KeyedLimiter::new("1/h", 2, 100)?;
/// let both = Both { per_client, all: TokenBucket::new("1/h", 3)? };
/// let layer = RateLimitLayer::keyed(&both, |client: &u32| Some(*client)).fail();
/// let service = ServiceBuilder::new().layer(layer);
/// let service = service.service(service_fn(async |_| Ok::<_, Infallible>(())));
///
/// let mut admitted = Vec::new();
/// for client in [1, 1, 1, 2, 2] {
///     admitted.push(service.clone().oneshot(client).await.is_ok());
/// }
/// assert_eq!(admitted, [true, true, false, true, false]);
/// assert_eq!((both.per_client.available(&2), both.all.available()), (1, 0));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?.output
/// # }
/// ```
///
/// # While the server drains
/// Close the limiter, and all requests are denied from then on, also those that wait: with 503, or
/// an error that says [`Closed`](Denied::Closed).
///
/// # Waiting
/// Needs a runtime, as waiting for the limiter does. A service that waits holds its place in the
/// limiter's queue while it is not polled, and gives it up when it is dropped.
#[derive(Clone, Debug)]
pub struct RateLimitLayer<G, A = Respond> {
    gate: G,
    patience: Patience,
    answer: A,
}

impl<L: Limiter + Clone> RateLimitLayer<OneLimit<L>> {
    /// One limit for all requests.
    pub fn new(limiter: &L) -> Self {
        let limiter = limiter.clone();
        Self::of(OneLimit { limiter })
    }
}

impl<L: Clone, F> RateLimitLayer<ByKey<L, F>> {
    /// A limit for each key; `key` says which one a request has, if it has one.
    ///
    /// Of a [`KeyedLimiter`](crate::KeyedLimiter), or whatever else is a
    /// [`DecideKey`](crate::DecideKey) of such keys. With the feature `http`, see
    /// [`by_header`](crate::fields::by_header) and
    /// [`TrustedProxies`](crate::fields::TrustedProxies) for keys.
    ///
    /// Requests that [`wait`](Self::wait) stand in a line for each key, first in, first out: of a
    /// `KeyedLimiter`, whose keys are all of class 0 here unless a `DecideKey` says the class.
    /// Those for a decider that does not wait itself ask it again when it says that there will be a
    /// token, and of several that do one is faster.
    pub fn keyed<R, K>(limiter: &L, key: F) -> Self
    where
        F: Fn(&R) -> Option<K>,
    {
        let limiter = limiter.clone();
        Self::of(ByKey {
            limiter,
            key,
            without: WithoutKey::Deny,
        })
    }
}

impl<L, F, A> RateLimitLayer<ByKey<L, F>, A> {
    /// What becomes of requests without a key.
    pub fn without_key(mut self, without: WithoutKey) -> Self {
        self.gate.without = without;
        self
    }
}

impl<G> RateLimitLayer<G> {
    fn of(gate: G) -> Self {
        Self {
            gate,
            patience: Patience::Reject,
            answer: Respond::DEFAULT,
        }
    }
}

impl<G, A> RateLimitLayer<G, A> {
    /// Requests that may not go at once are denied. The default.
    pub fn reject(mut self) -> Self {
        self.patience = Patience::Reject;
        self
    }

    /// Requests wait for their turn, however long that takes.
    pub fn wait(mut self) -> Self {
        self.patience = Patience::Wait;
        self
    }

    /// Requests wait for their turn up to `limit`, and are denied at once if that cannot suffice.
    pub fn wait_up_to(mut self, limit: Duration) -> Self {
        self.patience = Patience::UpTo(limit);
        self
    }

    /// Denials are errors: [`LimitError`](crate::LimitError).
    pub fn fail(self) -> RateLimitLayer<G, Fail> {
        self.answering(Fail)
    }

    /// Denials are responses that `respond` makes of them, so that the service fails no more than
    /// the one in it does.
    pub fn respond_with<F, Res>(self, respond: F) -> RateLimitLayer<G, RespondWith<F>>
    where
        F: Fn(&Denied) -> Res + Clone,
    {
        self.answering(RespondWith(respond))
    }

    fn answering<T>(self, answer: T) -> RateLimitLayer<G, T> {
        RateLimitLayer {
            gate: self.gate,
            patience: self.patience,
            answer,
        }
    }
}

#[cfg(feature = "http")]
impl<G, B> RateLimitLayer<G, Respond<B>> {
    /// Tells clients of the policy, by name: the field `RateLimit-Policy` in all responses. Layers
    /// one around the other should have names that differ.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.answer.change(|fields| fields.policy(policy));
        self
    }

    /// Adds the fields `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`, for
    /// clients that know no others.
    pub fn legacy_fields(mut self) -> Self {
        self.answer.change(crate::fields::Fields::legacy);
        self
    }
}

#[cfg(feature = "http")]
impl<G> RateLimitLayer<G, Respond<NoBody>> {
    /// Gives denials a body: a problem in JSON, by RFC 9457.
    pub fn problem_json(self) -> RateLimitLayer<G, Respond<ProblemJson>> {
        RateLimitLayer {
            gate: self.gate,
            patience: self.patience,
            answer: self.answer.with_body(),
        }
    }
}

impl<S, L: Limiter + Clone, A: Clone> Layer<S> for RateLimitLayer<OneLimit<L>, A> {
    type Service = RateLimit<S, L, A>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit {
            inner,
            reserved: Reserved::new(&self.gate.limiter),
            patience: self.patience,
            answer: self.answer.clone(),
        }
    }
}

impl<S, L: Clone, F: Clone, A: Clone> Layer<S> for RateLimitLayer<ByKey<L, F>, A> {
    type Service = KeyedRateLimit<S, L, F, A>;

    fn layer(&self, inner: S) -> Self::Service {
        KeyedRateLimit::new(inner, self.gate.clone(), self.patience, self.answer.clone())
    }
}

/// A service behind one limit of rate: see [`RateLimitLayer::new`].
///
/// It takes its token when it is asked whether it is ready, and gives it back if it is dropped
/// without having been called. A clone has no token yet.
pub struct RateLimit<S, L: Limiter, A> {
    inner: S,
    reserved: Reserved<L>,
    patience: Patience,
    answer: A,
}

impl<S, L, A, R> Service<R> for RateLimit<S, L, A>
where
    S: Service<R>,
    L: Limiter + Clone,
    A: Answer<S::Response, S::Error, Denied>,
{
    type Response = S::Response;
    type Error = A::Error;
    type Future = LimitedFuture<S::Future, A>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if ready!(self.reserved.poll(cx, self.patience)) {
            self.inner.poll_ready(cx).map_err(A::inner)
        } else {
            // The service is not needed to say no.
            Poll::Ready(Ok(()))
        }
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        let answer = self.answer.clone();
        match self.reserved.take() {
            Ok(granted) => LimitedFuture::called(self.inner.call(request), granted, answer),
            Err(why) => LimitedFuture::denied(why, answer),
        }
    }
}

impl<S: Clone, L: Limiter + Clone, A: Clone> Clone for RateLimit<S, L, A> {
    /// A service behind the same limit, with no token yet.
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            reserved: Reserved::new(&self.reserved.limiter),
            patience: self.patience,
            answer: self.answer.clone(),
        }
    }
}

impl<S: fmt::Debug, L: Limiter, A> fmt::Debug for RateLimit<S, L, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("inner", &self.inner)
            .field("reserved", &self.reserved.held)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// A limiter, and what it has said ahead of the call.
struct Reserved<L: Limiter> {
    limiter: L,
    held: Held,
}

enum Held {
    Nothing,
    Waits(Box<Wait>),
    Token(Granted),
    Denial(Denied),
}

struct Wait {
    state: WaitState,
    end: Bound,
}

impl<L: Limiter + Clone> Reserved<L> {
    fn new(limiter: &L) -> Self {
        Self {
            limiter: limiter.clone(),
            held: Held::Nothing,
        }
    }

    /// Whether there is a token for the call; if not, there is a denial.
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>, patience: Patience) -> Poll<bool> {
        match self.held {
            Held::Token(_) => return Poll::Ready(true),
            // A denial that nobody has called for is of a moment that has passed.
            Held::Denial(_) | Held::Nothing if patience == Patience::Reject => {
                let now = self.limiter.try_acquire_n(1);
                self.held = now.map_or_else(Held::Denial, Held::Token);
            }
            _ => ready!(self.poll_wait(cx, patience)),
        }
        Poll::Ready(matches!(self.held, Held::Token(_)))
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>, patience: Patience) -> Poll<()> {
        let wait = match &mut self.held {
            Held::Waits(wait) => wait,
            held => {
                let state = patience
                    .limit()
                    .map_or_else(WaitState::new, WaitState::with_limit);
                let end = Bound::new(patience);
                *held = Held::Waits(Box::new(Wait { state, end }));
                return self.poll_wait(cx, patience);
            }
        };
        let mut polled = self.limiter.poll_acquire_n(cx, 1, &mut wait.state);
        if polled.is_pending() {
            let state = &wait.state;
            let ended = ready!(wait.end.poll_end(cx, || state.runtime_or_current()));
            wait.state.hurry();
            // The token may have come at this very instant: then it is the answer.
            polled = self.limiter.poll_acquire_n(cx, 1, &mut wait.state);
            if polled.is_pending() {
                wait.state.leave();
                let now = match ended {
                    // Not the time that it has waited: when there will be a token, from now on.
                    Ended::InTime(_) => self.limiter.try_acquire_n(1),
                    Ended::NoRuntime(_) | Ended::Stopped(_) => Err(Denied::NoRuntime),
                };
                self.held = now.map_or_else(Held::Denial, Held::Token);
                return Poll::Ready(());
            }
        }
        self.held = match ready!(polled) {
            Ok(granted) => Held::Token(granted),
            Err(why) => Held::Denial(why.into()),
        };
        Poll::Ready(())
    }

    /// What is held, for the call. A call that nobody was ready for gets what there is now.
    #[inline]
    fn take(&mut self) -> Result<Granted, Denied> {
        match mem::replace(&mut self.held, Held::Nothing) {
            Held::Token(granted) => Ok(granted),
            Held::Denial(why) => Err(why),
            Held::Nothing => self.limiter.try_acquire_n(1),
            Held::Waits(wait) => {
                // Its place, or the token that has come to it, would be in the way.
                drop(wait);
                self.limiter.try_acquire_n(1)
            }
        }
    }
}

impl<L: Limiter> Drop for Reserved<L> {
    fn drop(&mut self) {
        // Where there was no limit nothing was taken.
        if let Held::Token(granted) = &self.held
            && !granted.is_free()
        {
            self.limiter.refund(1);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Waits(_) => f.write_str("Waits"),
            Self::Token(granted) => granted.fmt(f),
            Self::Denial(why) => why.fmt(f),
        }
    }
}
