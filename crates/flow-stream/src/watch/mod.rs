//! One value that changes, and many who want to know its latest.
//!
//! # State
//! `value: RwLock<T>`. `state: AtomicU64 = version << 2 | WAITED | CLOSED`; the version counts the
//! changes and may wrap. `waiting: Mutex<WaitList>`, the receivers that are parked. Each receiver
//! keeps the version that it has seen.
//!
//! # Invariants
//! 1. The version changes only under the value's write lock: whoever holds the read lock sees the
//!    version of the value.
//! 2. `WAITED` changes only under the lock of `waiting`, and is set if and only if that list is
//!    not empty.
//! 3. Whoever changes the version or sets `CLOSED` and finds `WAITED` in the word it replaced
//!    takes everybody out of the list, then wakes them.
//! 4. A receiver parks only if the word in which it set `WAITED` has the version that it has seen
//!    and is not closed.
//! 5. No waker is cloned, dropped or woken under a lock. A value that was replaced is dropped
//!    after the locks.
//!
//! # Steps
//! send: write lock, replace, add to the version, unlock; `WAITED` in the word before? lock the
//! list, take all, clear `WAITED`, unlock, wake.
//! changed: another version? done, without a lock. Else lock the list, push, set `WAITED`; another
//! version in the word before? leave again.
//! A receiver that finds another version walks away from its place: by 2 and 3 whoever changed the
//! version takes it out. One that is dropped before leaves the list itself.
//!
//! # Ordering
//! One word decides the race of a change and a wait, both by RMWs: the change comes first, and the
//! waiter finds its version; or second, finds `WAITED`, and behind the list's lock the waiter. No
//! fence. What is read of the value is ordered by its own lock.
//!
//! # Source
//! tokio's watch, with the waiters' bit in the version's word in place of eight `Notify`s.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use flow_rt::block_on;
//! use flow_stream::watch;
//!
//! let (tx, mut rx) = watch::channel("starting");
//! std::thread::spawn(move || {
//!     tx.send_replace("loading");
//!     tx.send_replace("ready");
//! });
//! // It may never see "loading": only the latest value counts.
//! let state = block_on(rx.wait_for(|state| *state == "ready"))?;
//! assert_eq!(*state?, "ready");
//! # Ok(())
//! # }
//! ```

mod error;
#[cfg(feature = "metrics")]
mod metrics;
mod receiver;
mod sender;
mod stream;

use core::fmt;
use core::task::{Context, Poll, Waker};

use flow_sync::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use flow_sync::sync::{Arc, Mutex, RwLock};
use flow_sync::{Event, Standing, Ticket, WaitList, WakeList};

pub use error::{RecvError, SendError};
pub use receiver::{ChangedFuture, Receiver, Ref, WaitForFuture};
pub use sender::Sender;
pub use stream::Changes;

/// A channel that holds one value, `initial` at first, which the receiver has seen.
pub fn channel<T>(initial: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        value: RwLock::new(initial),
        state: AtomicU64::new(FIRST << SHIFT),
        waiting: Mutex::new(WaitList::new()),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
        deserted: Event::new(),
    });
    let receiver = Receiver::new(shared.clone(), FIRST);
    (Sender::new(shared), receiver)
}

/// A snapshot of a watch channel, taken without a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchStats {
    /// How often the value has changed; wraps at 2^62.
    pub changes: u64,
    /// Receivers there are.
    pub receivers: usize,
    /// Senders there are.
    pub senders: usize,
}

struct Shared<T> {
    value: RwLock<T>,
    state: AtomicU64,
    waiting: Mutex<WaitList>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// For senders that wait until there is no receiver.
    deserted: Event,
}

/// The version and the bits beside it.
#[derive(Clone, Copy)]
struct State(u64);

/// No value will come after the one that was seen.
struct Closed;

impl State {
    fn version(self) -> u64 {
        self.0 >> SHIFT
    }

    fn is_waited(self) -> bool {
        self.0 & WAITED != 0
    }

    fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// What it means to a receiver that has seen the version `seen`; `None` to wait.
    fn since(self, seen: u64) -> Option<Result<u64, Closed>> {
        if self.version() == seen {
            self.is_closed().then_some(Err(Closed))
        } else {
            Some(Ok(self.version()))
        }
    }
}

impl<T> Shared<T> {
    fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Counts a change, under the write lock; gives the word before, for [`told`](Self::told).
    fn change(&self) -> State {
        State(self.state.fetch_add(1 << SHIFT, Ordering::AcqRel))
    }

    fn close(&self) {
        self.told(State(self.state.fetch_or(CLOSED, Ordering::AcqRel)));
    }

    /// Wakes those who waited when the word was replaced. Called without a lock.
    #[inline]
    fn told(&self, before: State) {
        if before.is_waited() {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let mut waiting = self.waiting.lock();
        // Those who come while others are woken have seen the change.
        let mut left = waiting.len();
        loop {
            let mut wakes = WakeList::new();
            while left > 0 && wakes.room() > 0 {
                left -= 1;
                if let Some(waker) = waiting.head().and_then(|head| waiting.cancel(head).waker) {
                    // There is room: looked at just above.
                    let _ = wakes.push(waker);
                }
            }
            self.settle(&waiting);
            drop(waiting);
            wakes.wake();
            if left == 0 {
                return;
            }
            waiting = self.waiting.lock();
            left = left.min(waiting.len());
        }
    }

    /// Restores invariant 2 after some have left the list.
    fn settle(&self, waiting: &WaitList) {
        if waiting.is_empty() {
            self.state.fetch_and(!WAITED, Ordering::Relaxed);
        }
    }

    /// Ready with a version other than `seen`, or closed; else the waker is left.
    fn poll_since(
        &self,
        cx: &Context<'_>,
        seen: u64,
        place: &mut Option<Ticket>,
    ) -> Poll<Result<u64, Closed>> {
        if let Some(news) = self.state().since(seen) {
            // Whoever brought them takes the place out of the list.
            *place = None;
            return Poll::Ready(news);
        }
        let waker = cx.waker().clone();
        let (news, unused) = self.park(waker, seen, place);
        drop(unused);
        news.map_or(Poll::Pending, Poll::Ready)
    }

    /// Parks, unless there are news; gives the waker that is not needed.
    fn park(
        &self,
        waker: Waker,
        seen: u64,
        place: &mut Option<Ticket>,
    ) -> (Option<Result<u64, Closed>>, Option<Waker>) {
        let mut waiting = self.waiting.lock();
        if let Some(ticket) = *place
            && waiting.standing(ticket) == Standing::Waiting
        {
            return (None, waiting.update_waker(ticket, waker));
        }
        let ticket = waiting.push(0, Some(waker));
        let state = State(self.state.fetch_or(WAITED, Ordering::AcqRel));
        match state.since(seen) {
            None => {
                *place = Some(ticket);
                (None, None)
            }
            news => {
                *place = None;
                let left = waiting.cancel(ticket);
                self.settle(&waiting);
                (news, left.waker)
            }
        }
    }

    /// Gives up a place in the list.
    fn leave(&self, place: &mut Option<Ticket>) {
        if let Some(ticket) = place.take() {
            let mut waiting = self.waiting.lock();
            let left = waiting.cancel(ticket);
            self.settle(&waiting);
            drop(waiting);
            drop(left);
        }
    }

    fn stats(&self) -> WatchStats {
        WatchStats {
            changes: self.state().version().wrapping_sub(FIRST) & (u64::MAX >> SHIFT),
            receivers: self.receivers.load(Ordering::Relaxed),
            senders: self.senders.load(Ordering::Relaxed),
        }
    }

    fn debug(&self, end: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct(end)
            .field("changes", &stats.changes)
            .field("senders", &stats.senders)
            .field("receivers", &stats.receivers)
            .finish_non_exhaustive()
    }
}

const CLOSED: u64 = 1;
const WAITED: u64 = 2;
const SHIFT: u32 = 2;
/// The last version before they wrap, so that the first change of every channel crosses it.
const FIRST: u64 = u64::MAX >> SHIFT;
