//! A small executor of threads, a queue and a map of timers, which can be broken in one place.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use flow_rt::conformance::Subject;
use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Handle, Instant, Runtime, Stopped, Timer};

/// What is broken, in the words of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// No fault: timers that were moved are swept away 8 192 at a time.
    TimersThatAreMovedStayForAWhile,
    SpawnPollsInline,
    SpawnPanicsOnForeignThreads,
    EveryHundredthTaskIsDropped,
    EveryThousandthWakeIsLost,
    WakeInsidePollIsLost,
    WakeFromForeignThreadIsLost,
    DoubleWakeQueuesTwice,
    WakeAfterEndPanics,
    YieldingTasksKeepTheirWorker,
    TimersFireEarly,
    TimersFireOnlyWhenIdle,
    TimersKeepTheFirstWaker,
    TimersFireOnce,
    TimersForgetThatTheyFired,
    TimersIgnoreMovesToEarlier,
    TimersIgnoreMovesToLater,
    TimersThatAreLeftFireThere,
    TimersSurviveTheirDrop,
    TimersThatAreMovedStay,
    /// They are swept away 100 000 at a time.
    TimersThatAreMovedStayForLong,
    TimersThatAreDroppedStay,
    TimersShareAnInstant,
    /// As of two wheels, of which one lags.
    EverySecondTimerIsLate,
    TimersOfThePastWait,
    TimersOverflow,
    TimersNeedAWorkerThread,
    BlockingRunsInline,
    BlockingRunsOnTheWorkers,
    BlockingIsLimitedToEight,
    ClockGoesBack,
    ClocksOfThreadsDiffer,
    ShutdownForgetsTheWorkers,
    ShutdownLeaksTasks,
    ShutdownLeaksTimers,
    ShutdownLeaksJobs,
    SpawnAfterShutdownPanics,
    SpawnAfterShutdownQueues,
}

pub(crate) fn subject(fault: Fault) -> Subject {
    subject_of(&Arc::new(Faulty::start(fault)))
}

pub(crate) fn subject_of(runtime: &Arc<Faulty>) -> Subject {
    let stopping = runtime.clone();
    Subject::new(Handle::from_arc(runtime.clone())).shut_down_by(move || stopping.stop())
}

pub(crate) struct Faulty {
    shared: Arc<Shared>,
    workers: Mutex<Vec<thread::JoinHandle<()>>>,
}

struct Shared {
    fault: Fault,
    /// Counts spawns, wakes or readings, for faults that come now and then.
    counter: AtomicU64,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Task>>,
    live: HashMap<u64, Arc<Task>>,
    timers: BTreeMap<(Instant, u64), Waker>,
    /// Of timers that were dropped: none is woken, and all are kept.
    dead: Vec<Waker>,
    jobs: usize,
    next_id: u64,
    stopped: bool,
}

thread_local! {
    static WORKER: Cell<bool> = const { Cell::new(false) };
    static SKEW: Cell<Option<Duration>> = const { Cell::new(None) };
}

impl Faulty {
    pub(crate) fn start(fault: Fault) -> Self {
        let shared = Arc::new(Shared {
            fault,
            counter: AtomicU64::new(0),
            state: Mutex::default(),
            work: Condvar::new(),
        });
        let worker = |_| {
            let shared = shared.clone();
            thread::spawn(move || {
                WORKER.set(true);
                while shared.turn() {}
            })
        };
        let workers = Mutex::new((0..2).map(worker).collect());
        Self { shared, workers }
    }

    /// Ends the workers without waiting for them.
    pub(crate) fn halt(&self) {
        self.shared.state.lock().unwrap().stopped = true;
        self.shared.work.notify_all();
    }

