//! The slots by state: how many live, which of them sleep, and whom to wake for a new task.
//!
//! # State
//! `word`, 20 bits each: `idle`, slots asleep in the list; `waking`, slots taken out of the list
//! or just started that have not looked at the queue yet; and 24 bits, as lent ones are among them:
//! `alive`. `seats: Mutex<Seats>`: a seat per living slot, the stack of the idle ones, seat numbers
//! to reuse. `Seat`: the slot's waker; `parked`, whether it is in the idle stack; `loans`, waits of
//! its task that lend it.
//!
//! # Invariants
//! 1. `idle` and `alive` change under the lock, with the stack and the seats; so does `parked`.
//! 2. A slot parks by entering the stack **first** and looking at the queue afterwards.
//! 3. Whoever pushes a task does so **before** it looks at `word`.
//! 4. `waking` is lowered **before** the slot looks at the queue; if it finds a task and leaves
//!    another one behind, it notifies (the cascade).
//! 5. A slot that is alive, and not idle, looks at the queue again. So one that retires gives up
//!    `idle` and `alive` in one step: a push in between would rely on it. One that leaves because
//!    there are too many was busy until then, and notifies in its place.
//! 6. `most` is the range's maximum and one for each slot that is lent, which is one whose task
//!    waits without it, however many waits of the task lend it. So tasks that run, those that wait
//!    so apart, are never more than the maximum: a slot that is wanted back comes back once another
//!    has left, and whoever takes a slot out gives it to who wants it, in the same step.
//! 7. Whenever there may be too many slots `news` changes, and each slot that sees it compares,
//!    under the lock, before its next task, and looks once more after it has parked. What it has
//!    seen is what there was when its seat was opened, under the lock. So those that are too many
//!    leave, and no others.
//! 8. A slot that leaves keeps its number until it has told of its end: so no other of that number
//!    tells of its start before.
//!
//! # Steps
//! notify: fence, unless the push was one; nothing to do if nobody sleeps and no more may start, or
//! if `waking` is at its limit or covers what is queued, which may be nothing any more: a slot has
//! taken it. Else lock, take the slot that slept last or a seat for a new one.
//!
//! # Ordering
//! Queue and `word` are two locations, each written by one side and read by the other (Dekker),
//! hence SeqCst fences between: before the load in `notify`, or a SeqCst read-modify-write that is
//! the last of the push, and in `park` and `arrive` after the change. So a push is seen by the
//! slot's look, or the push sees the slot idle. If a push relies on the `waking` ones, each of those
//! has yet to look, sees the push, and takes it or cascades; the last of them finds `waking` at 0.
//!
//! # Fairness
//! Last asleep, first awake: the others can retire. Tasks are first in, first out all the same.
//!
//! # Source
//! tokio's limit on searching workers; async-executor's list of sleepers.

mod asleep;

use core::task::Waker;
use std::sync::Arc;

use self::asleep::Asleep;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use crate::sync::{AtomicWaker, Mutex};
use flow_rt::contain;
use flow_sync::{CachePadded, Standing, Ticket, WaitList};

const FIELD: u64 = (1 << 20) - 1;
const IDLE: u64 = 1;
const WAKING: u64 = 1 << 20;
const ALIVE: u64 = 1 << 40;

/// More slots than this are refused: the counts must fit their fields.
pub(super) const MAX_SLOTS: usize = FIELD as usize;

/// No more slots are lent than this: with all others they fit the field of `alive`, the highest.
const MAX_LENT: u64 = u64::MAX / ALIVE - MAX_SLOTS as u64;

/// Woken slots that have not run yet, at the most. More than one, because a host may keep a
/// woken task behind one that is busy; few, because every needless wake costs the host's 0.2 µs.
const MAX_WAKING: u64 = 4;

pub(super) struct Roster {
    word: CachePadded<AtomicU64>,
    limits: CachePadded<Limits>,
    /// Submitters that run their own tasks: they have seats, and are no slots.
    guests: AtomicUsize,
    seats: Mutex<Seats>,
}

