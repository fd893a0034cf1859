//! The timer core: a hierarchical wheel over a slab, with exact deadlines and a total order.
//!
//! # State
//! A *tick* is 2^20 ns. Eight levels of 64 slots cover every tick of a `u64` of nanoseconds, so
//! there is no overflow list. A slot is a plain `Vec` of entries; an entry names a slab cell and
//! carries the cell's `seq`, so an entry whose cell has moved on is *stale*: a cancelled timer
//! costs nothing but its entry until the slot is swept. `near` holds the entries whose tick has
//! begun, ordered by (deadline, order, seq).
//!
//! # Invariants
//! 1. An entry of tick `t > self.tick` lies at the level of the highest six-bit digit in which
//!    `t` and `self.tick` differ, in the slot of its own digit there. All higher digits are
//!    equal. So its place follows from its deadline alone, and a lower level is always due
//!    before a higher one.
//! 2. Every live timer of a tick `<= self.tick` has its entry in `near`.
//! 3. `slot.min` is the least deadline in the slot, unless `slot.min_gone`; then it is less.
//! 4. Stale entries never outnumber live ones by more than `SWEEP_FLOOR` in any slot or in
//!    `near`: entries stay within twice what is live, and a constant. So do the cells, once the
//!    owner has had time to `tidy` up.
//! 5. A place in `free` that the slab has grown too short for is none; the slab grows only when
//!    `free` is empty.
//!
//! # Cost
//! Insert and cancel O(1) amortised (O(log n) among timers of one tick); each timer is moved down
//! at most once per level, and timers of one tick by one move from whichever level, since time
//! jumps to the least deadline of the slot that it comes to. A clock that was far ahead and has been
//! set back leaves `tick` ahead: until it is there again, all timers by it are `near`, at O(log n). `next_deadline` reads one slot's
//! cached minimum; it looks through that slot only after the earliest timer of all was cancelled.
//!
//! # Source
//! Varghese and Lauck's hierarchical wheels, with tokio's occupancy bitmaps and a queue for the
//! tick in progress, which makes deadlines exact where tokio rounds to the tick.

mod near;
#[cfg(test)]
mod tests;

use near::{Near, Nearest};

/// Nanoseconds per tick, as a shift.
const TICK_SHIFT: u32 = 20;
/// Bits per level: 64 slots.
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
/// 8 x 6 bits of ticks and 20 bits within one: all 64.
const LEVELS: usize = 8;
/// So many stale entries are left alone.
const SWEEP_FLOOR: usize = 32;
/// So many free cells are: 40 KB.
const TIDY_FLOOR: usize = 1_024;

/// Names one timer, never another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) seq: u64,
}

/// Timers in the order of (deadline, order, insertion). One owner, no locks.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    cells: Vec<Cell<T>>,
    free: Vec<u32>,
    slots: Box<[Slot]>,
    /// Which slots of each level hold entries.
    occupied: [u64; LEVELS],
    near: Nearest,
    near_stale: usize,
    /// The memory of a slot that was emptied, for the next one to be filled; no more of it than is
    /// live.
    spare: Vec<Entry>,
    tick: u64,
    next_seq: u64,
    live: usize,
}

#[derive(Debug)]
struct Cell<T> {
    /// The seq of the timer that lives here, or lived here last.
    seq: u64,
    deadline: u64,
    order: u64,
    value: Option<T>,
}

#[derive(Debug, Clone)]
struct Slot {
    entries: Vec<Entry>,
    stale: usize,
    min: u64,
    min_gone: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: u64,
    seq: u64,
    index: u32,
}

impl<T> Wheel<T> {
    /// An empty wheel whose time is `now`, in nanoseconds.
    pub(crate) fn new(now: u64) -> Self {
        let slot = Slot {
            entries: Vec::new(),
            stale: 0,
            min: u64::MAX,
            min_gone: false,
        };
        Self {
            cells: Vec::new(),
            free: Vec::new(),
            slots: vec![slot; LEVELS * SLOTS].into_boxed_slice(),
            occupied: [0; LEVELS],
            near: Nearest::default(),
            near_stale: 0,
            spare: Vec::new(),
            tick: now >> TICK_SHIFT,
            next_seq: 0,
            live: 0,
        }
    }

