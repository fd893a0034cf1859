//! The steps of those who wait: they come, look again, and leave.

use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Handle, Instant, contain};
use flow_sync::{Standing, Ticket};

use super::Queue;
use super::driver::{Driver, Drives};
use super::queue::Home;
use super::source::{Serves, Source};
use crate::error::{AcquireError, Denied};
use crate::granted::Granted;
use crate::jitter::Jitters;
use crate::wait_state::{Host, Place, WaitState};
use crate::wakes::Wakes;

/// What one does who waits.
pub(crate) trait Waits: Source {
    /// Takes `n` tokens now or later; the one who waits is in `state`. Out of line: who need not wait
    /// passes it by.
    #[inline(never)]
    fn poll_take(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>>
    where
        Self: 'static,
    {
        let here = Arc::as_ptr(self).cast();
        let result = if let Some(delayed) = state.poll_delayed(cx, here, n) {
            delayed.map(Ok)
        } else if let Some(ticket) = state.ticket_at(here, n) {
            self.poll_queued(cx, ticket, n, state)
        } else {
            // A wait of another limiter's, or for another number of tokens, ends here.
            state.leave();
            match self.decide(n) {
                Ok(granted) => Poll::Ready(Ok(granted)),
                Err(denied) => return self.poll_denied(cx, n, state, denied),
            }
        };
        if let Poll::Ready(result) = &result {
            self.note_decision(result.is_ok());
        }
        result
    }

    /// The same, for one who found no tokens and does not wait yet.
    #[inline(never)]
    fn poll_denied(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
        denied: Denied,
    ) -> Poll<Result<Granted, AcquireError>>
    where
        Self: 'static,
    {
        let result = match denied {
            Denied::NotYet { .. } if state.limit() == Some(Duration::ZERO) => {
                Poll::Ready(self.look_once(n))
            }
            Denied::NotYet { .. } => self.enqueue(cx, n, state),
            denied => Poll::Ready(Err(AcquireError::at_once(denied))),
        };
        if let Poll::Ready(result) = &result {
            self.note_decision(result.is_ok());
        }
        result
    }

    fn enqueue(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>>
    where
        Self: 'static,
    {
        let runtime = match self.runtime() {
            Ok(runtime) => runtime,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let mut waker = Some(cx.waker().clone());
        let mut wakes = Wakes::new();
        let entered = self.enter(
            Some(Home::Runtime(runtime.id())),
            &mut waker,
            n,
            state.limit(),
            &mut wakes,
        );
        // Dropped out here if it is not stored.
        wakes.discard(waker);
        wakes.wake();
        let (ticket, seat) = match entered {
            Ok(Entered::Granted(granted)) => return Poll::Ready(Ok(granted)),
            Ok(Entered::Waits { ticket, seat }) => (ticket, seat),
            Err(error) => return Poll::Ready(Err(error)),
        };
        state.take_place(Place::new(self.clone(), ticket, n), &runtime);
        self.serve_by_credits();
        if let Some(seat) = seat {
            runtime.spawn_detached(Driver::new(self, runtime.clone(), seat));
            if self.is_stranded(ticket) {
                state.leave();
                return Poll::Ready(Err(AcquireError::Stopped));
            }
        }
        Poll::Pending
    }

    /// What one hears who has no time to wait, of tokens that were not there at once: it stands in
    /// line for a moment, as whoever waits does, but has no waker and needs nobody to drive.
    fn look_once(&self, n: u64) -> Result<Granted, AcquireError> {
        let mut wakes = Wakes::new();
        let entered = self.enter(None, &mut None, n, Some(Duration::ZERO), &mut wakes);
        wakes.wake();
        match entered? {
            Entered::Granted(granted) => Ok(granted),
            Entered::Waits { ticket, .. } => {
                // There was enough for it, but somebody was quicker, or it stands behind more of
                // those who can go than are granted in one step. It may have had its turn since.
                let looked = self.look(None, &mut None, ticket, n, &mut wakes);
                wakes.wake();
                if let Looked::Ends(result) = looked {
                    return result.map(|(granted, _)| granted);
                }
                // The next decision serves all in front.
                self.give_up(ticket);
                self.decide(n).map_err(AcquireError::of_no_wait)
            }
        }
    }

    /// What one hears who waits no longer: the tokens, or when they would come from now on.
    fn ask_now(&self, n: u64) -> Result<Granted, AcquireError> {
        match self.decide(n) {
            Err(Denied::NotYet { .. }) => self.look_once(n),
            decided => decided.map_err(AcquireError::at_once),
        }
    }

    /// The critical section of `enqueue`. Who has no home needs no seat.
    fn enter(
        &self,
        home: Option<Home>,
        waker: &mut Option<Waker>,
        n: u64,
        limit: Option<Duration>,
        wakes: &mut Wakes,
    ) -> Result<Entered, AcquireError> {
        let now = self.now();
        let mut queue = self.queue().lock();
        let queue = &mut *queue;
        if queue.closed {
            return Err(AcquireError::Closed);
        }
        let Ok(need) = self.need(queue, n) else {
            return Err(self.why_closed(queue, n));
        };
        if let Some(limit) = limit {
            let would_wait = self.wait_of(queue, need, now);
            if would_wait > limit {
                return Err(AcquireError::Timeout { would_wait });
            }
        }
        // From here on nobody passes; what came back before is seen by the pump.
        self.shut();
        let was_idle = queue.is_idle();
        let line = self.line();
        let was_empty = queue.line(line).is_empty();
        if was_empty {
            self.before_first(queue, now);
        }
        let ticket = queue.line_mut(line).push(need, None);
        self.mirror(queue);
        let more = self.pump(queue, now, wakes);
        if queue.line(line).standing(ticket) == Standing::Granted {
            queue.line_mut(line).cancel(ticket);
            return Ok(Entered::Granted(self.answer(queue, now)));
        }
        if queue.line(line).len() > self.rules().max_waiters {
            self.unlink(queue, ticket, now, wakes);
            return Err(AcquireError::QueueFull {
                max_waiters: self.rules().max_waiters,
            });
        }
        if let Some(new) = waker.take() {
            *waker = queue.line_mut(line).update_waker(ticket, new);
        }
        let seat = home.and_then(|home| queue.seat_for(home, (line, ticket), false));
        if was_idle {
            // Whoever lingers looks when it comes to that only.
            queue.rouse(now, wakes);
        } else if more || was_empty {
            self.kick(queue, now, wakes);
        }
        Ok(Entered::Waits { ticket, seat })
    }

    fn poll_queued(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        ticket: Ticket,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>>
    where
        Self: 'static,
    {
        let runtime = self.runtime();
        let mut waker = Some(cx.waker().clone());
        let mut wakes = Wakes::new();
        let looked = self.look(
            runtime.as_ref().ok().map(|it| Home::Runtime(it.id())),
            &mut waker,
            ticket,
            n,
            &mut wakes,
        );
        wakes.discard(waker);
        wakes.wake();
        let seat = match looked {
            Looked::Ends(result) => {
                state.forget_place();
                return match result {
                    Ok((granted, is_free)) => {
                        let taken = if is_free { 0 } else { n };
                        self.return_granted(cx, (n, taken), granted, runtime.as_ref().ok(), state)
                            .map(Ok)
                    }
                    Err(error) => Poll::Ready(Err(error)),
                };
            }
            Looked::Waits { seat } => seat,
        };
        let stranded = match (runtime, seat) {
            (Ok(runtime), Some(seat)) => {
                runtime.spawn_detached(Driver::new(self, runtime.clone(), seat));
                AcquireError::Stopped
            }
            (Ok(_), None) => return Poll::Pending,
            // Polled where no runtime is: fine while another one drives.
            (Err(error), _) => error,
        };
        if self.is_stranded(ticket) {
            state.leave();
            return Poll::Ready(Err(stranded));
        }
        Poll::Pending
    }

    /// The critical section of `poll_queued`.
    fn look(
        &self,
        home: Option<Home>,
        waker: &mut Option<Waker>,
        ticket: Ticket,
        n: u64,
        wakes: &mut Wakes,
    ) -> Looked {
        let now = self.now();
        let mut queue = self.queue().lock();
        let queue = &mut *queue;
        if self.pump(queue, now, wakes) {
            // Its thread is about to wake others only: the driver goes on with the rest.
            self.kick(queue, now, wakes);
        }
        let line = self.line();
        match queue.line(line).standing(ticket) {
            Standing::Waiting => {
                // Clone before the lock, exchange under it, drop after it (7).
                if let Some(new) = waker.take() {
                    *waker = queue.line_mut(line).update_waker(ticket, new);
                }
                // Whoever takes a thread off the list of those who stand by takes its waker too.
                let stands_by = waker.is_some();
                Looked::Waits {
                    seat: home.and_then(|home| queue.seat_for(home, (line, ticket), stands_by)),
                }
            }
            Standing::Granted => {
                let taken = queue.line_mut(line).cancel(ticket).need;
                let granted = self.answer(queue, now).for_taken(taken);
                Looked::Ends(Ok((granted, taken == 0)))
            }
            Standing::Closed | Standing::Gone => {
                queue.line_mut(line).cancel(ticket);
                Looked::Ends(Err(self.why_closed(queue, n)))
            }
        }
    }

    /// Where this bucket's waiters are driven: where it was told, else where they are polled.
    fn runtime(&self) -> Result<Handle, AcquireError> {
        match &self.rules().runtime {
            Some(runtime) => Ok(runtime.clone()),
            None => Handle::current().map_err(AcquireError::NoRuntime),
        }
    }

    /// Whether the waiter waits and nobody drives: a spawn was dropped at once.
    fn is_stranded(&self, ticket: Ticket) -> bool {
        let queue = self.queue().lock();
        queue.line(self.line()).standing(ticket) == Standing::Waiting && queue.seats.is_empty()
    }

    /// Ends a wait, however it stands.
    fn give_up(&self, ticket: Ticket) {
        let mut wakes = Wakes::new();
        let now = self.now();
        let (waker, refund) = {
            let mut queue = self.queue().lock();
            let queue = &mut *queue;
            let line = queue.line_mut(self.line());
            if line.standing(ticket) == Standing::Waiting {
                (self.unlink(queue, ticket, now, &mut wakes), 0)
            } else {
                let cancelled = line.cancel(ticket);
                let granted = cancelled.standing == Standing::Granted;
                (cancelled.waker, if granted { cancelled.need } else { 0 })
            }
        };
        wakes.wake();
        if refund > 0 {
            self.give_need_back(refund);
        }
        // Foreign code: a panic would be one in a destructor.
        contain(|| drop(waker));
    }

    /// Takes one who waits out of its line. Its waker is to be dropped without the lock.
    fn unlink(
        &self,
        queue: &mut Queue<Self::Supply>,
        ticket: Ticket,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<Waker> {
        let line = queue.line_mut(self.line());
        let cancelled = line.cancel(ticket);
        let is_empty = line.is_empty();
        self.mirror(queue);
        if is_empty {
            self.open_fast_path(queue, now, wakes);
        } else if cancelled.was_head {
            self.before_first(queue, now);
        }
        if cancelled.was_head && !queue.is_idle() {
            // Smaller needs behind a large one may fit at once, or those of another line.
            self.pump(queue, now, wakes);
            self.kick(queue, now, wakes);
        }
        cancelled.waker
    }
}

impl<S: Source> Waits for S {}

impl<S: Source> Host for S {
    fn give_back(&self, n: u64) {
        self.give_tokens_back(n);
    }

    fn cancel(&self, ticket: Ticket) {
        self.give_up(ticket);
    }
}

pub(crate) enum Entered {
    Granted(Granted),
    Waits { ticket: Ticket, seat: Option<u64> },
}

pub(crate) enum Looked {
    /// If it was granted, also whether nothing was taken for it.
    Ends(Result<(Granted, bool), AcquireError>),
    Waits {
        seat: Option<u64>,
    },
}
