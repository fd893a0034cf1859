//! The end that changes the value.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};

use flow_sync::sync::Arc;

use super::error::SendError;
use super::receiver::{Receiver, Ref};
use super::{Shared, WatchStats};
use crate::Rejected;
use crate::closed::ClosedFuture;

/// The end of a [`channel`](super::channel) that changes the value; clones change the same one.
///
/// When the last one is dropped, receivers that have seen the last value are told that no other
/// will come.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Puts `value` in place of the one before, which is dropped, and tells the receivers.
    ///
    /// It waits for borrows of the value to end, as every change does.
    ///
    /// # Errors
    /// The value comes back if there is no receiver, and the one before stays. With
    /// [`send_replace`](Self::send_replace) it is changed all the same.
    ///
    /// # Cost
    /// One short write lock and one atomic RMW while nobody waits; no allocation.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.receiver_count() == 0 {
            return Err(SendError::NoReceiver(Rejected::new(value)));
        }
        self.send_replace(value);
        Ok(())
    }

    /// Puts `value` in place of the one before, which is returned, whoever receives.
    pub fn send_replace(&self, mut value: T) -> T {
        self.send_modify(|place| core::mem::swap(place, &mut value));
        value
    }

    /// Changes the value in place, and tells the receivers.
    ///
    /// `modify` has the value to itself: it must not use the channel. If it panics, the value
    /// stays as it left it, the receivers are not told, and the panic goes on to the caller.
    pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Changes the value in place, and tells the receivers if `modify` says that it did; returns
    /// what `modify` said.
    ///
    /// What holds of [`send_modify`](Self::send_modify)'s closure holds of this one.
    ///
    /// ```
    /// let (tx, rx) = flow_stream::watch::channel(10);
    /// let raise_to = |limit| tx.send_if_modified(|now| *now < limit && { *now = limit; true });
    /// assert!(!raise_to(5) && !rx.has_changed().unwrap_or(true));
    /// assert!(raise_to(20) && *rx.borrow() == 20);
    /// ```
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.shared.value.write();
        if !modify(&mut value) {
            return false;
        }
        // Under the lock: the version is that of the value.
        let before = self.shared.change();
        drop(value);
        self.shared.told(before);
        true
    }

    /// The value as it is now. No change goes through while the borrow lasts.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref::of(&self.shared, None)
    }

    /// A receiver more, which has seen the value as it is now.
    pub fn subscribe(&self) -> Receiver<T> {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        let seen = self.shared.state().version();
        Receiver::new(self.shared.clone(), seen)
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        self.shared.receivers.load(Ordering::Relaxed)
    }

    /// Whether there is no receiver; [`subscribe`](Self::subscribe) makes one.
    pub fn is_closed(&self) -> bool {
        self.receiver_count() == 0
    }

    /// Waits until there is no receiver.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn closed(&self) -> ClosedFuture<'_, Self> {
        ClosedFuture::new(self)
    }

    /// What the channel has seen so far. No lock.
    pub fn stats(&self) -> WatchStats {
        self.shared.stats()
    }

    /// A collector of the channel's metrics, under `name`; it keeps the channel open for nobody.
    #[cfg(feature = "metrics")]
    pub fn collector(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
    ) -> std::sync::Arc<dyn flow_metrics::Collect>
    where
        T: Send + Sync + 'static,
    {
        std::sync::Arc::new(super::metrics::WatchCollector {
            name: name.into(),
            shared: self.shared.clone(),
        })
    }
}

impl<T> Future for ClosedFuture<'_, Sender<T>> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.sender.shared;
        self.poll_event(cx, &shared.deserted, || {
            shared.receivers.load(Ordering::Acquire) == 0
        })
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self::new(self.shared.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: the last one closes after everything the others did.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("Sender", f)
    }
}
