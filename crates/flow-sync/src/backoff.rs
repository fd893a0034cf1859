//! How to wait for another thread that is in the middle of a few instructions.

use crate::sync::{spin, thread_yield};

/// Spins for longer and longer; then lets other threads run, as the one that is waited for may
/// have lost its core.
pub(crate) struct Backoff {
    step: u32,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { step: 0 }
    }

    /// Until somebody else gets on.
    #[cold]
    pub(crate) fn wait(&mut self) {
        if self.step < SPINS {
            self.spin();
            // Loom has no other way to let the other thread get on.
            #[cfg(loom)]
            thread_yield();
        } else {
            thread_yield();
        }
    }

    /// As [`wait`](Self::wait), a few times; false instead of giving the core away.
    #[cold]
    pub(crate) fn wait_a_little(&mut self) -> bool {
        // To a model these are rounds of the same: it answers at once, as if the time were up.
        if cfg!(loom) || self.step >= ROUNDS {
            return false;
        }
        self.spin();
        true
    }

    fn spin(&mut self) {
        for _ in 0..1_u32 << self.step.min(SPINS) {
            spin();
        }
        self.step += 1;
    }
}

/// In a model: lets other threads get on before a task that woke itself is polled again. There is
/// no end to the polls in which nobody else does anything, and a model would look at them all.
/// Nothing otherwise.
#[inline]
pub(crate) fn let_others_run() {
    #[cfg(loom)]
    thread_yield();
}

/// Pauses after a compare-and-swap that lost its race.
///
/// Somebody else has got on: that is no reason to give the core away, but one to leave the winner
/// alone. It may get through a run of the same meanwhile, each of which takes it less than the line
/// that they race for takes to change cores.
///
/// # Cost
/// Half a microsecond to one and a half, by what the processor takes for a pause.
#[cold]
pub fn lost_a_race() {
    pause(RUN);
}

/// Leaves others alone for so many of the processor's pauses, of 15 to 50 nanoseconds each.
#[cold]
pub(crate) fn pause(spins: u32) {
    for _ in 0..spins {
        spin();
    }
}

const SPINS: u32 = 6;
/// For the ring a third of it does nearly as much, and twice as much hardly more; of what it saves
/// two threads at the permits, a quarter of it saves half and four times as much a fifth more. A
/// model runs the winner on by itself; a pause would keep it from the orders in which the loser
/// goes first.
const RUN: u32 = if cfg!(loom) { 0 } else { 32 };
/// Two to eight microseconds in all, by what the processor takes for a pause.
const ROUNDS: u32 = 8;
