//! Numbers that look random and are the same for the same seed.
//!
//! Source: splitmix64, of Steele, Lea, Flood, *Fast splittable pseudorandom number generators*
//! (OOPSLA 2014); FNV-1a for names.

use core::time::Duration;
use std::hash::{BuildHasher, RandomState};

/// One step of splitmix64: close seeds give numbers far apart.
pub(crate) const fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A duration from `least` to `most`, both included, that `seed` chooses.
pub(crate) fn between(seed: u64, least: Duration, most: Duration) -> Duration {
    let (least, most) = (nanos(least), nanos(most));
    let spread = u128::from(most.saturating_sub(least)) + 1;
    // The high half of the product: unbiased to one part in 2^64 / spread.
    let drawn = ((u128::from(mix(seed)) * spread) >> 64) as u64;
    Duration::from_nanos(least + drawn)
}

/// A number that a text chooses, the same one in every process.
pub(crate) fn of_text(text: &str) -> u64 {
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    mix(hash)
}

/// A number that differs from call to call and process to process; inside a simulation its seed
/// chooses it.
pub(crate) fn entropy() -> u64 {
    flow_rt::simulated_entropy().unwrap_or_else(|| RandomState::new().hash_one(0_u64))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
