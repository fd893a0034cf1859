//! The queue of those who wait: first in, first out, each with a need of its own.
//!
//! Plain data, used under somebody's lock. It decides nothing: whoever owns the lock says when
//! the head may go. Its wakers are handed out, so that they are woken and dropped after the lock.
//!
//! # State
//! Slots in chunks of 256, named by a `u32`; a doubly linked list through the waiting ones; per
//! chunk a list of its free slots, and a list of the chunks that have room. `sum` counts the
//! needs of the list, in a `u128` that 2^32 needs of 2^64 cannot overflow.
//!
//! # Invariants
//! 1. A slot is linked if and only if it is [`Waiting`](Standing::Waiting).
//! 2. `len` and `sum` are those of the linked slots.
//! 3. Every push has a number of its own, kept in its slot and its [`Ticket`]: a ticket whose
//!    slot was given to somebody else finds out.
//! 4. A detached waiter's slot is freed in the step that takes it out of the queue.
//! 5. A chunk is in the list of chunks with room if and only if fewer than 256 of its slots are
//!    used. Chunks without memory are at its back.
//!
//! # Cost
//! Every operation is O(1), but those that say otherwise. Memory is taken a chunk at a time (a
//! `Vec` that doubles would copy megabytes under the lock; only the first chunk grows that way, so
//! that one waiter costs some 100 bytes) and kept up to 4096 slots. Above that an empty chunk is
//! freed if another one is empty too, so that a queue that swings about a chunk's edge does not
//! allocate.
//!
//! # Source
//! A slab rather than tokio's intrusive list: a waiter is not pinned, and nothing is unsafe.

use core::fmt;
use core::task::Waker;

/// A FIFO of waiters, each with a need.
///
/// ```
/// use flow_sync::{Standing, WaitList};
/// use std::task::Waker;
///
/// let mut list = WaitList::new();
/// let first = list.push(3, Some(Waker::noop().clone()));
/// let second = list.push(1, None);
/// assert_eq!((list.head_need(), list.len(), list.sum()), (Some(3), 2, 4));
///
/// let waker = list.grant_head(); // to be woken once the lock is gone
/// assert!(waker.is_some());
/// assert_eq!(list.standing(first), Standing::Granted);
///
/// assert!(list.cancel(second).was_head);
/// assert!(list.is_empty());
/// ```
pub struct WaitList {
    chunks: Vec<Chunk>,
    /// First and last chunk with room.
    room: Ends,
    /// Chunks that have memory, and those of them without a used slot.
    live: usize,
    vacant: usize,
    queue: Ends,
    len: usize,
    /// Those of them that have a mark.
    marked: usize,
    sum: u128,
    next_number: u64,
}

/// A waiter's place in its [`WaitList`].
///
/// It stays valid until [`cancel`](WaitList::cancel); later its list answers
/// [`Gone`](Standing::Gone). It is for its own list: another may take it for one of its tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    slot: u32,
    number: u64,
}

/// How a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a waiter's poll must answer every one of them"
)]
pub enum Standing {
    /// In the queue.
    Waiting,
    /// Out of the queue, with what it asked for.
    Granted,
    /// Out of the queue, without what it asked for.
    Closed,
    /// Its ticket was cancelled before.
    Gone,
}

/// What [`WaitList::cancel`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cancelled {
    /// How the waiter stood.
    pub standing: Standing,
    /// What it asked for; 0 if it was [`Gone`](Standing::Gone), or [waived](WaitList::waive_head).
    pub need: u64,
    /// Whether it was first in the queue: the next one may fit where it did not.
    pub was_head: bool,
    /// Its waker, to be dropped without the lock.
    pub waker: Option<Waker>,
}

struct Chunk {
    slots: Vec<Slot>,
    free: u32,
    used: u32,
    links: Links,
}

struct Slot {
    need: u64,
    number: u64,
    waker: Option<Waker>,
    /// Neighbours in the queue; `next` of a free slot is the chunk's next free slot.
    links: Links,
    standing: Standing,
    marked: bool,
    detached: bool,
}

#[derive(Clone, Copy)]
struct Links {
    prev: u32,
    next: u32,
}

#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

