//! Decisions by a real server, from every runtime.
//!
//! In stepped time on real hosts: the answer of another process is a wake from outside, which a
//! simulation refuses. The server's own clock is real, so a case that needs tokens from it asks
//! until they are there, and one that sleeps until then in virtual time is told beforehand how
//! long; a sleep in real time stands at the end.

use std::time::Duration;

use crate::support::{Server, connect, eventually};
use flow_ratelimit::Rate;
use flow_redis::{
    CheckError, DistributedConfigError, DistributedLimiter, FailurePolicy, LimiterBuilder,
    RedisBackend, Single, Source,
};
use flow_rt::{Handle, TestRuntime, block_on};
use futures_util::StreamExt;

flow_rt::on_every_runtime! {
    hosts only;
    case_210_a_burst_then_denied,
    case_211_acquire_sleeps_until_there_is_a_token,
    case_213_keys_keep_a_ttl_after_use,
    case_216_check_n,
    case_220_one_key_in_one_hash_slot,
    instances_share_a_bucket_exactly,
    a_bucket_fills_up_again_and_is_forgotten,
    zero_is_always_granted,
    peek_takes_nothing_and_reset_fills,
    keys_have_buckets_of_their_own,
    another_rate_keeps_the_tokens,
    another_burst_is_not_forgotten_before_it_is_full,
    a_flushed_script_is_sent_again,
    a_foreign_value_is_an_error_not_a_bucket,
    a_wrong_password_is_an_error_until_it_is_right,
    a_dropped_check_harms_nothing,
}

/// A bucket that supplies nothing while a test runs.
fn slow(redis: &RedisBackend, burst: u64) -> DistributedLimiter {
    named(redis, burst).build().unwrap()
}

fn named(redis: &RedisBackend, burst: u64) -> LimiterBuilder<Single> {
    DistributedLimiter::builder(redis)
        .key("api")
        .rate(Rate::per_hour(1))
        .burst(burst)
}

async fn case_210_a_burst_then_denied(_: TestRuntime) {
    let server = Server::start();
    let redis = server.connect();
    let limiter = DistributedLimiter::builder(&redis)
        .key("api")
        .rate("10/h")
        .burst(2)
        .build()
        .unwrap();
    let first = limiter.check().await.unwrap();
    assert_eq!(
        (first.remaining(), first.limit(), first.source()),
        (1, 2, Source::Remote)
    );
    assert_eq!(limiter.check().await.unwrap().remaining(), 0);
    let denied = limiter.check().await.unwrap_err();
    let CheckError::NotYet {
        retry_after,
        source,
        ..
    } = denied
    else {
        panic!("{denied}")
    };
    assert_eq!(source, Source::Remote);
    assert!(retry_after <= Duration::from_secs(360), "{retry_after:?}");
    assert!(retry_after > Duration::from_secs(300), "{retry_after:?}");
    let stats = limiter.stats();
    assert_eq!((stats.granted, stats.denied, stats.failures), (2, 1, 0));
}

async fn case_211_acquire_sleeps_until_there_is_a_token(rt: TestRuntime) {
    let server = Server::start();
    let limiter = named(&server.connect(), 1).runtime(&rt).build().unwrap();
    limiter.acquire().await.unwrap();
    let before = server.time();
    let told = limiter.check().await.unwrap_err().retry_after().unwrap();
    let start = rt.now();
    let waiter = limiter.clone();
    let waiter = rt.spawn(async move { waiter.acquire().await });
    eventually(&rt, "it is denied, and sleeps", async || {
        limiter.stats().denied == 2
    })
    .await;
    let passed = server.time().saturating_sub(before);
    // It sleeps on although there is a token now, and then takes it.
    server.command(&["DEL", "flow:{api}"]);
    assert_eq!(rt.now(), start);
    assert_eq!(waiter.await.unwrap().unwrap().remaining(), 0);
    let slept = rt.now() - start;
    // What passed between the two denials on the server's clock is the difference.
    assert!(
        slept <= told && slept + passed >= told,
        "{slept:?} of {told:?}"
    );
    assert_eq!(limiter.stats().denied, 2);
    let error = limiter.acquire_n(2).await.unwrap_err();
    assert!(error.to_string().contains("burst of 1"), "{error}");
}

async fn case_213_keys_keep_a_ttl_after_use(_: TestRuntime) {
    let server = Server::start();
    let limiter = slow(&server.connect(), 3);
    let mut before = 0;
    for taken in 1..=3 {
        limiter.check().await.unwrap();
        let ttl: i64 = server.command(&["PTTL", "flow:{api}"]).parse().unwrap();
        assert!(
            ttl > before && ttl <= taken * 3_600_000 + 1,
            "{ttl} after {taken}"
        );
        before = ttl;
    }
    limiter.check().await.unwrap_err();
    let ttl: i64 = server.command(&["PTTL", "flow:{api}"]).parse().unwrap();
    assert!(ttl > 2 * 3_600_000 && ttl <= before, "{ttl} after a denial");
}

