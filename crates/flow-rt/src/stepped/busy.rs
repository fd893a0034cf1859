//! How much could go on: the count under `settle`, and the state of each counted task.
//!
//! # State
//! `Busy::word: AtomicU64`, `[zeros: 32 | count: 32]`. The count holds one for each task that is
//! queued or running, each blocking closure that has not ended, and each wake, fire of timers and
//! destructor that is under way. `zeros` says how often the count has come down to zero,
//! `Busy::told` how many of those times have been made known to all who waited for one by the
//! event `Busy::idle`. The event `Busy::quiet` says that the two are equal again.
//!
//! `Activity::state: AtomicU8` of each task, of three bits:
//!
//! | state | bits | the task |
//! |---|---|---|
//! | Idle | none | waits to be woken; not counted |
//! | Queued | WOKEN | was woken, the host owes it a poll; counted |
//! | Running | RUNNING | is being polled; counted |
//! | RunningWoken | WOKEN, RUNNING | was woken during its poll; counted |
//! | Ended | ENDED | is gone; not counted; late wakes may add WOKEN |
//!
//! `Activity::host` is the waker that the host polled with last.
//!
//! # Invariants
//! 1. A task that is Queued, Running or RunningWoken is counted once: since before it became so,
//!    until after it ceased to be.
//! 2. Coming down to zero and `zeros` going up are one step. The same thread then notifies
//!    `idle`, raises `told`, and notifies `quiet`.
//! 3. The host is woken once per way into Queued, by the one who led the task there, afterwards.
//! 4. The host's waker is registered before a poll looks at the state.
//! 5. Time moves only while nothing is counted but the mover itself and `told` equals `zeros`:
//!    tasks that waited in settle have then been woken, hence counted, and go first.
//!
//! # Steps
//! - wake: count + 1; `state |= WOKEN`. It was Idle: the count is now the task's, wake the host.
//!   It was anything else: count - 1.
//! - poll: register the host's waker; Queued to Running, or if it is not Queued return `Pending`
//!   (the host polled unasked). Poll the future. Pending: `state &= !RUNNING`; if WOKEN is left,
//!   wake the host, else count - 1.
//! - end by a result: drop the future; `state = ENDED`; count - 1.
//! - end because the host drops the task: count + 1; drop the future; count - 1; `state = ENDED`;
//!   count - 1 if the task was counted.
//! - settle: remember `zeros`; wait on `idle` until the count is zero or `zeros` has moved. The
//!   second is for a caller that is a counted task itself: it sees its own count when it looks,
//!   and waits until it has parked, with all the others.
//! - move time: wait on `quiet` until invariant 5 holds, by a look at `told` and then at the
//!   count; count + 1; move the clock, wake what is due; count - 1.
//!
//! # Ordering
//! All of the count is one word, so it needs only that each count + 1 comes before its count - 1
//! in that word's order, and before the count - 1 of whoever caused it. Both follow from
//! happens-before: a waker adds before its AcqRel operation on `state`, the poll subtracts after
//! its own; and what wakes from within a counted task adds before that task subtracts, on the
//! same thread. So no look finds zero between a cause and its effect, and the additions can be
//! Relaxed. Subtractions are Release and a look Acquire, and all of them are RMWs: whoever finds
//! zero sees everything that the tasks did.
//!
//! A wake of a task that is Queued already changes nothing, and is an RMW all the same: it
//! publishes what the waker wrote before to the poll that is to come, whose RMW on `state`
//! either follows it, or came first, and then the wake found Running.
//!
//! # Fairness
//! None of its own: the host picks, and wakes as always.
//!
//! # Source
//! The state word is that of async-task, without its reference count and its vtable. Counting
//! what was woken and not yet polled is how simulators know that they may move the clock, here
//! from outside of an executor.

use core::task::Waker;
use std::sync::Arc;
use std::task::Wake;

use flow_sync::Event;
use flow_sync::sync::AtomicWaker;
use flow_sync::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::world::World;

const WOKEN: u8 = 1;
const RUNNING: u8 = 2;
const ENDED: u8 = 4;

