//! A small generator for choices that need spread and no secrecy: jitter, and the simulation's.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ambient;

/// splitmix64.
///
/// # Source
/// Steele, Lea, Flood: *Fast splittable pseudorandom number generators* (OOPSLA 2014).
#[derive(Debug, Clone)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from zero to `most`, both included.
    pub(crate) const fn up_to(&mut self, most: u64) -> u64 {
        // The high half of the product: unbiased to one part in 2^64 / `most`.
        ((self.next_u64() as u128 * (most as u128 + 1)) >> 64) as u64
    }
}

/// A seed that differs from call to call: from the seed of the simulation inside one, so that a
/// run can be repeated, else from the operating system's, drawn once per process.
pub(crate) fn entropy() -> u64 {
    ambient::simulated_entropy().unwrap_or_else(|| {
        static PROCESS: OnceLock<AtomicU64> = OnceLock::new();
        let process = PROCESS.get_or_init(|| AtomicU64::new(RandomState::new().hash_one(0)));
        SplitMix::new(process.fetch_add(STEP, Ordering::Relaxed)).next_u64()
    })
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