    pub(crate) fn stop(&self) {
        let fault = self.shared.fault;
        let timers = {
            let mut state = self.shared.state.lock().unwrap();
            state.stopped = fault != Fault::ShutdownForgetsTheWorkers;
            if fault == Fault::ShutdownLeaksTimers {
                BTreeMap::new()
            } else {
                std::mem::take(&mut state.timers)
            }
        };
        self.shared.work.notify_all();
        let workers = std::mem::take(&mut *self.workers.lock().unwrap());
        for worker in workers {
            let _ = worker.join();
        }
        if fault == Fault::ShutdownLeaksTasks {
            return;
        }
        let (ready, live) = {
            let mut state = self.shared.state.lock().unwrap();
            (
                std::mem::take(&mut state.ready),
                std::mem::take(&mut state.live),
            )
        };
        drop(ready);
        for task in live.into_values() {
            task.end();
        }
        timers.into_values().for_each(Waker::wake);
    }
}

impl Shared {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Whether this time, one in `of`, it goes wrong.
    fn strikes(&self, fault: Fault, of: u64) -> bool {
        self.is(fault) && self.counter.fetch_add(1, Ordering::Relaxed) % of == of - 1
    }

    /// Fires what is due, runs one task, or waits for either. False when stopped.
    fn turn(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.stopped {
            return false;
        }
        let mut due = Vec::new();
        let idle = state.ready.is_empty();
        if idle || !self.is(Fault::TimersFireOnlyWhenIdle) {
            let now = Instant::now_monotonic() + self.early();
            while let Some(first) = state.timers.first_entry() {
                if first.key().0 > now {
                    break;
                }
                due.push(first.remove());
            }
        }
        let task = state.ready.pop_front();
        if task.is_none() && due.is_empty() {
            let next = state.timers.first_key_value().map(|((at, _), _)| *at);
            let wait = next.map_or(Duration::from_secs(3_600), |at| {
                at - Instant::now_monotonic()
            });
            drop(self.work.wait_timeout(state, wait).unwrap());
            return true;
        }
        drop(state);
        // This one is busy: another one watches the timers.
        self.work.notify_one();
        due.into_iter().for_each(Waker::wake);
        if let Some(task) = task {
            task.run();
        }
        true
    }

    fn early(&self) -> Duration {
        let early = if self.is(Fault::TimersFireEarly) {
            2
        } else {
            0
        };
        Duration::from_millis(early)
    }

    fn push(&self, task: Arc<Task>, times: usize) {
        let refused = {
            let mut state = self.state.lock().unwrap();
            if state.stopped {
                Some(task)
            } else {
                state.ready.extend(std::iter::repeat_n(task, times));
                None
            }
        };
        self.work.notify_one();
        drop(refused);
    }
}

impl Runtime for Faulty {
    fn spawn(&self, future: BoxTask) {
        let shared = &self.shared;
        assert!(
            WORKER.get() || !shared.is(Fault::SpawnPanicsOnForeignThreads),
            "spawned outside of the runtime"
        );
        if shared.strikes(Fault::EveryHundredthTaskIsDropped, 100) {
            return;
        }
        let task = {
            let mut state = shared.state.lock().unwrap();
            let id = state.next_id;
            state.next_id += 1;
            let refuse = state.stopped && !shared.is(Fault::SpawnAfterShutdownQueues);
            let task = Arc::new(Task {
                id,
                shared: shared.clone(),
                slot: Mutex::new(Slot {
                    future: Some(future),
                    phase: Phase::Queued,
                    surplus: 0,
                }),
            });
            if refuse {
                drop(state);
                assert!(
                    !shared.is(Fault::SpawnAfterShutdownPanics),
                    "spawned after shutdown"
                );
                task.end();
                return;
            }
            state.live.insert(id, task.clone());
            task
        };
        if shared.is(Fault::SpawnPollsInline) {
            task.run();
        } else {
            shared.push(task, 1);
        }
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        let shared = self.shared.clone();
        if shared.is(Fault::BlockingRunsInline) {
            return job();
        }
        if shared.is(Fault::BlockingRunsOnTheWorkers) {
            return self.spawn(BoxTask::new(async move { job() }));
        }
        if shared.is(Fault::ShutdownLeaksJobs) {
            // They wait for a thread that never comes.
            std::mem::forget(job);
            return;
        }
        if shared.is(Fault::BlockingIsLimitedToEight) {
            let mut state = shared.state.lock().unwrap();
            state.jobs += 1;
            if state.jobs > 8 {
                return;
            }
        }
        thread::spawn(job);
    }

