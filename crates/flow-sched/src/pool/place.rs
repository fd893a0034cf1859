//! Where tasks run: the body, context and timers that a slot uses for one task after the other, and
//! a submitter for its own.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use flow_rt::{BoxTimer, CancellationToken, Deadline, Instant, Panic, TaskContext, contain};

use super::blocking;
use super::core::Core;
use super::error::TaskError;
use super::events;
use super::hooks::{self, TaskEnd, TaskOutcome};
use super::inside::{self, Inside};
use super::queued::Popped;
use super::roll::Enrolled;
use super::roster::Seat;
use super::stats::{self, End, Gone};
use super::task::{Begun, Job, Spot};
use super::timing::Stopwatch;

/// Where tasks run one after the other: a slot's, or that of a submitter that runs its own.
#[repr(C)] // as the slot
pub(super) struct Place {
    pub(super) core: Arc<Core>,
    pub(super) seat: Arc<Seat>,
    /// Whether no task runs.
    ended: bool,
    /// Whether `run` is not of the task that runs, for which there is nothing to know.
    plain: bool,
    pub(super) spot: Spot,
    /// A child of the pool's token: the parent of the tasks' ones, so that places do not meet in
    /// the pool's.
    token: CancellationToken,
    run: Run,
}

/// Whose tasks a place runs, and where they are counted.
#[derive(Clone, Copy)]
pub(super) struct Stand {
    pub(super) seat: u32,
    /// Of the counters: the seat's own, which one place writes at a time, or the shared one.
    pub(super) stripe: u32,
    /// Whether this is a submitter's, and its seat no slot.
    pub(super) is_guest: bool,
}

impl Stand {
    /// The number of the slot.
    pub(super) fn slot(self) -> Option<usize> {
        (!self.is_guest).then_some(self.seat as usize)
    }
}

/// Made when it is needed first, then armed anew.
#[derive(Default)]
pub(super) struct Timers {
    pub(super) task: Option<BoxTimer>,
}

impl Place {
    pub(super) fn new(core: Arc<Core>, seat: Arc<Seat>) -> Self {
        let token = core.token.child_token();
        let stand = Stand {
            seat: seat.id,
            stripe: seat.id,
            is_guest: false,
        };
        Self {
            spot: Spot::new(Inside::new(core.number, seat.id), stand),
            core,
            seat,
            token,
            ended: true,
            plain: true,
            run: Run::NONE,
        }
    }

    /// One on another thread than the seat's slot.
    pub(super) fn elsewhere(core: Arc<Core>, seat: Arc<Seat>, is_guest: bool) -> Self {
        let mut place = Self::new(core, seat);
        place.spot.ground.stand.stripe = stats::SHARED;
        if is_guest { place.for_guest() } else { place }
    }

    /// The same for a submitter, in whose tasks' slots it is, if any.
    fn for_guest(mut self) -> Self {
        self.spot.ground.stand.is_guest = true;
        self.spot.ground.inside = Inside::NOWHERE;
        self
    }

    /// Keeps no body that is large.
    #[inline]
    pub(super) fn tidy(&mut self) {
        self.spot.tidy();
    }

    /// Makes the context fit for a task.
    #[inline]
    fn prepare(&mut self, submitter: Option<&TaskContext>, deadline: Deadline) {
        let spare = self.spot.ground.cx.as_mut();
        if !spare.is_some_and(|cx| cx.renew(submitter, deadline)) {
            self.prepare_anew(submitter, deadline);
        }
    }

    #[cold]
    fn prepare_anew(&mut self, submitter: Option<&TaskContext>, deadline: Deadline) {
        let token = self.token.clone();
        let cx = match submitter {
            Some(submitter) => submitter.child_under_token(token),
            None => TaskContext::under_token(token),
        };
        self.spot.ground.cx = Some(cx.with_deadline(deadline));
    }

