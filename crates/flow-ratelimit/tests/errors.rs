//! What the errors say, word for word, what they come from, and when to come back.
#![cfg(not(loom))]

use std::error::Error;
use std::time::Duration;

use flow_ratelimit::{
    AcquireBlockingError, AcquireError, BreakerConfigError, CallError, CircuitBreaker,
    ConcurrencyConfigError, ConcurrencyLimiter, ConfigError, Denied, LimiterExt, PermitError, Rate,
    TokenBucket, TryPermitError,
};
use flow_rt::{BackoffConfigError, BlockOnError, HandleError, ManualClock, Stopped, sim};

const CLOSED: &str = "the limiter is closed";
const NEVER: &str = "too few tokens are left and the rate is zero, so none will come";
const TOO_MANY: &str =
    "3 tokens were asked for, but the bucket never holds more than its burst of 2";
const QUEUE_FULL: &str = "as many callers wait already as may: 4";

#[track_caller]
fn says<E: Error>(error: &E, text: &str, source: Option<&dyn Error>) {
    assert_eq!(error.to_string(), text);
    assert_eq!(
        error.source().map(ToString::to_string),
        source.map(ToString::to_string)
    );
}

#[test]
fn of_settings() {
    let errors = [
        (
            ConfigError::ZeroPeriod,
            "a rate's period must be longer than zero; `Rate::UNLIMITED` has no limit",
        ),
        (
            ConfigError::InvalidRate {
                text: "often".into(),
                reason: "it has no number",
            },
            "\"often\" is not a rate: it has no number; write it like \"100/s\", \"60/min\" or \
             \"5000/1h\"",
        ),
        (
            ConfigError::MissingRate,
            "no rate was given: call `.rate(..)` on the builder",
        ),
        (
            ConfigError::MissingBurst,
            "no burst was given: call `.burst(..)` on the builder",
        ),
        (
            ConfigError::TwoBursts {
                in_text: 5,
                given: 6,
            },
            "two bursts were given, 5 beside the rate and 6 by `.burst(..)`: give one",
        ),
        (
            ConfigError::ZeroBurst,
            "the burst must be at least 1: a bucket of 0 would grant nothing",
        ),
        (
            ConfigError::MissingCapacity,
            "no capacity was given: call `.capacity(..)` on the builder",
        ),
        (
            ConfigError::ZeroCapacity,
            "the capacity must be at least 1: one of 0 would let nobody go",
        ),
        (
            ConfigError::LevelAboveCapacity {
                given: 5,
                capacity: 3,
            },
            "a level of 5 to start with does not fit a capacity of 3",
        ),
        (
            ConfigError::RateTooHigh {
                given: Rate::per_second(9),
                max_per_second: 8,
            },
            "the rate 9/s is too high for this bucket: at most 8/s, or `Rate::UNLIMITED`",
        ),
        (
            ConfigError::BurstTooLarge { given: 9, max: 8 },
            "a burst or capacity of 9 is too large for this bucket: at most 8",
        ),
        (
            ConfigError::InitialAboveBurst { given: 9, burst: 8 },
            "9 tokens to start with do not fit a burst of 8",
        ),
        (
            ConfigError::InitialAndSnapshot,
            "a bucket starts with a snapshot's tokens or with a number of them, not with both",
        ),
        (
            ConfigError::InvalidSnapshot {
                reason: "it holds a fraction above one",
            },
            "no bucket was like this snapshot: it holds a fraction above one",
        ),
        (
            ConfigError::DebtTooLarge { given: 9, max: 8 },
            "the debt of 9 is too large for this bucket: at most 8 beside its burst",
        ),
        (
            ConfigError::JitterTooLong {
                given: Duration::from_secs(32_000_000),
            },
            "a jitter of up to 32000000s is too long: at most 365 days",
        ),
        (
            ConfigError::WarmUpTooLong {
                given: Duration::from_secs(32_000_000),
            },
            "a warm-up of 32000000s is too long: at most 365 days",
        ),
        (
            ConfigError::ZeroWaiters,
            "max_waiters must be at least 1; `try_acquire` is the call that never waits",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
}

#[test]
fn of_settings_for_credits() {
    let errors = [
        (
            ConfigError::CreditsWithDebt { debt: 5 },
            "a bucket with a debt of 5 offers no credits, neither local ones nor in shards: leave \
             `debt` out, or the credits",
        ),
        (
            ConfigError::CreditsWithBarging,
            "a bucket with `Fairness::Barging` offers no credits, neither local ones nor in \
             shards: build it with `Fairness::Fifo`",
        ),
        (
            ConfigError::CreditsWithWarmUp {
                period: Duration::from_secs(5),
            },
            "a bucket with a warm-up of 5s offers no credits, neither local ones nor in shards: \
             leave `warm_up` out, or the credits",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
}

#[test]
fn of_settings_for_keys() {
    let errors = [
        (
            ConfigError::MissingMaxKeys,
            "no number of keys was given: call `.max_keys(..)` on the builder",
        ),
        (
            ConfigError::ZeroKeys,
            "max_keys must be at least 1: a table of 0 keys would tell none from another",
        ),
        (
            ConfigError::TooManyKeys { given: 9, max: 8 },
            "9 keys are too many for one table: at most 8",
        ),
        (
            ConfigError::NoMemoryForKeys {
                given: 9,
                bytes: 256,
            },
            "there is no memory for 9 keys: their slots would take 256 bytes",
        ),
        (
            ConfigError::GrowthBelowKeys { given: 8, keys: 9 },
            "a limiter for 9 keys cannot grow to 8: to as many at the least",
        ),
        (
            ConfigError::GrowthWithoutGrow { given: 8 },
            "a limiter grows to 8 keys only by `WhenFull::Grow`: choose that, or leave `grow_to` out",
        ),
        (
            ConfigError::TooManyClasses {
                given: 300,
                max: 256,
            },
            "300 classes of keys are too many: at most 256",
        ),
        (
            ConfigError::NoSuchClass {
                given: 2,
                classes: 2,
            },
            "there is no class 2: the limiter has 2, counted from 0",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
}

#[test]
fn of_children_that_share_a_rate() {
    let errors = [
        (
            ConfigError::NoChildren,
            "no child was given: call `.child(..)` on the builder",
        ),
        (
            ConfigError::DuplicateChild { name: "web".into() },
            "two children are called \"web\": give each a name of its own",
        ),
        (
            ConfigError::UnknownChild {
                given: "batch".into(),
                known: vec!["web".into()],
            },
            "there is no child \"batch\", only [\"web\"]",
        ),
        (
            ConfigError::ZeroWeight,
            "the weight of a child must be at least 1: one of 0 would have nothing",
        ),
        (
            ConfigError::WeightsTooLarge { given: 9, max: 8 },
            "the weights of all children are 9 together: at most 8",
        ),
        (
            ConfigError::BurstBelowShares { given: 9, min: 10 },
            "the burst 9 is too small for these weights: at least 10, so that every child has one \
             token of it",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
}

#[test]
fn of_settings_for_permits() {
    let errors = [
        (
            ConcurrencyConfigError::MissingLimit,
            "no limit was given: call `.limit(..)` on the builder",
        ),
        (
            ConcurrencyConfigError::ZeroLimit,
            "the limit must be at least 1; `close` is the call after which nobody is let in",
        ),
        (
            ConcurrencyConfigError::LimitTooLarge { given: 9, max: 8 },
            "the limit 9 is too large: at most 8 permits can be counted",
        ),
        (
            ConcurrencyConfigError::ZeroWaiters,
            "max_waiters must be at least 1; `try_acquire` is the call that never waits",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
}

#[test]
fn of_asking() {
    let soon = Duration::from_millis(20);
    let errors = [
        (
            Denied::not_yet(soon),
            "not enough tokens yet; retry after 20ms",
        ),
        (Denied::exceeds_burst(3, 2), TOO_MANY),
        (Denied::NeverRefills, NEVER),
        (Denied::queue_full(4), QUEUE_FULL),
        (Denied::Closed, CLOSED),
        (Denied::NoRuntime, "there is no async runtime to wait on"),
        (Denied::Unavailable, "whoever decides could not be asked"),
    ];
    for (error, text) in errors {
        says(&error, text, None);
        let waits = matches!(error, Denied::NotYet { .. });
        assert_eq!(error.retry_after(), waits.then_some(soon));
    }
}

/// One of each reason that a wait ends for without tokens, as the bucket gives it.
async fn ended_waits() -> Vec<AcquireError> {
    let bucket = TokenBucket::builder()
        .rate("1/s")
        .burst(2)
        .max_waiters(4)
        .build()
        .unwrap();
    bucket.try_acquire_n(2).unwrap();
    let mut ended = vec![
        LimiterExt::acquire_n_timeout(&bucket, 2, Duration::from_secs(1))
            .await
            .unwrap_err(),
        bucket.acquire_n(3).await.unwrap_err(),
    ];
    let mut waits: Vec<_> = (0..4).map(|_| Box::pin(bucket.acquire())).collect();
    for wait in &mut waits {
        let parked =
            std::future::poll_fn(|cx| std::task::Poll::Ready(wait.as_mut().poll(cx).is_pending()));
        assert!(parked.await);
    }
    ended.push(bucket.acquire().await.unwrap_err());
    drop(waits);
    bucket.close();
    ended.push(bucket.acquire().await.unwrap_err());
    ended.push(AcquireError::NeverRefills);
    ended
}

#[test]
fn of_waiting() {
    sim::check(0..1, |_| async {
        let texts = [
            "the tokens would come 2s from now, later than the timeout allows",
            TOO_MANY,
            QUEUE_FULL,
            CLOSED,
            NEVER,
        ];
        let decisions = [
            Denied::not_yet(Duration::from_secs(2)),
            Denied::exceeds_burst(3, 2),
            Denied::queue_full(4),
            Denied::Closed,
            Denied::NeverRefills,
        ];
        let ended = ended_waits().await;
        assert_eq!(ended.len(), texts.len());
        for ((error, text), denied) in ended.into_iter().zip(texts).zip(decisions) {
            says(&error, text, None);
            says(&AcquireBlockingError::NotGranted(error), text, None);
            assert_eq!(Denied::from(error), denied);
        }
    });
    let nowhere = HandleError::NotFound;
    let no_runtime = AcquireError::NoRuntime(nowhere);
    let text = "there is no async runtime to wait on";
    says(&no_runtime, text, Some(&nowhere));
    says(
        &AcquireBlockingError::NotGranted(no_runtime),
        text,
        Some(&nowhere),
    );
    says(
        &AcquireError::Stopped,
        "the runtime to wait on has been shut down",
        None,
    );
    for error in [no_runtime, AcquireError::Stopped] {
        assert_eq!(Denied::from(error), Denied::NoRuntime);
    }
    let nested = BlockOnError::Nested;
    assert_eq!(
        AcquireBlockingError::MustNotBlock(nested).to_string(),
        format!("not enough tokens yet, and the call may not wait for them: {nested}")
    );
}

#[test]
fn of_permits() {
    let limiter = ConcurrencyLimiter::builder()
        .limit(2)
        .max_waiters(1)
        .build()
        .unwrap();
    let too_many = "3 permits are more than the limit of 2, so waiting will not help";
    let full = limiter.try_acquire_n(2).unwrap();
    says(
        &limiter.try_acquire().map(drop).unwrap_err(),
        "not enough of the 2 permits are free now",
        None,
    );
    says(
        &limiter.try_acquire_n(3).map(drop).unwrap_err(),
        too_many,
        None,
    );
    sim::check(0..1, |_| async {
        let limiter = ConcurrencyLimiter::builder()
            .limit(2)
            .max_waiters(1)
            .build()
            .unwrap();
        let _full = limiter.try_acquire_n(2).unwrap();
        let error = limiter.acquire_n(3).await.map(drop).unwrap_err();
        says(
            &error,
            "3 permits are more than the limit of 2, so waiting will not help",
            None,
        );
        let error = limiter.acquire_timeout(Duration::from_secs(1)).await;
        let error = error.map(drop).unwrap_err();
        says(&error, "the permits were not there within 1s", None);
        let mut first = Box::pin(limiter.acquire());
        let parked =
            std::future::poll_fn(|cx| std::task::Poll::Ready(first.as_mut().poll(cx).is_pending()));
        assert!(parked.await);
        let error = limiter.acquire().await.map(drop).unwrap_err();
        says(&error, "as many callers wait already as may: 1", None);
    });
    drop(full);
    limiter.close();
    says(&TryPermitError::Closed, CLOSED, None);
    says(&PermitError::Closed, CLOSED, None);
    let nowhere = HandleError::NotFound;
    says(
        &PermitError::NoRuntime(nowhere),
        "there is no async runtime to bound the wait",
        Some(&nowhere),
    );
    says(
        &PermitError::Stopped(Stopped::new()),
        "the runtime that bounded the wait was shut down",
        Some(&Stopped::new()),
    );
    says(
        &PermitError::WouldBlock(BlockOnError::Nested),
        "this thread must not block for permits",
        Some(&BlockOnError::Nested),
    );
}

#[test]
fn of_breakers() {
    let given = Duration::ZERO;
    let why = BackoffConfigError::Delay { given };
    says(
        &BreakerConfigError::from(why),
        "how long to stay open: a delay of 0ns, allowed are 1ns to 365 days",
        None,
    );
    let breaker = CircuitBreaker::builder()
        .trial_calls(1)
        .open_for(Duration::from_secs(1))
        .clock(ManualClock::new())
        .build()
        .unwrap();
    let rejected = || breaker.try_acquire().map(drop).unwrap_err();
    breaker.open();
    let open = "the circuit breaker is open; retry after 1s";
    says(&rejected(), open, None);
    says(&CallError::<Stopped>::Rejected(rejected()), open, None);
    breaker.force_open();
    says(
        &rejected(),
        "the circuit breaker is held open by hand",
        None,
    );

    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder()
        .trial_calls(1)
        .clock(clock.clone());
    let breaker = breaker.build().unwrap();
    breaker.open();
    clock.advance(Duration::from_secs(10));
    let _trial = breaker.try_acquire().unwrap();
    says(
        &breaker.try_acquire().map(drop).unwrap_err(),
        "the circuit breaker is half-open, and its trial calls are under way",
        None,
    );
    // The text and the causes of a call's own error are those of the whole.
    let nowhere = HandleError::NotFound;
    let inner = CallError::Inner(AcquireError::NoRuntime(nowhere));
    says(
        &inner,
        "there is no async runtime to wait on",
        Some(&nowhere),
    );
    assert_eq!(inner.rejected(), None);
    assert_eq!(inner.retry_after(), None);
    assert!(inner.into_inner().is_some());
}
