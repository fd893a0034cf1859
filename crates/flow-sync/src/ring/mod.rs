//! A bounded queue of many senders and many receivers that can be closed, with first come first
//! served among those who wait at either end.
//!
//! # State
//! [`raw`]: positions, slots, closed, promises; lock-free. Per end [`waiters`]: `state`, an atomic
//! `granted | waiting`, and a short mutex over a [`WaitList`](crate::WaitList), which only those
//! take who wait, or who find that somebody does.
//!
//! # Invariants
//! Those of `raw`, and:
//! 1. Somebody waits to send only if no room is unpromised, or all promises are out that there are;
//!    somebody waits to receive only if no more items are claimed than receivers are granted, and
//!    the ring is not drained. Both may be broken inside of an operation that is about to
//!    grant.
//! 2. Grants go in the order of the list. A place is left by its owner only.
//! 3. A granted sender owns one promise: it pushes, or withdraws it. A close takes the promises
//!    of those back that have not come for them. Permits are promises whose owners have come.
//! 4. A granted receiver owns one claimed item, whichever comes first; newcomers leave as many
//!    as are granted. One that read `state` before it rose may take an item all the same, and an
//!    item may be claimed and not be there yet; then the receiver that finds none goes back to its
//!    place and is the first again.
//! 5. Whoever takes, claims, withdraws or closes looks at those who wait on the end that this
//!    concerns **afterwards**, when the slot is free or the item there; whoever has begun to wait
//!    looks at `head` and `tail` afterwards.
//! 6. No waker is cloned, woken or dropped under a lock.
//!
//! # Steps
//! push: somebody waits? full. Claim, fill, publish; receivers wait? grant receivers.
//! pop: somebody waits? empty. Take, free; senders wait? grant senders.
//! plainly, both of them: the same, without a second try. Whatever is in the way, they have done
//! nothing and say nothing; it is the whole step that answers.
//! grant (locked): while the list is not empty and room can be promised (an item is claimed beyond
//! those of the granted, or the ring is drained): grant the first. Show; unlock; wake.
//! park: lock; join the list; **show; grant**, which may serve an earlier one: right.
//! poll of a granted sender: leave; use the promise. Of a granted receiver, under the lock: take;
//! leave; grant, as what was taken may have been the last of a closed ring. Nothing there
//! (invariant 4): back to its place, show, grant.
//! dropped while waiting: leave. Granted: withdraw and grant the next; on a closed ring the
//! promise withdrawn may have been the last thing that receivers waited for.
//! close: set closed; send the senders away; grant receivers.
//!
//! # Ordering
//! Each end has a pair of Dekker's: one side writes `tail` or `head` and then looks at `state`, the
//! other writes `state` and then looks at `tail` or `head`; one of them sees the other. Each side is
//! a SeqCst RMW that it needs anyway and a SeqCst load: no fence, which costs as much as two of
//! them. Loom takes SeqCst accesses for AcqRel, so under loom alone there are fences
//! ([`fence_after_rmw`]).
//! Of a sender it is the claim that is seen, not the publication: that would be another RMW for
//! each item. So whoever parks between the two is granted what is not there yet: it wakes itself,
//! and is polled again, until it is. The sender is in the middle of a few moves meanwhile
//! (invariant 4 of `raw`).
//! What waits on a drained ring is found by whoever made it so: the close, the last promise, or
//! the one who took the last item, which, if others wait, was granted and grants as it leaves.
//!
//! # Fairness
//! Strict, from the poll that parks: nobody who comes later gets room, or an item, before one who
//! waits, but for a newcomer at either end that read `state` before it rose: it glances and sees
//! nobody; another parks; a third frees, or publishes; the newcomer claims, or takes, before the
//! third has granted. (At the receivers' end after that, too: invariant 4.)
//!
//! A sender's first poll only yields, and so does a receiver's unless it is told not to: it lets
//! others run once and tries again as a newcomer. Without that a fast pair parks for every item,
//! and a wake-up across threads costs a thousand times what a push does. A sender yields again as
//! long as others have pushed meanwhile (there was room; the next may be its own), 8 times at most:
//! then it wants its place in the line. Behind a slow receiver it parks at its second poll.
//!
//! # Rests
//! Where several take, receivers that keep up are right behind the senders on other cores, and
//! each slot's line changes cores for an item or two: none of them finds the ring empty for long,
//! so none parks. One that has taken a run and finds nothing [rests](Ring::rest) before it looks
//! again. The senders fill a quarter of the ring meanwhile, and the next run is taken at the speed
//! of one core. It is a pause and nothing else: no step, and no wake-up, depends on it.
//!
//! # Source
//! Vyukov's bounded MPMC queue. Room promised instead of announced: tokio's batch semaphore; the
//! promises in the word that claims: so a granted sender cannot fail, and permits are the same.

