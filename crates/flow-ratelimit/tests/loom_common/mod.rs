//! A runtime for models that is made of loom's threads, and a clock moved by hand.
#![allow(dead_code, reason = "each file of models uses a part of it")]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_ratelimit::{
    AcquireError, Fairness, Limiter, Rate, TokenBucket, TokenBucketBuilder, WaitState,
};
use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Clock, Handle, Instant, Runtime, Stopped, Timer};
pub(crate) use flow_sync::model::explore;
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::AtomicU64;
use flow_sync::sync::thread::{Thread, current};
use loom::future::block_on;
use loom::thread::{self, JoinHandle};

/// What a runtime does with its first task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Runs,
    /// It is dropped at once, as all others are: the runtime is gone.
    Dropped,
    /// It is dropped after one poll, and all others run.
    DroppedOncePolled,
    /// It is polled once and then kept, until [`Threads::go_away`], and all others run.
    KeptOncePolled,
}

/// Time that stands still until the model moves it: what buckets and timers go by.
///
/// So a wake-up that is lost is a deadlock, where real time would make it a delay.
pub(crate) struct Time {
    millis: AtomicU64,
    sleepers: Mutex<Vec<Sleeper>>,
    threads: Mutex<Vec<Thread>>,
}

struct Sleeper {
    at: Instant,
    waker: Waker,
}

impl Time {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            millis: AtomicU64::new(0),
            sleepers: Mutex::new(Vec::new()),
            threads: Mutex::new(Vec::new()),
        })
    }

    /// Moves the time on, and wakes those whose time has come.
    pub(crate) fn set(&self, millis: u64) {
        self.millis.store(millis, Ordering::Release);
        let now = instant(millis);
        let due: Vec<_> = {
            let mut sleepers = self.sleepers.lock();
            sleepers.extract_if(.., |it| it.at <= now).collect()
        };
        for sleeper in due {
            sleeper.waker.wake();
        }
        let threads = self.threads.lock().clone();
        for thread in threads {
            thread.time_is_up();
        }
    }

    /// Ends those sleeps of the calling thread that have a timeout whenever the time moves.
    pub(crate) fn wakes_this_thread(&self) {
        self.threads.lock().push(current());
    }
}

/// What is read may be old, as if the reader had been held up since.
impl Clock for Time {
    fn now(&self) -> Instant {
        instant(self.millis.load(Ordering::Acquire))
    }
}

/// A runtime that runs every task on a loom thread of its own.
pub(crate) struct Threads {
    time: Arc<Time>,
    first: Mutex<Fate>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    task: Option<BoxTask>,
    is_gone: bool,
}

impl Threads {
    pub(crate) fn new(time: &Arc<Time>, first: Fate) -> Arc<Self> {
        Arc::new(Self {
            time: time.clone(),
            first: Mutex::new(first),
            kept: Arc::default(),
        })
    }

    /// Drops the task that is kept, now or as soon as it has been polled.
    pub(crate) fn go_away(&self) {
        let task = {
            let mut kept = self.kept.lock();
            kept.is_gone = true;
            kept.task.take()
        };
        drop(task);
    }

    pub(crate) fn handle(self: &Arc<Self>) -> Handle {
        Handle::from_arc(self.clone())
    }
}

impl Runtime for Threads {
    fn spawn(&self, task: BoxTask) {
        let fate = match &mut *self.first.lock() {
            Fate::Dropped => Fate::Dropped,
            first => std::mem::replace(first, Fate::Runs),
        };
        let kept = self.kept.clone();
        match fate {
            Fate::Runs => drop(thread::spawn(|| block_on(task))),
            Fate::Dropped => drop(task),
            Fate::DroppedOncePolled => drop(thread::spawn(|| poll_once(task))),
            Fate::KeptOncePolled => drop(thread::spawn(move || {
                let task = poll_once(task);
                let mut kept = kept.lock();
                if !kept.is_gone {
                    kept.task = Some(task);
                }
            })),
        }
    }

    fn spawn_blocking(&self, _: BoxBlocking) {
        unreachable!("no bucket runs blocking work")
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        let time = self.time.clone();
        BoxTimer::new(HandMoved { time, at })
    }

    fn now(&self) -> Instant {
        Clock::now(&*self.time)
    }
}

