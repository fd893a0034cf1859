//! Building a pool: every value is checked once, in `build`.

use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Handle, OnFull, Panic};

use super::core::{QueueKind, Settings};
use super::error::PoolConfigError;
use super::hooks::{Hooks, TaskEnd};
use super::roster::{MAX_SLOTS, SlotRange};
#[cfg(feature = "adaptive")]
use super::sizing::Sizing;
use super::worker_pool::WorkerPool;

/// How many slots a pool has: a number, or a range from those that stay to those that may live.
///
/// Slots start when there is work for them. In a range those above its start leave after a while
/// without work; a start of 0 lets an idle pool have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slots {
    min: usize,
    max: usize,
}

impl Slots {
    pub(super) fn checked(self) -> Result<SlotRange, PoolConfigError> {
        let Self { min, max } = self;
        if max == 0 && min == 0 {
            return Err(PoolConfigError::NoSlots);
        }
        if min > max {
            return Err(PoolConfigError::EmptySlotRange { min, max });
        }
        if max > MAX_SLOTS {
            return Err(PoolConfigError::TooManySlots { given: max });
        }
        Ok(SlotRange::new(min, max))
    }
}

impl From<usize> for Slots {
    fn from(slots: usize) -> Self {
        Self {
            min: slots,
            max: slots,
        }
    }
}

impl From<RangeInclusive<usize>> for Slots {
    fn from(slots: RangeInclusive<usize>) -> Self {
        Self {
            min: *slots.start(),
            max: *slots.end(),
        }
    }
}

/// The options of a [`WorkerPool`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct WorkerPoolBuilder {
    name: Cow<'static, str>,
    runtime: Option<Handle>,
    /// The pool whose tasks the slots are to be, if not the runtime's.
    above: Option<WorkerPool>,
    slots: Slots,
    queue: QueueKind,
    priorities: usize,
    ageing: u32,
    on_full: OnFull,
    task_timeout: Option<Duration>,
    idle_timeout: Duration,
    hooks: Hooks,
    tracks: bool,
    #[cfg(feature = "adaptive")]
    sizing: Option<Sizing>,
}