mod bare;
mod raw;
mod sole;
mod wait;
mod waiters;

use core::fmt;
use std::collections::VecDeque;

pub use self::bare::BareRing;
pub use self::raw::Exclusive;
use self::raw::{Raw, Share};
use self::sole::Sole;
use self::waiters::Waiters;
use crate::padded::CachePadded;
use crate::sync::atomic::AtomicU64;
use crate::sync::fence_after_rmw;
use crate::wait_list::Ticket;

/// A bounded queue between threads and tasks: the core of a channel.
///
/// It counts nobody: closing it is up to its user. Items that are still in it when it is dropped
/// are dropped with it.
///
/// ```
/// use flow_sync::{PopError, PushError, Ring};
///
/// let ring = Ring::new(2).expect("a small capacity");
/// ring.try_push(1).unwrap();
/// ring.try_promise().unwrap();
/// assert_eq!(ring.try_push(2), Err((2, PushError::Full)));
/// ring.push_promised(3).unwrap();
/// ring.close();
/// assert_eq!((ring.try_pop(), ring.try_pop()), (Ok(1), Ok(3)));
/// assert_eq!(ring.try_pop(), Err(PopError::Closed));
/// ```
pub struct Ring<T> {
    raw: Raw<T>,
    senders: Waiters,
    receivers: Waiters,
    /// For a ring that one receives from: instead of the receivers' line.
    sole: Option<Sole>,
    /// How many items had been taken when a receiver last [rested](Ring::rest); more after a rest in
    /// vain.
    rested: CachePadded<AtomicU64>,
}

/// Where one send or receive is in its wait. Give it back with [`Ring::leave_push`] or
/// [`Ring::leave_pop`] when the wait ends early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "queues beside the ring wait in the same three steps"
)]
pub enum Turn {
    /// It has not had to wait yet.
    #[default]
    New,
    /// It has let others run, and has no place in the line yet.
    Yielded {
        /// How often.
        times: u8,
        /// What had been pushed when it last found no room. (Receivers yield once.)
        pushes: u64,
    },
    /// It stands in the line.
    Parked(Ticket),
    /// It is the [one receiver](Ring::with_one_receiver), and has left its waker.
    Asleep,
}

impl Turn {
    /// Whether its waker has been left: whoever waits for time as well must have that woken too.
    #[must_use]
    pub const fn is_parked(&self) -> bool {
        matches!(self, Self::Parked(_) | Self::Asleep)
    }

    /// The turn of one that has yielded for the first time and does so only once.
    pub const YIELDED: Self = Self::Yielded {
        times: 1,
        pushes: 0,
    };
}

/// Why an item was not pushed. It comes back beside this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "channels answer both of them")]
pub enum PushError {
    /// There is no room, or what there is is promised, or somebody waits for it: for room, or for
    /// one of 32,767 promises that are all out.
    Full,
    /// Intake has stopped.
    Closed,
}

/// Why there is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "channels answer both of them")]
pub enum PopError {
    /// Nothing is there, or what there is belongs to receivers that wait.
    Empty,
    /// Intake has stopped, nothing is promised, and everything was taken.
    Closed,
}

impl<T> Ring<T> {
    /// A ring of `capacity` items, whose memory is taken now; `None` for a capacity of 0 or above
    /// 2^31.
    pub fn new(capacity: usize) -> Option<Self> {
        Self::build(capacity, None)
    }