    /// Starts a task, in a body of its type, and polls it if there is somebody to wake; `None` if
    /// it was aborted in the queue. One that has started is to be [finished](Self::finish).
    #[inline]
    pub(super) fn start<J: Popped>(
        &mut self,
        job: J,
        cx: Option<&mut Context<'_>>,
    ) -> Option<Poll<End>> {
        let given = job.given();
        let limit = given.limit(self.core.task_timeout);
        let timed = self.core.timing.is_on();
        let entry = given.entry.clone();
        let is_asked = timed || self.core.hooks.task_end.is_some() || entry.is_some();
        let started = if is_asked || limit.is_some() {
            self.core.rt.now()
        } else {
            Instant::ORIGIN
        };
        let waited = given.at().filter(|_| timed).map(|at| started - at);
        if waited.is_some() {
            self.core.timing.starts(started);
        }
        let deadline = limit.map_or(Deadline::NONE, |limit| Deadline::after(started, limit));
        let submitter = given.submitted_by.as_ref();
        self.prepare(submitter, deadline);
        if let Some(entry) = &entry {
            let token = self
                .spot
                .ground
                .cx
                .as_ref()
                .map(|cx| cx.cancellation().clone());
            entry.runs(
                started,
                (!self.spot.ground.stand.is_guest).then_some(self.seat.id),
                token,
            );
        }
        let run = &mut self.run;
        run.facts.limit = limit;
        run.facts.started = started;
        run.facts.timed = timed;
        run.facts.entry = entry;
        run.armed = false;
        run.submitter = submitter.map(Submitter::new);
        (self.ended, self.plain) = (true, false);
        if self.run.submitter.is_some() {
            self.heed_submitter();
        }
        let polled = match job.begin(&mut self.spot, &self.core, cx, false) {
            Begun::Yes(polled) => polled,
            Begun::Gone | Begun::Over => {
                self.run.facts.entry = None;
                self.run.submitter = None;
                return None;
            }
        };
        self.ended = false;
        // Not before: one that was aborted in the queue has not started.
        if let Some(waited) = waited {
            self.core.timing.waited(&self.core, started, waited);
        }
        Some(self.seen(polled))
    }

    /// Polls the task in its context.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Spot { ground, body, .. } = &mut self.spot;
        let slot = ground.inside;
        let polled =
            TaskContext::enter_from(&mut ground.cx, || inside::enter(slot, || body.poll(cx)));
        self.seen(polled)
    }

    /// Whether a task that has completed did so by itself.
    fn seen(&self, polled: Poll<End>) -> Poll<End> {
        polled.map(|end| self.core.seen(end))
    }

    /// Cancels the task if its submitter was.
    fn heed_submitter(&mut self) {
        let cancelled = self.run.submitter.take_if(|by| by.token.is_cancelled());
        if let (Some(by), Some(token)) = (cancelled, self.token()) {
            pass_on(&by.token, token);
        }
    }

    /// Counts, tells, and hands the result over, in this order: whoever awaits the handle finds
    /// the task counted and its place free.
    pub(super) fn finish(&mut self, end: End) {
        self.ended = true;
        let facts = if self.plain {
            &Facts::NONE
        } else {
            &self.run.facts
        };
        let panic = match end {
            End::Panicked => self.spot.body.panic(),
            _ => None,
        };
        self.spot.ground.idle_since = facts.tell(&self.core, self.spot.ground.stand, end, panic);
        self.run.clear(self.plain);
        self.left();
        self.spot.body.publish();
    }

    /// A task that came here has ended, or never began.
    fn left(&self) {
        if !self.spot.ground.stand.is_guest {
            self.core.left();
        }
    }

    /// Drops what there is of a task that somebody else ends.
    pub(super) fn forget(&mut self) {
        self.ended = true;
        self.run.clear(self.plain);
        self.spot.body.forget();
    }

    /// What is to be told of the task when it has ended.
    pub(super) fn facts(&self) -> &Facts {
        &self.run.facts
    }

    /// The token of the task that runs.
    pub(super) fn token(&self) -> Option<&CancellationToken> {
        self.spot.ground.cx.as_ref().map(TaskContext::cancellation)
    }

    /// That of the context that it was submitted in.
    pub(super) fn submitter(&self) -> Option<&CancellationToken> {
        self.run.submitter.as_ref().map(|by| &by.token)
    }
}

/// Runs a task where its submitter is, beside the slots.
pub(super) async fn run_here(mut guest: Guest, job: Arc<dyn Job>) {
    let mut timers = Timers::default();
    if job.blocks() {
        let Place { core, seat, .. } = &guest.0;
        let back = blocking::run(core, seat, true, 0, &mut timers, job).await;
        if let Some(job) = back.next {
            // The pool has stopped meanwhile.
            job.discard(core, Gone::Abandoned, TaskError::Closed);
        }
        return;
    }
    let mut running = Running::new(&mut guest.0, job);
    poll_fn(|cx| running.poll(&mut timers, cx)).await;
}

/// A submitter's place, which is gone with its one task.
pub(super) struct Guest(Place);

impl Guest {
    pub(super) fn new(core: Arc<Core>, seat: Arc<Seat>) -> Self {
        Self(Place::new(core, seat).for_guest())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.core.guest_left(&self.0.seat);
    }
}

/// A task on its place, to be polled until it has ended or dropped before, which cancels it.
struct Running<'s> {
    place: &'s mut Place,
    /// Until it is polled, which is at once.
    job: Option<Arc<dyn Job>>,
}

