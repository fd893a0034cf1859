//! How tasks wait for a bucket: first in, first out, driven by one small task per runtime.
//!
//! # State
//! [`Queue`], under one lock: the list of waiters with their needs in grains; the *seats*, one
//! per runtime that has waiters, each with its driver's waker; which seat is `primary`; `fire_at`,
//! when it will look; `last_fire`, when its timer last fired; `closed`. The W bit stands in the
//! bucket's word (see `core`).
//!
//! # Invariants
//! 1. W changes only under the lock. It is set while somebody waits, and for ever once closed.
//! 2. Only the lock's holder changes the list, the seats and `fire_at`.
//! 3. A waiter holds no token before it is granted; the swap of the word that takes its tokens
//!    and the mark that it is granted are one critical section, the swap first.
//! 4. Whoever takes a waker out of the list or a seat wakes it after unlocking; until then, and
//!    until the woken one's next poll, a wake-up is owed to it.
//! 5. While somebody waits a seat exists, or a wake-up is owed to a waiter whose poll will make
//!    one. A driver's waker was stored in the critical section that computed when it looks next,
//!    or a wake-up is owed to it.
//! 6. `fire_at` is at or before the instant the head can go, as of the last critical section, or
//!    the seats' wakers have been taken; only the quantum moves it later.
//! 7. No foreign code under the lock: wakers are cloned before it, woken and dropped after it;
//!    clocks are read before it, and runtimes asked for tasks and timers outside of it. A time
//!    that is old by then only grants less; whoever is held up by it wakes at a later one.
//! 8. A critical section that leaves a waiter has granted all that could go, or its thread comes
//!    back after waking.
//!
//! # Steps
//! - enqueue: look up the runtime and clone the waker; lock; closed, full or too late? no; set W;
//!   push; pump; granted? done. Else a seat for this runtime; unlock; wake; spawn the driver if
//!   the seat is new; lock again: a runtime that dropped the task at once has left no seat.
//! - poll of a waiter: lock; pump; granted or closed? done. Else store the waker, see to a seat.
//! - pump: walk from the head while the needs fit; one swap of the word for all of them, which
//!   clears W if it reaches the end; mark them granted and collect their wakers.
//! - driver: lock; pump; nobody left? leave. No primary, or it is late by [`SLACK`]? take over.
//!   Store the waker; unlock; wake; sleep until the head can go, a quantum after the last time at
//!   the earliest; a standby until the primary is late.
//! - kick, when supply rose or the head changed: the head can go before `fire_at`? wake the
//!   seats.
//! - cancel: waiting? unlink; nobody left? clear W and wake the seats, they have no work; was it
//!   the head? pump, kick. Granted? refund: exactly what the grant took.
//! - driver dropped before its end (its runtime is gone): its seat goes; it was the primary? wake
//!   the other seats; no seat is left? wake every waiter, whose polls make one where they live.
//!
//! # Ordering
//! Enqueue's setting of W and a refund's swap are read-modify-writes of one location, so one
//! comes first. The refund first: the pump after the setting sees its tokens. The setting first:
//! the refund saw W, takes the lock and finds the waiter (1). New parameters are published under
//! the lock: a driver's critical section before it left its waker in the seat, and kick takes
//! it (5); one after it reads the new parameters. Everything else is under the lock.
//!
//! # Fairness
//! First in, first out by taking the lock; a newcomer never passes a waiter, because W keeps it
//! out. A large need holds up those behind it, so it is not starved. No driver lives inside a
//! waiter: a future that was polled once and is then held without being polled stops nobody.
//!
//! # Source
//! A driver task per runtime is what was left after measuring: a driver inside the waiters' own
//! polls stops everybody with one held future; a timer per waiter costs one allocation each.

use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Clock, Handle, Instant, RuntimeId};
use flow_sync::sync::atomic::Ordering;
use flow_sync::{Standing, Ticket, WaitList};

use crate::driver::Driver;
use crate::error::{AcquireError, Denied};
use crate::granted::Granted;
use crate::supply::{Anchor, MAX_BURST};
use crate::token_bucket::core::{Core, W, not_yet};
use crate::wait_state::{Host, Place, WaitState};
use crate::wakes::Wakes;

/// Who waits, and who drives.
pub(crate) struct Queue {
    list: WaitList,
    closed: bool,
    seats: Vec<Seat>,
    primary: Option<u64>,
    next_seat: u64,
    fire_at: Instant,
    last_fire: Instant,
}

