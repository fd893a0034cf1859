//! Where tasks run: the body, context and timers that a slot uses for one task after the other, and
//! a submitter for its own.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{BoxTimer, CancellationToken, Deadline, Instant, TaskContext, contain};

use super::core::Core;
use super::error::TaskError;
use super::events;
use super::hooks::{self, TaskEnd, TaskOutcome};
use super::inside;
use super::roll::Enrolled;
use super::roster::Seat;
use super::stats::End;
use super::task::{Begun, Body, Job, NoBody};

/// Bodies up to this size are kept for the next task.
const KEPT: usize = 1024;

/// Where tasks run one after the other: a slot's, or that of a submitter that runs its own.
pub(super) struct Place {
    pub(super) core: Arc<Core>,
    pub(super) seat: Arc<Seat>,
    /// A child of the pool's token: the parent of the tasks' ones, so that places do not meet in
    /// the pool's.
    token: CancellationToken,
    /// The last task's context: the next one's, if nobody has kept or cancelled it. Always there,
    /// but while a task is polled in it.
    cx: Option<TaskContext>,
    /// What the last task ran in: the next one's, if it is of the same type.
    body: Pin<Box<dyn Body>>,
    run: Run,
    /// Whether this is a submitter's.
    is_guest: bool,
}

/// Made when they are needed first, then armed anew.
#[derive(Default)]
pub(super) struct Timers {
    task: Option<BoxTimer>,
    pub(super) idle: Option<BoxTimer>,
}

impl Place {
    pub(super) fn new(core: Arc<Core>, seat: Arc<Seat>) -> Self {
        let token = core.token.child_token();
        Self {
            cx: None,
            core,
            seat,
            token,
            body: Box::pin(NoBody),
            run: Run::NONE,
            is_guest: false,
        }
    }

    /// Keeps no body that is large.
    pub(super) fn tidy(&mut self) {
        if size_of_val(&*self.body) > KEPT {
            self.body = Box::pin(NoBody);
        }
    }

    /// Whose slot its tasks keep.
    fn inside(&self) -> usize {
        if self.is_guest {
            inside::NOWHERE
        } else {
            self.core.address()
        }
    }

    /// Makes the context fit for a task.
    fn prepare(&mut self, submitter: Option<&TaskContext>, deadline: Deadline) {
        let spare = self.cx.as_mut();
        if !spare.is_some_and(|cx| cx.renew(submitter, deadline)) {
            let token = self.token.child_token();
            let cx = match submitter {
                Some(submitter) => submitter.child_with_token(token),
                None => TaskContext::from_token(token),
            };
            self.cx = Some(cx.with_deadline(deadline));
        }
    }

    /// Begins a task, in a body of its type; false if it was aborted in the queue.
    fn begin(&mut self, job: Arc<dyn Job>) -> bool {
        let pool = self.inside();
        let Self {
            core,
            seat,
            cx,
            body,
            ..
        } = self;
        let own = cx.clone().unwrap_or_default();
        let begun = TaskContext::enter_from(cx, || {
            inside::enter(pool, || {
                match body.as_mut().begin(job, seat.id, own, core) {
                    Begun::Misfit(job, own) => {
                        *body = job.body();
                        body.as_mut().begin(job, seat.id, own, core)
                    }
                    begun => begun,
                }
            })
        });
        matches!(begun, Begun::Yes)
    }
}

/// Runs a task where its submitter is, beside the slots.
pub(super) async fn run_here(mut guest: Guest, job: Arc<dyn Job>) {
    let mut timers = Timers::default();
    if let Some(mut running) = Running::start(&mut guest.0, job) {
        poll_fn(|cx| running.poll(&mut timers, cx)).await;
    }
}

/// A submitter's place, which is gone with its one task.
pub(super) struct Guest(Place);

