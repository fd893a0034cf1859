//! Virtual time: what the simulation promises.
#![cfg(all(feature = "sim", not(loom)))]

mod basics;
mod determinism;
mod failures;
mod idleness;
mod limits;
mod long_runs;
mod lost_wakes;
mod machine;
mod orders;
mod replay;
mod traps;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// The message of the panic that `f` ends with.
fn panic_of(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it was to panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}

/// Panics without going through the panic hook: a planned panic prints nothing.
fn planned_panic(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

/// Lets the other tasks go first, once.
async fn yield_now() {
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
