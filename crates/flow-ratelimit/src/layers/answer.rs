//! What those hear who may not go: an error, or a response.

use core::fmt;
#[cfg(feature = "http")]
use core::marker::PhantomData;

use super::error::LimitError;
use super::sealed::Sealed;
use crate::granted::Granted;

#[cfg(feature = "http")]
pub use respond::{NoBody, ProblemJson, Refusal};

#[cfg(feature = "http")]
mod respond;

/// How a layer answers requests that it does not let through; and what it adds to the responses of
/// the others. Implemented by [`Fail`], [`RespondWith`] and [`Respond`].
pub trait Answer<Res, E, D>: Clone + Sealed {
    /// What the layered service fails with.
    type Error;

    /// The answer to a request that was not let through.
    ///
    /// # Errors
    /// If that is the answer.
    fn denied(&self, why: D) -> Result<Res, Self::Error>;

    /// The service's own error.
    fn inner(error: E) -> Self::Error;

    /// A response to a request that was let through by a limit of rate.
    #[inline]
    fn granted(&self, _granted: &Granted, _response: &mut Res) {}
}

/// Answers with [`LimitError`]: for services of any kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fail;

impl Sealed for Fail {}

impl<Res, E, D> Answer<Res, E, D> for Fail {
    type Error = LimitError<E, D>;

    #[inline]
    fn denied(&self, why: D) -> Result<Res, Self::Error> {
        Err(LimitError::Denied(why))
    }

    #[inline]
    fn inner(error: E) -> Self::Error {
        LimitError::Inner(error)
    }
}

/// Answers with what a closure makes of the denial; see
/// [`respond_with`](crate::RateLimitLayer::respond_with).
#[derive(Clone, Copy)]
pub struct RespondWith<F>(pub(super) F);

impl<F> Sealed for RespondWith<F> {}

impl<Res, E, D, F: Fn(&D) -> Res + Clone> Answer<Res, E, D> for RespondWith<F> {
    type Error = E;

    #[inline]
    fn denied(&self, why: D) -> Result<Res, E> {
        Ok((self.0)(&why))
    }

    #[inline]
    fn inner(error: E) -> E {
        error
    }
}

impl<F> fmt::Debug for RespondWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespondWith").finish_non_exhaustive()
    }
}

/// Answers with a response of HTTP: 429 or 503, `Retry-After`, and the fields of
/// [`fields`](crate::fields). It is what a layer does that is not told otherwise, and needs the
/// feature `http`; without that call `fail` or `respond_with` on the layer.
#[cfg(feature = "http")]
pub struct Respond<B = NoBody> {
    fields: Option<std::sync::Arc<crate::fields::Fields>>,
    body: PhantomData<fn() -> B>,
}

/// Answers with a response of HTTP, which needs the feature `http`: without that call `fail` or
/// `respond_with` on the layer.
#[cfg(not(feature = "http"))]
#[derive(Clone, Copy, Debug)]
pub struct Respond(());

#[cfg(not(feature = "http"))]
impl Respond {
    pub(super) const DEFAULT: Self = Self(());
}
