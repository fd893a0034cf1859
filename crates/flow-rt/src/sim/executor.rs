//! The loop: poll one of the ready tasks, or move the clock to what is due next.

use core::cell::RefCell;
use core::future::Future;
use core::panic::Location;
use core::pin::{Pin, pin};
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;
use std::task::Waker;

use super::Sim;
use super::config::{Policy, SimBuilder};
use super::explore::Guide;
use super::failure::{Failure, Limit};
use super::history::{Event, History};
use super::local;
use super::pick::Picker;
use super::report::{Report, TaskPanic, TimerReport};
use super::runtime::SimRuntime;
use super::stall::Stalls;
use super::tasks::{ROOT, Task, Tasks};
use super::world::{START, World};
use crate::ambient;
use crate::handle::Handle;
use crate::panics::{self, Panic};
use crate::runtime::BoxTask;

/// What a run is told and asked beside its configuration.
#[derive(Default)]
pub(super) struct Extras<'a> {
    /// Choices to make, and to be told of.
    pub(super) guide: Option<&'a RefCell<Guide>>,
    /// Where to leave the run's events.
    pub(super) history: Option<&'a mut Option<History>>,
}

pub(super) fn run<F, Fut>(
    config: &SimBuilder,
    extras: Extras<'_>,
    called_at: &'static Location<'static>,
    root: F,
) -> Result<Report<Fut::Output>, Failure>
where
    F: FnOnce(Sim) -> Fut,
    Fut: Future,
{
    let world = Arc::new(World::new(config, extras.history.is_some()));
    let handle = Handle::new(SimRuntime(world.clone()));
    let (time, seed) = (world.time.clone(), config.seed);
    let entered = ambient::enter_simulation(handle.clone(), time, seed, world.clone());
    let Some(_inside) = entered else {
        return Err(Failure::Nested);
    };
    let _local = local::enter(world.id);
    let sim = Sim::new_inside(handle, world.clone());
    let mut executor = Executor::new(config, extras.guide, world.clone(), called_at);
    let result = executor.run(sim, root);
    drop(executor);
    if let Some(history) = extras.history {
        *history = world.take_history();
    }
    let diverged = extras.guide.and_then(|guide| guide.borrow().diverged);
    match diverged {
        Some(diverged) => Err(Failure::Diverged {
            at: diverged.at,
            choice: diverged.choice,
            ready: diverged.ready,
        }),
        None => result,
    }
}

struct Executor<'a> {
    world: Arc<World>,
    config: &'a SimBuilder,
    picker: Picker<'a>,
    stalls: Stalls,
    tasks: Tasks,
    polls: u64,
    /// When `polls` reaches this, a limit is met: of the run, or of a moment.
    polls_allowed: u64,
    polls_at_move: u64,
    trace: u64,
    panics: Vec<TaskPanic>,
    /// Kept for its memory.
    due: Vec<Waker>,
    closed: bool,
}

impl<'a> Executor<'a> {
    fn new(
        config: &'a SimBuilder,
        guide: Option<&'a RefCell<Guide>>,
        world: Arc<World>,
        called_at: &'static Location<'static>,
    ) -> Self {
        let mut this = Self {
            world,
            config,
            picker: Picker::new(config.order, config.seed, guide),
            stalls: Stalls::new(config.stalls.clone(), config.seed),
            tasks: Tasks::new(called_at),
            polls: 0,
            polls_allowed: config.max_polls.min(config.livelock_polls),
            polls_at_move: 0,
            trace: 0xCBF2_9CE4_8422_2325,
            panics: Vec::new(),
            due: Vec::new(),
            closed: false,
        };
        let slot = local::with(local::Local::allot);
        this.adopt(slot, None);
        this
    }

