//! A million jobs: registered, cancelled, due.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_io::Timer;
use flow_benches::{Bench, process, repeat, timed};
use flow_sched::{JobHandle, Scheduler, WorkerPool};
use tokio::runtime::Runtime;
use tokio::time::Sleep;
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::time::{DelayQueue, delay_queue::Key};

use crate::{MANY, builder, later, scheduler, unnamed};

/// Cancels some of a million that are alive, and replaces them off the clock.
pub(crate) fn cancelled(bench: &mut Bench, runtime: &Runtime) {
    let row = "one-shot cancelled, 1000000 alive";
    if !bench.wants(row) {
        return;
    }
    let _entered = runtime.enter();
    let scheduler = scheduler(runtime);
    let mut jobs = Alive::new(|i| unnamed(&scheduler, later(i)));
    let mut sleeps = Alive::new(sleep);
    let mut timers = Alive::new(timer);
    let queue = core::cell::RefCell::new(DelayQueue::with_capacity(MANY as usize));
    let mut keys = Alive::new(|i| queue.borrow_mut().insert(i, later(i)));
    bench
        .row(row)
        .flow(|n| jobs.cancel(n, |job: JobHandle| drop(job.remove())))
        .peer("tokio Sleep", |n| sleeps.cancel(n, drop))
        .peer("async-io Timer", |n| timers.cancel(n, drop))
        .peer("DelayQueue", |n| {
            keys.cancel(n, |key: Key| {
                let _ = queue.borrow_mut().remove(&key);
            })
        })
        .measure();
}

/// So many at the most are cancelled before others take their place.
const BATCH: u64 = 1_000;

/// A million timers.
struct Alive<T, M> {
    timers: Vec<Option<T>>,
    make: M,
    at: u64,
}

impl<T, M: FnMut(u64) -> T> Alive<T, M> {
    fn new(mut make: M) -> Self {
        Self {
            timers: (0..MANY).map(|i| Some(make(i))).collect(),
            make,
            at: 0,
        }
    }

    fn cancel(&mut self, n: u64, mut cancel: impl FnMut(T)) -> Duration {
        let mut took = Duration::ZERO;
        let mut left = n;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            let places: Vec<usize> = (0..batch)
                .map(|i| {
                    // Far apart, and each once in a batch.
                    ((self.at + i) * 611_953 % MANY) as usize
                })
                .collect();
            took += timed(|| {
                for &place in &places {
                    if let Some(timer) = self.timers[place].take() {
                        cancel(timer);
                    }
                }
            });
            for &place in &places {
                self.timers[place] = Some((self.make)(place as u64));
            }
            self.at = (self.at + batch) % MANY;
        }
        took
    }
}

/// A timer counts once it has been polled.
fn sleep(i: u64) -> Pin<Box<Sleep>> {
    let mut sleep = Box::pin(tokio::time::sleep(later(i)));
    let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    sleep
}

fn timer(i: u64) -> Timer {
    let mut timer = Timer::after(later(i));
    let _ = Pin::new(&mut timer).poll(&mut Context::from_waker(Waker::noop()));
    timer
}

/// How long many take to be registered.
pub(crate) fn registered(bench: &mut Bench, runtime: &Runtime) {
    let row = "a job registered, of 100000";
    if bench.wants(row) {
        bench
            .row(row)
            .batch(FEWER)
            .flow(|n| each(n, || register(runtime, FEWER).0))
            .peer("tokio-cron-scheduler", |n| {
                each(n, || runtime.block_on(register_with_cron_scheduler()))
            })
            .measure();
    }
    let _entered = runtime.enter();
    let row = "a job registered, of 1000000";
    if bench.wants(row) {
        bench
            .row(row)
            .batch(MANY)
            .flow(|n| each(n, || register(runtime, MANY).0))
            .peer("DelayQueue", |n| {
                each(n, || {
                    let mut queue = DelayQueue::new();
                    repeat(MANY, |i| queue.insert(i, later(i)))
                })
            })
            .measure();
    }
}

