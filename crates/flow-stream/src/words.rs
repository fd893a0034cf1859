//! Words of settings that stand for one of a few values.

use core::fmt;
use std::borrow::Cow;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// The one of `values` that is meant, by the word of its `Display`; what is none of them is an
/// error that names it, as an unknown `what`, and them.
pub(crate) fn one_of<'de, D: Deserializer<'de>, V: fmt::Display + Copy, const N: usize>(
    deserializer: D,
    what: &str,
    values: [V; N],
) -> Result<V, D::Error> {
    let word = Cow::<str>::deserialize(deserializer)?;
    let value = values.into_iter().find(|value| value.to_string() == *word);
    value.ok_or_else(|| {
        let words = values.map(|value| format!("`{value}`")).join(", ");
        D::Error::custom(format_args!(
            "unknown {what} `{word}`, expected one of {words}"
        ))
    })
}
