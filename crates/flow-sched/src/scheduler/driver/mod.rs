//! The driver: one task and one timer of the runtime for all jobs.
//!
//! # State
//! Two wheels of jobs, one on the monotonic clock and one on the wall clock; each job's state
//! names its timer. Because times of day wait on their own wheel, a clock that was set needs no
//! walk through the jobs: the next look at the clock is enough, and `wall::LOOK_EVERY` bounds
//! how long the driver sleeps without one while any job waits for a time of day. But for a clock
//! that was set back far: its jobs would wait until it is where it was, and are asked anew, in a
//! task of its own (`Shared::wall_was_set_back`).
//!
//! # Invariants
//! 1. Only the driver touches the wheels and `State::timer`.
//! 2. Once `news` is empty, every job that was handed over has a timer exactly if it is armed.
//! 3. The driver sleeps until the earliest of its timers, with nothing in `news`, and only if
//!    nothing was handed over since it last looked (the hand-over's invariant 2).
//! 4. A turn is bounded: after `BATCH` jobs that were due it yields, so that runs get their share,
//!    and after `NEWS` times as many that were handed over. These take half of what is left of it
//!    at a time, and then it is the turn of what is due: no flood of news holds that up. With
//!    nothing else to do it gives the memory of a burst back, within the same bound.
//!
//! # Order
//! Jobs fire in the order of their deadlines on the monotonic clock, then of their start; at
//! equal deadlines those on the monotonic clock come first. A trigger that is not cheap is asked
//! in a task of its own, so its job's run starts as soon as that task has been polled.

mod clocks;
pub(super) mod handoff;
#[cfg(feature = "tracing")]
pub(super) mod warnings;
pub(super) mod wheel;

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use flow_rt::{BoxTimer, Instant, contain};

use super::job::Job;
use super::shared::{Shared, TIDIED, WAKEUPS};
use crate::scheduler::job::state::Clock;
use crate::scheduler::triggers::trigger::Due;
use crate::scheduler::triggers::wall::{self, Look};
use clocks::Clocks;
use handoff::Asleep;
use wheel::Wheel;

/// Jobs that are due in one turn, before other tasks get theirs.
const BATCH: usize = 256;

/// So many jobs that are handed over cost as much as one that is due. To yield wakes another
/// thread of most runtimes, which costs more than all of them.
const NEWS: usize = 8;

/// So many references are made at a time for runs to come.
const REFERENCES: usize = 31;

/// What drives a scheduler's jobs: a future to spawn, for executors whose tasks are not `Send`.
///
/// It ends when the scheduler is shut down or its last handle is dropped. Dropping it ends all
/// jobs. See [`SchedulerBuilder::build_with_driver`](crate::SchedulerBuilder::build_with_driver).
#[must_use = "no job runs unless the driver is polled"]
pub struct SchedulerDriver {
    shared: Arc<Shared>,
    timer: BoxTimer,
    armed: Instant,
    monotonic: Wheel<Arc<Job>>,
    wall: Wheel<Arc<Job>>,
    clocks: Clocks,
    /// What was handed over and is still to be looked at.
    news: VecDeque<Arc<Job>>,
    /// Jobs of the turn that are to be forgotten together.
    ended: Vec<Arc<Job>>,
    /// References for runs to come. They end on other cores: to count each of them as it is made
    /// would have the count go from core to core with each run.
    references: Vec<Arc<Shared>>,
    /// Whether a job was due in this turn.
    is_busy: bool,
    /// Whether the registry has much more room than it needs.
    is_sparse: bool,
    /// When memory is to be given back, if much more is kept than is needed and nothing has come
    /// since: what is moved in the midst of a burst may end with it.
    tidy_at: Option<Instant>,
}

/// So long nothing is to come before memory is given back.
const TIDY_AFTER: Duration = Duration::from_secs(1);