/// What is rarely written; under the lock.
struct Limits {
    /// The [`SlotRange`].
    range: AtomicU64,
    /// The most slots that may live now: those of the range, and one for each that is lent.
    most: AtomicU64,
    /// Tasks that may have a slot: as many, but for those whose slots are wanted back.
    places: AtomicU64,
    /// Raised when there may be too many slots.
    news: AtomicU64,
}

/// How many slots stay and how many may live.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotRange(u64);

impl SlotRange {
    /// Both are at most `MAX_SLOTS`.
    pub(super) const fn new(min: usize, max: usize) -> Self {
        Self((max as u64) << 32 | min as u64)
    }

    pub(super) const fn min(self) -> u64 {
        self.0 & u32::MAX as u64
    }

    pub(super) const fn max(self) -> u64 {
        self.0 >> 32
    }
}

struct Seats {
    taken: Vec<Option<Arc<Seat>>>,
    idle: Asleep,
    vacant: Vec<u32>,
    /// Slots whose tasks wait without them, and those of them that are wanted back.
    lent: u64,
    returning: WaitList,
}

/// What others know of a slot.
pub(super) struct Seat {
    pub(super) id: u32,
    /// The news when it was opened.
    pub(super) news: u64,
    /// Waits of its task that lend the slot; it changes under the lock, with `lent`.
    loans: AtomicUsize,
    waker: AtomicWaker,
    parked: AtomicBool,
}

impl Seat {
    /// Registers the slot's task for wakes. To be done before looking at what a wake is for.
    pub(super) fn register(&self, cx: &core::task::Context<'_>) {
        self.waker.register(cx.waker());
    }

