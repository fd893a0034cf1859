//! Waiting on a plain thread, which drives the queue itself: no runtime is needed for it.
//!
//! The thread runs the loop that a driver task runs elsewhere, with `park_timeout` for its timer.
//! All threads share one seat: a thousand of them would otherwise look at the clock by turns. The
//! thread that has it hands it over when its own wait ends; the others sleep until they are
//! granted or woken for that.
//!
//! The wakers in the list and in the seat unpark the thread. event-listener, which could park it
//! too, would be a second list beside ours, with a second lock to keep in step with it; an unpark
//! is one flag that outlives the race between the last look and the sleep.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use core::time::Duration;

use flow_rt::{Handle, Instant, block_on};
use flow_sync::Ticket;
use flow_sync::sync::thread;

use super::driver::{Drives, Step};
use super::queue::Home;
use super::source::Source;
use super::waiter::{Entered, Looked, Waits};
use crate::error::{AcquireBlockingError, AcquireError, Denied};
use crate::granted::Granted;
use crate::limiter::{Limiter, LimiterExt};
use crate::unpark;
use crate::wakes::Wakes;

/// Takes `n` tokens now or later, on the calling thread, and counts it.
pub(crate) fn take_blocking<L: Limiter, S: Source>(
    limiter: &L,
    source: &S,
    n: u64,
    limit: Option<Duration>,
) -> Result<Granted, AcquireBlockingError> {
    let result = match source.decide(n) {
        Ok(granted) => Ok(granted),
        // One look, and no sleep.
        Err(Denied::NotYet { .. }) if limit == Some(Duration::ZERO) => source
            .look_once(n)
            .map_err(AcquireBlockingError::NotGranted),
        Err(Denied::NotYet { .. }) => {
            // Real time that passes here would keep virtual time from moving: its runtime
            // drives, and counts.
            if Handle::current().is_ok_and(|runtime| runtime.is_stepped()) {
                return lend_thread(limiter, n, limit);
            }
            source.wait_on_thread(n, limit)
        }
        Err(denied) => Err(AcquireBlockingError::NotGranted(AcquireError::at_once(
            denied,
        ))),
    };
    source.note_decision(result.is_ok());
    result
}

fn lend_thread<L: Limiter>(
    limiter: &L,
    n: u64,
    limit: Option<Duration>,
) -> Result<Granted, AcquireBlockingError> {
    let waited = match limit {
        None => block_on(limiter.acquire_n(n)),
        Some(limit) => block_on(limiter.acquire_n_timeout(n, limit)),
    };
    match waited {
        Ok(result) => result.map_err(AcquireBlockingError::NotGranted),
        Err(refused) => Err(AcquireBlockingError::MustNotBlock(refused)),
    }
}

/// What a thread does that waits.
trait Sits: Source {
    /// Waits on the calling thread for `n` tokens that were not there at once.
    fn wait_on_thread(
        &self,
        n: u64,
        limit: Option<Duration>,
    ) -> Result<Granted, AcquireBlockingError> {
        // All of the wait is one poll: `block_on` says whether this thread may stop, and knows
        // meanwhile that it does.
        let waits = poll_fn(|_| Poll::Ready(self.sit(n, limit)));
        match block_on(waits) {
            Ok(result) => result.map_err(AcquireBlockingError::NotGranted),
            Err(refused) => Err(AcquireBlockingError::MustNotBlock(refused)),
        }
    }

    fn sit(&self, n: u64, limit: Option<Duration>) -> Result<Granted, AcquireError> {
        let own = unpark::this_thread();
        let mut waker = Some(own.clone());
        let mut wakes = Wakes::new();
        let until = limit.map(|limit| self.now() + limit);
        let entered = self.enter(Some(Home::Threads), &mut waker, n, limit, &mut wakes);
        wakes.wake();
        let (ticket, seat) = match entered? {
            Entered::Granted(granted) => return Ok(granted),
            Entered::Waits { ticket, seat } => (ticket, seat),
        };
        let mut sitting = Sitting {
            core: self,
            ticket,
            seat,
            waits: true,
            fired: false,
        };
        self.serve_by_credits();
        loop {
            // Read before the look: a grant at the same instant wins.
            let is_late = until.is_some_and(|until| until <= self.now());
            if let Some(result) = sitting.look(n, &own, &mut wakes) {
                return result;
            }
            if is_late {
                drop(sitting);
                return self.ask_now(n);
            }
            let mut at = sitting.drive(&own, &mut wakes);
            if let Some(until) = until {
                at = at.min(until);
            }
            sitting.fired = park_until(at, self);
        }
    }

    /// A thread's wait ends, and its look at the queue with it.
    fn stand_up(&self, seat: Option<u64>) {
        let mut wakes = Wakes::new();
        let old = {
            let mut queue = self.queue().lock();
            let queue = &mut *queue;
            let was_primary = seat.is_some() && queue.primary == seat;
            let old = seat.and_then(|seat| queue.remove_seat(seat));
            queue.hand_over(was_primary, &mut wakes);
            old
        };
        drop(old);
        wakes.wake();
    }
}

impl<S: Source> Sits for S {}

/// A thread that waits; dropped before it was answered, it gives up its place.
struct Sitting<'a, S: Source> {
    core: &'a S,
    ticket: Ticket,
    seat: Option<u64>,
    waits: bool,
    fired: bool,
}

impl<S: Source> Sitting<'_, S> {
    /// What has become of the wait; sees to a seat if it goes on.
    fn look(
        &mut self,
        n: u64,
        own: &Waker,
        wakes: &mut Wakes,
    ) -> Option<Result<Granted, AcquireError>> {
        let mut waker = Some(own.clone());
        let home = self.seat.is_none().then_some(Home::Threads);
        let looked = self.core.look(home, &mut waker, self.ticket, n, wakes);
        wakes.wake();
        match looked {
            Looked::Ends(result) => {
                self.waits = false;
                Some(result.map(|(granted, _)| granted))
            }
            Looked::Waits { seat } => {
                self.seat = self.seat.or(seat);
                None
            }
        }
    }

    /// A driver's part, if this thread has the seat. When to look next.
    fn drive(&mut self, own: &Waker, wakes: &mut Wakes) -> Instant {
        let Some(seat) = self.seat else {
            return Instant::FAR_FUTURE;
        };
        loop {
            let mut waker = Some(own.clone());
            let step = self.core.drive(seat, &mut waker, self.fired, wakes);
            wakes.wake();
            self.fired = false;
            match step {
                Step::Again => {}
                Step::Sleep(at) => return at,
                Step::Leave | Step::Linger => {
                    // Nobody waits any more, so this one does not.
                    self.seat = None;
                    return Instant::ORIGIN;
                }
            }
        }
    }
}

impl<S: Source> Drop for Sitting<'_, S> {
    fn drop(&mut self) {
        if self.waits {
            self.core.give_up(self.ticket);
        }
        self.core.stand_up(self.seat);
    }
}

/// Sleeps until then, or until it is woken. Whether the time has come.
fn park_until<S: Source>(at: Instant, clock: &S) -> bool {
    if at.is_far_future() {
        thread::park();
        return false;
    }
    let left = at.saturating_duration_since(clock.now());
    if !left.is_zero() {
        thread::park_timeout(left);
    }
    clock.now() >= at
}
