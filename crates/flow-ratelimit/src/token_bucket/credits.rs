//! Credits: tokens taken ahead of their use, and what they cost of the burst.
//!
//! # State
//! The burst is shared out between the line of supply (see `supply`), which has its part for its
//! own burst, and `aside`, a batch per holder. Both stand in the bucket's parameters: who looks
//! at the line knows how it is shared, and a bucket without credits has nothing more to look at.
//!
//! # Invariants
//! 1. Both parts are published at once, under the lock of the bucket's queue. `aside` is at most
//!    half of their sum, the burst.
//! 2. A holder's credits, with those on their way to it or back, are never more than its batch.
//! 3. A batch is set aside before its holder takes the first credit, until the last one is spent
//!    or back in the bucket's word.
//!
//! # Why the burst stays exact
//! Call *stock* what the word holds and all credits, wherever they are. It is never more than
//! `(burst - aside) + aside` (1, 2, 3). Supply alone adds to it; grants alone take from it, for
//! tokens that become credits, or go back, stay in it. So what is granted over any time is at most
//! the stock at its start, and what is supplied: `burst + rate × t`, as without credits.
//!
//! # How many
//! A holder takes a full batch only where plenty is left for the others: credits in idle hands are
//! of use to nobody. Near the end it takes what it was asked for and nothing more.

use crate::error::ConfigError;
use crate::supply::MAX_ASIDE;

/// What the line keeps of a new burst, in tokens.
pub(crate) fn with_burst(burst: u64, aside: u64) -> Result<u64, ConfigError> {
    if burst / 2 < aside {
        return Err(ConfigError::BurstBelowCredits {
            given: burst,
            min: aside.saturating_mul(2),
        });
    }
    Ok(burst - aside)
}

/// What is set aside of a burst with one more batch.
pub(crate) fn with_batch(batch: u64, burst: u64, aside: u64) -> Result<u64, ConfigError> {
    // It does not underflow (1).
    let max = (burst / 2).min(MAX_ASIDE) - aside;
    match batch {
        0 => Err(ConfigError::ZeroBatch),
        given if given > max => Err(ConfigError::BatchTooLarge { given, max }),
        _ => Ok(aside + batch),
    }
}
