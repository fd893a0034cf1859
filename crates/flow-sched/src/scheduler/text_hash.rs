//! Names by their hash, which is seeded once per process: strangers may have typed them.

use core::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use flow_sync::HashSeed;

static SEED: LazyLock<HashSeed> = LazyLock::new(HashSeed::random);

/// The hash of a text.
pub(super) fn of(text: &str) -> u64 {
    let mut hasher = SEED.build_hasher();
    // The bytes alone, whose number is in it: what `str` adds at its end is one word more.
    hasher.write(text.as_bytes());
    hasher.finish()
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

/// Two names of the same hash: the second word of the one makes up for the difference of the first.
#[cfg(test)]
pub(super) fn collision() -> [String; 2] {
    let [start, factor] = SEED.words();
    let word = |text: &str| text.as_bytes().try_into().map(u64::from_le_bytes).unwrap();
    let after = |text: &str| {
        let product = u128::from(start ^ word(text)) * u128::from(factor);
        product as u64 ^ (product >> 64) as u64
    };
    let (first, second) = ("00000000", "the same");
    let others = (1..).map(|n| format!("{n:08}"));
    let mut found = others.filter_map(|other| {
        let differs = after(first) ^ after(&other) ^ word(second);
        let makes_up = String::from_utf8(differs.to_le_bytes().into()).ok()?;
        Some(other + &makes_up)
    });
    [format!("{first}{second}"), found.next().unwrap()]
}
