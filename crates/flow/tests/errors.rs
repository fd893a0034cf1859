//! Every error that a crate exports passes through `?` into the facade's. `xtask/tests/errors.rs`
//! finds the ones that nobody put here.
#![cfg(all(
    feature = "ratelimit",
    feature = "sched",
    feature = "stream",
    feature = "metrics"
))]

use std::error::Error as StdError;
use std::fmt;

use flow::{metrics, ratelimit, rt, sched, stream};

/// What `?` does with an `E`.
fn passes<E>()
where
    E: StdError + Send + Sync + 'static,
    flow::Error: From<E>,
{
    fn question_mark<E>(result: Result<(), E>) -> Result<(), flow::Error>
    where
        flow::Error: From<E>,
    {
        result?;
        Ok(())
    }
    assert!(question_mark::<E>(Ok(())).is_ok());
}

/// An item that is neither `Sync` nor `Debug`: the errors that carry one ask for `Send` only.
type Item = std::cell::Cell<u8>;

#[derive(Debug)]
struct Own;

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error of the program's own")
    }
}

impl StdError for Own {}

#[test]
fn those_of_the_runtime() {
    passes::<rt::HandleError>();
    passes::<rt::DefaultAlreadySet>();
    passes::<rt::JoinError>();
    passes::<rt::TimeoutError>();
    passes::<rt::Stopped>();
    passes::<rt::ZeroPeriod>();
    passes::<rt::CoarseClockError>();
    passes::<rt::BlockOnError>();
    passes::<rt::ContextError>();
    passes::<rt::BaggageError>();
    passes::<rt::TraceContextError>();
    passes::<rt::BackoffConfigError>();
    passes::<rt::RetryBudgetConfigError>();
    passes::<rt::RetryError<Own>>();
    #[cfg(feature = "sim")]
    passes::<rt::sim::Failure>();
}

#[test]
fn those_of_the_limiters() {
    passes::<ratelimit::ConfigError>();
    passes::<ratelimit::Denied>();
    passes::<ratelimit::DeniedBy>();
    passes::<ratelimit::DeniedByLimit>();
    passes::<ratelimit::AcquireError>();
    passes::<ratelimit::AcquireBlockingError>();
    passes::<ratelimit::BreakerConfigError>();
    passes::<ratelimit::CallRejected>();
    passes::<ratelimit::CallError<Own>>();
    passes::<ratelimit::ConcurrencyConfigError>();
    passes::<ratelimit::AdaptiveConfigError>();
    passes::<ratelimit::TryPermitError>();
    passes::<ratelimit::PermitError>();
    passes::<ratelimit::ClassedConfigError>();
    passes::<ratelimit::MergeError<ratelimit::OwnedPermit>>();
    passes::<ratelimit::MergeError<ratelimit::AdaptiveOwnedPermit>>();
    passes::<ratelimit::MergeError<ratelimit::OwnedClassPermit>>();
}

#[cfg(feature = "tower")]
#[test]
fn those_of_layered_services() {
    passes::<ratelimit::LimitError<Own>>();
    passes::<ratelimit::LimitError<Own, ratelimit::CallRejected>>();
    passes::<ratelimit::LimitError<Own, ratelimit::PermitError>>();
}

#[cfg(feature = "http")]
#[test]
fn those_of_fields() {
    passes::<ratelimit::fields::PolicyError>();
    passes::<ratelimit::fields::ProxyError>();
}

#[test]
fn a_breaker_that_is_open_says_when_to_come_back() {
    use std::time::Duration;

    use flow::ratelimit::{CallError, CircuitBreaker};

    let open_for = Duration::from_secs(3600);
    let breaker = CircuitBreaker::builder().open_for(open_for);
    let breaker = breaker.build().unwrap();
    let failed = breaker.call_sync(|| Err::<(), _>(Own)).unwrap_err();
    let error = flow::Error::from(failed);
    assert_eq!(error.to_string(), Own.to_string());
    assert_eq!(error.retry_after(), None);
    assert!(matches!(error.downcast_ref(), Some(CallError::Inner(Own))));
    breaker.open();
    let rejected = breaker.call_sync(|| Err::<(), _>(Own)).unwrap_err();
    let error = flow::Error::from(rejected);
    let retry_after = error.retry_after().unwrap();
    assert!(!retry_after.is_zero() && retry_after <= open_for);
    let rejected = breaker.try_acquire().map(drop).unwrap_err();
    assert!(flow::Error::from(rejected).retry_after().is_some());
}

#[test]
fn a_wait_that_comes_to_nothing_says_when_to_come_back() {
    use std::time::Duration;

    use flow::ratelimit::TokenBucket;

    let retries = |bucket: &TokenBucket| {
        let limit = Duration::from_millis(1);
        let blocking = bucket.acquire_blocking_timeout(limit).unwrap_err();
        let waits = rt::block_on(bucket.acquire_timeout(Duration::ZERO)).unwrap();
        [waits.unwrap_err().into(), blocking.into()].map(|error: flow::Error| error.retry_after())
    };
    let hourly = TokenBucket::new("1/h", 1).unwrap();
    hourly.try_acquire().unwrap();
    let hour = Duration::from_secs(3_600);
    for retry_after in retries(&hourly) {
        let retry_after = retry_after.expect("it comes");
        assert!(retry_after > hour / 2 && retry_after <= hour);
    }
    hourly.close();
    assert_eq!(retries(&hourly), [None, None]);
}

