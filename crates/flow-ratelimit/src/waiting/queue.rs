//! Who waits, who drives, and what they go by: the data under the lock.

use core::task::Waker;
use std::collections::VecDeque;

use flow_rt::{Instant, RuntimeId};
use flow_sync::{Standing, Ticket, WaitList};

use super::driver::{LINGER, Step};
use crate::wakes::Wakes;

/// Who waits, who drives, and what they go by.
pub(crate) struct Queue<L> {
    /// What they are served from.
    pub(crate) supply: L,
    /// Those who wait; of a limiter with several lines, those in the first.
    pub(crate) list: WaitList,
    /// The other lines.
    others: Box<[WaitList]>,
    pub(crate) closed: bool,
    /// The head, once it was found to be too early; what ran over before is gone then.
    pub(crate) first: Option<Ticket>,
    pub(super) seats: Vec<Seat>,
    /// Threads that wait beside the one that has their seat; and some that waited, until there is
    /// no room for others. Those who wait have their waker in the list.
    pub(super) threads: VecDeque<(usize, Ticket)>,
    pub(super) primary: Option<u64>,
    next_seat: u64,
    pub(super) fire_at: Instant,
    pub(super) last_fire: Instant,
}

pub(crate) struct Seat {
    number: u64,
    home: Home,
    pub(super) waker: Option<Waker>,
    pub(super) looks: Looks,
}

/// When a seat's driver looks at the queue by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    At(Instant),
    /// At the end of its linger, to leave.
    ToLeave,
}

/// Where those are driven who have a seat in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    Runtime(RuntimeId),
    /// Plain threads, of which one looks for all of them.
    Threads,
}

impl<L> Queue<L> {
    pub(crate) fn new(supply: L) -> Self {
        Self::with_lines(supply, 1)
    }

    /// A queue of so many lines, at least one.
    pub(crate) fn with_lines(supply: L, lines: usize) -> Self {
        Self {
            supply,
            list: WaitList::new(),
            others: (1..lines).map(|_| WaitList::new()).collect(),
            closed: false,
            first: None,
            seats: Vec::new(),
            threads: VecDeque::new(),
            primary: None,
            next_seat: 0,
            fire_at: Instant::ORIGIN,
            last_fire: Instant::ORIGIN,
        }
    }

    /// Those who wait in a line, from 0.
    pub(crate) fn line(&self, line: usize) -> &WaitList {
        match line {
            0 => &self.list,
            line => &self.others[line - 1],
        }
    }

    /// The same, to change them.
    pub(crate) fn line_mut(&mut self, line: usize) -> &mut WaitList {
        match line {
            0 => &mut self.list,
            line => &mut self.others[line - 1],
        }
    }

    /// All lines, to change them.
    pub(super) fn lines_mut(&mut self) -> impl Iterator<Item = &mut WaitList> {
        core::iter::once(&mut self.list).chain(&mut self.others)
    }

    /// Whether nobody waits, in any line.
    pub(crate) fn is_idle(&self) -> bool {
        self.list.is_empty() && self.others.iter().all(WaitList::is_empty)
    }

    /// What the reservation needs that stands first, and has since before its time.
    pub(crate) fn promise(&self) -> Option<u64> {
        self.first_need().filter(|_| self.list.head_is_marked())
    }

    /// What the head needs, if it was found to be too early.
    pub(crate) fn first_need(&self) -> Option<u64> {
        let head = self.list.head()?;
        (self.first == Some(head)).then(|| self.list.head_need())?
    }

    /// Makes a seat for a home that has none; its driver is the caller's to start. If there is
    /// one already, `waiter`, in its line, stands by for it, unless it does already: a thread may
    /// have to take it over.
    pub(super) fn seat_for(
        &mut self,
        home: Home,
        waiter: (usize, Ticket),
        stands_by: bool,
    ) -> Option<u64> {
        if self.seats.iter().any(|seat| seat.home == home) {
            if home == Home::Threads && !stands_by {
                self.stand_by(waiter);
            }
            return None;
        }
        let number = self.next_seat;
        self.next_seat += 1;
        self.seats.push(Seat {
            number,
            home,
            waker: None,
            looks: Looks::At(Instant::ORIGIN),
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

    /// Puts a thread on the list of those who may get their seat.
    fn stand_by(&mut self, thread: (usize, Ticket)) {
        if self.threads.len() == self.threads.capacity() {
            // Nobody is taken off when the wait ends: that would be a search for each. There is
            // room for as many again after this, so that it is seldom.
            let mut threads = core::mem::take(&mut self.threads);
            threads.retain(|&(line, it)| self.line(line).standing(it) == Standing::Waiting);
            threads.reserve(threads.len());
            self.threads = threads;
        }
        self.threads.push_back(thread);
    }

    /// After a seat was given up: sees to it that somebody drives those who wait.
    pub(super) fn hand_over(&mut self, was_primary: bool, wakes: &mut Wakes) {
        let thread_comes = self.seat_next_thread(wakes);
        if self.seats.is_empty() && !thread_comes {
            for line in self.lines_mut() {
                line.take_wakers(wakes.all());
            }
        } else if was_primary {
            self.wake_seats(wakes);
        }
    }

    /// If the threads' seat is free: wakes one of those who wait, who will take it.
    fn seat_next_thread(&mut self, wakes: &mut Wakes) -> bool {
        if self.seats.iter().any(|seat| seat.home == Home::Threads) {
            return false;
        }
        while let Some((line, next)) = self.threads.pop_front() {
            let line = self.line_mut(line);
            // One that was granted meanwhile is on its way out, if it has not gone.
            if line.standing(next) == Standing::Waiting {
                wakes.push(line.take_waker(next));
                return true;
            }
        }
        false
    }

    /// Nobody waits: what a driver does that has looked.
    pub(super) fn rest(&mut self, number: u64, waker: &mut Option<Waker>, fired: bool) -> Step {
        let closed = self.closed;
        if let Some(seat) = self.seat(number)
            && seat.home != Home::Threads
            && !(fired && seat.looks == Looks::ToLeave)
            && !closed
        {
            seat.waker = waker.take();
            seat.looks = Looks::ToLeave;
            return Step::Linger;
        }
        self.remove_seat(number);
        Step::Leave
    }

    /// Has every driver look, the standbys too, who reckon from when the primary will.
    pub(crate) fn rouse(&mut self, now: Instant, wakes: &mut Wakes) {
        self.fire_at = now;
        self.wake_seats(wakes);
    }

    /// Nobody waits any more: drivers that would sleep on until somebody was due may leave
    /// sooner.
    pub(crate) fn wake_sleepers(&mut self, now: Instant, wakes: &mut Wakes) {
        let soon = now.saturating_add(LINGER);
        for seat in &mut self.seats {
            if matches!(seat.looks, Looks::At(at) if at > soon) {
                wakes.push(seat.waker.take());
            }
        }
    }

    pub(super) fn wake_seats(&mut self, wakes: &mut Wakes) {
        for seat in &mut self.seats {
            wakes.push(seat.waker.take());
        }
    }
}

impl<L> Drop for Queue<L> {
    /// The last handle is gone, and nobody waits: those who linger need not.
    fn drop(&mut self) {
        let mut wakes = Wakes::new();
        self.wake_seats(&mut wakes);
        wakes.wake();
    }
}
