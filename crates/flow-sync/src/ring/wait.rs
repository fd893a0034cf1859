//! Waiting at the ends of a ring: to park, to grant, to leave. The steps are those of the parent,
//! which says why they are right; here is what they rest on in this file.
//!
//! # State
//! The [`Turn`] of each wait, which its caller keeps, and the two [`Line`]s.
//!
//! # Invariants
//! 1. A turn is `Parked` exactly as long as its ticket has a place: whoever ends the wait takes
//!    both. Granted or sent away, it keeps the place until its owner comes, or leaves.
//! 2. `granted` counts the places that stand as granted. A close sets the senders' to none and
//!    withdraws their promises: on a closed line a place that stands as granted has nothing.
//! 3. An item is in its caller's `slot` or in the ring. It is in `slot` whenever a poll returns
//!    pending, or an error.
//! 4. Nobody holds both lines: granting ends with its line unlocked, and only then is the other
//!    one locked.
//! 5. A waker is cloned before the lock is taken, and one that is not needed, or was replaced, is
//!    dropped after it. Those that are to be woken go into a [`WakeList`]; with more of them than
//!    it takes, grant and close unlock, wake, and come back.
//!
//! # Ordering
//! The slow side of the parent's pair of Dekker's is where the number of those who wait rises: who
//! parks, and who goes back to its place. Wherever else a line is shown, those who still wait have
//! had their look.

use core::task::{Context, Poll, Waker, ready};

use super::raw::{Raw, Share};
use super::waiters::Line;
use super::{PopError, PushError, Ring, Turn};
use crate::backoff::{let_others_run, pause};
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, fence_after_rmw};
use crate::wait_list::{Standing, Ticket};
use crate::wake_list::WakeList;

/// How a receiver takes its share: one item, or a batch.
type Take<'a, T, R> = dyn FnMut(&Raw<T>, Share) -> Result<R, PopError> + 'a;

impl<T> Ring<T> {
    /// Pushes the item in `slot`, or waits in line for room. With nothing there it stays pending,
    /// and keeps its place.
    ///
    /// # Errors
    /// Only [`PushError::Closed`]; the item is in `slot` then.
    ///
    /// # Cancel safety
    /// While pending the item is in `slot`. Whoever gives up calls [`leave_push`](Self::leave_push).
    #[inline]
    pub fn poll_push(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        if let Turn::Parked(ticket) = *turn
            && slot.is_some()
        {
            ready!(self.poll_sender(cx, turn, ticket))?;
            return self.push_granted(cx, turn, slot);
        }
        let Some(item) = slot.take() else {
            return Poll::Pending;
        };
        match self.try_push(item) {
            Ok(()) => Poll::Ready(Ok(())),
            Err((item, why)) => {
                *slot = Some(item);
                self.wait_for_room(cx, turn, why)
            }
        }
    }

    /// Promises room for one item as [`try_promise`](Self::try_promise) does, or waits in line.
    ///
    /// # Errors
    /// Only [`PushError::Closed`].
    ///
    /// # Cancel safety
    /// Whoever gives up calls [`leave_push`](Self::leave_push).
    pub fn poll_promise(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
    ) -> Poll<Result<(), PushError>> {
        if let Turn::Parked(ticket) = *turn {
            return self.poll_sender(cx, turn, ticket);
        }
        match self.try_promise() {
            Ok(()) => Poll::Ready(Ok(())),
            Err(why) => self.wait_for_room(cx, turn, why),
        }
    }

    /// Takes an item, or waits in line for one; `None` once the ring is drained.
    ///
    /// Unless `yields`, it parks at once: right for a receiver that is alone. One that yields
    /// runs after its sender item by item.
    ///
    /// # Cancel safety
    /// While pending nothing was taken. Whoever gives up calls [`leave_pop`](Self::leave_pop).
    #[inline]
    pub fn poll_pop(&self, cx: &mut Context<'_>, turn: &mut Turn, yields: bool) -> Poll<Option<T>> {
        if matches!(turn, Turn::Parked(_)) {
            return self.poll_receiver(cx, turn, &mut Raw::try_pop);
        }
        match self.try_pop() {
            Ok(item) => {
                self.comes_in_time(turn);
                Poll::Ready(Some(item))
            }
            Err(why) => self.wait_for_item(cx, turn, yields, why).map(|()| None),
        }
    }