    fn run<F, Fut>(&mut self, sim: Sim, root: F) -> Result<Report<Fut::Output>, Failure>
    where
        F: FnOnce(Sim) -> Fut,
        Fut: Future,
    {
        let output = {
            // Dropped before the other tasks, also on a panic.
            let root = pin!(root(sim));
            self.drive(root)?
        };
        self.end(ROOT);
        self.wind_down()?;
        let now = self.world.now();
        let leaked = self.tasks.reports(now);
        let armed = self.armed(now);
        self.close();
        // Panics that sat in join cells of what was dropped.
        self.hear(ROOT)?;
        if self.config.leaks == Policy::Fail && !(leaked.is_empty() && armed.is_empty()) {
            return Err(Failure::Leaked {
                tasks: leaked,
                timers: armed,
            });
        }
        Ok(Report {
            output,
            elapsed: Duration::from_nanos(now - START),
            polls: self.polls,
            trace: self.trace,
            leaked,
            armed,
            panics: core::mem::take(&mut self.panics),
        })
    }

    fn drive<Fut: Future>(&mut self, mut root: Pin<&mut Fut>) -> Result<Fut::Output, Failure> {
        loop {
            let Some(slot) = self.next()? else {
                self.wait()?;
                continue;
            };
            if slot == ROOT {
                let Some(task) = self.tasks.get(ROOT) else {
                    continue;
                };
                let waker = &task.waker;
                let polled = root.as_mut().poll(&mut Context::from_waker(waker));
                if let Poll::Ready(output) = polled {
                    self.after(ROOT)?;
                    return Ok(output);
                }
                self.pending(ROOT);
            } else {
                self.poll(slot)?;
            }
            self.after(slot)?;
        }
    }

    /// After the root has ended: what is ready may run on, while time stands still, to take
    /// notice of it. Whoever does not end then is left behind.
    fn wind_down(&mut self) -> Result<(), Failure> {
        self.polls_allowed = u64::MAX;
        self.stalls.end();
        self.release(u64::MAX);
        for _ in 0..WIND_DOWN {
            let Some(slot) = self.next()? else {
                break;
            };
            self.poll(slot)?;
            self.after(slot)?;
        }
        Ok(())
    }

    /// The task to poll next: counted, in the trace, and no longer queued.
    #[inline]
    fn next(&mut self) -> Result<Option<u32>, Failure> {
        if self.world.foreign.news.load(Ordering::Acquire) {
            self.let_in()?;
        }
        loop {
            let picker = &mut self.picker;
            let polls = self.polls;
            let (slot, one_of) = local::with(|local| {
                if local.newborn.is_empty() {
                    let one_of = local.ready.len();
                    (picker.pick(&mut local.ready, polls), one_of)
                } else {
                    (None, usize::MAX)
                }
            });
            let Some(slot) = slot else {
                if one_of == 0 {
                    return Ok(None);
                }
                self.adopt_newborn();
                continue;
            };
            if self.stalls.are_configured() && self.stall(slot) {
                continue;
            }
            if self.polls >= self.polls_allowed {
                return Err(self.too_many_polls());
            }
            self.polls += 1;
            let Some(task) = self.tasks.get(slot) else {
                continue;
            };
            let number = task.shared.task.number;
            task.polls += 1;
            task.polled_at = self.world.now();
            // Before the poll: a wake during it must count. See `world` for the two ways.
            if self.config.allow_threads {
                task.shared.queued.swap(false, Ordering::AcqRel);
            } else {
                task.shared.queued.store(false, Ordering::Relaxed);
            }
            self.world.current.store(number, Ordering::Relaxed);
            self.record(number);
            self.world.note(|| Event::Polled {
                task: number,
                one_of,
            });
            return Ok(Some(slot));
        }
    }

    #[inline]
    fn poll(&mut self, slot: u32) -> Result<(), Failure> {
        let Some(task) = self.tasks.get(slot) else {
            return Ok(());
        };
        let Some(boxed) = &mut task.boxed else {
            return Ok(());
        };
        match boxed.poll_catching(&mut Context::from_waker(&task.waker)) {
            Poll::Pending => self.pending(slot),
            Poll::Ready(Ok(())) => self.ended(slot)?,
            Poll::Ready(Err(panic)) => self.panicked(slot, panic)?,
        }
        Ok(())
    }

