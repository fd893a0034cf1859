//! One behaviour suite, every runtime.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use flow_rt::{Handle, block_on, sim};

/// Instantiates cases `async fn case(rt: Handle)` on tokio (both flavours), smol, async-std, sim.
macro_rules! on_every_runtime {
    ($($case:ident),+ $(,)?) => {
        on_every_runtime!(@ tokio_mt: $($case),+);
        on_every_runtime!(@ tokio_ct: $($case),+);
        on_every_runtime!(@ smol: $($case),+);
        on_every_runtime!(@ async_std: $($case),+);
        on_every_runtime!(@ simulated: $($case),+);
    };
    (@ $runtime:ident: $($case:ident),+) => {
        mod $runtime {
            $(
                #[test]
                fn $case() {
                    crate::common::$runtime(super::$case);
                }
            )+
        }
    };
}
pub(crate) use on_every_runtime;

pub(crate) fn tokio_mt<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    rt.block_on(case(handle));
}

pub(crate) fn tokio_ct<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    rt.block_on(case(handle));
}

pub(crate) fn smol<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    global(&Handle::smol(), case);
}

pub(crate) fn async_std<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    global(&Handle::async_std(), case);
}

fn global<F: Future<Output = ()>>(handle: &Handle, case: impl Fn(Handle) -> F) {
    let _inside = handle.enter();
    block_on(case(handle.clone())).unwrap();
}

pub(crate) fn simulated<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    sim::check(0..20, |rt| case(Handle::clone(&rt)));
}

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