impl WaitList {
    /// An empty list, without memory.
    pub const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            room: Ends::NONE,
            live: 0,
            vacant: 0,
            queue: Ends::NONE,
            len: 0,
            marked: 0,
            sum: 0,
            next_number: 0,
        }
    }

    /// Waiters in the queue; granted and closed ones have left it.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Waiters in the queue that have a mark.
    #[inline]
    pub const fn marked(&self) -> usize {
        self.marked
    }

    /// The sum of the needs in the queue; exact.
    #[inline]
    pub const fn sum(&self) -> u128 {
        self.sum
    }

    /// Slots that memory is held for. O(n) in the chunks of 256 of them.
    pub fn capacity(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.slots.capacity()).sum()
    }

    /// Appends a waiter.
    ///
    /// A waiter that looks again before it goes to sleep leaves the waker out and stores it then
    /// with [`update_waker`](Self::update_waker): so it is not woken by its own grant.
    pub fn push(&mut self, need: u64, waker: Option<Waker>) -> Ticket {
        self.push_slot(need, waker, false)
    }

    /// Appends a waiter with a mark, which means what the list's owner likes.
    pub fn push_marked(&mut self, need: u64, waker: Option<Waker>) -> Ticket {
        self.push_slot(need, waker, true)
    }

    /// What the first in the queue needs; `None` if nobody waits.
    #[inline]
    pub fn head_need(&self) -> Option<u64> {
        self.needs().next()
    }

    /// The first in the queue; `None` if nobody waits.
    #[inline]
    pub fn head(&self) -> Option<Ticket> {
        (self.queue.first != NIL).then(|| Ticket {
            slot: self.queue.first,
            number: self.slot(self.queue.first).number,
        })
    }

    /// Whether the first in the queue has a mark.
    #[inline]
    pub fn head_is_marked(&self) -> bool {
        self.entries().next().is_some_and(|(_, marked)| marked)
    }

    /// The needs of the queue from its head on, to see how many may go at once.
    pub fn needs(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries().map(|(need, _)| need)
    }

    /// The needs of the queue from its head on, each with whether it has a mark.
    pub fn entries(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        let mut at = self.queue.first;
        core::iter::from_fn(move || {
            if at == NIL {
                return None;
            }
            let slot = self.slot(at);
            at = slot.links.next;
            Some((slot.need, slot.marked))
        })
    }

    /// The sum of the needs from the head to this waiter, its own included; `None` if it does not
    /// wait. O(n) in those before it.
    pub fn sum_to(&self, ticket: Ticket) -> Option<u128> {
        let mut slot = self
            .find(ticket)
            .filter(|slot| slot.standing == Standing::Waiting)?;
        let mut sum = u128::from(slot.need);
        while slot.links.prev != NIL {
            slot = self.slot(slot.links.prev);
            sum += u128::from(slot.need);
        }
        Some(sum)
    }

    /// How many that came before this waiter have been granted and hold their slots still. O(n) in
    /// all slots.
    pub fn granted_before(&self, ticket: Ticket) -> usize {
        let slots = self.chunks.iter().flat_map(|chunk| &chunk.slots);
        slots
            .filter(|slot| slot.standing == Standing::Granted && slot.number < ticket.number)
            .count()
    }

    /// Whether one that came before this waiter is in the queue. Before a granted one that is only
    /// who was [put back](Self::requeue).
    pub fn someone_waits_before(&self, ticket: Ticket) -> bool {
        self.head().is_some_and(|head| head.number < ticket.number)
    }

    fn push_slot(&mut self, need: u64, waker: Option<Waker>, marked: bool) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        let last = self.queue.last;
        let links = Links {
            prev: last,
            next: NIL,
        };
        let chunk = self.room.first;
        let slot = match self.chunks.get_mut(chunk as usize) {
            // Field by field: a slot made elsewhere is copied in wider pieces than it was written
            // in, and the loads wait for the stores.
            Some(room) if room.free != NIL => {
                let index = room.free;
                let slot = &mut room.slots[index as usize];
                room.free = slot.links.next;
                slot.need = need;
                slot.number = number;
                slot.waker = waker;
                slot.links = links;
                slot.standing = Standing::Waiting;
                slot.marked = marked;
                slot.detached = false;
                self.vacant -= usize::from(room.used == 0);
                room.used += 1;
                if room.used == CHUNK as u32 {
                    self.room_unlink(chunk);
                }
                chunk * CHUNK as u32 + index
            }
            _ => self.push_new_slot(Slot {
                need,
                number,
                waker,
                links,
                standing: Standing::Waiting,
                marked,
                detached: false,
            }),
        };
        match last {
            NIL => self.queue.first = slot,
            last => self.slot_mut(last).links.next = slot,
        }
        self.queue.last = slot;
        self.len += 1;
        self.marked += usize::from(marked);
        self.sum += u128::from(need);
        Ticket { slot, number }
    }

    /// Takes the first waiter out of the queue as [`Granted`](Standing::Granted).
    ///
    /// The waker is the caller's to wake without the lock; `None` if nobody waits, or if the
    /// waiter has stored none yet. The slot is held until [`cancel`](Self::cancel).
    #[inline]
    pub fn grant_head(&mut self) -> Option<Waker> {
        match self.queue.first {
            NIL => None,
            head => self.unlink(head, Standing::Granted),
        }
    }

    /// As [`grant_head`](Self::grant_head), where nothing is taken for it: [`cancel`](Self::cancel)
    /// tells a need of 0, and there is nothing to return.
    pub fn waive_head(&mut self) -> Option<Waker> {
        let head = self.queue.first;
        if head == NIL {
            return None;
        }
        let waived = core::mem::take(&mut self.slot_mut(head).need);
        self.sum -= u128::from(waived);
        self.unlink(head, Standing::Granted)
    }

    /// Takes the first waiter out of the queue as [`Closed`](Standing::Closed), with nothing.
    ///
    /// The waker is the caller's to wake without the lock; `None` as for
    /// [`grant_head`](Self::grant_head).
    pub fn close_head(&mut self) -> Option<Waker> {
        match self.queue.first {
            NIL => None,
            head => self.unlink(head, Standing::Closed),
        }
    }

    /// Puts a granted waiter back into the queue, where it would stand had it not been granted;
    /// the waker comes back if it is not granted. O(n) in those before it that were put back too.
    pub fn requeue(&mut self, ticket: Ticket, waker: Waker) -> Option<Waker> {
        if self.standing(ticket) != Standing::Granted {
            return Some(waker);
        }
        let (mut prev, mut next) = (NIL, self.queue.first);
        while next != NIL && self.slot(next).number < ticket.number {
            (prev, next) = (next, self.slot(next).links.next);
        }
        let slot = self.slot_mut(ticket.slot);
        slot.standing = Standing::Waiting;
        slot.waker = Some(waker);
        slot.links = Links { prev, next };
        let (need, marked) = (slot.need, slot.marked);
        match prev {
            NIL => self.queue.first = ticket.slot,
            prev => self.slot_mut(prev).links.next = ticket.slot,
        }
        match next {
            NIL => self.queue.last = ticket.slot,
            next => self.slot_mut(next).links.prev = ticket.slot,
        }
        self.len += 1;
        self.marked += usize::from(marked);
        self.sum += u128::from(need);
        None
    }

    /// How the waiter stands.
    #[inline]
    pub fn standing(&self, ticket: Ticket) -> Standing {
        self.find(ticket)
            .map_or(Standing::Gone, |slot| slot.standing)
    }

    /// Whether waking the waiter's stored waker wakes `waker`'s task.
    pub fn will_wake(&self, ticket: Ticket, waker: &Waker) -> bool {
        self.find(ticket)
            .and_then(|slot| slot.waker.as_ref())
            .is_some_and(|stored| stored.will_wake(waker))
    }

    /// Stores the waker of a waiting one. The waker that is not needed comes back, to be dropped
    /// without the lock: the one before, or `waker` itself if the waiter no longer waits.
    #[must_use = "a waker runs foreign code when it is dropped: drop it without the lock"]
    pub fn update_waker(&mut self, ticket: Ticket, waker: Waker) -> Option<Waker> {
        if self.standing(ticket) != Standing::Waiting {
            return Some(waker);
        }
        self.slot_mut(ticket.slot).waker.replace(waker)
    }

    /// Takes the waiter's waker, to wake it once while it keeps its place.
    pub fn take_waker(&mut self, ticket: Ticket) -> Option<Waker> {
        if self.standing(ticket) == Standing::Gone {
            return None;
        }
        self.slot_mut(ticket.slot).waker.take()
    }

    /// Takes the waker of everybody in the queue, in its order; they keep their places. O(n).
    pub fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        let mut at = self.queue.first;
        while at != NIL {
            let slot = self.slot_mut(at);
            at = slot.links.next;
            wakers.extend(slot.waker.take());
        }
    }

    /// Ends a wait, however it stands, and frees its slot.
    ///
    /// What a [`Granted`](Standing::Granted) one was given is the caller's to keep or to return.
    pub fn cancel(&mut self, ticket: Ticket) -> Cancelled {
        let standing = self.standing(ticket);
        if standing == Standing::Gone {
            return Cancelled {
                standing,
                need: 0,
                was_head: false,
                waker: None,
            };
        }
        let was_head = self.queue.first == ticket.slot;
        let waker = if standing == Standing::Waiting {
            self.unlink(ticket.slot, Standing::Gone)
        } else {
            self.slot_mut(ticket.slot).waker.take()
        };
        let need = self.slot(ticket.slot).need;
        self.release_slot(ticket.slot);
        Cancelled {
            standing,
            need,
            was_head,
            waker,
        }
    }

    /// Ends a wait that is over, and frees its slot; `None` for one that is still in the queue.
    ///
    /// What a [`Granted`](Standing::Granted) one was given is the caller's.
    #[inline]
    pub fn end(&mut self, ticket: Ticket) -> Option<Standing> {
        let standing = self.standing(ticket);
        match standing {
            Standing::Waiting => None,
            // Its waker was taken as it left the queue.
            Standing::Granted | Standing::Closed => {
                self.release_slot(ticket.slot);
                Some(standing)
            }
            Standing::Gone => Some(standing),
        }
    }

    /// Lets go of a waiter that keeps its place: its slot is freed as it leaves the queue, or now
    /// if it has left. Its ticket is worth nothing from here on. The waker is to be dropped
    /// without the lock.
    pub fn detach(&mut self, ticket: Ticket) -> Option<Waker> {
        if self.standing(ticket) != Standing::Waiting {
            return self.cancel(ticket).waker;
        }
        let slot = self.slot_mut(ticket.slot);
        slot.detached = true;
        slot.waker.take()
    }

    /// Takes every waiter out of the queue as [`Closed`](Standing::Closed), and appends their
    /// wakers to `wakers` in the queue's order. O(n).
    pub fn close_all(&mut self, wakers: &mut Vec<Waker>) {
        wakers.reserve(self.len);
        while !self.is_empty() {
            wakers.extend(self.close_head());
        }
    }

    #[inline]
    fn unlink(&mut self, at: u32, standing: Standing) -> Option<Waker> {
        let slot = self.slot_mut(at);
        slot.standing = standing;
        let (links, need, waker) = (slot.links, slot.need, slot.waker.take());
        let (marked, detached) = (slot.marked, slot.detached);
        match links.prev {
            NIL => self.queue.first = links.next,
            prev => self.slot_mut(prev).links.next = links.next,
        }
        match links.next {
            NIL => self.queue.last = links.prev,
            next => self.slot_mut(next).links.prev = links.prev,
        }
        self.len -= 1;
        self.marked -= usize::from(marked);
        self.sum -= u128::from(need);
        if detached {
            self.release_slot(at);
        }
        waker
    }

    fn find(&self, ticket: Ticket) -> Option<&Slot> {
        self.chunks
            .get(ticket.slot as usize / CHUNK)?
            .slots
            .get(ticket.slot as usize % CHUNK)
            .filter(|slot| slot.number == ticket.number)
    }

    fn slot(&self, at: u32) -> &Slot {
        &self.chunks[at as usize / CHUNK].slots[at as usize % CHUNK]
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.chunks[at as usize / CHUNK].slots[at as usize % CHUNK]
    }

    /// Puts `slot` into memory that none has used yet, and gives its place.
    #[cold]
    #[inline(never)]
    fn push_new_slot(&mut self, slot: Slot) -> u32 {
        if self.room.first == NIL {
            let chunk = u32::try_from(self.chunks.len())
                .ok()
                .filter(|&chunk| chunk < NIL / CHUNK as u32)
                .expect("2^32 waiters are more than fit into memory");
            if chunk == 0 {
                // Most lists have no other: no room for three more.
                self.chunks.reserve_exact(1);
            }
            self.chunks.push(Chunk::NEW);
            self.room_push_front(chunk);
        }
        let at = self.room.first;
        let chunk = &mut self.chunks[at as usize];
        if chunk.slots.capacity() == 0 {
            self.live += 1;
            // The first chunk grows by doubling: most lists never have more than a few waiters, and
            // those of keys hardly ever more than one.
            chunk.slots.reserve_exact(if at == 0 { 1 } else { CHUNK });
        }
        let index = chunk.slots.len() as u32;
        chunk.slots.push(slot);
        chunk.used += 1;
        if chunk.used == CHUNK as u32 {
            self.room_unlink(at);
        }
        at * CHUNK as u32 + index
    }

    /// Frees a slot that is not linked and holds no waker.
    #[inline]
    fn release_slot(&mut self, at: u32) {
        let (at, index) = (at / CHUNK as u32, at % CHUNK as u32);
        let chunk = &mut self.chunks[at as usize];
        let slot = &mut chunk.slots[index as usize];
        slot.standing = Standing::Gone;
        slot.links.next = chunk.free;
        chunk.free = index;
        let was_full = chunk.used == CHUNK as u32;
        chunk.used -= 1;
        if was_full || chunk.used == 0 {
            self.chunk_changed(at, was_full);
        }
    }

    /// After a slot of the chunk was freed, if it was full before or is empty now.
    #[cold]
    #[inline(never)]
    fn chunk_changed(&mut self, at: u32, was_full: bool) {
        if was_full {
            self.room_push_front(at);
        } else {
            self.vacant += 1;
            if self.live > KEPT_CHUNKS && self.vacant > 1 {
                self.free_chunk(at);
            }
        }
    }

    /// Gives an empty chunk's memory back. Its place stays, behind those that have memory.
    fn free_chunk(&mut self, at: u32) {
        let chunk = &mut self.chunks[at as usize];
        chunk.slots = Vec::new();
        chunk.free = NIL;
        self.live -= 1;
        self.vacant -= 1;
        self.room_unlink(at);
        self.room_push_back(at);
    }

    fn room_push_front(&mut self, at: u32) {
        let next = self.room.first;
        self.chunks[at as usize].links = Links { prev: NIL, next };
        match next {
            NIL => self.room.last = at,
            next => self.chunks[next as usize].links.prev = at,
        }
        self.room.first = at;
    }

    fn room_push_back(&mut self, at: u32) {
        let prev = self.room.last;
        self.chunks[at as usize].links = Links { prev, next: NIL };
        match prev {
            NIL => self.room.first = at,
            prev => self.chunks[prev as usize].links.next = at,
        }
        self.room.last = at;
    }

    #[cold]
    #[inline(never)]
    fn room_unlink(&mut self, at: u32) {
        let links = self.chunks[at as usize].links;
        match links.prev {
            NIL => self.room.first = links.next,
            prev => self.chunks[prev as usize].links.next = links.next,
        }
        match links.next {
            NIL => self.room.last = links.prev,
            next => self.chunks[next as usize].links.prev = links.prev,
        }
    }
}

impl Default for WaitList {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitList")
            .field("len", &self.len)
            .field("sum", &self.sum)
            .finish_non_exhaustive()
    }
}

impl Chunk {
    const NEW: Self = Self {
        slots: Vec::new(),
        free: NIL,
        used: 0,
        links: Links {
            prev: NIL,
            next: NIL,
        },
    };
}

impl Ends {
    const NONE: Self = Self {
        first: NIL,
        last: NIL,
    };
}

const CHUNK: usize = 256;
/// 4096 slots.
const KEPT_CHUNKS: usize = 16;
const NIL: u32 = u32::MAX;
