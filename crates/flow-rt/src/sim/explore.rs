//! Every order of a small test: depth first over the choices among ready tasks.
//!
//! A run is described by its *choices*: at each pick with two or more ready tasks, the index of
//! the one that was taken, in the order in which they became ready. The test is run again and
//! again with a forced prefix; behind the prefix the first task is taken. The next prefix is the
//! last run's choices up to the last one that can still be raised, raised by one. No state is
//! kept between runs but that vector.

use core::fmt;

/// What an exploration covered; see [`exhaustive`](super::exhaustive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "an exploration that met its limit has not seen every order"]
pub struct Explored {
    /// How many runs, each in an order of its own.
    pub runs: u64,
    /// Whether these are all orders there are.
    pub complete: bool,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let covered = if self.complete { "all" } else { "not all" };
        write!(f, "{} runs, {covered} orders", self.runs)
    }
}

/// The choices of a run: those it is told, and those it made.
#[derive(Default)]
pub(super) struct Guide {
    forced: Vec<u32>,
    made: Vec<Choice>,
    /// How many of the forced choices were among as many tasks as in the run before.
    known: Vec<Choice>,
    pub(super) diverged: Option<Diverged>,
}

#[derive(Clone, Copy)]
struct Choice {
    taken: u32,
    one_of: u32,
}

/// A told choice that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Diverged {
    pub(super) at: usize,
    pub(super) choice: u32,
    pub(super) ready: usize,
}

impl Guide {
    pub(super) fn new(forced: Vec<u32>) -> Self {
        Self {
            forced,
            ..Self::default()
        }
    }

    /// The index to take among `ready` tasks, two or more.
    pub(super) fn choose(&mut self, ready: usize) -> usize {
        let at = self.made.len();
        let told = self.forced.get(at).copied().unwrap_or(0);
        let other_than_before = self
            .known
            .get(at)
            .is_some_and(|before| before.one_of as usize != ready);
        let taken = if (told as usize) < ready && !other_than_before {
            told
        } else {
            self.diverged.get_or_insert(Diverged {
                at,
                choice: told,
                ready,
            });
            0
        };
        self.made.push(Choice {
            taken,
            // A run with more tasks than that does not fit into memory.
            one_of: ready as u32,
        });
        taken as usize
    }

    /// Prepares the next run; false when there is none.
    pub(super) fn advance(&mut self) -> bool {
        let raised = self
            .made
            .iter()
            .rposition(|choice| choice.taken + 1 < choice.one_of);
        let Some(last) = raised else {
            return false;
        };
        self.made.truncate(last + 1);
        self.forced.clear();
        self.forced
            .extend(self.made.iter().map(|choice| choice.taken));
        self.forced[last] += 1;
        core::mem::swap(&mut self.known, &mut self.made);
        self.made.clear();
        true
    }

    /// The choices made so far, as `FLOW_SIM_CHOICES` takes them. Those at the end that take
    /// the first task need not be told.
    pub(super) fn made(&self) -> String {
        let end = self
            .made
            .iter()
            .rposition(|choice| choice.taken != 0)
            .map_or(0, |last| last + 1);
        let taken: Vec<String> = self.made[..end]
            .iter()
            .map(|choice| choice.taken.to_string())
            .collect();
        if taken.is_empty() {
            "0".to_owned()
        } else {
            taken.join(".")
        }
    }
}

/// Reads what [`Guide::made`] writes.
pub(super) fn parse(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|choice| choice.parse().ok()).collect()
}
