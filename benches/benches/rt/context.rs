//! What a context costs per poll, and what a retry costs when it is not needed.

use core::cell::Cell;
use core::convert::Infallible;
use core::future::{Future, Ready, ready};
use core::hint::black_box;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use flow_benches::{Bench, repeat};
use flow_rt::{Backoff, BoxTask, Handle, TaskContext};

/// Polls per turn of the loop, which would else be a good part of what is measured.
const POLLS: u64 = 16;

tokio::task_local! {
    static LOCAL: Arc<u64>;
}

pub(crate) fn rows(bench: &mut Bench, handle: &Handle) {
    poll_row(bench);
    current(bench);
    retry(bench, handle);
}

/// Pending at each poll, and does next to nothing: what is left is what stands around it.
///
/// The compiler must not see that the context is not looked at, or it would leave it out.
struct Idle {
    polls: Cell<u64>,
    body: fn(&Cell<u64>),
}

impl Idle {
    fn new() -> Self {
        Self {
            polls: Cell::new(0),
            body: black_box(|polls| polls.set(polls.get() + 1)),
        }
    }
}

impl Future for Idle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        (self.body)(&self.polls);
        Poll::Pending
    }
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

fn poll_row(bench: &mut Bench) {
    fn polls<F: Future + Unpin>(n: u64, future: F) -> Duration {
        let mut future = black_box(future);
        let mut cx = Context::from_waker(Waker::noop());
        repeat(n, |_| {
            let polls = (0..POLLS).map(|_| Pin::new(&mut future).poll(&mut cx));
            polls.filter(Poll::is_pending).count()
        })
    }
    let bare = |n| polls(n, Box::pin(Idle::new()) as Boxed);
    let under = |n| {
        let future = TaskContext::new().scope(Idle::new());
        polls(n, Box::pin(future) as Boxed)
    };
    bench
        .row("poll under a context")
        .batch(POLLS)
        .instructions(10_000)
        .flow(under)
        .peer("bare poll", bare)
        .peer("tokio task_local scope", |n| {
            let future = LOCAL.scope(Arc::new(7), Idle::new());
            polls(n, Box::pin(future) as Boxed)
        })
        .measure();
    bench
        .row("poll under a context and a panic guard")
        .batch(POLLS)
        .instructions(10_000)
        .flow(|n| polls(n, BoxTask::new(TaskContext::new().scope(Idle::new()))))
        .peer("bare poll", bare)
        .measure();
}

fn current(bench: &mut Bench) {
    bench
        .row("TaskContext::current, inside")
        .instructions(10_000)
        .flow(|n| TaskContext::new().enter(|| repeat(n, |_| TaskContext::current())))
        .peer("tokio task_local, clone of an Arc", |n| {
            LOCAL.sync_scope(Arc::new(7), || repeat(n, |_| LOCAL.with(Arc::clone)))
        })
        .measure();
    bench
        .row("TaskContext::current, outside")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| TaskContext::current()))
        .peer("tokio task_local, try_with", |n| {
            repeat(n, |_| LOCAL.try_with(Arc::clone).ok())
        })
        .measure();
}

fn retry(bench: &mut Bench, handle: &Handle) {
    fn run() -> Ready<Result<u64, Infallible>> {
        ready(Ok(black_box(7)))
    }
    const FIRST: Duration = Duration::from_millis(50);
    let plan = Backoff::exponential(FIRST).full_jitter().attempts(4);
    let theirs = ExponentialBuilder::new()
        .with_min_delay(FIRST)
        .with_jitter()
        .with_max_times(3);
    bench
        .row("retry of a success at once")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| poll(pin!(handle.retry(black_box(plan), run)))))
        .peer("backon", |n| {
            repeat(n, |_| {
                let retry = run.retry(black_box(theirs));
                poll(pin!(retry.sleep(|_| ready(()))))
            })
        })
        .measure();
    bench
        .row("delays of a plan, per delay")
        .batch(3)
        .instructions(10_000)
        .flow(|n| repeat(n, |_| black_box(plan).delays().map(Iterator::count)))
        .peer("backon", |n| {
            repeat(n, |_| black_box(theirs).build().count())
        })
        .measure();
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
