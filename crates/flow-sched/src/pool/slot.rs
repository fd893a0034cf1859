//! A slot: one host task that takes tasks from the queue and awaits each to its end.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use flow_rt::{BoxTimer, CancellationToken, Instant, TaskContext, contain};
use std::sync::Arc;

use super::core::Core;
use super::error::TaskError;
use super::hooks::{self, TaskEnd, TaskOutcome};
use super::inside;
use super::roster::Seat;
use super::stats::{End, Gone};
use super::task::{Body, Job};

/// Tasks that a slot runs in a row before it lets the host's other tasks have their turn.
const BUDGET: u32 = 64;

/// A slot's own state. Dropped before its end, it reports that the host is gone.
pub(super) struct Slot {
    place: Place,
    state: State,
    /// Just woken: to look whether it leaves a task for somebody else.
    fresh: bool,
    in_a_row: u32,
    timers: Timers,
    greeted: bool,
}

/// What a slot's tasks see of it.
struct Place {
    core: Arc<Core>,
    seat: Arc<Seat>,
    /// A child of the pool's token: the parent of the tasks' ones, so that slots do not meet in
    /// the pool's.
    token: CancellationToken,
    /// The last task's token, if nobody has kept or cancelled it: the next one's.
    spare: Option<CancellationToken>,
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
        let token = core.token.child_token();
        Self {
            place: Place {
                core,
                seat,
                token,
                spare: None,
            },
            state: State::Waking,
            fresh: false,
            in_a_row: 0,
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
            if self.in_a_row >= BUDGET && self.place.core.has_queued() {
                self.in_a_row = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(job) = self.place.core.pop() {
                self.in_a_row += 1;
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
            return;
        }
        let token = self.place.task_token();
        let Some(mut running) = Running::start(&self.place, job, token.clone()) else {
            self.place.spare = Some(token);
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
        // If the handle is gone, the result dies here: its destructor is user code.
        contain(|| drop(running));
        if token.is_unique() && !token.is_cancelled() {
            self.place.spare = Some(token);
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
    /// A token for the next task.
    fn task_token(&mut self) -> CancellationToken {
        let spare = self.spare.take();
        spare.unwrap_or_else(|| self.token.child_token())
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

/// A task on a slot. Dropped before its end, it tells the handle that the task was cancelled.
struct Running<'s> {
    place: &'s Place,
    body: Pin<Box<dyn Body>>,
    cx: TaskContext,
    limit: Option<Duration>,
    started: Instant,
    /// Whether the slot's timer is armed for this task.
    armed: bool,
    ended: bool,
}

impl<'s> Running<'s> {
    /// Starts a task; `None` if it was aborted in the queue.
    fn start(place: &'s Place, job: Arc<dyn Job>, token: CancellationToken) -> Option<Self> {
        let core = &place.core;
        let limit = match (core.task_timeout, job.timeout()) {
            (Some(pool), Some(own)) => Some(pool.min(own)),
            (pool, own) => pool.or(own),
        };
        let started = if limit.is_some() || core.hooks.task_end.is_some() {
            core.rt.now()
        } else {
            Instant::ORIGIN
        };
        let mut cx = match job.submitted_by() {
            Some(submitter) => submitter.child_with_token(token),
            None => TaskContext::from_token(token),
        };
        if let Some(limit) = limit {
            cx = cx.with_deadline(started + limit);
        }
        let body = inside::enter(core.address(), || {
            job.start(place.seat.id, cx.clone(), core)
        })?;
        Some(Self {
            place,
            body,
            cx,
            limit,
            started,
            armed: false,
            ended: false,
        })
    }

    fn poll(&mut self, timers: &mut Timers, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Before the poll: if it is set, the task's token was cancelled before (invariant 2
            // of the core), so this poll is the chance to react that it is owed.
            let told = self.place.core.is_stopped();
            if self.body.is_aborted() {
                self.stop(End::Aborted, TaskError::Cancelled);
                return Poll::Ready(());
            }
            let (pool, body) = (self.place.core.address(), self.body.as_mut());
            if let Poll::Ready(end) = inside::enter(pool, || body.poll(cx)) {
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
            // Before the second look: a stop or an abort from here on wakes the slot.
            self.place.seat.register(cx);
            if !self.body.is_aborted() && !self.place.core.is_stopped() {
                return Poll::Pending;
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
        let body = self.body.as_mut();
        inside::enter(self.place.core.address(), || body.stop(why));
        contain(|| self.cx.cancellation().cancel());
        self.finish(end);
    }

    /// Counts, tells, and hands the result over, in this order: whoever awaits the handle finds
    /// the task counted.
    fn finish(&mut self, end: End) {
        self.ended = true;
        let (core, slot) = (&self.place.core, self.place.seat.id);
        core.counters.ended(slot, end);
        core.hooks.panicked(self.body.panic());
        if core.hooks.task_end.is_some() {
            let end = TaskEnd {
                slot: slot as usize,
                elapsed: core.rt.now() - self.started,
                outcome: outcome(end),
            };
            hooks::call(core.hooks.task_end.as_ref(), end);
        }
        self.body.as_mut().publish();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.stop(End::Aborted, TaskError::Cancelled);
        }
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
