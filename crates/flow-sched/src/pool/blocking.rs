//! Blocking closures: a slot's turns on one of the host's threads for blocking work.
//!
//! A call to such a thread costs the host many times what a small task does, most of it for waking
//! threads. So a slot that comes to a blocking closure makes one call for it *and for those that
//! follow it in the queue*: the thread runs the closure, takes the next task as the slot would, and
//! goes on while that blocks too. The slot waits meanwhile, for the thread to hand back and for
//! whatever may end the task that runs: an abort, its time, its submitter, the pool. As a slot runs
//! one task at a time anyhow, nothing is delayed by it, be the closures short or long; and nothing
//! is taken out of the queue before there is a thread to run it.
//!
//! # State
//! Behind one lock, [`State`]: `first`, the task that the call is made for; `current`, the task
//! that the thread is running; `back`, what it hands back to the slot; `left`, whether the slot
//! goes on without it; `armed`, for when the slot watches the time.
//!
//! # Invariants
//! 1. A task that the thread has begun is ended by whoever takes it out of `current`: the thread
//!    when its closure has returned, or the slot when it must not run on. The other one does
//!    nothing for it. Likewise `first`: the slot takes it back from a thread that is late when the
//!    pool stops.
//! 2. A slot that takes one out sets `left` with it, and never looks at the thread again. A thread
//!    that finds `left` drops what it has and takes no more tasks.
//! 3. The slot is alive and not idle until the thread has handed back, and looks at the queue
//!    again then, as the roster demands of it. What the thread takes in between are looks more.
//! 4. The thread stores `current`, **then** looks for an abort and a stop. Whoever causes one sets
//!    it, **then** wakes the slot, which looks at `current`.
//! 5. The slot is woken for a task that is due before `armed`, or that a submitter may cancel. For
//!    others it is not: so a closure that ends at once costs no wake.
//! 6. Whoever ends a task of a thread that has begun counts that thread among the pool's strays,
//!    under the lock; the thread is one until its closure has returned and it finds `current` gone.
//! 7. The thread counts in the stripe that all share: the slot's own has one writer.
//!
//! # Cost
//! A wake per call and not per closure: see the bench `pool`.

use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;

use flow_rt::{CancellationToken, Instant, contain};

use super::core::Core;
use super::error::TaskError;
use super::inside::{self, Inside};
use super::place::{self, Facts, Place, Stand, Submitter, Timers};
use super::queued::Queued;
use super::roster::Seat;
use super::stats::{self, End, Gone};
use super::task::Job;
use crate::sync::Mutex;

/// Closures that one call to the host runs, at the most: so that its other users have a turn.
pub(super) const MOST: u32 = 64;

/// How often a thread looks for a next task before it hands back, and how long it pauses between:
/// together 2 µs or so, in which a submitter submits several. It does not yield: on a machine that
/// is busy others would have milliseconds, while a task waits that relies on this look. Models look
/// once.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 16 };
const PAUSES: u32 = 8;

/// What a slot and its thread share.
struct Shared {
    core: Arc<Core>,
    seat: Arc<Seat>,
    /// Whether this is no slot but a submitter, who runs its own closure and no other.
    is_guest: bool,
    /// The news of its roster, and of those above, that the slot has seen.
    news: u64,
    state: Mutex<State>,
}

struct State {
    first: Option<Arc<dyn Job>>,
    current: Option<Current>,
    /// Closures begun: the number of the current one.
    begun: u32,
    armed: Instant,
    left: bool,
    back: Option<Back>,
}

/// A task that the thread runs.
struct Current {
    job: Arc<dyn Job>,
    facts: Facts,
    token: Option<CancellationToken>,
    submitter: Option<CancellationToken>,
}

/// How a thread leaves its slot.
pub(super) struct Back {
    /// A task that it took and that does not block, or must not start.
    pub(super) next: Option<Queued>,
    /// How many closures it ran.
    pub(super) ran: u32,
}

/// Runs a blocking closure, and those that follow it, on one of the host's threads.
pub(super) async fn run(
    core: &Arc<Core>,
    seat: &Arc<Seat>,
    is_guest: bool,
    news: u64,
    timers: &mut Timers,
    job: Arc<dyn Job>,
) -> Back {
    let shared = Arc::new(Shared {
        core: core.clone(),
        seat: seat.clone(),
        is_guest,
        news,
        state: Mutex::new(State {
            first: Some(job),
            current: None,
            begun: 0,
            armed: Instant::FAR_FUTURE,
            left: false,
            back: None,
        }),
    });
    let mut watch = Watch {
        shared: shared.clone(),
        seen: 0,
        submitter: None,
    };
    // A pool's runtime is below all pools: the thread is in no task of theirs by itself.
    let around = if is_guest || core.above().is_some() {
        inside::all()
    } else {
        Vec::new()
    };
    let thread = Thread {
        shared,
        around,
        ran: 0,
    };
    drop(core.rt.spawn_blocking(move || thread.run()));
    poll_fn(|cx| watch.poll(timers, cx)).await
}

