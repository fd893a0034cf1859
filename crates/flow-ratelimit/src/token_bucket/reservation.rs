//! Tokens taken ahead of time: a place in the line with nobody who waits in it.
//!
//! # State
//! A reservation that is not ready at once is a marked entry of the bucket's queue (see
//! `waiting`), without a waker until it is awaited. `Queue::first` names it while it stands
//! first and did not fit when it came to stand there; `Core::head` mirrors what it needs.
//!
//! # Invariants
//! 1. It stands in the queue like a waiter: it passes nobody and nobody passes it, and when it
//!    leaves, those behind it move up by all it would have taken.
//! 2. Once its tokens have come they are its own, even if nobody looks until long after: nothing
//!    runs over while it stands first, because it needs no more than a burst. So whoever looks
//!    takes them for it before anything is clipped, on the line by which they came.
//! 3. W is set while it waits. That costs newcomers nothing: whoever stands first has a claim to
//!    all that is there. The first newcomer after it is due serves it, and opens the fast path.
//! 4. It keeps no driver and no timer. Its holder knows when it is ready; where others wait
//!    behind it, their driver serves it.
//!
//! # Why it does not just run ahead
//! x/time/rate takes the tokens at once, into debt, and fixes the time to act. A cancel in the
//! middle then has no right answer: with all tokens returned, later callers share instants with
//! those that were behind it (twice the rate, for as long as the line was); with only those
//! returned that nobody reserved since, tokens are lost (go#69419). In a line both are exact.

use core::fmt;
use core::future::{Future, IntoFuture};
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Clock, Instant, contain};
use flow_sync::sync::atomic::Ordering;
use flow_sync::{Standing, Ticket};

use super::core::{Core, W};
use super::line::Queue;
use crate::error::{AcquireError, Denied};
use crate::granted::Granted;
use crate::wait_state::{Host, Place, WaitState};
use crate::waiting::{Serves, Source, Waits};
use crate::wakes::Wakes;

/// Tokens taken ahead of time, for callers that arrange themselves when to go: see
/// [`TokenBucket::reserve_n`](super::TokenBucket::reserve_n).
///
/// It is ready at [`ready_at`](Self::ready_at): from then on the holder may go, and the tokens
/// are spent whatever becomes of it. Dropped before, it is cancelled: it leaves the line as if it
/// had never been in it, in any order with others, and those behind it move up.
/// [`commit`](Self::commit) keeps it in any case. Or await it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use flow_ratelimit::TokenBucket;
/// use flow_rt::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let bucket = TokenBucket::builder().rate("10/s").burst(5).initial(1).clock(clock.clone());
/// let bucket = bucket.build()?;
/// let first = bucket.reserve_n(3)?;
/// let second = bucket.reserve()?;
/// assert_eq!(first.delay(), Duration::from_millis(200));
/// assert_eq!(second.delay(), Duration::from_millis(300));
///
/// drop(first); // not needed after all: the second moves up
/// assert_eq!(second.delay(), Duration::ZERO);
/// second.commit()?;
/// assert_eq!(bucket.available(), 0);
/// # Ok(())
/// # }
/// ```
///
/// # What moves it
/// `ready_at` is read off the present line. A cancel before it, a refund or a higher rate bring
/// it nearer; a lower rate puts it off, and of a rate of zero it is never, until the rate is
/// raised. While the bucket's clock is back it is farther away, and no longer or shorter than it
/// was once the clock has come forward again. A bucket that is closed before it is ready ends
/// it, and so does a smaller burst than it has tokens, when its turn comes: nothing is taken
/// then, and it is never ready.
///
/// `mem::forget` of one leaves it in the line; its tokens are spent in their time.
#[must_use = "a reservation that is dropped before it is ready is cancelled"]
pub struct Reservation {
    core: Arc<dyn Reserves>,
    n: u64,
    /// Its place in the line; none if it was ready at once, or has ended.
    ticket: Option<Ticket>,
    /// What was taken for one that was ready at once: nothing, where there was no limit.
    taken: u64,
    promised: Instant,
}

impl Reservation {
    /// How many tokens it is for.
    pub const fn tokens(&self) -> u64 {
        self.n
    }

    /// When it is ready, by the bucket's clock; `Instant::FAR_FUTURE` if that is never, or later
    /// than the clock can tell. Once it is ready, an instant that has passed.
    ///
    /// # Cost
    /// A lock, and a step for everybody before it.
    pub fn ready_at(&self) -> Instant {
        let Some(ticket) = self.ticket else {
            return self.promised;
        };
        match self.core.turn(ticket) {
            (Turn::Comes(at), _) => at,
            (Turn::Never, _) => Instant::FAR_FUTURE,
            (Turn::Came, now) => self.promised.min(now),
        }
    }

