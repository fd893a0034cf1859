//! The arithmetic of a bucket on a server: exact, in integers that a Lua number holds.
//!
//! # Units
//! A rate is so many tokens in so many nanoseconds. In lowest terms that is `supply` tokens in
//! `token` microseconds; one token is then worth `token` units, and each microsecond supplies
//! `supply` of them, with no remainder ever. Redis' Lua counts in doubles, exact up to 2^53, and
//! the largest number in the script is the capacity.
//!
//! # State
//! Per bucket one string of six little-endian doubles: the units at the last change, the server's
//! time of it in microseconds; `token`, capacity and `supply` of who changed it, by which an
//! instance with another rate or burst knows that the units are not its own; and for how many
//! microseconds the bucket is kept at least. That is zero as long as all are alike: the key then
//! lives until the bucket is full. See `bucket.lua`.

use core::time::Duration;

use flow_ratelimit::Rate;

use crate::limiter::DistributedConfigError;

/// What a bucket is, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    burst: u64,
    token: u64,
    supply: u64,
}

/// What the server decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Taken; so many units are left.
    Taken(u64),
    /// Too few; so many units are there.
    TooFew(u64),
}

impl Bucket {
    pub(crate) fn new(rate: Rate, burst: u64) -> Result<Self, DistributedConfigError> {
        if rate.is_unlimited() || rate.is_zero() {
            return Err(DistributedConfigError::RateOutOfRange { given: rate });
        }
        if burst == 0 {
            return Err(DistributedConfigError::ZeroBurst);
        }
        let tokens = u128::from(rate.tokens()) * 1_000;
        let nanos = rate.period().as_nanos();
        let divisor = gcd(tokens, nanos);
        let supply = whole(tokens / divisor)
            .ok_or(DistributedConfigError::RateOutOfRange { given: rate })?;
        let too_large = |max| DistributedConfigError::BurstTooLarge {
            given: burst,
            rate,
            max,
        };
        let token = whole(nanos / divisor).ok_or_else(|| too_large(0))?;
        if token
            .checked_mul(burst)
            .is_none_or(|units| units > MAX_WHOLE)
        {
            return Err(too_large(MAX_WHOLE / token));
        }
        Ok(Self {
            burst,
            token,
            supply,
        })
    }

    pub(crate) fn burst(self) -> u64 {
        self.burst
    }

    /// The script's arguments to take `n` tokens, `n` being at most the burst.
    pub(crate) fn args(self, n: u64) -> Vec<i64> {
        let numbers = [self.capacity(), self.token, self.supply, n * self.token];
        // All are at most 2^53.
        numbers.map(u64::cast_signed).into()
    }

    /// Whole tokens in so many units.
    pub(crate) fn tokens(self, units: u64) -> u64 {
        units / self.token
    }

    /// How long until `n` tokens are there, rounded up.
    pub(crate) fn until(self, n: u64, units: u64) -> Duration {
        self.time_for((n * self.token).saturating_sub(units))
    }

    /// How long until the bucket is full, rounded up.
    pub(crate) fn until_full(self, units: u64) -> Duration {
        self.time_for(self.capacity().saturating_sub(units))
    }

    fn capacity(self) -> u64 {
        self.burst * self.token
    }

    fn time_for(self, units: u64) -> Duration {
        Duration::from_micros(units.div_ceil(self.supply))
    }
}

impl Decision {
    /// Reads the script's answer.
    pub(crate) fn read(answer: i64) -> Self {
        match u64::try_from(answer) {
            Ok(units) => Self::Taken(units),
            Err(_) => Self::TooFew((-1 - answer).unsigned_abs()),
        }
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A number that a Lua number holds exactly.
fn whole(number: u128) -> Option<u64> {
    u64::try_from(number)
        .ok()
        .filter(|number| *number <= MAX_WHOLE)
}

/// Every whole number up to here is a double.
const MAX_WHOLE: u64 = 1 << 53;

/// The script.
pub(crate) const SCRIPT: &str = include_str!("bucket.lua");