    /// The same for one receiver, which waits at less cost: there is no line to keep in order.
    ///
    /// Who receives from it at the same time as another may sleep for ever, and items go to
    /// either.
    pub fn with_one_receiver(capacity: usize) -> Option<Self> {
        Self::build(capacity, Some(Sole::default()))
    }

    fn build(capacity: usize, sole: Option<Sole>) -> Option<Self> {
        (1..=1 << 31).contains(&capacity).then(|| Self {
            raw: Raw::new(capacity),
            senders: Waiters::new(),
            receivers: Waiters::new(),
            sole,
            rested: CachePadded::new(AtomicU64::new(0)),
        })
    }

    /// The memory that the slots of such a ring take, in bytes.
    pub fn bytes(capacity: usize) -> usize {
        Raw::<T>::bytes(capacity)
    }

    /// How many items it holds.
    pub fn capacity(&self) -> usize {
        self.raw.capacity()
    }

    /// Pushes an item if there is room that nobody waits for.
    ///
    /// # Errors
    /// The item comes back.
    ///
    /// # Cost
    /// One RMW.
    #[inline]
    pub fn try_push(&self, item: T) -> Result<(), (T, PushError)> {
        self.push_plainly(item)
            .or_else(|item| self.try_push_otherwise(item))
    }

    /// Pushes an item as almost every push goes: nobody waits, there is room, and no race for it.
    /// It is what to inline where a push has to be short.
    ///
    /// # Errors
    /// The item comes back; [`try_push`](Self::try_push) may push it all the same, or says what
    /// the matter is.
    ///
    /// # Cost
    /// One RMW.
    #[inline]
    pub fn push_plainly(&self, item: T) -> Result<(), T> {
        if self.senders.glance().0 > 0 {
            return Err(item);
        }
        self.raw.push_plainly(item)?;
        self.pushed();
        Ok(())
    }

    #[inline(never)]
    fn try_push_otherwise(&self, item: T) -> Result<(), (T, PushError)> {
        match self.newcomer_may_push() {
            Ok(()) => self.raw.try_push(item)?,
            Err(why) => return Err((item, why)),
        }
        self.pushed();
        Ok(())
    }

    /// Pushes as many items from the front of `items` as there is room for that nobody waits
    /// for; they lie in the ring in one piece. `Ok` is how many: 0 only of none.
    pub fn try_push_many(&self, items: &mut VecDeque<T>) -> Result<usize, PushError> {
        if items.is_empty() {
            return Ok(0);
        }
        self.newcomer_may_push()?;
        let pushed = self.raw.push_many(items)?;
        self.pushed();
        Ok(pushed)
    }

    /// Promises room for one item, which [`push_promised`](Self::push_promised) uses and
    /// [`withdraw`](Self::withdraw) gives back. It may be used after the ring was closed too:
    /// the ring is not drained before.
    ///
    /// # Errors
    /// No room that nobody waits for, or 32,767 promises are out; closed.
    pub fn try_promise(&self) -> Result<(), PushError> {
        self.newcomer_may_push()?;
        self.raw.try_promise()
    }

    /// Pushes an item into the room that the caller was promised.
    ///
    /// # Errors
    /// No promise is out; the item comes back. Whose a promise is the ring does not know: the
    /// caller uses one of its own, or somebody else finds that there is none.
    pub fn push_promised(&self, item: T) -> Result<(), T> {
        let saturated = self.raw.push_promised(item)?;
        self.pushed();
        if saturated {
            // Whoever waits may have waited for a promise rather than for room.
            self.grant_senders(self.senders.lock());
        }
        Ok(())
    }

    /// Gives back a promise that was not used. Does nothing if none is out.
    pub fn withdraw(&self) {
        if self.raw.withdraw(1) {
            self.serve_receivers();
            return;
        }
        self.popped();
    }

    /// Takes the first item, if it belongs to nobody who waits.
    ///
    /// # Cost
    /// One RMW.
    #[inline]
    pub fn try_pop(&self) -> Result<T, PopError> {
        match self.pop_plainly() {
            Some(item) => Ok(item),
            None => self.try_pop_otherwise(),
        }
    }