const IDLE: u8 = 0;
const QUEUED: u8 = WOKEN;

/// One more time that the count came down to zero.
const ZERO: u64 = 1 << 32;

/// The count of what could go on, and the event that nothing can.
#[derive(Default)]
pub(super) struct Busy {
    word: AtomicU64,
    told: AtomicU32,
    idle: Event,
    quiet: Event,
}

impl Busy {
    /// Counts one more. Whoever calls it owes a [`leave`](Self::leave).
    pub(super) fn enter(&self) {
        self.word.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one less, and tells the waiters if it was the last.
    pub(super) fn leave(&self) {
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            let mut less = now - 1;
            if count(less) == 0 {
                less = less.wrapping_add(ZERO);
            }
            match self
                .word
                .compare_exchange_weak(now, less, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) if count(less) != 0 => return,
                Ok(_) => break,
                Err(changed) => now = changed,
            }
        }
        self.idle.notify_all();
        self.told.fetch_add(1, Ordering::AcqRel);
        self.quiet.notify_all();
    }

    /// Counts one for as long as the guard lives.
    pub(super) fn hold(&self) -> Hold<'_> {
        self.enter();
        Hold(self)
    }

    /// Whether nothing is counted but `own`, and all who waited for that know it: invariant 5.
    pub(super) fn is_quiet(&self, own: u32) -> bool {
        // In this order: `told` never passes `zeros`, so if they are equal they were so at the
        // second look.
        let told = self.told.load(Ordering::Acquire);
        let word = self.word.load(Ordering::Acquire);
        count(word) == own && zeros(word) == told
    }

    /// Waits until the count is zero, at an instant after this call.
    pub(super) async fn settled(&self) {
        let since = zeros(self.word.load(Ordering::Acquire));
        let look = || {
            let word = self.word.load(Ordering::Acquire);
            (count(word) == 0 || zeros(word) != since).then_some(())
        };
        self.idle.wait_until(look).await;
    }

    /// What is notified when [`is_quiet`](Self::is_quiet) may have become true.
    pub(super) fn quiet(&self) -> &Event {
        &self.quiet
    }
}

fn count(word: u64) -> u32 {
    word as u32 // the low half
}

fn zeros(word: u64) -> u32 {
    (word >> 32) as u32
}

/// One of the count.
pub(super) struct Hold<'a>(&'a Busy);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Whether one task could go on; it is also the waker that the task is polled with.
pub(super) struct Activity {
    state: AtomicU8,
    host: AtomicWaker,
    pub(super) world: Arc<World>,
}

impl Activity {
    /// A task that the host is to poll: Queued, and counted from now on.
    pub(super) fn queued(world: &Arc<World>) -> Arc<Self> {
        world.busy.enter();
        Self::taking_over(world)
    }

    /// Queued, by a count that somebody else has made and hands over.
    pub(super) fn taking_over(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            state: AtomicU8::new(QUEUED),
            host: AtomicWaker::new(),
            world: world.clone(),
        })
    }

    /// Whether a poll by the host, with `waker`, is one that the task is waiting for.
    pub(super) fn start(&self, waker: &Waker) -> bool {
        self.host.register(waker);
        self.state
            .compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// After a poll that ended `Pending`: whether the task was woken meanwhile, and the host is
    /// to be woken.
    pub(super) fn park(&self) -> bool {
        let woken = self.state.fetch_and(!RUNNING, Ordering::AcqRel) & WOKEN != 0;
        if !woken {
            self.world.busy.leave();
        }
        woken
    }

    /// The task is gone: nothing about it is counted from now on.
    pub(super) fn end(&self) {
        if self.retire() {
            self.world.busy.leave();
        }
    }

    /// Like [`end`](Self::end), but leaves the task's count, if it had one, to the caller.
    pub(super) fn retire(&self) -> bool {
        let was = self.state.swap(ENDED, Ordering::AcqRel);
        was & ENDED == 0 && was != IDLE
    }
}

impl Wake for Activity {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.world.busy.enter();
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) == IDLE {
            // The count is the task's now.
            self.host.wake();
        } else {
            self.world.busy.leave();
        }
    }
}
