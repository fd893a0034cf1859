//! A limit of rate for each key in front of a service.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;

use flow_rt::{BoxTimer, Handle};
use tower_service::Service;

use super::answer::Answer;
use super::future::passed;
use super::gate::ByKey;
use super::key::{DecideKey, WithoutKey};
use super::patience::{Alone, Bound, Ended, Patience};
use crate::error::Denied;
use crate::granted::Granted;
use crate::wait_state::WaitState;

/// A service behind a limit for each key: see
/// [`RateLimitLayer::keyed`](crate::RateLimitLayer::keyed).
///
/// It decides in the call, because before that there is no key: it is ready when the service in it
/// is. A request that waits for its key keeps nobody else from that service: it goes to a clone of it
/// that is made ready when the wait is over. Like one that is denied, it leaves the service that was
/// ready to the next call.
#[derive(Clone)]
pub struct KeyedRateLimit<S, L, F, A> {
    inner: S,
    gate: ByKey<L, F>,
    patience: Patience,
    answer: A,
}

impl<S, L, F, A> KeyedRateLimit<S, L, F, A> {
    pub(super) fn new(inner: S, gate: ByKey<L, F>, patience: Patience, answer: A) -> Self {
        Self {
            inner,
            gate,
            patience,
            answer,
        }
    }
}

impl<S, L, F, A, R, K> Service<R> for KeyedRateLimit<S, L, F, A>
where
    S: Service<R> + Clone,
    L: DecideKey<K> + Clone,
    F: Fn(&R) -> Option<K>,
    A: Answer<S::Response, S::Error, Denied>,
{
    type Response = S::Response;
    type Error = A::Error;
    type Future = KeyedFuture<S, R, L, K, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(A::inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let state = match ((self.gate.key)(&request), self.gate.without) {
            (Some(key), _) => match self.ask(key) {
                Said::Yes(granted) => State::Called {
                    response: self.inner.call(request),
                    granted: Some(granted),
                },
                Said::NotYet(asked) => {
                    // Not the one that is ready: it may hold what others need meanwhile.
                    let call = Some((self.inner.clone(), request));
                    State::Asks { asked, call }
                }
                Said::No(why) => State::Denied { why },
            },
            (None, WithoutKey::Admit) => State::Called {
                response: self.inner.call(request),
                granted: None,
            },
            (None, WithoutKey::Deny) => State::Denied { why: Denied::NoKey },
        };
        let answer = self.answer.clone();
        KeyedFuture { state, answer }
    }
}

impl<S, L: Clone, F, A> KeyedRateLimit<S, L, F, A> {
    /// Asks for a token of a key.
    #[inline]
    fn ask<K>(&self, key: K) -> Said<L, K>
    where
        L: DecideKey<K>,
    {
        let limit = self.patience.limit();
        let mut state = limit.map_or_else(WaitState::new, WaitState::with_limit);
        let cx = &mut Context::from_waker(Waker::noop());
        let put_off = match self.gate.limiter.poll_decide_key(cx, &key, 1, &mut state) {
            Poll::Ready(Ok(granted)) => return Said::Yes(granted),
            Poll::Ready(Err(why)) => match self.patience.waits_for(why) {
                Some(retry_after) => Some((retry_after, why)),
                None => return Said::No(why),
            },
            Poll::Pending => None,
        };
        let mut asked = Box::new(Asked {
            limiter: self.gate.limiter.clone(),
            key,
            patience: self.patience,
            state,
            end: Bound::new(self.patience),
            again: None,
        });
        let goes_on = match put_off {
            Some((retry_after, why)) => asked.sleep(retry_after, why),
            None => asked.begin(),
        };
        goes_on.map_or_else(Said::No, |()| Said::NotYet(asked))
    }
}

impl<S: fmt::Debug, L: fmt::Debug, F, A> fmt::Debug for KeyedRateLimit<S, L, F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimit")
            .field("inner", &self.inner)
            .field("gate", &self.gate)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    /// The response through a [`KeyedRateLimit`].
    ///
    /// # Cancel safety
    /// Before its turn it takes nothing, and gives its place up. Then that of the service's future,
    /// which is dropped with it; the token stays spent.
    #[must_use = "futures do nothing unless polled"]
    pub struct KeyedFuture<S: Service<R>, R, L, K, A> {
        #[pin]
        state: State<S, R, L, K, S::Future>,
        answer: A,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProj]
    enum State<S, R, L, K, F> {
        Asks { asked: Box<Asked<L, K>>, call: Option<(S, R)> },
        Readies { granted: Granted, call: Option<(S, R)> },
        Called { #[pin] response: F, granted: Option<Granted> },
        Denied { why: Denied },
        Ended,
    }
}

