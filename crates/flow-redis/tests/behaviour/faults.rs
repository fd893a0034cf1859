//! What each policy does while the server is away, and how everything comes back by itself.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Server, eventually};
use flow_ratelimit::{Rate, TokenBucket};
use flow_redis::{CheckError, DistributedLimiter, FailurePolicy, RedisBackend, RedisError, Source};
use flow_rt::TestRuntime;
use futures_util::StreamExt;

flow_rt::on_every_runtime! {
    hosts only;
    case_214_closed_denies_while_the_server_is_away,
    case_214_open_grants_while_the_server_is_away,
    case_214_a_local_limiter_decides_while_the_server_is_away,
    a_server_that_comes_late_is_found,
    a_restarted_server_is_found_again,
    a_server_that_hangs_costs_a_timeout_and_no_more,
    a_server_that_hangs_with_a_full_socket_is_given_up,
    the_backend_may_go_before_its_limiter,
    acquire_waits_for_the_local_limiter_while_the_server_is_away,
}

fn limiter(redis: &RedisBackend, policy: FailurePolicy) -> DistributedLimiter {
    DistributedLimiter::builder(redis)
        .key("api")
        .rate(Rate::per_hour(1))
        .burst(10)
        .on_failure(policy)
        .build()
        .unwrap()
}

/// A connected limiter whose server has just been killed.
async fn orphan(policy: FailurePolicy) -> (Server, DistributedLimiter) {
    let mut server = Server::start();
    let limiter = limiter(&server.connect(), policy);
    assert_eq!(limiter.check().await.unwrap().source(), Source::Remote);
    server.kill();
    (server, limiter)
}

async fn case_214_closed_denies_while_the_server_is_away(_: TestRuntime) {
    let (_server, limiter) = orphan(FailurePolicy::Closed).await;
    for _ in 0..20 {
        let error = limiter.check().await.unwrap_err();
        assert!(matches!(error, CheckError::Unavailable(_)), "{error:?}");
    }
    let stats = limiter.stats();
    assert_eq!(
        (stats.granted, stats.fallback_denied, stats.failures),
        (1, 20, 20)
    );
    // What can never be granted is not a matter of policy, nor is what is always granted.
    let nothing = limiter.check_n(0).await.unwrap();
    assert_eq!(
        (nothing.source(), nothing.remaining()),
        (Source::Fallback, 0)
    );
    assert!(matches!(
        limiter.check_n(11).await,
        Err(CheckError::ExceedsBurst { .. })
    ));
}

async fn case_214_open_grants_while_the_server_is_away(_: TestRuntime) {
    let (_server, limiter) = orphan(FailurePolicy::Open).await;
    for _ in 0..20 {
        let granted = limiter.check().await.unwrap();
        assert_eq!(
            (granted.source(), granted.remaining()),
            (Source::Fallback, 0)
        );
    }
    assert!(limiter.stats().last_failure.is_some());
    assert_eq!(limiter.stats().fallback_granted, 20);
}

async fn case_214_a_local_limiter_decides_while_the_server_is_away(_: TestRuntime) {
    let local = TokenBucket::builder()
        .rate(Rate::per_hour(1))
        .burst(3)
        .build()
        .unwrap();
    let (_server, limiter) = orphan(FailurePolicy::local(&local)).await;
    for left in [2, 1, 0] {
        let granted = limiter.check().await.unwrap();
        assert_eq!(
            (granted.source(), granted.remaining()),
            (Source::Fallback, left)
        );
        assert_eq!(granted.limit(), 3);
    }
    let denied = limiter.check().await.unwrap_err();
    assert!(
        matches!(
            denied,
            CheckError::NotYet {
                source: Source::Fallback,
                ..
            }
        ),
        "{denied:?}"
    );
    // More than the local bucket holds, though not more than the shared one.
    assert!(matches!(
        limiter.check_n(5).await,
        Err(CheckError::Fallback(_))
    ));
    let stats = limiter.stats();
    assert_eq!((stats.fallback_granted, stats.fallback_denied), (3, 2));
}

async fn acquire_waits_for_the_local_limiter_while_the_server_is_away(rt: TestRuntime) {
    let local = TokenBucket::new(Rate::per_hour(1), 1).unwrap();
    let (_server, limiter) = orphan(FailurePolicy::local(&local)).await;
    limiter.acquire().await.unwrap();
    let start = rt.now();
    let granted = limiter.acquire().await.unwrap();
    assert_eq!(rt.now() - start, Duration::from_secs(3_600));
    assert_eq!(granted.source(), Source::Fallback);
    let stats = limiter.stats();
    assert_eq!((stats.fallback_granted, stats.fallback_denied), (2, 1));
}