/// What a million weigh.
pub(crate) fn memory(bench: &mut Bench, runtime: &Runtime) {
    let row = "a job's memory, of 1000000";
    if bench.wants(row) {
        let before = process::resident();
        let (_, scheduler, jobs) = register(runtime, MANY);
        // Until the driver has taken all of them over.
        std::thread::sleep(Duration::from_millis(500));
        let weighs = process::resident().saturating_sub(before) / MANY;
        // A handle is the caller's: two words.
        let allowed = [("allowed", vec![256.0])];
        bench.record(row, "B", &[weighs as f64 - 16.0], &allowed);
        drop((scheduler, jobs));
    }
}

fn register(runtime: &Runtime, count: u64) -> (Duration, Scheduler, Vec<JobHandle>) {
    let scheduler = scheduler(runtime);
    let mut jobs = Vec::with_capacity(count as usize);
    let took = timed(|| jobs.extend((0..count).map(|i| unnamed(&scheduler, later(i)))));
    (took, scheduler, jobs)
}

/// As many as tokio-cron-scheduler registers in a few seconds.
const FEWER: u64 = 100_000;

async fn register_with_cron_scheduler() -> Duration {
    let mut scheduler = JobScheduler::new().await.expect("it keeps jobs in memory");
    let start = Instant::now();
    for i in 0..FEWER {
        let job = Job::new_one_shot_async(later(i), |_, _| Box::pin(async {}));
        let job = job.expect("a delay");
        scheduler.add(job).await.expect("it takes any number");
    }
    let took = start.elapsed();
    scheduler.shutdown().await.expect("it was not shut down");
    took
}

/// A million runs that are due within one millisecond, an empty body each, through a pool.
pub(crate) fn fired(bench: &mut Bench, runtime: &Runtime) {
    let row = "a run of 1000000 due at once, on a pool of 2";
    if !bench.wants(row) {
        return;
    }
    let _entered = runtime.enter();
    bench
        .row(row)
        .batch(MANY)
        .flow(|n| each(n, || fire(runtime)))
        .peer("tokio tasks that sleep", |n| each(n, || sleepers(runtime)))
        .measure();
}

/// Long enough for a million to be registered.
const AHEAD: Duration = Duration::from_secs(3);

fn fire(runtime: &Runtime) -> Duration {
    let pool = WorkerPool::builder()
        .runtime(&flow_rt::Handle::tokio(runtime.handle().clone()).expect("it has timers"));
    let pool = pool.slots(2).unbounded().build().expect("a valid pool");
    let scheduler = builder(runtime)
        .pool(&pool)
        .build()
        .expect("a valid scheduler");
    let ran = Arc::new(AtomicU64::new(0));
    let due = flow_rt::Instant::now_monotonic() + AHEAD;
    for i in 0..MANY {
        let job = scheduler.unnamed_with(ran.clone(), async |_cx, ran: Arc<AtomicU64>| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        let job = job.once_at(due + Duration::from_nanos(i)).start();
        job.expect("it has no name to be taken");
    }
    let took = until_all_ran(
        &ran,
        Instant::now() + (due - flow_rt::Instant::now_monotonic()),
    );
    scheduler.close();
    took
}

fn sleepers(runtime: &Runtime) -> Duration {
    let ran = Arc::new(AtomicU64::new(0));
    let due = Instant::now() + AHEAD;
    for i in 0..MANY {
        let ran = ran.clone();
        let at = tokio::time::Instant::from_std(due + Duration::from_nanos(i));
        runtime.spawn(async move {
            tokio::time::sleep_until(at).await;
            ran.fetch_add(1, Ordering::Relaxed);
        });
    }
    until_all_ran(&ran, due)
}

fn until_all_ran(ran: &AtomicU64, due: Instant) -> Duration {
    assert!(Instant::now() < due, "a million took too long to register");
    std::thread::sleep(due - Instant::now());
    while ran.load(Ordering::Relaxed) < MANY {
        std::thread::sleep(Duration::from_micros(500));
    }
    due.elapsed()
}

fn each(n: u64, mut one: impl FnMut() -> Duration) -> Duration {
    (0..n).map(|_| one()).sum()
}