/// The thread's side. Dropped before it ran, it reports that the host is gone.
struct Thread {
    shared: Arc<Shared>,
    /// The slots in whose tasks the slot is, or the submitter: those of the pools above.
    around: Vec<Inside>,
    ran: u32,
}

impl Thread {
    /// Runs closures where the slot would be.
    fn run(mut self) {
        let around = core::mem::take(&mut self.around);
        inside::enter_all(&around, &mut || self.run_all());
    }

    fn run_all(&mut self) {
        let shared = self.shared.clone();
        let mut place = Place::elsewhere(shared.core.clone(), shared.seat.clone(), shared.is_guest);
        let first = shared.state.lock().first.take();
        // If there is none the slot has not waited for it.
        let Some(first) = first else { return };
        let mut next = Some(Queued::Blocking(first));
        while let Some(job) = next {
            let job = match job {
                Queued::Blocking(job) if !shared.core.is_stopping() => job,
                job => return self.hand_back(Some(job)),
            };
            if !self.run_one(&mut place, job) {
                return;
            }
            next = self.next();
        }
        self.hand_back(None);
    }

    /// Runs one closure; false if the slot has gone on without this thread.
    fn run_one(&mut self, place: &mut Place, job: Arc<dyn Job>) -> bool {
        let shared = &*self.shared;
        if place.start(job.clone(), None).is_none() {
            contain(|| drop(job));
            shared.task_left();
            return true;
        }
        self.ran += 1;
        let current = Current {
            job: job.clone(),
            facts: place.facts().clone(),
            token: place.token().cloned(),
            submitter: place.submitter().cloned(),
        };
        let is_watched = {
            let mut state = shared.state.lock();
            if state.left {
                drop(state);
                place.forget();
                shared.end(current, End::Aborted, TaskError::Cancelled);
                return false;
            }
            let due = current.facts.due();
            let is_watched = due < state.armed || current.submitter.is_some();
            state.begun += 1;
            state.current = Some(current);
            is_watched
        };
        // After it was stored: invariant 4.
        let stop = if job.is_aborted() {
            Some(End::Aborted)
        } else {
            shared.core.is_stopped().then_some(End::Dropped)
        };
        contain(|| drop(job));
        if is_watched && stop.is_none() {
            shared.seat.wake();
        }
        let polled = if stop.is_some() {
            Poll::Pending
        } else {
            // It is ready when its closure was called, so nobody is to be woken.
            place.poll(&mut Context::from_waker(Waker::noop()))
        };
        let mine = shared.state.lock().current.take();
        match (mine, polled) {
            (Some(current), Poll::Ready(end)) => {
                contain(|| drop(current));
                place.finish(end);
                true
            }
            (Some(current), Poll::Pending) => {
                place.forget();
                let end = stop.unwrap_or(End::Aborted);
                shared.end(current, end, TaskError::Cancelled);
                true
            }
            (None, _) => {
                place.forget();
                self.shared.core.counters.returned();
                false
            }
        }
    }

    /// The next task, if the slot would take one. It waits a moment for one that is about to come:
    /// small closures end sooner than others are submitted.
    fn next(&self) -> Option<Queued> {
        for _ in 0..LOOKS {
            let core = &self.shared.core;
            let is_done = self.shared.is_guest
                || self.ran >= MOST
                || core.is_stopping()
                || core.roster.news().wrapping_add(core.news_above()) != self.shared.news;
            if is_done {
                return None;
            }
            let next = core.pop();
            if next.is_some() || core.is_finishing() {
                return next;
            }
            for _ in 0..PAUSES {
                core::hint::spin_loop();
            }
        }
        None
    }

    fn hand_back(&mut self, next: Option<Queued>) {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        if state.left {
            drop(state);
            if let Some(job) = next {
                shared.discard(job);
            }
            return;
        }
        let ran = self.ran;
        state.back = Some(Back { next, ran });
        drop(state);
        shared.seat.wake();
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // There only if the host has not run it.
        let first = self.shared.state.lock().first.take();
        if let Some(job) = first {
            self.shared.discard(Queued::Blocking(job));
            self.hand_back(None);
        }
    }
}

impl Shared {
    /// Ends a task that was taken out of `current` before its closure has returned.
    fn end(&self, current: Current, end: End, why: TaskError) {
        let Current {
            job, facts, token, ..
        } = current;
        if let Some(token) = token {
            contain(|| token.cancel());
        }
        let stand = Stand {
            seat: self.seat.id,
            stripe: stats::SHARED,
            is_guest: self.is_guest,
        };
        facts.tell(&self.core, stand, end, None);
        self.task_left();
        let slot = if self.is_guest {
            Inside::NOWHERE
        } else {
            Inside::new(self.core.number, self.seat.id)
        };
        inside::enter(slot, || job.end(why));
        contain(|| drop(job));
    }

