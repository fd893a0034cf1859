//! What a pool's handles, its slots and its tasks share.
//!
//! # Life
//! Open; closed (the intake refuses, slots drain the queue and leave); cancelled (the drain of a
//! shutdown has taken too long: queued tasks are abandoned, running ones told to stop); stopped
//! (they have had their time: each is polled once more and then dropped). It has ended when no
//! slot lives and nothing is queued.
//!
//! # Sub-pools
//! A slot of a sub-pool is a task of the pool above, which knows it for a slot: its own limit does
//! not hold for it, nor does the context of whoever submitted to the sub-pool. Until the sub-pool
//! has ended it [holds](Room::hold) the room above, so that its slots are taken over a closed
//! intake too, and the pool above does not end before it. Each phase of the pool above is one of
//! its sub-pools too, which come to it before tasks of the pool above are told or dropped: so their
//! slots leave by themselves, and not as tasks that are late.
//!
//! A slot that has the slot above for task after task looks before each whether there may be too
//! many above: then it leaves, and is queued there anew. So a slot that was lent above comes back
//! after one task, and not after all that the sub-pool has. It also leaves once it has run 64 and
//! something waits above, of which one that was submitted goes before it then.
//!
//! # Invariants
//! 1. A task in the queue has a slot that lives, or is being started by whoever pushed it, or is
//!    discarded by whoever finds the pool stopped after its push.
//! 2. `phase` says stopping before the pool's token is cancelled, so that no slot starts a task
//!    in between, and cancelled afterwards. Stopped is cancelled and overdue: a poll that begins
//!    then sees the cancellation. Whoever sets the second of the two bits wakes the slots.
//! 3. A slot that is dropped before its end means that the host is gone: the pool closes, and
//!    what is queued is cancelled.
//! 4. Once the pool has ended no slot starts, and no submitter runs its own task: whoever wants
//!    to counts it as alive first and looks whether the pool is drained afterwards; the end is
//!    judged the other way round. Each has a SeqCst fence between.
//! 5. A sub-pool is among `below` of the pool above before it looks whether that is closed; a close
//!    looks at `below` after it closed the room. So no close passes it by.

use core::time::Duration;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock, Weak};

use flow_rt::{CancellationToken, Handle, OnFull, contain};
use flow_sync::{Event, Ticket};

use super::error::TaskError;
use super::events::{self, Burst};
use super::hooks::Hooks;
use super::inside;
use super::lanes::Lanes;
use super::queued::Queued;
use super::roll::Roll;
use super::room::Room;
use super::roster::{Roster, Seat, SlotRange};
#[cfg(feature = "adaptive")]
use super::sizing::{Sizer, Sizing};
use super::slot::{self, Slot};
use super::stats::{Counters, End, Gone, PoolStats, Totals};
use super::submit::{Make, Submit};
use super::timing::Timing;
use super::worker_pool::WorkerPool;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, Ordering, fence};

pub(super) struct Core {
    /// Which pool this is, for [`inside`](super::inside).
    pub(super) number: u32,
    pub(super) name: Cow<'static, str>,
    /// Below all pools: a sub-pool's slots are tasks of the pool above, its timers and its closures
    /// that block are not.
    pub(super) rt: Handle,
    /// Whose tasks the slots are, if not the runtime's.
    above: Option<Above>,
    /// The sub-pools that have not ended.
    below: Mutex<Vec<Weak<Self>>>,
    pub(super) room: Room,
    pub(super) roster: Roster,
    pub(super) counters: Counters,
    pub(super) token: CancellationToken,
    pub(super) on_full: OnFull,
    pub(super) task_timeout: Option<Duration>,
    pub(super) idle_timeout: Duration,
    /// Whether slots stay when they have nothing to do. A sub-pool's are another pool's tasks.
    pub(super) lingers: bool,
    pub(super) hooks: Hooks,
    pub(super) timing: Timing,
    pub(super) burst: Burst,
    /// What runs and what waits, if the pool is to tell.
    pub(super) roll: Option<Arc<Roll>>,
    lanes: Lanes,
    kind: QueueKind,
    phase: AtomicU8,
    ended: Event,
    /// The counters when the pool was closed first: what a report counts from.
    closed_at: OnceLock<Totals>,
}

/// The pool that a sub-pool is on.
struct Above {
    core: Arc<Core>,
    /// Whether its room is held until this pool has ended.
    holds: bool,
    /// What keeps it open until then.
    open: Mutex<Option<WorkerPool>>,
}

