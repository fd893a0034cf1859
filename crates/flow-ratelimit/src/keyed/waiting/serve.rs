//! The steps at a key's line: who goes from its head, who stands behind it, and what reaches it.

use core::time::Duration;
use std::sync::Arc;

use flow_rt::{Clock, Instant};
use flow_sync::sync::atomic::{Ordering, fence};
use flow_sync::{Standing, Ticket};

use super::{LineId, Waiting};
use crate::error::{AcquireError, Denied};
use crate::granted::Granted;
use crate::keyed::store::{Ask, Finds, Stood, Store};
use crate::keyed::table::Table;
use crate::token_bucket::core::not_yet;
use crate::wait_state::Host;
use crate::waiting::saturated;
use crate::wakes::Wakes;

impl<C: Clock, S: Store> Table<C, S> {
    /// The answer for one who comes while somebody waits for some key, or it is closed.
    #[cold]
    #[inline(never)]
    pub(crate) fn decide_behind<Q: ?Sized>(
        &self,
        at: (u64, &Q),
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied>
    where
        S: Finds<Q>,
    {
        let (hash, key) = at;
        let mut wakes = Wakes::new();
        let behind = {
            let mut waiting = self.waiters.lock();
            if waiting.closed {
                return Err(Denied::Closed);
            }
            let found = waiting.find(hash, |tag| S::is_of(tag, key));
            let found = found.map(|(id, line)| (id, line.due));
            if let Some((id, Some(due))) = found
                && due <= now
            {
                // Those in front can go already, their driver is late.
                self.pump(&mut waiting, id, now, &mut wakes);
            }
            let line = found.and_then(|(id, _)| waiting.line(id));
            let line = line.filter(|line| n > 0 && !line.list.is_empty());
            line.map(|line| (line.list.sum(), line.tag.clone()))
        };
        wakes.wake();
        let Some((before, tag)) = behind else {
            return self.store.decide(&self.quotas, at, n, ask, now);
        };
        match self.wait_of((hash, &tag), before, n, now) {
            // Not zero: one who comes back at once meets the same line.
            Ok(wait) if wait < Duration::MAX || !self.quotas.of(hash).never_refills() => {
                Err(Denied::NotYet {
                    retry_after: wait.max(Duration::from_nanos(1)),
                })
            }
            Ok(_) => Err(Denied::NeverRefills),
            Err(AcquireError::ExceedsBurst { requested, burst }) => {
                Err(Denied::exceeds_burst(requested, burst))
            }
            Err(_) => Err(Denied::Closed),
        }
    }

    /// Grants from the head of a line on whatever fits, and says when it is to be looked at again.
    pub(super) fn pump(
        &self,
        waiting: &mut Waiting<S::Tag>,
        id: LineId,
        now: Instant,
        wakes: &mut Wakes,
    ) {
        let mut due = None;
        while let Some(line) = waiting.line_mut(id) {
            let Some(n) = line.list.head_need() else {
                break;
            };
            if wakes.room() == 0 {
                // The driver goes on with the rest.
                due = Some(now);
                break;
            }
            let at = (id.hash, &line.tag);
            let asked = Ask::TakeForWaiter;
            let decided = self.store.decide_tagged(&self.quotas, at, n, asked, now);
            match decided {
                Ok(granted) if granted.is_free() => wakes.push(line.list.waive_head()),
                Ok(_) => wakes.push(line.list.grant_head()),
                Err(Denied::NotYet { retry_after } | Denied::KeysFull { retry_after }) => {
                    let wait = retry_after.max(Duration::from_nanos(1));
                    due = Some(now.saturating_add(wait));
                    break;
                }
                Err(Denied::NeverRefills) => {
                    due = Some(Instant::FAR_FUTURE);
                    break;
                }
                // A smaller burst has made it hopeless.
                Err(_) => wakes.push(line.list.close_head()),
            }
            self.attention.fetch_sub(2, Ordering::AcqRel);
        }
        waiting.set_due(id, due, wakes);
        if self.waiting() == 0 {
            waiting.wake_seats(wakes);
        }
    }

    /// Takes a ticket out of its line, whose host is to be dropped without the lock. What it was
    /// granted.
    pub(super) fn take_out(
        &self,
        waiting: &mut Waiting<S::Tag>,
        id: LineId,
        ticket: Ticket,
        now: Instant,
        wakes: &mut Wakes,
    ) -> (u64, Option<Arc<dyn Host>>) {
        let Some(line) = waiting.line_mut(id) else {
            return (0, None);
        };
        let cancelled = line.list.cancel(ticket);
        wakes.discard(cancelled.waker);
        let granted = match cancelled.standing {
            Standing::Gone => return (0, None),
            Standing::Granted => cancelled.need,
            Standing::Closed => 0,
            Standing::Waiting => {
                self.attention.fetch_sub(2, Ordering::AcqRel);
                if cancelled.was_head {
                    // Smaller needs behind a large one may fit at once.
                    self.pump(waiting, id, now, wakes);
                }
                0
            }
        };
        (granted, waiting.release(id))
    }

    /// Gives tokens back to a key, and to those who wait for it.
    pub(crate) fn give_back<Q: ?Sized>(&self, at: (u64, &Q), n: u64)
    where
        S: Finds<Q>,
    {
        self.store.refund(&self.quotas, at, n);
        self.supply_rose(at.0, |tag| S::is_of(tag, at.1));
    }

    pub(super) fn give_back_tagged(&self, hash: u64, tag: &S::Tag, n: u64) {
        self.store.refund_tagged(&self.quotas, (hash, tag), n);
        self.supply_rose(hash, |its| its == tag);
    }

    /// After tokens came back to a key, whatever the class of those who wait for it.
    pub(crate) fn supply_rose(&self, hash: u64, is: impl Fn(&S::Tag) -> bool) {
        // After the tokens were stored: see Ordering.
        fence(Ordering::SeqCst);
        if self.attention.load(Ordering::Relaxed) < 2 {
            return;
        }
        let now = self.clock.now();
        let mut wakes = Wakes::new();
        {
            let mut waiting = self.waiters.lock();
            for class in 0..self.quotas.len() {
                let hash = self.quotas.in_class(hash, class);
                if let Some((id, _)) = waiting.find(hash, &is) {
                    self.pump(&mut waiting, id, now, &mut wakes);
                }
            }
        }
        wakes.wake();
    }

    /// After a quota changed: all who wait by it are looked at.
    pub(crate) fn quota_changed(&self, of: u64) {
        // After the parameters were published: see Ordering.
        fence(Ordering::SeqCst);
        if self.attention.load(Ordering::Relaxed) < 2 {
            return;
        }
        self.look_at_all(|hash| self.quotas.is_same_class(of, hash));
    }

    /// Has the drivers look at those lines soon.
    fn look_at_all(&self, concerns: impl Fn(u64) -> bool) {
        let now = self.clock.now();
        let mut wakes = Wakes::new();
        {
            let mut waiting = self.waiters.lock();
            for id in waiting.ids() {
                let is_waiting = |id| waiting.line(id).is_some_and(|it| !it.list.is_empty());
                if concerns(id.hash) && is_waiting(id) {
                    waiting.set_due(id, Some(now), &mut wakes);
                }
            }
        }
        wakes.wake();
    }

    /// Lets nobody go any more.
    pub(crate) fn close(&self) {
        let mut wakes = Wakes::new();
        #[cfg(feature = "tracing")]
        let count = self.waiting();
        {
            let mut waiting = self.waiters.lock();
            if waiting.closed {
                return;
            }
            waiting.closed = true;
            for line in waiting.lines_mut() {
                line.list.close_all(wakes.all());
                line.due = None;
            }
            waiting.due.clear();
            // Nobody waits; from here on everybody looks.
            self.attention.store(1, Ordering::Release);
            waiting.wake_seats(&mut wakes);
        }
        #[cfg(feature = "tracing")]
        crate::events::closed(self.name.as_deref(), count);
        wakes.wake();
    }

    /// How long one would wait who needs so many tokens and stands behind others: for the tokens,
    /// and before that for room, if the key is new and there is none.
    pub(super) fn wait_of(
        &self,
        (hash, tag): (u64, &S::Tag),
        before: u128,
        n: u64,
        now: Instant,
    ) -> Result<Duration, AcquireError> {
        let class = self.quotas.of(hash);
        let asked = Ask::TakeForWaiter;
        let Stood { anchor, level } = self.store.stand(&self.quotas, (hash, tag), asked, now);
        class.grains(&anchor, n).map_err(AcquireError::at_once)?;
        if anchor.unlimited {
            return Ok(Duration::ZERO);
        }
        let grains = saturated((before + u128::from(n)) << class.bits());
        let for_tokens = match not_yet(anchor, level.spent, grains, now) {
            Denied::NotYet { retry_after } => retry_after,
            // No supply at all: only a change of the rate can end this wait.
            _ => Duration::MAX,
        };
        let at = (hash, tag);
        let peeked = self
            .store
            .decide_tagged(&self.quotas, at, n, Ask::Peek, now);
        Ok(match peeked {
            // It is full then, as it is now.
            Err(Denied::KeysFull { retry_after }) => for_tokens.saturating_add(retry_after),
            _ => for_tokens,
        })
    }

    /// Why a line was left with nothing.
    pub(super) fn why_closed(&self, waiting: &Waiting<S::Tag>, id: LineId, n: u64) -> AcquireError {
        if waiting.closed {
            AcquireError::Closed
        } else {
            AcquireError::ExceedsBurst {
                requested: n,
                burst: self.quotas.of(id.hash).burst(),
            }
        }
    }

    /// What a waiter is told that was granted just now, and for whom so many tokens were taken.
    pub(super) fn granted_now(
        &self,
        (hash, tag): (u64, &S::Tag),
        taken: u64,
        now: Instant,
    ) -> Granted {
        let class = self.quotas.of(hash);
        let Stood { anchor, level } = self.store.stand(&self.quotas, (hash, tag), Ask::Peek, now);
        class.granted(&anchor, level.free).for_taken(taken)
    }
}