async fn case_216_check_n(_: TestRuntime) {
    let server = Server::start();
    let limiter = slow(&server.connect(), 100);
    assert_eq!(limiter.check_n(50).await.unwrap().remaining(), 50);
    assert_eq!(limiter.check_n(50).await.unwrap().remaining(), 0);
    assert!(matches!(
        limiter.check_n(50).await,
        Err(CheckError::NotYet { .. })
    ));
    // More than it ever holds: the server is not even asked.
    let never = limiter.check_n(101).await.unwrap_err();
    let expected = CheckError::ExceedsBurst {
        requested: 101,
        burst: 100,
    };
    assert_eq!((never.retry_after(), never), (None, expected));
    assert!(matches!(
        limiter.check_n(u64::MAX).await,
        Err(CheckError::ExceedsBurst { .. })
    ));
}

async fn case_220_one_key_in_one_hash_slot(_: TestRuntime) {
    let server = Server::start();
    let redis = server.connect();
    slow(&redis, 3).check().await.unwrap();
    assert_eq!(server.command(&["KEYS", "*"]), "flow:{api}");
    let keyed = DistributedLimiter::builder(&redis)
        .prefix("shop")
        .keyed::<str>("user")
        .rate("1/h")
        .burst(1)
        .build()
        .unwrap();
    keyed.check("4711").await.unwrap();
    assert_eq!(server.command(&["KEYS", "shop*"]), "shop:user:{4711}");
    assert_eq!(server.command(&["DBSIZE"]), "2");
}

/// Two backends with connections and threads of their own stand for two processes.
async fn instances_share_a_bucket_exactly(rt: TestRuntime) {
    const BURST: u64 = 50;
    let server = Server::start();
    let start = server.time();
    let mut group = rt.task_group();
    for _ in 0..2 {
        let limiter = DistributedLimiter::builder(&server.connect())
            .key("api")
            .rate(Rate::per_second(100))
            .burst(BURST)
            .build()
            .unwrap();
        for _ in 0..8 {
            let limiter = limiter.clone();
            group.spawn(async move {
                let mut granted = 0;
                for _ in 0..50 {
                    granted += u64::from(limiter.check().await.is_ok());
                }
                granted
            });
        }
    }
    let mut granted = 0;
    while let Some(part) = group.next().await {
        granted += part.unwrap();
    }
    let elapsed = server.time().saturating_sub(start);
    let most = BURST + elapsed.as_millis() as u64 / 10;
    assert!(
        (BURST..=most).contains(&granted),
        "{granted} of {most} in {elapsed:?}"
    );
}

async fn a_bucket_fills_up_again_and_is_forgotten(rt: TestRuntime) {
    let server = Server::start();
    let limiter = DistributedLimiter::builder(&server.connect())
        .key("api")
        .rate(Rate::per_second(1_000))
        .burst(10)
        .build()
        .unwrap();
    limiter.check_n(10).await.unwrap();
    eventually(&rt, "the key of the full bucket expires", async || {
        server.command(&["DBSIZE"]) == "0"
    })
    .await;
    assert_eq!(limiter.check_n(10).await.unwrap().remaining(), 0);
}

async fn zero_is_always_granted(_: TestRuntime) {
    let server = Server::start();
    let limiter = slow(&server.connect(), 1);
    assert_eq!(limiter.check_n(0).await.unwrap().remaining(), 1);
    limiter.check().await.unwrap();
    assert_eq!(limiter.check_n(0).await.unwrap().remaining(), 0);
}

async fn peek_takes_nothing_and_reset_fills(_: TestRuntime) {
    let server = Server::start();
    let redis = server.connect();
    let (here, there) = (slow(&redis, 5), slow(&redis, 5));
    assert_eq!(here.peek().await.unwrap().remaining(), 5);
    assert_eq!(here.peek().await.unwrap().reset_after(), Duration::ZERO);
    here.check_n(4).await.unwrap();
    for _ in 0..3 {
        assert_eq!(there.peek().await.unwrap().remaining(), 1);
    }
    assert!(here.peek().await.unwrap().reset_after() > Duration::from_secs(3 * 3_600));
    there.reset().await.unwrap();
    assert_eq!(here.check_n(5).await.unwrap().remaining(), 0);
}

