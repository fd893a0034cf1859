//! A wait under way, as plain data: what a manual future keeps between polls.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use flow_rt::{Handle, HandleError, Instant};
use flow_sync::Ticket;

use crate::composite::{Tally, Waits};
use crate::error::Denied;
use crate::granted::Granted;
use crate::jitter::Delayed;

/// One wait for a limiter's decision, between two polls of [`poll_acquire_n`] or [`poll_decide`]:
/// a place in a limiter's queue, or a question that a server has not answered yet.
///
/// It is not pinned and holds no timer. Dropping it ends the wait: a place in the queue is given
/// up, tokens that were granted and not yet taken are refunded exactly. `mem::forget` of one
/// leaks its place, and swallows its tokens.
///
/// [`poll_acquire_n`]: crate::Limiter::poll_acquire_n
/// [`poll_decide`]: crate::Decide::poll_decide
#[derive(Default)]
pub struct WaitState {
    /// One thing at a time: so who need not wait has next to nothing to make, and to drop.
    wait: Option<Wait>,
    limit: Option<Duration>,
    runtime: Option<Handle>,
}

/// What somebody waits for.
enum Wait {
    Place(Place),
    Question(Question),
    /// A grant that is returned later.
    Delayed(Box<Delayed>),
    Member(Box<Member>),
}

/// A wait for one limiter of several.
struct Member {
    index: usize,
    n: u64,
    state: WaitState,
    /// When the whole wait is at its limit, and who keeps that time: known once it has a place.
    end: Option<(Handle, Instant)>,
    /// That it is counted among those who wait for all of them, if anybody counts.
    counted: Option<Waits>,
}

/// Where a place is: a bucket of any clock.
pub(crate) trait Host: Send + Sync {
    /// Ends a wait, however it stands.
    fn cancel(&self, ticket: Ticket);

    /// Takes back tokens that were granted and not returned.
    fn give_back(&self, n: u64);
}

/// A decision that is made elsewhere.
struct Question {
    /// The address of the limiter that asked.
    of: usize,
    n: u64,
    /// Only to be `Sync`: it is never locked.
    answer: Mutex<Answer>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Granted, Denied>> + Send>>;

/// A place in a queue, given up when dropped.
pub(crate) struct Place {
    host: Arc<dyn Host>,
    ticket: Ticket,
    n: u64,
    held: bool,
}

impl WaitState {
    /// No wait yet.
    pub const fn new() -> Self {
        Self {
            wait: None,
            limit: None,
            runtime: None,
        }
    }

    /// No wait yet; one that would last longer than `limit` is refused when it begins.
    ///
    /// Whether it then lasts longer all the same (somebody lowered the rate) is the caller's to
    /// watch: there is no timer in here.
    ///
    /// With a `limit` of zero nobody waits. [`poll_decide`](crate::Decide::poll_decide) of a limiter
    /// is [`try_acquire_n`](crate::Limiter::try_acquire_n) then, debt and all.
    pub const fn with_limit(limit: Duration) -> Self {
        Self {
            wait: None,
            limit: Some(limit),
            runtime: None,
        }
    }

    /// A wait that has a place already, perhaps.
    pub(crate) fn at(place: Option<Place>) -> Self {
        Self {
            wait: place.map(Wait::Place),
            ..Self::new()
        }
    }

    /// Whether there is a place in a queue, a grant that is returned later, or a question that is
    /// not answered yet.
    #[inline]
    pub const fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// Whether there is a question that somebody else has not answered yet.
    #[cfg(feature = "tower")]
    pub(crate) const fn is_elsewhere(&self) -> bool {
        matches!(self.wait, Some(Wait::Question(_)))
    }

    /// Ends the wait, as dropping this would.
    pub fn leave(&mut self) {
        self.wait = None;
    }

    /// The wait for one limiter of several, if it is for `n` tokens of each: its number and state.
    pub(crate) fn member(&mut self, n: u64) -> Option<(usize, &mut Self)> {
        match &mut self.wait {
            Some(Wait::Member(member)) if member.n == n => Some((member.index, &mut member.state)),
            _ => None,
        }
    }

    /// Begins to wait for one limiter of several; any other wait ends. One that goes from limiter to
    /// limiter, for the same `n`, has as much time as is left.
    pub(crate) fn wait_for_member(&mut self, index: usize, n: u64) {
        let (end, counted) = match self.wait.take() {
            Some(Wait::Member(before)) if before.n == n => (before.end, before.counted),
            _ => (None, None),
        };
        let left =
            |(runtime, end): &(Handle, Instant)| end.saturating_duration_since(runtime.now());
        let limit = end.as_ref().map(left).or(self.limit);
        let state = Self {
            limit,
            ..Self::new()
        };
        self.wait = Some(Wait::Member(Box::new(Member {
            index,
            n,
            state,
            end,
            counted,
        })));
    }

