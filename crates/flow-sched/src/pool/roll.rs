//! The roll of a pool's tasks, for those who want to read it: what waits and what runs, since
//! when, and where each came from.
//!
//! A queue cannot be read without taking its tasks out, and a slot's task is the slot's. So a pool
//! that is to tell of its tasks writes each down when it is submitted and strikes it off when it
//! has ended. A pool that is not has no roll.
//!
//! # State
//! Entries in shards, so that submitters and slots seldom meet; an entry's place in its shard
//! stays while it is there, and is another one's afterwards.
//!
//! # Invariants
//! 1. An entry is on the roll from before its task is queued until it has ended, or has gone with
//!    what held it: [`Enrolled`] strikes it off at the latest.
//! 2. A reader holds a shard's lock for [`CHUNK`] entries, and that of one entry at a time. As
//!    entries keep their places, it sees each that is there all the while.
//! 3. An entry keeps no token of a task that has ended: a slot uses it again for its next task
//!    if nobody else holds it.

use core::panic::Location;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{CancellationToken, Instant};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Roll {
    /// Tasks ever written down.
    next: AtomicU64,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    entries: Vec<Option<Arc<Entry>>>,
    vacant: Vec<usize>,
}

/// What is known of a task.
pub(super) struct Entry {
    /// The order of submission, more or less.
    pub(super) number: u64,
    pub(super) origin: Origin,
    /// Its priority; `None` of one that was spawned on the pool's handle.
    pub(super) priority: Option<usize>,
    pub(super) submitted: Instant,
    state: Mutex<State>,
}

/// Where a task comes from.
#[derive(Clone, Default)]
pub(super) struct Origin {
    pub(super) name: Option<Cow<'static, str>>,
    pub(super) place: Option<&'static Location<'static>>,
}

/// What changes of an entry.
#[derive(Clone)]
pub(super) struct State {
    at: Option<usize>,
    /// Since when it runs, and on which slot; none if its submitter runs it.
    pub(super) runs: Option<(Instant, Option<u32>)>,
    /// The submitter's while it waits, then its own.
    pub(super) token: Option<CancellationToken>,
    pub(super) aborted: bool,
}

impl Roll {
    pub(super) fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            shards: core::array::from_fn(|_| Mutex::new(Shard::default())),
        }
    }

    /// Writes a task down.
    pub(super) fn enrol(
        self: &Arc<Self>,
        origin: Origin,
        priority: Option<usize>,
        submitted: Instant,
        token: Option<CancellationToken>,
    ) -> Arc<Enrolled> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard(number).lock();
        let at = shard.vacant.pop().unwrap_or_else(|| {
            shard.entries.push(None);
            shard.entries.len() - 1
        });
        let entry = Arc::new(Entry {
            number,
            origin,
            priority,
            submitted,
            state: Mutex::new(State {
                at: Some(at),
                runs: None,
                token,
                aborted: false,
            }),
        });
        shard.entries[at] = Some(entry.clone());
        drop(shard);
        Arc::new(Enrolled {
            entry,
            roll: self.clone(),
        })
    }

    /// What is on the roll now, but for what comes and goes meanwhile; in no order.
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let mut from = 0;
            loop {
                let shard = shard.lock();
                let rest = shard.entries.get(from..).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
                found.extend(rest.iter().take(CHUNK).flatten().cloned());
                from += CHUNK;
            }
        }
        found
    }

    fn shard(&self, number: u64) -> &Mutex<Shard> {
        // Fits: it is less than the number of shards.
        &self.shards[(number % SHARDS as u64) as usize]
    }
}

impl Entry {
    /// How it stands; `None` once it has been struck off.
    pub(super) fn state(&self) -> Option<State> {
        let state = self.state.lock().clone();
        state.at.is_some().then_some(state)
    }
}

/// A task's entry, as the task and the place that runs it have it: struck off when the last of
/// them lets go, if not before.
pub(super) struct Enrolled {
    entry: Arc<Entry>,
    roll: Arc<Roll>,
}

impl Enrolled {
    /// The task begins; `slot` is none if its submitter runs it.
    pub(super) fn runs(&self, since: Instant, slot: Option<u32>, token: Option<CancellationToken>) {
        let mut state = self.entry.state.lock();
        if state.at.is_none() {
            // It was aborted in the queue: invariant 3.
            return;
        }
        state.runs = Some((since, slot));
        let before = core::mem::replace(&mut state.token, token);
        drop(state);
        drop(before);
    }

    pub(super) fn aborted(&self) {
        self.entry.state.lock().aborted = true;
    }

    /// Strikes the task off the roll; nothing the second time.
    pub(super) fn strike(&self) {
        let (at, token) = {
            let mut state = self.entry.state.lock();
            (state.at.take(), state.token.take())
        };
        drop(token);
        let Some(at) = at else { return };
        let mut shard = self.roll.shard(self.entry.number).lock();
        let entry = shard.entries[at].take();
        shard.vacant.push(at);
        drop(shard);
        drop(entry);
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.strike();
    }
}

const SHARDS: usize = 16;

/// Entries that a reader copies under one lock: 3 µs or so.
const CHUNK: usize = 256;

#[cfg(all(test, not(loom)))]
mod tests;
