//! A handle with credits of its own, which it spends without the clock and without the bucket.
//!
//! # State
//! One cell: the credits, and above them the requests granted by credits since they were last
//! counted. Each of those took a credit, so both are at most a batch.
//!
//! # Steps
//! - take: enough credits, nobody waits, not closed? Spend.
//! - else: somebody waits, or it is closed? All credits go back, first to those who wait. Then one
//!   swap of the bucket's word takes what is missing and new credits.
//! - drop: the batch is no longer set aside, and the credits are back, by one change under the
//!   lock (see `credits`).
//!
//! # Ordering
//! The cell is its thread's own. `open` is stored (Release) before the call that waits or closes
//! returns, and loaded (Acquire) before a credit is spent: whoever knows of that call finds the
//! bucket shut.

use core::cell::Cell;
use core::fmt;
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use super::core::Core;
use crate::error::{ConfigError, Denied};

/// A handle to a [`TokenBucket`](crate::TokenBucket) that takes tokens by the batch, as *credits*,
/// and spends them at the price of an addition.
///
/// Send, but not Sync: a thread, or a task, has its own.
///
/// The burst stays exact: a batch is set aside from it as long as the handle lives, so all the
/// others share a burst that is smaller by it. Credits are worth what tokens are. They are the
/// handle's own until it spends them, but for two cases: once somebody waits for the bucket, or it
/// is closed, the handle's next request gives them all back and is answered like anybody's.
/// Where the bucket is nearly empty a handle takes no more than it is asked for.
///
/// What is left goes back when it is dropped. A handle that is leaked (`mem::forget`) leaves its
/// batch set aside for ever.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::TokenBucket;
///
/// let bucket = TokenBucket::builder().rate("1000/s").burst(200).build()?;
/// let local = bucket.local(32)?;
/// local.try_acquire()?; // 1 token and 32 credits
/// local.try_acquire()?; // a credit
/// assert_eq!(local.credits(), 31);
///
/// drop(local);
/// assert!(bucket.available() >= 166);
/// assert!(bucket.local(101).is_err()); // more than half of the burst
/// # Ok(())
/// # }
/// ```
///
/// It cannot be shared by threads:
///
/// ```compile_fail
/// fn shared<T: Sync>(_: T) {}
/// let bucket = flow_ratelimit::TokenBucket::new("1/s", 100).unwrap();
/// shared(bucket.local(1).unwrap());
/// ```
pub struct LocalBucket<'a, C: Clock = DefaultClock> {
    core: &'a Core<C>,
    credits: Credits,
}

impl<'a, C: Clock> LocalBucket<'a, C> {
    pub(super) fn new(core: &'a Core<C>, batch: u32) -> Result<Self, ConfigError> {
        Ok(Self {
            core,
            credits: Credits::new(core, batch)?,
        })
    }

    /// Takes one token now, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// A nanosecond; once per batch, and where tokens are scarce, that of the bucket's own
    /// `try_acquire`.
    #[inline]
    pub fn try_acquire(&self) -> Result<(), Denied> {
        self.credits.take(self.core, 1)
    }

    /// Takes `n` tokens now, or says why not. More than a batch at once is possible.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// That of [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_n(&self, n: u64) -> Result<(), Denied> {
        self.credits.take(self.core, n)
    }

    /// The credits it holds.
    pub fn credits(&self) -> u64 {
        self.credits.left()
    }

    /// The most it holds: what is set aside for it.
    pub fn batch(&self) -> u32 {
        self.credits.batch
    }
}

impl<C: Clock> Drop for LocalBucket<'_, C> {
    /// Gives the credits back.
    #[inline]
    fn drop(&mut self) {
        self.credits.hand_back(self.core);
    }
}

impl<C: Clock> fmt::Debug for LocalBucket<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.credits.fmt(f, "LocalBucket")
    }
}

/// A [`LocalBucket`] that keeps its bucket alive.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::TokenBucket;
///
/// let bucket = TokenBucket::builder().rate("1000/s").burst(200).build()?;
/// let mine = bucket.local_owned(32)?;
/// std::thread::spawn(move || mine.try_acquire()).join().expect("no panic")?;
/// # Ok(())
/// # }
/// ```
pub struct OwnedLocalBucket<C: Clock = DefaultClock> {
    core: Arc<Core<C>>,
    credits: Credits,
}

