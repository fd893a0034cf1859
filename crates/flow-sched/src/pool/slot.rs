//! A slot: one host task that takes tasks from the queue and awaits each to its end.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use flow_rt::{BoxTimer, CancellationToken, Deadline, Instant, TaskContext, contain};
use std::sync::Arc;

use super::core::Core;
use super::error::TaskError;
use super::hooks::{self, TaskEnd, TaskOutcome};
use super::inside;
use super::roster::{Seat, SlotRange};
use super::stats::{End, Gone};
use super::task::{Body, Job, NoBody};

/// Tasks that a slot runs in a row before it lets the host's other tasks have their turn.
const BUDGET: u32 = 64;

/// Whether a slot that finds nothing lets the host's other tasks have a turn and looks again,
/// once, before it falls asleep: a submitter that is at it saves a wake. Models do without.
const YIELDS: bool = cfg!(not(loom));

/// Bodies up to this size are kept for the next task.
const KEPT: usize = 1024;

/// A slot's own state. Dropped before its end, it reports that the host is gone.
pub(super) struct Slot {
    place: Place,
    state: State,
    /// Just woken: to look whether it leaves a task for somebody else.
    fresh: bool,
    in_a_row: u32,
    /// The range it has compared the number of slots with.
    range: SlotRange,
    /// Whether it has let others have their turn since its last task.
    rested: bool,
    timers: Timers,
    greeted: bool,
}

/// Where tasks run one after the other: a slot's, or that of a submitter that runs its own.
struct Place {
    core: Arc<Core>,
    seat: Arc<Seat>,
    /// A child of the pool's token: the parent of the tasks' ones, so that places do not meet in
    /// the pool's.
    token: CancellationToken,
    /// The last task's context: the next one's, if nobody has kept or cancelled it. Always there,
    /// but while a task is polled in it.
    cx: Option<TaskContext>,
    /// What the last task ran in: the next one's, if it is of the same type.
    body: Pin<Box<dyn Body>>,
    /// Whether this is a submitter's.
    is_guest: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Started or woken, and has not looked at the queue.
    Waking,
    Busy,
    /// In the list of idle slots, unless it was woken since.
    Parked,
    Left,
}

/// Made when they are needed first, then armed anew.
#[derive(Default)]
struct Timers {
    task: Option<BoxTimer>,
    idle: Option<BoxTimer>,
}

/// A slot's life, as the host's task.
pub(super) async fn live(mut slot: Slot) {
    slot.greeted = true;
    hooks::call(
        slot.place.core.hooks.slot_start.as_ref(),
        slot.place.seat.id as usize,
    );
    while let Some(job) = poll_fn(|cx| slot.poll_next(cx)).await {
        slot.run(job).await;
    }
    slot.leave();
}

impl Slot {
    pub(super) fn new(core: Arc<Core>, seat: Arc<Seat>) -> Self {
        Self {
            range: core.roster.range(),
            place: Place::new(core, seat),
            state: State::Waking,
            fresh: false,
            in_a_row: 0,
            rested: true,
            timers: Timers::default(),
            greeted: false,
        }
    }

    /// The next task; `None` when the slot is to leave.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<dyn Job>>> {
        if self.state == State::Parked {
            self.place.seat.register(cx);
            if self.place.seat.is_parked() {
                return self.poll_idle(cx);
            }
            self.state = State::Waking;
        }
        loop {
            if self.state == State::Waking {
                self.place.core.roster.arrive();
                self.state = State::Busy;
                self.fresh = true;
            }
            if self.range != self.place.core.roster.range() && self.is_too_many() {
                return Poll::Ready(None);
            }
            if self.in_a_row >= BUDGET && self.place.core.has_queued() {
                self.in_a_row = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(job) = self.place.core.pop() {
                self.in_a_row += 1;
                self.rested = false;
                if core::mem::take(&mut self.fresh) && self.place.core.has_queued() {
                    self.place.core.notify();
                }
                return Poll::Ready(Some(job));
            }
            self.fresh = false;
            self.in_a_row = 0;
            if self.place.core.is_finishing() {
                return Poll::Ready(None);
            }
            if !core::mem::replace(&mut self.rested, true) && YIELDS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.place.seat.register(cx);
            self.place.core.roster.park(&self.place.seat);
            self.state = State::Parked;
            if self.place.core.has_queued() || self.place.core.is_finishing() {
                self.state = if self.place.core.roster.unpark(&self.place.seat) {
                    State::Busy
                } else {
                    State::Waking
                };
                continue;
            }
            self.arm_idle();
            return self.poll_idle(cx);
        }
    }

