//! What stands in fields of one policy: its name, and the numbers.

use core::time::Duration;

use http::HeaderValue;

use super::item::item;
use super::policy::PolicyError;
use super::structured::MAX_INTEGER;
use crate::rate::Rate;

/// A name that can stand in fields, and the item that tells of its policy.
#[derive(Clone)]
pub(super) struct Named {
    /// As it stands in fields, in quotation marks.
    quoted: Box<str>,
    name: Box<str>,
    /// The value of `RateLimit-Policy`, of the numbers that it was made with.
    field: Option<HeaderValue>,
}

impl Named {
    pub(super) fn new(name: &str, quota: u64, window: Option<u64>) -> Result<Self, PolicyError> {
        let refuse = |reason| {
            Err(PolicyError::InvalidName {
                name: name.into(),
                reason,
            })
        };
        if name.is_empty() {
            return refuse("it is empty");
        }
        if name.len() > MAX_NAME {
            return refuse("it is longer than 256 bytes");
        }
        if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return refuse("it has characters beyond printable ASCII");
        }
        let quoted = quoted(name);
        Ok(Self {
            field: field(&quoted, quota, window),
            quoted: quoted.into(),
            name: name.into(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// As it stands in fields.
    pub(super) fn quoted(&self) -> &str {
        &self.quoted
    }

    /// The field `RateLimit-Policy`, by the numbers that it was made with.
    pub(super) fn field(&self) -> Option<HeaderValue> {
        self.field.clone()
    }

    /// The same by the numbers of now, if it was made with the `first` ones.
    pub(super) fn field_of(&self, first: (u64, Rate), now: (u64, Rate)) -> Option<HeaderValue> {
        if now == first {
            return self.field();
        }
        let (quota, window) = quota_and_window(now);
        field(&self.quoted, quota, window)
    }
}

fn field(quoted: &str, quota: u64, window: Option<u64>) -> Option<HeaderValue> {
    item(quoted, (b'q', quota.min(MAX_INTEGER)), (b'w', window))
}

pub(super) fn quota_and_window((burst, rate): (u64, Rate)) -> (u64, Option<u64>) {
    (burst, window(burst, rate))
}

/// A string of RFC 9651.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(char);
    }
    quoted.push('"');
    quoted
}

/// Whole seconds, rounded up; no more than a field can say.
pub(super) fn seconds(of: Duration) -> u64 {
    let seconds = of.as_secs();
    let whole = seconds.saturating_add(u64::from(of.subsec_nanos() > 0));
    whole.min(MAX_INTEGER)
}

/// How long it takes for a burst to come, at the least a second; none if it never does.
fn window(burst: u64, rate: Rate) -> Option<u64> {
    if rate.is_zero() {
        return None;
    }
    let nanos = u128::from(burst).checked_mul(rate.period().as_nanos());
    let per_second = u128::from(rate.tokens()) * NANOS;
    let seconds = nanos?.div_ceil(per_second).max(1);
    Some(u64::try_from(seconds).map_or(MAX_INTEGER, |seconds| seconds.min(MAX_INTEGER)))
}

/// Longer names would be most of a response.
const MAX_NAME: usize = 256;
const NANOS: u128 = 1_000_000_000;