    /// Timers that neither fired nor were cancelled.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Adds a timer; `order` decides among equal deadlines, then the order of insertion.
    pub(crate) fn insert(&mut self, deadline: u64, order: u64, value: T) -> Key {
        let seq = self.next_seq;
        self.next_seq += 1;
        let cell = Cell {
            seq,
            deadline,
            order,
            value: Some(value),
        };
        let index = if let Some(index) = self.free_cell() {
            self.cells[index as usize] = cell;
            index
        } else {
            self.cells.push(cell);
            // A slab of 2^32 cells would need more than 100 GB before this could wrap.
            (self.cells.len() - 1) as u32
        };
        self.live += 1;
        self.place(Entry {
            deadline,
            seq,
            index,
        });
        Key { index, seq }
    }

    /// Takes a timer out; `None` if it fired or was cancelled before.
    pub(crate) fn cancel(&mut self, key: Key) -> Option<T> {
        let cell = self.cells.get_mut(key.index as usize)?;
        if cell.seq != key.seq {
            return None;
        }
        let value = cell.value.take()?;
        let deadline = cell.deadline;
        self.release(key.index);
        if self.live == 0 {
            // No entry is left to be stale.
            return Some(value);
        }
        self.has_gone_stale(deadline);
        Some(value)
    }

    /// Counts the entry of a timer that is not in its cell any more.
    fn has_gone_stale(&mut self, deadline: u64) {
        match self.position(deadline) {
            None => {
                self.near_stale += 1;
                if self.near_stale > SWEEP_FLOOR && self.near_stale * 2 > self.near.len() {
                    self.sweep_near();
                }
            }
            Some((level, digit)) => {
                let slot = &mut self.slots[level * SLOTS + digit];
                slot.stale += 1;
                slot.min_gone |= slot.min == deadline;
                if slot.stale > SWEEP_FLOOR && slot.stale * 2 > slot.entries.len() {
                    self.sweep(level, digit);
                }
            }
        }
    }

    /// A cell to be used again.
    fn free_cell(&mut self) -> Option<u32> {
        loop {
            let index = self.free.pop()?;
            if (index as usize) < self.cells.len() {
                return Some(index);
            }
        }
    }

    /// Whether more than half of the cells, and a constant, are free.
    pub(crate) fn is_sparse(&self) -> bool {
        self.cells.len() > 2 * self.live + TIDY_FLOOR
    }

    /// Gives memory back that is not needed for what is live, in steps: looks at `most` cells at the
    /// end of the slab, moves timers from there to free cells further ahead, and says where they are
    /// now. True if there is more to do.
    pub(crate) fn tidy(&mut self, most: usize, mut moved: impl FnMut(&T, u32)) -> bool {
        for _ in 0..most {
            if !self.is_sparse() {
                break;
            }
            let Some(cell) = self.cells.pop() else { break };
            let Some(value) = &cell.value else { continue };
            // There are more free cells than live ones.
            let Some(index) = self.free_cell() else { break };
            moved(value, index);
            let (deadline, seq) = (cell.deadline, cell.seq);
            self.cells[index as usize] = cell;
            self.has_gone_stale(deadline);
            self.place(Entry {
                deadline,
                seq,
                index,
            });
        }
        if self.is_sparse() {
            return true;
        }
        let len = self.cells.len();
        if self.cells.capacity() > 2 * len + TIDY_FLOOR {
            self.cells.shrink_to(len + len / 2);
            self.free.retain(|&index| (index as usize) < len);
            self.free.shrink_to(len);
        }
        if self.spare.capacity() > self.live + TIDY_FLOOR {
            self.spare = Vec::new();
        }
        self.near.shrink(TIDY_FLOOR);
        false
    }

