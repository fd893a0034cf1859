//! What happened in a run, event by event, to find where two runs of one seed part.
//!
//! Of every event a hash is kept, which tells the place; the events themselves, which tell what
//! happened there, of a window of a million.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::panic::Location;
use std::hash::DefaultHasher;
use std::sync::Arc;

use super::world::START;

/// The events of a run.
#[derive(Default)]
pub(super) struct History {
    /// The number of the first event that is kept.
    from: usize,
    /// Those from there on, a million at most.
    events: Vec<Event>,
    /// The spawns before it, for the names of tasks; a million at most.
    spawns: Vec<Event>,
    /// Of every event, up to [`HASHED`].
    hashes: Vec<u32>,
    count: usize,
}

/// Something that happened. Tasks go by their number, in the order in which they were spawned;
/// the root's is zero.
#[derive(Hash)]
pub(super) enum Event {
    Spawned {
        task: u64,
        name: Option<Arc<str>>,
        place: &'static Location<'static>,
    },
    Polled {
        task: u64,
        one_of: usize,
    },
    Woken {
        task: u64,
        by: u64,
    },
    Armed {
        by: u64,
        due: u64,
    },
    RandomNumbers {
        by: u64,
    },
    Moved {
        now: u64,
    },
}

impl History {
    /// One that keeps the events around the one with this number.
    pub(super) fn around(at: usize) -> Self {
        Self {
            from: at.saturating_sub(NEIGHBOURS),
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.hashes.len() < HASHED {
            self.hashes.push(hash(&event));
        }
        if self.count >= self.from {
            if self.events.len() < MOST {
                self.events.push(event);
            }
        } else if matches!(event, Event::Spawned { .. }) && self.spawns.len() < MOST {
            self.spawns.push(event);
        }
        self.count += 1;
    }

    /// The number of the first event that this run and `other` do not have in common.
    pub(super) fn parts_from(&self, other: &Self) -> Option<usize> {
        let same = self
            .hashes
            .iter()
            .zip(&other.hashes)
            .take_while(|(one, two)| one == two)
            .count();
        let all = same == self.hashes.len() && same == other.hashes.len();
        (!all || self.count != other.count).then_some(same)
    }

    /// Whether what both runs are told of is kept, if they part at `at`.
    pub(super) fn keeps(&self, at: usize) -> bool {
        self.from <= at.saturating_sub(NEIGHBOURS) && at + NEIGHBOURS <= self.from + MOST
    }

    /// Whether `other` is the same up to event `at`.
    pub(super) fn has_the_start_of(&self, other: &Self, at: usize) -> bool {
        let (own, its) = (self.hashes.get(..at), other.hashes.get(..at));
        own.is_some() && own == its
    }

    /// Whether `other` is the same up to event `at`, and in what is told of it after that.
    pub(super) fn repeats(&self, other: &Self, at: usize) -> bool {
        let end = other.hashes.len().min(at + NEIGHBOURS);
        let ends = end < at + NEIGHBOURS;
        self.has_the_start_of(other, end) && (!ends || self.count == other.count)
    }

    /// The last events before `at`.
    pub(super) fn before(&self, at: usize) -> Vec<String> {
        self.describe(at.saturating_sub(NEIGHBOURS), at)
    }

    /// The events from `at` on.
    pub(super) fn after(&self, at: usize) -> Vec<String> {
        self.describe(at, at + NEIGHBOURS)
    }

    fn describe(&self, from: usize, to: usize) -> Vec<String> {
        let kept = |number: usize| number.saturating_sub(self.from).min(self.events.len());
        self.events[kept(from)..kept(to)]
            .iter()
            .map(|event| self.line(event))
            .collect()
    }

    fn line(&self, event: &Event) -> String {
        match event {
            Event::Spawned { task, .. } => format!("spawned {}", self.name(*task)),
            Event::Polled { task, one_of } => {
                format!("polled {}, one of {one_of} ready", self.name(*task))
            }
            Event::Woken { task, by } => format!("{} woke {}", self.name(*by), self.name(*task)),
            Event::Armed { by, due } => {
                format!("{} armed a timer for {}", self.name(*by), time(*due))
            }
            Event::RandomNumbers { by } => format!("{} asked for random numbers", self.name(*by)),
            Event::Moved { now } => format!("time moved to {}", time(*now)),
        }
    }

    /// A task by its name and place. This is for the one report of a run: it may search.
    fn name(&self, wanted: u64) -> String {
        if wanted == 0 {
            return "the root".to_owned();
        }
        let mut known = self.spawns.iter().chain(&self.events);
        let spawn = known.find_map(|event| match event {
            Event::Spawned { task, name, place } if *task == wanted => Some((name, place)),
            _ => None,
        });
        match spawn {
            Some((Some(name), place)) => format!("{name} (task {wanted}, {place})"),
            Some((None, place)) => format!("task {wanted} ({place})"),
            None => format!("task {wanted}"),
        }
    }
}

/// Where two runs of one seed part; see [`Failure::Nondeterministic`](super::Failure).
///
/// Of runs that part after their first million events, what stands here is what later runs of the
/// test did, if those came to the same events; a line says so if none did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The number of the first event that differs.
    pub at: usize,
    /// The last events that both runs have.
    pub before: Vec<String>,
    /// What the first run went on with.
    pub first: Vec<String>,
    /// What the second run went on with.
    pub second: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "two runs with one seed part at event {} (the order of a hash map, a real clock, an \
             address or a static kept from the first run can be why). Before it:",
            self.at
        )?;
        let parts = [
            ("", &self.before),
            ("\nthe first run went on:", &self.first),
            ("\nthe second run went on:", &self.second),
        ];
        for (heading, lines) in parts {
            f.write_str(heading)?;
            if lines.is_empty() {
                f.write_str("\n  (nothing)")?;
            }
            for line in lines {
                write!(f, "\n  - {line}")?;
            }
        }
        Ok(())
    }
}

fn time(nanos: u64) -> String {
    let since_start = core::time::Duration::from_nanos(nanos.saturating_sub(START));
    format!("{since_start:?}")
}

fn hash(event: &Event) -> u32 {
    let mut hasher = DefaultHasher::new();
    event.hash(&mut hasher);
    // Half of it is enough to tell two events apart.
    hasher.finish() as u32
}

/// Events that are kept.
const MOST: usize = 1 << 20;
/// Events whose hashes are kept; a run has one trace hash for all of them.
pub(super) const HASHED: usize = 1 << 26;
/// Events shown on each side of a difference.
const NEIGHBOURS: usize = 4;
