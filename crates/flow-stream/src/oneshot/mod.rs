//! One item from one task to another, once.
//!
//! # State
//! `slot: Mutex<Slot<T>>`: the outcome, one of `Open`, `Sent(item)`, `Closed`, and a waker for each
//! end that waits. It lies in the one allocation that the two ends share, an [`Arc`].
//!
//! # Invariants
//! 1. The outcome goes from `Open` to `Sent` to `Closed`, or from `Open` to `Closed`, and never back.
//! 2. The critical section that ends `Open` takes both wakers out; whoever ran it wakes the other
//!    end after unlocking.
//! 3. A waker is stored in the critical section that found the channel `Open`.
//! 4. No waker is cloned, dropped or woken under the lock, and no item is dropped there.
//! 5. The sender lets go of the allocation once it has sent or closed, not before. A receiver that
//!    is alone with it finds an outcome there, and no lock is in its way.
//!
//! # Steps
//! send: lock; open? put the item, take the wakers, unlock, let go, wake the receiver; else give it
//! back.
//! poll: alone? take the outcome out of the allocation, and free that. Else lock; sent? take the
//! item. Closed? say so. Else leave a waker, cloned outside of the lock.
//! close, and drop of either end: lock; open? close, take the wakers, unlock, wake the other end.
//! A receiver that is dropped takes the item with it, a receiver that closes leaves it.
//!
//! # Ordering
//! One lock decides every race. A send before the close is received; after it, it comes back. A
//! wait before either finds its waker taken by 2; after it, it finds it open no longer. The
//! sender lets go by a Release decrease of the count of owners, and the receiver takes the
//! allocation apart by an Acquire one: what it finds is what the sender left.
//!
//! # Source
//! tokio's oneshot, with a short lock in place of its state word. An item that is there when its
//! receiver looks costs one locked section, the send's, and six atomic read-modify-writes in all;
//! tokio's costs five. With a section for the receiver too it is eight, and half as fast. A
//! receiver that comes first needs one all the same, to leave its waker in the channel.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use flow_stream::oneshot;
//!
//! let (tx, rx) = oneshot::channel();
//! std::thread::spawn(move || tx.send("hello"));
//! assert_eq!(flow_rt::block_on(rx)?, Ok("hello"));
//! # Ok(())
//! # }
//! ```

mod error;
mod receiver;

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};

use flow_rt::contain;
use flow_sync::sync::{Arc, Mutex};

pub use error::{RecvBlockingError, RecvError, RecvTimeoutError, SendError, TryRecvError};
pub use receiver::{Receiver, RecvTimeoutFuture};

use crate::Rejected;
use crate::closed::ClosedFuture;

/// A channel for one item.
///
/// # Cost
/// One allocation.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        slot: Mutex::new(Slot {
            outcome: Outcome::Open,
            sender: None,
            receiver: None,
        }),
    });
    let sender = Sender {
        shared: shared.clone(),
        sent: false,
    };
    (sender, Receiver::new(shared))
}

/// The end that sends the item.
///
/// Dropped without a send it closes the channel, and the receiver is told.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    /// Nothing is left to do when it is dropped.
    sent: bool,
}

impl<T> Sender<T> {
    /// Sends the item. It never waits.
    ///
    /// `Ok` means that the item is in the channel. It is dropped with the receiver if that goes
    /// away without looking.
    ///
    /// # Errors
    /// The item comes back if the receiver is gone or has closed.
    ///
    /// # Cost
    /// One short lock; no allocation, no runtime.
    pub fn send(mut self, item: T) -> Result<(), SendError<T>> {
        self.sent = true;
        match self.shared.put(item) {
            Ok(wakers) => {
                // First, so that the receiver is alone when it wakes.
                drop(self);
                wakers.wake(End::Receiver);
                Ok(())
            }
            Err(item) => Err(SendError::Closed(Rejected::new(item))),
        }
    }

    /// Whether the receiver is gone or has closed: the item has nobody to go to.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Waits until the receiver is gone or has closed, so that work for it can be given up.
    ///
    /// # Cancel safety
    /// The future can be dropped and made anew at any time. The last waker stays in the channel
    /// until then, and may be woken.
    pub fn closed(&mut self) -> ClosedFuture<'_, Self> {
        ClosedFuture::new(self)
    }

    /// [`closed`](Self::closed) for futures written by hand; the last waker left is woken.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_closed(cx)
    }
}

impl<T> Future for ClosedFuture<'_, Sender<T>> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Pending;
        }
        ready!(self.sender.shared.poll_closed(cx));
        self.done = true;
        Poll::Ready(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if !self.sent {
            self.shared.close(End::Sender);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("Sender", f)
    }
}

struct Shared<T> {
    slot: Mutex<Slot<T>>,
}