async fn keys_have_buckets_of_their_own(_: TestRuntime) {
    let server = Server::start();
    let per_user = DistributedLimiter::builder(&server.connect())
        .keyed::<str>("user")
        .rate("1/h")
        .burst(1)
        .build()
        .unwrap();
    for user in ["ann", "bob", "", "{", "}", "a}b{", "ü\n\0", "x:{ann}"] {
        per_user.check(user).await.unwrap();
        assert!(per_user.check(user).await.is_err(), "{user:?}");
    }
    per_user.reset("ann").await.unwrap();
    assert_eq!(per_user.peek("ann").await.unwrap().remaining(), 1);
    assert_eq!(per_user.peek("bob").await.unwrap().remaining(), 0);
    assert_eq!(per_user.check_n("ann", 1).await.unwrap().remaining(), 0);
    let stats = per_user.stats();
    assert_eq!((stats.granted, stats.denied), (9, 8));
}

async fn another_rate_keeps_the_tokens(_: TestRuntime) {
    let server = Server::start();
    let redis = server.connect();
    let slow = slow(&redis, 100);
    let other = named(&redis, 100).rate("7/11h").build().unwrap();
    slow.check_n(60).await.unwrap();
    assert_eq!(other.check_n(10).await.unwrap().remaining(), 30);
    assert_eq!(slow.check_n(10).await.unwrap().remaining(), 20);
    // A smaller bucket holds less.
    let small = named(&redis, 5).build().unwrap();
    assert_eq!(small.check_n(3).await.unwrap().remaining(), 2);
    assert_eq!(slow.peek().await.unwrap().remaining(), 2);
}

async fn another_burst_is_not_forgotten_before_it_is_full(_: TestRuntime) {
    const HOUR: i64 = 3_600_000;
    let server = Server::start();
    let redis = server.connect();
    let (large, small) = (slow(&redis, 100), slow(&redis, 5));
    let fast = named(&redis, 5).rate("10/s").build().unwrap();
    let ttl = || -> i64 { server.command(&["PTTL", "flow:{api}"]).parse().unwrap() };
    large.check().await.unwrap();
    assert!(ttl() <= HOUR + 1, "alone, it is full after an hour");
    for other in [&small, &fast] {
        other.check().await.unwrap();
        assert!(ttl() > 95 * HOUR, "{}: four of a hundred are left", ttl());
        assert!(large.peek().await.unwrap().remaining() < 5);
        large.check().await.unwrap();
        assert!(ttl() > 95 * HOUR, "{}", ttl());
    }
}

async fn a_flushed_script_is_sent_again(_: TestRuntime) {
    let server = Server::start();
    let limiter = slow(&server.connect(), 3);
    limiter.check().await.unwrap();
    assert_eq!(server.command(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(limiter.check().await.unwrap().remaining(), 1);
    assert_eq!(server.command(&["FLUSHALL"]), "OK");
    assert_eq!(limiter.check().await.unwrap().remaining(), 2);
    assert_eq!(limiter.stats().failures, 0);
}

async fn a_foreign_value_is_an_error_not_a_bucket(_: TestRuntime) {
    let server = Server::start();
    let redis = server.connect();
    let closed = slow(&redis, 3);
    server.command(&["SET", "flow:{api}", "mine"]);
    let error = closed.check().await.unwrap_err();
    assert!(matches!(error, CheckError::Unavailable(_)), "{error:?}");
    let failure = closed.stats().last_failure.unwrap().to_string();
    assert!(failure.contains("FOREIGNVALUE"), "{failure}");
    server.command(&["DEL", "flow:{api}"]);
    server.command(&["LPUSH", "flow:{api}", "mine"]);
    let failure = closed.peek().await.unwrap_err().to_string();
    assert!(failure.contains("WRONGTYPE"), "{failure}");
    assert_eq!(server.command(&["LLEN", "flow:{api}"]), "1");
    let open = named(&redis, 3)
        .on_failure(FailurePolicy::Open)
        .build()
        .unwrap();
    assert_eq!(open.check().await.unwrap().source(), Source::Fallback);
}

async fn a_wrong_password_is_an_error_until_it_is_right(rt: TestRuntime) {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "svc", "on", ">right", "~*", "+@all"]);
    let redis = connect(server.url().replace("redis://", "redis://svc:given@"));
    assert!(!format!("{redis:?}").contains("given"), "{redis:?}");
    let limiter = slow(&redis, 3);
    let error = limiter.check().await.unwrap_err();
    assert!(matches!(error, CheckError::Unavailable(_)), "{error:?}");
    let failure = limiter.stats().last_failure.unwrap().to_string();
    assert!(failure.contains("WRONGPASS"), "{failure}");
    // The operator sets the password that the service has: nothing has given up.
    server.command(&["ACL", "SETUSER", "svc", ">given"]);
    eventually(&rt, "the password is right", async || {
        limiter.check().await.is_ok()
    })
    .await;
}

