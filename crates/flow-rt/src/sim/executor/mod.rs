//! The loop: poll one of the ready tasks, or move the clock to what is due next.

mod clock;
mod lives;
#[cfg(test)]
mod tests;

use core::cell::RefCell;
use core::future::Future;
use core::mem;
use core::panic::Location;
use core::pin::pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use clock::Next;

use super::Sim;
use super::config::{Policy, SimBuilder};
use super::explore::Guide;
use super::failure::{Failure, Limit};
use super::history::{Event, History};
use super::local;
use super::pick::Picker;
use super::report::{Report, TaskPanic};
use super::stall::Stalls;
use super::tasks::{ROOT, Tasks};
use super::timers::Sleeper;
use super::world::{START, World};
use crate::ambient;
use crate::panics::Panic;

/// What a run is told and asked beside its configuration.
#[derive(Default)]
pub(super) struct Extras<'a> {
    /// Choices to make, and to be told of.
    pub(super) guide: Option<&'a RefCell<Guide>>,
    /// Where to leave the run's events.
    pub(super) history: Option<&'a mut History>,
}

pub(super) fn run<F, Fut>(
    config: &SimBuilder,
    mut extras: Extras<'_>,
    called_at: &'static Location<'static>,
    root: F,
) -> Result<Report<Fut::Output>, Failure>
where
    F: FnOnce(Sim) -> Fut,
    Fut: Future,
{
    let world = Arc::new(World::new(
        config,
        extras.history.as_deref_mut().map(mem::take),
    ));
    let sim = Sim::new_inside(world.clone());
    let entered = ambient::enter_simulation((*sim).clone(), config.seed);
    let Some(_inside) = entered else {
        return Err(Failure::Nested);
    };
    let _local = local::enter(world.id, world.is_recorded());
    world.foreign.open(world.id);
    let mut executor = Executor::new(config, extras.guide, &world, called_at);
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
        None => result.map_err(|failure| *failure),
    }
}

struct Executor<'a> {
    world: &'a World,
    config: &'a SimBuilder,
    picker: Picker<'a>,
    stalls: Stalls,
    tasks: Tasks,
    /// The world's time, which only the executor moves.
    now: u64,
    /// The last that it may move to.
    last_instant: u64,
    polls: u64,
    /// When `polls` reaches this, a limit may be met: of the run, of a moment, or of the polls after
    /// the root's end. That of a moment may have moved on with the clock since.
    polls_allowed: u64,
    winding_down: bool,
    polls_at_move: u64,
    trace: u64,
    /// The slot of the task that is being polled; [`NOBODY`] between polls.
    polling: u32,
    /// Whether no option asks for more around a poll than the poll.
    plain: bool,
    panics: Vec<TaskPanic>,
    /// Kept for its memory.
    due: Vec<(u64, Sleeper)>,
    closed: bool,
}

impl<'a> Executor<'a> {
    fn new(
        config: &'a SimBuilder,
        guide: Option<&'a RefCell<Guide>>,
        world: &'a World,
        called_at: &'static Location<'static>,
    ) -> Self {
        let picker = Picker::new(config.order, config.seed, guide);
        let plain = config.stalls.is_empty()
            && config.poll_cost == 0
            && !config.allow_threads
            && !matches!(picker, Picker::Pct(_));
        let mut this = Self {
            world,
            config,
            picker,
            stalls: Stalls::new(config.stalls.clone(), config.seed),
            tasks: Tasks::new(),
            now: START,
            last_instant: START.saturating_add(config.max_time),
            polls: 0,
            polls_allowed: config.max_polls.min(config.livelock_polls),
            winding_down: false,
            polls_at_move: 0,
            trace: 0xCBF2_9CE4_8422_2325,
            polling: NOBODY,
            plain,
            panics: Vec::new(),
            due: Vec::new(),
            closed: false,
        };
        let root = local::with(local::Local::allot);
        debug_assert_eq!(root, ROOT, "nobody is there before the root");
        this.picker.born(ROOT);
        this.tasks.add_root(world, called_at);
        this
    }

    fn run<F, Fut>(&mut self, sim: Sim, root: F) -> Result<Report<Fut::Output>, Box<Failure>>
    where
        F: FnOnce(Sim) -> Fut,
        Fut: Future,
    {
        let output = {
            // Dropped before the other tasks, also on a panic.
            let mut root = pin!(root(sim));
            self.drive(|cx| root.as_mut().poll(cx))?
        };
        self.end(ROOT);
        self.wind_down()?;
        let now = self.now;
        let leaked = self.tasks.reports(now);
        let armed = self.armed();
        self.close();
        // Panics that sat in join cells of what was dropped.
        self.hear(ROOT)?;
        if self.config.leaks == Policy::Fail && !(leaked.is_empty() && armed.is_empty()) {
            return Err(Box::new(Failure::Leaked {
                tasks: leaked,
                timers: armed,
            }));
        }
        Ok(Report {
            output,
            elapsed: Duration::from_nanos(now - START),
            polls: self.polls,
            trace: self.trace,
            leaked,
            armed,
            panics: mem::take(&mut self.panics),
        })
    }