    /// A wait for one limiter of several has a place: the time of the whole has begun.
    pub(crate) fn member_waits(&mut self, tally: Option<&Arc<Tally>>) {
        let Some(Wait::Member(member)) = &mut self.wait else {
            return;
        };
        member.counted = Waits::in_line(member.counted.take(), tally);
        if let Some(limit) = self.limit
            && member.end.is_none()
            && let Some(runtime) = member.state.runtime()
        {
            let end = runtime.now().saturating_add(limit);
            member.end = Some((runtime.clone(), end));
        }
    }

    /// Puts a grant off.
    pub(crate) fn delay(&mut self, delayed: Delayed, cx: &mut Context<'_>) -> Poll<Granted> {
        let mut delayed = Box::new(delayed);
        let polled = delayed.poll(cx);
        self.wait = polled.is_pending().then_some(Wait::Delayed(delayed));
        polled
    }

    /// The grant that was put off, if there is one of the limiter at this address for `n` tokens.
    pub(crate) fn poll_delayed(
        &mut self,
        cx: &mut Context<'_>,
        host: *const (),
        n: u64,
    ) -> Option<Poll<Granted>> {
        let polled = match &mut self.wait {
            Some(Wait::Delayed(delayed)) if delayed.is_of(host, n) => delayed.poll(cx),
            _ => return None,
        };
        if polled.is_ready() {
            self.wait = None;
        }
        Some(polled)
    }

    /// A grant that was put off is not any longer.
    pub(crate) fn hurry(&mut self) {
        match &mut self.wait {
            Some(Wait::Delayed(delayed)) => delayed.hurry(),
            Some(Wait::Member(member)) => member.state.hurry(),
            _ => {}
        }
    }

    /// The longest that the wait may last, by [`with_limit`](Self::with_limit).
    pub const fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// For limiters whose decisions are made elsewhere: polls the answer to the question that is
    /// under way for `n` tokens of the limiter `of`, or asks it. A wait for anything else ends
    /// here.
    ///
    /// Clones of a limiter go on with one another's questions if they give the same `of`: what
    /// they share.
    ///
    /// # Errors
    /// What the future says.
    ///
    /// # Cost
    /// One box per question.
    pub fn poll_elsewhere<L: ?Sized, F>(
        &mut self,
        cx: &mut Context<'_>,
        of: &L,
        n: u64,
        ask: impl FnOnce() -> F,
    ) -> Poll<Result<Granted, Denied>>
    where
        F: Future<Output = Result<Granted, Denied>> + Send + 'static,
    {
        let of = core::ptr::from_ref(of).cast::<()>().addr();
        let mut question = match self.wait.take() {
            Some(Wait::Question(question)) if question.of == of && question.n == n => question,
            other => {
                // It ends before the question is asked.
                drop(other);
                Question {
                    of,
                    n,
                    answer: Mutex::new(Box::pin(ask())),
                }
            }
        };
        let answer = question.answer.get_mut();
        let polled = answer
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .poll(cx);
        self.wait = polled.is_pending().then_some(Wait::Question(question));
        polled
    }

    /// The runtime that keeps the time of this wait.
    pub(crate) fn runtime(&self) -> Option<&Handle> {
        match &self.wait {
            Some(Wait::Member(member)) if self.runtime.is_none() => member.state.runtime(),
            _ => self.runtime.as_ref(),
        }
    }

    /// Whose timers bound this wait: those of the runtime that keeps its time, or of the one that
    /// polls it.
    pub(crate) fn runtime_or_current(&self) -> Result<Handle, HandleError> {
        self.runtime().cloned().map_or_else(Handle::current, Ok)
    }

    /// The ticket, if this waits for `n` tokens of the limiter at this address.
    pub(crate) fn ticket_at(&self, host: *const (), n: u64) -> Option<Ticket> {
        let Some(Wait::Place(place)) = &self.wait else {
            return None;
        };
        (Arc::as_ptr(&place.host).cast() == host && place.n == n).then_some(place.ticket)
    }

    pub(crate) fn take_place(&mut self, place: Place, runtime: &Handle) {
        self.wait = Some(Wait::Place(place));
        // Only a wait with a limit needs a timer of its own.
        if self.limit.is_some() {
            self.runtime = Some(runtime.clone());
        }
    }

    /// The wait has ended and its ticket is gone already.
    pub(crate) fn forget_place(&mut self) {
        if let Some(Wait::Place(place)) = &mut self.wait {
            place.held = false;
            self.wait = None;
        }
    }
}

impl fmt::Debug for WaitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitState")
            .field("waiting", &self.is_waiting())
            .finish_non_exhaustive()
    }
}

impl Place {
    pub(crate) fn new(host: Arc<dyn Host>, ticket: Ticket, n: u64) -> Self {
        Self {
            host,
            ticket,
            n,
            held: true,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.held {
            self.host.cancel(self.ticket);
        }
    }
}
