//! How tasks wait for a key: first in, first out for each key in its class, driven by one small
//! task per runtime.
//!
//! # State
//! [`Waiting`], under one lock: a *line* for each key that somebody waits for in a class, found by
//! the key's hash of that class and its tag, with its list of waiters and their needs in tokens;
//! `due`, when the head of each line should be looked at; the *seats*, one per runtime that has
//! waiters, each with its driver's waker and when it looks; `closed`. A line is there as long as
//! anybody holds a ticket of it. Beside the lock, `attention` of the table: twice the number of
//! those who wait, and one more once closed.
//!
//! # Invariants
//! 1. `attention` changes only under the lock, with the lists.
//! 2. A waiter holds no token before it is granted; the store's decision that takes its tokens and
//!    the mark that it is granted are in one critical section, the decision first.
//! 3. Every line with waiters is in `due` at or before the instant its head can go, by what was
//!    known in the last critical section that looked at it.
//! 4. While somebody waits, a seat exists, or a wake-up is owed to every waiter, whose polls make
//!    one. A driver's waker was stored in the critical section that computed when it looks next, or
//!    a wake-up is owed to it; it looks at or before the first of `due`.
//! 5. No wakers are woken or dropped under the lock, no runtime is asked for anything, and clocks
//!    are read before it. The locks of stores and quotas are taken after this one, never before it.
//! 6. Waiters hold the table, drivers do not: with the last handle nobody waits any more.
//!
//! # Steps
//! - enter: lock; closed, or too late? no; push; count in `attention`; fence; pump; granted? done.
//!   Else a seat for this runtime; unlock; spawn its driver, if the seat is new.
//! - pump a line: ask the store for the head's tokens; granted? mark it, the next one. Denied? The
//!   line is due when the store says. Is that before a seat looks? Take its waker. Nobody waits for
//!   anything any more? Take the wakers of all seats, who leave.
//! - poll: lock; granted or closed? done. Else store the waker; see to a seat.
//! - driver: lock; pump all lines that are due; nobody waits? leave. Store the waker; unlock; wake;
//!   sleep until the first is due.
//! - tokens came back, or a quota changed: fence; attention? lock; pump the key's line, or make all
//!   lines of the class due.
//! - cancel: waiting? unlink, and pump if it was the head. Granted? Give back what the grant took.
//!   The line goes with its last ticket.
//! - driver dropped before its end: its seat goes; no seat is left? wake every waiter.
//!
//! # Ordering
//! Whoever enters counts itself, and then asks the store; whoever brings tokens stores them, and then
//! looks whether somebody is counted. With a sequentially consistent fence between the two steps on
//! both sides, one of them sees the other.
//!
//! # Fairness
//! First in, first out for each key in a class by taking the lock. Across classes the one is first
//! whose tokens come first: a wait behind others of another quota is no sum of needs. A newcomer
//! does not pass those who wait for its key in its class: it finds `attention` and asks here. One
//! that looked before the first was counted came before it.

mod driver;
mod serve;
mod waiter;

use core::task::Waker;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use flow_rt::{Instant, RuntimeId};
use flow_sync::{HashSeed, WaitList};

use crate::wait_state::Host;
use crate::wakes::Wakes;

/// Who waits for which key, and who drives.
pub(super) struct Waiting<T> {
    /// By the key's hash, which is seeded; a second secret would give a simulation another order in
    /// each run of a seed.
    lines: HashMap<u64, Vec<Line<T>>, HashSeed>,
    due: BTreeSet<(Instant, LineId)>,
    seats: Vec<Seat>,
    closed: bool,
    next_number: u64,
}

/// A key's line: its hash, and a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LineId {
    hash: u64,
    number: u64,
}

/// Those who wait for one key.
struct Line<T> {
    number: u64,
    tag: T,
    list: WaitList,
    /// Those who wait, and those who have been answered and have not looked yet.
    tickets: usize,
    due: Option<Instant>,
    host: Arc<dyn Host>,
}

struct Seat {
    number: u64,
    runtime: RuntimeId,
    waker: Option<Waker>,
    looks_at: Instant,
}

impl<T> Waiting<T> {
    pub(super) fn new() -> Self {
        Self {
            lines: no_lines(),
            due: BTreeSet::new(),
            seats: Vec::new(),
            closed: false,
            next_number: 0,
        }
    }