    /// Leaves if there are too many slots since the range was set.
    #[cold]
    fn is_too_many(&mut self) -> bool {
        let core = &self.place.core;
        self.range = core.roster.range();
        let leaves = core.roster.leave_if_too_many(&self.place.seat);
        if leaves {
            self.state = State::Left;
            // Somebody may have relied on it.
            core.notify();
        }
        leaves
    }

    /// Waits, asleep, for a wake or for the end of its stay.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<dyn Job>>> {
        // Without a runtime that keeps the time the slot just stays.
        if let Some(timer) = &mut self.timers.idle
            && let Poll::Ready(Ok(())) = timer.poll_fired(cx)
        {
            if self.place.core.roster.retire(&self.place.seat) {
                self.state = State::Left;
                return Poll::Ready(None);
            }
            // It belongs to those that stay by now, or was just woken: the wake polls it again.
            timer.arm(Instant::FAR_FUTURE);
        }
        Poll::Pending
    }

    fn arm_idle(&mut self) {
        if !self.place.core.roster.has_surplus() {
            if let Some(timer) = &mut self.timers.idle {
                timer.arm(Instant::FAR_FUTURE);
            }
            return;
        }
        let until = self.place.core.rt.now() + self.place.core.idle_timeout;
        arm(&mut self.timers.idle, &self.place.core, until);
    }

    /// Runs one task to its end.
    async fn run(&mut self, job: Arc<dyn Job>) {
        if self.place.core.is_stopping() {
            job.discard(&self.place.core, Gone::Abandoned, TaskError::Closed);
            contain(|| drop(job));
            self.place.core.left();
            return;
        }
        let Some(mut running) = Running::start(&mut self.place, job) else {
            self.place.core.left();
            return;
        };
        let (timers, in_a_row) = (&mut self.timers, &mut self.in_a_row);
        poll_fn(|cx| {
            let polled = running.poll(timers, cx);
            if polled.is_pending() {
                *in_a_row = 0;
            }
            polled
        })
        .await;
        drop(running);
        if size_of_val(&*self.place.body) > KEPT {
            self.place.body = Box::pin(NoBody);
        }
    }

    fn leave(&mut self) {
        if self.greeted {
            hooks::call(
                self.place.core.hooks.slot_stop.as_ref(),
                self.place.seat.id as usize,
            );
        }
        if self.state != State::Left {
            let waking = match self.state {
                State::Waking => true,
                // Woken and not polled since counts as waking.
                State::Parked => !self.place.core.roster.unpark(&self.place.seat),
                State::Busy | State::Left => false,
            };
            self.state = State::Left;
            self.place.core.roster.leave(&self.place.seat, waking);
        }
        self.place.core.settle();
    }
}

impl Place {
    fn new(core: Arc<Core>, seat: Arc<Seat>) -> Self {
        let token = core.token.child_token();
        Self {
            cx: None,
            core,
            seat,
            token,
            body: Box::pin(NoBody),
            is_guest: false,
        }
    }