impl WorkerPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Cow::Borrowed("pool"),
            runtime: None,
            above: None,
            slots: Slots { min: 1, max: 64 },
            queue: QueueKind::Bounded(1024),
            priorities: 1,
            ageing: 16,
            on_full: OnFull::Wait,
            task_timeout: None,
            idle_timeout: Duration::from_secs(10),
            hooks: Hooks::default(),
            tracks: false,
            #[cfg(feature = "adaptive")]
            sizing: None,
        }
    }

    /// Of a pool whose slots are another one's.
    pub(super) fn sub_pool(parent: &WorkerPool) -> Self {
        Self {
            runtime: Some(parent.runtime().clone()),
            above: Some(parent.clone()),
            ..Self::new()
        }
    }

    /// The name in reports; `pool` unless set.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// The runtime that slots, blocking closures and timers run on; [`Handle::current`] at
    /// [`build`](Self::build) unless set. A [sub-pool](WorkerPool::sub_pool) has that of the pool
    /// above; given one, it is none any more.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self.above = None;
        self
    }

    /// How many tasks may run at a time: `4`, or `1..=64`, which is what it is unless set.
    pub fn slots(mut self, slots: impl Into<Slots>) -> Self {
        self.slots = slots.into();
        self
    }

    /// How many tasks may wait for a slot; 1,024 unless set.
    ///
    /// The queue's memory, 32 bytes per task and for the next power of two, is taken when the pool
    /// is built, unless it has [`priorities`](Self::priorities). The last call of this,
    /// [`unbounded`](Self::unbounded) and [`rendezvous`](Self::rendezvous) counts.
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = QueueKind::Bounded(tasks);
        self
    }

    /// A queue that takes every task: [`submit`](WorkerPool::submit) never waits, and nothing
    /// but the memory limits what is queued.
    pub fn unbounded(mut self) -> Self {
        self.queue = QueueKind::Unbounded;
        self
    }

    /// No queue: a task is accepted when a slot is free for it. Submitters wait for slots, in
    /// their order.
    pub fn rendezvous(mut self) -> Self {
        self.queue = QueueKind::Rendezvous;
        self
    }

    /// How many priorities tasks may have, from 0 up; one unless set, 16 at the most.
    ///
    /// A task's is 0 unless [set](super::Submit::priority), and of what is queued the highest
    /// goes first. See [`ageing`](Self::ageing) for what becomes of the others.
    pub fn priorities(mut self, priorities: usize) -> Self {
        self.priorities = priorities;
        self
    }

    /// How often a priority that has tasks in the queue is passed over before one of them has a
    /// turn; 16 unless set. So the least urgent of two gets one slot in 17 under constant load.
    ///
    /// By turns and not by time: in an overload, when priorities matter, everything has waited
    /// for too long.
    pub fn ageing(mut self, turns: u32) -> Self {
        self.ageing = turns;
        self
    }

    /// What [`submit`](WorkerPool::submit) does when the queue is full.
    ///
    /// | answer | the submitter |
    /// |---|---|
    /// | [`Wait`](OnFull::Wait), unless set | waits for room |
    /// | [`Reject`](OnFull::Reject) | gets the task back |
    /// | [`DropOldest`](OnFull::DropOldest) | takes the place of the oldest task of the lowest priority, up to its own; that one ends as [`Evicted`](super::TaskError::Evicted). If all that is queued is more urgent, was spawned on the pool's [handle](WorkerPool::handle), or has room that a waiting member of a [group](WorkerPool::group) was given, it gets the task back |
    /// | [`CallerRuns`](OnFull::CallerRuns) | runs the task itself, beside the slots, and gets the handle when it has ended |
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    /// How long a task may run, counted from its start; no limit unless set.
    ///
    /// It is the deadline of the task's [`TaskContext`](flow_rt::TaskContext). A task that is
    /// still not done then is dropped at an await; one that blocks its thread cannot be.
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.task_timeout = Some(limit);
        self
    }

    /// How long a slot above the minimum stays without work; 10 s unless set.
    pub fn idle_timeout(mut self, stay: Duration) -> Self {
        self.idle_timeout = stay;
        self
    }

    /// Whether the pool keeps a roll of its tasks, so that [`dump`](WorkerPool::dump) names each;
    /// it does not unless set.
    ///
    /// It costs two allocations and a few short locks per task, and two reads of the clock.
    pub fn track_tasks(mut self, tracks: bool) -> Self {
        self.tracks = tracks;
        self
    }

    /// Lets the pool find its number of slots by itself, between the ends of its
    /// [`slots`](Self::slots): from how long tasks wait and run, and from loads.
    ///
    /// It begins with the fewest. It decides when tasks come, start or end, and when they are
    /// turned away; while tasks wait and all slots are busy, by a timer, once per
    /// [window](Sizing::window). So tasks that wait get slots, within the ends of the range,
    /// however long others run, unless the algorithm or a load is against it.
    ///
    /// It costs three reads of the clock and two short locks per task.
    #[cfg(feature = "adaptive")]
    pub fn adaptive(mut self, sizing: Sizing) -> Self {
        self.sizing = Some(sizing);
        self
    }

    /// Called when a slot starts, with its number.
    pub fn on_slot_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.hooks.slot_start = Some(Arc::new(hook));
        self
    }

    /// Called when a slot that had started leaves, with its number.
    pub fn on_slot_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.hooks.slot_stop = Some(Arc::new(hook));
        self
    }

    /// Called before a task runs, with the number of its slot; none if its submitter runs it. A
    /// panic in a hook harms nothing.
    pub fn on_task_start(mut self, hook: impl Fn(Option<usize>) + Send + Sync + 'static) -> Self {
        self.hooks.task_start = Some(Arc::new(hook));
        self
    }

    /// Called when a task that had started has ended, however, before its handle is ready.
    ///
    /// It costs two reads of the clock per task.
    pub fn on_task_end(mut self, hook: impl Fn(TaskEnd) + Send + Sync + 'static) -> Self {
        self.hooks.task_end = Some(Arc::new(hook));
        self
    }

    /// Called when a task has panicked; the handle gets the panic too.
    pub fn on_panic(mut self, hook: impl Fn(&Panic) + Send + Sync + 'static) -> Self {
        self.hooks.panic = Some(Arc::new(hook));
        self
    }

    /// Checks every option and builds the pool. No slot starts before there is a task.
    ///
    /// # Errors
    /// [`PoolConfigError`] names the option, what was given and what is allowed.
    pub fn build(self) -> Result<WorkerPool, PoolConfigError> {
        let slots = self.slots.checked()?;
        match self.queue {
            QueueKind::Bounded(0) => return Err(PoolConfigError::ZeroQueue),
            QueueKind::Bounded(given) if given > MAX_QUEUE => {
                return Err(PoolConfigError::QueueTooLong { given });
            }
            _ => {}
        }
        if self.priorities == 0 || self.priorities > MAX_PRIORITIES {
            return Err(PoolConfigError::Priorities {
                given: self.priorities,
            });
        }
        if self.ageing == 0 {
            return Err(PoolConfigError::ZeroAgeing);
        }
        match self.on_full {
            OnFull::Wait | OnFull::Reject | OnFull::CallerRuns => {}
            OnFull::DropOldest if self.queue != QueueKind::Rendezvous => {}
            OnFull::DropOldest => return Err(PoolConfigError::NothingToDrop),
            given => return Err(PoolConfigError::UnsupportedOnFull { given }),
        }
        if self.task_timeout == Some(Duration::ZERO) {
            return Err(PoolConfigError::ZeroDuration {
                option: "task_timeout",
            });
        }
        if self.idle_timeout.is_zero() {
            return Err(PoolConfigError::ZeroDuration {
                option: "idle_timeout",
            });
        }
        #[cfg(feature = "adaptive")]
        if let Some(sizing) = &self.sizing {
            sizing.check()?;
        }
        let rt = match self.runtime {
            Some(runtime) => runtime,
            None => Handle::current()?,
        };
        Ok(WorkerPool::start(Settings {
            name: self.name,
            rt,
            above: self.above,
            slots,
            queue: self.queue,
            priorities: self.priorities,
            ageing: self.ageing,
            on_full: self.on_full,
            task_timeout: self.task_timeout,
            idle_timeout: self.idle_timeout,
            hooks: self.hooks,
            tracks: self.tracks,
            #[cfg(feature = "adaptive")]
            sizing: self.sizing,
        }))
    }
}

impl fmt::Debug for WorkerPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("WorkerPoolBuilder");
        shown
            .field("name", &self.name)
            .field("runtime", &self.runtime)
            .field("slots", &(self.slots.min..=self.slots.max))
            .field("queue", &self.queue)
            .field("priorities", &self.priorities)
            .field("ageing", &self.ageing)
            .field("on_full", &self.on_full)
            .field("task_timeout", &self.task_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("is_sub_pool", &self.above.is_some())
            .field("track_tasks", &self.tracks)
            .field("hooks", &self.hooks);
        #[cfg(feature = "adaptive")]
        shown.field("adaptive", &self.sizing);
        shown.finish()
    }
}

/// A queue of this length takes 512 MiB.
pub(super) const MAX_QUEUE: usize = 1 << 24;

/// A pop may look at each of them.
pub(super) const MAX_PRIORITIES: usize = 16;
