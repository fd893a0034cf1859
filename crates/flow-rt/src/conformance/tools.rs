//! Small instruments of the cases: wakers that count, flags, yields, random numbers.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Context, Poll};
use std::sync::Arc;
use std::task::{Wake, Waker};

use flow_sync::sync::Mutex;

use super::lab::Step;

/// So many turns, in each build: what they take is the time of the wakes.
pub(super) const TURNS: usize = 100_000;

/// A flag that tasks and threads can wait for.
#[derive(Clone, Default)]
pub(super) struct Flag(Arc<FlagState>);

#[derive(Default)]
struct FlagState {
    set: AtomicBool,
    waiters: Mutex<Vec<Waker>>,
}

impl Flag {
    pub(super) fn set(&self) {
        let waiters = {
            let mut waiters = self.0.waiters.lock();
            self.0.set.store(true, Ordering::Release);
            core::mem::take(&mut *waiters)
        };
        for waker in waiters {
            waker.wake();
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }

    pub(super) fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        poll_fn(move |cx| {
            let mut waiters = this.0.waiters.lock();
            if this.is_set() {
                return Poll::Ready(());
            }
            if !waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiters.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl Wake for FlagState {
    fn wake(self: Arc<Self>) {
        Flag(self).set();
    }
}

/// A waker that sets a flag.
pub(super) fn flag_waker() -> (Flag, Waker) {
    let flag = Flag::default();
    let waker = Waker::from(flag.0.clone());
    (flag, waker)
}

/// A waker that counts.
pub(super) fn counting_waker() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    (count, waker)
}

/// A counter, which as a waker counts its wakes.
#[derive(Default)]
pub(super) struct Count(AtomicUsize);

impl Count {
    pub(super) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.add();
    }
}

/// Does something when dropped.
pub(super) struct OnDrop<F: FnMut()>(pub(super) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Lets every other task have a turn.
pub(super) fn yield_now() -> YieldNow {
    YieldNow(false)
}

pub(super) struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Whose turn it is, between two sides.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Turn>>);

#[derive(Default)]
struct Turn {
    side: usize,
    waiting: [Option<Waker>; 2],
}

impl Turns {
    /// Plays all turns of `side`; every ten thousand are a step of their own for the watchdog.
    pub(super) async fn play(self, side: usize, step: Step, what: &'static str) {
        for turn in 0..TURNS {
            if turn % 10_000 == 0 {
                step.set(what);
            }
            poll_fn(|cx| self.poll_turn(side, cx)).await;
            let other = {
                let mut turn = self.0.lock();
                turn.side = 1 - side;
                turn.waiting[1 - side].take()
            };
            if let Some(other) = other {
                other.wake();
            }
        }
    }

    fn poll_turn(&self, side: usize, cx: &Context<'_>) -> Poll<()> {
        let mut turn = self.0.lock();
        if turn.side == side {
            return Poll::Ready(());
        }
        turn.waiting[side] = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// splitmix64: random enough for lengths of sleeps, the same on every run.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Panics with `message` without going through the panic hook: a planned panic prints nothing.
pub(super) fn planned_panic(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}
