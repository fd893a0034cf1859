//! smol: its global executor, its blocking pool, async-io's timers.

use core::future::{Future, poll_fn};
use core::task::Poll;

use super::async_io_timer;
use crate::instant::Instant;
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::BoxTimer;

pub(crate) struct Smol;

#[allow(clippy::disallowed_methods)] // the adapter is where the host is named
pub(crate) fn start(task: impl Future<Output = ()> + Send + 'static) {
    // smol cancels a task whose handle is dropped; ours are detached.
    smol::spawn(task).detach();
}

/// Whether this is a thread of smol's global executor, which does nothing but run tasks.
///
/// smol does not say so. Its threads are called `smol-1`, `smol-2` and so on, as any other thread
/// may be; but they are inside of a `block_on` for ever, and that can be told: a thread keeps one
/// waker for its `block_on`s, and one inside of another gets a new one. So no plain thread is taken
/// for one of smol's, but a thread of such a name inside of smol's `block_on`, where it must not
/// block either. (Should smol come to do this otherwise, the tests of `block_on` fail.)
pub(crate) fn on_executor_thread() -> bool {
    std::thread::current()
        .name()
        .and_then(|name| name.strip_prefix("smol-"))
        .is_some_and(|number| number.parse::<usize>().is_ok())
        && is_inside_block_on()
}

fn is_inside_block_on() -> bool {
    let waker = || smol::block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    // Both are alive when they are compared.
    let (one, another) = (waker(), waker());
    one.data() != another.data()
}

impl Runtime for Smol {
    fn spawn(&self, task: BoxTask) {
        start(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        smol::unblock(job).detach();
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        async_io_timer::timer(at)
    }

    fn name(&self) -> &'static str {
        "smol"
    }
}
