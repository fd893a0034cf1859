//! What several files of cases need.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_rt::{CancellationToken, TestRuntime};
use flow_sched::WorkerPool;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Longer than any test: a wait that ends because of something else.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// A door that tasks wait at; a token is one already.
pub(crate) type Gate = CancellationToken;

/// Keeps one slot of the pool busy until the gate opens.
pub(crate) async fn occupy(rt: &TestRuntime, pool: &WorkerPool) -> Gate {
    let gate = Gate::new();
    let busy = gate.clone();
    let before = pool.stats().running;
    pool.try_submit(async move |_| busy.cancelled().await)
        .unwrap()
        .detach();
    rt.settle().await;
    assert_eq!(pool.stats().running, before + 1);
    gate
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Prints no panic whose message starts with `quiet`: there are thousands of them.
pub(crate) fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| text.starts_with("quiet")) {
                print(info);
            }
        }));
    });
}
