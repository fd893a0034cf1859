//! One error for programs that use several crates.

use core::fmt;
use core::time::Duration;
use std::error::Error as StdError;

/// Any error of flow, for a `main` or a handler that passes them on.
///
/// Its `Debug` prints the whole chain in words, because that is what a `main` returning it
/// shows. Match on the crates' own errors where you want to react to one.
pub struct Error {
    source: Box<dyn StdError + Send + Sync + 'static>,
    retry_after: Option<Duration>,
}

impl Error {
    /// When trying again will help: set for limits that say *not yet*.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The crate's own error, if it is an `E`.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.source.downcast_ref()
    }

    fn new(source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            source: Box::new(source),
            retry_after: None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, "\ncaused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.source()
    }
}

macro_rules! gathers {
    ($($(#[$when:meta])* $error:ty),* $(,)?) => {$(
        $(#[$when])*
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::new(error)
            }
        }
    )*};
}

gathers! {
    flow_rt::HandleError,
    flow_rt::DefaultAlreadySet,
    flow_rt::JoinError,
    flow_rt::TimeoutError,
    flow_rt::Stopped,
    flow_rt::ZeroPeriod,
    flow_rt::CoarseClockError,
    flow_rt::BlockOnError,
    flow_rt::ContextError,
    flow_rt::BaggageError,
    flow_rt::TraceContextError,
    flow_rt::BackoffConfigError,
    flow_rt::RetryBudgetConfigError,
    #[cfg(feature = "sim")] flow_rt::sim::Failure,
    #[cfg(feature = "ratelimit")] flow_ratelimit::ConfigError,
    #[cfg(feature = "ratelimit")] flow_ratelimit::BreakerConfigError,
    #[cfg(feature = "ratelimit")] flow_ratelimit::ConcurrencyConfigError,
    #[cfg(feature = "ratelimit")] flow_ratelimit::AdaptiveConfigError,
    #[cfg(feature = "ratelimit")] flow_ratelimit::TryPermitError,
    #[cfg(feature = "ratelimit")] flow_ratelimit::PermitError,
    #[cfg(feature = "ratelimit")] flow_ratelimit::ClassedConfigError,
    #[cfg(feature = "ratelimit")] flow_ratelimit::MergeError<flow_ratelimit::OwnedPermit>,
    #[cfg(feature = "ratelimit")] flow_ratelimit::MergeError<flow_ratelimit::AdaptiveOwnedPermit>,
    #[cfg(feature = "ratelimit")] flow_ratelimit::MergeError<flow_ratelimit::OwnedClassPermit>,
    #[cfg(all(feature = "ratelimit", feature = "http"))] flow_ratelimit::fields::PolicyError,
    #[cfg(all(feature = "ratelimit", feature = "http"))] flow_ratelimit::fields::ProxyError,
    #[cfg(feature = "metrics")] flow_metrics::DescError,
    #[cfg(feature = "metrics")] flow_metrics::RegisterError,
    #[cfg(feature = "metrics")] flow_metrics::RegistryError,
    #[cfg(feature = "metrics")] flow_metrics::BoundsError,
    #[cfg(feature = "sched")] flow_sched::LoadError,
    #[cfg(feature = "sched")] flow_sched::PoolConfigError,
    #[cfg(feature = "sched")] flow_sched::TaskError,
    #[cfg(feature = "sched")] flow_sched::SchedulerConfigError,
    #[cfg(feature = "sched")] flow_sched::CandidateConfigError,
    #[cfg(feature = "sched")] flow_sched::StaleFence,
    #[cfg(all(feature = "sched", feature = "serde"))] flow_sched::JobTableError,
    #[cfg(feature = "sched")] flow_sched::ScheduleError,
    #[cfg(feature = "sched")] flow_sched::TriggerNowError,
    #[cfg(feature = "sched")] flow_sched::StartAllError,
    #[cfg(feature = "sched")] flow_sched::ChainConfigError,
    #[cfg(feature = "sched")] flow_sched::ChainError,
    #[cfg(feature = "sched")] flow_sched::BatchConfigError,
    #[cfg(feature = "sched")] flow_sched::BatchError,
    #[cfg(feature = "sched")] flow_sched::PartError,
    #[cfg(feature = "sched")] flow_sched::WindowError,
    #[cfg(feature = "sched")] flow_sched::HolidayError,
    #[cfg(feature = "sched")] flow_sched::CronError,
    #[cfg(feature = "sched")] flow_sched::UnknownZone,
    #[cfg(feature = "stream")] flow_stream::ChannelConfigError,
    #[cfg(feature = "stream")] flow_stream::ReserveError,
    #[cfg(feature = "stream")] flow_stream::SendManyError,
    #[cfg(feature = "stream")] flow_stream::RecvError,
    #[cfg(feature = "stream")] flow_stream::TryRecvError,
    #[cfg(feature = "stream")] flow_stream::RecvTimeoutError,
    #[cfg(feature = "stream")] flow_stream::RecvBlockingError,
    #[cfg(feature = "stream")] flow_stream::broadcast::ConfigError,
    #[cfg(feature = "stream")] flow_stream::broadcast::RecvError,
    #[cfg(feature = "stream")] flow_stream::broadcast::TryRecvError,
    #[cfg(feature = "stream")] flow_stream::broadcast::RecvTimeoutError,
    #[cfg(feature = "stream")] flow_stream::broadcast::RecvBlockingError,
    #[cfg(feature = "stream")] flow_stream::oneshot::RecvError,
    #[cfg(feature = "stream")] flow_stream::oneshot::TryRecvError,
    #[cfg(feature = "stream")] flow_stream::oneshot::RecvTimeoutError,
    #[cfg(feature = "stream")] flow_stream::oneshot::RecvBlockingError,
    #[cfg(feature = "stream")] flow_stream::watch::RecvError,
    #[cfg(feature = "stream")] flow_stream::WriterConfigError,
    #[cfg(feature = "stream")] flow_stream::WriteError,
    #[cfg(feature = "stream")] flow_stream::FlushError,
    #[cfg(feature = "redis")] flow_redis::ConnectError,
    #[cfg(feature = "redis")] flow_redis::RedisError,
    #[cfg(feature = "redis")] flow_redis::DistributedConfigError,
    #[cfg(feature = "redis")] flow_redis::AcquireError,
}