    /// Polls the root and the tasks until the root has ended.
    fn drive<T>(
        &mut self,
        mut root: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Box<Failure>> {
        loop {
            // Before it has ended they end with its output, or in a failure.
            if let Some(output) = self.guarded(&mut root)? {
                return Ok(output);
            }
        }
    }

    /// After the root has ended: what is ready may run on, while time stands still, to take
    /// notice of it. Whoever does not end then is left behind.
    fn wind_down(&mut self) -> Result<(), Box<Failure>> {
        self.winding_down = true;
        self.polls_allowed = self.polls.saturating_add(WIND_DOWN);
        self.stalls.end();
        self.release(u64::MAX);
        self.guarded(&mut |_| Poll::Pending::<()>).map(drop)
    }

    /// Polls what is ready, and moves the clock when nothing is, until the root has ended; after
    /// that, until nothing is ready or there were polls enough.
    ///
    /// One guard around all of them catches a panic, and the loop is entered anew after it: a
    /// guard around each poll would cost each of them.
    fn guarded<T>(
        &mut self,
        root: &mut impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<Option<T>, Box<Failure>> {
        loop {
            // What was polled is dropped, and the executor is whole whenever it polls.
            let ran = catch_unwind(AssertUnwindSafe(|| self.poll_ready(root)));
            match (ran, mem::replace(&mut self.polling, NOBODY)) {
                (Ok(ran), _) => return ran,
                (Err(payload), slot) if slot != ROOT && slot != NOBODY => {
                    self.panicked(slot, Panic::new(payload))?;
                    self.after(slot)?;
                }
                // The root's panic is the caller's.
                (Err(payload), _) => resume_unwind(payload),
            }
        }
    }

    fn poll_ready<T>(
        &mut self,
        root: &mut impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<Option<T>, Box<Failure>> {
        loop {
            if self.world.foreign.news.load(Ordering::Acquire) {
                self.let_in()?;
            }
            let (slot, one_of) = match self.pick() {
                Picked::One { slot, one_of } => (slot, one_of),
                Picked::None if self.winding_down => return Ok(None),
                Picked::None => match self.next_timer() {
                    Next::Task(slot) => (slot, 1),
                    Next::Moved => continue,
                    Next::Several => {
                        self.move_to_next()?;
                        continue;
                    }
                    Next::Unclear => {
                        self.wait()?;
                        continue;
                    }
                },
                Picked::AfterNewborn => {
                    self.adopt_newborn();
                    continue;
                }
            };
            if !self.plain && self.stall(slot) {
                continue;
            }
            if self.polls >= self.polls_allowed && self.is_out_of_polls() {
                return self.out_of_polls();
            }
            self.polls += 1;
            let Some(task) = self.tasks.get(slot) else {
                continue;
            };
            task.polls += 1;
            task.polled_at = self.now;
            let number = task.number;
            self.trace = mixed(self.trace, number);
            self.world.current.store(number, Ordering::Relaxed);
            local::polls(slot, task.shared.address());
            self.world.note(move || Event::Polled {
                task: number,
                one_of,
            });
            self.polling = slot;
            let cx = &mut Context::from_waker(&task.waker);
            if slot == ROOT {
                let polled = root(cx);
                self.polling = NOBODY;
                if let Poll::Ready(output) = polled {
                    self.hear(ROOT)?;
                    // It has ended in time, whatever this last poll costs.
                    self.last_instant = u64::MAX;
                    self.after(ROOT)?;
                    return Ok(Some(output));
                }
            } else {
                let polled = task.body.poll(cx);
                self.polling = NOBODY;
                if polled.is_ready() {
                    self.ended(slot)?;
                }
            }
            self.after(slot)?;
        }
    }

    /// Takes the next task out of the queue; says of how many.
    #[inline]
    fn pick(&mut self) -> Picked {
        let (picker, polls) = (&mut self.picker, self.polls);
        local::with(|local| {
            if !local.newborn.is_empty() {
                return Picked::AfterNewborn;
            }
            let one_of = local.ready.len();
            match picker.pick(&mut local.ready, polls) {
                Some(slot) => {
                    // Before the poll: a wake during it must count.
                    local.ready.polls(slot);
                    Picked::One { slot, one_of }
                }
                None => Picked::None,
            }
        })
    }

    /// What every poll is followed by. Panics that came of it are heard before the next.
    #[inline]
    fn after(&mut self, slot: u32) -> Result<(), Box<Failure>> {
        if self.plain {
            Ok(())
        } else {
            self.after_special(slot)
        }
    }

    /// The same, with an option that asks for it.
    #[cold]
    fn after_special(&mut self, slot: u32) -> Result<(), Box<Failure>> {
        self.hear(slot)?;
        if let Picker::Pct(_) = self.picker
            && self.tasks.get(slot).is_some()
            && local::with(|local| local.ready.is_queued(slot))
        {
            self.picker.yielded(slot);
        }
        if self.config.poll_cost > 0 && !self.winding_down {
            self.move_to(self.now.saturating_add(self.config.poll_cost))?;
        }
        Ok(())
    }

    /// Whether a limit is met, and not only that of a moment before the clock moved.
    #[cold]
    fn is_out_of_polls(&mut self) -> bool {
        if !self.winding_down {
            let until_livelock = self
                .polls_at_move
                .saturating_add(self.config.livelock_polls);
            self.polls_allowed = self.config.max_polls.min(until_livelock);
        }
        self.polls >= self.polls_allowed
    }

    #[cold]
    fn out_of_polls<T>(&self) -> Result<Option<T>, Box<Failure>> {
        if self.winding_down {
            return Ok(None);
        }
        Err(Box::new(self.too_many_polls()))
    }

    fn too_many_polls(&self) -> Failure {
        let busiest = self.tasks.busiest(self.now);
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
}

/// What there is to be polled.
enum Picked {
    One {
        slot: u32,
        one_of: usize,
    },
    /// Nothing is ready.
    None,
    /// There are tasks to be taken in before.
    AfterNewborn,
}

/// Mixes a word into a trace (FNV-1a over words).
#[inline]
const fn mixed(trace: u64, event: u64) -> u64 {
    (trace ^ event).wrapping_mul(0x0100_0000_01B3)
}

/// The slot of no task.
const NOBODY: u32 = u32::MAX;
/// Polls after the root's end.
const WIND_DOWN: u64 = 10_000;