    /// Takes the first item as almost every pop goes: it is there, nobody waits, and there is no
    /// race for it. It is what to inline where a pop has to be short.
    ///
    /// `None` says nothing: [`try_pop`](Self::try_pop) may take an item all the same.
    ///
    /// # Cost
    /// One RMW.
    #[inline]
    pub fn pop_plainly(&self) -> Option<T> {
        if !self.receivers.is_idle() {
            return self.pop_beside_granted();
        }
        let item = self.raw.pop_plainly()?;
        self.popped();
        Some(item)
    }

    /// The same, while items are set aside for others.
    #[inline(never)]
    fn pop_beside_granted(&self) -> Option<T> {
        let (0, granted) = self.receivers.glance() else {
            return None;
        };
        let item = self.raw.pop_beside(u64::from(granted))?;
        self.popped();
        Some(item)
    }

    #[inline(never)]
    fn try_pop_otherwise(&self) -> Result<T, PopError> {
        let share = self.newcomer_may_pop()?;
        let item = self.raw.try_pop(share)?;
        self.popped();
        Ok(item)
    }

    /// Appends up to `max` items that belong to nobody who waits to `batch`; they lay in the ring
    /// in one piece. `Ok` is how many: 0 only for a `max` of 0.
    pub fn try_pop_many(&self, batch: &mut Vec<T>, max: usize) -> Result<usize, PopError> {
        if max == 0 {
            return Ok(0);
        }
        let share = self.newcomer_may_pop()?;
        let popped = self.raw.pop_many(batch, max, share)?;
        self.popped();
        Ok(popped)
    }

    /// Takes the first item whoever it belongs to, waiting for one that is being written: to empty
    /// a ring that nobody receives from any more. `None` if nothing is left now.
    pub fn pop_claimed(&self) -> Option<T> {
        let popped = self.raw.pop_claimed()?;
        self.popped();
        Some(popped)
    }

    /// Whether intake has stopped.
    pub fn is_closed(&self) -> bool {
        self.raw.is_closed()
    }

    /// Whether intake has stopped, nothing is promised, and everything was taken: for ever.
    pub fn is_drained(&self) -> bool {
        self.raw.is_drained()
    }

    /// How many items are in it, as of one instant; those count that are being written.
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether no item is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items that were ever pushed, modulo 2^48.
    pub fn pushes(&self) -> u64 {
        self.raw.pushed()
    }

    /// Items that were ever taken, modulo 2^48.
    pub fn pops(&self) -> u64 {
        self.raw.popped()
    }

    fn newcomer_may_push(&self) -> Result<(), PushError> {
        let (waiting, _) = self.senders.glance();
        if waiting == 0 {
            Ok(())
        } else if self.is_closed() {
            Err(PushError::Closed)
        } else {
            Err(PushError::Full)
        }
    }

    fn newcomer_may_pop(&self) -> Result<Share, PopError> {
        if self.sole.is_some() {
            return Ok(sole::ALL);
        }
        let (waiting, granted) = self.receivers.glance();
        if waiting == 0 {
            Ok(Share {
                aside: u64::from(granted),
                own: false,
            })
        } else if self.is_drained() {
            Err(PopError::Closed)
        } else {
            Err(PopError::Empty)
        }
    }

    /// After a claim, once its item is there.
    #[inline]
    fn pushed(&self) {
        fence_after_rmw();
        if self.receivers.any() {
            self.serve_receivers();
        }
    }

    /// After room was made.
    #[inline]
    fn popped(&self) {
        fence_after_rmw();
        if self.senders.any() {
            self.lock_and_grant_senders();
        }
    }

    /// After what receivers may wait for.
    #[cold]
    fn serve_receivers(&self) {
        match &self.sole {
            Some(sole) => self.wake_sole(sole),
            None => self.grant_receivers(self.receivers.lock()),
        }
    }

    #[cold]
    fn lock_and_grant_senders(&self) {
        self.grant_senders(self.senders.lock());
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("promised", &self.raw.promised())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