    /// Appends items to `batch` as [`try_pop_many`](Self::try_pop_many) does, or waits in line for
    /// the first; `None` once the ring is drained.
    ///
    /// # Cancel safety
    /// That of [`poll_pop`](Self::poll_pop).
    pub fn poll_pop_many(
        &self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        yields: bool,
        batch: &mut Vec<T>,
        max: usize,
    ) -> Poll<Option<usize>> {
        if max == 0 {
            return Poll::Ready(Some(0));
        }
        if matches!(turn, Turn::Parked(_)) {
            return self.poll_receiver(cx, turn, &mut |raw: &Raw<T>, share| {
                raw.pop_many(batch, max, share)
            });
        }
        match self.try_pop_many(batch, max) {
            Ok(popped) => {
                self.comes_in_time(turn);
                Poll::Ready(Some(popped))
            }
            Err(why) => self.wait_for_item(cx, turn, yields, why).map(|()| None),
        }
    }

    /// Lets senders get ahead, for one of several receivers that is about to wait and has no place
    /// in the line yet: it then tries once more.
    ///
    /// It returns at once if there is an item for it, if the ring is closed, if receivers have not
    /// taken a run of items since one of them last rested, or if the ring holds fewer than 256:
    /// senders would fill it meanwhile, and wait. A rest in which nothing was pushed is not done
    /// again for 32 runs: the senders may be tasks of the thread that rests.
    ///
    /// # Cost
    /// The thread spins for up to two to six microseconds, by what the processor takes for a
    /// pause, once for each run of 128 items, and once for each receiver that finds nothing at the
    /// same time; in a ring of fewer than 1,024 less of both, in proportion.
    #[cold]
    pub fn rest(&self) {
        let spins = (self.capacity() / 8).min(LONGEST_REST as usize) as u32;
        let pops = self.pops();
        // Less than none after a rest in vain; counts are of 48 bits. If another has shown an
        // earlier one meanwhile it rests once too often.
        let since = pops.wrapping_sub(self.rested.load(Ordering::Relaxed));
        let run = (since << 16).cast_signed() >> 16;
        if spins < SHORTEST_REST || run < i64::from(spins) || self.is_closed() {
            return;
        }
        let (waiting, granted) = self.receivers.glance();
        if waiting == 0 && self.len() > granted as usize {
            return;
        }
        let pushes = self.pushes();
        pause(spins);
        let skipped = if self.pushes() == pushes {
            RUNS_AFTER_NONE
        } else {
            0
        };
        // Afterwards: others that find nothing meanwhile rest as well, and disturb nobody.
        let rested = pops.wrapping_add(skipped * u64::from(spins));
        self.rested.store(rested, Ordering::Relaxed);
    }

    /// Ends a sender's wait; what it had been promised goes to the next.
    #[inline]
    pub fn leave_push(&self, turn: &mut Turn) {
        if let Turn::Parked(ticket) = core::mem::take(turn) {
            self.leave_senders(ticket);
        }
    }

    /// Ends a receiver's wait; the item that had been set aside for it goes to the next.
    #[inline]
    pub fn leave_pop(&self, turn: &mut Turn) {
        match (core::mem::take(turn), &self.sole) {
            (Turn::Parked(ticket), _) => self.leave_receivers(ticket),
            (Turn::Asleep, Some(sole)) => self.get_up(sole, turn),
            _ => {}
        }
    }

