//! What a denial of one token found out, for those that follow it.
//!
//! # State
//! When there will be a token (`ready`), and what that was computed from: the bucket's `word` and
//! the `version` of its parameters. `seq` counts changes of the three, by two; it is odd while one
//! is under way. `ready` is 0 at first, and in the past wherever tokens are granted.
//!
//! # Invariants
//! 1. Who made `seq` odd writes the others; everybody else computes for himself meanwhile.
//! 2. A reader keeps what it read only if `seq` was even, and did not change meanwhile.
//! 3. `ready` follows from `word` and `version` alone, whatever the time: before it there is no
//!    token by this line, and at it there is one. So whoever finds both unchanged, and an earlier
//!    time, is denied.
//!
//! # Ordering
//! The store of an even `seq` (Release) publishes what was written before it to the Acquire load
//! in `recall`. A reader that sees words of a later change sees its odd `seq` too: a Release fence
//! stands between that and the words, and the reader's Acquire fence between them and its second
//! look (2). The bucket's word and version are compared after that, in the order in which a
//! decision loads them.
//!
//! # Cost
//! Denials write once after each change of the word, on a line of its own; those in between are
//! loads and comparisons. A grant looks at `ready` only.
//!
//! # Source
//! A sequence lock with a try-lock for its writers.

use flow_rt::Instant;
use flow_sync::sync::atomic::{AtomicU64, Ordering, fence};

use crate::error::Denied;

/// The last denial of one token.
pub(crate) struct Denial {
    seq: AtomicU64,
    ready: AtomicU64,
    word: AtomicU64,
    version: AtomicU64,
}

/// Until when one token is denied, if word and version are still these.
pub(crate) struct Until {
    pub(crate) ready: u64,
    pub(crate) word: u64,
    pub(crate) version: u64,
}

impl Denial {
    pub(crate) fn new() -> Self {
        Self {
            seq: AtomicU64::new(0),
            ready: AtomicU64::new(0),
            word: AtomicU64::new(0),
            version: AtomicU64::new(0),
        }
    }

    /// What is remembered, if it is of use at `now`.
    #[inline]
    pub(crate) fn recall(&self, now: Instant) -> Option<Until> {
        let seq = self.seq.load(Ordering::Acquire);
        let ready = self.ready.load(Ordering::Relaxed);
        if now.as_nanos() >= ready {
            return None;
        }
        let until = Until {
            ready,
            word: self.word.load(Ordering::Relaxed),
            version: self.version.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        // Of an odd one there is no even number that it could still be.
        (self.seq.load(Ordering::Relaxed) == seq & !1).then_some(until)
    }

    /// Remembers a denial that was decided at `now`, by this word and these parameters.
    #[cold]
    #[inline(never)]
    pub(crate) fn remember(&self, word: u64, version: u64, now: Instant, denied: Denied) {
        let ready = denied.retry_after().and_then(|wait| now.checked_add(wait));
        let Some(ready) = ready.filter(|ready| !ready.is_far_future()) else {
            return;
        };
        let seq = self.seq.load(Ordering::Relaxed);
        let locked = seq & 1 == 0
            && self
                .seq
                .compare_exchange(seq, seq + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !locked {
            return;
        }
        fence(Ordering::Release);
        self.ready.store(ready.as_nanos(), Ordering::Relaxed);
        self.word.store(word, Ordering::Relaxed);
        self.version.store(version, Ordering::Relaxed);
        self.seq.store(seq + 2, Ordering::Release);
    }
}
