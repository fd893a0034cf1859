//! One item from one task to another, once.
//!
//! # State
//! `slot: Mutex<Slot<T>>`, one of `Open` with a waker for each end that waits, `Sent(item)`,
//! `Closed`. It lies in the one allocation that the two ends share.
//!
//! # Invariants
//! 1. The slot goes from `Open` to `Sent` to `Closed`, or from `Open` to `Closed`, and never back.
//! 2. The critical section that ends `Open` takes both wakers out; whoever ran it wakes the other
//!    end after unlocking.
//! 3. A waker is stored in the critical section that found the slot `Open`.
//! 4. No waker is cloned, dropped or woken under the lock, and no item is dropped there.
//!
//! # Steps
//! send: lock; open? put the item, take the wakers, unlock, wake the receiver; else give it back.
//! poll: lock; sent? take the item. Closed? say so. Else leave a waker, cloned outside of the lock.
//! close, and drop of either end: lock; open? close, take the wakers, unlock, wake the other end.
//! A receiver that is dropped takes the item with it, a receiver that closes leaves it.
//!
//! # Ordering
//! One lock decides every race. A send before the close is received; after it, it comes back. A
//! wait before either finds its waker taken by 2; after it, it finds the slot no longer open.
//!
//! # Source
//! tokio's oneshot, with a short lock in place of its state word: two locked sections an item.
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
use core::task::{Context, Poll, Waker};

use flow_rt::contain;
use flow_sync::sync::{Arc, Mutex};

pub use error::{RecvBlockingError, RecvError, RecvTimeoutError, SendError, TryRecvError};
pub use receiver::{Receiver, RecvTimeoutFuture};

use crate::Rejected;

/// A channel for one item.
///
/// # Cost
/// One allocation.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        slot: Mutex::new(Slot::Open {
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
        let sent = self.shared.send(item);
        sent.map_err(|item| SendError::Closed(Rejected::new(item)))
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
    pub async fn closed(&mut self) {
        core::future::poll_fn(|cx| self.poll_closed(cx)).await;
    }

    /// [`closed`](Self::closed) for futures written by hand; the last waker left is woken.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_closed(cx)
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

enum Slot<T> {
    Open {
        sender: Option<Waker>,
        receiver: Option<Waker>,
    },
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
    fn send(&self, item: T) -> Result<(), T> {
        let before = {
            let mut slot = self.slot.lock();
            if !matches!(*slot, Slot::Open { .. }) {
                return Err(item);
            }
            core::mem::replace(&mut *slot, Slot::Sent(item))
        };
        before.wake(End::Receiver);
        Ok(())
    }

    /// Closes a channel that is open; what was sent stays.
    fn close(&self, by: End) {
        let before = {
            let mut slot = self.slot.lock();
            if !matches!(*slot, Slot::Open { .. }) {
                return;
            }
            core::mem::replace(&mut *slot, Slot::Closed)
        };
        before.wake(match by {
            End::Sender => End::Receiver,
            End::Receiver => End::Sender,
        });
    }

    /// Closes the channel and takes what was sent.
    fn end(&self) -> Option<T> {
        let before = core::mem::replace(&mut *self.slot.lock(), Slot::Closed);
        match before {
            Slot::Sent(item) => Some(item),
            open_or_closed => {
                open_or_closed.wake(End::Sender);
                None
            }
        }
    }

    /// What there is to take; `None` while the channel is open.
    fn try_take(&self) -> Option<Result<T, Ended>> {
        self.slot.lock().take()
    }

    /// What there is to take, else the receiver's waker stays in the channel.
    fn poll_take(&self, cx: &Context<'_>) -> Poll<Result<T, Ended>> {
        self.wait(cx, End::Receiver, Slot::take)
    }

    /// Ready once the channel is not open, else the sender's waker stays in it.
    fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.wait(cx, End::Sender, |_| Some(()))
    }

    /// Ready with what `over` finds in a channel that is not open, else `end`'s waker stays in it.
    fn wait<R>(
        &self,
        cx: &Context<'_>,
        end: End,
        over: impl Fn(&mut Slot<T>) -> Option<R>,
    ) -> Poll<R> {
        let mut fresh = None;
        loop {
            let mut slot = self.slot.lock();
            let Slot::Open { sender, receiver } = &mut *slot else {
                return over(&mut slot).map_or(Poll::Pending, Poll::Ready);
            };
            let place = match end {
                End::Sender => sender,
                End::Receiver => receiver,
            };
            if place.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            if let Some(waker) = fresh.take() {
                let replaced = place.replace(waker);
                drop(slot);
                drop(replaced);
                return Poll::Pending;
            }
            drop(slot);
            fresh = Some(cx.waker().clone());
        }
    }

    fn is_closed(&self) -> bool {
        matches!(*self.slot.lock(), Slot::Closed)
    }

    fn debug(&self, end: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match *self.slot.lock() {
            Slot::Open { .. } => "open",
            Slot::Sent(_) => "sent",
            Slot::Closed => "closed",
        };
        f.debug_struct(end)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

impl<T> Slot<T> {
    /// What there is to take; `None` while the channel is open.
    fn take(&mut self) -> Option<Result<T, Ended>> {
        match self {
            Self::Open { .. } => None,
            Self::Closed => Some(Err(Ended)),
            Self::Sent(_) => Some(match core::mem::replace(self, Self::Closed) {
                Self::Sent(item) => Ok(item),
                Self::Open { .. } | Self::Closed => Err(Ended),
            }),
        }
    }

    /// Wakes the waiting `end` of a channel that was open. Called without the lock.
    fn wake(self, end: End) {
        if let Self::Open { sender, receiver } = self {
            let waker = match end {
                End::Sender => sender,
                End::Receiver => receiver,
            };
            if let Some(waker) = waker {
                // An executor's panic is not the caller's.
                contain(|| waker.wake());
            }
        }
    }
}
