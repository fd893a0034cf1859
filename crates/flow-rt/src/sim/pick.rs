//! Which of the ready tasks is polled next.

use core::cell::RefCell;

use super::explore::Guide;
use super::ready::Ready;
use super::rng::SimRng;

/// How the next task is picked among those that are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Order {
    /// Uniformly, by the seed.
    #[default]
    Random,
    /// In the order in which they became ready.
    Fifo,
    /// By priorities that the seed draws, with `depth - 1` points at which the running task
    /// falls behind: orders in which one task starves, which uniform picks hardly ever reach.
    ///
    /// A bug that needs `depth` events in a certain order is found with a probability that
    /// falls with the number of tasks and, per point, with the number of polls, not
    /// exponentially in it. Depth 0 counts as 1: priorities that never change. No run needs more
    /// than a million: what is above 2^20 counts as that.
    ///
    /// A task that yields (wakes itself in its own poll) falls behind all others, or it would
    /// starve the one it waits for.
    ///
    /// # Source
    /// Burckhardt, Kothari, Musuvathi, Nagarakatte: *A randomized scheduler with probabilistic
    /// guarantees of finding bugs* (ASPLOS 2010). There the points are uniform over a known
    /// number of steps. Here they are log-uniform over the first million polls, so that the
    /// length of the run need not be known; that costs a factor of about 14 per point.
    Pct {
        /// How many events in a certain order the bug needs.
        depth: u32,
    },
}

/// A run's policy with its state.
pub(super) enum Picker<'g> {
    Random(SimRng),
    Fifo,
    Pct(Pct),
    Guided(&'g RefCell<Guide>),
}

impl<'g> Picker<'g> {
    pub(super) fn new(order: Order, seed: u64, guide: Option<&'g RefCell<Guide>>) -> Self {
        match (guide, order) {
            (Some(guide), _) => Self::Guided(guide),
            (None, Order::Random) => Self::Random(SimRng::new(seed)),
            (None, Order::Fifo) => Self::Fifo,
            (None, Order::Pct { depth }) => Self::Pct(Pct::new(SimRng::new(seed), depth)),
        }
    }

    /// A task has come to live in `slot`.
    #[inline]
    pub(super) fn born(&mut self, slot: u32) {
        if let Self::Pct(pct) = self {
            pct.born(slot as usize);
        }
    }

    /// A task has woken itself.
    pub(super) fn yielded(&mut self, slot: u32) {
        if let Self::Pct(pct) = self {
            pct.demote(slot as usize);
        }
    }

    /// Takes the next task out of the queue, for the poll with this number.
    #[inline]
    pub(super) fn pick(&mut self, ready: &mut Ready, poll: u64) -> Option<u32> {
        let one_of = ready.len();
        match self {
            _ if one_of == 0 => None,
            // No choice, and nothing drawn.
            Self::Random(_) if one_of == 1 => Some(ready.swap_take(0)),
            Self::Random(rng) => Some(ready.swap_take(rng.below(one_of as u64) as usize)),
            _ => Some(self.pick_in_order(ready, poll)),
        }
    }

    /// Takes one of the ready tasks, of which there is one at least.
    #[inline(never)]
    fn pick_in_order(&mut self, ready: &mut Ready, poll: u64) -> u32 {
        let one_of = ready.len();
        match self {
            // Alone or not: a point may fall on this step.
            Self::Pct(pct) => pct.pick(ready, poll),
            Self::Guided(guide) if one_of > 1 => ready.take(guide.borrow_mut().choose(one_of)),
            _ => ready.take(0),
        }
    }
}

/// Priorities and change points.
pub(super) struct Pct {
    rng: SimRng,
    /// By slot; the highest runs.
    priorities: Vec<u64>,
    /// Polls at which the running task falls to a low priority, and that priority; the next
    /// one last.
    changes: Vec<(u64, u64)>,
    /// Below every point's priority, and falling with each yield.
    lowest: u64,
}

impl Pct {
    fn new(mut rng: SimRng, depth: u32) -> Self {
        let mut changes: Vec<_> = (1..u64::from(depth.min(DEEPEST)))
            .map(|low| (log_uniform(&mut rng), YIELDED + low))
            .collect();
        changes.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            rng,
            priorities: Vec::new(),
            changes,
            lowest: YIELDED,
        }
    }

    fn born(&mut self, slot: usize) {
        if self.priorities.len() <= slot {
            self.priorities.resize(slot + 1, 0);
        }
        self.priorities[slot] = self.rng.next_u64() | INITIAL;
    }

    fn demote(&mut self, slot: usize) {
        self.lowest = self.lowest.saturating_sub(1);
        self.priorities[slot] = self.lowest;
    }

    /// Takes one of the ready tasks, of which there is one at least.
    fn pick(&mut self, ready: &mut Ready, poll: u64) -> u32 {
        loop {
            // The last of those with the highest priority: there is one.
            let priority = |&(_, slot): &(usize, u32)| self.priorities[slot as usize];
            let (at, slot) = ready
                .iter()
                .enumerate()
                .max_by_key(priority)
                .unwrap_or((0, 0));
            match self.changes.last() {
                Some(&(point, low)) if point <= poll => {
                    self.changes.pop();
                    self.priorities[slot as usize] = low;
                }
                _ => return ready.take(at),
            }
        }
    }
}

/// A poll's number up to a million, every power of two as likely as the next.
fn log_uniform(rng: &mut SimRng) -> u64 {
    let octave = 1 << rng.below(20);
    octave + rng.below(octave)
}

/// There are no more polls on which points fall.
const DEEPEST: u32 = 1 << 20;
/// Drawn priorities have this bit, so that they stand above all others.
const INITIAL: u64 = 1 << 63;
/// Priorities of points stand above this, those of yields below.
const YIELDED: u64 = 1 << 62;