impl SchedulerDriver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (now, time_of_day) = (shared.handle.now(), shared.handle.wall());
        Self {
            timer: shared.handle.timer(Instant::FAR_FUTURE),
            armed: Instant::FAR_FUTURE,
            monotonic: Wheel::new(now.as_nanos()),
            wall: Wheel::new(wall_nanos(wall::nanos(time_of_day))),
            clocks: Clocks::new(now, time_of_day),
            news: VecDeque::new(),
            ended: Vec::new(),
            references: Vec::new(),
            is_busy: false,
            is_sparse: false,
            tidy_at: None,
            shared,
        }
    }

    pub(crate) fn handle(&self) -> &flow_rt::Handle {
        &self.shared.handle
    }

    /// Makes the timers of jobs that were handed over match, and forgets those that have ended: as
    /// many as half of the budget.
    fn take_news(&mut self, budget: &mut usize) {
        if self.news.is_empty() {
            self.shared.take_news(&mut self.news);
        }
        if !self.news.is_empty() {
            self.tidy_at = None;
        }
        let rest = *budget / 2;
        while *budget > rest
            && let Some(job) = self.news.pop_front()
        {
            if self.sync(&job) {
                forget(job);
            } else {
                self.ended.push(job);
            }
            *budget -= 1;
        }
        if !self.ended.is_empty() {
            self.is_sparse = self.shared.forget(&mut self.ended, forget);
        }
    }

    /// With nothing else to do: gives memory of a burst back, a part of it, once nothing has come
    /// for a while. True if there is more to do now.
    fn tidies(&mut self, now: Instant, budget: &mut usize) -> bool {
        let is_sparse = self.is_sparse || self.monotonic.is_sparse() || self.wall.is_sparse();
        if !is_sparse {
            self.tidy_at = None;
            return false;
        }
        let at = *self.tidy_at.get_or_insert(now + TIDY_AFTER);
        if now < at {
            return false;
        }
        let moved = |clock| {
            move |job: &Arc<Job>, index| {
                job.state.lock().replace_timer(Some((clock, index)));
            }
        };
        let more = self.monotonic.tidy(TIDIED, moved(Clock::Monotonic))
            | self.wall.tidy(TIDIED, moved(Clock::Wall));
        self.is_sparse = self.is_sparse && self.shared.tidy();
        if more || self.is_sparse {
            *budget = budget.saturating_sub(TIDIED * NEWS);
            return true;
        }
        self.tidy_at = None;
        false
    }

    /// Makes a job's timer match what it waits for; false if it has ended. Under the job's lock,
    /// since nobody's code runs: what the wheel held is a reference like `job`, which dropping does
    /// not end.
    fn sync(&mut self, job: &Arc<Job>) -> bool {
        let mut state = job.state.lock();
        match state.replace_timer(None) {
            Some((Clock::Monotonic, index)) => {
                drop(self.monotonic.cancel_at(index, |at| Arc::ptr_eq(at, job)));
            }
            Some((Clock::Wall, index)) => {
                drop(self.wall.cancel_at(index, |at| Arc::ptr_eq(at, job)));
            }
            None => {}
        }
        let timer = match job.wakes(&state, self.shared.drawn) {
            None | Some(Due::AfterRun(_)) => return !state.has_ended(),
            Some(Due::At(at)) => {
                let key = self.monotonic.insert(at.as_nanos(), job.id(), job.clone());
                (Clock::Monotonic, key.index)
            }
            Some(Due::Wall(at)) => {
                let at = wall_nanos(wall::nanos(at));
                let key = self.wall.insert(at, job.id(), job.clone());
                (Clock::Wall, key.index)
            }
        };
        state.replace_timer(Some(timer));
        true
    }

    /// Takes the next job that is due.
    fn pop_due(&mut self, now: Instant, wall: u64) -> Option<Arc<Job>> {
        let monotonic = self.monotonic.next_deadline();
        let monotonic = monotonic.filter(|&at| at <= now.as_nanos());
        let on_wall = self.wall.next_deadline().filter(|&at| at <= wall);
        let wall_first = match (monotonic, on_wall) {
            (None, None) => return None,
            // Both are due: the later they are, the earlier their turn.
            (Some(at), Some(on_wall)) => wall - on_wall > now.as_nanos() - at,
            (None, Some(_)) => true,
            (Some(_), None) => false,
        };
        let due = if wall_first {
            self.wall.pop_due(wall)
        } else {
            self.monotonic.pop_due(now.as_nanos())
        };
        due.map(|(_, job)| job)
    }

    fn fire(&mut self, job: &Arc<Job>, look: &Look) {
        let reference = self.references.pop().unwrap_or_else(|| {
            // As many as are likely to be taken: what is due alone pays for no others.
            let more = if self.is_busy { REFERENCES } else { 0 };
            self.references
                .extend(core::iter::repeat_n(&self.shared, more).cloned());
            self.shared.clone()
        });
        self.is_busy = true;
        if self.shared.fire(job, look, Some(reference)) {
            self.sync(job);
        }
    }

    /// Says that it sleeps until `until`, which both clocks are looked at for at the latest if that
    /// is soon enough; false if there is something to do first.
    fn falls_asleep(&self, until: Instant, (now, wall): (Instant, SystemTime)) -> bool {
        let left = until - now;
        let looks = left <= wall::LOOK_EVERY;
        let asleep = Asleep {
            until: until.as_nanos(),
            wall: wall.checked_add(left).filter(|_| looks),
        };
        self.news.is_empty() && self.shared.falls_asleep(asleep)
    }

    /// When to wake: at the earliest deadline, or to look at the wall clock.
    fn next_wake(&mut self, now: Instant, wall: u64) -> Instant {
        let monotonic = self.monotonic.next_deadline();
        let monotonic = monotonic.map_or(Instant::FAR_FUTURE, Instant::from_nanos);
        let on_wall = self.wall.next_deadline().map_or(Instant::FAR_FUTURE, |at| {
            let left = Duration::from_nanos(at.saturating_sub(wall));
            now + left.min(wall::LOOK_EVERY)
        });
        monotonic
            .min(on_wall)
            .min(self.tidy_at.unwrap_or(Instant::FAR_FUTURE))
    }
}

