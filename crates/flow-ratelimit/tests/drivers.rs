//! What looking after those who wait costs: allocations with the timers of real hosts, wake-ups of a
//! driver in virtual time.
#![cfg(not(loom))]

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use allocation_counter::measure;
use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::sim::Sim;
use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Handle, Instant, Runtime};

fn bucket(rate: Rate, runtime: &Handle) -> TokenBucket {
    let bucket = TokenBucket::builder().rate(rate).burst(1).initial(0);
    let bucket = bucket.runtime(runtime);
    bucket.build().expect("a valid bucket")
}

/// A host's timers, and tasks that run on the thread that waits, where allocations are counted.
#[derive(Clone)]
struct Here {
    host: Handle,
    tasks: Arc<Mutex<Vec<BoxTask>>>,
    timers: Arc<AtomicU64>,
    polls: Arc<AtomicU64>,
}

impl Here {
    fn new(host: Handle) -> Self {
        Self {
            host,
            tasks: Arc::default(),
            timers: Arc::default(),
            polls: Arc::default(),
        }
    }

    /// Runs `main` and, whenever it wakes up, all tasks.
    async fn run<F: Future>(&self, main: F) -> F::Output {
        let mut main = pin!(main);
        poll_fn(|cx| {
            let polled = main.as_mut().poll(cx);
            if polled.is_pending() {
                self.poll_tasks(cx);
            }
            polled
        })
        .await
    }

    fn poll_tasks(&self, cx: &mut Context<'_>) {
        // Out of the lock, as a task may start another.
        let mut tasks = std::mem::take(&mut *self.tasks.lock().expect("not poisoned"));
        tasks.retain_mut(|task| Pin::new(task).poll(cx).is_pending());
        let mut started = self.tasks.lock().expect("not poisoned");
        tasks.append(&mut started);
        *started = tasks;
    }
}

impl Runtime for Here {
    fn spawn(&self, task: BoxTask) {
        self.tasks.lock().expect("not poisoned").push(task);
    }

    fn spawn_blocking(&self, _job: BoxBlocking) {}

    fn timer(&self, at: Instant) -> BoxTimer {
        self.timers.fetch_add(1, Ordering::Relaxed);
        self.host.timer(at)
    }

    fn now(&self) -> Instant {
        self.host.now()
    }
}

/// Allocations of so many waits in a row, once a driver and its timer are there.
fn allocations(host: &Handle, waits: u32) -> u64 {
    let here = Here::new(host.clone());
    let bucket = bucket(Rate::per_second(2_000), &Handle::new(here.clone()));
    let pace = async |waits| {
        let waits = async {
            for _ in 0..waits {
                bucket.acquire().await.expect("open");
            }
        };
        here.run(waits).await;
    };
    let run = |waits| flow_rt::block_on(pace(waits)).expect("not inside a simulation");
    run(10);
    let counted = measure(|| run(waits));
    assert_eq!(here.timers.load(Ordering::Relaxed), 1, "one timer for all");
    counted.count_total
}

#[test]
fn waits_by_tokios_timers_allocate_nothing_in_the_steady_state() {
    let host = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let handle = Handle::tokio(host.handle().clone()).expect("it keeps time");
    let few = allocations(&handle, 10);
    assert_eq!(allocations(&handle, 210), few);
}

#[test]
fn waits_by_smols_timers_allocate_nothing_in_the_steady_state() {
    let few = allocations(&Handle::smol(), 10);
    assert_eq!(allocations(&Handle::smol(), 210), few);
}

/// A simulation that counts the timers made and the polls of what is started.
#[derive(Clone)]
struct Counted(Here);

impl Runtime for Counted {
    fn spawn(&self, mut task: BoxTask) {
        let polls = self.0.polls.clone();
        self.0.host.spawn_detached(poll_fn(move |cx| -> Poll<()> {
            polls.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut task).poll(cx)
        }));
    }

    fn spawn_blocking(&self, _job: BoxBlocking) {}

    fn timer(&self, at: Instant) -> BoxTimer {
        self.0.timer(at)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// A thousand who wait, again and again, at a hundred tokens in each millisecond: they have one timer
/// between them, and their driver wakes up once in a millisecond.
#[test]
fn a_driver_wakes_up_once_in_a_quantum_however_many_wait() {
    const WAITERS: u64 = 1_000;
    const GRANTS: u64 = 20_000;
    let report = Sim::new(1).run(|rt| async move {
        let counted = Counted(Here::new((*rt).clone()));
        let bucket = bucket(Rate::per_second(100_000), &Handle::new(counted.clone()));
        let start = rt.now();
        let mut group = rt.task_group();
        for _ in 0..WAITERS {
            let bucket = bucket.clone();
            group.spawn(async move {
                for _ in 0..GRANTS / WAITERS {
                    bucket.acquire().await.expect("open");
                }
            });
        }
        while group.join_next().await.is_some() {}
        let Counted(here) = counted;
        let (timers, polls) = (&here.timers, &here.polls);
        let millis = (rt.now() - start).as_millis() as u64;
        (
            timers.load(Ordering::Relaxed),
            polls.load(Ordering::Relaxed),
            millis,
        )
    });
    let (timers, polls, millis) = report.expect("it ends").output;
    assert_eq!((timers, millis), (1, GRANTS / 100));
    // One to start with, and one for the last who leave.
    assert!(polls <= millis + 2, "{polls} polls in {millis} ms");
}