    fn timer(&self, mut at: Instant) -> BoxTimer {
        let shared = &self.shared;
        let late = Fault::EverySecondTimerIsLate;
        if shared.is(late) && !shared.strikes(late, 2) {
            at += Duration::from_millis(200);
        }
        BoxTimer::new(FaultyTimer {
            shared: self.shared.clone(),
            at,
            entry: None,
            stale: Vec::new(),
            moves: 0,
            fired: false,
        })
    }

    fn now(&self) -> Instant {
        let shared = &self.shared;
        let mut now = Instant::now_monotonic();
        if shared.strikes(Fault::ClockGoesBack, 100) {
            now -= Duration::from_secs(1);
        }
        if shared.is(Fault::ClocksOfThreadsDiffer) {
            let skew = SKEW.get().unwrap_or_else(|| {
                let threads = shared.counter.fetch_add(1, Ordering::Relaxed);
                Duration::from_secs(threads)
            });
            SKEW.set(Some(skew));
            now += skew;
        }
        now
    }

    fn name(&self) -> &'static str {
        "faulty"
    }
}

struct Task {
    id: u64,
    shared: Arc<Shared>,
    slot: Mutex<Slot>,
}

struct Slot {
    future: Option<BoxTask>,
    phase: Phase,
    /// Wakes inside a poll after the first: counted in vain, unless they are to do harm.
    surplus: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Queued,
    Running,
    /// Woken while it runs.
    RunAgain,
    Ended,
}

impl Task {
    fn run(self: Arc<Self>) {
        loop {
            let mut slot = self.slot.lock().unwrap();
            let Some(mut future) = slot.future.take() else {
                if slot.phase == Phase::Running {
                    slot.phase = Phase::RunAgain;
                }
                return;
            };
            slot.phase = Phase::Running;
            drop(slot);
            let waker = Waker::from(self.clone());
            let polled = Pin::new(&mut future).poll(&mut Context::from_waker(&waker));
            if polled.is_ready() {
                return self.end();
            }
            if !self.put_back(future) {
                return;
            }
        }
    }

    /// Puts a pending future back, to be run again if it was woken. True if by the caller.
    fn put_back(self: &Arc<Self>, future: BoxTask) -> bool {
        let shared = &self.shared;
        let mut slot = self.slot.lock().unwrap();
        if slot.phase == Phase::Ended {
            drop(slot);
            drop(future);
            return false;
        }
        slot.future = Some(future);
        if slot.phase == Phase::Running || shared.is(Fault::WakeInsidePollIsLost) {
            slot.phase = Phase::Waiting;
            return false;
        }
        slot.phase = Phase::Queued;
        let surplus = std::mem::take(&mut slot.surplus);
        drop(slot);
        if shared.is(Fault::YieldingTasksKeepTheirWorker) && !shared.state.lock().unwrap().stopped {
            return true;
        }
        let queues_twice = shared.is(Fault::DoubleWakeQueuesTwice);
        shared.push(self.clone(), if queues_twice { 1 + surplus } else { 1 });
        false
    }

    fn end(&self) {
        let future = {
            let mut slot = self.slot.lock().unwrap();
            slot.phase = Phase::Ended;
            slot.future.take()
        };
        let _entry = self.shared.state.lock().unwrap().live.remove(&self.id);
        drop(future);
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let shared = self.shared.clone();
        let lost = shared.strikes(Fault::EveryThousandthWakeIsLost, 1_000)
            || (shared.is(Fault::WakeFromForeignThreadIsLost) && !WORKER.get());
        if lost {
            return;
        }
        let queue = {
            let mut slot = self.slot.lock().unwrap();
            assert!(
                !(slot.phase == Phase::Ended && shared.is(Fault::WakeAfterEndPanics)),
                "woken after its end"
            );
            match slot.phase {
                Phase::Waiting => {
                    slot.phase = Phase::Queued;
                    true
                }
                Phase::Running => {
                    slot.phase = Phase::RunAgain;
                    false
                }
                Phase::RunAgain => {
                    slot.surplus += 1;
                    false
                }
                Phase::Queued | Phase::Ended => false,
            }
        };
        if queue {
            shared.push(self, 1);
        }
    }
}