    /// Stops intake. What is in the ring stays, and permits stay good. True the first time.
    pub fn close(&self) -> bool {
        let first = self.raw.close();
        let mut wakes = WakeList::new();
        loop {
            let mut line = self.senders.lock();
            line.closed = true;
            // Those granted that have not come for it are refused like those who wait.
            self.raw.withdraw(u64::from(line.granted));
            line.granted = 0;
            while wakes.room() > 0 && !line.list.is_empty() {
                if let Some(waker) = line.list.close_head() {
                    // There is room: looked at just above.
                    let _ = wakes.push(waker);
                }
            }
            let more = !line.list.is_empty();
            self.senders.show(&line);
            drop(line);
            wakes.wake();
            if !more {
                break;
            }
        }
        self.serve_receivers();
        first
    }

    #[cold]
    fn wait_for_room(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        why: PushError,
    ) -> Poll<Result<(), PushError>> {
        if why == PushError::Closed {
            return Poll::Ready(Err(why));
        }
        if let Some(yielded) = self.yields(*turn) {
            *turn = yielded;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let waker = cx.waker().clone();
        let mut line = self.senders.lock();
        if line.closed {
            return Poll::Ready(Err(PushError::Closed));
        }
        *turn = Turn::Parked(line.list.push(0, Some(waker)));
        self.senders.show(&line);
        fence_after_rmw();
        self.grant_senders(line);
        Poll::Pending
    }

    /// What becomes of the turn of a sender that finds no room, unless it is to park.
    fn yields(&self, turn: Turn) -> Option<Turn> {
        let now = self.pushes();
        let times = match turn {
            Turn::New => 0,
            Turn::Yielded { times, pushes } if times < YIELDS && pushes != now => times,
            _ => return None,
        };
        Some(Turn::Yielded {
            times: times + 1,
            pushes: now,
        })
    }

    /// Ends the sleep of a sole receiver that finds an item before it was woken, or after.
    #[inline]
    fn comes_in_time(&self, turn: &mut Turn) {
        if *turn == Turn::Asleep {
            self.leave_pop(turn);
        }
    }

    /// A receiver that found no item: ready if the ring is drained.
    #[cold]
    fn wait_for_item(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        yields: bool,
        why: PopError,
    ) -> Poll<()> {
        if why == PopError::Closed {
            self.comes_in_time(turn);
            return Poll::Ready(());
        }
        if yields && *turn == Turn::New {
            *turn = Turn::YIELDED;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(sole) = &self.sole {
            self.sleep(sole, cx, turn);
            return Poll::Pending;
        }
        let waker = cx.waker().clone();
        let mut line = self.receivers.lock();
        *turn = Turn::Parked(line.list.push(0, Some(waker)));
        self.receivers.show(&line);
        fence_after_rmw();
        self.grant_receivers(line);
        Poll::Pending
    }

    /// A parked sender: ready with the promise that it has been granted.
    #[cold]
    fn poll_sender(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        ticket: Ticket,
    ) -> Poll<Result<(), PushError>> {
        // A waker that is not needed is dropped last, without the lock.
        let mut fresh = None;
        let Some((mut line, standing)) = self.senders.settle(cx, ticket, &mut fresh) else {
            return Poll::Pending;
        };
        line.list.cancel(ticket);
        *turn = Turn::New;
        if standing != Standing::Granted || line.closed {
            return Poll::Ready(Err(PushError::Closed));
        }
        line.granted -= 1;
        Poll::Ready(Ok(()))
    }

    /// A sender that was parked: pushes the item in `slot` into the room that it has been promised.
    #[cold]
    fn push_granted(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        slot: &mut Option<T>,
    ) -> Poll<Result<(), PushError>> {
        let Some(Err(item)) = slot.take().map(|item| self.push_promised(item)) else {
            return Poll::Ready(Ok(()));
        };
        // Somebody used a promise that was not its own.
        *slot = Some(item);
        self.wait_for_room(cx, turn, PushError::Full)
    }

    /// A parked receiver: ready with what it takes once it has been granted.
    #[cold]
    fn poll_receiver<R>(
        &self,
        cx: &Context<'_>,
        turn: &mut Turn,
        take: &mut Take<'_, T, R>,
    ) -> Poll<Option<R>> {
        let Turn::Parked(ticket) = *turn else {
            return Poll::Pending;
        };
        let mut fresh: Option<Waker> = None;
        loop {
            let Some((mut line, _)) = self.receivers.settle(cx, ticket, &mut fresh) else {
                return Poll::Pending;
            };
            let share = Share {
                aside: u64::from(line.granted).saturating_sub(1),
                own: true,
            };
            match take(&self.raw, share) {
                Err(PopError::Empty) => {
                    let Some(waker) = fresh.take() else {
                        drop(line);
                        fresh = Some(cx.waker().clone());
                        continue;
                    };
                    // A newcomer was faster, or its item is not there yet (invariant 4).
                    line.list.requeue(ticket, waker);
                    line.granted -= 1;
                    self.receivers.show(&line);
                    fence_after_rmw();
                    self.grant_receivers(line);
                    let_others_run();
                    return Poll::Pending;
                }
                taken => {
                    line.list.cancel(ticket);
                    line.granted -= 1;
                    *turn = Turn::New;
                    self.receivers.show(&line);
                    self.grant_receivers(line);
                    if taken.is_ok() {
                        self.popped();
                    }
                    return Poll::Ready(taken.ok());
                }
            }
        }
    }

    #[cold]
    fn leave_senders(&self, ticket: Ticket) {
        let mut line = self.senders.lock();
        let left = line.list.cancel(ticket);
        let mut closed = false;
        if left.standing == Standing::Granted && !line.closed {
            line.granted -= 1;
            closed = self.raw.withdraw(1);
        }
        self.senders.show(&line);
        self.grant_senders(line);
        if closed {
            self.serve_receivers();
        }
        // `left.waker` is dropped here, without a lock.
    }

    #[cold]
    fn leave_receivers(&self, ticket: Ticket) {
        let mut line = self.receivers.lock();
        let left = line.list.cancel(ticket);
        if left.standing == Standing::Granted {
            line.granted -= 1;
        }
        self.receivers.show(&line);
        self.grant_receivers(line);
        drop(left);
    }

    /// Promises room to those who wait for it, in their order.
    #[cold]
    pub(super) fn grant_senders<'a>(&'a self, mut line: MutexGuard<'a, Line>) {
        let mut wakes = WakeList::new();
        loop {
            let before = line.list.len();
            while wakes.room() > 0 && !line.list.is_empty() && self.raw.try_promise().is_ok() {
                line.granted += 1;
                if let Some(waker) = line.list.grant_head() {
                    // There is room: looked at just above.
                    let _ = wakes.push(waker);
                }
            }
            if line.list.len() != before {
                self.senders.show(&line);
            }
            let more = wakes.room() == 0;
            drop(line);
            wakes.wake();
            if !more {
                return;
            }
            line = self.senders.lock();
        }
    }

    /// Sets items aside for those who wait, in their order; on a drained ring lets all
    /// of them go.
    #[cold]
    pub(super) fn grant_receivers<'a>(&'a self, mut line: MutexGuard<'a, Line>) {
        let mut wakes = WakeList::new();
        loop {
            let before = line.list.len();
            while wakes.room() > 0
                && !line.list.is_empty()
                && (self.len() > line.granted as usize || self.raw.is_drained())
            {
                line.granted += 1;
                if let Some(waker) = line.list.grant_head() {
                    // There is room: looked at just above.
                    let _ = wakes.push(waker);
                }
            }
            if line.list.len() != before {
                self.receivers.show(&line);
            }
            let more = wakes.room() == 0;
            drop(line);
            wakes.wake();
            if !more {
                return;
            }
            line = self.receivers.lock();
        }
    }
}

/// How often a sender lets others run before it parks.
const YIELDS: u8 = 8;

/// Pauses of the processor in which senders push a quarter of 1,024 items. Half as many, or twice
/// as many, do a little less.
const LONGEST_REST: u32 = 128;
/// A ring of 64 gains nothing from the 8 that would be its share, and loses by more.
const SHORTEST_REST: u32 = 32;
/// Runs without a rest, beside the usual one, after a rest in which nobody pushed.
const RUNS_AFTER_NONE: u64 = 31;
