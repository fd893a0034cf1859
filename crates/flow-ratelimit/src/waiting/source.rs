//! What those who wait are served from, and how: what the steps of waiting ask of a limiter.

use core::time::Duration;
use std::borrow::Cow;

use flow_rt::{Backoff, Handle, Instant};
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Queue;
use super::driver::Drives;
use crate::error::{AcquireError, Denied};
use crate::granted::Granted;
use crate::wakes::Wakes;

/// A limiter whose callers wait: its word with W in it, and its supply.
///
/// `queue` in these methods is the caller's, who holds its lock; none of them wakes anybody.
pub(crate) trait Source: Send + Sync + Sized {
    /// What stands under the lock beside the queue.
    type Supply: Send;

    /// The limiter's clock.
    fn now(&self) -> Instant;

    fn queue(&self) -> &Mutex<Queue<Self::Supply>>;

    fn rules(&self) -> &Rules;

    /// Which line of the queue its callers stand in: the only one, unless it shares the queue.
    fn line(&self) -> usize {
        0
    }

    /// How many wait, for those without the lock.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "events tell it"))]
    fn waiting(&self) -> &AtomicUsize;

    /// Whether it was closed, for those without the lock.
    fn closed(&self) -> &AtomicBool;

    /// Sets W: from here on nobody passes who takes tokens without the lock.
    fn shut(&self);

    /// Clears W, if nothing but those who wait needs it.
    fn open(&self, queue: &Queue<Self::Supply>);

    /// `n` tokens as the need of one who waits, if so many can ever be there.
    fn need(&self, queue: &Queue<Self::Supply>, n: u64) -> Result<u64, Denied>;

    /// The most tokens that are granted at once.
    fn most(&self, queue: &Queue<Self::Supply>) -> u64;

    /// Takes `n` tokens without waiting, if nobody else waits. Counts nothing.
    fn decide(&self, n: u64) -> Result<Granted, Denied>;

    /// What one is told who was granted just now.
    fn answer(&self, queue: &Queue<Self::Supply>, now: Instant) -> Granted;

    /// Grants from the head on whatever fits, as far as `wakes` has room.
    ///
    /// Whether it had no room for more: the caller comes back, or leaves it to a driver.
    fn pump(&self, queue: &mut Queue<Self::Supply>, now: Instant, wakes: &mut Wakes) -> bool;

    /// When the head can go; never, if nobody waits or nothing comes.
    fn head_at(&self, queue: &Queue<Self::Supply>, now: Instant) -> Instant;

    /// How long one would wait who needs so much and stands behind all who wait.
    fn wait_of(&self, queue: &Queue<Self::Supply>, need: u64, now: Instant) -> Duration;

    /// Stores what those who do not lock want to know.
    fn mirror(&self, queue: &Queue<Self::Supply>);

    /// Gives back what one needed who was granted it.
    fn give_need_back(&self, need: u64);

    /// Gives tokens back.
    fn give_tokens_back(&self, n: u64);

    /// Counts a decision.
    fn note_decision(&self, granted: bool);

    /// Before somebody comes to stand first.
    fn before_first(&self, _: &mut Queue<Self::Supply>, _: Instant) {}

    /// After tokens came back.
    fn note_supply(&self, _: &mut Queue<Self::Supply>, _: Instant) {}

    /// Has the head served by credits, if there are any.
    fn serve_by_credits(&self) {}
}

/// How callers wait, as the limiter was built.
pub(crate) struct Rules {
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) max_waiters: usize,
    pub(crate) catch_up: Duration,
    /// One delay, drawn anew for each wait.
    pub(crate) jitter: Option<Backoff>,
    pub(crate) runtime: Option<Handle>,
}

impl Rules {
    pub(crate) const fn new() -> Self {
        Self {
            name: None,
            max_waiters: usize::MAX,
            catch_up: DEFAULT_CATCH_UP,
            jitter: None,
            runtime: None,
        }
    }
}

/// What whoever holds the lock does for all who wait.
pub(crate) trait Serves: Source {
    /// Grants what fits now, however much it is.
    fn pump_all(&self, queue: &mut Queue<Self::Supply>, now: Instant, wakes: &mut Wakes) {
        wakes.widen();
        self.pump(queue, now, wakes);
    }

    /// After tokens came back: grants what fits now.
    #[cold]
    fn supply_rose(&self) {
        let mut wakes = Wakes::new();
        loop {
            let now = self.now();
            let more = {
                let mut queue = self.queue().lock();
                let more = self.pump(&mut queue, now, &mut wakes);
                self.note_supply(&mut queue, now);
                self.kick(&mut queue, now, &mut wakes);
                more
            };
            wakes.wake();
            if !more {
                return;
            }
        }
    }

    /// Its line became empty by other means than a grant.
    fn open_fast_path(&self, queue: &mut Queue<Self::Supply>, now: Instant, wakes: &mut Wakes) {
        self.open(queue);
        if queue.is_idle() {
            queue.wake_sleepers(now, wakes);
        }
    }

    /// Why the queue was left with nothing.
    fn why_closed(&self, queue: &Queue<Self::Supply>, n: u64) -> AcquireError {
        if queue.closed {
            AcquireError::Closed
        } else {
            AcquireError::ExceedsBurst {
                requested: n,
                burst: self.most(queue),
            }
        }
    }

    /// Lets nobody wait any more.
    fn close(&self) {
        let mut wakes = Wakes::new();
        let now = self.now();
        {
            let mut queue = self.queue().lock();
            let queue = &mut *queue;
            if queue.promise().is_some() {
                // What is due to a reservation is its own, though nobody has looked.
                self.pump_all(queue, now, &mut wakes);
            }
            queue.closed = true;
            // Who sees that it is closed finds it shut to credits.
            self.mirror(queue);
            // Before W: who sees W set must find out why.
            self.closed().store(true, Ordering::Release);
            self.shut();
            for line in queue.lines_mut() {
                line.close_all(wakes.all());
            }
            queue.wake_seats(&mut wakes);
            self.mirror(queue);
        }
        wakes.wake();
    }
}

impl<S: Source> Serves for S {}

pub(crate) fn saturated(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// Twice what tokio's timers are late, and room for the driver's quantum. Not for the time until
/// another runtime takes over: that would be a burst of 20 ms whenever the last one is late.
const DEFAULT_CATCH_UP: Duration = Duration::from_millis(4);
