//! Where a thread counts: a seat that it has for itself, or one that it shares.
//!
//! # State
//! `TAKEN` has a bit for each of the [`OWN`] seats that one thread may have alone. A thread keeps
//! the number of its seat in `SEAT`, and in `OWNER` what gives the seat back when it ends.
//!
//! # Invariants
//! 1. A seat below `OWN` is in use by the one thread that set its bit, until that thread clears
//!    it.
//! 2. Who finds none free, or counts when its `OWNER` has been destroyed, gets one of the
//!    [`SHARED`] seats above, and keeps it.
//!
//! # Ordering
//! A seat is cleared by Release and taken by Acquire: what its last owner stored there by plain
//! loads and stores is what the next one finds. The loom models fail if it is taken Relaxed.

use core::cell::Cell;
// Seats take part in no protocol of other models: core's atomics under loom too.
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::seat_word::Bits;

/// Seats for one thread each; next to none for models, whose threads have small stacks.
pub(crate) const OWN: usize = if cfg!(loom) { 1 } else { 16 };
/// Seats for all threads beyond those.
pub(crate) const SHARED: usize = if cfg!(loom) { 1 } else { 8 };
/// All seats.
pub(crate) const SEATS: usize = OWN + SHARED;

/// The seat that this thread has for itself, if it has one already.
#[inline]
pub(crate) fn own() -> Option<usize> {
    // A destructor of another thread-local may count, after ours.
    SEAT.try_with(Cell::get).ok().filter(|seat| *seat < OWN)
}

/// The seat of this thread, below [`SEATS`].
pub(crate) fn mine() -> usize {
    match SEAT.try_with(Cell::get) {
        Ok(seat) if seat < SEATS => seat,
        Ok(_) => sit_down(),
        Err(_) => OWN,
    }
}

fn sit_down() -> usize {
    // Without a place for what gives a seat back, none is taken.
    let seat = OWNER
        .try_with(|owner| {
            let seat = take(&TAKEN);
            owner.0.set(seat);
            seat
        })
        .ok()
        .flatten()
        .unwrap_or_else(shared);
    let _ = SEAT.try_with(|mine| mine.set(seat));
    seat
}

/// The first seat that nobody has.
pub(crate) fn take(bits: &impl Bits) -> Option<usize> {
    let mut taken = bits.look();
    loop {
        let seat = taken.trailing_ones();
        if seat as usize >= OWN {
            return None;
        }
        match bits.exchange_weak(taken, taken | 1 << seat, Ordering::Acquire) {
            Ok(_) => return Some(seat as usize),
            Err(now) => taken = now,
        }
    }
}

/// Gives a seat back; its owner counts there no more.
pub(crate) fn give_back(bits: &impl Bits, seat: usize) {
    bits.keep(!(1 << seat), Ordering::Release);
}

fn shared() -> usize {
    OWN + NEXT.fetch_add(1, Ordering::Relaxed) % SHARED
}

/// Gives a seat back when its thread ends.
struct Owner(Cell<Option<usize>>);

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(seat) = self.0.take() {
            // What this thread still counts, it counts beside others.
            let _ = SEAT.try_with(|mine| mine.set(shared()));
            give_back(&TAKEN, seat);
        }
    }
}

thread_local! {
    static SEAT: Cell<usize> = const { Cell::new(usize::MAX) };
    static OWNER: Owner = const { Owner(Cell::new(None)) };
}

static TAKEN: AtomicU32 = AtomicU32::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);
