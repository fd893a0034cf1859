//! Builders in configuration files: each setting by the name of the method that takes it.
//!
//! What is left out keeps the builder's default, and what the builder has no method for is an
//! error that names it. Values are checked where the builder checks them, by `build`.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::classed::{ClassedLimiter, ClassedLimiterBuilder};
use crate::composite::{self, CompositeBuilder};
use crate::concurrency::{ConcurrencyLimiter, ConcurrencyLimiterBuilder};
use crate::error::ConfigError;
use crate::fair_share::{FairShare, FairShareBuilder};
use crate::keyed::{KeyedLimiter, KeyedLimiterBuilder, WhenFull};
use crate::leaky_bucket::{LeakyBucket, LeakyBucketBuilder, Pacer, PacerBuilder};
use crate::limiter::Limiter;
use crate::multi_bucket::{MultiBucket, MultiBucketBuilder};
use crate::quota::Quota;
use crate::rate::{Rate, parse_period};
use crate::token_bucket::{Fairness, TokenBucket, TokenBucketBuilder};

macro_rules! from_settings {
    (
        $(#[$doc:meta])*
        $builder:ident $(<$key:ident>)? of $limiter:ident {
            $($value:ident: $type:ty,)*
        }
        periods { $($period:ident),* }
    ) => {
        $(#[$doc])*
        impl<'de $(, $key: ?Sized)?> Deserialize<'de> for $builder $(<$key>)? {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Settings {
                    $($value: Option<$type>,)*
                    $($period: Option<Period>,)*
                }
                let settings = Settings::deserialize(deserializer)?;
                let mut builder = $limiter$(::<$key>)?::builder();
                $(if let Some(value) = settings.$value {
                    builder = builder.$value(value);
                })*
                $(if let Some(Period(period)) = settings.$period {
                    builder = builder.$period(period);
                })*
                Ok(builder)
            }
        }
    };
}

from_settings! {
    /// From settings named as the methods are; periods are text like `"250ms"`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::TokenBucketBuilder;
    ///
    /// let text = r#"{ "rate": "100/s", "burst": 20, "name": "api", "jitter": "5ms" }"#;
    /// let bucket = serde_json::from_str::<TokenBucketBuilder>(text)?.build()?;
    /// assert_eq!(bucket.burst(), 20);
    /// # Ok(())
    /// # }
    /// ```
    TokenBucketBuilder of TokenBucket {
        rate: Quota,
        burst: u64,
        initial: u64,
        name: String,
        max_waiters: usize,
        fairness: Fairness,
        debt: u64,
        sharded: usize,
        counted: bool,
    }
    periods { catch_up, max_reserve, jitter, warm_up }
}

from_settings! {
    /// From settings named as the methods are; the period is text like `"250ms"`.
    LeakyBucketBuilder of LeakyBucket {
        rate: Rate,
        capacity: u64,
        initial_level: u64,
        name: String,
        max_waiters: usize,
        counted: bool,
    }
    periods { catch_up }
}

from_settings! {
    /// From settings named as the methods are; periods are text like `"250ms"`.
    PacerBuilder of Pacer {
        rate: Rate,
        capacity: usize,
        name: String,
        counted: bool,
    }
    periods { warm_up }
}

from_settings! {
    /// From settings named as the methods are; `limits` is a list of quotas like
    /// `"100/s burst 20"`.
    MultiBucketBuilder of MultiBucket {
        limits: Vec<Quota>,
        name: String,
        max_waiters: usize,
        counted: bool,
    }
    periods { catch_up }
}

from_settings! {
    /// From settings named as the methods are; `children` is a list of
    /// `{ "name": .., "weight": .. }`.
    FairShareBuilder of FairShare {
        rate: Quota,
        burst: u64,
        children: Vec<ChildSettings>,
        name: String,
        max_waiters: usize,
        counted: bool,
    }
    periods { catch_up }
}

from_settings! {
    /// From settings named as the methods are.
    ConcurrencyLimiterBuilder of ConcurrencyLimiter {
        limit: u32,
        max_waiters: usize,
        fairness: Fairness,
        name: String,
        counted: bool,
    }
    periods {}
}

from_settings! {
    /// From settings named as the methods are; `classes` is a list, the highest first, of
    /// `{ "name": .., "share": .. }`.
    ClassedLimiterBuilder of ClassedLimiter {
        limit: u32,
        classes: Vec<ClassSettings>,
        max_waiters: usize,
        name: String,
        counted: bool,
    }
    periods {}
}

from_settings! {
    /// From settings named as the methods are; `when_full` is `"evict_nearest_full"`, `"deny"` or
    /// `"grow"`, and `classes` a list of rates with a burst.
    KeyedLimiterBuilder<K> of KeyedLimiter {
        rate: Quota,
        burst: u64,
        classes: Vec<Quota>,
        max_keys: usize,
        max_waiters: usize,
        when_full: WhenFull,
        grow_to: usize,
        name: String,
        counted: bool,
    }
    periods {}
}

/// From settings named as the methods are; `limits` is a list of limiters, each under what it is:
/// `token_bucket`, `leaky_bucket`, `pacer` or `multi_bucket`, with the settings of that builder.
/// None of them counts its decisions, whatever its settings say, since nobody could ask it: the
/// composite counts what each denies.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use flow_ratelimit::{CompositeBuilder, Limiter};
///
/// let text = r#"{ "name": "api", "limits": [
///     { "token_bucket": { "rate": "1000/h burst 1000" } },
///     { "leaky_bucket": { "rate": "10/s", "capacity": 20 } }
/// ] }"#;
/// let both = serde_json::from_str::<CompositeBuilder<Vec<Arc<dyn Limiter>>>>(text)?.build()?;
/// assert_eq!(both.try_acquire()?.limit(), 20);
/// # Ok(())
/// # }
/// ```
impl<'de> Deserialize<'de> for CompositeBuilder<Vec<Arc<dyn Limiter>>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            #[serde(default)]
            limits: Vec<LimiterSettings>,
            name: Option<String>,
            counted: Option<bool>,
        }
        let settings = Settings::deserialize(deserializer)?;
        // Before any of them takes room.
        let limits = composite::check(settings.limits.len()).and_then(|_| {
            let limits = settings.limits.into_iter().enumerate();
            limits.map(|(index, limit)| limit.build(index)).collect()
        });
        let mut builder = Self::new(limits);
        if let Some(name) = settings.name {
            builder = builder.name(name);
        }
        if let Some(counted) = settings.counted {
            builder = builder.counted(counted);
        }
        Ok(builder)
    }
}