struct Slot<T> {
    outcome: Outcome<T>,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

enum Outcome<T> {
    Open,
    Sent(T),
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Sender,
    Receiver,
}

/// How the channel stands for one that waits: not open any more.
struct Ended;

impl<T> Shared<T> {
    /// Puts the item into a channel that is open, and gives the wakers that were left in it.
    fn put(&self, item: T) -> Result<Wakers, T> {
        let mut slot = self.slot.lock();
        if !matches!(slot.outcome, Outcome::Open) {
            return Err(item);
        }
        slot.outcome = Outcome::Sent(item);
        Ok(slot.wakers())
    }

    /// Closes a channel that is open; what was sent stays.
    fn close(&self, by: End) {
        let wakers = {
            let mut slot = self.slot.lock();
            if !matches!(slot.outcome, Outcome::Open) {
                return;
            }
            slot.outcome = Outcome::Closed;
            slot.wakers()
        };
        wakers.wake(match by {
            End::Sender => End::Receiver,
            End::Receiver => End::Sender,
        });
    }

    /// Closes the channel and takes what was sent.
    fn end(&self) -> Option<T> {
        let (before, wakers) = {
            let mut slot = self.slot.lock();
            let before = core::mem::replace(&mut slot.outcome, Outcome::Closed);
            (before, slot.wakers())
        };
        wakers.wake(End::Sender);
        match before {
            Outcome::Sent(item) => Some(item),
            Outcome::Open | Outcome::Closed => None,
        }
    }

    /// What there is to take; `None` while the channel is open.
    fn try_take(&self) -> Option<Result<T, Ended>> {
        self.slot.lock().outcome.take()
    }

    /// What there is to take, else the receiver's waker stays in the channel; `first` if none
    /// stayed before.
    fn wait_take(&self, cx: &Context<'_>, first: bool) -> Option<Result<T, Ended>> {
        // The sender is there, so the channel is open, but for an instant: one section will do.
        let fresh = first.then(|| cx.waker().clone());
        self.wait(cx, End::Receiver, fresh, Outcome::take)
    }

    /// Ready once the channel is not open, else the sender's waker stays in it.
    fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        let closed = self.wait(cx, End::Sender, None, |_| Some(()));
        closed.map_or(Poll::Pending, Poll::Ready)
    }

    /// What `over` finds in a channel that is not open, else `end`'s waker stays in it: `fresh`,
    /// or one that is cloned if it is needed.
    fn wait<R>(
        &self,
        cx: &Context<'_>,
        end: End,
        mut fresh: Option<Waker>,
        over: impl Fn(&mut Outcome<T>) -> Option<R>,
    ) -> Option<R> {
        loop {
            let mut slot = self.slot.lock();
            if !matches!(slot.outcome, Outcome::Open) {
                return over(&mut slot.outcome);
            }
            let place = match end {
                End::Sender => &mut slot.sender,
                End::Receiver => &mut slot.receiver,
            };
            if place.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                return None;
            }
            if let Some(waker) = fresh.take() {
                let replaced = place.replace(waker);
                drop(slot);
                drop(replaced);
                return None;
            }
            drop(slot);
            fresh = Some(cx.waker().clone());
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.slot.lock().outcome, Outcome::Closed)
    }

    fn debug(&self, end: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.slot.lock().outcome {
            Outcome::Open => "open",
            Outcome::Sent(_) => "sent",
            Outcome::Closed => "closed",
        };
        Self::debug_as(end, state, f)
    }

    fn debug_as(end: &str, state: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(end)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

impl<T> Slot<T> {
    /// The wakers, which nobody needs here once the channel is not open any more.
    fn wakers(&mut self) -> Wakers {
        // A look first: one that is not there has one of its two words stored, and taking both at
        // once would wait for the store.
        let take = |place: &mut Option<Waker>| match place {
            None => None,
            Some(_) => place.take(),
        };
        Wakers {
            sender: take(&mut self.sender),
            receiver: take(&mut self.receiver),
        }
    }
}

impl<T> Outcome<T> {
    /// What there is to take; `None` while the channel is open.
    fn take(&mut self) -> Option<Result<T, Ended>> {
        match self {
            Self::Open => None,
            Self::Closed => Some(Err(Ended)),
            Self::Sent(_) => Some(match core::mem::replace(self, Self::Closed) {
                Self::Sent(item) => Ok(item),
                Self::Open | Self::Closed => Err(Ended),
            }),
        }
    }
}

/// Those who waited in a channel that was open. Used without the lock.
struct Wakers {
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

impl Wakers {
    fn wake(self, end: End) {
        let waker = match end {
            End::Sender => self.sender,
            End::Receiver => self.receiver,
        };
        if let Some(waker) = waker {
            // An executor's panic is not the caller's.
            contain(|| waker.wake());
        }
    }
}
