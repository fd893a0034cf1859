//! The ring without its lines: nobody waits here, and nobody is waited for.
//!
//! # State
//! [`raw`](super::raw), never closed, with nothing promised, and as many places as slots: so each
//! push finds out by its slot alone whether it has room, and no end looks at the other.
//!
//! # Invariants
//! Those of `raw`. What a user may rely on, beside:
//! 1. [`pops`](BareRing::pops) rises in the step that takes an item. Whoever has seen that its room
//!    was given back by it pushes, and at the most waits for the item to be moved out, which is a
//!    few instructions.
//! 2. A push ends with a SeqCst read-modify-write that publishes, and [`has_item`] looks at what it
//!    writes. So a user whose push is followed by a SeqCst load needs no fence between, if who
//!    writes what is loaded has a SeqCst fence before it calls `has_item`, or `pop`: one of the two
//!    sees the other.
//! 3. A pop takes by a SeqCst read-modify-write, of what `pops` loads, likewise.
//!
//! # Ordering
//! That of `raw`; under loom, which takes SeqCst accesses for AcqRel, both ends have a fence.
//!
//! [`has_item`]: BareRing::has_item

use core::fmt;

use super::raw::{Raw, Share};
use crate::sync::fence_after_rmw;

/// A bounded queue of many senders and many receivers, lock-free, for whoever keeps count of its
/// room and of who waits: the core of a pool. [`Ring`](super::Ring) does both by itself.
///
/// ```
/// let ring = flow_sync::BareRing::new(2).expect("a small capacity");
/// assert_eq!((ring.push(1), ring.push(2), ring.push(3)), (Ok(()), Ok(()), Err(3)));
/// assert_eq!((ring.pop(), ring.pops()), (Some(1), 1));
/// assert!(ring.has_item());
/// ```
pub struct BareRing<T>(Raw<T, true>);

impl<T> BareRing<T> {
    /// A ring of that capacity, rounded up to a power of two, whose memory is taken now; `None` for
    /// a capacity of 0 or above 2^31.
    pub fn new(capacity: usize) -> Option<Self> {
        (1..=1 << 31)
            .contains(&capacity)
            .then(|| Self(Raw::new(capacity.next_power_of_two())))
    }

    /// Appends an item.
    ///
    /// # Errors
    /// The ring is full; the item comes back. It never is for somebody who knows of room: by
    /// [`pops`](Self::pops), or from somebody who looked there.
    ///
    /// # Cost
    /// Two RMWs, the second of which makes a fence after it needless.
    #[allow(
        clippy::inline_always,
        reason = "an item of a few words moves in registers then, and not through memory"
    )]
    #[inline(always)]
    pub fn push(&self, item: T) -> Result<(), T> {
        self.0
            .push_plainly(item)
            .or_else(|item| self.push_otherwise(item))?;
        fence_after_rmw();
        Ok(())
    }

    #[inline(never)]
    fn push_otherwise(&self, item: T) -> Result<(), T> {
        self.0.try_push(item).map_err(|(item, _)| item)
    }

    /// Takes the first item; `None` if there is none, or one that has been about to come for some
    /// microseconds: whoever pushes it will have pushed it after this.
    ///
    /// # Cost
    /// One RMW, or none if there is none.
    #[allow(clippy::inline_always, reason = "as `push`")]
    #[inline(always)]
    pub fn pop(&self) -> Option<T> {
        let popped = match self.0.pop_plainly() {
            Some(item) => item,
            None => self.pop_otherwise()?,
        };
        fence_after_rmw();
        Some(popped)
    }

    #[inline(never)]
    fn pop_otherwise(&self) -> Option<T> {
        let share = Share {
            aside: 0,
            own: false,
        };
        self.0.try_pop(share).ok()
    }

    /// Whether there is a first item, and its push has come so far that it can be taken.
    #[inline]
    pub fn has_item(&self) -> bool {
        self.0.is_published()
    }

    /// How many items are in it, as of one instant; those count that are being written.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no item is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items that were ever taken, modulo 2^48.
    pub fn pops(&self) -> u64 {
        self.0.popped()
    }
}

impl<T> fmt::Debug for BareRing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BareRing")
            .field("len", &self.len())
            .field("pops", &self.pops())
            .finish_non_exhaustive()
    }
}
