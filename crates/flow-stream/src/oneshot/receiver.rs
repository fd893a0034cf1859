//! The receiving end, which is a future.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::{Handle, block_on};
use flow_sync::sync::Arc;
use futures_core::future::FusedFuture;

use super::error::{RecvBlockingError, RecvError, RecvTimeoutError, TryRecvError};
use super::{End, Ended, Shared};
use crate::limit::{Limit, LimitError};

/// The end that receives the item: a future of it.
///
/// Await it, or `&mut` it in a `select!`; once it has given its outcome it stays pending.
/// Dropped, it closes the channel, and an item that was sent is dropped with it.
///
/// # Cancel safety
/// Polls take nothing before the item is there, so a `&mut` of it can be dropped at any time.
#[must_use = "it receives when it is awaited; dropping it closes the channel"]
pub struct Receiver<T> {
    /// Until the channel is known to be closed and empty: then there is nothing left to do in it.
    shared: Option<Arc<Shared<T>>>,
    /// A waker was left in the channel.
    waited: bool,
    /// The outcome was given by a poll.
    done: bool,
}

impl<T> Receiver<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self {
            shared: Some(shared),
            waited: false,
            done: false,
        }
    }

    /// Receives the item if it is there.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] while it may still come; [`TryRecvError::Closed`] if it never will,
    /// or was received before.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.take() {
            Some(Ok(item)) => Ok(item),
            Some(Err(Ended)) => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Receives the item, waiting no longer than `timeout`, counted from the first poll.
    ///
    /// A timeout of zero tries once. The receiver stays as it is when the time is up: the item
    /// can come later. The runtime that keeps the time is asked for only when the receive has to
    /// wait: that of [`runtime`](RecvTimeoutFuture::runtime), else
    /// [`Handle::current`](flow_rt::Handle::current).
    ///
    /// # Errors
    /// Closed without an item; no item in time; no runtime to wait on.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has taken nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use flow_rt::{Handle, block_on};
    /// use flow_stream::oneshot;
    ///
    /// let (tx, mut rx) = oneshot::channel::<u8>();
    /// let smol = Handle::smol();
    /// let millis = Duration::from_millis(1);
    /// assert!(block_on(rx.recv_timeout(millis).runtime(&smol))?.is_err());
    /// tx.send(1)?;
    /// assert_eq!(block_on(rx.recv_timeout(millis))?, Ok(1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> RecvTimeoutFuture<'_, T> {
        RecvTimeoutFuture {
            receiver: self,
            runtime: None,
            limit: Limit::new(timeout),
            done: false,
        }
    }

    /// Receives the item on a plain thread, which waits for it.
    ///
    /// # Errors
    /// Closed without an item; [`RecvBlockingError::MustNotBlock`] where the receive has to wait
    /// and the thread belongs to a runtime: the receiver is as it was then.
    pub fn recv_blocking(&mut self) -> Result<T, RecvBlockingError> {
        match self.try_recv() {
            Ok(item) => return Ok(item),
            Err(TryRecvError::Closed) => return Err(RecvBlockingError::Closed),
            Err(TryRecvError::Empty) => {}
        }
        match block_on(core::future::poll_fn(|cx| self.poll_outcome(cx))) {
            Ok(outcome) => outcome.map_err(|RecvError::Closed| RecvBlockingError::Closed),
            Err(refused) => Err(RecvBlockingError::MustNotBlock(refused)),
        }
    }

    /// Closes the channel: a send from now on gives its item back. Idempotent.
    ///
    /// What was sent before is still received.
    pub fn close(&mut self) {
        if let Some(shared) = &self.shared {
            shared.close(End::Receiver);
        }
    }

    fn take(&mut self) -> Option<Result<T, Ended>> {
        self.take_or(Shared::try_take)
    }

    fn poll_outcome(&mut self, cx: &Context<'_>) -> Poll<Result<T, RecvError>> {
        let first = !core::mem::replace(&mut self.waited, true);
        match self.take_or(|shared| shared.wait_take(cx, first)) {
            None => Poll::Pending,
            Some(taken) => Poll::Ready(taken.map_err(|Ended| RecvError::Closed)),
        }
    }

    /// What there is to take, by `beside` while the sender is there. Once there was something the
    /// channel is of no more use.
    fn take_or(
        &mut self,
        beside: impl FnOnce(&Shared<T>) -> Option<Result<T, Ended>>,
    ) -> Option<Result<T, Ended>> {
        let alone = |shared: &mut Arc<Shared<T>>| Arc::strong_count(shared) == 1;
        if let Some(shared) = self.shared.take_if(alone) {
            match Arc::try_unwrap(shared) {
                Ok(ours) => {
                    let taken = ours.slot.into_inner().outcome.take();
                    return Some(taken.unwrap_or(Err(Ended)));
                }
                // Not reached: nobody makes two owners of one.
                Err(shared) => self.shared = Some(shared),
            }
        }
        let Some(shared) = &self.shared else {
            return Some(Err(Ended));
        };
        let taken = beside(shared);
        if taken.is_some() {
            self.shared = None;
        }
        taken
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.done {
            return Poll::Pending;
        }
        let outcome = ready!(self.poll_outcome(cx));
        self.done = true;
        Poll::Ready(outcome)
    }
}

impl<T> FusedFuture for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            drop(shared.end());
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared {
            Some(shared) => shared.debug("Receiver", f),
            None => Shared::<T>::debug_as("Receiver", "closed", f),
        }
    }
}

/// The future of [`Receiver::recv_timeout`].
///
/// # Cancel safety
/// Dropped before it was ready it has taken nothing; its timer goes with it.
#[must_use = "futures do nothing unless polled"]
pub struct RecvTimeoutFuture<'a, T> {
    receiver: &'a mut Receiver<T>,
    runtime: Option<Handle>,
    limit: Limit,
    done: bool,
}

impl<T> RecvTimeoutFuture<'_, T> {
    /// The runtime that keeps the time, in place of the current one.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }
}

impl<T> Future for RecvTimeoutFuture<'_, T> {
    type Output = Result<T, RecvTimeoutError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        let outcome = match this.receiver.poll_outcome(cx) {
            Poll::Ready(outcome) => outcome.map_err(|RecvError::Closed| RecvTimeoutError::Closed),
            Poll::Pending => Err(
                match ready!(this.limit.poll(this.runtime.as_ref(), true, cx)) {
                    LimitError::Elapsed => RecvTimeoutError::TimedOut {
                        timeout: this.limit.duration(),
                    },
                    LimitError::NoRuntime(source) => RecvTimeoutError::NoRuntime(source),
                    LimitError::Stopped(source) => RecvTimeoutError::Stopped(source),
                },
            ),
        };
        this.done = true;
        Poll::Ready(outcome)
    }
}

impl<T> FusedFuture for RecvTimeoutFuture<'_, T> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl<T> fmt::Debug for RecvTimeoutFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvTimeoutFuture")
            .field("timeout", &self.limit.duration())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
