//! What a pool runs and what waits in it, for a person to read.

use core::fmt;
use core::panic::Location;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{CancellationToken, Instant};

use super::core::Core;
use super::roll::Entry;
use super::stats::PoolStats;

/// What a pool runs and what waits in it, at one time; see
/// [`WorkerPool::dump`](super::WorkerPool::dump).
///
/// Its text names the tasks that run, the oldest first, and of each priority the 16 tasks that
/// wait longest; `{:#}` names all of them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolDump {
    /// The pool's name.
    pub pool: Cow<'static, str>,
    /// Whether the pool takes tasks, drains, or stops.
    pub phase: PoolPhase,
    /// How many slots stay.
    pub min_slots: usize,
    /// How many slots may live.
    pub max_slots: usize,
    /// How many tasks the queue holds: `None` without a bound, 0 for a rendezvous.
    pub capacity: Option<usize>,
    /// The pool's figures, read before the tasks were.
    pub stats: PoolStats,
    /// Tasks per priority, from 0 up. Those that were aborted in the queue are among them until
    /// a slot comes to them.
    pub lanes: Vec<usize>,
    /// Tasks that were spawned on the pool's handle, and go before the others.
    pub spawned: usize,
    /// Each task; `None` if the pool does not [track](super::WorkerPoolBuilder::track_tasks) them.
    pub tasks: Option<PoolTasks>,
}

/// The tasks of a [`PoolDump`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PoolTasks {
    /// Those that run; the one that has run longest first.
    pub running: Vec<PoolTask>,
    /// Those that wait for a slot; by priority, the highest first, and the oldest of each first.
    pub queued: Vec<PoolTask>,
}

/// A task of a [`PoolDump`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PoolTask {
    /// The name it was [given](super::Submit::name).
    pub name: Option<Cow<'static, str>>,
    /// Where it was submitted or spawned, if the pool knows it.
    pub submitted_at: Option<&'static Location<'static>>,
    /// Its priority; `None` of one that was spawned on the pool's handle, and went before all
    /// others.
    pub priority: Option<usize>,
    /// The slot that runs it; `None` of one that waits, or that its submitter runs.
    pub slot: Option<usize>,
    /// The time since it was submitted.
    pub age: Duration,
    /// The time since it started; `None` of one that waits.
    pub running_for: Option<Duration>,
    /// Whether it was told to stop: aborted, or cancelled with its pool or its submitter.
    pub cancelled: bool,
}

/// What a pool is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolPhase {
    /// It takes tasks.
    Open,
    /// It takes none, and runs those that it has.
    Draining,
    /// Its tasks have been told to stop. A [sub-pool](super::WorkerPool::sub_pool) without tasks is
    /// here still while a slot of it waits for its turn in the pool above.
    Cancelling,
    /// It has ended: no slot lives, and nothing is queued.
    Ended,
}

impl PoolDump {
    pub(super) fn of(core: &Core) -> Self {
        let (stats, range) = (core.stats(), core.roster.range());
        let (lanes, spawned) = core.lengths();
        let tasks = core
            .roll
            .as_ref()
            .map(|roll| PoolTasks::of(&roll.entries(), core.rt.now()));
        Self {
            pool: core.name.clone(),
            phase: if core.has_ended() {
                PoolPhase::Ended
            } else if core.is_stopping() {
                PoolPhase::Cancelling
            } else if core.room.is_closed() {
                PoolPhase::Draining
            } else {
                PoolPhase::Open
            },
            min_slots: range.min() as usize,
            max_slots: range.max() as usize,
            capacity: core.capacity(),
            stats,
            lanes,
            spawned,
            tasks,
        }
    }

    /// The tasks that run; empty if the pool does not track them.
    pub fn running(&self) -> &[PoolTask] {
        self.tasks.as_ref().map_or(&[], |tasks| &tasks.running)
    }