struct Seat {
    number: u64,
    runtime: RuntimeId,
    waker: Option<Waker>,
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self {
            list: WaitList::new(),
            closed: false,
            seats: Vec::new(),
            primary: None,
            next_seat: 0,
            fire_at: Instant::ORIGIN,
            last_fire: Instant::ORIGIN,
        }
    }

    /// Makes a seat for a runtime that has none; its driver is the caller's to spawn.
    fn seat_for(&mut self, runtime: RuntimeId) -> Option<u64> {
        if self.seats.iter().any(|seat| seat.runtime == runtime) {
            return None;
        }
        let number = self.next_seat;
        self.next_seat += 1;
        self.seats.push(Seat {
            number,
            runtime,
            waker: None,
        });
        Some(number)
    }

    fn seat(&mut self, number: u64) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.number == number)
    }

    fn remove_seat(&mut self, number: u64) -> Option<Seat> {
        let at = self.seats.iter().position(|seat| seat.number == number)?;
        if self.primary == Some(number) {
            self.primary = None;
        }
        Some(self.seats.swap_remove(at))
    }

    fn wake_seats(&mut self, wakes: &mut Wakes) {
        for seat in &mut self.seats {
            wakes.push(seat.waker.take());
        }
    }
}

/// Waiting.
impl<C: Clock + 'static> Core<C> {
    /// Takes `n` tokens now or later; the one who waits is in `state`.
    pub(crate) fn poll_take(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        let here = Arc::as_ptr(self).cast();
        let result = if let Some(ticket) = state.ticket_at(here, n) {
            self.poll_queued(cx, ticket, n, state)
        } else {
            // A wait of another limiter's, or for another number of tokens, ends here.
            state.leave();
            match self.decide(n) {
                Ok(granted) => Poll::Ready(Ok(granted)),
                Err(Denied::NotYet { .. }) => self.enqueue(cx, n, state),
                Err(Denied::ExceedsBurst { requested, burst }) => {
                    Poll::Ready(Err(AcquireError::ExceedsBurst { requested, burst }))
                }
                Err(Denied::NeverRefills) => Poll::Ready(Err(AcquireError::NeverRefills)),
                // The bucket's own decisions have no other reason.
                Err(_) => Poll::Ready(Err(AcquireError::Closed)),
            }
        };
        if let Poll::Ready(result) = &result {
            self.count(result.is_ok());
        }
        result
    }

    fn enqueue(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        let runtime = match self.runtime() {
            Ok(runtime) => runtime,
            Err(error) => return Poll::Ready(Err(error)),
        };
        // Dropped out here if it is not stored.
        let mut waker = Some(cx.waker().clone());
        let mut wakes = Wakes::new();
        let entered = self.enter(runtime.id(), &mut waker, n, state.limit(), &mut wakes);
        wakes.wake();
        let (ticket, seat) = match entered {
            Ok(Entered::Granted(granted)) => return Poll::Ready(Ok(granted)),
            Ok(Entered::Waits { ticket, seat }) => (ticket, seat),
            Err(error) => return Poll::Ready(Err(error)),
        };
        state.take_place(Place::new(self.clone(), ticket, n), &runtime);
        if let Some(seat) = seat {
            runtime.spawn_detached(Driver::new(self.clone(), runtime.clone(), seat));
            if self.is_stranded(ticket) {
                state.leave();
                return Poll::Ready(Err(AcquireError::Stopped));
            }
        }
        Poll::Pending
    }

    /// The critical section of `enqueue`.
    fn enter(
        &self,
        runtime: RuntimeId,
        waker: &mut Option<Waker>,
        n: u64,
        limit: Option<Duration>,
        wakes: &mut Wakes,
    ) -> Result<Entered, AcquireError> {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        if queue.closed {
            return Err(AcquireError::Closed);
        }
        let anchor = self.params.anchor();
        let Ok(need) = self.grains(&anchor, n) else {
            return Err(AcquireError::ExceedsBurst {
                requested: n,
                burst: self.burst(),
            });
        };
        if let Some(limit) = limit {
            let would_wait = self.wait_of(queue, &anchor, need, now);
            if would_wait > limit {
                return Err(AcquireError::Timeout { would_wait });
            }
        }
        // From here on nobody passes; what came back before is seen by the pump.
        self.word.fetch_or(W, Ordering::AcqRel);
        let was_empty = queue.list.is_empty();
        let ticket = queue.list.push(need, None);
        self.mirror(queue);
        let more = self.pump(queue, now, wakes);
        if queue.list.standing(ticket) == Standing::Granted {
            queue.list.cancel(ticket);
            return Ok(Entered::Granted(self.granted_at(now)));
        }
        if queue.list.len() > self.settings.max_waiters {
            self.unlink(queue, ticket, now, wakes);
            return Err(AcquireError::QueueFull {
                max_waiters: self.settings.max_waiters,
            });
        }
        if let Some(new) = waker.take() {
            *waker = queue.list.update_waker(ticket, new);
        }
        let seat = queue.seat_for(runtime);
        if was_empty || more {
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
    ) -> Poll<Result<Granted, AcquireError>> {
        let runtime = self.runtime();
        let mut waker = Some(cx.waker().clone());
        let mut wakes = Wakes::new();
        let looked = self.look(
            runtime.as_ref().ok().map(Handle::id),
            &mut waker,
            ticket,
            n,
            &mut wakes,
        );
        wakes.wake();
        let seat = match looked {
            Looked::Ends(result) => {
                state.forget_place();
                return Poll::Ready(result);
            }
            Looked::Waits { seat } => seat,
        };
        let stranded = match (runtime, seat) {
            (Ok(runtime), Some(seat)) => {
                runtime.spawn_detached(Driver::new(self.clone(), runtime.clone(), seat));
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
        runtime: Option<RuntimeId>,
        waker: &mut Option<Waker>,
        ticket: Ticket,
        n: u64,
        wakes: &mut Wakes,
    ) -> Looked {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        if self.pump(queue, now, wakes) {
            // Its thread is about to wake others only: the driver goes on with the rest.
            self.kick(queue, now, wakes);
        }
        match queue.list.standing(ticket) {
            Standing::Waiting => {
                // Clone before the lock, exchange under it, drop after it (7).
                if let Some(new) = waker.take() {
                    *waker = queue.list.update_waker(ticket, new);
                }
                Looked::Waits {
                    seat: runtime.and_then(|runtime| queue.seat_for(runtime)),
                }
            }
            Standing::Granted => {
                queue.list.cancel(ticket);
                Looked::Ends(Ok(self.granted_at(now)))
            }
            Standing::Closed | Standing::Gone => {
                queue.list.cancel(ticket);
                Looked::Ends(Err(if queue.closed {
                    AcquireError::Closed
                } else {
                    AcquireError::ExceedsBurst {
                        requested: n,
                        burst: self.burst(),
                    }
                }))
            }
        }
    }

    /// Where this bucket's waiters are driven: where it was told, else where they are polled.
    fn runtime(&self) -> Result<Handle, AcquireError> {
        match &self.settings.runtime {
            Some(runtime) => Ok(runtime.clone()),
            None => Handle::current().map_err(AcquireError::NoRuntime),
        }
    }

    /// Whether the waiter waits and nobody drives: a spawn was dropped at once.
    fn is_stranded(&self, ticket: Ticket) -> bool {
        let queue = self.queue.lock();
        queue.list.standing(ticket) == Standing::Waiting && queue.seats.is_empty()
    }

    /// How long one would wait who needs so many grains and stands behind all who wait.
    fn wait_of(&self, queue: &Queue, anchor: &Anchor, need: u64, now: Instant) -> Duration {
        if anchor.unlimited {
            return Duration::ZERO;
        }
        let used = self.word.load(Ordering::Acquire) >> 1;
        let level = anchor.level(used, now, self.cap(anchor));
        let grains = saturated(queue.list.sum().saturating_add(need.into()));
        match not_yet(anchor, level.spent, grains, now) {
            Denied::NotYet { retry_after } => retry_after,
            // No supply at all: only a change of the rate can end this wait.
            _ => Duration::MAX,
        }
    }

    /// What a waiter is told that was granted just now.
    fn granted_at(&self, now: Instant) -> Granted {
        let used = self.word.load(Ordering::Acquire) >> 1;
        let anchor = self.params.anchor();
        self.granted(&anchor, anchor.level(used, now, anchor.burst).free)
    }
}

impl<C: Clock + 'static> Host for Core<C> {
    fn cancel(&self, ticket: Ticket) {
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        let (waker, refund) = {
            let mut queue = self.queue.lock();
            let queue = &mut *queue;
            if queue.list.standing(ticket) == Standing::Waiting {
                (self.unlink(queue, ticket, now, &mut wakes), 0)
            } else {
                let cancelled = queue.list.cancel(ticket);
                let granted = cancelled.standing == Standing::Granted;
                (cancelled.waker, if granted { cancelled.need } else { 0 })
            }
        };
        drop(waker);
        wakes.wake();
        if refund > 0 {
            self.refund_grains(refund);
        }
    }
}

/// Granting and driving, by whoever holds the lock.
impl<C: Clock> Core<C> {
    /// Grants from the head on whatever fits, as far as `wakes` has room.
    ///
    /// Whether it had no room for more: the caller comes back, or leaves it to a driver.
    pub(crate) fn pump(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) -> bool {
        loop {
            let anchor = self.params.anchor();
            if anchor.is_stale(now) {
                let moved = self.lift(now, self.cap(&anchor));
                self.params.publish(&moved, self.params.rate());
                continue;
            }
            let word = self.word.load(Ordering::Acquire);
            let room = wakes.room();
            if self.refuse_too_large(queue, &anchor, room, wakes) {
                continue;
            }
            let (count, used) = self.what_fits(queue, &anchor, word >> 1, now, room);
            if count == 0 {
                return room == 0 && !queue.list.is_empty();
            }
            let emptied = count == queue.list.len();
            let next = used << 1 | u64::from(!emptied || queue.closed);
            let swapped =
                self.word
                    .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire);
            if swapped.is_err() {
                // A refund came in between: there is more to grant.
                continue;
            }
            for _ in 0..count {
                wakes.push(queue.list.grant_head());
            }
            self.mirror(queue);
            if emptied {
                // Their drivers have nothing to wait for, and would hold the bucket alive.
                queue.wake_seats(wakes);
                return false;
            }
        }
    }

    /// Ends the head's wait if a smaller burst has made it hopeless.
    fn refuse_too_large(
        &self,
        queue: &mut Queue,
        anchor: &Anchor,
        room: usize,
        wakes: &mut Wakes,
    ) -> bool {
        let too_large = |need| need > anchor.burst && !anchor.unlimited && room > 0;
        if !queue.list.head_need().is_some_and(too_large) {
            return false;
        }
        wakes.push(queue.list.close_head());
        self.mirror(queue);
        if queue.list.is_empty() {
            self.open_fast_path(queue, wakes);
        }
        true
    }

    /// The queue became empty by other means than a grant.
    fn open_fast_path(&self, queue: &mut Queue, wakes: &mut Wakes) {
        if !queue.closed {
            self.word.fetch_and(!W, Ordering::AcqRel);
        }
        // Their drivers have nothing to wait for, and would hold the bucket alive.
        queue.wake_seats(wakes);
    }

    /// How many from the head on can go now, and what is spent with them.
    fn what_fits(
        &self,
        queue: &Queue,
        anchor: &Anchor,
        used: u64,
        now: Instant,
        room: usize,
    ) -> (usize, u64) {
        if anchor.unlimited {
            return (queue.list.len().min(room), used);
        }
        let level = anchor.level(used, now, self.cap(anchor));
        let (mut count, mut taken) = (0, 0_u64);
        for need in queue.list.needs().take(room) {
            // Each at most a burst, and all of them together what is free: nothing overflows.
            if need > anchor.burst || (taken + need).cast_signed() > level.free {
                break;
            }
            taken += need;
            count += 1;
        }
        (count, anchor.take(level, taken))
    }

    /// Wakes the drivers if the head can go before the primary would look; the standbys too,
    /// who reckon from when it will.
    pub(crate) fn kick(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) {
        if self.head_at(queue, now) < queue.fire_at {
            queue.fire_at = now;
            queue.wake_seats(wakes);
        }
    }

    /// After tokens came back: grants what fits now.
    #[cold]
    pub(crate) fn supply_rose(&self) {
        let mut wakes = Wakes::new();
        loop {
            let now = self.clock.now();
            let more = {
                let mut queue = self.queue.lock();
                let more = self.pump(&mut queue, now, &mut wakes);
                self.kick(&mut queue, now, &mut wakes);
                more
            };
            wakes.wake();
            if !more {
                return;
            }
        }
    }

    /// Grants what fits now, however much it is.
    pub(crate) fn pump_all(&self, queue: &mut Queue, now: Instant, wakes: &mut Wakes) {
        wakes.widen();
        self.pump(queue, now, wakes);
    }

    /// Lets nobody wait any more.
    pub(crate) fn close(&self) {
        let mut wakes = Wakes::new();
        {
            let mut queue = self.queue.lock();
            let queue = &mut *queue;
            queue.closed = true;
            // Before W: who sees W set must find out why.
            self.closed.store(true, Ordering::Release);
            self.word.fetch_or(W, Ordering::AcqRel);
            queue.list.close_all(wakes.all());
            queue.wake_seats(&mut wakes);
            self.mirror(queue);
        }
        wakes.wake();
    }

    /// When the head can go; never, if nobody waits or nothing comes.
    fn head_at(&self, queue: &Queue, now: Instant) -> Instant {
        let Some(need) = queue.list.head_need() else {
            return Instant::FAR_FUTURE;
        };
        let anchor = self.params.anchor();
        if anchor.unlimited {
            return now;
        }
        let used = self.word.load(Ordering::Acquire) >> 1;
        let level = anchor.level(used, now, self.cap(&anchor));
        anchor
            .ready_at(level.spent, need)
            .unwrap_or(Instant::FAR_FUTURE)
    }

    /// Takes one who waits out of the queue. Its waker is to be dropped without the lock.
    fn unlink(
        &self,
        queue: &mut Queue,
        ticket: Ticket,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Option<Waker> {
        let cancelled = queue.list.cancel(ticket);
        self.mirror(queue);
        if queue.list.is_empty() {
            self.open_fast_path(queue, wakes);
        } else if cancelled.was_head {
            // Smaller needs behind a large one may fit at once.
            self.pump(queue, now, wakes);
            self.kick(queue, now, wakes);
        }
        cancelled.waker
    }

    /// Stores what those who do not lock want to know.
    fn mirror(&self, queue: &Queue) {
        self.waiting.store(queue.list.len(), Ordering::Release);
        self.queued
            .store(saturated(queue.list.sum()), Ordering::Release);
    }

    /// What is kept for those who wait: a burst, or what comes while their driver is late.
    pub(crate) fn cap(&self, anchor: &Anchor) -> u64 {
        let late = anchor.in_time(self.settings.catch_up);
        anchor.burst.max(late).min(MAX_BURST)
    }

    /// How long a driver sleeps at the least: well within what is kept for its lateness.
    fn quantum(&self) -> Duration {
        QUANTUM.min(self.settings.catch_up / 4)
    }

    /// One look of a driver at the queue.
    pub(crate) fn drive(
        &self,
        number: u64,
        waker: &mut Option<Waker>,
        fired: bool,
        wakes: &mut Wakes,
    ) -> Step {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        if fired && queue.primary == Some(number) {
            queue.last_fire = now;
        }
        if let Some(seat) = queue.seat(number) {
            // It is awake: no need for others to wake it.
            let old = seat.waker.take();
            wakes.discard(old);
        }
        if self.pump(queue, now, wakes) {
            return Step::Again;
        }
        if queue.list.is_empty() {
            queue.remove_seat(number);
            return Step::Leave;
        }
        let is_late = |queue: &Queue| queue.fire_at.saturating_add(SLACK) <= now;
        if queue.primary.is_none() || is_late(queue) {
            queue.primary = Some(number);
        }
        let at = if queue.primary == Some(number) {
            let earliest = queue.last_fire.saturating_add(self.quantum());
            queue.fire_at = self.head_at(queue, now).max(earliest);
            queue.fire_at
        } else {
            queue.fire_at.saturating_add(SLACK)
        };
        match queue.seat(number) {
            Some(seat) => seat.waker = waker.take(),
            // Nobody removes a seat but its driver.
            None => return Step::Leave,
        }
        Step::Sleep(at)
    }

    /// A driver ends before its time.
    pub(crate) fn vacate(&self, number: u64) {
        let mut wakes = Wakes::new();
        let seat = {
            let mut queue = self.queue.lock();
            let queue = &mut *queue;
            let was_primary = queue.primary == Some(number);
            let seat = queue.remove_seat(number);
            if queue.seats.is_empty() {
                queue.list.take_wakers(wakes.all());
            } else if was_primary {
                queue.wake_seats(&mut wakes);
            }
            seat
        };
        drop(seat);
        wakes.wake();
    }
}

enum Entered {
    Granted(Granted),
    Waits { ticket: Ticket, seat: Option<u64> },
}

enum Looked {
    Ends(Result<Granted, AcquireError>),
    Waits { seat: Option<u64> },
}

/// What a driver does next.
pub(crate) enum Step {
    /// Wake those granted, then look again.
    Again,
    /// Nobody waits.
    Leave,
    Sleep(Instant),
}

fn saturated(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// A driver's timer fires at most once in this time: a tenth of the work at 100 k grants/s.
const QUANTUM: Duration = Duration::from_millis(1);

/// How late the primary may be before another runtime's driver takes over.
const SLACK: Duration = Duration::from_millis(20);
