//! The generator of the simulation's choices: its stream is part of what a seed means.

use crate::rng::SplitMix;

/// Seeded random numbers (splitmix64), the same on every machine and in every version.
///
/// # Source
/// Steele, Lea, Flood: *Fast splittable pseudorandom number generators* (OOPSLA 2014).
#[derive(Debug, Clone)]
pub struct SimRng(SplitMix);

impl SimRng {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix::new(seed))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: unbiased to one part in 2^64 / bound.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True with probability `numerator / denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}