    /// The tasks that wait for a slot; empty if the pool does not track them.
    pub fn queued(&self) -> &[PoolTask] {
        self.tasks.as_ref().map_or(&[], |tasks| &tasks.queued)
    }
}

impl PoolTasks {
    fn of(entries: &[Arc<Entry>], now: Instant) -> Self {
        let mut tasks = Self::default();
        let mut numbered: Vec<_> = entries
            .iter()
            .filter_map(|entry| Some((entry.number, PoolTask::of(entry, now)?)))
            .collect();
        // Spawned ones go first, as they do in the queue.
        numbered.sort_by_key(|(number, task)| {
            (
                core::cmp::Reverse(task.priority.unwrap_or(usize::MAX)),
                *number,
            )
        });
        for (_, task) in numbered {
            match task.running_for {
                Some(_) => tasks.running.push(task),
                None => tasks.queued.push(task),
            }
        }
        tasks
            .running
            .sort_by_key(|task| core::cmp::Reverse(task.running_for));
        tasks
    }
}

impl PoolTask {
    /// `None` if it has ended meanwhile.
    fn of(entry: &Entry, now: Instant) -> Option<Self> {
        let state = entry.state()?;
        let is_cancelled = state
            .token
            .as_ref()
            .is_some_and(CancellationToken::is_cancelled);
        Some(Self {
            name: entry.origin.name.clone(),
            submitted_at: entry.origin.place,
            priority: entry.priority,
            slot: state
                .runs
                .and_then(|(_, slot)| slot)
                .map(|slot| slot as usize),
            age: now - entry.submitted,
            running_for: state.runs.map(|(since, _)| now - since),
            cancelled: state.aborted || is_cancelled,
        })
    }
}

impl fmt::Display for PoolDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stats, .. } = self;
        let busy = stats.slots.saturating_sub(stats.idle_slots);
        write!(
            f,
            "{}: {}, {busy} of {}..={} slots busy, {} running, {} queued",
            self.pool, self.phase, self.min_slots, self.max_slots, stats.running, stats.queued
        )?;
        match self.capacity {
            Some(0) => f.write_str(" (no queue)")?,
            Some(capacity) => write!(f, " of {capacity}")?,
            None => f.write_str(" (no bound)")?,
        }
        writeln!(f, ", {} submitters wait for room", stats.waiting)?;
        let Some(tasks) = &self.tasks else {
            if self.lanes.len() > 1 {
                for (priority, queued) in self.lanes.iter().enumerate().rev() {
                    writeln!(f, "  priority {priority}: {queued} queued")?;
                }
            }
            return f.write_str("  tasks are not tracked\n");
        };
        for task in &tasks.running {
            writeln!(f, "  runs {task}")?;
        }
        let most = if f.alternate() { usize::MAX } else { SHOWN };
        for lane in tasks.queued.chunk_by(|a, b| a.priority == b.priority) {
            for task in lane.iter().take(most) {
                writeln!(f, "  waits {task}")?;
            }
            if let Some(more @ 1..) = lane.len().checked_sub(most) {
                writeln!(f, "  and {more} more of this priority")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for PoolTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3?}", self.running_for.unwrap_or(self.age))?;
        match (self.slot, self.running_for) {
            (Some(slot), _) => write!(f, " on slot {slot}")?,
            (None, Some(_)) => f.write_str(" with its submitter")?,
            (None, None) => {}
        }
        match self.priority {
            Some(priority) => write!(f, ", priority {priority}")?,
            None => f.write_str(", spawned")?,
        }
        if self.cancelled {
            f.write_str(", cancelled")?;
        }
        if let Some(name) = &self.name {
            write!(f, ", {name:?}")?;
        }
        if let Some(place) = self.submitted_at {
            write!(f, ", from {place}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PoolPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Cancelling => "cancelling",
            Self::Ended => "ended",
        })
    }
}

/// Tasks of one priority that wait and are named in the short text.
const SHOWN: usize = 16;
