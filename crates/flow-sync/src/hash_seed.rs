//! A seeded hash of 64 bits, for tables whose keys strangers choose.
//!
//! Whoever chooses the keys must not be able to choose hashes, or could crowd the places of others:
//! so two secret numbers go into it. A word is mixed in by one 64 x 64 -> 128 bit multiplication
//! whose halves are folded together, which costs a tenth of SipHash on the short keys that clients
//! and names are. It is no cryptographic hash: it holds against those who see what becomes of their
//! keys, not against those who could read the hashes themselves.
//!
//! Source: the folded multiply of wyhash, as ahash and foldhash use it.

use core::fmt;
use core::hash::{BuildHasher, Hasher};
use std::hash::RandomState;

/// The secrets of a table, and what makes its hashers.
///
/// Keys of the same secrets have the same hashes in every process and in every version of this
/// crate, as far as their `Hash` writes the same: what was stored by its hash is found again by
/// whoever kept the [`words`](Self::words).
///
/// ```
/// use std::collections::HashMap;
/// use std::hash::BuildHasher;
/// use flow_sync::HashSeed;
///
/// let seed = HashSeed::random();
/// let kept = HashSeed::from_words(seed.words());
/// assert_eq!(seed.hash_one("client"), kept.hash_one("client"));
///
/// let mut jobs: HashMap<&str, u32, HashSeed> = HashMap::default();
/// jobs.insert("report", 1);
/// assert_eq!(jobs.get("report"), Some(&1));
/// ```
///
/// # Cost
/// 16 bytes. A hash is one multiplication for each number and for every 8 bytes that the key writes,
/// and one more. A string writes a byte after its end, as a number.
#[derive(Clone, Copy)]
pub struct HashSeed {
    start: u64,
    factor: u64,
}

impl HashSeed {
    /// Secrets of the process's own randomness, others each time.
    pub fn random() -> Self {
        // Each `RandomState` has keys of its own.
        let draw = || RandomState::new().hash_one(0_u64);
        Self::from_words([draw(), draw()])
    }

    /// The same in every process that says the same number, which anybody may guess: for tests, and
    /// for keys that nobody chooses.
    pub fn fixed(number: u64) -> Self {
        Self::from_words([fold(number ^ GOLDEN, SILVER), fold(number ^ SILVER, GOLDEN)])
    }

    /// The secrets, to be carried over a restart. Whoever knows them can choose hashes.
    pub const fn words(self) -> [u64; 2] {
        [self.start, self.factor]
    }

    /// Secrets that were carried over a restart: those that [`words`](Self::words) has said come
    /// back as they were.
    ///
    /// Of others the second is changed if hashes by it would be none: an even one becomes the next
    /// odd one, and the two odd ones that fold to an exclusive or, 1, and to the same number for
    /// all, 2^64 - 1, become a fixed one. A second word that somebody made up, a small one say, is
    /// no secret, and may hash badly: draw words by [`random`](Self::random).
    pub const fn from_words([start, factor]: [u64; 2]) -> Self {
        // Odd, so that no bit of what it multiplies is shifted out.
        let factor = match factor | 1 {
            1 | u64::MAX => SILVER,
            odd => odd,
        };
        Self { start, factor }
    }
}

/// [`random`](HashSeed::random) secrets.
impl Default for HashSeed {
    fn default() -> Self {
        Self::random()
    }
}

impl BuildHasher for HashSeed {
    type Hasher = FoldedHash;

    #[inline]
    fn build_hasher(&self) -> FoldedHash {
        FoldedHash {
            state: self.start,
            factor: self.factor,
        }
    }
}

impl fmt::Debug for HashSeed {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashSeed").finish_non_exhaustive()
    }
}

/// A hash under way, made by a [`HashSeed`].
#[derive(Clone)]
pub struct FoldedHash {
    state: u64,
    factor: u64,
}

impl FoldedHash {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.factor);
    }
}

impl Hasher for FoldedHash {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.mix(padded(rest));
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

impl fmt::Debug for FoldedHash {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoldedHash").finish_non_exhaustive()
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Up to 7 bytes, one at the least, as a word that ends in zeros. By reads that may overlap: to copy
/// them would be a call, since their number is not known before.
#[inline]
fn padded(rest: &[u8]) -> u64 {
    let len = rest.len();
    if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        let last = u64::from(u32::from_le_bytes(*last)) << (8 * (len - size_of::<u32>()));
        return u64::from(u32::from_le_bytes(*first)) | last;
    }
    let byte = |at: usize| u64::from(rest[at]) << (8 * at);
    byte(0) | byte(len / 2) | byte(len - 1)
}

/// Digits of the golden and the silver ratio: numbers without a pattern.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const SILVER: u64 = 0x6a09_e667_f3bc_c909;
