//! One suite, every runtime.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_rt::{CancellationToken, Handle, block_on, sim};

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
                    crate::runtimes::$runtime(super::$case);
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
    sim::check(0..50, |rt| case(Handle::clone(&rt)));
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Longer than any test: a wait that ends because of something else.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// A door that tasks wait at; a token is one already.
pub(crate) type Gate = CancellationToken;

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets other tasks run until `done`.
pub(crate) async fn until(rt: &Handle, done: impl Fn() -> bool) {
    while !done() {
        rt.sleep(ms(1)).await.unwrap();
    }
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
