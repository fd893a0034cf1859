//! Distributed limiters where layers and throttles ask: as one `Decide` among others.

use core::task::{Context, Poll};
use core::time::Duration;

use flow_ratelimit::{Decide, Denied, WaitState};

use crate::limiter::{AcquireError, CheckError, DistributedLimiter, Granted};

/// Waits like [`acquire_n`](DistributedLimiter::acquire_n), up to the state's limit if it has
/// one: a wait that would pass it ends at once.
///
/// # Cancel safety
/// That of [`acquire_n`](DistributedLimiter::acquire_n).
impl Decide for DistributedLimiter {
    fn poll_decide(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<flow_ratelimit::Granted, Denied>> {
        let limit = state.limit();
        state.poll_elsewhere(cx, &*self.shared, n, || {
            let limiter = self.clone();
            async move { limiter.decide(n, limit).await }
        })
    }
}

impl DistributedLimiter {
    async fn decide(
        &self,
        n: u64,
        limit: Option<Duration>,
    ) -> Result<flow_ratelimit::Granted, Denied> {
        // Without a runtime nobody sleeps.
        let started = self.runtime().ok().map(|runtime| (runtime.now(), runtime));
        loop {
            let error = match self.check_n(n).await {
                Ok(granted) => return Ok(granted.into()),
                Err(error) => error,
            };
            // Asking takes time too.
            let passed = started.as_ref().map_or(Duration::ZERO, |(start, runtime)| {
                runtime.now().saturating_duration_since(*start)
            });
            let left = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(passed));
            let retry_after = error.retry_after().filter(|wait| *wait <= left);
            let Some(retry_after) = retry_after else {
                return Err(error.into());
            };
            self.sleep(retry_after).await?;
        }
    }
}

/// Without its source.
impl From<Granted> for flow_ratelimit::Granted {
    fn from(granted: Granted) -> Self {
        Self::new(granted.remaining, granted.limit, granted.reset_after)
    }
}

/// Without its source, and without the server's failure: the limiter's `stats()` keep the last.
impl From<CheckError> for Denied {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::NotYet { retry_after, .. } => Self::not_yet(retry_after),
            CheckError::ExceedsBurst { requested, burst } => Self::exceeds_burst(requested, burst),
            CheckError::Fallback(denied) => denied,
            CheckError::Unavailable(_) => Self::Unavailable,
        }
    }
}

/// Like that of a [`CheckError`]; without a runtime nobody can wait.
impl From<AcquireError> for Denied {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Check(error) => error.into(),
            AcquireError::NoRuntime(_) | AcquireError::Stopped => Self::NoRuntime,
        }
    }
}
