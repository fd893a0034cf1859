//! A seeded hash for names and patterns, which strangers may have typed.
//!
//! Each word is mixed in by one 64 x 64 -> 128 bit multiplication whose halves are folded together,
//! with two secret numbers drawn once per process: a tenth of SipHash's cost on texts this short.
//! It holds against those who choose texts, not against those who could read the hashes, which
//! nobody is shown. Source: the folded multiply of wyhash, as flow-ratelimit has it for its keys.

use core::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::hash::RandomState;
use std::sync::LazyLock;

/// The hash of a text.
pub(super) fn of(text: &str) -> u64 {
    TextHash::default().hash_one(text)
}

/// For tables whose keys are such hashes.
pub(super) type ByHash = BuildHasherDefault<Hashed>;

/// A key that is its own hash.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        // The keys are numbers: nobody comes here.
        self.0 = bytes
            .iter()
            .fold(self.0, |sum, &byte| sum << 8 | u64::from(byte));
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes hashers with the secrets of the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextHash {
    start: u64,
    factor: u64,
}

impl Default for TextHash {
    fn default() -> Self {
        static SECRETS: LazyLock<TextHash> = LazyLock::new(|| {
            // Each `RandomState` has keys of its own.
            let draw = || RandomState::new().hash_one(0_u64);
            TextHash {
                start: draw(),
                // Odd, so that no bit of what it multiplies is shifted out.
                factor: draw() | 1,
            }
        });
        *SECRETS
    }
}

impl BuildHasher for TextHash {
    type Hasher = Folded;

    #[inline]
    fn build_hasher(&self) -> Folded {
        Folded {
            state: self.start,
            factor: self.factor,
        }
    }
}

/// A hash under way.
pub(super) struct Folded {
    state: u64,
    factor: u64,
}

impl Folded {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.factor);
    }
}

impl Hasher for Folded {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(last));
        }
        // What was padded is told from what ends in zeros.
        self.state = self.state.wrapping_add(bytes.len() as u64);
    }

    /// What `str` adds at its end: the length that was added says as much.
    #[inline]
    fn write_u8(&mut self, _: u8) {}

    #[inline]
    fn finish(&self) -> u64 {
        // The last word went through one multiplication only.
        fold(self.state ^ GOLDEN, self.factor)
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Digits of the golden ratio: a number without a pattern.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Two names of the same hash: the second word of the one makes up for the difference of the first.
#[cfg(test)]
pub(super) fn collision() -> [String; 2] {
    let TextHash { start, factor } = TextHash::default();
    let word = |text: &str| text.as_bytes().try_into().map(u64::from_le_bytes).unwrap();
    let after = |text: &str| fold(start ^ word(text), factor);
    let (first, second) = ("00000000", "the same");
    let others = (1..).map(|n| format!("{n:08}"));
    let mut found = others.filter_map(|other| {
        let differs = after(first) ^ after(&other) ^ word(second);
        let makes_up = String::from_utf8(differs.to_le_bytes().into()).ok()?;
        Some(other + &makes_up)
    });
    [format!("{first}{second}"), found.next().unwrap()]
}