    /// A task that nobody can join has panicked.
    #[cold]
    fn panicked(&mut self, slot: u32, panic: Panic) -> Result<(), Failure> {
        let panicked = TaskPanic {
            task: self.tasks.report(slot, self.world.now()),
            message: panic.message().to_owned(),
        };
        // The payload's destructor is user code.
        panics::contain(|| drop(panic));
        self.ended(slot)?;
        self.unheard(panicked)
    }

    /// A task has been polled and goes on.
    #[inline]
    fn pending(&mut self, slot: u32) {
        if let Picker::Pct(_) = self.picker
            && let Some(task) = self.tasks.get(slot)
            && task.shared.queued.load(Ordering::Relaxed)
        {
            self.picker.yielded(slot);
        }
    }

    /// A task has been polled to its end.
    fn ended(&mut self, slot: u32) -> Result<(), Failure> {
        // While the task can be named.
        self.hear(slot)?;
        self.end(slot);
        Ok(())
    }

    /// What every poll is followed by.
    #[inline]
    fn after(&mut self, slot: u32) -> Result<(), Failure> {
        self.hear(slot)?;
        if self.config.poll_cost > 0 {
            let now = self.world.now().saturating_add(self.config.poll_cost);
            self.move_to(now)?;
        }
        Ok(())
    }

    /// Looks for panics after a poll of `slot`.
    #[inline]
    fn hear(&mut self, slot: u32) -> Result<(), Failure> {
        if self.world.panics.have_news() {
            self.hear_news(slot)?;
        }
        Ok(())
    }

    #[cold]
    fn hear_news(&mut self, slot: u32) -> Result<(), Failure> {
        let now = self.world.now();
        let tasks = &self.tasks;
        for panic in self.world.panics.take(|| tasks.report(slot, now)) {
            self.unheard(panic)?;
        }
        Ok(())
    }

    fn unheard(&mut self, panic: TaskPanic) -> Result<(), Failure> {
        match self.config.task_panics {
            Policy::Fail if !self.world.panics.allowed.load(Ordering::Relaxed) => {
                Err(Failure::TaskPanicked(Box::new(panic)))
            }
            _ => {
                self.panics.push(panic);
                Ok(())
            }
        }
    }

    /// Holds a task back, if the seed says so.
    fn stall(&mut self, slot: u32) -> bool {
        let Some(task) = self.tasks.get(slot) else {
            return false;
        };
        if core::mem::take(&mut task.stalled) {
            return false;
        }
        let Some(lasting) = self.stalls.draw(task.name()) else {
            return false;
        };
        task.stalled = true;
        let until = self.world.now().saturating_add(lasting);
        self.stalls.hold(slot, until);
        true
    }

    /// Nothing is ready: wake who waits for that, else move the clock, else give up.
    fn wait(&mut self) -> Result<(), Failure> {
        let idle = self.world.idle.lock().pop();
        if let Some(waiter) = idle {
            waiter.wake();
            return Ok(());
        }
        let timer = self.world.timers.lock().next_due();
        let due = timer.into_iter().chain(self.stalls.next_due()).min();
        if let Some(due) = due {
            return self.move_to(due);
        }
        if self.config.allow_threads {
            // Another thread owes us a wake, and unparks us with it.
            if !self.world.foreign.news.load(Ordering::Acquire) {
                std::thread::park();
            }
            return Ok(());
        }
        Err(Failure::Deadlock {
            waiting: self.tasks.reports(self.world.now()),
        })
    }

    /// Moves the clock, and makes ready what has come due: all of it before the next pick, so
    /// that its order is the policy's.
    fn move_to(&mut self, now: u64) -> Result<(), Failure> {
        if now - START > self.config.max_time {
            return Err(Failure::Unfinished {
                limit: Limit::Time(Duration::from_nanos(self.config.max_time)),
                busiest: self.tasks.busiest(self.world.now()),
            });
        }
        self.world.time.store(now, Ordering::Release);
        self.polls_at_move = self.polls;
        let until_livelock = self.polls.saturating_add(self.config.livelock_polls);
        self.polls_allowed = self.config.max_polls.min(until_livelock);
        self.record(now);
        self.world.note(|| Event::Moved { now });
        self.world.timers.lock().fire(now, &mut self.due);
        self.world.fired_through.store(now, Ordering::Relaxed);
        for waker in self.due.drain(..) {
            waker.wake();
        }
        self.release(now);
        Ok(())
    }