/// What a `main` shows that returns an error: an error that has another's text in its own does not
/// name that one as its cause too.
#[test]
fn no_cause_is_told_twice() {
    use std::time::Duration;

    use flow::ratelimit::{AdaptiveLimiterBuilder, Aimd, CircuitBreaker, ConcurrencyLimiter};
    use flow::sched::Cron;

    let zone = || Cron::new("TZ=Europe/Berlim 0 9 * * *").unwrap_err();
    let breaker = CircuitBreaker::builder().open_for(Duration::ZERO).build();
    let adaptive: AdaptiveLimiterBuilder = ConcurrencyLimiter::adaptive(Aimd::new()).range(0..=9);
    let errors: [flow::Error; 4] = [
        zone().into(),
        sched::ScheduleError::Cron(zone()).into(),
        breaker.map(drop).unwrap_err().into(),
        adaptive.build().map(drop).unwrap_err().into(),
    ];
    for error in errors {
        let shown = format!("{error:?}");
        let mut told = shown.split("\ncaused by: ").collect::<Vec<_>>();
        while let Some(cause) = told.pop() {
            let twice = told.iter().any(|before| before.contains(cause));
            assert!(!twice, "{shown}");
        }
    }
}

#[test]
fn those_of_pool_and_scheduler() {
    passes::<sched::LoadError>();
    passes::<sched::PoolConfigError>();
    passes::<sched::TaskError>();
    passes::<sched::GroupError<Own>>();
    passes::<sched::SubmitError<Item>>();
    passes::<sched::TrySubmitError<Item>>();
    passes::<sched::SchedulerConfigError>();
    passes::<sched::CandidateConfigError>();
    passes::<sched::StaleFence>();
    #[cfg(feature = "serde")]
    passes::<sched::JobTableError>();
    passes::<sched::ScheduleError>();
    passes::<sched::TriggerNowError>();
    passes::<sched::ChainConfigError>();
    passes::<sched::ChainError>();
    passes::<sched::BatchConfigError>();
    passes::<sched::BatchError>();
    passes::<sched::PartError>();
    passes::<sched::StartAllError>();
    passes::<sched::WindowError>();
    passes::<sched::HolidayError>();
    passes::<sched::CronError>();
    passes::<sched::UnknownZone>();
}

#[test]
fn those_of_channel_and_writer() {
    passes::<stream::ChannelConfigError>();
    passes::<stream::SendError<Item>>();
    passes::<stream::TrySendError<Item>>();
    passes::<stream::SendTimeoutError<Item>>();
    passes::<stream::SendBlockingError<Item>>();
    passes::<stream::ReserveError>();
    passes::<stream::SendManyError>();
    passes::<stream::RecvError>();
    passes::<stream::TryRecvError>();
    passes::<stream::RecvTimeoutError>();
    passes::<stream::RecvBlockingError>();
    passes::<stream::broadcast::ConfigError>();
    passes::<stream::broadcast::SendError<Item>>();
    passes::<stream::broadcast::TrySendError<Item>>();
    passes::<stream::broadcast::SendTimeoutError<Item>>();
    passes::<stream::broadcast::SendBlockingError<Item>>();
    passes::<stream::broadcast::RecvError>();
    passes::<stream::broadcast::TryRecvError>();
    passes::<stream::broadcast::RecvTimeoutError>();
    passes::<stream::broadcast::RecvBlockingError>();
    passes::<stream::oneshot::SendError<Item>>();
    passes::<stream::oneshot::RecvError>();
    passes::<stream::oneshot::TryRecvError>();
    passes::<stream::oneshot::RecvTimeoutError>();
    passes::<stream::oneshot::RecvBlockingError>();
    passes::<stream::watch::SendError<Item>>();
    passes::<stream::watch::RecvError>();
    passes::<stream::WriterConfigError>();
    passes::<stream::WriteError>();
    passes::<stream::FlushError>();
}

#[test]
fn those_of_the_metrics() {
    passes::<metrics::DescError>();
    passes::<metrics::RegisterError>();
    passes::<metrics::RegistryError>();
    passes::<metrics::BoundsError>();
}

#[cfg(feature = "redis")]
#[test]
fn those_of_redis() {
    use flow::redis;

    passes::<redis::ConnectError>();
    passes::<redis::RedisError>();
    passes::<redis::DistributedConfigError>();
    passes::<redis::CheckError>();
    passes::<redis::AcquireError>();
}

#[cfg(feature = "redis")]
#[test]
fn a_denial_across_processes_says_when_to_come_back() {
    use std::time::Duration;

    use flow::redis::{CheckError, Source};

    let retry_after = Duration::from_millis(250);
    let denied = CheckError::NotYet {
        retry_after,
        source: Source::Remote,
    };
    assert_eq!(flow::Error::from(denied).retry_after(), Some(retry_after));
    let never = CheckError::ExceedsBurst {
        requested: 11,
        burst: 10,
    };
    assert_eq!(flow::Error::from(never).retry_after(), None);
}