async fn a_server_that_comes_late_is_found(rt: TestRuntime) {
    let mut server = Server::away();
    let limiter = limiter(&server.connect(), FailurePolicy::Closed);
    let error = limiter.check().await.unwrap_err();
    let CheckError::Unavailable(RedisError::NotConnected {
        reason: Some(reason),
    }) = error
    else {
        panic!("{error:?}");
    };
    assert!(reason.to_lowercase().contains("refused"), "{reason}");
    server.restart();
    eventually(&rt, "the server is found", async || {
        limiter.check().await.is_ok()
    })
    .await;
    assert_eq!(
        limiter.peek().await.unwrap().remaining(),
        9,
        "one check was granted, no more"
    );
}

async fn a_restarted_server_is_found_again(rt: TestRuntime) {
    let (mut server, limiter) = orphan(FailurePolicy::Open).await;
    for _ in 0..2 {
        eventually(&rt, "the server is missed", async || {
            limiter.check().await.unwrap().source() == Source::Fallback
        })
        .await;
        server.restart();
        eventually(&rt, "the server is back", async || {
            limiter.check().await.unwrap().source() == Source::Remote
        })
        .await;
        // Its bucket and its scripts were lost: full again, less the one check.
        assert_eq!(limiter.peek().await.unwrap().remaining(), 9);
        server.kill();
    }
}

async fn a_server_that_hangs_costs_a_timeout_and_no_more(rt: TestRuntime) {
    let timeout = Duration::from_millis(50);
    let server = Server::start();
    let redis = RedisBackend::builder(server.url())
        .timeout(timeout)
        .build()
        .unwrap();
    let limiter = limiter(&redis, FailurePolicy::Closed);
    eventually(&rt, "connected", async || redis.ping().await.is_ok()).await;
    server.signal("STOP");
    let error = limiter.check().await.unwrap_err();
    assert_eq!(
        error,
        CheckError::Unavailable(RedisError::Timeout { after: timeout })
    );
    // The connection is given up after a while; then there is not even a timeout to wait for.
    eventually(&rt, "the connection is given up", async || {
        let error = limiter.check().await.unwrap_err();
        matches!(
            error,
            CheckError::Unavailable(RedisError::NotConnected { .. })
        )
    })
    .await;
    server.signal("CONT");
    eventually(&rt, "the server is back", async || {
        limiter.check().await.is_ok()
    })
    .await;
}

async fn a_server_that_hangs_with_a_full_socket_is_given_up(rt: TestRuntime) {
    let server = Server::start();
    let redis = RedisBackend::builder(server.url())
        .timeout(Duration::from_millis(400))
        .build()
        .unwrap();
    let keyed = DistributedLimiter::builder(&redis).keyed::<str>("user");
    let limiter = keyed.rate(Rate::per_hour(1)).burst(10).build().unwrap();
    eventually(&rt, "connected", async || redis.ping().await.is_ok()).await;
    server.signal("STOP");
    // More than the sockets of both ends hold.
    let key: Arc<str> = "k".repeat(1 << 20).into();
    let mut checks = rt.task_group();
    for _ in 0..64 {
        let (limiter, key) = (limiter.clone(), key.clone());
        checks.spawn(async move { limiter.check(&key).await });
    }
    while let Some(check) = checks.next().await {
        check.unwrap().unwrap_err();
    }
    eventually(&rt, "the connection is given up", async || {
        let _ = redis.ping().await;
        !redis.is_connected()
    })
    .await;
    let error = redis.ping().await.unwrap_err();
    assert!(
        matches!(error, RedisError::NotConnected { .. }),
        "{error:?}"
    );
    server.signal("CONT");
    eventually(&rt, "the server is back", async || {
        redis.ping().await.is_ok()
    })
    .await;
}

async fn the_backend_may_go_before_its_limiter(_: TestRuntime) {
    let server = Server::start();
    let redis = server.connect();
    let limiter = limiter(&redis, FailurePolicy::Closed);
    drop(redis);
    assert_eq!(limiter.check().await.unwrap().remaining(), 9);
    // An answer that is awaited keeps nothing alive, and does not hang either.
    let late = limiter.clone();
    let check = async move { late.check().await };
    drop(limiter);
    check.await.unwrap();
}
