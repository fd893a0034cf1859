//! Adaptive limiters in configuration files: which algorithm, and each setting by the name of its
//! method.

use std::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{Error, MapAccess};
use serde::{Deserialize, Deserializer};

use super::{AdaptiveLimiterBuilder, Aimd, Gradient2, LimitAlgorithm, Vegas};
use crate::settings::{Period, TextOrTable};
use crate::token_bucket::Fairness;

/// From settings named as the methods are; windows are text like `"250ms"`, ranges like
/// `"10..=1000"`. The setting `algorithm` is required: a name, which stands for its defaults, or
/// a table of the parameters under that name.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::AdaptiveLimiterBuilder;
///
/// let text = r#"{ "algorithm": "gradient2", "range": "10..=1000", "window": "250ms" }"#;
/// let limiter = serde_json::from_str::<AdaptiveLimiterBuilder>(text)?.build()?;
/// assert_eq!(limiter.range(), 10..=1_000);
///
/// let text = r#"{ "algorithm": { "vegas": { "beta": 0.1 } }, "initial": 50 }"#;
/// let limiter = serde_json::from_str::<AdaptiveLimiterBuilder>(text)?.build()?;
/// assert_eq!(limiter.limit(), 50);
/// # Ok(())
/// # }
/// ```
impl<'de> Deserialize<'de> for AdaptiveLimiterBuilder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            algorithm: Algorithm,
            range: Option<Range>,
            initial: Option<u32>,
            window: Option<Period>,
            min_samples: Option<u32>,
            max_waiters: Option<usize>,
            fairness: Option<Fairness>,
            name: Option<String>,
            counted: Option<bool>,
        }
        let settings = Settings::deserialize(deserializer)?;
        let mut builder = Self::new(settings.algorithm.0);
        if let Some(Range(min, max)) = settings.range {
            builder = builder.range(min..=max);
        }
        if let Some(Period(length)) = settings.window {
            builder = builder.window(length);
        }
        macro_rules! set {
            ($($name:ident),*) => {$(
                if let Some(value) = settings.$name {
                    builder = builder.$name(value);
                }
            )*};
        }
        set!(initial, min_samples, max_waiters, fairness, name, counted);
        Ok(builder)
    }
}

/// The first and the last limit.
struct Range(u32, u32);

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bounds = text.split_once("..=").and_then(|(min, max)| {
            let (min, max) = (min.trim().parse(), max.trim().parse());
            Some(Self(min.ok()?, max.ok()?))
        });
        bounds.ok_or_else(|| {
            D::Error::custom(format_args!(
                "`{text}` is no range of limits; write it like `10..=1000`"
            ))
        })
    }
}

struct Algorithm(Box<dyn LimitAlgorithm>);

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Gradient2,
    Vegas,
    Aimd,
}

impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(deserializer)
    }
}

impl<'de> TextOrTable<'de> for Algorithm {
    const EXPECTED: &'static str = "the name of an algorithm, or a table of parameters under it";

    fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        Ok(Self(match Name::deserialize(StrDeserializer::new(text))? {
            Name::Gradient2 => Box::new(Gradient2::default()),
            Name::Vegas => Box::new(Vegas::default()),
            Name::Aimd => Box::new(Aimd::default()),
        }))
    }

    fn from_table<A: MapAccess<'de>>(mut table: A) -> Result<Self, A::Error> {
        let Some(name) = table.next_key()? else {
            return Err(A::Error::custom("a table without an algorithm"));
        };
        let algorithm: Box<dyn LimitAlgorithm> = match name {
            Name::Gradient2 => Box::new(table.next_value::<Gradient2>()?),
            Name::Vegas => Box::new(table.next_value::<Vegas>()?),
            Name::Aimd => Box::new(table.next_value::<Aimd>()?),
        };
        if table.next_key::<Name>()?.is_some() {
            return Err(A::Error::custom("a table of two algorithms; one can be"));
        }
        Ok(Self(algorithm))
    }
}

macro_rules! from_parameters {
    ($($algorithm:ident { $($numbers:ident: $type:ty),* } periods { $($period:ident),* })*) => {$(
        /// From parameters named as the methods are; what is left out keeps its default.
        impl<'de> Deserialize<'de> for $algorithm {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Parameters {
                    $($numbers: Option<$type>,)*
                    $($period: Option<Period>,)*
                }
                let parameters = Parameters::deserialize(deserializer)?;
                let mut algorithm = Self::new();
                $(if let Some(number) = parameters.$numbers {
                    algorithm = algorithm.$numbers(number);
                })*
                $(if let Some(Period(period)) = parameters.$period {
                    algorithm = algorithm.$period(period);
                })*
                Ok(algorithm)
            }
        }
    )*};
}

from_parameters! {
    Gradient2 {
        tolerance: f64, smoothing: f64, tolerate_failures: f64, backoff: f64, probe_every: u32
    } periods {}
    Vegas {
        alpha: f64, beta: f64, tolerate_failures: f64, backoff: f64, probe_every: u32
    } periods {}
    Aimd { tolerate_failures: f64, backoff: f64 } periods { max_latency }
}