impl<S, R, L, K, A> Future for KeyedFuture<S, R, L, K, A>
where
    S: Service<R>,
    L: DecideKey<K>,
    A: Answer<S::Response, S::Error, Denied>,
{
    type Output = Result<S::Response, A::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProj::Asks { asked, call } = this.state.as_mut().project() {
            let next = match ready!(asked.poll(cx)) {
                Ok(granted) => State::Readies {
                    granted,
                    call: call.take(),
                },
                Err(why) => State::Denied { why },
            };
            this.state.set(next);
        }
        if let StateProj::Readies { granted, call } = this.state.as_mut().project() {
            let readied = match call {
                Some((service, _)) => ready!(service.poll_ready(cx)),
                None => return Poll::Pending,
            };
            if let Err(error) = readied {
                this.state.set(State::Ended);
                return Poll::Ready(Err(A::inner(error)));
            }
            let granted = *granted;
            // The request is taken once only.
            let Some((mut service, request)) = call.take() else {
                return Poll::Pending;
            };
            let response = service.call(request);
            let granted = Some(granted);
            this.state.set(State::Called { response, granted });
        }
        let output = match this.state.as_mut().project() {
            StateProj::Called { response, granted } => {
                let result = ready!(response.poll(cx));
                match granted {
                    Some(granted) => passed(this.answer, granted, result),
                    None => result.map_err(A::inner),
                }
            }
            StateProj::Denied { why } => this.answer.denied(*why),
            StateProj::Asks { .. } | StateProj::Readies { .. } | StateProj::Ended => {
                return Poll::Pending;
            }
        };
        this.state.set(State::Ended);
        Poll::Ready(output)
    }
}

impl<S: Service<R>, R, L, K, A> fmt::Debug for KeyedFuture<S, R, L, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stands = match self.state {
            State::Asks { .. } => "asks",
            State::Readies { .. } => "readies",
            State::Called { .. } => "called",
            State::Denied { .. } => "denied",
            State::Ended => "ended",
        };
        f.debug_tuple("KeyedFuture").field(&stands).finish()
    }
}

/// What a limiter says in the call.
enum Said<L, K> {
    Yes(Granted),
    No(Denied),
    /// It is to be asked further; whoever polls that brings a waker.
    NotYet(Box<Asked<L, K>>),
}

/// A question about a key, asked until it has an answer that will do.
struct Asked<L, K> {
    limiter: L,
    key: K,
    patience: Patience,
    state: WaitState,
    /// When the patience is at its end.
    end: Bound,
    /// When to ask again, if the decider does not wait itself.
    again: Option<Alone<BoxTimer>>,
}

impl<L: DecideKey<K>, K> Asked<L, K> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted, Denied>> {
        loop {
            if let Some(timer) = &mut self.again
                && ready!(timer.get().poll_fired(cx)).is_err()
            {
                return Poll::Ready(Err(Denied::NoRuntime));
            }
            let why = match ready!(self.poll_decided(cx)) {
                Ok(granted) => return Poll::Ready(Ok(granted)),
                Err(why) => why,
            };
            let Some(retry_after) = self.patience.waits_for(why) else {
                return Poll::Ready(Err(why));
            };
            if let Err(why) = self.sleep(retry_after, why) {
                return Poll::Ready(Err(why));
            }
        }
    }

    /// What the decider says, or that the patience is at its end.
    fn poll_decided(&mut self, cx: &mut Context<'_>) -> Poll<Result<Granted, Denied>> {
        let Self { limiter, key, .. } = self;
        let polled = limiter.poll_decide_key(cx, key, 1, &mut self.state);
        // Who has no patience waits for nothing but the decision.
        if polled.is_ready() || self.patience.limit() == Some(Duration::ZERO) {
            return polled;
        }
        let state = &self.state;
        let ended = ready!(self.end.poll_end(cx, || state.runtime_or_current()));
        self.state.hurry();
        // The token may have come at this very instant: then it is the answer.
        let polled = limiter.poll_decide_key(cx, key, 1, &mut self.state);
        if polled.is_pending() {
            return Poll::Ready(match ended {
                Ended::InTime(limit) => self.ask_now(limit),
                Ended::NoRuntime(_) | Ended::Stopped(_) => {
                    self.state.leave();
                    Err(Denied::NoRuntime)
                }
            });
        }
        polled
    }

    /// What the decider says to somebody without patience, after a wait of `waited`: when there will
    /// be a token, from now on.
    fn ask_now(&mut self, waited: Duration) -> Result<Granted, Denied> {
        let is_elsewhere = self.state.is_elsewhere();
        self.state.leave();
        // Whoever has not answered yet is not asked again: nobody would stay for a token of its. One
        // that comes to ask a server only now may lose it: see `DecideKey`.
        if !is_elsewhere {
            let mut state = WaitState::with_limit(Duration::ZERO);
            let cx = &mut Context::from_waker(Waker::noop());
            let polled = self.limiter.poll_decide_key(cx, &self.key, 1, &mut state);
            if let Poll::Ready(decided) = polled {
                return decided;
            }
        }
        // Nobody knows better.
        Err(Denied::not_yet(waited))
    }

    /// Begins the time that the patience lasts.
    fn begin(&mut self) -> Result<(), Denied> {
        if !matches!(self.patience, Patience::UpTo(limit) if !limit.is_zero()) {
            return Ok(());
        }
        let runtime = self.runtime()?;
        self.end.until(&runtime);
        Ok(())
    }

    /// Puts the next question off, or says that this would be too late.
    fn sleep(&mut self, delay: Duration, why: Denied) -> Result<(), Denied> {
        let runtime = self.runtime()?;
        let at = runtime.now() + delay;
        if self.end.until(&runtime).is_some_and(|until| at > until) {
            return Err(why);
        }
        match &mut self.again {
            Some(timer) => timer.get().arm(at),
            none => *none = Some(Alone::new(runtime.timer(at))),
        }
        Ok(())
    }

    fn runtime(&self) -> Result<Handle, Denied> {
        let runtime = self.state.runtime_or_current();
        runtime.map_err(|_| Denied::NoRuntime)
    }
}
