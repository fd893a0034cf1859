//! The end that looks at the value, and its waits.

use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, ready};

use flow_sync::Ticket;
use flow_sync::sync::{Arc, RwLockReadGuard};
use futures_core::future::FusedFuture;

use super::error::RecvError;
use super::stream::Changes;
use super::{Closed, Shared, WatchStats};

/// The end of a [`channel`](super::channel) that looks at the value.
///
/// It remembers which value it has *seen*: the one at its last [`changed`](Self::changed) or
/// [`borrow_and_update`](Self::borrow_and_update), at first the one it was made with. A clone has
/// seen what the original has.
pub struct Receiver<T> {
    pub(super) shared: Arc<Shared<T>>,
    pub(super) seen: u64,
}

impl<T> Receiver<T> {
    /// The receiver is counted already.
    pub(super) fn new(shared: Arc<Shared<T>>, seen: u64) -> Self {
        Self { shared, seen }
    }

    /// The value as it is now; whether it was seen stays as it is.
    ///
    /// Others can borrow it too; a sender waits while the borrow lasts, and blocks its thread. Do
    /// not hold one borrow while you ask for another: a sender between the two stops both.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref::of(&self.shared, Some(self.seen))
    }

    /// The value as it is now, which counts as seen. What holds of [`borrow`](Self::borrow) holds
    /// of this one.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = Ref::of(&self.shared, Some(self.seen));
        self.seen = value.version;
        value
    }

    /// Waits for a value that was not seen, which then counts as seen.
    ///
    /// Values that came and went in between are not told apart.
    ///
    /// # Errors
    /// [`RecvError::Closed`] once the last value was seen and the last sender is gone.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has seen nothing.
    ///
    /// # Cost
    /// One atomic load if there is a new value; no runtime, no timer.
    pub fn changed(&mut self) -> ChangedFuture<'_, T> {
        ChangedFuture {
            shared: &self.shared,
            seen: &mut self.seen,
            place: None,
            done: false,
        }
    }

    /// Whether there is a value that was not seen: what [`changed`](Self::changed) would find.
    ///
    /// # Errors
    /// [`RecvError::Closed`] once the last value was seen and the last sender is gone.
    pub fn has_changed(&self) -> Result<bool, RecvError> {
        match self.shared.state().since(self.seen) {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(Closed)) => Err(RecvError::Closed),
        }
    }

    /// Waits for a value that `predicate` accepts, beginning with the one that is there, seen or
    /// not. The value that it gives counts as seen, and so do those that were refused.
    ///
    /// The predicate runs while the value is borrowed: it must not send into the channel. Its
    /// panic goes on to whoever polls; the receiver can be used again.
    ///
    /// # Errors
    /// [`RecvError::Closed`] once the last value was refused and the last sender is gone.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has seen the values that were refused.
    pub fn wait_for<F>(&mut self, predicate: F) -> WaitForFuture<'_, T, F>
    where
        F: FnMut(&T) -> bool,
    {
        WaitForFuture {
            shared: &self.shared,
            seen: &mut self.seen,
            predicate,
            looked: false,
            place: None,
            done: false,
        }
    }

    /// A stream of the values that were not seen; each is the latest when it is asked for.
    ///
    /// For a stream that begins with the value that is there call
    /// [`mark_changed`](Self::mark_changed) before.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::StreamExt;
    ///
    /// let (tx, mut rx) = flow_stream::watch::channel(1);
    /// rx.mark_changed();
    /// let mut changes = rx.into_changes();
    /// flow_rt::block_on(async {
    ///     assert_eq!(changes.next().await, Some(1));
    ///     tx.send_replace(2);
    ///     tx.send_replace(3);
    ///     drop(tx);
    ///     assert_eq!(changes.next().await, Some(3));
    ///     assert_eq!(changes.next().await, None);
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_changes(self) -> Changes<T> {
        Changes::new(self)
    }

    /// Lets the value count as not seen, so that the next [`changed`](Self::changed) is ready.
    pub fn mark_changed(&mut self) {
        self.seen = self.shared.state().version().wrapping_sub(1) & (u64::MAX >> super::SHIFT);
    }

    /// Lets the value count as seen, without a look at it.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.state().version();
    }

    /// Whether the last sender is gone: the value is the last one, seen or not.
    pub fn is_closed(&self) -> bool {
        self.shared.state().is_closed()
    }

    /// What the channel has seen so far. No lock.
    pub fn stats(&self) -> WatchStats {
        self.shared.stats()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self::new(self.shared.clone(), self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.deserted.notify_all();
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("Receiver", f)
    }
}

