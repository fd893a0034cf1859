//! A seeded hash of 64 bits: which sets a key may stand in, and how it is told from others there.
//!
//! Whoever chooses the keys must not be able to choose hashes, or could crowd the sets of others:
//! so two secret numbers go into it, drawn anew for each limiter. A word is mixed in by one
//! 64 x 64 -> 128 bit multiplication whose halves are folded together, which costs a tenth of
//! SipHash on the short keys that clients have. It is no cryptographic hash: it holds against
//! clients who see who is limited, not against those who could read the hashes themselves.
//!
//! Source: the folded multiply of wyhash, as ahash and foldhash use it.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// The secrets of one limiter.
#[derive(Clone, Copy)]
pub(super) struct Seed {
    start: u64,
    factor: u64,
}

impl Seed {
    /// Secrets of the process's own randomness.
    pub(super) fn random() -> Self {
        // Each `RandomState` has keys of its own.
        let draw = || RandomState::new().hash_one(0_u64);
        Self::of(draw(), draw())
    }

    /// The same hashes in every process that says the same number.
    pub(super) fn fixed(seed: u64) -> Self {
        Self::of(fold(seed ^ GOLDEN, SILVER), fold(seed ^ SILVER, GOLDEN))
    }

    /// The secrets, to be carried over a restart.
    pub(super) const fn words(self) -> [u64; 2] {
        [self.start, self.factor]
    }

    /// Secrets that were carried over a restart.
    pub(super) fn from_words([start, factor]: [u64; 2]) -> Self {
        Self::of(start, factor)
    }

    fn of(start: u64, factor: u64) -> Self {
        Self {
            start,
            // Odd, so that no bit of what it multiplies is shifted out.
            factor: factor | 1,
        }
    }

    /// The hash of a key.
    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(self, key: &Q) -> u64 {
        let mut hasher = Folded {
            state: self.start,
            factor: self.factor,
        };
        key.hash(&mut hasher);
        hasher.finish()
    }
}

/// A hash under way.
struct Folded {
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

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }

    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.mix(n.into());
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.mix(n.into());
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    #[inline]
    fn write_u128(&mut self, n: u128) {
        self.mix(n as u64);
        self.mix((n >> 64) as u64);
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

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

/// Digits of the golden and the silver ratio: numbers without a pattern.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const SILVER: u64 = 0x6a09_e667_f3bc_c909;
