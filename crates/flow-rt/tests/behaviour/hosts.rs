//! How a case runs on each host: on the test's thread, its tasks on the host's.

use std::future::Future;

use flow_rt::Handle;
use tokio::runtime::Builder;

fn block_on(case: impl Future<Output = ()>) {
    flow_rt::block_on(case).unwrap();
}

pub(crate) fn tokio_multi_thread<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    let tokio = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    block_on(case(Handle::tokio(tokio.handle().clone()).unwrap()));
}

pub(crate) fn tokio_current_thread<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    let tokio = Builder::new_current_thread().enable_time().build().unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    tokio.block_on(case(handle));
}

pub(crate) fn smol<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    block_on(case(Handle::smol()));
}

pub(crate) fn async_std<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    block_on(case(Handle::async_std()));
}

pub(crate) fn sim<F: Future<Output = ()>>(case: impl Fn(Handle) -> F) {
    flow_rt::sim::check(0..20, |rt| case((*rt).clone()));
}

/// Panics without going through the panic hook: a planned panic prints nothing.
pub(crate) fn planned_panic(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// Panics when it is dropped.
pub(crate) struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        planned_panic("planned, in a destructor");
    }
}

/// Says so when it is dropped.
pub(crate) struct SaysDropped(pub(crate) Option<tokio::sync::oneshot::Sender<()>>);

impl SaysDropped {
    /// The guard, and what is ready once it was dropped.
    pub(crate) fn new() -> (Self, tokio::sync::oneshot::Receiver<()>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Self(Some(sender)), receiver)
    }
}

impl Drop for SaysDropped {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            // The test may have ended.
            let _ = sender.send(());
        }
    }
}
