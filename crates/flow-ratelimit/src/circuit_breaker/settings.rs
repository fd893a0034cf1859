//! Circuit breakers in configuration files: each setting by the name of its method.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Deserializer};

use flow_rt::Backoff;

use super::{CircuitBreaker, CircuitBreakerBuilder, OpenFor};
use crate::settings::{Period, TextOrTable};

/// From settings named as the methods are; periods are text like `"250ms"`. `open_for` is a period
/// or a table, see [`OpenFor`]; `slow_call` is a table of `from` and `rate`. Hooks are set in code.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::CircuitBreakerBuilder;
///
/// let text = r#"{
///     "failure_rate": 0.3, "slow_call": { "from": "2s", "rate": 0.8 }, "window_of": "1min",
///     "open_for": { "first": "1s", "max_delay": "1min", "jitter": "full" }, "name": "billing"
/// }"#;
/// let breaker = serde_json::from_str::<CircuitBreakerBuilder>(text)?.build()?;
/// assert_eq!(breaker.name(), Some("billing"));
/// # Ok(())
/// # }
/// ```
impl<'de> Deserialize<'de> for CircuitBreakerBuilder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            failure_rate: Option<f64>,
            slow_call: Option<SlowCall>,
            window: Option<u32>,
            window_of: Option<Period>,
            minimum_calls: Option<u32>,
            open_for: Option<OpenFor>,
            trial_calls: Option<u32>,
            trial_timeout: Option<Period>,
            dropped_fails: Option<bool>,
            name: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct SlowCall {
            from: Period,
            rate: f64,
        }
        let settings = Settings::deserialize(deserializer)?;
        if settings.window.is_some() && settings.window_of.is_some() {
            return Err(D::Error::custom(
                "`window` and `window_of` are both given; a breaker judges by one of them",
            ));
        }
        let mut builder = CircuitBreaker::builder();
        if let Some(SlowCall { from, rate }) = settings.slow_call {
            builder = builder.slow_call(from.0, rate);
        }
        macro_rules! set {
            ($($name:ident),*; periods $($period:ident),*) => {
                $(if let Some(value) = settings.$name {
                    builder = builder.$name(value);
                })*
                $(if let Some(Period(period)) = settings.$period {
                    builder = builder.$period(period);
                })*
            };
        }
        set!(
            failure_rate, window, minimum_calls, open_for, trial_calls, dropped_fails, name;
            periods window_of, trial_timeout
        );
        Ok(builder)
    }
}

/// A period like `"10s"`; or a table of the plan by which it grows: its `first` period, and if
/// they are not to be the defaults of [`Backoff::exponential`] its `factor`, its `max_delay` and
/// its `jitter`: `"full"`, `"equal"` or `"decorrelated"`.
impl<'de> Deserialize<'de> for OpenFor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(deserializer)
    }
}

impl<'de> TextOrTable<'de> for OpenFor {
    const EXPECTED: &'static str = "a period like `10s`, or a table with the `first` one";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        Ok(Period::from_text(text)?.0.into())
    }

    fn from_table<A: MapAccess<'de>>(table: A) -> Result<Self, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Plan {
            first: Period,
            factor: Option<f64>,
            max_delay: Option<Period>,
            jitter: Option<Jitter>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Jitter {
            Full,
            Equal,
            Decorrelated,
        }
        let given = Plan::deserialize(MapAccessDeserializer::new(table))?;
        let mut plan = Backoff::exponential(given.first.0);
        if let Some(factor) = given.factor {
            plan = plan.factor(factor);
        }
        if let Some(Period(longest)) = given.max_delay {
            plan = plan.max_delay(longest);
        }
        plan = match given.jitter {
            None => plan,
            Some(Jitter::Full) => plan.full_jitter(),
            Some(Jitter::Equal) => plan.equal_jitter(),
            Some(Jitter::Decorrelated) => plan.decorrelated_jitter(),
        };
        Ok(plan.into())
    }
}