    /// Takes a timer out by its cell alone, if it is the one that is meant; `None` if it fired or was
    /// cancelled before.
    pub(crate) fn cancel_at(&mut self, index: u32, is_meant: impl FnOnce(&T) -> bool) -> Option<T> {
        let cell = self.cells.get(index as usize)?;
        let seq = cell.seq;
        if !cell.value.as_ref().is_some_and(is_meant) {
            return None;
        }
        self.cancel(Key { index, seq })
    }

    /// The earliest deadline; `None` without timers.
    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        loop {
            self.drop_stale_near();
            if let Some(near) = self.near.peek() {
                return Some(near.deadline);
            }
            let (level, digit) = self.first_occupied()?;
            let slot = &self.slots[level * SLOTS + digit];
            if !slot.min_gone {
                return Some(slot.min);
            }
            self.sweep(level, digit);
        }
    }

    /// Takes the first timer due at `now`, with its deadline.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<(u64, T)> {
        loop {
            self.drop_stale_near();
            if let Some(near) = self.near.peek()
                && near.deadline <= now
            {
                self.near.pop();
                let value = self.cells[near.index as usize].value.take();
                self.release(near.index);
                // Not stale, so it has its value: the loop runs once.
                if let Some(value) = value {
                    return Some((near.deadline, value));
                }
            } else if !self.advance(now >> TICK_SHIFT) {
                return None;
            }
        }
    }

    /// Moves time into the first occupied slot that begins by `to`, to its least deadline if that
    /// is before `to`; false, with time at `to`, if there is none.
    fn advance(&mut self, to: u64) -> bool {
        if let Some((level, digit)) = self.first_occupied() {
            let start = self.start_of(level, digit);
            if start <= to {
                // Nothing is due before that, since the slot is the first one; and all that lies
                // elsewhere differs from the new tick in the same digit as from the slot's start.
                let least = self.slots[level * SLOTS + digit].min >> TICK_SHIFT;
                self.tick = least.clamp(start, to);
                self.open(level, digit);
                return true;
            }
        }
        // Nothing begins in between, so invariant 1 holds for the new tick as well.
        self.tick = self.tick.max(to);
        false
    }

    /// Empties a slot whose first tick has begun: its entries go to lower levels or to `near`.
    fn open(&mut self, level: usize, digit: usize) {
        let slot = &mut self.slots[level * SLOTS + digit];
        let spare = core::mem::take(&mut self.spare);
        let mut entries = core::mem::replace(&mut slot.entries, spare);
        slot.reset();
        self.occupied[level] &= !(1 << digit);
        // Those of the tick that time has jumped to are the first of the slot: all of them at once.
        let (cells, tick) = (&self.cells, self.tick);
        let mut begun = 0;
        let now = entries
            .iter()
            .filter(|entry| entry.deadline >> TICK_SHIFT <= tick);
        self.near.extend(now.filter_map(|&entry| {
            begun += 1;
            let cell = cells.get(entry.index as usize)?;
            cell.is_of(entry.seq).then(|| entry.near(cell.order))
        }));
        if begun < entries.len() {
            for entry in entries.drain(..) {
                if entry.deadline >> TICK_SHIFT > tick && self.is_live(entry) {
                    self.place(entry);
                }
            }
        }
        entries.clear();
        if entries.capacity() <= self.live {
            self.spare = entries;
        }
    }

    fn place(&mut self, entry: Entry) {
        match self.position(entry.deadline) {
            None => {
                let order = self.cells[entry.index as usize].order;
                self.near.push(entry.near(order));
            }
            Some((level, digit)) => {
                self.occupied[level] |= 1 << digit;
                let slot = &mut self.slots[level * SLOTS + digit];
                slot.entries.push(entry);
                if entry.deadline <= slot.min {
                    slot.min = entry.deadline;
                    slot.min_gone = false;
                }
            }
        }
    }

    /// Level and slot of a deadline by invariant 1; `None` if it belongs to `near`.
    fn position(&self, deadline: u64) -> Option<(usize, usize)> {
        let tick = deadline >> TICK_SHIFT;
        if tick <= self.tick {
            return None;
        }
        let level = (tick ^ self.tick).ilog2() / LEVEL_BITS;
        let digit = (tick >> (level * LEVEL_BITS)) as usize % SLOTS;
        Some((level as usize, digit))
    }

    /// The occupied slot that is due first: the first one of the lowest level.
    fn first_occupied(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick of a slot that lies ahead.
    fn start_of(&self, level: usize, digit: usize) -> u64 {
        let shift = level as u32 * LEVEL_BITS;
        let above = shift + LEVEL_BITS;
        // `above` is 48 at the most, so both shifts are in range.
        ((self.tick >> above) << above) | ((digit as u64) << shift)
    }

    fn is_live(&self, entry: Entry) -> bool {
        is_live(&self.cells, entry.index, entry.seq)
    }

    fn release(&mut self, index: u32) {
        self.live -= 1;
        self.free.push(index);
        if self.live == 0 {
            // The memory of a burst goes back. Stale entries name cells that are gone, so all go;
            // `next_seq` goes on, so an old key matches no new cell.
            self.cells.clear();
            self.cells.shrink_to(SLOTS);
            self.free.clear();
            self.free.shrink_to(SLOTS);
            self.clear_entries();
        }
    }

    fn clear_entries(&mut self) {
        for level in 0..LEVELS {
            while self.occupied[level] != 0 {
                let digit = self.occupied[level].trailing_zeros() as usize;
                self.occupied[level] &= !(1 << digit);
                let slot = &mut self.slots[level * SLOTS + digit];
                slot.entries = Vec::new();
                slot.reset();
            }
        }
        self.spare = Vec::new();
        self.near.clear(SLOTS);
        self.near_stale = 0;
    }

    /// Drops a slot's stale entries and finds its minimum.
    fn sweep(&mut self, level: usize, digit: usize) {
        let slot = &mut self.slots[level * SLOTS + digit];
        let cells = &self.cells;
        slot.entries
            .retain(|entry| is_live(cells, entry.index, entry.seq));
        slot.entries.shrink_to(slot.entries.len() * 2);
        let min = slot.entries.iter().map(|entry| entry.deadline).min();
        slot.reset();
        match min {
            Some(min) => slot.min = min,
            None => self.occupied[level] &= !(1 << digit),
        }
    }

    fn sweep_near(&mut self) {
        let cells = &self.cells;
        self.near
            .retain(|near| is_live(cells, near.index, near.seq));
        self.near_stale = 0;
    }

    fn drop_stale_near(&mut self) {
        while let Some(near) = self.near.peek() {
            if is_live(&self.cells, near.index, near.seq) {
                break;
            }
            self.near.pop();
            self.near_stale -= 1;
        }
    }
}

/// Whether that timer lives in that cell, if there is such a cell.
#[inline]
fn is_live<T>(cells: &[Cell<T>], index: u32, seq: u64) -> bool {
    cells
        .get(index as usize)
        .is_some_and(|cell| cell.is_of(seq))
}

impl<T> Cell<T> {
    /// Whether that timer lives here.
    #[inline]
    fn is_of(&self, seq: u64) -> bool {
        self.seq == seq && self.value.is_some()
    }
}

impl Entry {
    #[inline]
    fn near(self, order: u64) -> Near {
        Near {
            deadline: self.deadline,
            order,
            seq: self.seq,
            index: self.index,
        }
    }
}

impl Slot {
    /// Forgets what was known about entries that are gone.
    fn reset(&mut self) {
        self.stale = 0;
        self.min = u64::MAX;
        self.min_gone = false;
    }
}
