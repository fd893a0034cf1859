//! What a client reads. Whatever is malformed, or larger than any server of sense would send, is
//! ignored as a whole, as the draft asks for.

use core::time::Duration;
use std::time::SystemTime;

use http::HeaderMap;
use http::header::{DATE, HeaderValue, RETRY_AFTER};

use super::structured::{Item, Malformed, list};
use super::{RATELIMIT, RATELIMIT_POLICY, date};

/// What is left of one policy: an item of the field `RateLimit`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceLimit {
    /// The policy's name.
    pub policy: String,
    /// How much is left. That it will be granted is not promised.
    pub available: u64,
    /// The time within which no more than that can be used.
    pub window: Option<Duration>,
    /// Of what this is a part, if there are several.
    pub partition_key: Option<Vec<u8>>,
}

/// What is allowed: an item of the field `RateLimit-Policy`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaPolicy {
    /// Its name.
    pub name: String,
    /// How much.
    pub quota: u64,
    /// Of what: `requests` if nothing is said, `content-bytes`, `concurrent-requests`, or others.
    pub unit: Option<String>,
    /// In which time, if in any.
    pub window: Option<Duration>,
    /// Of what this is a part, if there are several.
    pub partition_key: Option<Vec<u8>>,
}

/// The field `RateLimit` of a response; nothing if it is not there or malformed, or has more than 8
/// KiB or 64 items.
pub fn service_limits(headers: &HeaderMap) -> Vec<ServiceLimit> {
    let limit = |item: &Item| {
        Ok(ServiceLimit {
            policy: item.name.clone(),
            available: item.number("r")?.ok_or(Malformed)?,
            window: item.number("t")?.map(Duration::from_secs),
            partition_key: item.bytes("pk")?.map(<[u8]>::to_vec),
        })
    };
    let items = list(headers, &RATELIMIT);
    let limits: Result<_, Malformed> = items.iter().map(limit).collect();
    limits.unwrap_or_default()
}

/// The field `RateLimit-Policy` of a response; nothing if it is not there or malformed, or has more
/// than 8 KiB or 64 items.
pub fn quota_policies(headers: &HeaderMap) -> Vec<QuotaPolicy> {
    let policy = |item: &Item| {
        let window = item.number("w")?;
        if window == Some(0) {
            return Err(Malformed);
        }
        Ok(QuotaPolicy {
            name: item.name.clone(),
            quota: item.number("q")?.ok_or(Malformed)?,
            unit: item.string("qu")?.map(str::to_owned),
            window: window.map(Duration::from_secs),
            partition_key: item.bytes("pk")?.map(<[u8]>::to_vec),
        })
    };
    let items = list(headers, &RATELIMIT_POLICY);
    let policies: Result<_, Malformed> = items.iter().map(policy).collect();
    policies.unwrap_or_default()
}

/// How long `Retry-After` says to wait: in seconds, or until a date. None if it is not there or is
/// neither.
///
/// A date is taken as that much after the `Date` of the same response, so that no clock has to be
/// right; without one, after `now`. One that has passed is no wait.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a u64 holds is for ever.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds));
    }
    let at = date::parse(text)?;
    let date_of = |value: &HeaderValue| date::parse(value.to_str().ok()?);
    let now = headers.get(DATE).and_then(date_of).unwrap_or(now);
    Some(at.duration_since(now).unwrap_or_default())
}