    pub(super) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        contain(|| self.waker.wake());
    }

    /// Ends a loan, under the lock.
    fn is_last_loan(&self) -> bool {
        self.loans.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

impl Roster {
    pub(super) fn new(range: SlotRange) -> Self {
        Self {
            word: CachePadded::new(AtomicU64::new(0)),
            limits: CachePadded::new(Limits {
                range: AtomicU64::new(range.0),
                most: AtomicU64::new(range.max()),
                places: AtomicU64::new(range.max()),
                news: AtomicU64::new(0),
            }),
            guests: AtomicUsize::new(0),
            seats: Mutex::new(Seats {
                taken: Vec::new(),
                idle: Asleep::default(),
                vacant: Vec::new(),
                lent: 0,
                returning: WaitList::new(),
            }),
        }
    }

    /// Sees to it that somebody looks at the queue, which holds `queued()` tasks. A seat that
    /// comes back is for a new slot, which the caller starts; it counts as alive and waking
    /// already.
    #[must_use = "the seat is for a slot that counts as started"]
    pub(super) fn notify(&self, queued: impl FnOnce() -> usize) -> Option<Arc<Seat>> {
        // Orders what the caller has seen or done before the load: see the header.
        fence(Ordering::SeqCst);
        self.notify_of_push(queued)
    }

    /// The same after a push, which has its fence.
    #[inline]
    #[must_use = "the seat is for a slot that counts as started"]
    pub(super) fn notify_of_push(&self, queued: impl FnOnce() -> usize) -> Option<Arc<Seat>> {
        let word = self.word.load(Ordering::SeqCst);
        if idle(word) == 0 && alive(word) >= self.most() {
            return None;
        }
        let waking = waking(word);
        if waking >= MAX_WAKING || waking >= queued() as u64 {
            return None;
        }
        self.wake_or_start()
    }

    fn wake_or_start(&self) -> Option<Arc<Seat>> {
        let mut seats = self.seats.lock();
        if let Some(id) = seats.idle.pop() {
            let seat = seats.take_parked(id);
            self.word
                .fetch_add(WAKING.wrapping_sub(IDLE), Ordering::AcqRel);
            drop(seats);
            if let Some(seat) = seat {
                seat.wake();
            }
            return None;
        }
        if alive(self.word.load(Ordering::Relaxed)) >= self.most() {
            return None;
        }
        self.word.fetch_add(ALIVE + WAKING, Ordering::AcqRel);
        Some(seats.open(self.news()))
    }

    /// Wakes every idle slot, so that each sees what has changed.
    pub(super) fn wake_all(&self) {
        let woken = {
            let mut seats = self.seats.lock();
            self.word.fetch_add(
                (WAKING.wrapping_sub(IDLE)).wrapping_mul(seats.idle.len()),
                Ordering::AcqRel,
            );
            let mut woken = Vec::new();
            while let Some(id) = seats.idle.pop() {
                woken.extend(seats.take_parked(id));
            }
            woken
        };
        for seat in woken {
            seat.wake();
        }
    }

    /// Wakes every slot, the busy ones too: they look at the pool's phase.
    pub(super) fn wake_everybody(&self) {
        self.wake_all();
        let seats: Vec<_> = self.seats.lock().taken.iter().flatten().cloned().collect();
        for seat in seats {
            seat.wake();
        }
    }

    /// Wakes one slot, whatever it does; for nothing if another slot has that seat by now.
    pub(super) fn wake_seat(&self, id: u32) {
        let seat = self.seats.lock().taken.get(id as usize).cloned().flatten();
        if let Some(seat) = seat {
            seat.wake();
        }
    }

    /// A woken slot is about to look at the queue.
    pub(super) fn arrive(&self) {
        self.word.fetch_sub(WAKING, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Puts a slot to sleep. It must look at the queue afterwards.
    pub(super) fn park(&self, seat: &Seat) {
        let mut seats = self.seats.lock();
        seats.idle.push(seat.id);
        seat.parked.store(true, Ordering::Release);
        self.word.fetch_add(IDLE, Ordering::AcqRel);
        drop(seats);
        fence(Ordering::SeqCst);
    }

    /// Takes a slot that found something out of the stack; false if it was woken meanwhile, and
    /// then it counts as waking.
    pub(super) fn unpark(&self, seat: &Seat) -> bool {
        let mut seats = self.seats.lock();
        let found = seats.unpark(seat);
        if found {
            self.word.fetch_sub(IDLE, Ordering::AcqRel);
        }
        found
    }

    /// Lets an idle slot go if more than the minimum live; false if it must stay.
    pub(super) fn retire(&self, seat: &Seat) -> bool {
        let mut wakers = Vec::new();
        {
            let mut seats = self.seats.lock();
            let alive = alive(self.word.load(Ordering::Relaxed));
            if alive <= self.range().min() || !seats.unpark(seat) {
                return false;
            }
            // At once: between the two a push would take the slot for a busy one, and rely on it.
            self.vacate(&mut seats, seat, IDLE, &mut wakers);
        }
        wake_all(wakers);
        true
    }

    /// A slot has ended, and has its number until it [hands it on](Self::hand_on). `waking` says
    /// whether it had been woken, or started, for nothing.
    pub(super) fn leave(&self, seat: &Seat, waking: bool) {
        let mut wakers = Vec::new();
        let also = if waking { WAKING } else { 0 };
        self.vacate(&mut self.seats.lock(), seat, also, &mut wakers);
        wake_all(wakers);
    }

    /// Gives the number of a slot that has left to the next one.
    pub(super) fn hand_on(&self, seat: &Seat) {
        self.seats.lock().vacant.push(seat.id);
    }

    /// A seat for a submitter that runs its own task, so that a stop or an abort finds it.
    pub(super) fn open_for_guest(&self) -> Arc<Seat> {
        self.guests.fetch_add(1, Ordering::AcqRel);
        self.seats.lock().open(self.news())
    }

    pub(super) fn leave_as_guest(&self, seat: &Seat) {
        let mut seats = self.seats.lock();
        seats.vacate(seat);
        seats.vacant.push(seat.id);
        drop(seats);
        self.guests.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn guests(&self) -> usize {
        self.guests.load(Ordering::Acquire)
    }

    /// Tasks that have started and wait without their slots.
    #[cfg(feature = "adaptive")]
    pub(super) fn lent(&self) -> u64 {
        self.seats.lock().lent
    }

    pub(super) fn alive(&self) -> usize {
        alive(self.word.load(Ordering::Acquire)) as usize
    }

    pub(super) fn idle(&self) -> usize {
        idle(self.word.load(Ordering::Acquire)) as usize
    }

    pub(super) fn has_surplus(&self) -> bool {
        alive(self.word.load(Ordering::Relaxed)) > self.range().min()
    }

    #[inline]
    pub(super) fn range(&self) -> SlotRange {
        SlotRange(self.limits.range.load(Ordering::Relaxed))
    }

    #[inline]
    fn most(&self) -> u64 {
        self.limits.most.load(Ordering::Relaxed)
    }

    /// How many tasks may have a slot, those whose slots are lent among them.
    pub(super) fn places(&self) -> u64 {
        self.limits.places.load(Ordering::Relaxed)
    }

    /// A number that changes when there may be too many slots.
    #[inline]
    pub(super) fn news(&self) -> u64 {
        self.limits.news.load(Ordering::Relaxed)
    }

    /// Sets the range. Idle slots wake to look at it; busy ones do when their tasks have ended.
    pub(super) fn set_range(&self, range: SlotRange) {
        let mut wakers = Vec::new();
        {
            let mut seats = self.seats.lock();
            self.limits.range.store(range.0, Ordering::Relaxed);
            self.adjust(&mut seats, &mut wakers);
        }
        wake_all(wakers);
        self.wake_all();
    }

    /// Lets a slot that is busy by the word go if there are too many; false if it may stay.
    pub(super) fn leave_if_too_many(&self, seat: &Seat) -> bool {
        let mut wakers = Vec::new();
        let too_many = {
            let mut seats = self.seats.lock();
            let wanted = seats.returning.len() as u64;
            let too_many = alive(self.word.load(Ordering::Relaxed)) + wanted > self.most();
            if too_many {
                self.vacate(&mut seats, seat, 0, &mut wakers);
            }
            too_many
        };
        wake_all(wakers);
        too_many
    }

    /// A slot's task waits without it: one slot more may live, unless it waits so already. `None`
    /// if there is no such slot, or too many are lent.
    pub(super) fn lend(&self, id: u32) -> Option<Arc<Seat>> {
        let mut wakers = Vec::new();
        let seat = {
            let mut seats = self.seats.lock();
            let seat = seats.taken.get(id as usize).cloned().flatten()?;
            if seat.loans.load(Ordering::Relaxed) == 0 {
                if seats.lent >= MAX_LENT {
                    return None;
                }
                seats.lent += 1;
                self.adjust(&mut seats, &mut wakers);
            }
            seat.loans.fetch_add(1, Ordering::Relaxed);
            seat
        };
        wake_all(wakers);
        Some(seat)
    }

    /// The task has waited and wants its slot; a ticket if it has to wait for that too. Of several
    /// waits the last has the slot back.
    pub(super) fn take_back(&self, seat: &Seat) -> Option<Ticket> {
        let mut wakers = Vec::new();
        let ticket = {
            let mut seats = self.seats.lock();
            if !seat.is_last_loan() {
                return None;
            }
            let ticket = seats.returning.push(1, None);
            self.adjust(&mut seats, &mut wakers);
            if seats.returning.standing(ticket) == Standing::Waiting {
                Some(ticket)
            } else {
                seats.returning.cancel(ticket);
                None
            }
        };
        wake_all(wakers);
        if ticket.is_some() {
            // An idle one leaves in its favour.
            self.wake_all();
        }
        ticket
    }

    /// Whether a ticket's slot is back; else leaves the waker.
    pub(super) fn is_back(&self, ticket: Ticket, cx: &core::task::Context<'_>) -> bool {
        let mut waker = Some(cx.waker().clone());
        let is_back = {
            let mut seats = self.seats.lock();
            let is_back = seats.returning.standing(ticket) != Standing::Waiting;
            if is_back {
                seats.returning.cancel(ticket);
            } else {
                waker = waker.and_then(|waker| seats.returning.update_waker(ticket, waker));
            }
            is_back
        };
        contain(|| drop(waker));
        is_back
    }

    /// The task is gone, and its slot goes on without it: a slot too many leaves. `ticket` is that
    /// of one that wanted its slot.
    pub(super) fn take_back_now(&self, seat: &Seat, ticket: Option<Ticket>) {
        let mut wakers = Vec::new();
        let unused = {
            let mut seats = self.seats.lock();
            if ticket.is_none() && !seat.is_last_loan() {
                return;
            }
            let left = ticket.map(|ticket| seats.returning.cancel(ticket));
            // One whose ticket was granted has its slot back.
            if left
                .as_ref()
                .is_none_or(|left| left.standing == Standing::Waiting)
            {
                seats.lent -= 1;
            }
            self.adjust(&mut seats, &mut wakers);
            left
        };
        wake_all(wakers);
        contain(|| drop(unused));
    }

    /// Gives slots back to those who want them, as far as there are not too many, and says how
    /// many may live.
    fn adjust(&self, seats: &mut Seats, wakers: &mut Vec<Waker>) {
        let (alive, max) = (alive(self.word.load(Ordering::Relaxed)), self.range().max());
        while !seats.returning.is_empty() && alive < max + seats.lent {
            seats.lent -= 1;
            wakers.extend(seats.returning.grant_head());
        }
        let (most, wanted) = (max + seats.lent, seats.returning.len() as u64);
        self.limits.most.store(most, Ordering::Relaxed);
        self.limits.places.store(most - wanted, Ordering::Relaxed);
        if alive + wanted > most {
            self.limits.news.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a slot out, and gives it to who wants one back (invariant 6).
    fn vacate(&self, seats: &mut Seats, seat: &Seat, also: u64, wakers: &mut Vec<Waker>) {
        seats.vacate(seat);
        self.word.fetch_sub(ALIVE + also, Ordering::AcqRel);
        self.adjust(seats, wakers);
    }
}

impl Seats {
    fn open(&mut self, news: u64) -> Arc<Seat> {
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.taken.push(None);
            // Fits: at most MAX_SLOTS live, and fewer guests than there is memory for.
            (self.taken.len() - 1) as u32
        });
        let seat = Arc::new(Seat {
            id,
            news,
            loans: AtomicUsize::new(0),
            waker: AtomicWaker::new(),
            parked: AtomicBool::new(false),
        });
        self.taken[id as usize] = Some(seat.clone());
        seat
    }

    fn vacate(&mut self, seat: &Seat) {
        self.taken[seat.id as usize] = None;
    }

    /// Takes a slot out of the stack; false if it was woken meanwhile. The caller lowers `idle`.
    fn unpark(&mut self, seat: &Seat) -> bool {
        // `parked` changes with the stack (invariant 1), so the seat is there.
        let found = seat.parked.swap(false, Ordering::AcqRel);
        if found {
            self.idle.remove(seat.id);
        }
        found
    }

    fn take_parked(&mut self, id: u32) -> Option<Arc<Seat>> {
        let seat = self.taken[id as usize].clone()?;
        seat.parked.store(false, Ordering::Release);
        Some(seat)
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        contain(|| waker.wake());
    }
}

const fn idle(word: u64) -> u64 {
    word & FIELD
}

const fn waking(word: u64) -> u64 {
    (word / WAKING) & FIELD
}

const fn alive(word: u64) -> u64 {
    word / ALIVE
}

#[cfg(all(test, not(loom)))]
mod tests;
