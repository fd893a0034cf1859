//! The response of a service that was called, or the answer to a request that was not let through.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::answer::Answer;
use crate::error::Denied;
use crate::granted::Granted;

pin_project_lite::pin_project! {
    /// The response through a [`RateLimit`](crate::RateLimit).
    ///
    /// # Cancel safety
    /// That of the service's future, which is dropped with it. The token of a request that went to
    /// the service stays spent.
    #[must_use = "futures do nothing unless polled"]
    pub struct LimitedFuture<F, A> {
        #[pin]
        state: State<F>,
        answer: A,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called { #[pin] response: F, granted: Granted },
        Denied { why: Denied },
        Ended,
    }
}

impl<F, A> LimitedFuture<F, A> {
    pub(super) fn called(response: F, granted: Granted, answer: A) -> Self {
        let state = State::Called { response, granted };
        Self { state, answer }
    }

    pub(super) fn denied(why: Denied, answer: A) -> Self {
        let state = State::Denied { why };
        Self { state, answer }
    }
}

impl<F, A, Res, E> Future for LimitedFuture<F, A>
where
    F: Future<Output = Result<Res, E>>,
    A: Answer<Res, E, Denied>,
{
    type Output = Result<Res, A::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let output = match this.state.as_mut().project() {
            StateProj::Called { response, granted } => {
                let result = ready!(response.poll(cx));
                passed(this.answer, granted, result)
            }
            StateProj::Denied { why } => this.answer.denied(*why),
            StateProj::Ended => return Poll::Pending,
        };
        this.state.set(State::Ended);
        Poll::Ready(output)
    }
}

/// What the service said, with what the limit has to add to it.
#[inline]
pub(super) fn passed<Res, E, A: Answer<Res, E, Denied>>(
    answer: &A,
    granted: &Granted,
    result: Result<Res, E>,
) -> Result<Res, A::Error> {
    match result {
        Ok(mut response) => {
            answer.granted(granted, &mut response);
            Ok(response)
        }
        Err(error) => Err(A::inner(error)),
    }
}

impl<F, A> fmt::Debug for LimitedFuture<F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = match &self.state {
            State::Denied { why } => Some(why),
            State::Called { .. } | State::Ended => None,
        };
        f.debug_struct("LimitedFuture")
            .field("denied", &denied)
            .finish_non_exhaustive()
    }
}
