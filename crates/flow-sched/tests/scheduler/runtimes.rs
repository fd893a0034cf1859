//! One suite, every runtime.

use std::future::Future;

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