/// A timer of [`Time`]. It stays on the list when it is armed anew: being woken for nothing is
/// any task's lot.
struct HandMoved {
    time: Arc<Time>,
    at: Instant,
}

impl Timer for HandMoved {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        self.at = at;
    }

    fn poll_fired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if self.at.is_far_future() {
            return Poll::Pending;
        }
        let mut sleepers = self.time.sleepers.lock();
        // Under the lock, so that `set` finds either the new time read or the sleeper.
        if Clock::now(&*self.time) >= self.at {
            return Poll::Ready(Ok(()));
        }
        sleepers.push(Sleeper {
            at: self.at,
            waker: cx.waker().clone(),
        });
        Poll::Pending
    }
}

pub(crate) type Bucket = TokenBucket<Arc<Time>>;

/// A bucket of `burst` tokens that begins empty; its runtime's first task has the given fate.
pub(crate) fn bucket(time: &Arc<Time>, rate: Rate, burst: u64, first: Fate) -> Bucket {
    let handle = Threads::new(time, first).handle();
    let bucket = builder(time, rate, burst).runtime(&handle);
    bucket.build().expect("a valid bucket")
}

/// A bucket that newcomers may take from beside those who wait.
pub(crate) fn barging_bucket(time: &Arc<Time>, rate: Rate, burst: u64) -> Bucket {
    let handle = Threads::new(time, Fate::Runs).handle();
    let bucket = builder(time, rate, burst).runtime(&handle);
    bucket
        .fairness(Fairness::Barging)
        .build()
        .expect("a valid bucket")
}

/// A bucket of `burst` tokens that begins empty, driven where its waiters are polled.
pub(crate) fn roaming_bucket(time: &Arc<Time>, rate: Rate, burst: u64) -> Bucket {
    builder(time, rate, burst).build().expect("a valid bucket")
}

/// A bucket in one shard that begins empty.
pub(crate) fn sharded_bucket(time: &Arc<Time>, rate: Rate, burst: u64) -> Bucket {
    let handle = Threads::new(time, Fate::Runs).handle();
    let bucket = builder(time, rate, burst).sharded(1).runtime(&handle);
    bucket.build().expect("a valid bucket")
}

fn builder(time: &Arc<Time>, rate: Rate, burst: u64) -> TokenBucketBuilder<Arc<Time>> {
    let bucket = TokenBucket::builder().rate(rate).burst(burst).initial(0);
    bucket.counted(false).clock(time.clone())
}

/// One token each millisecond.
pub(crate) fn per_milli() -> Rate {
    Rate::per_second(1_000)
}

/// Waits until it is granted or refused.
pub(crate) fn acquire(bucket: &Bucket, n: u64) -> Result<(), AcquireError> {
    wait_on(bucket, n, WaitState::new())
}

/// A thread that waits until it is granted or refused.
pub(crate) fn waiter(bucket: &Bucket, n: u64) -> JoinHandle<Result<(), AcquireError>> {
    let bucket = bucket.clone();
    thread::spawn(move || acquire(&bucket, n))
}

/// One who waits already, and whose waker wakes nobody yet; `None` if it was answered at once.
pub(crate) fn enter(bucket: &Bucket, n: u64) -> Option<WaitState> {
    let mut state = WaitState::new();
    let mut cx = Context::from_waker(Waker::noop());
    let answer = bucket.poll_acquire_n(&mut cx, n, &mut state);
    answer.is_pending().then_some(state)
}

/// Waits on until it is granted or refused.
pub(crate) fn wait_on(bucket: &Bucket, n: u64, mut state: WaitState) -> Result<(), AcquireError> {
    block_on(poll_fn(|cx| bucket.poll_acquire_n(cx, n, &mut state))).map(drop)
}

/// Polls a wait once and drops it. Whether it was granted at once.
pub(crate) fn give_up(bucket: &Bucket, n: u64) -> bool {
    let mut state = WaitState::new();
    block_on(poll_fn(|cx| {
        Poll::Ready(bucket.poll_acquire_n(cx, n, &mut state).is_ready())
    }))
}

fn poll_once(mut task: BoxTask) -> BoxTask {
    block_on(poll_fn(|cx| {
        let _ = Pin::new(&mut task).poll(cx);
        Poll::Ready(())
    }));
    task
}

fn instant(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}
