//! How all limits stood, to be carried over a restart.

use flow_rt::{Clock, Instant};

use super::core::Core;
use super::line::{Limit, Queue};
use crate::token_bucket::snapshot::{Snapshot, wall};
use crate::waiting::Serves;
use crate::wakes::Wakes;

impl<C: Clock> Core<C> {
    /// How each limit stands, all at one instant.
    pub(super) fn snapshots(&self) -> Vec<Snapshot> {
        let taken_at = wall(self.rules.runtime.as_ref());
        let mut wakes = Wakes::new();
        let snapshots = loop {
            // Before the lock: a clock is the user's own.
            let now = self.clock.now();
            let mut queue = self.queue.lock();
            self.pump_all(&mut queue, now, &mut wakes);
            let word = self.word();
            let stand = |index| Snapshot {
                taken_at,
                ..self.stand_of(&queue, index, word, now)
            };
            let snapshots = (0..queue.supply.len()).map(stand).collect();
            // Nobody took or gave back meanwhile: it was so at this instant.
            if self.word() == word {
                break snapshots;
            }
        };
        wakes.wake();
        snapshots
    }

    fn stand_of(&self, queue: &Queue, index: usize, word: u64, now: Instant) -> Snapshot {
        let Limit { line, rate } = queue.supply[index];
        let line = line.moved(now, rate, self.bits);
        let free = if line.unlimited {
            line.burst.cast_signed()
        } else {
            let used = self.used(word, self.lost(index));
            line.level(used, now, line.burst).free
        };
        Snapshot::of(&line, rate, line.burst >> self.bits, free, self.bits)
    }
}
