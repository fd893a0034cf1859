//! An executor of your own under flow: threads, a queue and a map of timers, std only.
//!
//! Run with `cargo run --example custom_executor`. Expect the conformance suite's report, each
//! case passed, and then a limiter, a pool and a scheduler that run on the executor.
//!
//! A runtime is one `impl Runtime`: spawn a task, run a blocking closure, make a timer. The
//! suite finds what was overlooked: look for "the suite" in the comments below.
#![allow(clippy::print_stdout)] // a program for people

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::conformance::{self, Subject};
use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Handle, Instant, Runtime, Stopped, Timer};
use flow_sched::{Scheduler, WorkerPool};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<ExitCode, Failure> {
    let report = conformance::run(|| {
        let executor = Arc::new(Executor::start(2));
        let handle = Handle::from_arc(executor.clone());
        Subject::new(handle).shut_down_by(move || executor.shutdown())
    });
    println!("{report}\n");
    if !report.is_ok() {
        return Ok(ExitCode::FAILURE);
    }

    let executor = Arc::new(Executor::start(2));
    let handle = Handle::from_arc(executor.clone());
    flow_rt::block_on(work(&handle))??;
    executor.shutdown();
    Ok(ExitCode::SUCCESS)
}

/// A limiter, a pool and a scheduler on the executor: each is told which runtime it is on.
async fn work(handle: &Handle) -> Result<(), Failure> {
    let limiter = TokenBucket::builder()
        .rate(Rate::per_second(500))
        .burst(5)
        .runtime(handle)
        .build()?;
    let start = handle.now();
    for _ in 0..15 {
        limiter.acquire().await?;
    }
    let took = handle.now() - start;
    println!("limiter: 15 tokens at 500/s after a burst of 5, in {took:.1?}");
    assert!(
        took >= Duration::from_millis(20),
        "10 tokens take 20 ms to come"
    );

    let pool = WorkerPool::builder()
        .runtime(handle)
        .slots(2)
        .queue(16)
        .build()?;
    let mut squares = Vec::new();
    for n in 0..8_u64 {
        squares.push(pool.submit(async move |_cx| n * n).await?);
    }
    let mut sum = 0;
    for square in squares {
        sum += square.await?;
    }
    let words = pool.run_blocking(|_cx| "runs beside the tasks").await?;
    println!("pool: 0² + .. + 7² = {sum}; a blocking closure {words}");
    assert_eq!(sum, 140);

    let scheduler = Scheduler::builder().runtime(handle).pool(&pool).build()?;
    let ticks = Arc::new(AtomicU32::new(0));
    let job = scheduler
        .job_with("tick", ticks.clone(), async |_cx, ticks: Arc<AtomicU32>| {
            ticks.fetch_add(1, Ordering::Relaxed);
        })
        .every(Duration::from_millis(10))
        .max_runs(3)
        .start()?;
    while ticks.load(Ordering::Relaxed) < 3 {
        handle.sleep(Duration::from_millis(5)).await?;
    }
    println!(
        "scheduler: job {:?} ran {} times",
        job.name(),
        ticks.load(Ordering::Relaxed)
    );

    scheduler.shutdown(Duration::from_secs(5)).await;
    let left = pool.shutdown(Duration::from_secs(5)).await;
    println!("shut down: {left}");
    Ok(())
}

/// The executor: some threads that share a queue of tasks and a map of timers.
struct Executor {
    shared: Arc<Shared>,
    workers: Mutex<Vec<thread::JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// A worker waits here for a task, or until the next timer.
    work: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Task>>,
    /// Every task that has not ended: what a shutdown has to drop.
    live: HashMap<u64, Arc<Task>>,
    /// By time, then by number, so that timers for the same instant all have a place.
    timers: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
    stopped: bool,
}

