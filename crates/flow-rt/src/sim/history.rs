//! What happened in a run, event by event, to find where two runs of one seed part.

use core::fmt;
use core::panic::Location;
use std::sync::Arc;

use super::world::START;

/// The events of a run, up to a million.
#[derive(Default)]
pub(super) struct History {
    events: Vec<Event>,
    lost: u64,
}

/// Something that happened. Tasks go by their number, in the order in which they were spawned;
/// the root's is zero.
#[derive(Clone, PartialEq)]
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
    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() < MOST {
            self.events.push(event);
        } else {
            self.lost += 1;
        }
    }

    /// Where this run and `other` part first.
    pub(super) fn difference(&self, other: &Self) -> Option<Difference> {
        let same = self
            .events
            .iter()
            .zip(&other.events)
            .take_while(|(one, two)| one == two)
            .count();
        if same == self.events.len() && same == other.events.len() && self.lost == other.lost {
            return None;
        }
        let from = same.saturating_sub(NEIGHBOURS);
        Some(Difference {
            at: same,
            before: self.describe(from, same),
            first: self.describe(same, same + NEIGHBOURS),
            second: other.describe(same, same + NEIGHBOURS),
        })
    }

    fn describe(&self, from: usize, to: usize) -> Vec<String> {
        let from = from.min(self.events.len());
        let to = to.min(self.events.len());
        self.events[from..to]
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
        let spawn = self.events.iter().find_map(|event| match event {
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

impl Difference {
    /// For runs whose events are the same as far as they were kept.
    pub(super) fn behind_the_history() -> Self {
        Self {
            at: MOST,
            before: Vec::new(),
            first: Vec::new(),
            second: Vec::new(),
        }
    }
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

/// Events that are kept; a run has one trace hash for all of them.
const MOST: usize = 1 << 20;
/// Events shown on each side of a difference.
const NEIGHBOURS: usize = 4;
