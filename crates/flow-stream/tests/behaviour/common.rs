//! How futures are polled by hand.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Polls once, with a waker that does nothing.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future until it is parked: the first poll only yields.
#[cfg(feature = "channel")]
pub(crate) fn park<F: Future + Unpin>(future: &mut F) {
    assert!(poll(future).is_pending(), "ready instead of waiting");
    assert!(poll(future).is_pending(), "ready instead of waiting");
}

/// Polls a future up to `polls` times, letting others run in between; then gives up.
pub(crate) async fn poll_up_to<F: Future + Unpin>(future: &mut F, polls: u64) -> Option<F::Output> {
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(cx) {
            return Poll::Ready(Some(output));
        }
        left = left.saturating_sub(1);
        if left == 0 {
            return Poll::Ready(None);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Lets other tasks run once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
