//! The future that waits for a token. Its steps are the protocol's, at the head of `cancel`.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::CancellationToken;

/// Waits for a token: see [`CancellationToken::cancelled`].
///
/// # Cancel safety
/// Dropping it leaves nothing behind.
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled<'a> {
    pub(super) token: &'a CancellationToken,
    /// Where its waker is.
    pub(super) slot: Option<usize>,
}

impl Future for Cancelled<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let node = &self.token.0;
        if self.token.is_cancelled() {
            return Poll::Ready(());
        }
        if let Some(slot) = self.slot
            && node.cold.lock().wakes(slot, cx.waker())
        {
            return Poll::Pending;
        }
        // Outside of the lock, as everything that is foreign code.
        let mut waker = Some(cx.waker().clone());
        let slot = node.wait(self.slot, &mut waker);
        drop(waker);
        match slot {
            Some(_) => {
                self.slot = slot;
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot
            && !self.token.is_cancelled()
        {
            let mut cold = self.token.0.cold.lock();
            let waker = cold.waiters.as_mut().and_then(|all| all.remove(slot));
            drop(cold);
            drop(waker);
        }
    }
}

impl fmt::Debug for Cancelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled")
            .field("token", self.token)
            .finish_non_exhaustive()
    }
}
