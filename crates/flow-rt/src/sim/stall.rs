//! Stalls: tasks that are ready and not polled for a while.

use core::cmp::Reverse;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::borrow::Cow;
use std::collections::BinaryHeap;

use super::rng::SimRng;

/// Holds tasks back: a task that is ready is polled only some time later, while others go on,
/// as on a thread that the system took away.
///
/// ```
/// use std::time::Duration;
/// use flow_rt::sim::{Sim, Stall};
///
/// let millis = |n| Duration::from_millis(n);
/// let run = Sim::new(7)
///     .stall(Stall::new(10, millis(1)..=millis(50)))
///     .stall(Stall::new(2, millis(200)..=millis(200)).of("the writer"))
///     .run(|rt| async move { rt.sleep(Duration::from_secs(1)).await });
/// assert!(run.is_ok());
/// ```
#[derive(Debug, Clone)]
pub struct Stall {
    one_in: u64,
    least: u64,
    most: u64,
    task: Option<Cow<'static, str>>,
}

impl Stall {
    /// Stalls one poll in `one_in` for a time within `lasting`, both drawn by the seed.
    ///
    /// `one_in` of zero and an empty range stall nothing.
    pub fn new(one_in: u64, lasting: RangeInclusive<Duration>) -> Self {
        Self {
            one_in: if lasting.is_empty() { 0 } else { one_in },
            least: nanos(*lasting.start()),
            most: nanos(*lasting.end()),
            task: None,
        }
    }

    /// Only tasks of this name. The root's is `the root`.
    pub fn of(mut self, task: impl Into<Cow<'static, str>>) -> Self {
        self.task = Some(task.into());
        self
    }
}

/// The stalls of a run, and the tasks that are held back now.
pub(super) struct Stalls {
    rules: Vec<Stall>,
    rng: SimRng,
    /// Until when, and the slot; a held task does not end, so its slot stays its own.
    held: BinaryHeap<Reverse<(u64, u64, u32)>>,
    drawn: u64,
}

impl Stalls {
    pub(super) fn new(rules: Vec<Stall>, seed: u64) -> Self {
        Self {
            rules,
            // A stream of its own: the picks of a seed are the same with stalls and without.
            rng: SimRng::new(seed ^ 0x5741_4C4C_5354_414C),
            held: BinaryHeap::new(),
            drawn: 0,
        }
    }

    pub(super) fn are_configured(&self) -> bool {
        !self.rules.is_empty()
    }

    /// For how long a task is to be held back; the first rule that is for it and strikes.
    pub(super) fn draw(&mut self, name: Option<&str>) -> Option<u64> {
        let rng = &mut self.rng;
        let rule = self.rules.iter().find(|rule| {
            let meant = rule.task.as_deref().is_none_or(|task| Some(task) == name);
            meant && rule.one_in > 0 && rng.chance(1, rule.one_in)
        })?;
        let width = (rule.most - rule.least).saturating_add(1);
        Some(rule.least + self.rng.below(width))
    }

    /// Stalls nothing from now on.
    pub(super) fn end(&mut self) {
        self.rules.clear();
    }

    pub(super) fn hold(&mut self, slot: u32, until: u64) {
        self.drawn += 1;
        self.held.push(Reverse((until, self.drawn, slot)));
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.held.peek().map(|&Reverse((until, _, _))| until)
    }

    /// A task whose stall is over at `now`.
    pub(super) fn release(&mut self, now: u64) -> Option<u32> {
        if self.next_due()? > now {
            return None;
        }
        self.held.pop().map(|Reverse((_, _, slot))| slot)
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}
