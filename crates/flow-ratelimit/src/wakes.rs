//! Wakers taken out under a lock, to be woken after it.
//!
//! `flow_sync::WakeList` takes 16 and allocates nothing; closing a bucket and changing its rate
//! wake any number in one critical section, which this can.

use core::task::Waker;

use flow_rt::contain;
use flow_sync::WakeList;

/// Wakers to be woken, and others to be dropped, once the lock is gone.
pub(crate) struct Wakes {
    /// The first few, without memory of their own: a wait wakes a driver or two.
    first: [Option<Waker>; FIRST],
    wakers: Vec<Waker>,
    discarded: Option<Waker>,
    room: usize,
}

impl Wakes {
    /// An empty list, without memory until it is needed.
    pub(crate) const fn new() -> Self {
        Self {
            first: [const { None }; FIRST],
            wakers: Vec::new(),
            discarded: None,
            room: BATCH,
        }
    }

    /// Takes any number from here on.
    pub(crate) fn widen(&mut self) {
        self.room = usize::MAX;
    }

    /// How many more are welcome.
    pub(crate) fn room(&self) -> usize {
        let first = self.first.iter().flatten().count();
        self.room.saturating_sub(first + self.wakers.len())
    }

    /// Adds one to be woken.
    pub(crate) fn push(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) if self.wakers.is_empty() => *place = Some(waker),
            _ => self.wakers.push(waker),
        }
    }

    /// All of them, to add many.
    pub(crate) fn all(&mut self) -> &mut Vec<Waker> {
        &mut self.wakers
    }

    /// Adds one to be dropped.
    pub(crate) fn discard(&mut self, waker: Option<Waker>) {
        if waker.is_some() {
            self.discarded = waker;
        }
    }

    /// Wakes everybody, whatever the wakers do.
    pub(crate) fn wake(&mut self) {
        contain(|| drop(self.discarded.take()));
        let first = self.first.iter_mut().filter_map(Option::take);
        for waker in first.chain(self.wakers.drain(..)) {
            contain(|| waker.wake());
        }
    }
}

/// Wakers per critical section: nobody holds the lock for long. One in the models, which so go
/// through the rounds that a full list makes necessary.
const BATCH: usize = WakeList::CAPACITY;

const FIRST: usize = 2;
