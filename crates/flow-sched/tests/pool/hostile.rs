//! Code that panics where it hurts: destructors of closures, futures and results, wakers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use flow_rt::TestRuntime;
use flow_sched::{TaskError, WorkerPool};

use crate::common::{Gate, LONG, ms, quiet};

flow_rt::on_every_runtime! {
    seeds 0..50;
    destructors_that_panic,
    wakers_that_panic,
    a_waker_and_the_result_behind_it_both_panic,
    a_group_whose_waker_panics_hears_of_its_refused_member,
    a_storm_of_panics_leaves_the_pool_whole,
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a destructor panics");
    }
}

async fn destructors_that_panic(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt);
    let pool = builder.slots(1).queue(8).build().unwrap();
    // A result that nobody reads: the handle is dropped before, and after.
    drop(pool.try_submit(async |_| Bomb).unwrap());
    let unread = pool.try_submit(async |_| Bomb).unwrap();
    rt.settle().await;
    assert!(unread.is_finished());
    drop(unread);
    // A future that is dropped by a time-out.
    let held = Bomb;
    let timed_out = pool.submit(async move |_| {
        let _held = held;
        std::future::pending::<()>().await;
    });
    let timed_out = timed_out.timeout(ms(5)).await.unwrap().await;
    assert!(matches!(timed_out, Err(TaskError::TimedOut { .. })));
    // A closure that is dropped in the queue.
    let gate = Gate::new();
    let busy = gate.clone();
    let running = pool.try_submit(async move |_| busy.cancelled().await);
    rt.settle().await;
    assert_eq!(pool.stats().running, 1);
    let held = Bomb;
    let queued = pool.try_submit(async move |_| drop(held)).unwrap();
    queued.abort();
    assert!(queued.await.unwrap_err().is_cancelled());
    gate.cancel();
    running.unwrap().await.unwrap();
    // A payload that panics when it is dropped.
    let bomb = pool.run(async |_| std::panic::panic_any(Bomb));
    let panicked: Result<(), _> = bomb.await;
    if let Err(TaskError::Panicked(panic)) = panicked {
        std::mem::forget(panic.into_payload());
    }
    drop(
        pool.try_submit(async |_| std::panic::panic_any(Bomb))
            .unwrap(),
    );
    assert_eq!(pool.run(async |_| 1).await.unwrap(), 1);
    let stats = pool.stats();
    assert_eq!((stats.slots, stats.running), (1, 0));
    assert!(pool.shutdown(LONG).await.is_clean());
}

struct BadWaker(AtomicUsize);

impl Wake for BadWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a waker panics");
    }
}

fn poll_badly<F: Future + Unpin>(future: &mut F, waker: &Arc<BadWaker>) {
    let waker = Waker::from(waker.clone());
    let polled = Pin::new(future).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
}

async fn wakers_that_panic(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).queue(1).build();
    let pool = pool.unwrap();
    let gate = Gate::new();
    let busy = gate.clone();
    let mut running = pool
        .try_submit(async move |_| busy.cancelled().await)
        .unwrap();
    rt.settle().await;
    assert_eq!(pool.stats().running, 1);
    pool.try_submit(async |_| ()).unwrap().detach();
    let bad = Arc::new(BadWaker(AtomicUsize::new(0)));
    poll_badly(&mut running, &bad);
    let mut first = pool.submit(async |_| 1);
    poll_badly(&mut first, &bad);
    let second = pool.submit(async |_| 2);
    gate.cancel();
    rt.settle().await;
    assert_eq!(pool.stats().completed, 2);
    // The joiner's waker and the submitter's both panicked, and both have what they waited for.
    assert!(bad.0.load(Ordering::Relaxed) >= 2);
    running.await.unwrap();
    assert_eq!(first.await.unwrap().await.unwrap(), 1);
    assert_eq!(second.await.unwrap().await.unwrap(), 2);
}

async fn a_group_whose_waker_panics_hears_of_its_refused_member(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).queue(1).build();
    let pool = pool.unwrap();
    let gate = Gate::new();
    for _ in 0..2 {
        let busy = gate.clone();
        let task = pool.try_submit(async move |_| busy.cancelled().await);
        task.unwrap().detach();
        rt.settle().await;
    }
    let mut group = Box::pin(pool.group().run_all([async |_| 1]));
    let bad = Arc::new(BadWaker(AtomicUsize::new(0)));
    poll_badly(&mut group, &bad);
    pool.close();
    // The task that is given up here reports its end to the group itself.
    let waker = Waker::from(bad.clone());
    let answer = group.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(bad.0.load(Ordering::Relaxed) >= 1);
    let Poll::Ready(members) = answer else {
        panic!("the group waits for a pool that is closed");
    };
    assert!(
        matches!(members[..], [Err(TaskError::Closed)]),
        "{members:?}"
    );
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
}

/// Panics when it is dropped, even while a panic unwinds: that would end the process.
struct Relentless;

impl Drop for Relentless {
    fn drop(&mut self) {
        panic!("a destructor panics");
    }
}

async fn a_waker_and_the_result_behind_it_both_panic(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let gate = Gate::new();
    let busy = gate.clone();
    let mut running = pool
        .try_submit(async move |_| {
            busy.cancelled().await;
            Relentless
        })
        .unwrap();
    rt.settle().await;
    assert_eq!(pool.stats().running, 1);
    let bad = Arc::new(BadWaker(AtomicUsize::new(0)));
    poll_badly(&mut running, &bad);
    // The waker stays, and the result is the slot's to drop.
    drop(running);
    gate.cancel();
    rt.settle().await;
    assert_eq!(bad.0.load(Ordering::Relaxed), 1);
    assert_eq!(pool.run(async |_| 1).await.unwrap(), 1);
    assert!(pool.shutdown(LONG).await.is_clean());
}

/// Wakes itself and goes on waiting: every poll but the last is for nothing.
struct Restless(u32);

impl Future for Restless {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        if self.0 == 0 {
            return Poll::Ready(7);
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn a_storm_of_panics_leaves_the_pool_whole(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(4)
        .queue(16)
        .build();
    let pool = pool.unwrap();
    quiet();
    for _ in 0..500 {
        let task = pool.submit(async |_| -> () { panic!("quiet: storm") });
        task.await.unwrap().detach();
    }
    rt.settle().await;
    assert_eq!(pool.stats().panicked, 500);
    assert_eq!(pool.run(|_| Restless(1_000)).await.unwrap(), 7);
    for _ in 0..1_000 {
        pool.submit(async |_| ()).await.unwrap().detach();
    }
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(pool.stats().completed, 1_001);
}