/// What a place knows of the task that it runs.
struct Run {
    facts: Facts,
    submitter: Option<Submitter>,
    /// Whether the place's timer is armed for this task.
    armed: bool,
}

impl Run {
    const NONE: Self = Self {
        facts: Facts::NONE,
        submitter: None,
        armed: false,
    };

    /// The task that it is of has ended, if it is of one.
    #[inline]
    fn clear(&mut self, plain: bool) {
        if !plain {
            self.submitter = None;
            self.facts.entry = None;
        }
    }
}

/// What is known of a task that runs, and told when it has ended.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) limit: Option<Duration>,
    pub(super) started: Instant,
    /// Whether the length of its run is wanted.
    timed: bool,
    entry: Option<Arc<Enrolled>>,
}

impl Facts {
    /// Those of a task that was submitted with nothing, and that nobody measures.
    const NONE: Self = Self {
        limit: None,
        started: Instant::ORIGIN,
        timed: false,
        entry: None,
    };

    /// When its time is over.
    pub(super) fn due(&self) -> Instant {
        self.limit
            .map_or(Instant::FAR_FUTURE, |limit| self.started + limit)
    }

    /// Counts a task that has ended, and tells whoever wants to know. Returns when that was, if
    /// somebody wants the length of its run.
    pub(super) fn tell(
        &self,
        core: &Arc<Core>,
        on: Stand,
        end: End,
        panic: Option<&Panic>,
    ) -> Option<Instant> {
        if let Some(entry) = &self.entry {
            entry.strike();
        }
        core.counters.ended(on.stripe, end);
        if core.hooks.panic.is_some() {
            core.hooks.panicked(panic);
        }
        if matches!(end, End::Panicked | End::TimedOut) {
            events::ended(core, on.slot(), end, panic, self.limit);
        }
        let is_asked = self.timed || core.hooks.task_end.is_some();
        let now = is_asked.then(|| core.rt.now())?;
        let elapsed = now - self.started;
        if self.timed {
            core.timing.ran(core, now, elapsed, end);
        }
        if core.hooks.task_end.is_some() {
            let end = TaskEnd {
                slot: on.slot(),
                elapsed,
                outcome: outcome(end),
            };
            hooks::call(core.hooks.task_end.as_ref(), end);
        }
        Some(now)
    }
}

impl<'s> Running<'s> {
    /// Starts the task when it is polled first.
    fn new(place: &'s mut Place, job: Arc<dyn Job>) -> Self {
        let job = Some(job);
        Self { place, job }
    }

    fn poll(&mut self, timers: &mut Timers, cx: &mut Context<'_>) -> Poll<()> {
        match self.job.take() {
            Some(job) => self.place.begin_run(job, timers, cx),
            None => self.place.poll_run(timers, cx),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.place.abandon();
    }
}

/// Running a task to its end. One that is dropped before is to be [abandoned](Place::abandon).
impl Place {
    /// Whether a task has started and not ended.
    #[inline]
    pub(super) fn is_running(&self) -> bool {
        !self.ended
    }

    /// Starts a task and polls it, and whatever may end it.
    #[inline]
    pub(super) fn begin_run<J: Popped>(
        &mut self,
        job: J,
        timers: &mut Timers,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let given = job.given();
        if given.is_plain() {
            let at = given.at();
            return self.begin_plain(job, at, timers, cx);
        }
        self.begin_any(job, timers, cx)
    }

    /// The same for a task that was submitted with nothing, or the time and no more.
    #[allow(clippy::inline_always, reason = "as the slot's `begin`, where it goes")]
    #[inline(always)]
    pub(super) fn begin_plain<J: Popped>(
        &mut self,
        job: J,
        at: Option<Instant>,
        timers: &mut Timers,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.core.asks() || self.spot.ground.stand.is_guest {
            return self.begin_any(job, timers, cx);
        }
        let told = self.core.is_stopped();
        if self.core.timing.is_on() {
            self.spot.ground.stopwatch = Some(Stopwatch::begin(&self.core, at));
        }
        self.prepare(None, Deadline::NONE);
        match job.begin(&mut self.spot, &self.core, Some(&mut *cx), true) {
            Begun::Over => Poll::Ready(()),
            Begun::Gone => {
                self.spot.ground.stopwatch = None;
                self.left();
                Poll::Ready(())
            }
            Begun::Yes(polled) => self.goes_on(polled, told, timers, cx),
        }
    }

