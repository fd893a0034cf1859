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
use std::sync::Arc;
use std::task::Wake;

use flow_rt::{Clock, Instant, block_on};
use flow_sync::Ticket;
use flow_sync::sync::thread::{self, Thread};

use super::driver::Step;
use super::queue::Home;
use super::waiter::{Entered, Looked};
use crate::error::{AcquireBlockingError, AcquireError};
use crate::granted::Granted;
use crate::token_bucket::core::Core;
use crate::wakes::Wakes;

impl<C: Clock + 'static> Core<C> {
    /// Waits on the calling thread for `n` tokens that were not there at once.
    pub(crate) fn wait_on_thread(
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
        let own = Waker::from(Arc::new(Unpark(thread::current())));
        let mut waker = Some(own.clone());
        let mut wakes = Wakes::new();
        let until = limit.map(|limit| (limit, self.clock.now() + limit));
        let entered = self.enter(Home::Threads, &mut waker, n, limit, &mut wakes);
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
            let late = until.filter(|&(_, until)| until <= self.clock.now());
            if let Some(result) = sitting.look(n, &own, &mut wakes) {
                return result;
            }
            if let Some((limit, _)) = late {
                return Err(AcquireError::Timeout { would_wait: limit });
            }
            let mut at = sitting.drive(&own, &mut wakes);
            if let Some((_, until)) = until {
                at = at.min(until);
            }
            sitting.fired = park_until(at, &self.clock);
        }
    }

    /// A thread's wait ends, and its look at the queue with it.
    fn stand_up(&self, thread: Ticket, seat: Option<u64>) {
        let mut wakes = Wakes::new();
        let old = {
            let mut queue = self.queue.lock();
            let queue = &mut *queue;
            queue.stand_down(thread);
            let was_primary = seat.is_some() && queue.primary == seat;
            let old = seat.and_then(|seat| queue.remove_seat(seat));
            queue.hand_over(was_primary, &mut wakes);
            old
        };
        drop(old);
        wakes.wake();
    }
}

/// A thread that waits; dropped before it was answered, it gives up its place.
struct Sitting<'a, C: Clock + 'static> {
    core: &'a Core<C>,
    ticket: Ticket,
    seat: Option<u64>,
    waits: bool,
    fired: bool,
}

impl<C: Clock + 'static> Sitting<'_, C> {
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
                Some(result)
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

impl<C: Clock + 'static> Drop for Sitting<'_, C> {
    fn drop(&mut self) {
        if self.waits {
            self.core.give_up(self.ticket);
        }
        self.core.stand_up(self.ticket, self.seat);
    }
}

/// Sleeps until then, or until it is woken. Whether the time has come.
fn park_until<C: Clock>(at: Instant, clock: &C) -> bool {
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

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
