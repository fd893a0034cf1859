//! A server's decisions where only decisions count: through `Decide`, as one limiter among
//! others.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use crate::support::{Server, eventually};
use flow_ratelimit::{Decide, Denied, Granted, Rate, WaitState};
use flow_redis::{DistributedLimiter, FailurePolicy, RedisBackend};
use flow_rt::{Handle, TestRuntime};

flow_rt::on_every_runtime! {
    hosts only;
    a_grant_says_what_is_left,
    a_wait_that_would_pass_the_limit_is_denied_at_once,
    a_wait_sleeps_until_there_are_tokens,
    asking_is_part_of_the_wait,
    more_than_the_burst_is_never_granted,
    without_its_server_a_closed_limiter_is_unavailable,
    the_fallback_decides_while_the_server_is_away,
}

fn limiter(redis: &RedisBackend, rt: &Handle, policy: FailurePolicy) -> DistributedLimiter {
    DistributedLimiter::builder(redis)
        .key("api")
        .rate(Rate::per_hour(1))
        .burst(2)
        .runtime(rt)
        .on_failure(policy)
        .build()
        .unwrap()
}

async fn decide(limiter: &dyn Decide, n: u64, mut state: WaitState) -> Result<Granted, Denied> {
    poll_fn(|cx| limiter.poll_decide(cx, n, &mut state)).await
}

/// A decision that does not wait.
async fn now(limiter: &dyn Decide, n: u64) -> Result<Granted, Denied> {
    decide(limiter, n, WaitState::with_limit(Duration::ZERO)).await
}

async fn a_grant_says_what_is_left(rt: TestRuntime) {
    let server = Server::start();
    let limiter = limiter(&server.connect(), &rt, FailurePolicy::Closed);
    let granted = decide(&limiter, 1, WaitState::new()).await.unwrap();
    assert_eq!((granted.remaining(), granted.limit()), (1, 2));
    let reset_after = granted.reset_after();
    assert!(
        reset_after > Duration::from_secs(3_500) && reset_after <= Duration::from_secs(3_600),
        "{reset_after:?}"
    );
    assert_eq!(now(&limiter, 1).await.unwrap().remaining(), 0);
}

async fn a_wait_that_would_pass_the_limit_is_denied_at_once(rt: TestRuntime) {
    let server = Server::start();
    let limiter = limiter(&server.connect(), &rt, FailurePolicy::Closed);
    now(&limiter, 2).await.unwrap();
    let start = rt.now();
    for limit in [Duration::ZERO, Duration::from_secs(60)] {
        let denied = decide(&limiter, 1, WaitState::with_limit(limit)).await;
        let retry_after = denied.unwrap_err().retry_after().unwrap();
        assert!(
            retry_after > Duration::from_secs(3_500) && retry_after <= Duration::from_secs(3_600),
            "{retry_after:?}"
        );
    }
    assert_eq!(rt.now(), start, "nobody slept");
    assert_eq!(limiter.stats().denied, 2);
}

async fn a_wait_sleeps_until_there_are_tokens(rt: TestRuntime) {
    let server = Server::start();
    let limiter = limiter(&server.connect(), &rt, FailurePolicy::Closed);
    now(&limiter, 2).await.unwrap();
    let start = rt.now();
    let waiter = limiter.clone();
    let waiter = rt.spawn(async move { decide(&waiter, 1, WaitState::new()).await });
    eventually(&rt, "it is denied, and sleeps", async || {
        limiter.stats().denied == 1
    })
    .await;
    server.command(&["DEL", "flow:{api}"]);
    assert_eq!(waiter.await.unwrap().unwrap().remaining(), 1);
    assert!(rt.now() - start > Duration::from_secs(3_500));
}

async fn asking_is_part_of_the_wait(rt: TestRuntime) {
    let server = Server::start();
    let limiter = limiter(&server.connect(), &rt, FailurePolicy::Closed);
    now(&limiter, 2).await.unwrap();
    server.signal("STOP");
    let start = rt.now();
    let mut state = WaitState::with_limit(Duration::from_secs(3_700));
    let mut asked = Box::pin(poll_fn(|cx| limiter.poll_decide(cx, 1, &mut state)));
    assert!(
        poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx)))
            .await
            .is_pending()
    );
    rt.sleep(Duration::from_secs(2_000)).await.unwrap();
    server.signal("CONT");
    // The hour that it says does not fit any more.
    let retry_after = asked.await.unwrap_err().retry_after().unwrap();
    assert!(retry_after > Duration::from_secs(3_500), "{retry_after:?}");
    assert_eq!(rt.now() - start, Duration::from_secs(2_000));
}

async fn more_than_the_burst_is_never_granted(rt: TestRuntime) {
    let server = Server::start();
    let limiter = limiter(&server.connect(), &rt, FailurePolicy::Closed);
    let denied = decide(&limiter, 3, WaitState::new()).await;
    assert_eq!(denied.unwrap_err(), Denied::exceeds_burst(3, 2));
}

async fn without_its_server_a_closed_limiter_is_unavailable(rt: TestRuntime) {
    let mut server = Server::start();
    let limiter = limiter(&server.connect(), &rt, FailurePolicy::Closed);
    now(&limiter, 1).await.unwrap();
    server.kill();
    let denied = decide(&limiter, 1, WaitState::new()).await.unwrap_err();
    assert_eq!((denied, denied.retry_after()), (Denied::Unavailable, None));
    assert_eq!(limiter.stats().fallback_denied, 1);
}

async fn the_fallback_decides_while_the_server_is_away(rt: TestRuntime) {
    let mut server = Server::start();
    let limiter = limiter(&server.connect(), &rt, FailurePolicy::Open);
    now(&limiter, 2).await.unwrap();
    server.kill();
    now(&limiter, 1).await.unwrap();
    assert_eq!(limiter.stats().fallback_granted, 1);
}
