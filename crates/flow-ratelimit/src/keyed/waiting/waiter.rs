//! The steps of those who wait for a key: they come, look again, and leave.

use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Clock, Handle, Instant};
use flow_sync::sync::atomic::{Ordering, fence};
use flow_sync::{Standing, Ticket};

use super::driver::Driver;
use super::{Line, LineId, Waiting};
use crate::error::{AcquireError, Denied};
use crate::granted::Granted;
use crate::keyed::store::{Ask, Finds, Store};
use crate::keyed::table::Table;
use crate::wait_state::{Host, Place, WaitState};
use crate::wakes::Wakes;

/// A key's line, as those in it know it.
struct LineHost<C: Clock, S: Store> {
    table: Arc<Table<C, S>>,
    tag: S::Tag,
    id: LineId,
}

/// What came of a newcomer's critical section. The host is to be dropped without the lock.
enum Entered {
    Waits {
        id: LineId,
        ticket: Ticket,
        host: Arc<dyn Host>,
    },
    /// It was granted at once so many tokens, or refused: its ticket is gone.
    Left {
        host: Arc<dyn Host>,
        answer: Result<u64, AcquireError>,
    },
}

impl<C: Clock + 'static, S: Store> Table<C, S> {
    /// Takes `n` tokens of a key now or later; the one who waits is in `state`.
    pub(crate) fn poll_take<Q: ?Sized>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        at: (u64, &Q),
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>>
    where
        S: Finds<Q>,
    {
        let polled = if let Some((id, ticket)) = self.place_of(at, n, state) {
            self.poll_queued(cx, id, ticket, n, state)
        } else {
            // A wait for another key, or for another number of tokens, ends here.
            state.leave();
            match self.decide(at, n, Ask::Take) {
                Ok(granted) => Poll::Ready(Ok(granted)),
                Err(Denied::NotYet { retry_after } | Denied::KeysFull { retry_after })
                    if state.limit() == Some(Duration::ZERO) =>
                {
                    // No place in a line, and nobody to drive: it has no time to wait.
                    let would_wait = retry_after;
                    Poll::Ready(Err(AcquireError::Timeout { would_wait }))
                }
                Err(Denied::NotYet { .. } | Denied::KeysFull { .. }) => {
                    self.enqueue(cx, at, n, state)
                }
                Err(denied) => Poll::Ready(Err(AcquireError::at_once(denied))),
            }
        };
        if let Poll::Ready(result) = &polled {
            self.count(result.is_ok());
        }
        polled
    }

    /// The place in the key's line, if this waits for so many tokens of it.
    fn place_of<Q: ?Sized>(
        &self,
        (hash, key): (u64, &Q),
        n: u64,
        state: &WaitState,
    ) -> Option<(LineId, Ticket)>
    where
        S: Finds<Q>,
    {
        if !state.is_waiting() {
            return None;
        }
        let waiting = self.waiters.lock();
        let (id, line) = waiting.find(hash, |tag| S::is_of(tag, key))?;
        let ticket = state.ticket_at(Arc::as_ptr(&line.host).cast(), n)?;
        Some((id, ticket))
    }

    fn enqueue<Q: ?Sized>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        at: (u64, &Q),
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>>
    where
        S: Finds<Q>,
    {
        let runtime = match self.where_driven() {
            Ok(runtime) => runtime,
            Err(error) => return Poll::Ready(Err(error)),
        };
        // Dropped out here if it is not stored, and so is the last of a key.
        let mut waker = Some(cx.waker().clone());
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        let tag = S::tag(at.1);
        let (entered, seat) = {
            let mut waiting = self.waiters.lock();
            let entered = self.enter(&mut waiting, at, &tag, n, state.limit(), now, &mut wakes);
            let seat = match entered {
                Ok(Entered::Waits { id, ticket, .. }) => {
                    if let (Some(line), Some(new)) = (waiting.line_mut(id), waker.take()) {
                        wakes.discard(line.list.update_waker(ticket, new));
                    }
                    waiting.seat_for(runtime.id())
                }
                _ => None,
            };
            (entered, seat)
        };
        wakes.wake();
        match entered {
            Ok(Entered::Waits { id, ticket, host }) => {
                state.take_place(Place::new(host, ticket, n), &runtime);
                self.start(&runtime, seat, (id, ticket), state)
            }
            Ok(Entered::Left { host, answer }) => {
                drop(host);
                Poll::Ready(answer.map(|taken| self.granted_now((at.0, &tag), taken, now)))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// The critical section of `enqueue`.
    #[allow(clippy::too_many_arguments, reason = "all that a wait is made of")]
    fn enter<Q: ?Sized>(
        self: &Arc<Self>,
        waiting: &mut Waiting<S::Tag>,
        (hash, key): (u64, &Q),
        tag: &S::Tag,
        n: u64,
        limit: Option<Duration>,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Result<Entered, AcquireError>
    where
        S: Finds<Q>,
    {
        if waiting.closed {
            return Err(AcquireError::Closed);
        }
        let found = waiting.find(hash, |tag| S::is_of(tag, key));
        let before = found.as_ref().map_or(0, |(_, line)| line.list.sum());
        if let Some(limit) = limit {
            let would_wait = self.wait_of((hash, tag), before, n, now)?;
            if would_wait > limit {
                return Err(AcquireError::Timeout { would_wait });
            }
        }
        let found = found.map(|(id, _)| id);
        let id = found.unwrap_or_else(|| {
            waiting.add(hash, tag.clone(), |id| {
                let (table, tag) = (self.clone(), tag.clone());
                Arc::new(LineHost { table, tag, id })
            })
        });
        let Some(line) = waiting.line_mut(id) else {
            return Err(AcquireError::Closed);
        };
        let host = line.host.clone();
        line.tickets += 1;
        let ticket = line.list.push(n, None);
        // Before the store is asked: see Ordering.
        self.attention.fetch_add(2, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.pump(waiting, id, now, wakes);
        let standing = waiting.line(id).map(|line| line.list.standing(ticket));
        let ends = match standing {
            Some(Standing::Waiting) if self.waiting() > self.max_waiters => {
                Some(AcquireError::QueueFull {
                    max_waiters: self.max_waiters,
                })
            }
            Some(Standing::Closed) => Some(self.why_closed(waiting, id, n)),
            _ => None,
        };
        if standing == Some(Standing::Waiting) && ends.is_none() {
            return Ok(Entered::Waits { id, ticket, host });
        }
        let (taken, _) = self.take_out(waiting, id, ticket, now, wakes);
        let answer = ends.map_or(Ok(taken), Err);
        Ok(Entered::Left { host, answer })
    }

    fn poll_queued(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        id: LineId,
        ticket: Ticket,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        let runtime = self.where_driven();
        let waker = cx.waker().clone();
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        let (mut tag, mut taken, mut host) = (None, 0, None);
        let looked = {
            let mut waiting = self.waiters.lock();
            if waiting
                .line(id)
                .and_then(|line| line.due)
                .is_some_and(|at| at <= now)
            {
                self.pump(&mut waiting, id, now, &mut wakes);
            }
            let standing = waiting
                .line(id)
                .map_or(Standing::Gone, |line| line.list.standing(ticket));
            if standing == Standing::Waiting {
                if let Some(line) = waiting.line_mut(id) {
                    wakes.discard(line.list.update_waker(ticket, waker));
                }
                let seat = runtime.as_ref().ok();
                Ok(seat.and_then(|runtime| waiting.seat_for(runtime.id())))
            } else {
                let why = self.why_closed(&waiting, id, n);
                tag = waiting.line(id).map(|line| line.tag.clone());
                (taken, host) = self.take_out(&mut waiting, id, ticket, now, &mut wakes);
                Err((standing, why))
            }
        };
        wakes.wake();
        match looked {
            Err((standing, why)) => {
                state.forget_place();
                drop(host);
                Poll::Ready(match tag {
                    Some(tag) if standing == Standing::Granted => {
                        Ok(self.granted_now((id.hash, &tag), taken, now))
                    }
                    _ => Err(why),
                })
            }
            Ok(seat) => match runtime {
                Ok(runtime) => self.start(&runtime, seat, (id, ticket), state),
                // Polled where no runtime is: fine while another one drives.
                Err(error) => self.unless_stranded((id, ticket), state, || error),
            },
        }
    }

    /// Starts the driver of a new seat.
    fn start(
        self: &Arc<Self>,
        runtime: &Handle,
        seat: Option<u64>,
        place: (LineId, Ticket),
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        let Some(seat) = seat else {
            return Poll::Pending;
        };
        runtime.spawn_detached(Driver::new(self, runtime.clone(), seat));
        self.unless_stranded(place, state, || AcquireError::Stopped)
    }

    /// Pending, if somebody drives.
    fn unless_stranded(
        &self,
        place: (LineId, Ticket),
        state: &mut WaitState,
        stranded: impl FnOnce() -> AcquireError,
    ) -> Poll<Result<Granted, AcquireError>> {
        let is_stranded = {
            let waiting = self.waiters.lock();
            let waits = |line: &Line<S::Tag>| line.list.standing(place.1) == Standing::Waiting;
            waiting.seats.is_empty() && waiting.line(place.0).is_some_and(waits)
        };
        if is_stranded {
            state.leave();
            return Poll::Ready(Err(stranded()));
        }
        Poll::Pending
    }

    fn where_driven(&self) -> Result<Handle, AcquireError> {
        match &self.runtime {
            Some(runtime) => Ok(runtime.clone()),
            None => Handle::current().map_err(AcquireError::NoRuntime),
        }
    }

    /// Ends a wait, however it stands.
    fn give_up(&self, id: LineId, tag: &S::Tag, ticket: Ticket) {
        let mut wakes = Wakes::new();
        let now = self.clock.now();
        let (taken, host) = {
            let mut waiting = self.waiters.lock();
            self.take_out(&mut waiting, id, ticket, now, &mut wakes)
        };
        wakes.wake();
        if taken > 0 {
            self.give_back_tagged(id.hash, tag, taken);
        }
        drop(host);
    }
}

impl<C: Clock + 'static, S: Store> Host for LineHost<C, S> {
    fn give_back(&self, n: u64) {
        self.table.give_back_tagged(self.id.hash, &self.tag, n);
    }

    fn cancel(&self, ticket: Ticket) {
        self.table.give_up(self.id, &self.tag, ticket);
    }
}
