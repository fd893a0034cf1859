//! A slot: one host task that takes tasks from the queue and awaits each to its end.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use flow_rt::Instant;

use super::blocking;
use super::core::Core;
use super::error::TaskError;
use super::hooks;
use super::place::{Place, Timers};
use super::queued::Queued;
use super::roster::Seat;
use super::stats::Gone;
use super::stay::Stay;
use super::task::Job;

/// Tasks that a slot runs in a row before it lets the host's other tasks have their turn; and those
/// that a sub-pool's runs in all before it leaves the slot above to others that wait for it.
const BUDGET: u32 = 64;

/// Whether a slot that finds nothing lets the host's other tasks have a turn and looks again,
/// once, before it falls asleep: a submitter that is at it saves a wake. Models do without.
const YIELDS: bool = cfg!(not(loom));

/// A slot's own state. Dropped before its end, it reports that the host is gone.
///
/// In this order, here and in what it holds, is what every task uses: three cache lines. Of
/// thousands of slots whose tasks wait each finds its lines cold, twice per task, and nothing else
/// that a slot does costs as much.
#[repr(C)]
pub(super) struct Slot {
    state: State,
    /// Just woken: to look whether it leaves a task for somebody else.
    fresh: bool,
    /// Whether others have had their turn since its last task began.
    rested: bool,
    greeted: bool,
    in_a_row: u32,
    /// The roster's news that it has seen.
    news: u64,
    /// Those of the pools above, as it was started.
    news_above: u64,
    /// Tasks that it took, more or less, whether or not they waited in between.
    taken: u64,
    stay: Stay,
    place: Place,
    timers: Timers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Started or woken, and has not looked at the queue.
    Waking,
    Busy,
    /// In the list of idle slots, unless it was woken since.
    Parked,
    Left,
}

/// A slot's life, as the host's task.
///
/// No `async fn`: the future of one has its arguments twice, and begins by looking at its state,
/// which is behind all that the slot has.
pub(super) struct Life {
    /// `None` while it is away, and once it has left.
    slot: Option<Slot>,
    away: Option<Away>,
}

/// A slot whose closures run on a thread; and what comes back with it.
type Away = Pin<Box<dyn Future<Output = (Slot, Option<Queued>)> + Send>>;

pub(super) const fn live(slot: Slot) -> Life {
    Life {
        slot: Some(slot),
        away: None,
    }
}

impl Future for Life {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut handed = None;
        loop {
            if let Some(slot) = &mut this.slot {
                slot.greet();
                let blocks = ready!(slot.poll_run(handed.take(), cx));
                let Some(mut slot) = this.slot.take() else {
                    return Poll::Ready(());
                };
                let Some(job) = blocks else {
                    slot.leave();
                    return Poll::Ready(());
                };
                this.away = Some(Box::pin(async move {
                    let next = slot.run_blocking(job).await;
                    (slot, next)
                }));
            }
            let Some(away) = &mut this.away else {
                return Poll::Ready(());
            };
            // One that does not block comes back from the thread, and is run first.
            let (slot, next) = ready!(away.as_mut().poll(cx));
            handed = next;
            (this.slot, this.away) = (Some(slot), None);
        }
    }
}

impl Slot {
    pub(super) fn new(core: Arc<Core>, seat: Arc<Seat>) -> Self {
        Self {
            news: seat.news,
            news_above: core.news_above(),
            taken: 0,
            place: Place::new(core, seat),
            state: State::Waking,
            fresh: false,
            in_a_row: 0,
            rested: true,
            timers: Timers::default(),
            stay: Stay::new(),
            greeted: false,
        }
    }

    /// Tells of its start, when it is polled first.
    #[inline]
    fn greet(&mut self) {
        if !self.greeted {
            self.greeted = true;
            let hook = self.place.core.hooks.slot_start.as_ref();
            hooks::call(hook, self.place.seat.id as usize);
        }
    }

