//! Numbers that tell a claim from those before it, and the side that checks them.

use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a claim: greater than those of all earlier claims of the same job.
///
/// A run hands it to what it acts upon, which refuses numbers lower than the greatest it has seen:
/// so a holder that has stalled does no harm when it goes on after another one has taken over. A
/// [`FenceGate`] does that within a process; a database does with `where fence <= :fence`.
///
/// Fences grow with each claim of a job, and a claim is for one scheduled time: a run that is still
/// in progress when the next time is claimed, by any instance, has the lower fence although its own
/// claim holds. So keep what is checked for each [scheduled time](crate::JobContext::scheduled_at),
/// or let no run outlast the period of its job: by a [timeout](crate::JobBuilder::timeout), say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// The fence of that number: for stores.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The door of something that holders of claims act upon: it lets no older fence in than the newest
/// it has seen.
///
/// The check and the effect are to be one step: within a process under the lock of what is acted
/// upon, or else a newer holder may pass between the two.
///
/// ```
/// use flow_sched::{Fence, FenceGate};
///
/// let gate = FenceGate::new();
/// assert!(gate.admit(Fence::new(7)).is_ok());
/// assert!(gate.admit(Fence::new(7)).is_ok(), "the same holder, again");
/// assert!(gate.admit(Fence::new(8)).is_ok());
/// let stale = gate.admit(Fence::new(7)).unwrap_err();
/// assert_eq!(stale.to_string(), "fence 7 is stale: fence 8 has passed");
/// ```
#[derive(Debug, Default)]
pub struct FenceGate {
    newest: AtomicU64,
}

impl FenceGate {
    /// A gate that has seen no fence.
    pub const fn new() -> Self {
        Self {
            newest: AtomicU64::new(0),
        }
    }

    /// Lets a fence in unless a newer one has passed. One atomic operation.
    ///
    /// # Errors
    /// [`StaleFence`].
    pub fn admit(&self, fence: Fence) -> Result<(), StaleFence> {
        // It orders nothing but itself: what is acted upon has a lock of its own.
        let newest = self.newest.fetch_max(fence.0, Ordering::Relaxed);
        if fence.0 < newest {
            return Err(StaleFence {
                given: fence,
                newest: Fence(newest),
            });
        }
        Ok(())
    }
}

/// The holder of a newer claim has acted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleFence {
    /// The fence that is refused.
    pub given: Fence,
    /// The newest that has passed.
    pub newest: Fence,
}

impl fmt::Display for StaleFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given, newest } = self;
        write!(f, "fence {given} is stale: fence {newest} has passed")
    }
}

impl std::error::Error for StaleFence {}