    /// Makes ready the tasks that were held back until `now`.
    fn release(&mut self, now: u64) {
        while let Some(slot) = self.stalls.release(now) {
            local::with(|local| local.ready.push_back(slot));
        }
    }

    fn too_many_polls(&self) -> Failure {
        let busiest = self.tasks.busiest(self.world.now());
        if self.polls >= self.config.max_polls {
            return Failure::Unfinished {
                limit: Limit::Polls(self.polls),
                busiest,
            };
        }
        Failure::Livelock {
            polls: self.polls - self.polls_at_move,
            busiest,
        }
    }

    /// Takes over what other threads have posted.
    fn let_in(&mut self) -> Result<(), Failure> {
        let inbox = self.world.foreign.take();
        if !self.config.allow_threads {
            let now = self.world.now();
            let woken = inbox.woken.first();
            return Err(Failure::ForeignWake {
                thread: inbox.thread,
                task: woken
                    .and_then(|task| self.tasks.numbered(task.number, now))
                    .map(Box::new),
            });
        }
        for task in inbox.woken {
            if self.tasks.is_alive(task) {
                local::with(|local| local.ready.push_back(task.slot));
            }
        }
        for task in inbox.spawned {
            let slot = local::with(local::Local::allot);
            self.adopt(slot, Some(task));
        }
        Ok(())
    }

    #[cold]
    fn adopt_newborn(&mut self) {
        let newborn = local::with(|local| core::mem::take(&mut local.newborn));
        for (slot, task) in newborn {
            self.adopt(slot, Some(task));
        }
    }

    fn adopt(&mut self, slot: u32, task: Option<BoxTask>) {
        self.picker.born(slot);
        self.tasks.add(&self.world, slot, task);
    }

    fn end(&mut self, slot: u32) {
        let Some((task, was_queued)) = self.tasks.take(slot) else {
            return;
        };
        if task.boxed.is_some() {
            self.world.live.fetch_sub(1, Ordering::Relaxed);
        }
        drop(task);
        local::with(|local| {
            if was_queued {
                // It has woken itself in its last poll.
                local.ready.retain(|&ready| ready != slot);
            }
            local.free.push(slot);
        });
    }

    fn armed(&self, now: u64) -> Vec<TimerReport> {
        let timers = self.world.timers.lock();
        let mut armed: Vec<TimerReport> = timers
            .armed()
            .map(|(due, owner)| TimerReport {
                due_in: Duration::from_nanos(due - now),
                task: self.tasks.numbered(owner, now),
            })
            .collect();
        armed.sort_by_key(|timer| timer.due_in);
        armed
    }

    /// Drops what is left in order of age, inside the simulation. Destructors may wake, arm and
    /// spawn; what they spawn is dropped in turn, up to a bound.
    fn close(&mut self) {
        if core::mem::replace(&mut self.closed, true) {
            return;
        }
        self.world.ended.store(true, Ordering::Release);
        let left: Vec<Task> = self.tasks.take_all();
        drop(left);
        let mut bound = CLOSING;
        loop {
            let newborn = local::with(|local| core::mem::take(&mut local.newborn));
            if newborn.is_empty() {
                break;
            }
            if bound < newborn.len() {
                // Destructors that spawn for ever: what they own is leaked.
                core::mem::forget(newborn);
                break;
            }
            bound -= newborn.len();
            drop(newborn);
        }
        drop(self.world.foreign.take());
        let idle = core::mem::take(&mut *self.world.idle.lock());
        drop(idle);
        self.world.live.store(0, Ordering::Relaxed);
    }

    /// Mixes a word into the trace (FNV-1a over words).
    #[inline]
    fn record(&mut self, event: u64) {
        self.trace = (self.trace ^ event).wrapping_mul(0x0100_0000_01B3);
    }
}

impl Drop for Executor<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Polls after the root's end.
const WIND_DOWN: usize = 10_000;
/// Tasks spawned by destructors.
const CLOSING: usize = 10_000;
