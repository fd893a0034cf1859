//! The loop: drain the inbox, poll one ready task, or move the clock.

use core::future::Future;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use super::failure::{Failure, Report, TaskReport};
use super::rng::SimRng;
use super::runtime::{Event, Origin, SimRuntime, TaskRef, TaskWaker, World};
use super::{Order, Sim, SimBuilder};
use crate::ambient;
use crate::handle::Handle;
use crate::runtime::BoxTask;

pub(super) fn run<F, Fut>(config: &SimBuilder, root: F) -> Result<Report<Fut::Output>, Failure>
where
    F: FnOnce(Sim) -> Fut,
    Fut: Future,
{
    let world = Arc::new(World::new(config));
    let handle = Handle::new(SimRuntime(world.clone()));
    let time = world.time.nanos().clone();
    let inside = ambient::enter_simulation(handle.clone(), time, config.seed);
    let Some(inside) = inside else {
        return Err(Failure::Nested);
    };
    let started = world.now();
    let sim = Sim {
        handle,
        world: world.clone(),
    };
    let mut executor = Executor::new(config, world);
    let output = {
        // Dropped before the other tasks, also on a panic.
        let root = pin!(root(sim));
        executor.drive(root)?
    };
    let report = Report {
        output,
        elapsed: Duration::from_nanos(executor.world.now() - started),
        polls: executor.polls,
        trace: executor.trace,
        leaked: executor.reports().skip(1).collect(),
    };
    drop(executor);
    drop(inside);
    Ok(report)
}

struct Executor {
    world: Arc<World>,
    order: Order,
    allow_threads: bool,
    livelock_polls: u64,
    rng: SimRng,
    /// The root is the first, without a box.
    tasks: Vec<Option<Task>>,
    free: Vec<usize>,
    next_generation: u64,
    ready: VecDeque<TaskRef>,
    polls: u64,
    polls_at_jump: u64,
    trace: u64,
    events: Vec<Event>,
}

struct Task {
    /// `None` for the root, and while the task is being polled.
    boxed: Option<BoxTask>,
    waker: Waker,
    shared: Arc<TaskWaker>,
    origin: Origin,
    polls: u64,
}

const ROOT: usize = 0;

impl Executor {
    #[track_caller]
    fn new(config: &SimBuilder, world: Arc<World>) -> Self {
        let mut this = Self {
            world,
            order: config.order,
            allow_threads: config.allow_threads,
            livelock_polls: config.livelock_polls,
            rng: SimRng::new(config.seed),
            tasks: Vec::new(),
            free: Vec::new(),
            next_generation: 0,
            ready: VecDeque::new(),
            polls: 0,
            polls_at_jump: 0,
            trace: 0xCBF2_9CE4_8422_2325,
            events: Vec::new(),
        };
        let origin = Origin {
            name: Some("the root".to_owned()),
            spawned_at: Location::caller(),
            born: this.world.now(),
        };
        this.add(None, origin);
        this
    }

