//! How a case runs on each host.

use core::future::Future;
use core::ops::Range;

use super::{TestRuntime, named};
use crate::block_on::block_on;
use crate::handle::Handle;
use crate::sim::{self, Verdict};
use crate::stepped::SteppedRuntime;

/// Runs one case on a runtime of your own, in stepped time, on the calling thread.
///
/// `host` must run by itself, or be driven by another thread. For tests that
/// [`on_every_runtime!`](crate::on_every_runtime) does not make.
///
/// # Panics
/// If the case fails, with its panic or its error, named after the case and the runtime; and
/// where [`block_on`] is refused.
pub fn on<F, Fut>(case: &str, host: &Handle, body: F)
where
    F: FnOnce(TestRuntime) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    named(case, host.name(), || {
        let verdict = block_on(stepped(host, body)).unwrap_or_else(|refused| panic!("{refused}"));
        check(verdict);
    });
}

/// On smol, for the macro.
#[cfg(feature = "smol")]
pub fn on_smol<F, Fut>(case: &str, body: F)
where
    F: FnOnce(TestRuntime) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    on(case, &Handle::smol(), body);
}

/// On async-std, for the macro.
#[cfg(feature = "async-std")]
pub fn on_async_std<F, Fut>(case: &str, body: F)
where
    F: FnOnce(TestRuntime) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    on(case, &Handle::async_std(), body);
}

/// On a tokio of its own with two workers, for the macro.
#[cfg(feature = "tokio")]
pub fn on_tokio_multi_thread<F, Fut>(case: &str, body: F)
where
    F: FnOnce(TestRuntime) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2);
    on_tokio(case, "tokio, multi-thread", builder, body);
}

/// On a tokio of its own on this thread, for the macro.
#[cfg(feature = "tokio")]
pub fn on_tokio_current_thread<F, Fut>(case: &str, body: F)
where
    F: FnOnce(TestRuntime) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    let builder = tokio::runtime::Builder::new_current_thread();
    on_tokio(case, "tokio, current-thread", builder, body);
}

/// The case is inside of tokio, so what it uses of tokio's own works too.
#[cfg(feature = "tokio")]
fn on_tokio<F, Fut>(case: &str, name: &str, mut builder: tokio::runtime::Builder, body: F)
where
    F: FnOnce(TestRuntime) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    named(case, name, || {
        let tokio = builder.enable_all().build().expect("threads for tokio");
        let host = Handle::tokio(tokio.handle().clone()).expect("time is enabled");
        check(tokio.block_on(stepped(&host, body)));
    });
}

/// In the simulation, once per seed, for the macro.
pub fn on_sim<F, Fut>(case: &str, seeds: Range<u64>, body: F)
where
    F: Fn(TestRuntime) -> Fut,
    Fut: Future,
    Fut::Output: Verdict,
{
    named(case, "sim", || sim::check(seeds, |rt| body(rt.into())));
}

async fn stepped<F, Fut>(host: &Handle, body: F) -> Fut::Output
where
    F: FnOnce(TestRuntime) -> Fut,
    Fut: Future,
{
    let rt = SteppedRuntime::over(host);
    let for_case = rt.clone();
    rt.run(async move { body(for_case.into()).await }).await
}

fn check(verdict: impl Verdict) {
    if let Some(problem) = verdict.problem() {
        panic!("{problem}");
    }
}
