//! A rate: so many tokens per so much time, as an exact rational number.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;
use core::time::Duration;

use crate::error::ConfigError;

/// So many tokens per so much time, kept as the exact fraction it was given as.
///
/// There is no float in it: `Rate::per(1, Duration::from_secs(3))` is a third of a token per
/// second, not 0.333. Two rates are equal if they are the same fraction: `60/min` is `1/s`.
///
/// ```
/// # fn main() -> Result<(), flow_ratelimit::ConfigError> {
/// use std::time::Duration;
/// use flow_ratelimit::Rate;
///
/// assert_eq!(Rate::per_minute(60), Rate::per_second(1));
/// assert_eq!(Rate::every(Duration::from_millis(100))?, Rate::per_second(10));
/// assert_eq!("5000/1h".parse::<Rate>()?, Rate::per_hour(5_000));
/// assert_eq!(Rate::per(7, Duration::from_secs(3))?.to_string(), "7/3s");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Rate {
    tokens: u64,
    /// Zero for the unlimited rate only.
    per: Duration,
}

impl Rate {
    /// Every request is granted, whatever the burst: a limiter that is switched off.
    pub const UNLIMITED: Self = Self {
        tokens: 1,
        per: Duration::ZERO,
    };

    /// Nothing is ever supplied: what the bucket holds is all there is.
    pub const ZERO: Self = Self::per_second(0);

    /// `tokens` per second.
    pub const fn per_second(tokens: u64) -> Self {
        Self {
            tokens,
            per: Duration::from_secs(1),
        }
    }

    /// `tokens` per minute.
    pub const fn per_minute(tokens: u64) -> Self {
        Self {
            tokens,
            per: Duration::from_secs(60),
        }
    }

    /// `tokens` per hour.
    pub const fn per_hour(tokens: u64) -> Self {
        Self {
            tokens,
            per: Duration::from_secs(3_600),
        }
    }

    /// `tokens` per `period`.
    ///
    /// # Errors
    /// [`ConfigError::ZeroPeriod`] if `period` is zero; [`UNLIMITED`](Self::UNLIMITED) is the
    /// rate without a limit.
    pub const fn per(tokens: u64, period: Duration) -> Result<Self, ConfigError> {
        if period.is_zero() {
            return Err(ConfigError::ZeroPeriod);
        }
        Ok(Self {
            tokens,
            per: period,
        })
    }

    /// One token every `period`.
    ///
    /// # Errors
    /// [`ConfigError::ZeroPeriod`] if `period` is zero; [`UNLIMITED`](Self::UNLIMITED) is the
    /// rate without a limit.
    pub const fn every(period: Duration) -> Result<Self, ConfigError> {
        Self::per(1, period)
    }

    /// Whether this is [`UNLIMITED`](Self::UNLIMITED).
    pub const fn is_unlimited(self) -> bool {
        self.per.is_zero()
    }

    /// Whether nothing is ever supplied.
    pub const fn is_zero(self) -> bool {
        self.tokens == 0 && !self.is_unlimited()
    }

    /// How many tokens come in each [`period`](Self::period), as they were given.
    pub const fn tokens(self) -> u64 {
        self.tokens
    }

    /// The time in which [`tokens`](Self::tokens) come; zero for the unlimited rate.
    pub const fn period(self) -> Duration {
        self.per
    }

    /// The fraction in lowest terms, tokens over nanoseconds.
    fn reduced(self) -> (u128, u128) {
        let (tokens, nanos) = (u128::from(self.tokens), self.per.as_nanos());
        let divisor = gcd(tokens, nanos);
        (tokens / divisor, nanos / divisor)
    }
}

impl PartialEq for Rate {
    fn eq(&self, other: &Self) -> bool {
        // The same numbers are the same fraction, and to reduce one takes divisions.
        (self.tokens, self.per) == (other.tokens, other.per) || self.reduced() == other.reduced()
    }
}

impl Eq for Rate {}

impl Hash for Rate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.reduced().hash(state);
    }
}