/// A limiter of several, by what it is.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum LimiterSettings {
    TokenBucket(TokenBucketBuilder),
    LeakyBucket(LeakyBucketBuilder),
    Pacer(PacerBuilder),
    MultiBucket(MultiBucketBuilder),
}

impl LimiterSettings {
    /// The limiter at a place of several.
    fn build(self, index: usize) -> Result<Arc<dyn Limiter>, ConfigError> {
        let limiter = match self {
            Self::TokenBucket(builder) => builder.counted(false).build().map(shared),
            Self::LeakyBucket(builder) => builder.counted(false).build().map(shared),
            Self::Pacer(builder) => builder.counted(false).build().map(shared),
            Self::MultiBucket(builder) => builder.counted(false).build().map(shared),
        };
        limiter.map_err(|reason| ConfigError::InvalidLimit {
            index,
            reason: Box::new(reason),
        })
    }
}

fn shared(limiter: impl Limiter + 'static) -> Arc<dyn Limiter> {
    Arc::new(limiter)
}

/// A child that shares a rate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildSettings {
    name: String,
    weight: u32,
}

impl FairShareBuilder {
    fn children(self, children: Vec<ChildSettings>) -> Self {
        let add = |builder: Self, child: ChildSettings| builder.child(child.name, child.weight);
        children.into_iter().fold(self, add)
    }
}

/// A class of a limiter; one without a share has only what the others leave.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassSettings {
    name: String,
    #[serde(default)]
    share: u32,
}

impl ClassedLimiterBuilder {
    fn classes(self, classes: Vec<ClassSettings>) -> Self {
        let add = |builder: Self, class: ClassSettings| builder.class(class.name, class.share);
        classes.into_iter().fold(self, add)
    }
}

/// A setting that a text says in short, and a table in full.
pub(crate) trait TextOrTable<'de>: Sized {
    /// What it is, for who finds something else.
    const EXPECTED: &'static str;

    fn from_text<E: Error>(text: &str) -> Result<Self, E>;

    fn from_table<A: MapAccess<'de>>(table: A) -> Result<Self, A::Error>;

    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

struct Reader<T>(PhantomData<T>);

impl<'de, T: TextOrTable<'de>> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<T, A::Error> {
        T::from_table(table)
    }
}

/// A time as the text of a rate has it: a count and a unit.
pub(crate) struct Period(pub(crate) Duration);

impl Period {
    pub(crate) fn from_text<E: Error>(text: &str) -> Result<Self, E> {
        let period = parse_period(text.trim());
        period
            .map(Self)
            .map_err(|reason| E::custom(format_args!("`{text}` is no period: {reason}")))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_text(&Cow::<str>::deserialize(deserializer)?)
    }
}