    /// Makes context and body fit for a task.
    fn prepare(&mut self, job: &dyn Job, deadline: Deadline) {
        let submitter = job.submitted_by();
        let spare = self.cx.as_mut();
        if !spare.is_some_and(|cx| cx.renew(submitter, deadline)) {
            let token = self.token.child_token();
            let cx = match submitter {
                Some(submitter) => submitter.child_with_token(token),
                None => TaskContext::from_token(token),
            };
            self.cx = Some(cx.with_deadline(deadline));
        }
        if !self.body.fits(job) {
            self.body = job.body();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.state != State::Left {
            // In this order, with the fence of `settle` between: a push that relied on this slot
            // is found by the discard, a later one starts a slot, which the host drops as well.
            self.leave();
            self.place.core.host_gone();
        }
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
struct Running<'s> {
    place: &'s mut Place,
    limit: Option<Duration>,
    started: Instant,
    submitter: Option<Submitter>,
    /// Whether the place's timer is armed for this task.
    armed: bool,
    ended: bool,
}

impl<'s> Running<'s> {
    /// Starts a task; `None` if it was aborted in the queue.
    fn start(place: &'s mut Place, job: Arc<dyn Job>) -> Option<Self> {
        let limit = match (place.core.task_timeout, job.timeout()) {
            (Some(pool), Some(own)) => Some(pool.min(own)),
            (pool, own) => pool.or(own),
        };
        let started = if limit.is_some() || place.core.hooks.task_end.is_some() {
            place.core.rt.now()
        } else {
            Instant::ORIGIN
        };
        let deadline = limit.map_or(Deadline::NONE, |limit| Deadline::after(started, limit));
        place.prepare(&*job, deadline);
        let submitter = job.submitted_by().map(|by| Submitter {
            token: by.cancellation().clone(),
            wait: None,
        });
        let Place {
            core,
            seat,
            cx,
            body,
            ..
        } = &mut *place;
        let (body, own) = (body.as_mut(), cx.clone().unwrap_or_default());
        let began = TaskContext::enter_from(cx, || {
            inside::enter(core.address(), || body.begin(job, seat.id, own, core))
        });
        // Made only then: its destructor ends the task.
        began.then(|| Self {
            place,
            limit,
            started,
            submitter,
            armed: false,
            ended: false,
        })
    }

    fn poll(&mut self, timers: &mut Timers, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Before the poll: if it is set, the task's token was cancelled before (invariant 2
            // of the core), so this poll is the chance to react that it is owed.
            let told = self.place.core.is_stopped();
            if self.place.body.is_aborted() {
                self.stop(End::Aborted, TaskError::Cancelled);
                return Poll::Ready(());
            }
            self.heed_submitter();
            let Place {
                core,
                cx: own,
                body,
                ..
            } = &mut *self.place;
            let polled = TaskContext::enter_from(own, || {
                inside::enter(core.address(), || body.as_mut().poll(cx))
            });
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
            if let Some(limit) = self.limit
                && self.poll_limit(limit, timers, cx)
            {
                self.stop(End::TimedOut, TaskError::TimedOut { limit });
                return Poll::Ready(());
            }
            if let Some(submitter) = &mut self.submitter
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
        let cancelled = self.submitter.take_if(|by| by.token.is_cancelled());
        if let (Some(by), Some(cx)) = (cancelled, &self.place.cx) {
            match by.token.reason() {
                Some(reason) => cx.cancellation().cancel_with(reason),
                None => cx.cancellation().cancel(),
            }
        }
    }

    /// Whether the task has run for too long.
    fn poll_limit(&mut self, limit: Duration, timers: &mut Timers, cx: &mut Context<'_>) -> bool {
        if !self.armed {
            arm(&mut timers.task, &self.place.core, self.started + limit);
            self.armed = true;
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
        self.ended = true;
        let (core, slot) = (&self.place.core, self.place.seat.id);
        core.counters.ended(slot, end);
        core.hooks.panicked(self.place.body.panic());
        if core.hooks.task_end.is_some() {
            let end = TaskEnd {
                slot: slot as usize,
                elapsed: core.rt.now() - self.started,
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
        if !self.ended {
            self.stop(End::Aborted, TaskError::Cancelled);
        }
    }
}

/// Whoever can cancel the task beside its handle and the pool.
struct Submitter {
    token: CancellationToken,
    /// Made when the task does not end at once; and whom it wakes.
    wait: Option<(Pin<Box<dyn Future<Output = ()> + Send>>, Waker)>,
}

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
            let wait = Box::pin(self.token.clone().cancelled_owned());
            (wait, cx.waker().clone())
        });
        waker.clone_from(cx.waker());
        wait.as_mut().poll(cx)
    }
}

fn arm(timer: &mut Option<BoxTimer>, core: &Core, at: Instant) {
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