/// A borrow of the value; senders wait while it lasts.
///
/// It stays on its thread, so the compiler keeps it out of what a task holds over an `await`.
pub struct Ref<'a, T> {
    value: RwLockReadGuard<'a, T>,
    pub(super) version: u64,
    changed: bool,
}

impl<'a, T> Ref<'a, T> {
    /// Borrows the value for one that has seen the version `seen`, or for nobody who counts.
    pub(super) fn of(shared: &'a Shared<T>, seen: Option<u64>) -> Self {
        let value = shared.value.read();
        let version = shared.state().version();
        Self {
            value,
            version,
            changed: seen.is_some_and(|seen| seen != version),
        }
    }

    /// Whether the receiver that borrowed the value had not seen it; of a sender's, false.
    pub fn has_changed(&self) -> bool {
        self.changed
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ref")
            .field("value", &**self)
            .field("has_changed", &self.changed)
            .finish()
    }
}

/// The future of [`Receiver::changed`].
///
/// # Cancel safety
/// Dropped before it was ready it has seen nothing.
#[must_use = "futures do nothing unless polled"]
pub struct ChangedFuture<'a, T> {
    shared: &'a Shared<T>,
    seen: &'a mut u64,
    place: Option<Ticket>,
    done: bool,
}

impl<T> Future for ChangedFuture<'_, T> {
    type Output = Result<(), RecvError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        let news = ready!(this.shared.poll_since(cx, *this.seen, &mut this.place));
        this.done = true;
        Poll::Ready(match news {
            Ok(version) => {
                *this.seen = version;
                Ok(())
            }
            Err(Closed) => Err(RecvError::Closed),
        })
    }
}

impl<T> FusedFuture for ChangedFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> Drop for ChangedFuture<'_, T> {
    fn drop(&mut self) {
        self.shared.leave(&mut self.place);
    }
}

impl<T> fmt::Debug for ChangedFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangedFuture")
            .field("parked", &self.place.is_some())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// The future of [`Receiver::wait_for`].
///
/// # Cancel safety
/// Dropped before it was ready it has seen the values that were refused.
#[must_use = "futures do nothing unless polled"]
pub struct WaitForFuture<'a, T, F> {
    shared: &'a Shared<T>,
    seen: &'a mut u64,
    predicate: F,
    /// The value that counts as seen was refused.
    looked: bool,
    place: Option<Ticket>,
    done: bool,
}

// The predicate is never pinned in place.
impl<T, F> Unpin for WaitForFuture<'_, T, F> {}

impl<'a, T, F> Future for WaitForFuture<'a, T, F>
where
    F: FnMut(&T) -> bool,
{
    type Output = Result<Ref<'a, T>, RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        loop {
            if this.looked {
                let news = ready!(this.shared.poll_since(cx, *this.seen, &mut this.place));
                if let Err(Closed) = news {
                    this.done = true;
                    return Poll::Ready(Err(RecvError::Closed));
                }
            }
            let value = Ref::of(this.shared, Some(*this.seen));
            *this.seen = value.version;
            this.looked = true;
            if (this.predicate)(&value) {
                this.done = true;
                return Poll::Ready(Ok(value));
            }
        }
    }
}

impl<T, F: FnMut(&T) -> bool> FusedFuture for WaitForFuture<'_, T, F> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T, F> Drop for WaitForFuture<'_, T, F> {
    fn drop(&mut self) {
        self.shared.leave(&mut self.place);
    }
}

impl<T, F> fmt::Debug for WaitForFuture<'_, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitForFuture")
            .field("parked", &self.place.is_some())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
