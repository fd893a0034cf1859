//! The queues of a pool: a lane per priority, and which of them is next.
//!
//! How many tasks they hold is the [room](super::room)'s business.
//!
//! # Ageing
//! The most urgent lane that has a task goes first. Each time a lane that has tasks is passed
//! over it ages by one, and at the limit it has a turn. So urgent work cannot starve the rest: a
//! lane gets one turn in `limit + lanes` at the least. By turns and not by time, because in an
//! overload, when priorities matter, every task has waited for too long. Ages are approximate
//! while several slots pop at once; that a lane has its turn does not depend on it.

use std::sync::Arc;

use flow_sync::BareRing;

use super::queued::Queued;
use crate::sync::SegQueue;
use crate::sync::atomic::{AtomicU32, Ordering, fence};

pub(super) struct Lanes {
    /// The least urgent first.
    by_urgency: Box<[Lane]>,
    /// Tasks that were spawned on the pool's handle: they go first, and age the others.
    spawned: SegQueue<Queued>,
    /// Turns that went to those in a row while others had tasks, more or less: as for ages.
    streak: AtomicU32,
    ageing: u32,
}

struct Lane {
    queue: Queue,
    /// Turns that went to others while this lane had a task.
    age: AtomicU32,
}

/// A ring costs less per task, and its memory is taken ahead.
enum Queue {
    Ring(Arc<BareRing<Queued>>),
    Segments(Box<SegQueue<Queued>>),
}

impl Lanes {
    /// So many lanes; `capacity` if there is to be one, with room for so many tasks.
    pub(super) fn new(lanes: usize, capacity: Option<usize>, ageing: u32) -> Self {
        let ring = capacity.filter(|_| lanes == 1).and_then(BareRing::new);
        let ring = ring.map(Arc::new);
        let queue = || match &ring {
            Some(ring) => Queue::Ring(ring.clone()),
            None => Queue::Segments(Box::new(SegQueue::new())),
        };
        let lane = |_| Lane {
            queue: queue(),
            age: AtomicU32::new(0),
        };
        Self {
            by_urgency: (0..lanes).map(lane).collect(),
            spawned: SegQueue::new(),
            streak: AtomicU32::new(0),
            ageing,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.by_urgency.len()
    }

    /// The only lane, if it is a ring.
    pub(super) fn ring(&self) -> Option<&Arc<BareRing<Queued>>> {
        self.by_urgency.iter().find_map(|lane| match &lane.queue {
            Queue::Ring(ring) => Some(ring),
            Queue::Segments(_) => None,
        })
    }

    /// Appends a task to a lane. The caller has taken room.
    ///
    /// A SeqCst load that follows needs no fence between: the push ends with one, or with what makes
    /// it needless.
    #[allow(clippy::inline_always, reason = "as that of `Core`")]
    #[inline(always)]
    pub(super) fn push(&self, lane: usize, job: Queued) {
        match &self.by_urgency[lane].queue {
            Queue::Ring(ring) => {
                let pushed = ring.push(job).is_ok();
                debug_assert!(pushed, "room was taken, so the ring has a free slot");
            }
            Queue::Segments(queue) => {
                queue.push(job);
                fence(Ordering::SeqCst);
            }
        }
    }

    /// Appends a task that waits for no room; otherwise as [`push`](Self::push).
    pub(super) fn push_spawned(&self, job: Queued) {
        self.spawned.push(job);
        fence(Ordering::SeqCst);
    }

    /// The next task, and whether it was spawned.
    #[allow(clippy::inline_always, reason = "as that of `Core`")]
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<(Queued, bool)> {
        if self.spawned.is_empty() {
            self.pop_submitted().map(|job| (job, false))
        } else {
            self.pop_spawned()
        }
    }

    /// Gives the next turn to a task that was not spawned, if there is one.
    pub(super) fn give_way(&self) {
        self.streak.store(self.ageing, Ordering::Relaxed);
    }

    #[cold]
    fn pop_spawned(&self) -> Option<(Queued, bool)> {
        let is_turn_of_others = self.streak.load(Ordering::Relaxed) >= self.ageing;
        if is_turn_of_others && let Some(job) = self.pop_submitted() {
            self.streak.store(0, Ordering::Relaxed);
            return Some((job, false));
        }
        match self.spawned.pop() {
            Some(job) => {
                if self.by_urgency.iter().any(|lane| !lane.queue.is_empty()) {
                    self.streak.fetch_add(1, Ordering::Relaxed);
                } else {
                    self.streak.store(0, Ordering::Relaxed);
                }
                Some((job, true))
            }
            None => self.pop_submitted().map(|job| (job, false)),
        }
    }

    #[allow(clippy::inline_always, reason = "as that of `Core`")]
    #[inline(always)]
    fn pop_submitted(&self) -> Option<Queued> {
        match &*self.by_urgency {
            [only] => only.queue.pop(),
            lanes => self.pop_of(lanes),
        }
    }

    fn pop_of(&self, lanes: &[Lane]) -> Option<Queued> {
        for lane in lanes {
            if lane.age.load(Ordering::Relaxed) >= self.ageing {
                lane.age.store(0, Ordering::Relaxed);
                if let Some(job) = lane.queue.pop() {
                    return Some(job);
                }
            }
        }
        let (at, job) = lanes.iter().enumerate().rev().find_map(|(at, lane)| {
            let job = lane.queue.pop()?;
            Some((at, job))
        })?;
        for lane in &lanes[..at] {
            if !lane.queue.is_empty() {
                lane.age.fetch_add(1, Ordering::Relaxed);
            }
        }
        Some(job)
    }

    /// The oldest task of the least urgent lane that has one, up to `lane`.
    pub(super) fn pop_least_urgent(&self, lane: usize) -> Option<Queued> {
        self.by_urgency[..=lane]
            .iter()
            .find_map(|lane| lane.queue.pop())
    }

    /// How many tasks each lane holds, and the spawned ones.
    pub(super) fn lengths(&self) -> (Vec<usize>, usize) {
        let lanes = self.by_urgency.iter().map(|lane| lane.queue.len());
        (lanes.collect(), self.spawned.len())
    }

    pub(super) fn len(&self) -> usize {
        let submitted: usize = self.by_urgency.iter().map(|lane| lane.queue.len()).sum();
        if self.spawned.is_empty() {
            // Most of the time, and this costs less than their number.
            return submitted;
        }
        submitted + self.spawned.len()
    }

    /// How many of the tasks [`pop_least_urgent`](Self::pop_least_urgent) does not take.
    pub(super) fn len_above(&self, lane: usize) -> usize {
        let urgent = &self.by_urgency[lane + 1..];
        let submitted: usize = urgent.iter().map(|lane| lane.queue.len()).sum();
        submitted + self.spawned.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spawned.is_empty() && self.by_urgency.iter().all(|lane| lane.queue.is_empty())
    }
}

impl Queue {
    #[inline]
    fn pop(&self) -> Option<Queued> {
        match self {
            Self::Ring(ring) => ring.pop(),
            Self::Segments(queue) => queue.pop(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.len(),
            Self::Segments(queue) => queue.len(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            // A task that is still being pushed is its submitter's to tell of.
            Self::Ring(ring) => !ring.has_item(),
            Self::Segments(queue) => queue.is_empty(),
        }
    }
}
