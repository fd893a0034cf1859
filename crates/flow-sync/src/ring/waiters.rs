//! Those who wait at one end of a ring: a line of them under a lock, and what others see of it
//! without the lock.
//!
//! # State
//! `state: AtomicU64`, `granted << 32 | waiting`, on a cache line of its own; `line`, a mutex over
//! the [`WaitList`], how many are granted, and whether the end is closed.
//!
//! # Invariants
//! 1. `state` is written under the lock (a [sole](super::sole) receiver has no line, and writes it
//!    without). Whenever nobody holds that, `waiting` is how many wait.
//!    So is `granted` of receivers; that of senders may be too high until the next change: a
//!    sender that comes for its promise does not show it, as nobody asks.
//! 2. `closed` is set once, on senders only, and under the lock: nobody joins the list after it.
//!
//! # Steps
//! show: swap the numbers in, before unlocking.
//! settle: lock, look; one that waits with this very waker, or leaves one that was cloned before:
//! done. Else unlock, clone the waker, and look anew, since it may have been granted meanwhile.
//!
//! # Ordering
//! The swap and the load in `any` are SeqCst: one half each of the pair that the parent explains.
//! `glance` and `is_idle` are Relaxed: on them rests who comes first, which the parent promises
//! but for the race it names. What a newcomer then takes, it takes by the CAS of `raw`.

use core::task::{Context, Waker};

use crate::padded::CachePadded;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Relaxed, SeqCst};
use crate::sync::{Mutex, MutexGuard};
use crate::wait_list::{Standing, Ticket, WaitList};

pub(super) struct Waiters {
    /// `granted << 32 | waiting`, as of the last critical section that changed them. Of senders
    /// nobody asks how many are granted: a granted one that sends does not show it.
    state: CachePadded<AtomicU64>,
    line: Mutex<Line>,
}

pub(super) struct Line {
    pub(super) list: WaitList,
    /// How many have been granted, and have not come for it yet.
    pub(super) granted: u32,
    /// Nobody is granted or may wait any more (senders only).
    pub(super) closed: bool,
}

impl Waiters {
    pub(super) fn new() -> Self {
        Self {
            state: CachePadded::new(AtomicU64::new(0)),
            line: Mutex::new(Line {
                list: WaitList::new(),
                granted: 0,
                closed: false,
            }),
        }
    }

    /// Whether nobody waits and nobody has been granted; see [`glance`](Self::glance).
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.state.load(Relaxed) == 0
    }

    /// Those who wait and those who were granted, as a newcomer sees it before it goes ahead: the
    /// promise of the order, on which nothing else rests.
    #[inline]
    pub(super) fn glance(&self) -> (u32, u32) {
        let state = self.state.load(Relaxed);
        (state as u32, (state >> 32) as u32)
    }

    /// Whether anybody waits, after the caller's own SeqCst read-modify-write.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.state.load(SeqCst) as u32 != 0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock()
    }

    /// Shows what `line` has become; before it is unlocked.
    pub(super) fn show(&self, line: &Line) {
        let waiting = u64::try_from(line.list.len()).unwrap_or(u64::MAX) & 0xffff_ffff;
        self.state
            .swap(u64::from(line.granted) << 32 | waiting, SeqCst);
    }

    /// Shows that one waits, at the end of a [sole](super::sole) receiver.
    pub(super) fn show_one(&self) {
        self.state.swap(1, SeqCst);
    }

    /// Shows that it does not any more. False if that was shown before.
    pub(super) fn show_none(&self) -> bool {
        self.any() && self.state.swap(0, SeqCst) != 0
    }

    /// Locks and looks how `ticket` stands. One that waits gets the waker of `cx`, and `None` is
    /// the answer. A waker that was cloned and not needed is left in `fresh`.
    pub(super) fn settle(
        &self,
        cx: &Context<'_>,
        ticket: Ticket,
        fresh: &mut Option<Waker>,
    ) -> Option<(MutexGuard<'_, Line>, Standing)> {
        loop {
            let mut line = self.lock();
            match line.list.standing(ticket) {
                Standing::Waiting if line.list.will_wake(ticket, cx.waker()) => return None,
                Standing::Waiting => {
                    if let Some(waker) = fresh.take() {
                        let replaced = line.list.update_waker(ticket, waker);
                        drop(line);
                        drop(replaced);
                        return None;
                    }
                }
                standing => return Some((line, standing)),
            }
            drop(line);
            *fresh = Some(cx.waker().clone());
        }
    }
}
