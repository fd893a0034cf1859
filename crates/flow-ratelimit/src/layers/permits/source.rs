//! Where permits come from, and what they are told when a response is there.

use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use flow_rt::{Clock, Handle, HandleError};

use super::super::sealed::Sealed;
use crate::adaptive::{AdaptiveLimiter, AdaptiveOwnedPermit, AdaptivePermit};
use crate::circuit_breaker::Verdict;
use crate::concurrency::{
    AcquireOwnedPermit, ConcurrencyLimiter, OwnedPermit, Permit, PermitError,
};

/// Where a [`Bounded`](crate::Bounded) service has its permits from: a [`ConcurrencyLimiter`], or an
/// [`AdaptiveLimiter`] that [learns](Learning).
pub trait PermitSource: Clone + Sealed {
    /// What is held while a request is under way.
    type Permit;
    /// Who says how it went.
    type Judge: Clone;
    /// Waits for one.
    type Acquire: Future<Output = Result<Self::Permit, PermitError>> + Unpin;

    /// A permit, if one is free.
    ///
    /// # Errors
    /// [`PermitError`]; nothing was taken then.
    fn try_now(&self) -> Result<Self::Permit, PermitError>;

    /// A permit, or why there will be none, if that is known at once; nobody waits for it yet.
    fn poll_now(&self, cx: &mut Context<'_>) -> Poll<Result<Self::Permit, PermitError>>;

    /// Waits for a permit, first in, first out.
    fn acquire(&self) -> Self::Acquire;

    /// Whose timers bound a wait.
    ///
    /// # Errors
    /// There is no runtime.
    fn runtime(&self) -> Result<Handle, HandleError>;

    /// The service is ready, after the permit was taken.
    fn readied(permit: &mut Self::Permit);

    /// Who says how it went.
    fn judge(&self) -> Self::Judge;
}

/// A source that hears how requests went.
pub trait Learn<Res, E>: PermitSource {
    fn end(judge: &Self::Judge, permit: Self::Permit, result: &Result<Res, E>);
}

impl Sealed for ConcurrencyLimiter {}

impl PermitSource for ConcurrencyLimiter {
    type Permit = OwnedPermit;
    type Judge = ();
    type Acquire = AcquireOwnedPermit;

    fn try_now(&self) -> Result<OwnedPermit, PermitError> {
        self.try_acquire_owned().map_err(PermitError::from)
    }

    fn poll_now(&self, cx: &mut Context<'_>) -> Poll<Result<OwnedPermit, PermitError>> {
        let polled = pin!(Self::acquire(self)).poll(cx);
        polled.map_ok(Permit::into_owned)
    }

    fn acquire(&self) -> AcquireOwnedPermit {
        self.acquire_owned()
    }

    fn runtime(&self) -> Result<Handle, HandleError> {
        Self::runtime(self)
    }

    fn readied(_: &mut OwnedPermit) {}

    fn judge(&self) {}
}

impl<Res, E> Learn<Res, E> for ConcurrencyLimiter {
    fn end((): &(), permit: OwnedPermit, _: &Result<Res, E>) {
        drop(permit);
    }
}

/// An [`AdaptiveLimiter`], and what judges results for it.
pub struct Learning<C, J> {
    pub(super) limiter: AdaptiveLimiter<C>,
    pub(super) judge: J,
}

impl<C, J: Clone> Clone for Learning<C, J> {
    fn clone(&self) -> Self {
        Self {
            limiter: self.limiter.clone(),
            judge: self.judge.clone(),
        }
    }
}

impl<C, J> Sealed for Learning<C, J> {}

impl<C: Clock + 'static, J: Clone> PermitSource for Learning<C, J> {
    type Permit = AdaptiveOwnedPermit<C>;
    type Judge = J;
    type Acquire = Pin<Box<dyn Future<Output = Result<Self::Permit, PermitError>> + Send>>;

    fn try_now(&self) -> Result<Self::Permit, PermitError> {
        self.limiter.try_acquire_owned().map_err(PermitError::from)
    }

    fn poll_now(&self, cx: &mut Context<'_>) -> Poll<Result<Self::Permit, PermitError>> {
        let polled = pin!(self.limiter.acquire()).poll(cx);
        polled.map_ok(AdaptivePermit::into_owned)
    }

    fn acquire(&self) -> Self::Acquire {
        Box::pin(self.limiter.acquire_owned())
    }

    fn runtime(&self) -> Result<Handle, HandleError> {
        self.limiter.runtime()
    }

    fn readied(permit: &mut Self::Permit) {
        permit.begin_anew();
    }

    fn judge(&self) -> J {
        self.judge.clone()
    }
}

impl<C: Clock + 'static, J: Judge<Res, E> + Clone, Res, E> Learn<Res, E> for Learning<C, J> {
    fn end(judge: &J, permit: Self::Permit, result: &Result<Res, E>) {
        match judge.verdict(result) {
            Verdict::Success => permit.success(),
            Verdict::Failure => permit.failure(),
            Verdict::Ignored => permit.ignore(),
        }
    }
}

impl<C, J> fmt::Debug for Learning<C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Learning").field(&self.limiter).finish()
    }
}

/// Who says what a result means for what is behind a layer: [`ByResult`], [`ByStatus`], or a closure
/// in [`Judged`].
pub trait Judge<Res, E> {
    /// How the call went.
    fn verdict(&self, result: &Result<Res, E>) -> Verdict;
}

/// An error is a failure, and a response is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByResult;

impl<Res, E> Judge<Res, E> for ByResult {
    fn verdict(&self, result: &Result<Res, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Success,
            Err(_) => Verdict::Failure,
        }
    }
}

/// What a closure says.
#[derive(Clone, Copy)]
pub struct Judged<F>(pub(in super::super) F);

impl<Res, E, F: Fn(&Result<Res, E>) -> Verdict> Judge<Res, E> for Judged<F> {
    fn verdict(&self, result: &Result<Res, E>) -> Verdict {
        (self.0)(result)
    }
}

impl<F> fmt::Debug for Judged<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judged").finish_non_exhaustive()
    }
}

/// Errors are failures, and so are the statuses from 500 on, but for 501 and 505, which say nothing
/// of how the service is. So is 429: it is what it says when it has too much to do. All other
/// statuses are successes.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug, Default)]
pub struct ByStatus;

#[cfg(feature = "http")]
impl<B, E> Judge<http::Response<B>, E> for ByStatus {
    fn verdict(&self, result: &Result<http::Response<B>, E>) -> Verdict {
        let Ok(response) = result else {
            return Verdict::Failure;
        };
        match response.status().as_u16() {
            501 | 505 => Verdict::Ignored,
            429 | 500.. => Verdict::Failure,
            _ => Verdict::Success,
        }
    }
}