impl Guest {
    pub(super) fn new(core: Arc<Core>, seat: Arc<Seat>) -> Self {
        Self(Place {
            is_guest: true,
            ..Place::new(core, seat)
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.core.guest_left(&self.0.seat);
    }
}

/// A task on its place. Dropped before its end, it tells the handle that the task was cancelled.
pub(super) struct Running<'s> {
    place: &'s mut Place,
}

/// What a place knows of the task that it runs.
struct Run {
    limit: Option<Duration>,
    started: Instant,
    submitter: Option<Submitter>,
    entry: Option<Arc<Enrolled>>,
    /// Whether the length of its run is wanted.
    timed: bool,
    /// Whether the place's timer is armed for this task.
    armed: bool,
    ended: bool,
}

impl Run {
    const NONE: Self = Self {
        limit: None,
        started: Instant::ORIGIN,
        submitter: None,
        entry: None,
        timed: false,
        armed: false,
        ended: true,
    };
}

impl<'s> Running<'s> {
    /// Starts a task; `None` if it was aborted in the queue.
    pub(super) fn start(place: &'s mut Place, job: Arc<dyn Job>) -> Option<Self> {
        let given = job.given();
        let limit = match (place.core.task_timeout, given.timeout) {
            (Some(pool), Some(own)) => Some(pool.min(own)),
            (pool, own) => pool.or(own),
        };
        let timed = place.core.timing.is_on();
        let entry = given.entry.clone();
        let is_asked = timed || place.core.hooks.task_end.is_some() || entry.is_some();
        let started = if is_asked || limit.is_some() {
            place.core.rt.now()
        } else {
            Instant::ORIGIN
        };
        if let Some(submitted) = given.at {
            place.core.timing.waited(started - submitted);
        }
        let deadline = limit.map_or(Deadline::NONE, |limit| Deadline::after(started, limit));
        let submitter = given.submitted_by.as_ref();
        place.prepare(submitter, deadline);
        if let Some(entry) = &entry {
            let token = place.cx.as_ref().map(|cx| cx.cancellation().clone());
            entry.runs(started, (!place.is_guest).then_some(place.seat.id), token);
        }
        let run = &mut place.run;
        run.entry = entry;
        run.limit = limit;
        run.started = started;
        run.armed = false;
        run.timed = timed;
        run.submitter = submitter.map(|by| Submitter {
            token: by.cancellation().clone(),
            wait: None,
        });
        // Made only if it began: its destructor ends the task.
        place.begin(job).then(|| {
            place.run.ended = false;
            Self { place }
        })
    }

    /// Polls the task, and whatever may end it.
    pub(super) fn poll(&mut self, timers: &mut Timers, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Before the poll: if it is set, the task's token was cancelled before (invariant 2
            // of the core), so this poll is the chance to react that it is owed.
            let told = self.place.core.is_stopped();
            if self.place.body.is_aborted() {
                self.stop(End::Aborted, TaskError::Cancelled);
                return Poll::Ready(());
            }
            self.heed_submitter();
            let pool = self.place.inside();
            let Place { cx: own, body, .. } = &mut *self.place;
            let polled =
                TaskContext::enter_from(own, || inside::enter(pool, || body.as_mut().poll(cx)));
            if let Poll::Ready(end) = polled {
                let end = if self.place.core.is_stopping() && end == End::Completed {
                    End::Stopped
                } else {
                    end
                };
                self.finish(end);
                return Poll::Ready(());
            }
            if told {
                self.stop(End::Dropped, TaskError::Cancelled);
                return Poll::Ready(());
            }
            if let Some(limit) = self.place.run.limit
                && self.poll_limit(limit, timers, cx)
            {
                self.stop(End::TimedOut, TaskError::TimedOut { limit });
                return Poll::Ready(());
            }
            if let Some(submitter) = &mut self.place.run.submitter
                && submitter.poll_cancelled(cx).is_ready()
            {
                continue;
            }
            // Before the second look: a stop or an abort from here on wakes the slot.
            self.place.seat.register(cx);
            if !self.place.body.is_aborted() && !self.place.core.is_stopped() {
                return Poll::Pending;
            }
        }
    }

