//! A rate and a burst in one text, as configuration files have them.

use core::fmt;
use core::str::FromStr;

use crate::error::ConfigError;
use crate::rate::Rate;

/// A rate, and perhaps a burst: `100/s`, `5000/1h burst 200`.
///
/// What [`rate`](crate::TokenBucketBuilder::rate) of a builder takes; a burst in it is the
/// builder's burst.
///
/// ```
/// # fn main() -> Result<(), flow_ratelimit::ConfigError> {
/// use flow_ratelimit::{Quota, Rate, TokenBucket};
///
/// let quota: Quota = "5000/1h burst 200".parse()?;
/// assert_eq!((quota.rate, quota.burst), (Rate::per_hour(5_000), Some(200)));
///
/// let bucket = TokenBucket::builder().rate("100/s burst 20").build()?;
/// assert_eq!(bucket.burst(), 20);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// How fast tokens come.
    pub rate: Rate,
    /// How many may be taken at once, if that was said.
    pub burst: Option<u64>,
}

impl From<Rate> for Quota {
    fn from(rate: Rate) -> Self {
        Self { rate, burst: None }
    }
}

/// What [`FromStr`] reads.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rate.fmt(f)?;
        match self.burst {
            Some(burst) => write!(f, " burst {burst}"),
            None => Ok(()),
        }
    }
}

/// Reads a [`Rate`], and after it perhaps the word `burst` and a whole number.
impl FromStr for Quota {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let Some((rate, burst)) = text.split_once(BURST) else {
            return Ok(text.parse::<Rate>()?.into());
        };
        let refuse = |reason| ConfigError::InvalidRate {
            text: text.into(),
            reason,
        };
        let burst = burst.trim();
        if burst.is_empty() || !burst.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse("what follows the word burst is not a whole number"));
        }
        let burst = burst
            .parse()
            .map_err(|_| refuse("the burst is more than a u64 holds"))?;
        let rate = rate.parse().map_err(|error| match error {
            // Of the whole text, not of a part that nobody wrote.
            ConfigError::InvalidRate { reason, .. } => refuse(reason),
            error => error,
        })?;
        Ok(Self {
            rate,
            burst: Some(burst),
        })
    }
}

const BURST: &str = "burst";

/// What a builder takes as a rate: a [`Rate`], a [`Quota`], or the text of either. A wrong text is
/// reported by `build`.
pub trait IntoQuota {
    /// The rate and perhaps the burst, or why the text says neither.
    ///
    /// # Errors
    /// [`ConfigError::InvalidRate`].
    fn into_quota(self) -> Result<Quota, ConfigError>;
}

impl IntoQuota for Quota {
    fn into_quota(self) -> Result<Quota, ConfigError> {
        Ok(self)
    }
}

impl IntoQuota for Rate {
    fn into_quota(self) -> Result<Quota, ConfigError> {
        Ok(self.into())
    }
}

impl IntoQuota for &str {
    fn into_quota(self) -> Result<Quota, ConfigError> {
        self.parse()
    }
}

impl IntoQuota for &String {
    fn into_quota(self) -> Result<Quota, ConfigError> {
        self.parse()
    }
}

impl IntoQuota for String {
    fn into_quota(self) -> Result<Quota, ConfigError> {
        self.parse()
    }
}

/// For what is a rate only perhaps: `Rate::per(n, period)` goes in without a `?` of its own.
impl IntoQuota for Result<Rate, ConfigError> {
    fn into_quota(self) -> Result<Quota, ConfigError> {
        self.map(Quota::from)
    }
}

/// For what is a quota only perhaps.
impl IntoQuota for Result<Quota, ConfigError> {
    fn into_quota(self) -> Result<Quota, ConfigError> {
        self
    }
}

impl Quota {
    /// Both parts of what a builder was told: by text, and by `.burst(..)`.
    ///
    /// # Errors
    /// [`ConfigError`] if either is missing, or two bursts were given that are not the same.
    pub fn complete(self, burst: Option<u64>) -> Result<(Rate, u64), ConfigError> {
        match (self.burst, burst) {
            (Some(in_text), Some(given)) if in_text != given => {
                Err(ConfigError::TwoBursts { in_text, given })
            }
            (Some(burst), _) | (None, Some(burst)) => Ok((self.rate, burst)),
            (None, None) => Err(ConfigError::MissingBurst),
        }
    }
}