    /// How long it is until it is ready: zero once it is, `Duration::MAX` if that is never.
    ///
    /// # Cost
    /// That of [`ready_at`](Self::ready_at).
    pub fn delay(&self) -> Duration {
        let Some(ticket) = self.ticket else {
            return Duration::ZERO;
        };
        match self.core.turn(ticket) {
            (Turn::Came, _) => Duration::ZERO,
            (Turn::Comes(at), now) if !at.is_far_future() => at.saturating_duration_since(now),
            _ => Duration::MAX,
        }
    }

    /// Keeps the tokens and ends the reservation. Before it is ready they are taken on credit:
    /// its place in the line stays, and those behind wait until it is paid.
    ///
    /// # Errors
    /// [`AcquireError`] if the bucket was closed before it was ready, or its burst became too
    /// small for it. Nothing was taken then.
    pub fn commit(mut self) -> Result<(), AcquireError> {
        self.end(true)
    }

    fn end(&mut self, keep: bool) -> Result<(), AcquireError> {
        match self.ticket.take() {
            Some(ticket) => self.core.end(ticket, self.n, keep),
            None => Ok(()),
        }
    }
}

/// Waits until it is ready: on the bucket's runtime, else on the one that polls.
impl IntoFuture for Reservation {
    type Output = Result<Granted, AcquireError>;
    type IntoFuture = AwaitReservation;

    fn into_future(mut self) -> AwaitReservation {
        let host: Arc<dyn Host> = self.core.clone();
        let ticket = self.ticket.take();
        let place = ticket.map(|ticket| Place::new(host, ticket, self.n));
        AwaitReservation {
            core: self.core.clone(),
            n: self.n,
            taken: self.taken,
            ticket,
            state: WaitState::at(place),
            ended: false,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let _ = self.end(false);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("tokens", &self.n)
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}

/// Waiting for a [`Reservation`]. Once it has returned it stays pending.
///
/// # Cancel safety
/// Dropping it before it has returned cancels the reservation, whether it was ready or not: who
/// awaits it goes when it returns, so the tokens go back.
#[must_use = "futures do nothing unless polled"]
pub struct AwaitReservation {
    core: Arc<dyn Reserves>,
    n: u64,
    taken: u64,
    ticket: Option<Ticket>,
    state: WaitState,
    ended: bool,
}

impl Future for AwaitReservation {
    type Output = Result<Granted, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Pending;
        }
        let polled = match this.ticket {
            Some(ticket) => this
                .core
                .clone()
                .poll_turn(cx, ticket, this.n, &mut this.state),
            None => Poll::Ready(Ok(this.core.granted())),
        };
        this.ended = polled.is_ready();
        polled
    }
}

impl Drop for AwaitReservation {
    fn drop(&mut self) {
        // A place in the line is given up by the state.
        if !self.ended && self.ticket.is_none() {
            self.core.give_back(self.taken);
        }
    }
}

impl fmt::Debug for AwaitReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitReservation")
            .field("tokens", &self.n)
            .field("waiting", &self.state.is_waiting())
            .finish_non_exhaustive()
    }
}

/// A bucket of any clock, as its reservations see it.
trait Reserves: Host {
    /// When it is this one's turn, and what time it is.
    fn turn(&self, ticket: Ticket) -> (Turn, Instant);

    /// Ends a reservation: the tokens that are not its own yet are kept or given up.
    fn end(&self, ticket: Ticket, n: u64, keep: bool) -> Result<(), AcquireError>;

    fn poll_turn(
        self: Arc<Self>,
        cx: &mut Context<'_>,
        ticket: Ticket,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>>;

    /// What one is told whose tokens were taken before.
    fn granted(&self) -> Granted;
}

/// What one gets who reserves.
enum Stands {
    InLine(Ticket),
    /// Its turn came at once; nothing was taken for it if there is no limit.
    Granted {
        is_free: bool,
    },
}

enum Turn {
    Came,
    Comes(Instant),
    Never,
}

impl<C: Clock + 'static> Reserves for Core<C> {
    fn turn(&self, ticket: Ticket) -> (Turn, Instant) {
        self.look_at_queue(|queue, now, _| {
            let turn = match queue.list.standing(ticket) {
                Standing::Granted => Turn::Came,
                Standing::Waiting => Turn::Comes(self.turn_of(queue, ticket, now)),
                Standing::Closed | Standing::Gone => Turn::Never,
            };
            (turn, now)
        })
    }

    fn end(&self, ticket: Ticket, n: u64, keep: bool) -> Result<(), AcquireError> {
        let (ended, waker) = self.look_at_queue(|queue, now, wakes| {
            let standing = queue.list.standing(ticket);
            let waker = match standing {
                Standing::Waiting if keep => queue.list.detach(ticket),
                Standing::Waiting => self.unlink(queue, ticket, now, wakes),
                _ => queue.list.cancel(ticket).waker,
            };
            let ended = match standing {
                Standing::Waiting => Ok(keep),
                Standing::Granted => Ok(true),
                Standing::Closed | Standing::Gone => Err(self.why_closed(queue, n)),
            };
            (ended, waker)
        });
        contain(|| drop(waker));
        match ended {
            // One that was cancelled was neither granted nor denied.
            Ok(false) => Ok(()),
            Ok(true) => {
                self.count(true);
                Ok(())
            }
            Err(error) => {
                self.count(false);
                Err(error)
            }
        }
    }