async fn a_dropped_check_harms_nothing(rt: TestRuntime) {
    let server = Server::start();
    let limiter = slow(&server.connect(), 1_000);
    drop(limiter.check());
    assert_eq!(limiter.peek().await.unwrap().remaining(), 1_000);
    for _ in 0..20 {
        // Ends at its first poll.
        let _ = rt.timeout(Duration::ZERO, limiter.check()).await;
    }
    let left = limiter.check().await.unwrap().remaining();
    assert!((979..=999).contains(&left), "{left}");
}

#[test]
fn acquire_sleeps_in_real_time_too() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let tokio = Handle::tokio(tokio.handle().clone()).unwrap();
    for rt in [tokio, Handle::smol(), Handle::async_std()] {
        let server = Server::start();
        let limiter = DistributedLimiter::builder(&server.connect())
            .key("api")
            .rate(Rate::per_second(10))
            .burst(1)
            .runtime(&rt)
            .build()
            .unwrap();
        let start = rt.now();
        block_on(async {
            for _ in 0..3 {
                limiter.acquire().await.unwrap();
            }
        })
        .unwrap();
        // The server's clock is the wall clock, which may be slewed.
        assert!(rt.now().saturating_duration_since(start) >= Duration::from_millis(199));
    }
}

#[test]
fn case_218_what_is_missing_or_wrong_is_named() {
    let redis = RedisBackend::connect("redis://127.0.0.1:1").unwrap();
    let builder = || DistributedLimiter::builder(&redis);
    let error = |builder: LimiterBuilder<Single>| builder.build().map(drop).unwrap_err();
    let rate = Rate::per_second(1);
    assert_eq!(
        error(builder().rate(rate).burst(1)),
        DistributedConfigError::MissingKey
    );
    assert_eq!(
        error(builder().key("k").burst(1)),
        DistributedConfigError::MissingRate
    );
    assert_eq!(
        error(builder().key("k").rate(rate)),
        DistributedConfigError::MissingBurst
    );
    assert_eq!(
        error(builder().key("k").rate(rate).burst(0)),
        DistributedConfigError::ZeroBurst
    );
    assert!(matches!(
        error(builder().key("").rate(rate).burst(1)),
        DistributedConfigError::Key { .. }
    ));
    assert!(matches!(
        error(builder().key("k").rate("often").burst(1)),
        DistributedConfigError::Rate(_)
    ));
    for given in [
        Rate::ZERO,
        Rate::UNLIMITED,
        Rate::per(u64::MAX, Duration::MAX).unwrap(),
    ] {
        let error = error(builder().key("k").rate(given).burst(1));
        let named = matches!(
            error,
            DistributedConfigError::RateOutOfRange { .. }
                | DistributedConfigError::BurstTooLarge { max: 0, .. }
        );
        assert!(named, "{given:?}: {error}");
    }
    let large = error(builder().key("k").rate("1/h").burst(u64::MAX));
    let DistributedConfigError::BurstTooLarge { max, .. } = large else {
        panic!("{large}")
    };
    assert!(builder().key("k").rate("1/h").burst(max).build().is_ok());
    assert!(
        builder()
            .key("k")
            .rate("1/h")
            .burst(max + 1)
            .build()
            .is_err()
    );
    for prefix in ["", "a:b", "a{b", "a}b"] {
        let error = error(builder().prefix(prefix).key("k").rate(rate).burst(1));
        assert!(
            matches!(error, DistributedConfigError::Key { .. }),
            "{prefix}: {error}"
        );
        let keyed = builder().keyed::<u64>(prefix).rate(rate).burst(1).build();
        assert!(
            matches!(keyed, Err(DistributedConfigError::Key { .. })),
            "{prefix}"
        );
    }
}

#[test]
fn addresses_are_checked() {
    for url in [
        "",
        "127.0.0.1",
        "http://127.0.0.1",
        "redis://",
        "redis://host:port",
        "redis-moon://h",
    ] {
        let error = RedisBackend::connect(url).map(drop);
        assert!(error.is_err(), "{url:?}");
    }
    let secret = RedisBackend::connect("redis://:secret@host:port")
        .map(drop)
        .unwrap_err();
    assert!(
        !format!("{secret} {secret:?}").contains("secret"),
        "{secret:?}"
    );
    for url in [
        "redis://h",
        "valkey://h:1/2",
        "redis-cluster://h:1?node=g:2",
        "redis+unix:///tmp/x",
    ] {
        assert!(RedisBackend::connect(url).is_ok(), "{url:?}");
    }
    let zero = RedisBackend::builder("redis://h")
        .timeout(Duration::ZERO)
        .build();
    assert!(zero.is_err());
    #[cfg(not(feature = "tls"))]
    assert!(
        RedisBackend::connect("rediss://h")
            .map(drop)
            .unwrap_err()
            .to_string()
            .contains("`tls`")
    );
}