/// `100/s`, `60/min`, `7/3s`, `unlimited`: what [`FromStr`] reads.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            return f.write_str("unlimited");
        }
        let nanos = self.per.as_nanos();
        // One nanosecond divides everything, so there is always a unit.
        let (name, unit) = UNITS
            .iter()
            .find(|(_, unit)| nanos.is_multiple_of(*unit))
            .unwrap_or(&("ns", 1));
        match nanos / unit {
            1 => write!(f, "{}/{name}", self.tokens),
            count => write!(f, "{}/{count}{name}", self.tokens),
        }
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({self})")
    }
}

/// Reads `<tokens>/<period>`: `100/s`, `60/min`, `5000/1h`, `1/250ms`; or `unlimited`.
///
/// Units are `ns`, `us`, `ms`, `s`, `min`, `h` and `d`, and their usual longer names.
impl FromStr for Rate {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason| ConfigError::InvalidRate {
            text: text.into(),
            reason,
        };
        if text.trim() == "unlimited" {
            return Ok(Self::UNLIMITED);
        }
        let (tokens, period) = text.split_once('/').ok_or_else(|| refuse(NO_SLASH))?;
        let tokens = tokens.trim();
        if !is_number(tokens) {
            return Err(refuse("the part before the slash is not a whole number"));
        }
        let tokens = tokens
            .parse()
            .map_err(|_| refuse("more tokens than a u64 holds"))?;
        let period = period.trim();
        if period.contains("burst") {
            return Err(refuse("a burst is no part of a rate alone"));
        }
        let period = parse_period(period).map_err(refuse)?;
        if period.is_zero() {
            return Err(refuse("the period is zero; `unlimited` has no limit"));
        }
        Self::per(tokens, period)
    }
}

/// What a builder takes as a rate: a [`Rate`], or its text. A wrong text is reported by `build`.
pub trait IntoRate {
    /// The rate, or why the text is none.
    fn into_rate(self) -> Result<Rate, ConfigError>;
}

impl IntoRate for Rate {
    fn into_rate(self) -> Result<Rate, ConfigError> {
        Ok(self)
    }
}

impl IntoRate for &str {
    fn into_rate(self) -> Result<Rate, ConfigError> {
        self.parse()
    }
}

impl IntoRate for &String {
    fn into_rate(self) -> Result<Rate, ConfigError> {
        self.parse()
    }
}

impl IntoRate for String {
    fn into_rate(self) -> Result<Rate, ConfigError> {
        self.parse()
    }
}

/// For what is a rate only perhaps: `Rate::per(n, period)` goes in without a `?` of its own.
impl IntoRate for Result<Rate, ConfigError> {
    fn into_rate(self) -> Result<Rate, ConfigError> {
        self
    }
}

/// A count of a unit, or a unit alone: `250ms`, `min`.
pub(crate) fn parse_period(text: &str) -> Result<Duration, &'static str> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let count: u128 = match count {
        "" => 1,
        digits => digits.parse().map_err(|_| TOO_LONG)?,
    };
    let unit = unit_nanos(unit.trim()).ok_or(NO_UNIT)?;
    let nanos = count.checked_mul(unit).ok_or(TOO_LONG)?;
    let seconds = u64::try_from(nanos / NANOS).map_err(|_| TOO_LONG)?;
    // A remainder of a billion fits a u32.
    Ok(Duration::new(seconds, (nanos % NANOS) as u32))
}

/// The greatest common divisor, at least 1.
pub(crate) fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// Only digits: `parse` alone would take a sign.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn unit_nanos(name: &str) -> Option<u128> {
    Some(match name {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" | "second" | "seconds" => NANOS,
        "m" | "min" | "minute" | "minutes" => 60 * NANOS,
        "h" | "hour" | "hours" => 3_600 * NANOS,
        "d" | "day" | "days" => 86_400 * NANOS,
        _ => return None,
    })
}

const NANOS: u128 = 1_000_000_000;

/// What periods are printed in, the longest first.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400 * NANOS),
    ("h", 3_600 * NANOS),
    ("min", 60 * NANOS),
    ("s", NANOS),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const NO_SLASH: &str = "there is no slash";
const NO_UNIT: &str = "the unit of the period is none of ns, us, ms, s, min, h, d";
const TOO_LONG: &str = "the period is longer than a Duration holds";