impl<C: Clock> OwnedLocalBucket<C> {
    pub(super) fn new(core: Arc<Core<C>>, batch: u32) -> Result<Self, ConfigError> {
        let credits = Credits::new(&core, batch)?;
        Ok(Self { core, credits })
    }

    /// Takes one token now, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// That of [`LocalBucket::try_acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Result<(), Denied> {
        self.credits.take(&self.core, 1)
    }

    /// Takes `n` tokens now, or says why not. More than a batch at once is possible.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    ///
    /// # Cost
    /// That of [`LocalBucket::try_acquire`].
    #[inline]
    pub fn try_acquire_n(&self, n: u64) -> Result<(), Denied> {
        self.credits.take(&self.core, n)
    }

    /// The credits it holds.
    pub fn credits(&self) -> u64 {
        self.credits.left()
    }

    /// The most it holds: what is set aside for it.
    pub fn batch(&self) -> u32 {
        self.credits.batch
    }
}

impl<C: Clock> Drop for OwnedLocalBucket<C> {
    /// Gives the credits back.
    #[inline]
    fn drop(&mut self) {
        self.credits.hand_back(&self.core);
    }
}

impl<C: Clock> fmt::Debug for OwnedLocalBucket<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.credits.fmt(f, "OwnedLocalBucket")
    }
}

/// The credits of one handle.
struct Credits {
    batch: u32,
    /// Requests to be counted, times [`REQUEST`], and credits.
    cell: Cell<u64>,
}

impl Credits {
    fn new<C: Clock>(core: &Core<C>, batch: u32) -> Result<Self, ConfigError> {
        core.set_aside(batch.into())?;
        Ok(Self {
            batch,
            cell: Cell::new(0),
        })
    }

    /// The slow ways get the cell's value, not the cell: so a handle that one function keeps can
    /// have it in a register, where a request would else wait for the store of the last one.
    #[inline]
    fn take<C: Clock>(&self, core: &Core<C>, n: u64) -> Result<(), Denied> {
        let cell = self.cell.get();
        let is_open = core.is_open();
        // Between 1 and the credits.
        if is_open && n.wrapping_sub(1) < cell % REQUEST {
            self.cell.set(cell + REQUEST - n);
            return Ok(());
        }
        if !is_open {
            // Those who wait were first. None is spent twice, even by a waker that comes back here.
            let left = self.left();
            self.cell.set(cell - left);
            give_back(core, left);
        }
        let taken = take_more(core, self.batch, self.cell.get(), n);
        // What was to be counted is, whatever came of it.
        self.cell.set(self.left());
        // By its parts: as a whole it would be where the callee put it, and all answers in memory.
        let left = taken?;
        self.cell.set(left);
        Ok(())
    }

    fn left(&self) -> u64 {
        self.cell.get() % REQUEST
    }

    #[inline]
    fn hand_back<C: Clock>(&self, core: &Core<C>) {
        hand_back(core, self.batch, self.cell.get());
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("credits", &self.left())
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

#[cold]
#[inline(never)]
fn give_back<C: Clock>(core: &Core<C>, credits: u64) {
    core.refund_credits(credits);
}

/// Takes what is missing, and new credits: what is left then.
#[inline(never)]
fn take_more<C: Clock>(core: &Core<C>, batch: u32, cell: u64, n: u64) -> Result<u64, Denied> {
    let left = cell % REQUEST;
    let missing = n.saturating_sub(left);
    // The credits that it has are spent with it, so a whole batch has room. As much as it takes it
    // leaves to the others.
    let taken = core.decide_with(missing, |left| u64::from(batch).min(left / 2));
    core.count_granted(cell / REQUEST + u64::from(taken.is_ok()));
    if taken.is_err() {
        core.count(false);
    }
    match taken {
        // None are left, and none came, where others' turn ended just now.
        Ok((_, credits)) => Ok(left.saturating_sub(n).max(credits)),
        Err(Denied::ExceedsBurst { burst, .. }) => Err(Denied::exceeds_burst(n, burst)),
        Err(denied) => Err(denied),
    }
}

#[inline(never)]
fn hand_back<C: Clock>(core: &Core<C>, batch: u32, cell: u64) {
    core.count_granted(cell / REQUEST);
    core.hand_back(batch.into(), cell % REQUEST);
}

/// One request in the cell; credits, a u32 at the most, are below it.
const REQUEST: u64 = 1 << 32;