    fn drive<Fut: Future>(&mut self, mut root: Pin<&mut Fut>) -> Result<Fut::Output, Failure> {
        loop {
            self.drain_inbox()?;
            let Some(next) = self.pick() else {
                self.wait()?;
                continue;
            };
            if self.polls - self.polls_at_jump >= self.livelock_polls {
                return Err(self.livelock());
            }
            self.polls += 1;
            self.record(next.slot as u64 ^ (next.generation << 20));
            if next.slot == ROOT {
                let task = self.tasks[ROOT]
                    .as_mut()
                    .expect("the root lives to the end");
                task.polls += 1;
                task.shared.queued.store(false, Ordering::Release);
                let waker = task.waker.clone();
                if let Poll::Ready(output) = root.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(output);
                }
            } else {
                self.poll_task(next);
            }
        }
    }

    fn poll_task(&mut self, next: TaskRef) {
        let Some(task) = self.tasks[next.slot].as_mut() else {
            return;
        };
        let Some(boxed) = &mut task.boxed else {
            return;
        };
        task.polls += 1;
        // Before the poll: a wake during it must count.
        task.shared.queued.store(false, Ordering::Release);
        let mut cx = Context::from_waker(&task.waker);
        if Pin::new(boxed).poll(&mut cx).is_ready() {
            self.remove(next.slot);
        }
    }

    /// Takes over what tasks, timers and other threads have posted.
    fn drain_inbox(&mut self) -> Result<(), Failure> {
        if !self.world.inbox.news.swap(false, Ordering::Acquire) {
            return Ok(());
        }
        if self.world.inbox.foreign.load(Ordering::Acquire) && !self.allow_threads {
            return Err(Failure::ForeignWake);
        }
        let mut events = core::mem::take(&mut self.events);
        core::mem::swap(&mut events, &mut self.world.inbox.events.lock());
        for event in events.drain(..) {
            match event {
                Event::Woken(task) => {
                    let alive = self.tasks[task.slot]
                        .as_ref()
                        .is_some_and(|known| known.shared.task == task);
                    if alive {
                        self.ready.push_back(task);
                    }
                }
                Event::Spawned(task) => {
                    let origin = Origin {
                        name: task.name().map(str::to_owned),
                        spawned_at: task.spawned_at(),
                        born: self.world.now(),
                    };
                    self.add(Some(task), origin);
                }
            }
        }
        self.events = events;
        Ok(())
    }

    fn pick(&mut self) -> Option<TaskRef> {
        match self.order {
            Order::Fifo => self.ready.pop_front(),
            Order::Random if self.ready.len() < 2 => self.ready.pop_front(),
            Order::Random => {
                let at = self.rng.below(self.ready.len() as u64) as usize;
                self.ready.swap_remove_back(at)
            }
        }
    }

    /// Nothing is ready: wake who waits for that, else move the clock, else give up.
    fn wait(&mut self) -> Result<(), Failure> {
        let idle = self.world.idle.lock().pop();
        if let Some(waiter) = idle {
            waiter.wake();
            return Ok(());
        }
        let due = self.world.timers.lock().next_due();
        if let Some(due) = due {
            self.world.time.set(due);
            self.polls_at_jump = self.polls;
            self.record(due);
            loop {
                // One at a time: the wake must not run under the lock.
                let waker = self.world.timers.lock().pop_due(due);
                match waker {
                    Some(waker) => waker.wake(),
                    None => return Ok(()),
                }
            }
        }
        if self.allow_threads {
            // Another thread owes us a wake, and unparks us with it.
            if !self.world.inbox.news.load(Ordering::Acquire) {
                self.world.inbox.foreign.store(true, Ordering::Release);
                std::thread::park();
            }
            return Ok(());
        }
        Err(Failure::Deadlock {
            waiting: self.reports().collect(),
        })
    }

    fn livelock(&self) -> Failure {
        let mut busiest: Vec<TaskReport> = self.reports().collect();
        busiest.sort_by_key(|task| core::cmp::Reverse(task.polls));
        busiest.truncate(5);
        Failure::Livelock {
            polls: self.polls - self.polls_at_jump,
            busiest,
        }
    }

    fn reports(&self) -> impl Iterator<Item = TaskReport> {
        let now = self.world.now();
        self.tasks.iter().flatten().map(move |task| TaskReport {
            name: task.origin.name.clone(),
            spawned_at: task.origin.spawned_at,
            age: Duration::from_nanos(now - task.origin.born),
            polls: task.polls,
        })
    }

    fn add(&mut self, boxed: Option<BoxTask>, origin: Origin) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        self.next_generation += 1;
        let task = TaskRef {
            slot,
            generation: self.next_generation,
        };
        let shared = Arc::new(TaskWaker {
            world: self.world.clone(),
            task,
            queued: AtomicBool::new(true),
        });
        self.tasks[slot] = Some(Task {
            boxed,
            waker: Waker::from(shared.clone()),
            shared,
            origin,
            polls: 0,
        });
        self.ready.push_back(task);
    }

    fn remove(&mut self, slot: usize) {
        let ended = self.tasks[slot].take();
        self.free.push(slot);
        self.world.live.fetch_sub(1, Ordering::Relaxed);
        drop(ended);
    }

    /// Mixes an event into the trace (FNV-1a over words).
    fn record(&mut self, event: u64) {
        self.trace = (self.trace ^ event).wrapping_mul(0x0100_0000_01B3);
    }
}

impl Drop for Executor {
    /// Drops what is left in order of age, inside the simulation. Destructors may wake, arm
    /// and spawn; what they spawn is dropped at once.
    fn drop(&mut self) {
        self.world.ended.store(true, Ordering::Release);
        self.ready.clear();
        let mut left: Vec<Task> = self.tasks.iter_mut().filter_map(Option::take).collect();
        left.sort_by_key(|task| task.shared.task.generation);
        drop(left);
        let posted = core::mem::take(&mut *self.world.inbox.events.lock());
        drop(posted);
        let waiting = core::mem::take(&mut *self.world.idle.lock());
        drop(waiting);
        self.world.live.store(0, Ordering::Relaxed);
    }
}