#[cfg(feature = "ratelimit")]
impl From<flow_ratelimit::Denied> for Error {
    fn from(denied: flow_ratelimit::Denied) -> Self {
        Self {
            retry_after: denied.retry_after(),
            ..Self::new(denied)
        }
    }
}

#[cfg(feature = "ratelimit")]
impl From<flow_ratelimit::AcquireError> for Error {
    fn from(error: flow_ratelimit::AcquireError) -> Self {
        Self {
            retry_after: flow_ratelimit::Denied::from(error).retry_after(),
            ..Self::new(error)
        }
    }
}

#[cfg(feature = "ratelimit")]
impl From<flow_ratelimit::AcquireBlockingError> for Error {
    fn from(error: flow_ratelimit::AcquireBlockingError) -> Self {
        let retry_after = match error {
            flow_ratelimit::AcquireBlockingError::NotGranted(why) => {
                flow_ratelimit::Denied::from(why).retry_after()
            }
            // A thread that must not wait is not helped by time.
            _ => None,
        };
        Self {
            retry_after,
            ..Self::new(error)
        }
    }
}

#[cfg(feature = "ratelimit")]
impl From<flow_ratelimit::CallRejected> for Error {
    fn from(rejected: flow_ratelimit::CallRejected) -> Self {
        Self {
            retry_after: rejected.retry_after(),
            ..Self::new(rejected)
        }
    }
}

/// The task's own error stays inside: `downcast_ref` finds it in a `GroupError`.
#[cfg(feature = "sched")]
impl<E: StdError + Send + Sync + 'static> From<flow_sched::GroupError<E>> for Error {
    fn from(error: flow_sched::GroupError<E>) -> Self {
        Self::new(error)
    }
}

