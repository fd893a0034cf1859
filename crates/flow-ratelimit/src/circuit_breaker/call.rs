//! Calls through a breaker whose results say how they went.

use core::fmt;
use core::future::Future;

use flow_rt::{Clock, DefaultClock};

use super::CircuitBreaker;
use super::error::CallError;
use super::permit::Verdict;

/// Calls.
impl<C: Clock> CircuitBreaker<C> {
    /// Makes an asynchronous call if the breaker lets it through. An `Err` is a failure, and so is
    /// a panic; [`failure_if`](Self::failure_if) and [`classify`](Self::classify) say otherwise.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if the call was not made, [`CallError::Inner`] with its own error.
    ///
    /// # Cancel safety
    /// Dropping the future drops the call, which is then ignored, or a failure if the breaker was
    /// built [so](crate::CircuitBreakerBuilder::dropped_fails). A trial gives its place back.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire) and of the [permit](crate::CallPermit).
    ///
    /// ```
    /// # flow_rt::sim::check(0..3, |_rt| async move {
    /// use std::time::Duration;
    /// use flow_ratelimit::{CallError, CircuitBreaker};
    ///
    /// # #[derive(Debug, PartialEq)]
    /// # struct Refused;
    /// # async fn fetch(url: &str) -> Result<String, Refused> { Err(Refused) }
    /// # let url = "/";
    /// let breaker = CircuitBreaker::builder()
    ///     .failure_rate(0.5)
    ///     .window(100)
    ///     .minimum_calls(2)
    ///     .open_for(Duration::from_secs(10))
    ///     .build()?;
    /// for _ in 0..2 {
    ///     let page = breaker.call(async || fetch(url).await).await;
    ///     assert_eq!(page, Err(CallError::Inner(Refused)));
    /// }
    /// let page = breaker.call(async || fetch(url).await).await;
    /// assert_eq!(page.unwrap_err().retry_after(), Some(Duration::from_secs(10)));
    /// # Ok::<_, flow_ratelimit::BreakerConfigError>(())
    /// # });
    /// ```
    pub async fn call<T, E, Fut>(&self, call: impl FnOnce() -> Fut) -> Result<T, CallError<E>>
    where
        Fut: Future<Output = Result<T, E>>,
    {
        let permit = self.try_acquire()?;
        let result = call().await;
        permit.finish(of_result(&result));
        result.map_err(CallError::Inner)
    }

    /// Makes a call like [`call`](Self::call) that is not asynchronous.
    ///
    /// # Errors
    /// Those of [`call`](Self::call).
    #[inline]
    pub fn call_sync<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, CallError<E>> {
        let permit = self.try_acquire()?;
        let result = call();
        permit.finish(of_result(&result));
        result.map_err(CallError::Inner)
    }

    /// Calls of which those results are failures that `is_failure` says; all others go well.
    ///
    /// ```
    /// use flow_ratelimit::CircuitBreaker;
    ///
    /// # struct Answer { status: u16 }
    /// # struct NoAnswer;
    /// # fn ask() -> Result<Answer, NoAnswer> { Ok(Answer { status: 503 }) }
    /// let breaker = CircuitBreaker::new(0.5)?;
    /// let calls = breaker.failure_if(|answer: &Result<Answer, NoAnswer>| match answer {
    ///     Ok(answer) => answer.status >= 500,
    ///     Err(_) => true,
    /// });
    /// assert!(calls.call_sync(ask).is_ok());
    /// assert_eq!(breaker.stats().failed, 1);
    /// # Ok::<_, flow_ratelimit::BreakerConfigError>(())
    /// ```
    pub fn failure_if<T, E>(
        &self,
        is_failure: impl Fn(&Result<T, E>) -> bool,
    ) -> ClassifiedCalls<'_, impl Fn(&Result<T, E>) -> Verdict, C> {
        self.classify(move |result: &Result<T, E>| {
            if is_failure(result) {
                Verdict::Failure
            } else {
                Verdict::Success
            }
        })
    }

    /// Calls about which `verdict` says how they went, or that they say nothing.
    pub fn classify<T, E, V>(&self, verdict: V) -> ClassifiedCalls<'_, V, C>
    where
        V: Fn(&Result<T, E>) -> Verdict,
    {
        ClassifiedCalls {
            breaker: self,
            verdict,
        }
    }
}

/// Calls through a breaker that somebody else judges than the results themselves: see
/// [`CircuitBreaker::failure_if`] and [`CircuitBreaker::classify`].
#[must_use = "nothing is called yet"]
pub struct ClassifiedCalls<'a, V, C = DefaultClock> {
    breaker: &'a CircuitBreaker<C>,
    verdict: V,
}

impl<V, C: Clock> ClassifiedCalls<'_, V, C> {
    /// Makes a call like [`CircuitBreaker::call`].
    ///
    /// # Errors
    /// Those of [`CircuitBreaker::call`].
    ///
    /// # Cancel safety
    /// That of [`CircuitBreaker::call`]. If the classifier panics the call has failed.
    pub async fn call<T, E, Fut>(&self, call: impl FnOnce() -> Fut) -> Result<T, CallError<E>>
    where
        V: Fn(&Result<T, E>) -> Verdict,
        Fut: Future<Output = Result<T, E>>,
    {
        let permit = self.breaker.try_acquire()?;
        let result = call().await;
        permit.finish((self.verdict)(&result));
        result.map_err(CallError::Inner)
    }

    /// Makes a call like [`CircuitBreaker::call_sync`].
    ///
    /// # Errors
    /// Those of [`CircuitBreaker::call`].
    pub fn call_sync<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, CallError<E>>
    where
        V: Fn(&Result<T, E>) -> Verdict,
    {
        let permit = self.breaker.try_acquire()?;
        let result = call();
        permit.finish((self.verdict)(&result));
        result.map_err(CallError::Inner)
    }
}

impl<V, C> fmt::Debug for ClassifiedCalls<'_, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassifiedCalls")
            .field("breaker", self.breaker)
            .finish_non_exhaustive()
    }
}

#[inline]
fn of_result<T, E>(result: &Result<T, E>) -> Verdict {
    if result.is_ok() {
        Verdict::Success
    } else {
        Verdict::Failure
    }
}
