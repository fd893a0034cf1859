//! The receiver of a ring that has one: how it sleeps, and is woken.
//!
//! It needs no line, and nothing is set aside for it: what is in the ring is its own. So it joins
//! no list and is granted nothing. It leaves its waker, and looks once more.
//!
//! # State
//! `waker`, under a lock. That it is there others see by `waiting` of the receivers' `state`, which
//! is 1 from sleep to wake-up; `granted` is always 0.
//!
//! # Invariants
//! 1. The waker is put before `waiting` is set, and taken after it was cleared.
//! 2. Whoever takes a waker wakes it, unless it is the receiver that gives up.
//! 3. A waker is cloned and dropped without the lock, and woken without it.
//!
//! # Steps
//! sleep: clone; lock, put, unlock; **set `waiting`; look**; an item, or drained: wake itself.
//! wake, by whoever publishes, drains or closes and sees `waiting` set: clear it; lock, take,
//! unlock; wake.
//! give up: if `waiting` is set, clear it; lock, take, unlock; drop.
//!
//! # Ordering
//! The parent's pair of Dekker's: a claim and the look at `waiting` on one side, setting `waiting`
//! and the look at `tail` on the other.
//! Two that wake may overlap, and overlap with a receiver that was woken and sleeps again. One that
//! finds no waker has lost to another that took it after a claim of its own, or the receiver
//! sets `waiting` anew after this one cleared it: then it reads that clearing, and so sees what was
//! claimed before it. One that finds a newer waker wakes a task that need not have been; that
//! finds nothing and sleeps again.

use core::task::{Context, Waker};

use super::raw::Share;
use super::{Ring, Turn};
use crate::backoff::let_others_run;
use crate::sync::{Mutex, fence_after_rmw};

#[derive(Default)]
pub(super) struct Sole {
    waker: Mutex<Option<Waker>>,
}

impl<T> Ring<T> {
    /// Goes to sleep; woken already if something has come meanwhile.
    ///
    /// It takes nothing itself then: one that did would run after its sender item by item.
    #[cold]
    pub(super) fn sleep(&self, sole: &Sole, cx: &Context<'_>, turn: &mut Turn) {
        let waker = Some(cx.waker().clone());
        let replaced = core::mem::replace(&mut *sole.waker.lock(), waker);
        drop(replaced);
        *turn = Turn::Asleep;
        self.receivers.show_one();
        fence_after_rmw();
        if !self.is_empty() || self.raw.is_drained() {
            self.wake_sole(sole);
            let_others_run();
        }
    }

    /// Ends the receiver's sleep, whether or not it was woken.
    #[cold]
    pub(super) fn get_up(&self, sole: &Sole, turn: &mut Turn) {
        *turn = Turn::New;
        if self.receivers.show_none() {
            let waker = sole.waker.lock().take();
            drop(waker);
        }
    }

    /// Wakes the receiver if it sleeps, after a SeqCst RMW of what it may wait for.
    #[cold]
    pub(super) fn wake_sole(&self, sole: &Sole) {
        fence_after_rmw();
        if !self.receivers.show_none() {
            return;
        }
        let waker = sole.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Nothing in the ring is anybody else's.
pub(super) const ALL: Share = Share {
    aside: 0,
    own: false,
};