struct FaultyTimer {
    shared: Arc<Shared>,
    at: Instant,
    entry: Option<(Instant, u64)>,
    /// Those it was moved away from, and that are still to be swept away.
    stale: Vec<(Instant, u64)>,
    moves: u32,
    fired: bool,
}

impl FaultyTimer {
    /// What is taken off the map is dropped outside of the lock.
    fn disarm(&mut self) -> Option<Waker> {
        let entry = self.entry.take()?;
        self.shared.state.lock().unwrap().timers.remove(&entry)
    }

    fn sweep(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        let swept = self
            .stale
            .drain(..)
            .map(|entry| state.timers.remove(&entry));
        let swept: Vec<_> = swept.collect();
        drop(state);
        drop(swept);
    }

    fn never_by_fault(&self) -> bool {
        (self.shared.is(Fault::TimersFireOnce) || self.shared.is(Fault::TimersForgetThatTheyFired))
            && self.fired
    }
}

impl Timer for FaultyTimer {
    fn arm(mut self: Pin<&mut Self>, at: Instant) {
        let shared = &self.shared;
        let pending = self.entry.is_some();
        if pending && shared.is(Fault::TimersIgnoreMovesToEarlier) && at < self.at {
            return;
        }
        if pending && shared.is(Fault::TimersIgnoreMovesToLater) && at > self.at {
            return;
        }
        if pending && shared.is(Fault::TimersThatAreLeftFireThere) && self.moves == 100 {
            return;
        }
        if shared.is(Fault::TimersForgetThatTheyFired) {
            self.fired = false;
        }
        self.moves += 1;
        self.at = at;
        if self.shared.is(Fault::TimersThatAreMovedStay) {
            self.entry = None;
        }
        let swept_at = match self.shared.fault {
            Fault::TimersThatAreMovedStayForAWhile => Some(8_192),
            Fault::TimersThatAreMovedStayForLong => Some(100_000),
            _ => None,
        };
        if let Some(many) = swept_at {
            let moved = self.entry.take();
            self.stale.extend(moved);
            if self.stale.len() == many {
                self.sweep();
            }
        }
        drop(self.disarm());
    }

    fn poll_fired(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let this = &mut *self;
        let shared = this.shared.clone();
        assert!(
            WORKER.get() || !shared.is(Fault::TimersNeedAWorkerThread),
            "polled outside of the runtime"
        );
        let overflows =
            shared.is(Fault::TimersOverflow) && this.at > Instant::from_nanos(u64::MAX / 2);
        let now = Instant::now_monotonic();
        let due = now + shared.early() >= this.at || overflows;
        let past = shared.is(Fault::TimersOfThePastWait) && this.entry.is_none();
        if due && !past && !this.never_by_fault() {
            drop(this.disarm());
            this.fired = true;
            return Poll::Ready(Ok(()));
        }
        let mut state = shared.state.lock().unwrap();
        if state.stopped && !shared.is(Fault::ShutdownLeaksTimers) {
            return Poll::Ready(Err(Stopped::new()));
        }
        if due || this.never_by_fault() {
            return Poll::Pending;
        }
        let mut replaced = None;
        match this.entry {
            Some(_) if shared.is(Fault::TimersKeepTheFirstWaker) => {}
            Some(entry) => replaced = state.timers.insert(entry, cx.waker().clone()),
            None => {
                let id = if shared.is(Fault::TimersShareAnInstant) {
                    0
                } else {
                    state.next_id
                };
                state.next_id += 1;
                this.entry = Some((this.at, id));
                replaced = state.timers.insert((this.at, id), cx.waker().clone());
            }
        }
        drop(state);
        shared.work.notify_one();
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for FaultyTimer {
    fn drop(&mut self) {
        self.sweep();
        if self.shared.is(Fault::TimersSurviveTheirDrop) {
            return;
        }
        let waker = self.disarm();
        if self.shared.is(Fault::TimersThatAreDroppedStay) {
            self.shared.state.lock().unwrap().dead.extend(waker);
        }
    }
}