impl Executor {
    fn start(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
        });
        let worker = |_| {
            let shared = shared.clone();
            thread::spawn(move || while shared.turn() {})
        };
        let workers = (0..threads).map(worker).collect();
        Self {
            shared,
            workers: Mutex::new(workers),
        }
    }

    /// Ends the workers, then drops every task and stops every timer. Later spawns are refused.
    fn shutdown(&self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
        for worker in std::mem::take(&mut *lock(&self.workers)) {
            // A task may shut the executor down: its own thread ends when the task has.
            if worker.thread().id() != thread::current().id() {
                worker.join().expect("workers contain panics");
            }
        }
        let (ready, live, timers) = {
            let mut state = self.shared.lock();
            (
                std::mem::take(&mut state.ready),
                std::mem::take(&mut state.live),
                std::mem::take(&mut state.timers),
            )
        };
        drop(ready);
        for task in live.into_values() {
            task.end();
        }
        // They find the executor stopped.
        timers.into_values().for_each(Waker::wake);
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Runtime for Executor {
    fn spawn(&self, task: BoxTask) {
        let mut state = self.shared.lock();
        if state.stopped {
            // Its destructor is the user's: out of the lock first. The suite deadlocks otherwise.
            drop(state);
            return drop(task);
        }
        let id = state.new_id();
        let task = Arc::new(Task {
            id,
            shared: self.shared.clone(),
            slot: Mutex::new(Slot {
                future: Some(task),
                phase: Phase::Queued,
            }),
        });
        state.live.insert(id, task.clone());
        state.ready.push_back(task);
        drop(state);
        self.shared.work.notify_one();
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        // A thread for each: simple, and enough here. Without a thread the closure is dropped,
        // and its join handle says so.
        drop(thread::Builder::new().spawn(job));
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::new(MapTimer {
            shared: self.shared.clone(),
            at,
            entry: None,
        })
    }

    fn name(&self) -> &'static str {
        "custom-executor"
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Wakes the timers that are due and runs one task, or waits for either. False once stopped.
    fn turn(&self) -> bool {
        let mut state = self.lock();
        if state.stopped {
            return false;
        }
        // In every turn, so that tasks which are always ready stop no timer.
        let due = state.take_due(Instant::now_monotonic());
        let task = state.ready.pop_front();
        if task.is_none() && due.is_empty() {
            wait(state, &self.work);
            return true;
        }
        drop(state);
        // This worker is busy now: another one watches queue and timers.
        self.work.notify_one();
        due.into_iter().for_each(Waker::wake);
        if let Some(task) = task {
            task.run();
        }
        true
    }

    fn queue(&self, task: Arc<Task>) {
        let mut state = self.lock();
        if state.stopped {
            // Perhaps the last one that holds it: out of the lock first.
            drop(state);
            return drop(task);
        }
        state.ready.push_back(task);
        drop(state);
        self.work.notify_one();
    }
}

impl State {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn take_due(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        due
    }
}

/// Waits for work, no longer than until the first timer. A wait that ends early does no harm.
fn wait(state: MutexGuard<'_, State>, work: &Condvar) {
    let next = state.timers.first_key_value().map(|((at, _), _)| *at);
    match next {
        Some(at) => drop(work.wait_timeout(state, at - Instant::now_monotonic())),
        None => drop(work.wait(state)),
    }
}

/// A task, which is its own waker.
struct Task {
    id: u64,
    shared: Arc<Shared>,
    slot: Mutex<Slot>,
}

struct Slot {
    /// Away while it is polled.
    future: Option<BoxTask>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Queued,
    Running,
    /// Woken while it runs: the wake must not be lost, nor queue it twice.
    RunAgain,
    Ended,
}

impl Task {
    fn run(self: Arc<Self>) {
        let future = {
            let mut slot = lock(&self.slot);
            slot.phase = Phase::Running;
            slot.future.take()
        };
        let Some(mut future) = future else {
            return;
        };
        let waker = Waker::from(self.clone());
        // A panic in it is contained by `BoxTask`.
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => self.end(),
            Poll::Pending => self.put_back(future),
        }
    }

    fn put_back(self: Arc<Self>, future: BoxTask) {
        let mut slot = lock(&self.slot);
        if slot.phase == Phase::Ended {
            // Shut down meanwhile.
            drop(slot);
            return drop(future);
        }
        slot.future = Some(future);
        if slot.phase == Phase::Running {
            slot.phase = Phase::Waiting;
            return;
        }
        slot.phase = Phase::Queued;
        drop(slot);
        self.shared.clone().queue(self);
    }

    /// Drops the future, outside of every lock, and forgets the task.
    fn end(&self) {
        let future = {
            let mut slot = lock(&self.slot);
            slot.phase = Phase::Ended;
            slot.future.take()
        };
        let entry = self.shared.lock().live.remove(&self.id);
        drop((future, entry));
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut slot = lock(&self.slot);
        match slot.phase {
            Phase::Waiting => {
                slot.phase = Phase::Queued;
                drop(slot);
                self.shared.clone().queue(self);
            }
            Phase::Running => slot.phase = Phase::RunAgain,
            Phase::Queued | Phase::RunAgain | Phase::Ended => {}
        }
    }
}

/// A timer: a place in the map while somebody waits for it.
struct MapTimer {
    shared: Arc<Shared>,
    at: Instant,
    entry: Option<(Instant, u64)>,
}

impl MapTimer {
    fn leave_map(&mut self) {
        if let Some(entry) = self.entry.take() {
            let waker = self.shared.lock().timers.remove(&entry);
            // Perhaps the last one that holds a task: after the lock.
            drop(waker);
        }
    }
}

impl Timer for MapTimer {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        self.leave_map();
        self.at = at;
    }

    fn poll_fired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let this = &mut *self;
        // The time decides, not the wake: so it is never early, and stays fired.
        if !this.at.is_far_future() && Instant::now_monotonic() >= this.at {
            this.leave_map();
            return Poll::Ready(Ok(()));
        }
        // Cloned and dropped without the lock: a waker's code is not ours.
        let waker = cx.waker().clone();
        let mut state = this.shared.lock();
        if state.stopped {
            drop(state);
            return Poll::Ready(Err(Stopped::new()));
        }
        let entry = *this.entry.get_or_insert_with(|| (this.at, state.new_id()));
        // The last waker wins. A timer that was woken and is polled early again has left the
        // map: it gets its place back.
        let replaced = state.timers.insert(entry, waker);
        drop(state);
        drop(replaced);
        // The first timer may be this one now.
        this.shared.work.notify_one();
        Poll::Pending
    }
}

impl Drop for MapTimer {
    fn drop(&mut self) {
        self.leave_map();
    }
}

/// Locks, whether or not a holder panicked: no state here is left half-way by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