/// What a builder has settled.
pub(super) struct Settings {
    pub(super) name: Cow<'static, str>,
    pub(super) rt: Handle,
    /// The pool whose tasks the slots are to be, if not the runtime's.
    pub(super) above: Option<WorkerPool>,
    pub(super) slots: SlotRange,
    pub(super) queue: QueueKind,
    pub(super) priorities: usize,
    pub(super) ageing: u32,
    pub(super) on_full: OnFull,
    pub(super) task_timeout: Option<Duration>,
    pub(super) idle_timeout: Duration,
    pub(super) hooks: Hooks,
    pub(super) tracks: bool,
    #[cfg(feature = "adaptive")]
    pub(super) sizing: Option<Sizing>,
}

/// How many tasks may wait for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueKind {
    Bounded(usize),
    Unbounded,
    /// None: a task is accepted when a slot is free for it.
    Rendezvous,
}

impl Core {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let core = Arc::new(Self::build(settings));
        if let Some(above) = core.above() {
            above.below.lock().push(Arc::downgrade(&core));
            // After it is there: see invariant 5.
            if above.room.is_closed() {
                core.close();
            }
        }
        core
    }

    fn build(mut settings: Settings) -> Self {
        let lingers = settings.above.is_none();
        settings.slots = bounds(settings.slots, lingers);
        let (range, timing) = Self::sized(&settings);
        let max = settings.slots.max();
        let (room, array) = match settings.queue {
            QueueKind::Bounded(tasks) => (tasks as u64, Some(tasks)),
            QueueKind::Unbounded => (Room::UNBOUNDED, None),
            QueueKind::Rendezvous => (range.max(), None),
        };
        let lanes = Lanes::new(settings.priorities, array, settings.ageing);
        // An eviction has the place of what it pops, which therefore must not be free by then.
        let ring = lanes
            .ring()
            .filter(|_| settings.on_full != OnFull::DropOldest);
        Self {
            number: inside::number(),
            name: settings.name,
            rt: settings.rt,
            below: Mutex::new(Vec::new()),
            room: Room::new(room, ring.cloned()),
            roster: Roster::new(range),
            counters: Counters::new(max as usize),
            token: match &settings.above {
                Some(above) => above.cancellation().child_token(),
                None => CancellationToken::new(),
            },
            above: settings.above.map(|pool| Above {
                core: pool.core().clone(),
                holds: pool.core().room.hold(),
                open: Mutex::new(Some(pool)),
            }),
            on_full: settings.on_full,
            task_timeout: settings.task_timeout,
            idle_timeout: settings.idle_timeout,
            lingers,
            hooks: settings.hooks,
            timing,
            burst: Burst::default(),
            roll: settings.tracks.then(|| Arc::new(Roll::new())),
            lanes,
            kind: settings.queue,
            phase: AtomicU8::new(RUNS),
            ended: Event::new(),
            closed_at: OnceLock::new(),
        }
    }

    /// How many slots it begins with, and what changes that.
    fn sized(settings: &Settings) -> (SlotRange, Timing) {
        #[cfg(feature = "adaptive")]
        if let Some(sizing) = &settings.sizing {
            let sizer = Sizer::new(sizing, settings.slots);
            return (sizer.range(), Timing::with(sizer));
        }
        (settings.slots, Timing::default())
    }

    /// The pool whose tasks its slots are, if they are a pool's.
    pub(super) fn above(&self) -> Option<&Arc<Self>> {
        self.above.as_ref().map(|above| &above.core)
    }

    /// A number that changes when there may be too many slots in a pool above.
    #[inline]
    pub(super) fn news_above(&self) -> u64 {
        let (mut news, mut above) = (0_u64, self.above());
        while let Some(core) = above {
            news = news.wrapping_add(core.roster.news());
            above = core.above();
        }
        news
    }

    /// The first pool, from this one up, whose slot the calling code keeps while it waits: a task
    /// here cannot begin without that slot, or one of those in its place.
    pub(super) fn kept_by_caller(self: &Arc<Self>) -> Option<&Arc<Self>> {
        let mut pool = Some(self);
        while let Some(core) = pool {
            if inside::seat_in(core.number).is_some() {
                return pool;
            }
            pool = core.above();
        }
        None
    }

    /// Whether something is queued in a pool above, which one of this pool's slots keeps waiting.
    pub(super) fn is_waited_for_above(&self) -> bool {
        let mut above = self.above();
        while let Some(core) = above {
            if core.has_queued() {
                return true;
            }
            above = core.above();
        }
        false
    }

    /// Lets a task that was submitted to the pool above go before the slots that are queued there.
    pub(super) fn give_way_above(&self) {
        if let Some(above) = self.above() {
            above.lanes.give_way();
        }
    }

    /// Queues a task, for which the caller has a place.
    #[allow(
        clippy::inline_always,
        reason = "a task on its way into the queue moves in registers then"
    )]
    #[inline(always)]
    pub(super) fn push(self: &Arc<Self>, lane: usize, job: Queued) {
        self.lanes.push(lane, job);
        self.pushed();
    }

    /// Queues a task whether or not there is room; one that comes after the close is dropped.
    pub(super) fn spawn(self: &Arc<Self>, job: Queued) {
        if self.room.take_over() {
            self.lanes.push_spawned(job);
            self.pushed();
        } else {
            contain(|| drop(job));
        }
    }

    /// Queues a slot of a sub-pool's, which holds the room.
    pub(super) fn spawn_slot(self: &Arc<Self>, slot: Queued) {
        self.room.take_over_held();
        self.lanes.push_spawned(slot);
        self.pushed();
    }

    #[inline]
    fn pushed(self: &Arc<Self>) {
        if let Some(seat) = self.roster.notify_of_push(|| self.lanes.len()) {
            self.start(seat);
        }
        // After the push, and SeqCst as its end: either the drain of a stop finds the task, or this
        // sees the stop.
        if self.is_stopping() {
            self.discard_queued(|| TaskError::Closed);
        }
    }

    /// The next task, if there is one. Whoever got it says later that it has [`left`](Self::left).
    #[allow(clippy::inline_always, reason = "as the slot's `begin`, where it goes")]
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<Queued> {
        let (job, was_spawned) = self.lanes.pop()?;
        if self.is_left_by_pop(was_spawned) {
            if self.room.was_given_back() {
                self.drained();
            }
        } else if self.kind != QueueKind::Rendezvous {
            self.give_back();
        }
        Some(job)
    }

    /// Whether the place of a task is free as soon as that was popped: it is the ring that counts it.
    #[inline]
    fn is_left_by_pop(&self, was_spawned: bool) -> bool {
        !was_spawned && self.room.is_left_by_pop()
    }

    /// A task that was popped has ended, or never began. In a hand-off its place was a slot.
    pub(super) fn left(&self) {
        if self.kind == QueueKind::Rendezvous {
            self.give_back();
        }
    }

    /// Drops a queued task in favour of another one of `lane`, which gets its place; false if
    /// nothing that is queued is as little urgent.
    pub(super) fn evict(&self, lane: usize) -> bool {
        let Some(job) = self.lanes.pop_least_urgent(lane) else {
            return false;
        };
        // One that was aborted has been counted, and leaves its place all the same.
        job.discard(self, Gone::Evicted, TaskError::Evicted);
        self.counters.without_place();
        self.burst.lost(self);
        true
    }

    /// Whether tasks that are more urgent than those of `lane`, or were spawned, hold all places, or
    /// all that are not promised to those who wait for them, who may not come for long.
    pub(super) fn is_full_above(&self, lane: usize) -> bool {
        let freed = self.room.freed();
        let above = self.lanes.len_above(lane) as u64;
        // A task has its place from before its push until after its pop, and from a promise before
        // that. So if none came free meanwhile, those that were counted held their places together;
        // promises last, for one that is used meanwhile must not be counted twice.
        above + self.room.promised() >= self.room.capacity() && freed == self.room.freed()
    }

    /// Tasks in the queue, by priority, and those that were spawned.
    pub(super) fn lengths(&self) -> (Vec<usize>, usize) {
        self.lanes.lengths()
    }

    pub(super) fn priorities(&self) -> usize {
        self.lanes.count()
    }

    /// How many tasks may wait for a slot; `None` for no bound.
    pub(super) fn capacity(&self) -> Option<usize> {
        match self.kind {
            QueueKind::Bounded(tasks) => Some(tasks),
            QueueKind::Unbounded => None,
            QueueKind::Rendezvous => Some(0),
        }
    }

    /// Whether a task is accepted only when a slot is free for it.
    pub(super) fn is_hand_off(&self) -> bool {
        self.kind == QueueKind::Rendezvous
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// Sees to it that a slot looks at the queue.
    pub(super) fn notify(self: &Arc<Self>) {
        if let Some(seat) = self.roster.notify(|| self.lanes.len()) {
            self.start(seat);
        }
    }

    /// Starts a slot, unless there is nothing more to do.
    #[cold]
    fn start(self: &Arc<Self>, seat: Arc<Seat>) {
        // After the seat counts as alive: either `has_ended` sees it, or this sees that the other
        // slots have done the work and left (invariant 4).
        fence(Ordering::SeqCst);
        if self.room.is_drained() {
            self.roster.leave(&seat, true);
            self.roster.hand_on(&seat);
            self.settle();
            return;
        }
        let slot = Slot::new(self.clone(), seat);
        match self.above() {
            None => self.rt.spawn_detached(slot::live(slot)),
            Some(above) => {
                let slot = move |_cx| slot::live(slot);
                Submit::new(above, slot, const { &Make::future() }).spawn_slot(self.name.clone());
            }
        }
    }

    /// A seat for a submitter that runs its own task; `None` if the pool has closed.
    pub(super) fn guest(&self) -> Option<Arc<Seat>> {
        let seat = self.roster.open_for_guest();
        // After it counts: see invariant 4.
        fence(Ordering::SeqCst);
        if self.room.is_closed() {
            self.guest_left(&seat);
            return None;
        }
        self.counters.without_place();
        Some(seat)
    }

    pub(super) fn guest_left(&self, seat: &Seat) {
        self.roster.leave_as_guest(seat);
        self.settle();
    }

    /// Sets the bounds of how many slots may live.
    pub(super) fn set_bounds(self: &Arc<Self>, given: SlotRange) {
        let bounds = bounds(given, self.lingers);
        #[cfg(feature = "adaptive")]
        if let Some(sizer) = &self.timing.sizer {
            sizer.set_bounds(self, bounds);
            return;
        }
        self.resize(bounds);
    }

    /// Sets how many slots stay and how many may live.
    pub(super) fn resize(self: &Arc<Self>, range: SlotRange) {
        self.roster.set_range(range);
        self.fit_room();
        // The slots that may start now are started one by another, from the first.
        self.notify();
    }

    /// A slot was lent: another one may live, until it is taken back.
    pub(super) fn lent(self: &Arc<Self>) {
        self.fit_room();
        // Another slot may start, and tasks may be waiting for it.
        self.notify();
    }

    /// The task wants its slot; a ticket if it has to wait for that.
    pub(super) fn take_back(&self, seat: &Seat) -> Option<Ticket> {
        let ticket = self.roster.take_back(seat);
        self.fit_room();
        ticket
    }

    /// The task is gone.
    pub(super) fn take_back_now(&self, seat: &Seat, ticket: Option<Ticket>) {
        self.roster.take_back_now(seat, ticket);
        self.fit_room();
    }

    /// In a hand-off a task's place is its slot, so there are as many.
    fn fit_room(&self) {
        if self.is_hand_off() {
            self.room.set_capacity(|| self.roster.places());
        }
    }

    /// Whether a slot that finds the queue empty may go.
    pub(super) fn is_finishing(&self) -> bool {
        self.room.is_drained() || self.is_stopping()
    }

    /// Whether no task starts any more.
    pub(super) fn is_stopping(&self) -> bool {
        // SeqCst for the look after a push.
        self.phase.load(Ordering::SeqCst) & STOPPING != 0
    }

    /// Whether a task that has completed did so by itself.
    #[inline]
    pub(super) fn seen(&self, end: End) -> End {
        if end == End::Completed && self.is_stopping() {
            End::Stopped
        } else {
            end
        }
    }

    /// Whether somebody is to be told of the end of every task, or something bounds all runs.
    #[inline]
    pub(super) fn asks(&self) -> bool {
        self.task_timeout.is_some() || self.hooks.task_end.is_some()
    }

    /// Whether every task has been told to stop, and has had its time.
    pub(super) fn is_stopped(&self) -> bool {
        self.phase.load(Ordering::Acquire) & STOPPED == STOPPED
    }

    /// Stops the intake; true for the call that did it.
    pub(super) fn close(&self) -> bool {
        if self.closed_at.get().is_none() {
            // Whoever is first has the figures of the first close.
            let _ = self.closed_at.set(self.totals());
        }
        let is_first = self.room.close();
        if is_first {
            events::closed(self);
            self.roster.wake_all();
            for sub_pool in self.below() {
                sub_pool.close();
            }
            self.settle();
        }
        is_first
    }

    /// The sub-pools that have not ended.
    fn below(&self) -> Vec<Arc<Self>> {
        self.below.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Tells every task that the drain has left to stop: see [Life](self).
    pub(super) fn cancel(&self) {
        self.close();
        // First: what a slot of this pool discards from here on may be a slot of theirs.
        for sub_pool in self.below() {
            sub_pool.cancel();
        }
        if self.phase.fetch_or(STOPPING, Ordering::AcqRel) & STOPPING != 0 {
            // Whoever was first is at it, and may not have reached every child of the token yet.
            return;
        }
        events::cancelling(self);
        self.token.cancel_with("the pool was shut down");
        self.phase.fetch_or(CANCELLED, Ordering::AcqRel);
        // Orders the phase before the look at the queue: see `push`.
        fence(Ordering::SeqCst);
        self.discard_queued(|| TaskError::Closed);
        self.roster.wake_everybody();
        self.settle();
    }

    /// Drops the tasks that have been told to stop and do not.
    pub(super) fn stop(&self) {
        self.cancel();
        for sub_pool in self.below() {
            sub_pool.stop();
        }
        if self.phase.fetch_or(OVERDUE, Ordering::AcqRel) & OVERDUE == 0 {
            events::stopping(self);
        }
        // If another thread is still at the cancellation, it is the one that wakes the slots
        // after the second of the two bits.
        self.roster.wake_everybody();
        self.settle();
    }

    /// The host dropped a slot, which has left: no other will run either.
    pub(super) fn host_gone(&self) {
        if self.close() {
            events::host_gone(self);
        }
        self.discard_queued(|| TaskError::Cancelled);
    }

    /// Tells whoever waits for the end, if this is it.
    pub(super) fn settle(&self) {
        // Orders the caller's change before the listeners' registration or after it.
        fence(Ordering::SeqCst);
        if self.has_ended_but_for(1) {
            // One of its tasks may wait for all others.
            self.ended.notify_all();
        }
        if self.has_ended() {
            self.let_go_of_above();
        }
    }

    /// A sub-pool has ended: the pool above may, too, whoever keeps a handle of a task.
    fn let_go_of_above(&self) {
        let Some(above) = &self.above else { return };
        let Some(open) = above.open.lock().take() else {
            return;
        };
        let itself = |weak: &Weak<Self>| core::ptr::eq(weak.as_ptr(), self);
        above.core.below.lock().retain(|weak| !itself(weak));
        if above.holds && above.core.room.let_go() {
            above.core.drained();
        }
        // Perhaps the last one, which closes it.
        drop(open);
    }

    /// Waits until every slot has left a closed pool, but for `own`, the caller's: at most one.
    pub(super) async fn wait_ended_but_for(&self, own: usize) {
        while !self.has_ended_but_for(own) {
            let ended = self.ended.listen();
            // After listening: an end from here on notifies.
            if self.has_ended_but_for(own) {
                return;
            }
            ended.await;
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended_but_for(0)
    }

    fn has_ended_but_for(&self, own: usize) -> bool {
        if !self.room.is_drained() {
            return false;
        }
        // Between the two looks: see `notify`.
        fence(Ordering::SeqCst);
        self.roster.alive() + self.roster.guests() <= own
    }

    /// Whether all that is left of a sub-pool is slots, which leave when they have their turn in the
    /// pool above: nobody is to wait for that.
    pub(super) fn has_nothing_but_slots_above(&self) -> bool {
        let totals = self.totals();
        self.above.is_some() && totals.running() == 0 && totals.stats().queued == 0
    }

    pub(super) fn totals(&self) -> Totals {
        self.counters.totals(&self.room)
    }

    pub(super) fn totals_at_close(&self) -> Totals {
        self.closed_at.get().copied().unwrap_or_default()
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            slots: self.roster.alive(),
            max_slots: self.roster.range().max() as usize,
            idle_slots: self.roster.idle(),
            waiting: self.room.waiting(),
            ..self.totals().stats()
        }
    }

    fn discard_queued(&self, why: impl Fn() -> TaskError) {
        // What a pop frees must not be taken for gone before it is.
        self.room.hold_closed();
        while let Some((job, was_spawned)) = self.lanes.pop() {
            job.discard(self, Gone::Abandoned, why());
            if !self.is_left_by_pop(was_spawned) {
                self.give_back();
            }
        }
        if self.room.let_go() {
            self.drained();
        }
    }

    fn give_back(&self) {
        if self.room.give_back() {
            self.drained();
        }
    }

    fn drained(&self) {
        // The last task of a closed pool: idle slots may go.
        self.roster.wake_all();
        self.settle();
    }
}

/// A sub-pool's slots are another pool's: idle it keeps none, whatever was given.
fn bounds(given: SlotRange, lingers: bool) -> SlotRange {
    let min = if lingers { given.min() } else { 0 };
    SlotRange::new(min as usize, given.max() as usize)
}

const RUNS: u8 = 0;
const STOPPING: u8 = 0b001;
const CANCELLED: u8 = 0b010;
const OVERDUE: u8 = 0b100;
const STOPPED: u8 = CANCELLED | OVERDUE;
