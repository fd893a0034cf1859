//! Moving the clock: what comes due, who is held back, and what if there is nothing to wait for.

use core::sync::atomic::Ordering;
use core::time::Duration;

use super::super::failure::{Failure, Limit};
use super::super::history::Event;
use super::super::local;
use super::super::report::TimerReport;
use super::super::timers::Sleeper;
use super::super::waker::TaskRef;
use super::{Executor, mixed};

impl Executor<'_> {
    /// Holds a task back, if the seed says so.
    pub(super) fn stall(&mut self, slot: u32) -> bool {
        if !self.stalls.are_configured() || core::mem::take(self.tasks.stalled(slot)) {
            return false;
        }
        let Some(lasting) = self.stalls.draw(self.tasks.name(slot)) else {
            return false;
        };
        *self.tasks.stalled(slot) = true;
        local::with(|local| local.ready.hold(slot));
        self.stalls.hold(slot, self.now.saturating_add(lasting));
        true
    }

    /// Nothing is ready: moves the clock to the next timer, if it is clear that nothing else is
    /// waited for and nothing else is due then. That is the common case, and
    /// [`move_to_next`](Self::move_to_next) or [`wait`](Self::wait) comes to the same.
    #[inline(never)]
    pub(super) fn next_timer(&mut self) -> Next {
        let world = self.world;
        if !self.plain || world.idle.is_awaited() || world.away.is_used() {
            return Next::Unclear;
        }
        let until = self.last_instant;
        let Some((due, owner, sleeper)) = local::with(|local| local.timers.pop_alone(until)) else {
            let any = local::with(|local| !local.timers.is_empty());
            return if any { Next::Several } else { Next::Unclear };
        };
        self.set_time(due);
        let slot = match sleeper {
            Sleeper::Task(slot) => slot,
            Sleeper::Other(waker) => {
                waker.wake();
                return Next::Moved;
            }
        };
        let number = owner;
        if self.tasks.living(TaskRef { slot, number }).is_none() {
            return Next::Moved;
        }
        world.note(move || Event::Woken {
            task: owner,
            by: world.current(),
        });
        Next::Task(slot)
    }

    /// Moves the clock to the next timer of this thread, as [`next_timer`](Self::next_timer) has
    /// decided: the timers take no instant before it any more, so what other threads have
    /// registered since, or wait for, does not count.
    #[inline(never)]
    pub(super) fn move_to_next(&mut self) -> Result<(), Box<Failure>> {
        match local::with(|local| local.timers.next_due()) {
            Some(due) => self.move_to(due),
            None => Ok(()),
        }
    }

    /// Nothing is ready: wake who waits for that, else move the clock, else give up.
    #[inline(never)]
    pub(super) fn wait(&mut self) -> Result<(), Box<Failure>> {
        if let Some(waiter) = self.world.idle.pop() {
            waiter.wake();
            return Ok(());
        }
        let away = self.world.away.is_used().then(|| {
            self.take_back_timers();
            self.world.away.with(|lists| lists.timers.next_due())
        });
        let here = local::with(|local| local.timers.next_due());
        let timer = earlier(here, away.flatten());
        let due = earlier(timer, self.stalls.next_due());
        if let Some(due) = due {
            // Another thread may have registered its timer as the clock moved past it: it fires
            // late, and the clock stays where it is.
            return self.move_to(due.max(self.now));
        }
        if self.config.allow_threads {
            // Another thread owes us a wake, and unparks us with it.
            self.world.foreign.wait();
            return Ok(());
        }
        Err(Box::new(Failure::Deadlock {
            waiting: self.tasks.reports(self.now),
        }))
    }

    /// Moves the clock, and makes ready what has come due: all of it before the next pick, so
    /// that its order is the policy's.
    pub(super) fn move_to(&mut self, now: u64) -> Result<(), Box<Failure>> {
        if now > self.last_instant {
            return Err(Box::new(self.out_of_time()));
        }
        self.set_time(now);
        self.fire(now);
        if !self.plain {
            self.release(now);
        }
        Ok(())
    }

    /// Moves the clock, no further than the run may last.
    #[inline]
    pub(super) fn set_time(&mut self, now: u64) {
        self.now = now;
        self.world.time.store(now, Ordering::Release);
        self.polls_at_move = self.polls;
        self.trace = mixed(self.trace, now);
        self.world.note(move || Event::Moved { now });
    }

    #[cold]
    fn out_of_time(&self) -> Failure {
        Failure::Unfinished {
            limit: Limit::Time(Duration::from_nanos(self.config.max_time)),
            busiest: self.tasks.busiest(self.now),
        }
    }

    /// Makes ready the tasks that were held back until `now`.
    pub(super) fn release(&mut self, now: u64) {
        while let Some(slot) = self.stalls.release(now) {
            local::with(|local| local.ready.put_back(slot));
        }
    }

    /// Wakes all timers that are due at `now` or before. Those that were given up on another
    /// thread since the executor looked last wake whom nothing happened to, as any waker may.
    #[inline(never)]
    fn fire(&mut self, now: u64) {
        let (tasks, world, due) = (&self.tasks, self.world, &mut self.due);
        local::with(|local| {
            let ready = &mut local.ready;
            local.timers.fire(now, |owner, sleeper| match sleeper {
                // As its waker would, at once while nobody is before it.
                Sleeper::Task(slot) if due.is_empty() => {
                    let number = owner;
                    if tasks.living(TaskRef { slot, number }).is_some() && ready.push(slot) {
                        world.note(|| Event::Woken {
                            task: owner,
                            by: world.current(),
                        });
                    }
                }
                sleeper => due.push((owner, sleeper)),
            });
        });
        if self.world.away.is_used() {
            self.world.away.with(|lists| {
                let timers = &mut lists.timers;
                timers.fire(now, |owner, sleeper| self.due.push((owner, sleeper)));
            });
        }
        if !self.due.is_empty() {
            self.wake_due();
        }
    }

    #[cold]
    fn wake_due(&mut self) {
        for (owner, sleeper) in self.due.drain(..) {
            match sleeper {
                Sleeper::Task(slot) => {
                    let number = owner;
                    if let Some(task) = self.tasks.living(TaskRef { slot, number }) {
                        task.waker.wake_by_ref();
                    }
                }
                Sleeper::Other(waker) => waker.wake(),
            }
        }
    }

    /// Takes out the timers of this thread that were given up on others.
    #[cold]
    pub(super) fn take_back_timers(&self) {
        let given_up = self.world.away.take_given_up();
        for key in given_up {
            let sleeper = local::with(|local| local.timers.remove(key));
            drop(sleeper);
        }
    }

    pub(super) fn armed(&self) -> Vec<TimerReport> {
        let away = self.world.away.is_used();
        if away {
            self.take_back_timers();
        }
        if !away && local::with(|local| local.timers.is_empty()) {
            return Vec::new();
        }
        let mut armed: Vec<(u64, u64)> = local::with(|local| local.timers.armed().collect());
        if away {
            self.world
                .away
                .with(|lists| armed.extend(lists.timers.armed()));
            // What is due by now but has not fired may have been given up: see the timers'
            // invariant 3.
            armed.retain(|&(due, _)| due > self.now);
        }
        armed.sort_by_key(|&(due, _)| due);
        let report = |(due, owner)| TimerReport {
            due_in: Duration::from_nanos(due - self.now),
            task: self.tasks.numbered(owner, self.now),
        };
        armed.into_iter().map(report).collect()
    }
}

/// What came of a look at the next timer.
pub(super) enum Next {
    /// The clock has moved, and this task is polled next: it needs no queue for that.
    Task(u32),
    /// The clock has moved.
    Moved,
    /// The clock goes to the next timer, and more is due then, or that is later than the run may
    /// last.
    Several,
    /// Nothing was done.
    Unclear,
}

/// The earlier of two instants, if there are any.
#[inline]
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