    fn poll_turn(
        self: Arc<Self>,
        cx: &mut Context<'_>,
        ticket: Ticket,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        let here = Arc::as_ptr(&self).cast();
        let polled = match state.poll_delayed(cx, here, n) {
            Some(delayed) => delayed.map(Ok),
            None => self.poll_queued(cx, ticket, n, state),
        };
        if let Poll::Ready(result) = &polled {
            self.count(result.is_ok());
        }
        polled
    }

    fn granted(&self) -> Granted {
        let now = self.clock.now();
        let anchor = if self.warms_up() {
            self.stand_warming().1
        } else {
            self.params.anchor()
        };
        self.granted_at(&anchor, now)
    }
}

impl<C: Clock + 'static> Core<C> {
    /// Takes `n` tokens now, or a place in the line.
    pub(super) fn reserve(self: &Arc<Self>, n: u64) -> Result<Reservation, Denied> {
        let reservation = |stands, promised| {
            let (ticket, is_free) = match stands {
                Stands::InLine(ticket) => (Some(ticket), false),
                Stands::Granted { is_free } => (None, is_free),
            };
            Reservation {
                core: self.clone(),
                n,
                ticket,
                taken: if is_free { 0 } else { n },
                promised,
            }
        };
        let result = match self.decide_recalling(n) {
            Ok(granted) => {
                let is_free = granted.is_free();
                Ok(reservation(Stands::Granted { is_free }, self.clock.now()))
            }
            Err(Denied::NotYet { .. }) => {
                let stands = self.stand_in_line(n);
                if matches!(stands, Ok((Stands::InLine(_), _))) {
                    self.serve_by_credits();
                }
                stands.map(|(stands, promised)| reservation(stands, promised))
            }
            Err(denied) => Err(denied),
        };
        if !matches!(&result, Ok(reservation) if reservation.ticket.is_some()) {
            self.count(result.is_ok());
        }
        result
    }

    /// A place in the line, unless its turn has come at once; and when that is.
    fn stand_in_line(&self, n: u64) -> Result<(Stands, Instant), Denied> {
        self.look_at_queue(|queue, now, wakes| {
            if queue.closed {
                return Err(Denied::Closed);
            }
            let need = self.grains(&queue.supply.line, n)?;
            let wait = self.wait_of(queue, need, now);
            let most = self.settings.max_reserve;
            if wait > most {
                return Err(Denied::NotYet {
                    retry_after: wait.saturating_sub(most),
                });
            }
            if queue.list.len() >= self.settings.waits.max_waiters && !wait.is_zero() {
                return Err(Denied::QueueFull {
                    max_waiters: self.settings.waits.max_waiters,
                });
            }
            // From here on nobody passes; what came back before is seen by the pump.
            self.word.fetch_or(W, Ordering::AcqRel);
            let is_first = queue.list.is_empty();
            if is_first {
                self.keep_a_burst(queue, now);
            }
            let ticket = queue.list.push_marked(need, None);
            self.mirror(queue);
            self.pump_all(queue, now, wakes);
            if queue.list.standing(ticket) == Standing::Granted {
                let is_free = queue.list.cancel(ticket).need == 0;
                return Ok((Stands::Granted { is_free }, now));
            }
            if is_first {
                // A driver that lingers has somebody to serve, sooner than it would look.
                queue.rouse(now, wakes);
            }
            let turn = self.turn_of(queue, ticket, now);
            Ok((Stands::InLine(ticket), turn))
        })
    }

    /// When the turn comes of one who waits; everybody who could go has gone.
    fn turn_of(&self, queue: &Queue, ticket: Ticket, now: Instant) -> Instant {
        let anchor = &queue.supply.line;
        let used = self.word.load(Ordering::Acquire) >> 1;
        let level = anchor.level(used, now, self.cap(queue, anchor));
        let before = queue.list.sum_to(ticket).unwrap_or(0) + u128::from(self.debt);
        let grains = u64::try_from(before).unwrap_or(u64::MAX);
        queue
            .ready_at(level.spent, grains)
            .unwrap_or(Instant::FAR_FUTURE)
    }

    /// A critical section that serves whoever is due before it looks.
    pub(super) fn look_at_queue<T>(
        &self,
        look: impl FnOnce(&mut Queue, Instant, &mut Wakes) -> T,
    ) -> T {
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        let result = {
            let mut queue = self.queue.lock();
            self.pump_all(&mut queue, now, &mut wakes);
            look(&mut queue, now, &mut wakes)
        };
        wakes.wake();
        result
    }
}
