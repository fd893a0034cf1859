//! Waiting until nothing else can run.
//!
//! # State
//! One list of those who wait, each by a number of its own. The executor takes out the one that
//! came last whenever nothing is ready, and wakes it: whose number is gone has seen idleness.
//!
//! # Invariants
//! 1. Who waits is woken by the waker of its last poll.
//! 2. Who is dropped leaves the list, so that nobody waits for it.
//! 3. On another thread than the simulation's, whoever has joined the list tells the executor, which
//!    may be parked: it looks at the list again. Or it hears that the run is over. A run is closed
//!    before the list is taken for the last time, so one of the two sees the other.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::task::Waker;

use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, Ordering};

use super::local;
use super::world::World;

/// Those who wait until nothing else can run.
#[derive(Default)]
pub(super) struct Idle {
    /// Whether there may be any: the executor takes the lock only then.
    any: AtomicBool,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    waiting: Vec<(u64, Waker)>,
    /// The number of the next one.
    next: u64,
}

impl Idle {
    /// Whether there may be any.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Takes out the one that came last.
    pub(super) fn pop(&self) -> Option<Waker> {
        if !self.is_awaited() {
            return None;
        }
        self.pop_one()
    }

    #[cold]
    fn pop_one(&self) -> Option<Waker> {
        self.change(|list| list.waiting.pop())
            .map(|(_, waker)| waker)
    }

    /// Takes out all of them.
    pub(super) fn take(&self) -> Vec<(u64, Waker)> {
        if !self.is_awaited() {
            return Vec::new();
        }
        self.change(|list| core::mem::take(&mut list.waiting))
    }

    /// The number of the one who is woken by `waker` from now on.
    fn push(&self, waker: Waker) -> u64 {
        self.change(|list| {
            let number = list.next;
            list.next += 1;
            list.waiting.push((number, waker));
            number
        })
    }

    /// Whether the one with this number waits still; it is woken by `waker` from now on.
    fn waits(&self, number: u64, waker: &Waker) -> bool {
        let same = self.change(|list| {
            let at = list.find(number)?;
            Some(list.waiting[at].1.will_wake(waker))
        });
        match same {
            Some(false) => self.replace(number, waker.clone()),
            Some(true) => true,
            None => false,
        }
    }

    #[cold]
    fn replace(&self, number: u64, mut waker: Waker) -> bool {
        // What is left in `waker` is user code to drop, and so outlives the lock.
        self.change(|list| match list.find(number) {
            Some(at) => {
                core::mem::swap(&mut list.waiting[at].1, &mut waker);
                true
            }
            None => false,
        })
    }

    /// Takes out the one with this number, if it waits still.
    fn remove(&self, number: u64) -> Option<(u64, Waker)> {
        self.change(|list| list.find(number).map(|at| list.waiting.remove(at)))
    }

    fn change<T>(&self, change: impl FnOnce(&mut List) -> T) -> T {
        let mut list = self.list.lock();
        let changed = change(&mut list);
        // Under the lock, so that the stores come in the order of the changes.
        self.any.store(!list.waiting.is_empty(), Ordering::Release);
        changed
    }
}

impl List {
    fn find(&self, number: u64) -> Option<usize> {
        self.waiting.iter().rposition(|&(known, _)| known == number)
    }
}

/// Ready when every other task is waiting; time has not moved meanwhile. Or when the run is over.
pub(super) struct UntilIdle<'a> {
    world: &'a World,
    /// Its number, while it may be waiting.
    number: Option<u64>,
}

impl<'a> UntilIdle<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        Self {
            world,
            number: None,
        }
    }
}

impl Future for UntilIdle<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let world = self.world;
        if let Some(number) = self.number {
            if world.idle.waits(number, cx.waker()) {
                return Poll::Pending;
            }
            self.number = None;
            return Poll::Ready(());
        }
        self.number = Some(world.idle.push(cx.waker().clone()));
        if local::runs(world.id) || world.foreign.rouse(world.id) {
            return Poll::Pending;
        }
        // The run is over.
        Poll::Ready(())
    }
}

impl Drop for UntilIdle<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            drop(self.world.idle.remove(number));
        }
    }
}