    /// Cancels the task if its submitter was.
    fn heed_submitter(&mut self) {
        let cancelled = self
            .place
            .run
            .submitter
            .take_if(|by| by.token.is_cancelled());
        if let (Some(by), Some(cx)) = (cancelled, &self.place.cx) {
            match by.token.reason() {
                Some(reason) => cx.cancellation().cancel_with(reason),
                None => cx.cancellation().cancel(),
            }
        }
    }

    /// Whether the task has run for too long.
    fn poll_limit(&mut self, limit: Duration, timers: &mut Timers, cx: &mut Context<'_>) -> bool {
        if !self.place.run.armed {
            arm(
                &mut timers.task,
                &self.place.core,
                self.place.run.started + limit,
            );
            self.place.run.armed = true;
        }
        // A timer whose runtime is gone never fires; that runtime drops the task.
        timers
            .task
            .as_mut()
            .is_some_and(|timer| matches!(timer.poll_fired(cx), Poll::Ready(Ok(()))))
    }

    /// Ends a task that has not ended itself, and what it has started elsewhere.
    fn stop(&mut self, end: End, why: TaskError) {
        let body = self.place.body.as_mut();
        inside::enter(self.place.core.address(), || body.stop(why));
        if let Some(cx) = &self.place.cx {
            contain(|| cx.cancellation().cancel());
        }
        self.finish(end);
    }

    /// Counts, tells, and hands the result over, in this order: whoever awaits the handle finds
    /// the task counted and its place free.
    fn finish(&mut self, end: End) {
        self.place.run.ended = true;
        self.place.run.submitter = None;
        if let Some(entry) = self.place.run.entry.take() {
            entry.strike();
        }
        let (core, slot) = (&self.place.core, self.place.seat.id);
        core.counters.ended(slot, end);
        if core.hooks.panic.is_some() {
            core.hooks.panicked(self.place.body.panic());
        }
        let run = &self.place.run;
        if matches!(end, End::Panicked | End::TimedOut) {
            events::ended(core, slot, end, self.place.body.panic(), run.limit);
        }
        if run.timed {
            core.timing.ran(core.rt.now() - run.started);
        }
        if core.hooks.task_end.is_some() {
            let end = TaskEnd {
                slot: slot as usize,
                elapsed: core.rt.now() - run.started,
                outcome: outcome(end),
            };
            hooks::call(core.hooks.task_end.as_ref(), end);
        }
        if !self.place.is_guest {
            core.left();
        }
        self.place.body.as_mut().publish();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.place.run.ended {
            self.stop(End::Aborted, TaskError::Cancelled);
        }
    }
}

/// Whoever can cancel the task beside its handle and the pool.
struct Submitter {
    token: CancellationToken,
    /// Made when the task does not end at once; and whom it wakes.
    wait: Option<(Wait, Waker)>,
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Submitter {
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, waker)) = &self.wait
            && waker.will_wake(cx.waker())
            && !self.token.is_cancelled()
        {
            // A cancellation from here on finds the waker that is there.
            return Poll::Pending;
        }
        let (wait, waker) = self.wait.get_or_insert_with(|| {
            let wait: Wait = Box::pin(self.token.clone().cancelled_owned());
            (wait, cx.waker().clone())
        });
        waker.clone_from(cx.waker());
        wait.as_mut().poll(cx)
    }
}

/// Arms a timer, or makes it.
pub(super) fn arm(timer: &mut Option<BoxTimer>, core: &Core, at: Instant) {
    match timer {
        Some(timer) => timer.arm(at),
        None => *timer = Some(core.rt.timer(at)),
    }
}

const fn outcome(end: End) -> TaskOutcome {
    match end {
        End::Completed | End::Stopped => TaskOutcome::Completed,
        End::Panicked => TaskOutcome::Panicked,
        End::TimedOut => TaskOutcome::TimedOut,
        End::Aborted | End::Dropped => TaskOutcome::Cancelled,
    }
}