    /// Drops a task that the host will not run.
    fn discard(&self, job: Queued) {
        job.discard(&self.core, Gone::Aborted, TaskError::Cancelled);
        self.task_left();
    }

    /// The closure that the thread runs, to be ended before it has returned.
    fn take_current(&self, state: &mut State) -> Option<Current> {
        let current = state.current.take()?;
        self.core.counters.strays();
        Some(current)
    }

    fn task_left(&self) {
        if !self.is_guest {
            self.core.left();
        }
    }
}

/// The slot's side. Dropped before the thread has handed back, it goes on without it.
struct Watch {
    shared: Arc<Shared>,
    /// The number of the task that it has looked at.
    seen: u32,
    submitter: Option<Submitter>,
}

/// What a slot sees of a task that its thread runs.
struct Seen {
    number: u32,
    facts: Facts,
    token: Option<CancellationToken>,
    is_aborted: bool,
}

impl Watch {
    fn poll(&mut self, timers: &mut Timers, cx: &mut Context<'_>) -> Poll<Back> {
        let core = self.shared.core.clone();
        // Before the look: whatever happens from here on wakes it.
        self.shared.seat.register(cx);
        let seen = match self.look() {
            Ok(back) => return Poll::Ready(back),
            Err(Some(seen)) => seen,
            // Between two tasks, or before the first: the thread sees to what has happened.
            Err(None) => return Poll::Pending,
        };
        let stop = if seen.is_aborted {
            Some((End::Aborted, TaskError::Cancelled))
        } else if core.is_stopped() {
            Some((End::Dropped, TaskError::Cancelled))
        } else if let Some(limit) = seen.facts.limit
            && poll_due(timers, &core, seen.facts.due(), cx)
        {
            Some((End::TimedOut, TaskError::TimedOut { limit }))
        } else {
            None
        };
        if let Some((end, why)) = stop {
            return self.leave(seen.number, end, why, cx);
        }
        if let (Some(by), Some(token)) = (&mut self.submitter, &seen.token)
            && by.poll_cancelled(cx).is_ready()
        {
            let by = by.token().clone();
            self.submitter = None;
            contain(|| place::pass_on(&by, token));
        }
        Poll::Pending
    }

    /// What the thread hands back, or runs.
    fn look(&mut self) -> Result<Back, Option<Seen>> {
        let mut state = self.shared.state.lock();
        if let Some(back) = state.back.take() {
            state.left = true;
            return Ok(back);
        }
        if self.shared.core.is_stopping()
            && let Some(job) = state.first.take()
        {
            state.left = true;
            let (next, ran) = (Some(Queued::Blocking(job)), 0);
            return Ok(Back { next, ran });
        }
        let number = state.begun;
        let Some(current) = &state.current else {
            // The timer may have fired for the last one.
            state.armed = Instant::FAR_FUTURE;
            return Err(None);
        };
        let is_new = core::mem::replace(&mut self.seen, number) != number;
        let seen = Seen {
            number,
            facts: current.facts.clone(),
            token: current.token.clone(),
            is_aborted: current.job.is_aborted(),
        };
        let submitter = if is_new {
            let token = current.submitter.clone();
            core::mem::replace(&mut self.submitter, token.map(Submitter::of))
        } else {
            None
        };
        state.armed = seen.facts.due();
        drop(state);
        drop(submitter);
        Err(Some(seen))
    }

    /// Ends a task and goes on without the thread, unless the closure has returned meanwhile.
    fn leave(&mut self, number: u32, end: End, why: TaskError, cx: &Context<'_>) -> Poll<Back> {
        let mut state = self.shared.state.lock();
        let current = if state.begun == number {
            self.shared.take_current(&mut state)
        } else {
            None
        };
        let Some(current) = current else {
            drop(state);
            // The thread is at something else by now.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        state.left = true;
        drop(state);
        self.shared.end(current, end, why);
        Poll::Ready(Back {
            next: None,
            ran: number,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (current, job) = {
            let mut state = self.shared.state.lock();
            if core::mem::replace(&mut state.left, true) {
                return;
            }
            let first = state.first.take().map(Queued::Blocking);
            let next = state.back.take().and_then(|back| back.next);
            (self.shared.take_current(&mut state), first.or(next))
        };
        if let Some(current) = current {
            let (end, why) = (End::Aborted, TaskError::Cancelled);
            self.shared.end(current, end, why);
        }
        if let Some(job) = job {
            self.shared.discard(job);
        }
    }
}

/// Whether it is time.
fn poll_due(timers: &mut Timers, core: &Core, due: Instant, cx: &mut Context<'_>) -> bool {
    place::arm(&mut timers.task, core, due);
    // A timer whose runtime is gone never fires; that runtime drops the slot.
    timers
        .task
        .as_mut()
        .is_some_and(|timer| matches!(timer.poll_fired(cx), Poll::Ready(Ok(()))))
}
