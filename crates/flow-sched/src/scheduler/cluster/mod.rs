//! Several instances of one service: who leads, and who runs which occurrence.
//!
//! # The promise
//! There is one claim for each job and scheduled time. A holder that stalls until its claim goes
//! to another can still act, and no lock prevents that: its effects are refused by whoever checks
//! its *fence*, a number that grows with each claim of a job. If the holder crashes, the occurrence
//! runs at most once ([`Claims::at_most_once`]) or at least once ([`Claims::at_least_once`]), as
//! chosen. It is never exactly once.
//!
//! # Steps
//! 1. An occurrence comes due in every instance. Its run is let in everywhere, and comes to the
//!    gate: what does not lead ([`Elector`]) ends there, and so does what loses the claim. What has
//!    waited since without a claim, in a pool's queue say, is asked for the lead once more when it
//!    begins. What holds one is not: nobody else would run it.
//! 2. Who wins at least once holds a lease, which its keeper (`claim`) renews until the run ends,
//!    and settles then, before the run counts as ended.
//! 3. A lease that ends without having been settled is *abandoned*. Each scheduler asks for such
//!    occurrences once in a lease (`recovery`), claims each in turn, and lets a run of it in. The
//!    first holder has judged by the misfire policy: it is not judged again.
//!
//! # Invariants
//! 1. A run begins with a claim, or because the store failed and its job is to run all the same.
//!    It stays the occurrence that it was claimed for: what is newer follows, and claims in turn.
//! 2. A claim is settled once, however its run ends: `Held` is told how, and does it when dropped.
//!    The scheduler counts a run in progress until then.
//!    What is granted to nobody any more is given back by the task that has asked (`question`).
//! 3. No run by hand asks anybody; nor does a job without a name, or one that is `local`.

mod claim;
mod claims;
mod election;
mod fence;
mod memory;
mod question;
mod recovery;
mod store;

pub use claims::{Claims, OnStoreError};
pub use election::{Candidate, CandidateBuilder, CandidateConfigError, CandidateStats, Elector};
pub use fence::{Fence, FenceGate, StaleFence};
pub use memory::MemoryStore;
pub use store::{Claim, ClaimEnd, JobKey, JobLock, JobStore, StoreFuture};

pub(super) use claim::Held;
pub(super) use recovery::recover;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use flow_rt::CancellationToken;

use crate::sync::Mutex;

/// What a scheduler knows about the other instances.
pub(super) struct Cluster {
    pub(super) elector: Option<Arc<dyn Elector>>,
    pub(super) claims: Option<Claims>,
    /// Cancelled when the scheduler is closed.
    pub(super) over: CancellationToken,
    /// What runs in progress here were claimed for.
    held: Mutex<HashSet<JobKey>>,
    /// Questions that the store did not answer.
    pub(super) store_errors: AtomicU64,
    /// Claims that were lost while their runs were in progress.
    pub(super) lost_claims: AtomicU64,
}

impl Cluster {
    /// `None` if there is nobody to ask.
    pub(super) fn new(elector: Option<Arc<dyn Elector>>, claims: Option<Claims>) -> Option<Self> {
        (elector.is_some() || claims.is_some()).then(|| Self {
            elector,
            claims,
            over: CancellationToken::new(),
            held: Mutex::default(),
            store_errors: AtomicU64::new(0),
            lost_claims: AtomicU64::new(0),
        })
    }
}
