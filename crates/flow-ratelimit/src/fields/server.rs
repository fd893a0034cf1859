//! What a server writes.

use core::time::Duration;

use http::header::{Entry, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::item::item;
use super::named::seconds;
use super::policy::{Kind, Policy};
use super::structured::MAX_INTEGER;
use super::{RATELIMIT, RATELIMIT_POLICY};
use crate::granted::Granted;

/// The fields of a server's responses: see the [module](crate::fields).
///
/// Without a policy the limit is told of by the name `default`, and `RateLimit-Policy` is not there.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    policy: Option<Policy>,
    legacy: bool,
}

impl Fields {
    /// `RateLimit` and `Retry-After`.
    pub fn new() -> Self {
        Self::default()
    }

    /// `RateLimit-Policy` too, and the policy's name in `RateLimit`.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The old fields too: `x-ratelimit-limit`, `x-ratelimit-remaining`, and `x-ratelimit-reset` in
    /// seconds from now.
    pub fn legacy(mut self) -> Self {
        self.legacy = true;
        self
    }

    /// The name that clients are told; the first of [several](Policy::of_each).
    pub fn name(&self) -> &str {
        self.policy.as_ref().map_or(DEFAULT, Policy::name)
    }

    /// The names of the limits that a denial is due to.
    #[cfg(feature = "tower")]
    pub(crate) fn violated(&self) -> Vec<&str> {
        match self.policy.as_ref().map(|policy| &policy.kind) {
            Some(Kind::Each(each)) => each.violated(),
            _ => vec![self.name()],
        }
    }

    /// Tells how the limit stands after a grant.
    ///
    /// What other limits have told stays: these are lists. Of the old fields, which are none, those
    /// stay that leave the client the least.
    pub fn add_granted(&self, granted: &Granted, headers: &mut HeaderMap) {
        let (left, reset) = (granted.remaining(), granted.reset_after());
        self.add(left, reset, false, headers);
        if self.legacy {
            add_legacy(left, Some(granted.limit()), reset, headers);
        }
    }

    /// Tells that nothing is left, until `retry_after` if that is known; of
    /// [several limits](Policy::of_each) what is left of each.
    ///
    /// `Retry-After` is set to it, unless another limit has set a later time. A client that is alone
    /// in using the limit and waits as long is granted.
    pub fn add_denied(&self, retry_after: Option<Duration>, headers: &mut HeaderMap) {
        let reset = retry_after.unwrap_or(Duration::MAX);
        let quota = self.add(0, reset, true, headers);
        if self.legacy {
            add_legacy(0, quota, reset, headers);
        }
        if let Some(value) = retry_after.and_then(retry_after_field) {
            replace_if(headers, RETRY_AFTER.clone(), value, |new, old| new > old);
        }
    }

    /// The two fields of the draft; returns the quota if it was a denial and there is one.
    fn add(
        &self,
        left: u64,
        reset: Duration,
        is_denied: bool,
        headers: &mut HeaderMap,
    ) -> Option<u64> {
        let one = match self.policy.as_ref().map(|policy| &policy.kind) {
            Some(Kind::Each(each)) => return each.add(is_denied, headers),
            Some(Kind::One(one)) => Some(one),
            None => None,
        };
        let name = one.map_or(QUOTED_DEFAULT, |one| one.named.quoted());
        if let Some(limit) = available(name, left, reset) {
            headers.append(&RATELIMIT, limit);
        }
        let one = one?;
        if let Some(policy) = one.field() {
            headers.append(&RATELIMIT_POLICY, policy);
        }
        is_denied.then(|| one.quota())
    }
}

/// An item of `RateLimit`.
pub(super) fn available(name: &str, left: u64, reset: Duration) -> Option<HeaderValue> {
    let reset = whole(reset);
    item(name, (b'r', left.min(MAX_INTEGER)), (b't', reset))
}

/// In seconds; none if it is never.
fn whole(reset: Duration) -> Option<u64> {
    (reset != Duration::MAX).then(|| seconds(reset))
}

/// `Retry-After` in whole seconds; none for what is longer than can be said.
pub(crate) fn retry_after_field(retry_after: Duration) -> Option<HeaderValue> {
    (retry_after != Duration::MAX).then(|| HeaderValue::from(seconds(retry_after)))
}

fn add_legacy(left: u64, quota: Option<u64>, reset: Duration, headers: &mut HeaderMap) {
    let left = left.min(MAX_INTEGER);
    let is_least = replace_if(headers, REMAINING.clone(), left.into(), |new, old| {
        new < old
    });
    if !is_least {
        return;
    }
    for (name, value) in [(&LIMIT, quota), (&RESET, whole(reset))] {
        match value {
            Some(value) => drop(headers.insert(name, value.into())),
            None => drop(headers.remove(name)),
        }
    }
}

/// Sets a field of a number unless it is there with one that stays.
fn replace_if(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: HeaderValue,
    replaces: impl FnOnce(u64, u64) -> bool,
) -> bool {
    let number = |value: &HeaderValue| value.to_str().ok()?.trim().parse::<u64>().ok();
    match headers.entry(name) {
        Entry::Occupied(mut there) => {
            let replaces = match (number(&value), number(there.get())) {
                (Some(new), Some(old)) => replaces(new, old),
                // What is no number, a date perhaps, is somebody else's.
                _ => false,
            };
            if replaces {
                there.insert(value);
            }
            replaces
        }
        Entry::Vacant(free) => {
            free.insert(value);
            true
        }
    }
}

const DEFAULT: &str = "default";
const QUOTED_DEFAULT: &str = "\"default\"";
static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
