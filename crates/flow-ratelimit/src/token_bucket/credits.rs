//! Credits: tokens taken ahead of their use, and what they cost of the burst.
//!
//! # State
//! [`Reserve`]: `burst`, what the bucket may hold in all, and `aside`, what of it is for credits:
//! a batch per holder. The line of supply (see `supply`) has the rest for its burst.
//!
//! # Invariants
//! 1. `burst` and `aside` change only under the lock of the bucket's queue, together with the
//!    line, whose burst is `burst - aside`. `aside` is at most half of `burst`.
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

use flow_sync::sync::atomic::{AtomicU64, Ordering};

use crate::error::ConfigError;

/// How the burst is shared out, in tokens. Written under the queue's lock.
pub(crate) struct Reserve {
    burst: AtomicU64,
    aside: AtomicU64,
}

impl Reserve {
    /// A burst of which so much, half at the most, is for credits already.
    pub(crate) fn new(burst: u64, aside: u64) -> Self {
        Self {
            burst: AtomicU64::new(burst),
            aside: AtomicU64::new(aside),
        }
    }

    /// The burst, credits included.
    pub(crate) fn burst(&self) -> u64 {
        self.burst.load(Ordering::Acquire)
    }

    /// What of it is for credits.
    pub(crate) fn aside(&self) -> u64 {
        self.aside.load(Ordering::Acquire)
    }

    /// Changes the burst. What is left of it for the line of supply.
    pub(crate) fn set_burst(&self, burst: u64) -> Result<u64, ConfigError> {
        let aside = self.aside();
        if burst / 2 < aside {
            return Err(ConfigError::BurstBelowCredits {
                given: burst,
                min: aside.saturating_mul(2),
            });
        }
        self.burst.store(burst, Ordering::Release);
        Ok(burst - aside)
    }

    /// Sets a batch aside. What is left for the line of supply.
    pub(crate) fn set_aside(&self, batch: u64) -> Result<u64, ConfigError> {
        let (burst, aside) = (self.burst(), self.aside());
        // It does not underflow (1).
        let max = burst / 2 - aside;
        match batch {
            0 => Err(ConfigError::ZeroBatch),
            given if given > max => Err(ConfigError::BatchTooLarge { given, max }),
            _ => {
                self.aside.store(aside + batch, Ordering::Release);
                Ok(burst - aside - batch)
            }
        }
    }

    /// Ends a batch. What is left for the line of supply.
    pub(crate) fn hand_back(&self, batch: u64) -> u64 {
        let aside = self.aside() - batch;
        self.aside.store(aside, Ordering::Release);
        self.burst() - aside
    }
}
