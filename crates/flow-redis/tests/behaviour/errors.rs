//! What the errors say, word for word, what they come from, and what `{:?}` tells.

use std::error::Error;
use std::io;
use std::time::Duration;

use flow_ratelimit::{ConfigError, Denied, Rate, TokenBucket};
use flow_redis::{
    AcquireError, CheckError, ConnectError, DistributedConfigError, DistributedLimiter,
    FailurePolicy, RedisBackend, RedisError, Source,
};
use flow_rt::HandleError;

#[track_caller]
fn says<E: Error>(error: &E, text: &str, source: Option<&dyn Error>) {
    assert_eq!(error.to_string(), text);
    assert_eq!(
        error.source().map(ToString::to_string),
        source.map(ToString::to_string)
    );
}

#[test]
fn of_connecting() {
    let url = ConnectError::Url {
        reason: "it has no host".to_owned(),
    };
    says(
        &url,
        "the address of the server cannot be used: it has no host; write it like \
         redis://host:6379",
        None,
    );
    says(
        &ConnectError::TlsDisabled,
        "the address asks for TLS; enable flow-redis's feature `tls`",
        None,
    );
    says(
        &ConnectError::ZeroTimeout,
        "the timeout is 0; it must be longer",
        None,
    );
    says(
        &ConnectError::Thread(io::Error::other("no more threads")),
        "the driver's thread could not be started",
        Some(&io::Error::other("no more threads")),
    );
}

#[test]
fn of_asking_a_server() {
    let errors = [
        (
            RedisError::NotConnected { reason: None },
            "not connected to the server",
        ),
        (
            RedisError::NotConnected {
                reason: Some("connection refused".into()),
            },
            "not connected to the server: connection refused",
        ),
        (
            RedisError::Timeout {
                after: Duration::from_millis(250),
            },
            "no answer from the server within 250ms",
        ),
        (
            RedisError::ConnectionLost {
                reason: "reset by peer".into(),
            },
            "the connection to the server broke: reset by peer",
        ),
        (
            RedisError::Refused {
                reply: "NOAUTH".into(),
            },
            "the server refused: NOAUTH",
        ),
        (
            RedisError::Redirected,
            "the cluster is moving the key to another node",
        ),
        (
            RedisError::Stopped,
            "the driver ended before the server answered",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
}

#[test]
fn of_building_a_limiter() {
    let errors = [
        (
            DistributedConfigError::MissingKey,
            "no key was given: call `.key(..)` or `.keyed(..)`",
        ),
        (
            DistributedConfigError::MissingRate,
            "no rate was given: call `.rate(..)`",
        ),
        (
            DistributedConfigError::MissingBurst,
            "no burst was given: call `.burst(..)`",
        ),
        (
            DistributedConfigError::Key {
                given: "a}".to_owned(),
                reason: "holds a brace",
            },
            "\"a}\" holds a brace",
        ),
        (
            DistributedConfigError::RateOutOfRange {
                given: Rate::UNLIMITED,
            },
            "the rate unlimited cannot be kept on a server: it must be above zero, limited, and \
             at most 2^53 tokens per microsecond in lowest terms",
        ),
        (
            DistributedConfigError::ZeroBurst,
            "the burst must be at least 1: a bucket of 0 would grant nothing",
        ),
        (
            DistributedConfigError::BurstTooLarge {
                given: 9,
                rate: Rate::per_hour(1),
                max: 8,
            },
            "the burst 9 is too large to be exact on a server at a rate of 1/h: at most 8",
        ),
        (
            DistributedConfigError::LocalForKeys,
            "one local limiter cannot stand in for many keys: choose FailurePolicy::Open or Closed",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
    let zero = ConfigError::ZeroPeriod;
    says(
        &DistributedConfigError::Rate(zero.clone()),
        &zero.to_string(),
        Some(&zero),
    );
}

#[test]
fn of_checking_and_of_waiting() {
    let soon = Duration::from_millis(250);
    let not_yet = CheckError::NotYet {
        retry_after: soon,
        source: Source::Remote,
    };
    let text = "not enough tokens yet; retry after 250ms";
    says(&not_yet, text, None);
    assert_eq!(not_yet.retry_after(), Some(soon));
    says(&AcquireError::from(not_yet.clone()), text, None);

    let too_many = CheckError::ExceedsBurst {
        requested: 3,
        burst: 2,
    };
    says(
        &too_many,
        "3 tokens were asked for, but the bucket never holds more than its burst of 2",
        None,
    );
    says(
        &CheckError::Fallback(Denied::Closed),
        "the server is away and the local limiter denied",
        Some(&Denied::Closed),
    );
    let away = CheckError::Unavailable(RedisError::Stopped);
    let text = "the server did not decide, and the policy is to deny then";
    says(&away, text, Some(&RedisError::Stopped));
    assert_eq!(away.retry_after(), None);
    says(
        &AcquireError::Check(away.clone()),
        text,
        Some(&RedisError::Stopped),
    );
    let nowhere = HandleError::NotFound;
    says(
        &AcquireError::NoRuntime(nowhere),
        "there is no async runtime to wait on",
        Some(&nowhere),
    );
    says(
        &AcquireError::Stopped,
        "the runtime to wait on has been shut down",
        None,
    );

    // Those who only decide get the reason without the server's part in it.
    let decisions = [
        (AcquireError::from(not_yet), Denied::not_yet(soon)),
        (too_many.into(), Denied::exceeds_burst(3, 2)),
        (CheckError::Fallback(Denied::Closed).into(), Denied::Closed),
        (away.into(), Denied::Unavailable),
        (AcquireError::NoRuntime(nowhere), Denied::NoRuntime),
        (AcquireError::Stopped, Denied::NoRuntime),
    ];
    for (error, denied) in decisions {
        assert_eq!(Denied::from(error), denied);
    }
}

#[test]
fn limiters_show_what_they_were_told() {
    let redis = RedisBackend::connect("redis://127.0.0.1:1").unwrap();
    let builder = DistributedLimiter::builder(&redis)
        .key("k")
        .name("api")
        .rate("10/s burst 5");
    let text = format!("{builder:?}");
    for part in ["LimiterBuilder", "\"api\"", "\"flow\""] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let limiter = builder.build().unwrap();
    assert_eq!(limiter.name(), "api");
    let text = format!("{limiter:?}");
    assert!(
        text.starts_with("DistributedLimiter { key: \"flow:{k}\"") && text.contains("\"api\""),
        "{text}"
    );

    let keyed = || {
        let builder = DistributedLimiter::builder(&redis).keyed::<str>("user");
        builder.rate("10/s burst 5")
    };
    let limiter = keyed().build().unwrap();
    assert_eq!((limiter.name(), limiter.clone().name()), ("user", "user"));
    let text = format!("{limiter:?}");
    assert!(
        text.starts_with("KeyedDistributedLimiter { prefix: \"flow:user:\""),
        "{text}"
    );
    let local = TokenBucket::new("1/s", 1).unwrap();
    let refused = keyed().on_failure(FailurePolicy::local(&local)).build();
    assert_eq!(
        refused.map(drop).unwrap_err(),
        DistributedConfigError::LocalForKeys
    );
    let twice = keyed().burst(6).build().map(drop).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "two bursts were given, 5 beside the rate and 6 by `.burst(..)`: give one"
    );
}
