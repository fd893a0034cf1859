//! Decisions made elsewhere: one question at a time, gone with its state.

use core::future::{Future, pending, poll_fn, ready};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use flow_ratelimit::{Decide, Denied, Granted, KeyedLimiter, TokenBucket, WaitState, WhenFull};
use flow_rt::sim::Sim;

/// A server that answers at the second poll, and counts.
#[derive(Default)]
struct Server {
    asked: AtomicUsize,
    given_up: AtomicUsize,
}

struct Answer {
    server: Arc<Server>,
    remaining: u64,
    polled: bool,
    answered: bool,
}

impl Future for Answer {
    type Output = Result<Granted, Denied>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !core::mem::replace(&mut self.polled, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.answered = true;
        Poll::Ready(Ok(Granted::new(self.remaining, 10, Duration::ZERO)))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.answered {
            self.server.given_up.fetch_add(1, Relaxed);
        }
    }
}

#[derive(Clone, Default)]
struct OnServer(Arc<Server>);

impl Decide for OnServer {
    fn poll_decide(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, Denied>> {
        state.poll_elsewhere(cx, &*self.0, n, || {
            self.0.asked.fetch_add(1, Relaxed);
            Answer {
                server: self.0.clone(),
                remaining: 10 - n,
                polled: false,
                answered: false,
            }
        })
    }
}

fn poll(limiter: &dyn Decide, n: u64, state: &mut WaitState) -> Poll<Result<Granted, Denied>> {
    limiter.poll_decide(&mut Context::from_waker(Waker::noop()), n, state)
}

#[test]
fn a_question_is_asked_once_and_clones_go_on_with_it() {
    let limiter = OnServer::default();
    let mut state = WaitState::new();
    assert!(poll(&limiter, 3, &mut state).is_pending());
    assert!(state.is_waiting());
    let Poll::Ready(Ok(granted)) = poll(&limiter.clone(), 3, &mut state) else {
        panic!("answered at the second poll");
    };
    assert_eq!(granted.remaining(), 7);
    assert!(!state.is_waiting());
    let server = &limiter.0;
    assert_eq!(
        (server.asked.load(Relaxed), server.given_up.load(Relaxed)),
        (1, 0)
    );
}

#[test]
fn another_number_another_limiter_or_the_end_gives_the_question_up() {
    let (first, second) = (OnServer::default(), OnServer::default());
    let mut state = WaitState::new();
    assert!(poll(&first, 3, &mut state).is_pending());
    assert!(poll(&first, 4, &mut state).is_pending());
    assert_eq!(first.0.given_up.load(Relaxed), 1);
    assert!(poll(&second, 4, &mut state).is_pending());
    assert_eq!(first.0.given_up.load(Relaxed), 2);
    state.leave();
    assert_eq!(second.0.given_up.load(Relaxed), 1);
    assert!(!state.is_waiting());
}

#[test]
fn a_state_moves_between_limiters_here_and_elsewhere() {
    let there = OnServer::default();
    Sim::new(0)
        .run(|_rt| async move {
            let here = TokenBucket::new("1/s", 1).unwrap();
            here.try_acquire().unwrap();
            let mut state = WaitState::new();
            let waits = poll_fn(|cx| Poll::Ready(here.poll_decide(cx, 1, &mut state).is_pending()));
            assert!(waits.await);
            assert_eq!(here.stats().waiting, 1);
            assert!(poll(&there, 1, &mut state).is_pending());
            assert_eq!(
                here.stats().waiting,
                0,
                "the place in the queue is given up"
            );
            poll_fn(|cx| here.poll_decide(cx, 1, &mut state))
                .await
                .unwrap();
            assert_eq!(there.0.given_up.load(Relaxed), 1);
        })
        .unwrap();
}

#[test]
fn a_state_with_a_question_is_shared_and_sent() {
    fn is_sound<T: Send + Sync + Unpin>(_: &T) {}
    let mut state = WaitState::with_limit(Duration::from_secs(1));
    is_sound(&state);
    assert_eq!(state.limit(), Some(Duration::from_secs(1)));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(state.poll_elsewhere(cx, &1_u8, 1, pending).is_pending());
    is_sound(&state);
    let unavailable = || ready(Err(Denied::Unavailable));
    let denied = state.poll_elsewhere(cx, "another", 1, unavailable);
    assert_eq!(denied, Poll::Ready(Err(Denied::Unavailable)));
}

/// Nobody waits, so no runtime is needed, and the limiter gives its own reason.
#[test]
fn who_has_no_patience_is_told_at_once() {
    fn ask(limiter: &impl Decide) -> Result<Granted, Denied> {
        let mut state = WaitState::with_limit(Duration::ZERO);
        let mut cx = Context::from_waker(Waker::noop());
        match limiter.poll_decide(&mut cx, 1, &mut state) {
            Poll::Ready(decided) => decided,
            Poll::Pending => panic!("it waits"),
        }
    }
    let bucket = TokenBucket::new("1/h", 1).unwrap();
    assert!(ask(&bucket).is_ok());
    assert!(matches!(ask(&bucket), Err(Denied::NotYet { .. })));
    let builder = KeyedLimiter::<u64>::builder().rate("1/h").burst(2);
    let builder = builder.max_keys(1).when_full(WhenFull::Deny);
    let limiter = builder.build_exact().unwrap();
    assert!(ask(&limiter.key(&1)).is_ok());
    assert!(matches!(
        ask(&limiter.key(&2)),
        Err(Denied::KeysFull { .. })
    ));
}