impl Future for SchedulerDriver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.is_busy = false;
        let shared = this.shared.clone();
        shared.counters.add::<WAKEUPS>(1);
        shared.driver.register(cx.waker());
        let mut budget = BATCH * NEWS;
        loop {
            if shared.is_closed() {
                return Poll::Ready(());
            }
            if budget == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.take_news(&mut budget);
            if shared.is_stopped() {
                // Only news and a start wake it.
                this.clocks.stop();
                if this.falls_asleep(
                    Instant::FAR_FUTURE,
                    (Instant::ORIGIN, SystemTime::UNIX_EPOCH),
                ) {
                    return Poll::Pending;
                }
                continue;
            }
            let now = shared.handle.now();
            let time_of_day = shared.handle.wall();
            let wall = wall_nanos(wall::nanos(time_of_day));
            let (look, set_back) = this.clocks.look(now, time_of_day);
            if let Some(by) = set_back {
                shared.wall_was_set_back(by);
            }
            while budget > 0
                && let Some(job) = this.pop_due(now, wall)
            {
                // By the clocks of the turn: to read them costs as much as all the rest.
                this.fire(&job, &look);
                forget(job);
                budget = budget.saturating_sub(NEWS);
            }
            if budget == 0 || this.tidies(now, &mut budget) {
                continue;
            }
            let wake = this.next_wake(now, wall);
            this.clocks.sleep(&look, wake);
            if !this.falls_asleep(wake, (now, time_of_day)) {
                continue;
            }
            if this.armed != wake {
                this.timer.arm(wake);
                this.armed = wake;
            }
            match this.timer.poll_fired(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    // Due already: another round, with the timer to be armed anew.
                    this.armed = Instant::ORIGIN;
                }
                // Nobody keeps the time any more.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
        }
    }
}

impl Drop for SchedulerDriver {
    fn drop(&mut self) {
        self.shared.close();
        // After the close nobody hands a job over. One by one: a second panic of the users'
        // triggers at once could not be contained.
        self.news.drain(..).for_each(forget);
        self.shared.take_news(&mut self.news);
        self.news.drain(..).for_each(forget);
        while let Some((_, job)) = self.monotonic.pop_due(u64::MAX) {
            forget(job);
        }
        while let Some((_, job)) = self.wall.pop_due(u64::MAX) {
            forget(job);
        }
    }
}

impl fmt::Debug for SchedulerDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerDriver")
            .field("scheduler", &self.shared.name)
            .field("timers", &(self.monotonic.len() + self.wall.len()))
            .finish_non_exhaustive()
    }
}

/// Drops what may be a job's last reference, and with it the user's trigger.
fn forget(job: Arc<Job>) {
    contain(|| drop(job));
}

/// A time of day on the wheel's axis: nanoseconds since the epoch; what lies outside is due at
/// once, or in the year 2554.
fn wall_nanos(at: i128) -> u64 {
    u64::try_from(at.max(0)).unwrap_or(u64::MAX)
}
