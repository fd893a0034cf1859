//! Words and counts of settings, for builders that are read from configuration files.
//!
//! A word is what it is, letter by letter: one with blanks around it is refused like any other that
//! is not known, and the error names it as it was given.

use core::fmt;
use core::marker::PhantomData;
use std::borrow::Cow;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The one of `values` that is meant, by the word of its `Display`: an [`OnFull`](crate::OnFull),
/// of those that a builder takes.
///
/// # Errors
/// What is none of them is named, as an unknown `what`, and so are they.
pub fn one_of<'de, D: Deserializer<'de>, V: fmt::Display + Copy, const N: usize>(
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

/// A value that is a number, or has words for what no number says: a capacity of 64, or
/// `"unbounded"`. For formats that say which of the two there is.
///
/// # Errors
/// A number that is negative or no `usize`, a text that `word` does not know, and anything else;
/// `expected` says what there may be.
pub fn count_or_word<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    count: impl FnOnce(usize) -> T,
    word: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(CountOrWord {
        expected,
        count,
        word,
        value: PhantomData,
    })
}

struct CountOrWord<'a, T, C, W> {
    expected: &'a str,
    count: C,
    word: W,
    value: PhantomData<fn() -> T>,
}

impl<T, C, W> Visitor<'_> for CountOrWord<'_, T, C, W>
where
    C: FnOnce(usize) -> T,
    W: FnOnce(&str) -> Option<T>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<T, E> {
        match usize::try_from(count) {
            Ok(count) => Ok((self.count)(count)),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(count), &self)),
        }
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<T, E> {
        match u64::try_from(count) {
            Ok(count) => self.visit_u64(count),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(count), &self)),
        }
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<T, E> {
        let Self { expected, .. } = self;
        let value = (self.word)(word);
        value.ok_or_else(|| E::invalid_value(Unexpected::Str(word), &expected))
    }
}
