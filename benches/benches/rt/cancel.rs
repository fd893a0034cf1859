//! Cancellation tokens beside tokio-util's, which locks a mutex to look.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;

use flow_benches::{Bench, Row, on_threads, repeat, timed};
use flow_rt::CancellationToken as Ours;
use tokio_util::sync::CancellationToken as Theirs;

const MANY: usize = 1000;

pub(crate) fn rows(bench: &mut Bench) {
    look(bench);
    wait(bench);
    clone(bench);
    children(bench);
}

/// Both kinds of token go through the same code.
trait Token: Clone + Sync {
    fn new() -> Self;
    fn child(&self) -> Self;
    fn cancel(&self);
    fn cancelled(&self) -> impl Future<Output = ()>;
}

macro_rules! token {
    ($token:ty) => {
        impl Token for $token {
            fn new() -> Self {
                Self::new()
            }
            #[inline]
            fn child(&self) -> Self {
                self.child_token()
            }
            #[inline]
            fn cancel(&self) {
                self.cancel();
            }
            #[inline]
            fn cancelled(&self) -> impl Future<Output = ()> {
                self.cancelled()
            }
        }
    };
}

token!(Ours);
token!(Theirs);

fn look(bench: &mut Bench) {
    /// Looks so often per turn of the loop, which would else be most of what is measured.
    const LOOKS: u64 = 16;
    fn looks(is_cancelled: impl Fn() -> bool) -> u64 {
        (0..LOOKS).map(|_| u64::from(is_cancelled())).sum()
    }
    let (ours, theirs) = (Ours::new(), Theirs::new());
    bench
        .row("is_cancelled, 1 thread")
        .batch(LOOKS)
        .instructions(10_000)
        .flow(|n| repeat(n, |_| looks(|| ours.is_cancelled())))
        .peer("tokio-util", |n| {
            repeat(n, |_| looks(|| theirs.is_cancelled()))
        })
        .measure();
    bench
        .row("is_cancelled, 2 threads")
        .batch(LOOKS)
        .flow(|n| on_threads(2, n, |_| looks(|| ours.is_cancelled())))
        .peer("tokio-util", |n| {
            on_threads(2, n, |_| looks(|| theirs.is_cancelled()))
        })
        .measure();
}

fn wait(bench: &mut Bench) {
    fn one<T: Token>(token: &T) -> bool {
        let future = core::pin::pin!(token.cancelled());
        is_ready(future)
    }
    let (ours, theirs) = (Ours::new(), Theirs::new());
    bench
        .row("cancelled() polled and dropped")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| one(&ours)))
        .peer("tokio-util", |n| repeat(n, |_| one(&theirs)))
        .measure();
    both(
        bench.row("1000 waiters on a token, per waiter"),
        waiters::<Ours>,
        waiters::<Theirs>,
    );
}

fn clone(bench: &mut Bench) {
    let (ours, theirs) = (Ours::new(), Theirs::new());
    bench
        .row("token clone and drop")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| drop(ours.clone())))
        .peer("tokio-util", |n| repeat(n, |_| drop(theirs.clone())))
        .measure();
}

fn children(bench: &mut Bench) {
    let (ours, theirs) = (family::<Ours>(), family::<Theirs>());
    bench
        .row("child token made and dropped, 1000 alive")
        .instructions(1_000)
        .flow(|n| repeat(n, |_| drop(ours.0.child())))
        .peer("tokio-util", |n| repeat(n, |_| drop(theirs.0.child())))
        .measure();
    both(
        bench.row("1000 children cancelled, per child"),
        siblings::<Ours>,
        siblings::<Theirs>,
    );
    both(
        bench.row("chain of 1000 tokens cancelled, per token"),
        chain::<Ours>,
        chain::<Theirs>,
    );
}

fn both(row: Row<'_, '_>, ours: fn(u64) -> Duration, theirs: fn(u64) -> Duration) {
    row.batch(MANY as u64)
        .instructions(20)
        .flow(ours)
        .peer("tokio-util", theirs)
        .measure();
}

/// A token with its children alive.
fn family<T: Token>() -> (T, Vec<T>) {
    let parent = T::new();
    let children = (0..MANY).map(|_| parent.child()).collect();
    (parent, children)
}

/// A parent with children: made, cancelled, dropped.
fn siblings<T: Token>(n: u64) -> Duration {
    let mut children = Vec::with_capacity(MANY);
    repeat(n, |_| {
        let parent = T::new();
        children.extend((0..MANY).map(|_| parent.child()));
        parent.cancel();
        children.clear();
    })
}

/// Each token the child of the one before: made, cancelled at the root, dropped from the root.
fn chain<T: Token>(n: u64) -> Duration {
    let mut tokens = Vec::with_capacity(MANY);
    repeat(n, |_| {
        tokens.push(T::new());
        for i in 1..MANY {
            let child = tokens[i - 1].child();
            tokens.push(child);
        }
        tokens[0].cancel();
        tokens.clear();
    })
}

/// Waiters: registered, woken, seen to be ready.
fn waiters<T: Token>(n: u64) -> Duration {
    timed(|| {
        for _ in 0..n {
            let token = T::new();
            let mut waiting = Vec::with_capacity(MANY);
            for _ in 0..MANY {
                let mut future = Box::pin(token.cancelled());
                assert!(!is_ready(future.as_mut()), "nobody has cancelled yet");
                waiting.push(future);
            }
            token.cancel();
            for future in &mut waiting {
                assert!(is_ready(future.as_mut()), "the token is cancelled");
            }
        }
    })
}

fn is_ready(future: Pin<&mut impl Future>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    future.poll(&mut cx).is_ready()
}