/// The call's own error stays inside: `downcast_ref` finds it in a `CallError`.
#[cfg(feature = "ratelimit")]
impl<E: StdError + Send + Sync + 'static> From<flow_ratelimit::CallError<E>> for Error {
    fn from(error: flow_ratelimit::CallError<E>) -> Self {
        Self {
            retry_after: error.retry_after(),
            ..Self::new(error)
        }
    }
}

#[cfg(feature = "ratelimit")]
impl From<flow_ratelimit::DeniedBy> for Error {
    fn from(by: flow_ratelimit::DeniedBy) -> Self {
        Self {
            retry_after: by.retry_after(),
            ..Self::new(by)
        }
    }
}

#[cfg(feature = "ratelimit")]
impl From<flow_ratelimit::DeniedByLimit> for Error {
    fn from(by: flow_ratelimit::DeniedByLimit) -> Self {
        Self {
            retry_after: by.retry_after(),
            ..Self::new(by)
        }
    }
}

/// The service's own error stays inside: `downcast_ref` finds it in a `LimitError`.
#[cfg(all(feature = "ratelimit", feature = "tower"))]
impl<E: StdError + Send + Sync + 'static> From<flow_ratelimit::LimitError<E>> for Error {
    fn from(error: flow_ratelimit::LimitError<E>) -> Self {
        Self {
            retry_after: error.retry_after(),
            ..Self::new(error)
        }
    }
}

/// As of limits of rate.
#[cfg(all(feature = "ratelimit", feature = "tower"))]
impl<E: StdError + Send + Sync + 'static>
    From<flow_ratelimit::LimitError<E, flow_ratelimit::CallRejected>> for Error
{
    fn from(error: flow_ratelimit::LimitError<E, flow_ratelimit::CallRejected>) -> Self {
        Self {
            retry_after: error.retry_after(),
            ..Self::new(error)
        }
    }
}

/// As of limits of rate.
#[cfg(all(feature = "ratelimit", feature = "tower"))]
impl<E: StdError + Send + Sync + 'static>
    From<flow_ratelimit::LimitError<E, flow_ratelimit::PermitError>> for Error
{
    fn from(error: flow_ratelimit::LimitError<E, flow_ratelimit::PermitError>) -> Self {
        Self::new(error)
    }
}

#[cfg(feature = "redis")]
impl From<flow_redis::CheckError> for Error {
    fn from(error: flow_redis::CheckError) -> Self {
        Self {
            retry_after: error.retry_after(),
            ..Self::new(error)
        }
    }
}

/// The last run's error is the first cause.
impl<E: StdError + Send + Sync + 'static> From<flow_rt::RetryError<E>> for Error {
    fn from(error: flow_rt::RetryError<E>) -> Self {
        Self::new(error)
    }
}

macro_rules! gathers_with_item {
    ($($(#[$when:meta])* $error:ty),* $(,)?) => {$(
        $(#[$when])*
        impl<T: Send + 'static> From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::new(error)
            }
        }
    )*};
}

// The item stays inside: `downcast_ref` finds it.
gathers_with_item! {
    #[cfg(feature = "sched")] flow_sched::SubmitError<T>,
    #[cfg(feature = "sched")] flow_sched::TrySubmitError<T>,
    #[cfg(feature = "stream")] flow_stream::SendError<T>,
    #[cfg(feature = "stream")] flow_stream::TrySendError<T>,
    #[cfg(feature = "stream")] flow_stream::SendTimeoutError<T>,
    #[cfg(feature = "stream")] flow_stream::SendBlockingError<T>,
    #[cfg(feature = "stream")] flow_stream::broadcast::SendError<T>,
    #[cfg(feature = "stream")] flow_stream::broadcast::TrySendError<T>,
    #[cfg(feature = "stream")] flow_stream::broadcast::SendTimeoutError<T>,
    #[cfg(feature = "stream")] flow_stream::broadcast::SendBlockingError<T>,
    #[cfg(feature = "stream")] flow_stream::oneshot::SendError<T>,
    #[cfg(feature = "stream")] flow_stream::watch::SendError<T>,
}