    /// Runs tasks one after the other, `handed` first. Ready with one that blocks, or with none
    /// when the slot is to leave.
    fn poll_run(
        &mut self,
        handed: Option<Queued>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Arc<dyn Job>>> {
        if self.place.is_running() {
            let polled = self.place.poll_run(&mut self.timers, cx);
            ready!(self.ran(polled));
        }
        if let Some(job) = handed {
            match self.begin_handed(job, cx) {
                Ok(polled) => ready!(polled),
                Err(blocks) => return Poll::Ready(Some(blocks)),
            }
        }
        if self.state == State::Parked {
            // One that was woken needs no waker until it parks again.
            if self.place.seat.is_parked() {
                self.place.seat.register(cx);
                if self.place.seat.is_parked() {
                    ready!(self.poll_idle(cx));
                    return Poll::Ready(None);
                }
            }
            self.state = State::Waking;
        }
        loop {
            if self.state == State::Waking {
                self.place.core.roster.arrive();
                self.state = State::Busy;
                self.fresh = true;
            }
            if self.has_news() && self.is_too_many() {
                return Poll::Ready(None);
            }
            if !self.place.core.lingers && self.leaves_to_others() {
                return Poll::Ready(None);
            }
            if self.in_a_row >= BUDGET && self.place.core.has_queued() {
                self.in_a_row = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // It begins right here: what moves through memory on its way costs more than it seems.
            if let Some(job) = self.place.core.pop() {
                self.in_a_row += 1;
                self.rested = false;
                self.taken += 1;
                self.place.spot.ground.idle_since = None;
                if core::mem::take(&mut self.fresh) && self.place.core.has_queued() {
                    self.place.core.notify();
                }
                match self.begin(job, cx) {
                    Ok(polled) => ready!(polled),
                    Err(blocks) => return Poll::Ready(Some(blocks)),
                }
            } else if ready!(self.poll_empty(cx)) {
                return Poll::Ready(None);
            }
        }
    }

    /// Begins to run a task, unless it blocks: then it comes back.
    #[allow(
        clippy::inline_always,
        reason = "a task taken out of the queue moves in registers then"
    )]
    #[inline(always)]
    fn begin(&mut self, job: Queued, cx: &mut Context<'_>) -> Result<Poll<()>, Arc<dyn Job>> {
        if self.place.core.is_stopping() {
            job.discard(&self.place.core, Gone::Abandoned, TaskError::Closed);
            self.place.core.left();
            return Ok(Poll::Ready(()));
        }
        let polled = match job {
            Queued::Bare(job) => self.place.begin_plain(job, None, &mut self.timers, cx),
            Queued::BareShared(job) => self.place.begin_plain(job, None, &mut self.timers, cx),
            Queued::Lone(job) => self.place.begin_run(job, &mut self.timers, cx),
            Queued::Shared(job) => self.place.begin_run(job, &mut self.timers, cx),
            Queued::Blocking(job) => return Err(job),
        };
        Ok(self.ran(polled))
    }

