//! Who decides about a key.

use core::hash::Hash;
use core::task::{Context, Poll};
use core::time::Duration;

use flow_rt::Clock;

use crate::error::Denied;
use crate::granted::Granted;
use crate::keyed::{Finds, KeyedLimiter};
use crate::limiter::Limiter;
use crate::wait_state::WaitState;

/// Whoever says who may go, by a key: what [`RateLimitLayer::keyed`] asks.
///
/// A [`KeyedLimiter`] does, with its class 0. Limiters that ask a server implement it as
/// [`Decide`](crate::Decide) shows. Those that choose among several by what is in the key ask the
/// one that they choose by its [`poll_decide`](crate::Decide::poll_decide): here a
/// [class](KeyedLimiter::class) for each plan.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # flow_rt::sim::Sim::new(0).run(|_rt| async {
/// use std::convert::Infallible;
/// use std::task::{Context, Poll};
/// use flow_ratelimit::{
///     Decide, DecideKey, Denied, Granted, KeyedLimiter, RateLimitLayer, WaitState,
/// };
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// #[derive(Clone)]
/// struct ByPlan(KeyedLimiter<str>);
///
/// /// The class of a client's plan, and its name.
/// type Client = (usize, String);
///
/// impl DecideKey<Client> for ByPlan {
///     fn poll_decide_key(
///         &self,
///         cx: &mut Context<'_>,
///         (plan, name): &Client,
///         n: u64,
///         state: &mut WaitState,
///     ) -> Poll<Result<Granted, Denied>> {
///         match self.0.class(*plan) {
///             Ok(class) => class.key(name.as_str()).poll_decide(cx, n, state),
///             Err(_) => Poll::Ready(Err(Denied::NoKey)),
///         }
///     }
/// }
///
/// let plans = KeyedLimiter::builder().rate("60/min burst 1").classes(["600/min burst 2"]);
/// let limiter = ByPlan(plans.max_keys(10_000).build()?);
/// let layer = RateLimitLayer::keyed(&limiter, |client: &Client| Some(client.clone())).fail();
/// let service = ServiceBuilder::new().layer(layer);
/// let service = service.service(service_fn(async |_| Ok::<_, Infallible>(())));
///
/// let mut admitted = Vec::new();
/// for (plan, name) in [(0, "anna"), (0, "anna"), (1, "ben"), (1, "ben"), (1, "ben"), (2, "eve")] {
///     let client = (plan, name.to_owned());
///     admitted.push(service.clone().oneshot(client).await.is_ok());
/// }
/// assert_eq!(admitted, [true, false, true, true, false, false]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?.output
/// # }
/// ```
///
/// [`RateLimitLayer::keyed`]: crate::RateLimitLayer::keyed
pub trait DecideKey<K: ?Sized>: Send + Sync {
    /// Decides about `n` tokens of a key, now or later; pending while it waits, with the wait in
    /// `state`. Poll again with the same key, `n` and `state`.
    ///
    /// A wait that would be longer than the [limit](WaitState::limit) of `state` is refused, so that
    /// nobody waits if that is zero. It need not wait itself: a layer that waits asks again when
    /// [`Denied::NotYet`] says so.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then, as far as this process knows.
    ///
    /// # Cancel safety
    /// Dropping `state` ends the wait. With it goes a question that a server has not answered: if
    /// the answer would have been yes, the server's token is lost. A layer drops one when the
    /// request is dropped, and when the patience is at its end. One who waited in a line here is
    /// then asked for once more, with no time to wait; if the decider has somebody else to ask
    /// after that, the question is dropped as soon as it was asked.
    fn poll_decide_key(
        &self,
        cx: &mut Context<'_>,
        key: &K,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, Denied>>;
}

/// Waits in the key's line, first in, first out.
impl<K, C, S> DecideKey<K> for KeyedLimiter<K, C, S>
where
    K: Hash + Send + Sync + ?Sized,
    C: Clock + 'static,
    S: Finds<K>,
{
    fn poll_decide_key(
        &self,
        cx: &mut Context<'_>,
        key: &K,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, Denied>> {
        if state.limit() == Some(Duration::ZERO) {
            // Neither a runtime nor the lock of those who wait is needed to say no.
            return Poll::Ready(self.try_acquire_n(key, n));
        }
        let polled = self.key(key).poll_acquire_n(cx, n, state);
        polled.map(|result| result.map_err(Denied::from))
    }
}

/// What becomes of a request that has no key: one without the header, or of which nobody can say
/// where it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WithoutKey {
    /// It is answered with [`Denied::NoKey`].
    #[default]
    Deny,
    /// It passes, and no limit hears of it: for layers that are about some requests only, with
    /// another limit for the others. A client that can keep the closure from finding a key is not
    /// limited at all, so let it say a key of every request that the layer is about.
    Admit,
}
