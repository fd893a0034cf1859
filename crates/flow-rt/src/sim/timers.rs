//! Where a simulation's timers are registered, and whom they wake.
//!
//! # State
//! The thread that runs the simulation keeps its timers in its [`local`] cell. Other threads,
//! which a timer may be handed to, cannot get there: what they register stands in [`Away`], and
//! what they give up of the others is left there for the executor to take out.
//!
//! # Invariants
//! 1. The thread of the simulation registers and removes without a lock, unless the timer stands
//!    in `Away`.
//! 2. `Away::used` is set before anything is left there, and the executor looks at it before it
//!    asks for the next due time: nothing that was given up before moves the clock.
//! 3. The clock never goes back. What another thread registers as it moves may be due before the
//!    time it has moved to: that fires at the executor's next wait, and then wakes whom nothing
//!    happened to, as any waker may, if it was given up since.
//! 4. The executor is told of what another thread registers, in case it waits for threads. A run is
//!    closed before it takes out what is left here and wakes it: who registers later finds the run
//!    ended.

use core::num::NonZeroU64;
use std::task::Waker;

use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, Ordering};

use super::history::Event;
use super::local;
use super::world::World;
use crate::virtual_time::{Key, Timers};

/// Whom a timer wakes.
pub(super) enum Sleeper {
    /// The task in this slot, if that is the timer's owner still: this takes no reference count.
    Task(u32),
    /// Whoever made a waker of its own.
    Other(Waker),
}

/// A timer that was registered.
///
/// Its key, taken apart: so a timer fits into forty bytes, and two stores note it.
#[derive(Clone, Copy)]
pub(super) struct Registered {
    stamp: NonZeroU64,
    /// With [`AWAY`], unless it is among those of the simulation's thread. A slot takes 64 bytes:
    /// 2^31 of them do not fit into memory.
    slot: u32,
}

impl Registered {
    /// Whether it stands among the timers of other threads.
    pub(super) fn is_away(self) -> bool {
        self.slot & AWAY != 0
    }

    #[inline]
    pub(super) fn new(key: Key, here: bool) -> Self {
        let Key { slot, stamp } = key;
        let slot = if here { slot } else { slot | AWAY };
        Self { stamp, slot }
    }

    fn key(self) -> Key {
        let Self { stamp, slot } = self;
        let slot = slot & !AWAY;
        Key { slot, stamp }
    }
}

/// The timers of other threads.
#[derive(Default)]
pub(super) struct Away {
    used: AtomicBool,
    /// Made when there is something for them: few runs ever need them, and they are large.
    lists: Mutex<Option<Box<Lists>>>,
}

#[derive(Default)]
pub(super) struct Lists {
    pub(super) timers: Timers<Sleeper>,
    /// Timers of the simulation's thread that were given up elsewhere.
    given_up: Vec<Key>,
}

impl Away {
    /// Whether there ever was anything.
    #[inline]
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Changes what is there.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Lists) -> T) -> T {
        change(self.lists.lock().get_or_insert_default())
    }

    pub(super) fn take_given_up(&self) -> Vec<Key> {
        self.with(|lists| core::mem::take(&mut lists.given_up))
    }

    /// Takes out all who wait here.
    pub(super) fn take_wakers(&self) -> Vec<Waker> {
        if !self.is_used() {
            return Vec::new();
        }
        self.with(|lists| {
            let all = core::iter::from_fn(|| lists.timers.pop_due(u64::MAX));
            let wakers = all.filter_map(|(_, sleeper)| match sleeper {
                Sleeper::Other(waker) => Some(waker),
                Sleeper::Task(_) => None,
            });
            wakers.collect()
        })
    }

    #[cold]
    fn change<T>(&self, change: impl FnOnce(&mut Lists) -> T) -> T {
        self.used.store(true, Ordering::Release);
        self.with(change)
    }
}

impl World {
    /// Registers a timer that was not registered, while the run lasts, if `waker` is that of the
    /// task that is being polled: the common case.
    #[inline]
    pub(super) fn register_own(&self, due: u64, waker: &Waker) -> Option<Key> {
        let slot = local::slot_of(waker)?;
        if self.ended.load(Ordering::Relaxed) {
            return None;
        }
        let key = local::with_timers_of(self.id, |timers| {
            timers.insert(due, self.current(), Sleeper::Task(slot))
        });
        if key.is_some() {
            self.note_armed(due);
        }
        key
    }

    /// Remembers that a timer is registered.
    #[inline]
    pub(super) fn note_armed(&self, due: u64) {
        self.note(move || Event::Armed {
            by: self.current(),
            due,
        });
    }

    /// Registers a timer for `waker`, in place of what was registered for it before.
    #[inline(never)]
    pub(super) fn register(
        &self,
        before: Option<Registered>,
        due: u64,
        waker: &Waker,
    ) -> Registered {
        let owner = self.current();
        let slot = local::slot_of(waker);
        let mut sleeper = Some(match slot {
            Some(slot) => Sleeper::Task(slot),
            // Before the cell is borrowed: it is user code.
            None => Sleeper::Other(waker.clone()),
        });
        let known = before
            .filter(|before| !before.is_away())
            .map(Registered::key);
        let registered = local::with_timers_of(self.id, |timers| {
            let sleeper = sleeper.take()?;
            Some(timers.register(known, due, owner, sleeper))
        });
        let here = registered.is_some();
        let (key, replaced) = registered.flatten().unwrap_or_else(|| {
            let known = before
                .filter(|before| before.is_away())
                .map(Registered::key);
            let sleeper = Sleeper::Other(waker.clone());
            let registered = self
                .away
                .change(|lists| lists.timers.register(known, due, owner, sleeper));
            // Whoever polls looks at `ended` once more: it may be too late to be heard.
            self.foreign.rouse(self.id);
            registered
        });
        drop(replaced);
        if let Some(before) = before.filter(|before| before.is_away() == here) {
            self.unregister(before);
        }
        Registered::new(key, here)
    }

    /// Takes a timer out.
    #[inline(never)]
    pub(super) fn unregister(&self, timer: Registered) {
        let left = if timer.is_away() {
            self.away.change(|lists| lists.timers.remove(timer.key()))
        } else {
            local::with_timers_of(self.id, |timers| timers.remove(timer.key())).unwrap_or_else(
                || {
                    self.away.change(|lists| lists.given_up.push(timer.key()));
                    None
                },
            )
        };
        drop(left);
    }
}

/// The bit of a slot among the timers of other threads.
const AWAY: u32 = 1 << 31;
