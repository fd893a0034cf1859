//! What a pool has done and is doing.
//!
//! # Consistency
//! Every counter only rises, and a task raises them in the order submitted, started, ended. They
//! are read in the opposite order, each with Acquire against the Release of its writer, so a
//! snapshot never shows an end without its start; `queued` and `running` are differences. So
//! `submitted = queued + running + completed + panicked + timed_out + cancelled + evicted` holds
//! in every snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use super::room::Room;

/// A pool's figures at one time; see [`WorkerPool::stats`](super::WorkerPool::stats).
///
/// `submitted = queued + running + completed + panicked + timed_out + cancelled + evicted`, always.
/// How long tasks wait and run is in `WorkerPool::times` (feature `metrics`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStats {
    /// Tasks that were accepted.
    pub submitted: u64,
    /// Tasks that returned a value; one that returned an `Err` of its own is among them.
    pub completed: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Tasks dropped because they ran longer than they may.
    pub timed_out: u64,
    /// Tasks aborted, abandoned in the queue, or dropped by a shutdown or by the runtime.
    pub cancelled: u64,
    /// Tasks dropped from a full queue in favour of newer ones:
    /// [`DropOldest`](flow_rt::OnFull::DropOldest).
    pub evicted: u64,
    /// Tasks that were not accepted: full, closed, waited too long. Not among `submitted`.
    pub rejected: u64,
    /// Tasks that wait for a slot.
    pub queued: u64,
    /// Tasks that have started and not ended: on a slot, waiting without it in
    /// [`release_slot`](super::WorkerPool::release_slot), or run by their submitters
    /// ([`CallerRuns`](flow_rt::OnFull::CallerRuns)).
    pub running: u64,
    /// Slots that live, busy or idle.
    pub slots: usize,
    /// Slots that may live, but for those that are [lent](super::WorkerPool::release_slot).
    pub max_slots: usize,
    /// Slots that live and have nothing to do.
    pub idle_slots: usize,
    /// Submitters that wait for room.
    pub waiting: usize,
}

/// How a task that had started ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Completed,
    /// Completed after it was told to stop.
    Stopped,
    Panicked,
    TimedOut,
    Aborted,
    /// Dropped by a shutdown.
    Dropped,
}

/// How a task ended that never started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Aborted,
    /// Still queued when the pool stopped.
    Abandoned,
    /// In a full queue.
    Evicted,
}

/// The counters of a pool. The first slots have stripes of their own, which only they write; the
/// others share the last one.
pub(super) struct Counters {
    rejected: AtomicU64,
    /// Tasks accepted without a place of their own: run by their submitters, or put in the place
    /// of one that was evicted.
    without_place: AtomicU64,
    gone: Cold,
    /// Threads that run a closure on whose slot has gone on without it.
    strays: AtomicU64,
    stripes: Box<[Stripe]>,
}

#[derive(Default)]
struct Cold {
    aborted: AtomicU64,
    abandoned: AtomicU64,
    evicted: AtomicU64,
}

#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    started: AtomicU64,
    ends: [AtomicU64; 6],
}

/// Sums of the counters at one time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    ends: [u64; 6],
    aborted: u64,
    abandoned: u64,
    evicted: u64,
    started: u64,
    rejected: u64,
    submitted: u64,
}

/// The stripe of those who have none of their own.
pub(super) const SHARED: u32 = u32::MAX;

/// Slots with a stripe of their own, at the most: 8 KiB.
const MAX_STRIPES: usize = 64;

impl Counters {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            rejected: AtomicU64::new(0),
            without_place: AtomicU64::new(0),
            gone: Cold::default(),
            strays: AtomicU64::new(0),
            stripes: (0..=slots.min(MAX_STRIPES))
                .map(|_| Stripe::default())
                .collect(),
        }
    }

    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// To be counted before the task can start.
    pub(super) fn without_place(&self) {
        self.without_place.fetch_add(1, Ordering::Release);
    }

    pub(super) fn gone(&self, how: Gone) {
        match how {
            Gone::Aborted => &self.gone.aborted,
            Gone::Abandoned => &self.gone.abandoned,
            Gone::Evicted => &self.gone.evicted,
        }
        .fetch_add(1, Ordering::Release);
    }

    /// A slot goes on without the thread that runs its closure.
    pub(super) fn strays(&self) {
        self.strays.fetch_add(1, Ordering::AcqRel);
    }

    /// That closure has returned.
    pub(super) fn returned(&self) {
        self.strays.fetch_sub(1, Ordering::AcqRel);
    }

    /// Closures that have not returned, of those whose slots have gone on.
    pub(super) fn astray(&self) -> u64 {
        self.strays.load(Ordering::Acquire)
    }

    pub(super) fn started(&self, stripe: u32) {
        self.raise(stripe, |stripe| &stripe.started);
    }

    pub(super) fn ended(&self, stripe: u32, how: End) {
        self.raise(stripe, |stripe| &stripe.ends[how as usize]);
    }

    #[inline]
    fn raise(&self, slot: u32, which: impl Fn(&Stripe) -> &AtomicU64) {
        let shared = self.stripes.len() - 1;
        if (slot as usize) < shared {
            // Nobody else writes it: a slot's number is its own while it lives, and handed on
            // under the roster's lock.
            let counter = which(&self.stripes[slot as usize]);
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
        } else {
            which(&self.stripes[shared]).fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn totals(&self, room: &Room) -> Totals {
        let mut totals = Totals::default();
        for stripe in &self.stripes {
            for (sum, end) in totals.ends.iter_mut().zip(&stripe.ends) {
                *sum += end.load(Ordering::Acquire);
            }
        }
        totals.aborted = self.gone.aborted.load(Ordering::Acquire);
        totals.abandoned = self.gone.abandoned.load(Ordering::Acquire);
        totals.evicted = self.gone.evicted.load(Ordering::Acquire);
        for stripe in &self.stripes {
            totals.started += stripe.started.load(Ordering::Acquire);
        }
        totals.rejected = self.rejected.load(Ordering::Relaxed);
        totals.submitted = self.without_place.load(Ordering::Acquire);
        totals.submitted += room.queued_ever();
        totals
    }
}

impl Totals {
    pub(super) fn ended(&self, how: End) -> u64 {
        self.ends[how as usize]
    }

    /// Tasks that started and ended by themselves, well or not.
    pub(super) fn ended_by_themselves(&self) -> u64 {
        self.ended(End::Completed) + self.ended(End::Panicked)
    }

    pub(super) fn aborted(&self) -> u64 {
        self.aborted + self.ended(End::Aborted)
    }

    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned
    }

    pub(super) fn running(&self) -> u64 {
        self.started - self.ends.iter().sum::<u64>()
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            submitted: self.submitted,
            completed: self.ended(End::Completed) + self.ended(End::Stopped),
            panicked: self.ended(End::Panicked),
            timed_out: self.ended(End::TimedOut),
            cancelled: self.aborted() + self.ended(End::Dropped) + self.abandoned,
            evicted: self.evicted,
            rejected: self.rejected,
            queued: self.submitted - self.started - self.aborted - self.abandoned - self.evicted,
            running: self.running(),
            ..PoolStats::default()
        }
    }
}
