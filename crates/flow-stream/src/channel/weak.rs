//! Handles that do not keep a channel open.

use core::fmt;

use flow_sync::sync::Arc;
use flow_sync::sync::atomic::{AtomicUsize, Ordering};

use super::{Receiver, Sender, Shared};

/// A [`Sender`] that does not count: the channel closes without it.
///
/// It keeps the channel's memory, as long as it is there.
///
/// ```
/// let (tx, rx) = flow_stream::Channel::<u8>::unbounded();
/// let weak = tx.downgrade();
/// weak.upgrade().expect("tx is there").try_send(1).expect("it is open");
/// drop(tx);
/// assert!(rx.is_closed() && weak.upgrade().is_none());
/// ```
pub struct WeakSender<T>(Arc<Shared<T>>);

/// A [`Receiver`] that does not count: the channel closes without it.
///
/// It keeps the channel's memory, as long as it is there.
pub struct WeakReceiver<T>(Arc<Shared<T>>);

impl<T> WeakSender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self(shared)
    }

    /// A sender; `None` once the last one has gone. The channel may be closed all the same.
    pub fn upgrade(&self) -> Option<Sender<T>> {
        one_more(&self.0.senders).then(|| Sender::new(self.0.clone()))
    }
}

impl<T> WeakReceiver<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self(shared)
    }

    /// A receiver; `None` once the last one has gone. The channel may be closed all the same.
    pub fn upgrade(&self) -> Option<Receiver<T>> {
        one_more(&self.0.receivers).then(|| Receiver::new(self.0.clone()))
    }
}

/// Counts one more end, unless the last has gone: what its end did stays done.
fn one_more(ends: &AtomicUsize) -> bool {
    let mut now = ends.load(Ordering::Relaxed);
    while now > 0 {
        match ends.compare_exchange(now, now + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(other) => now = other,
        }
    }
    false
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for WeakReceiver<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("WeakSender", f)
    }
}

impl<T> fmt::Debug for WeakReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("WeakReceiver", f)
    }
}