    #[cold]
    fn begin_handed(
        &mut self,
        job: Queued,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, Arc<dyn Job>> {
        self.begin(job, cx)
    }

    /// What a poll of the task leaves to be done.
    #[inline]
    fn ran(&mut self, polled: Poll<()>) -> Poll<()> {
        if polled.is_pending() {
            // Others have had their turn, and a slot whose tasks wait has no submitter at it.
            (self.in_a_row, self.rested) = (0, true);
        } else {
            self.place.tidy();
        }
        polled
    }

    /// The queue is empty: ready with whether the slot leaves, and looks again if not.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.fresh = false;
        self.in_a_row = 0;
        if self.place.core.is_finishing() {
            return Poll::Ready(true);
        }
        let lingers = self.place.core.lingers;
        if lingers && !core::mem::replace(&mut self.rested, true) && YIELDS {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.place.seat.register(cx);
        self.place.core.roster.park(&self.place.seat);
        self.state = State::Parked;
        if self.place.core.has_queued() || self.place.core.is_finishing() || self.has_news() {
            self.state = if self.place.core.roster.unpark(&self.place.seat) {
                State::Busy
            } else {
                State::Waking
            };
            return Poll::Ready(false);
        }
        if !lingers && self.place.core.roster.retire(&self.place.seat) {
            self.state = State::Left;
            return Poll::Ready(true);
        }
        self.begin_stay();
        self.poll_idle(cx).map(|()| true)
    }

    /// Whether there may be too many slots since it looked.
    #[inline]
    fn has_news(&self) -> bool {
        self.news != self.place.core.roster.news()
    }

    /// Whether the slot that it has of a pool above may be one too many.
    #[inline]
    fn has_news_above(&self) -> bool {
        self.news_above != self.place.core.news_above()
    }

    /// Leaves if there are too many slots by the news.
    #[cold]
    fn is_too_many(&mut self) -> bool {
        let core = &self.place.core;
        self.news = core.roster.news();
        let leaves = core.roster.leave_if_too_many(&self.place.seat);
        if leaves {
            self.state = State::Left;
            // Somebody may have relied on it.
            core.notify();
        }
        leaves
    }

    /// Leaves the slot above, if others are to have it, in favour of a new one, which comes after
    /// what waits for it.
    fn leaves_to_others(&mut self) -> bool {
        let core = &self.place.core;
        let has_had_its_turn = self.taken >= u64::from(BUDGET) && core.is_waited_for_above();
        // However much news there is above, each slot runs a task.
        let leaves = has_had_its_turn || self.taken > 0 && self.has_news_above();
        if leaves {
            if has_had_its_turn {
                core.give_way_above();
            }
            core.roster.leave(&self.place.seat, false);
            self.state = State::Left;
            core.notify();
        }
        leaves
    }

    /// Waits, asleep, for a wake or for the end of its stay: ready if it has left.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stay.poll_over(cx).is_ready() && self.place.core.roster.retire(&self.place.seat) {
            self.state = State::Left;
            return Poll::Ready(());
        }
        // If its stay is over it belongs to those that stay by now, or was just woken: the wake
        // polls it again.
        Poll::Pending
    }

    fn begin_stay(&mut self) {
        let core = &self.place.core;
        let until = if core.roster.has_surplus() {
            // It has been idle since then, too, if it is woken for nothing meanwhile.
            let since = self
                .place
                .spot
                .ground
                .idle_since
                .get_or_insert_with(|| core.rt.now());
            *since + core.idle_timeout
        } else {
            Instant::FAR_FUTURE
        };
        self.stay.begin(core, until);
    }

    /// Runs closures that block, from this one on, on a thread of the host's.
    async fn run_blocking(&mut self, job: Arc<dyn Job>) -> Option<Queued> {
        let (place, timers) = (&self.place, &mut self.timers);
        let news = self.news.wrapping_add(self.news_above);
        let back = blocking::run(&place.core, &place.seat, false, news, timers, job).await;
        self.taken += u64::from(back.ran);
        // Whoever ran many in a row lets others have their turn.
        self.in_a_row = if back.ran < blocking::MOST { 0 } else { BUDGET };
        back.next
    }

    fn leave(&mut self) {
        if self.greeted {
            hooks::call(
                self.place.core.hooks.slot_stop.as_ref(),
                self.place.seat.id as usize,
            );
        }
        if self.state != State::Left {
            let waking = match self.state {
                State::Waking => true,
                // Woken and not polled since counts as waking.
                State::Parked => !self.place.core.roster.unpark(&self.place.seat),
                State::Busy | State::Left => false,
            };
            self.state = State::Left;
            self.place.core.roster.leave(&self.place.seat, waking);
        }
        self.place.core.roster.hand_on(&self.place.seat);
        self.place.core.settle();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The task ends first: it relies on the slot.
        self.place.abandon();
        if self.state != State::Left {
            // In this order, with the fence of `settle` between: a push that relied on this slot
            // is found by the discard, a later one starts a slot, which the host drops as well.
            self.leave();
            self.place.core.host_gone();
        }
    }
}