    /// What follows the first poll of one that did not complete at once.
    fn goes_on(
        &mut self,
        polled: Poll<End>,
        told: bool,
        timers: &mut Timers,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        (self.ended, self.plain) = (false, true);
        if self.core.timing.is_on()
            && let Some(stopwatch) = self.spot.ground.stopwatch.take()
        {
            self.plain = false;
            self.run = Run::NONE;
            self.run.facts.started = stopwatch.started;
            self.run.facts.timed = true;
            stopwatch.tell_begin(&self.core);
        }
        if let Poll::Ready(end) = self.seen(polled) {
            self.finish(end);
            return Poll::Ready(());
        }
        let looked = self.look(told, timers, cx);
        looked.unwrap_or_else(|| self.poll_run(timers, cx))
    }

    /// The same as [`begin_run`](Self::begin_run), of one with a limit, a submitter or an entry,
    /// or in a pool that asks.
    fn begin_any<J: Popped>(
        &mut self,
        job: J,
        timers: &mut Timers,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let told = self.core.is_stopped();
        match self.start(job, Some(cx)) {
            Some(Poll::Ready(end)) => self.finish(end),
            Some(Poll::Pending) => {
                let looked = self.look(told, timers, cx);
                return looked.unwrap_or_else(|| self.poll_run(timers, cx));
            }
            None => self.left(),
        }
        Poll::Ready(())
    }

    /// Polls the task, and whatever may end it.
    pub(super) fn poll_run(&mut self, timers: &mut Timers, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Before the poll: if it is set, the task's token was cancelled before (invariant 2
            // of the core), so this poll is the chance to react that it is owed.
            let told = self.core.is_stopped();
            if self.spot.body.is_aborted() {
                self.stop(End::Aborted, TaskError::Cancelled);
                return Poll::Ready(());
            }
            if !self.plain {
                self.heed_submitter();
            }
            if let Poll::Ready(end) = self.poll(cx) {
                self.finish(end);
                return Poll::Ready(());
            }
            if let Some(looked) = self.look(told, timers, cx) {
                return looked;
            }
        }
    }

    /// Looks for whatever ends a task that waits; `None` if it is to be polled once more, at once.
    fn look(&mut self, told: bool, timers: &mut Timers, cx: &mut Context<'_>) -> Option<Poll<()>> {
        if told {
            self.stop(End::Dropped, TaskError::Cancelled);
            return Some(Poll::Ready(()));
        }
        if !self.plain {
            if let Some(limit) = self.run.facts.limit
                && self.poll_limit(limit, timers, cx)
            {
                self.stop(End::TimedOut, TaskError::TimedOut { limit });
                return Some(Poll::Ready(()));
            }
            if let Some(submitter) = &mut self.run.submitter
                && submitter.poll_cancelled(cx).is_ready()
            {
                return None;
            }
        }
        // Before the second look: a stop or an abort from here on wakes the slot.
        self.seat.register(cx);
        let goes_on = !self.spot.body.is_aborted() && !self.core.is_stopped();
        goes_on.then_some(Poll::Pending)
    }

    /// Whether the task has run for too long.
    fn poll_limit(&mut self, limit: Duration, timers: &mut Timers, cx: &mut Context<'_>) -> bool {
        if !self.run.armed {
            arm(&mut timers.task, &self.core, self.run.facts.started + limit);
            self.run.armed = true;
        }
        // A timer whose runtime is gone never fires; that runtime drops the task.
        timers
            .task
            .as_mut()
            .is_some_and(|timer| matches!(timer.poll_fired(cx), Poll::Ready(Ok(()))))
    }

    /// Ends a task that has not ended itself, and what it has started elsewhere.
    fn stop(&mut self, end: End, why: TaskError) {
        let Spot { ground, body, .. } = &mut self.spot;
        inside::enter(ground.inside, || body.stop(why));
        if let Some(cx) = &self.spot.ground.cx {
            contain(|| cx.cancellation().cancel());
        }
        self.finish(end);
    }

    /// Tells the handle that the task was cancelled, if there is one that has not ended.
    pub(super) fn abandon(&mut self) {
        if self.is_running() {
            self.stop(End::Aborted, TaskError::Cancelled);
        }
    }
}

/// Whoever can cancel the task beside its handle and the pool.
pub(super) struct Submitter {
    token: CancellationToken,
    /// Made when the task does not end at once; and whom it wakes.
    wait: Option<(Wait, Waker)>,
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Submitter {
    fn new(by: &TaskContext) -> Self {
        Self::of(by.cancellation().clone())
    }

    pub(super) const fn of(token: CancellationToken) -> Self {
        Self { token, wait: None }
    }

    pub(super) const fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(super) fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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

/// Cancels a task's token for the reason of its submitter's.
pub(super) fn pass_on(by: &CancellationToken, token: &CancellationToken) {
    match by.reason() {
        Some(reason) => token.cancel_with(reason),
        None => token.cancel(),
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
