//! Who waits, and who drives: the data under the lock.

use core::task::Waker;

use flow_rt::{Instant, RuntimeId};
use flow_sync::WaitList;

use crate::wakes::Wakes;

/// Who waits, and who drives.
pub(crate) struct Queue {
    pub(super) list: WaitList,
    pub(super) closed: bool,
    pub(super) seats: Vec<Seat>,
    pub(super) primary: Option<u64>,
    next_seat: u64,
    pub(super) fire_at: Instant,
    pub(super) last_fire: Instant,
}

pub(super) struct Seat {
    number: u64,
    runtime: RuntimeId,
    pub(super) waker: Option<Waker>,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self {
            list: WaitList::new(),
            closed: false,
            seats: Vec::new(),
            primary: None,
            next_seat: 0,
            fire_at: Instant::ORIGIN,
            last_fire: Instant::ORIGIN,
        }
    }

    /// Makes a seat for a runtime that has none; its driver is the caller's to spawn.
    pub(super) fn seat_for(&mut self, runtime: RuntimeId) -> Option<u64> {
        if self.seats.iter().any(|seat| seat.runtime == runtime) {
            return None;
        }
        let number = self.next_seat;
        self.next_seat += 1;
        self.seats.push(Seat {
            number,
            runtime,
            waker: None,
        });
        Some(number)
    }

    pub(super) fn seat(&mut self, number: u64) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.number == number)
    }

    pub(super) fn remove_seat(&mut self, number: u64) -> Option<Seat> {
        let at = self.seats.iter().position(|seat| seat.number == number)?;
        if self.primary == Some(number) {
            self.primary = None;
        }
        Some(self.seats.swap_remove(at))
    }

    pub(super) fn wake_seats(&mut self, wakes: &mut Wakes) {
        for seat in &mut self.seats {
            wakes.push(seat.waker.take());
        }
    }
}