    /// The line of a key.
    fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<(LineId, &Line<T>)> {
        let lines = self.lines.get(&hash)?;
        let line = lines.iter().find(|line| is(&line.tag))?;
        let number = line.number;
        Some((LineId { hash, number }, line))
    }

    fn line(&self, id: LineId) -> Option<&Line<T>> {
        let lines = self.lines.get(&id.hash)?;
        lines.iter().find(|line| line.number == id.number)
    }

    fn line_mut(&mut self, id: LineId) -> Option<&mut Line<T>> {
        let lines = self.lines.get_mut(&id.hash)?;
        lines.iter_mut().find(|line| line.number == id.number)
    }

    /// Adds a line for a key that has none.
    fn add(&mut self, hash: u64, tag: T, host: impl FnOnce(LineId) -> Arc<dyn Host>) -> LineId {
        let number = self.number();
        let id = LineId { hash, number };
        let lines = self.lines.entry(hash).or_default();
        // Hardly ever is there a second one, and room for four is half a KiB.
        lines.reserve_exact(1);
        lines.push(Line {
            number,
            tag,
            list: WaitList::new(),
            tickets: 0,
            due: None,
            host: host(id),
        });
        id
    }

    /// Lets a ticket of a line go, and the line with the last one.
    fn release(&mut self, id: LineId) -> Option<Arc<dyn Host>> {
        let line = self.line_mut(id)?;
        line.tickets -= 1;
        if line.tickets > 0 {
            return None;
        }
        let due = line.due;
        if let Some(due) = due {
            self.due.remove(&(due, id));
        }
        let lines = self.lines.get_mut(&id.hash)?;
        let at = lines.iter().position(|line| line.number == id.number)?;
        let line = lines.swap_remove(at);
        if lines.is_empty() {
            self.lines.remove(&id.hash);
        }
        if self.lines.is_empty() {
            // No memory for those whom nobody waits for.
            self.lines = no_lines();
        }
        // It holds the table: not to be dropped under its lock.
        Some(line.host)
    }

    /// Says when a line is to be looked at, and has those driven earlier who would look later.
    fn set_due(&mut self, id: LineId, at: Option<Instant>, wakes: &mut Wakes) {
        let Some(line) = self.line_mut(id) else {
            return;
        };
        let before = core::mem::replace(&mut line.due, at);
        if let Some(before) = before {
            self.due.remove(&(before, id));
        }
        if let Some(at) = at {
            self.due.insert((at, id));
            for seat in self.seats.iter_mut().filter(|seat| at < seat.looks_at) {
                wakes.push(seat.waker.take());
            }
        }
    }

    fn first_due(&self) -> Option<(Instant, LineId)> {
        self.due.first().copied()
    }

    /// Makes a seat for a runtime that has none; its driver is the caller's to start.
    fn seat_for(&mut self, runtime: RuntimeId) -> Option<u64> {
        if self.seats.iter().any(|seat| seat.runtime == runtime) {
            return None;
        }
        let number = self.number();
        self.seats.push(Seat {
            number,
            runtime,
            waker: None,
            // It looks as soon as it runs.
            looks_at: Instant::ORIGIN,
        });
        Some(number)
    }

    fn seat(&mut self, number: u64) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.number == number)
    }

    fn remove_seat(&mut self, number: u64) -> Option<Seat> {
        let at = self.seats.iter().position(|seat| seat.number == number)?;
        Some(self.seats.swap_remove(at))
    }

    fn wake_seats(&mut self, wakes: &mut Wakes) {
        for seat in &mut self.seats {
            wakes.push(seat.waker.take());
        }
    }

    fn lines_mut(&mut self) -> impl Iterator<Item = &mut Line<T>> {
        self.lines.values_mut().flatten()
    }

    fn ids(&self) -> Vec<LineId> {
        let of = |(&hash, lines): (&u64, &Vec<Line<T>>)| {
            let ids = lines.iter().map(|line| LineId {
                hash,
                number: line.number,
            });
            ids.collect::<Vec<_>>()
        };
        self.lines.iter().flat_map(of).collect()
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

fn no_lines<T>() -> HashMap<u64, Vec<Line<T>>, HashSeed> {
    HashMap::with_hasher(HashSeed::fixed(0))
}
