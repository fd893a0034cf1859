//! A runtime of a test's own: nothing runs until the test says so, or it never does.

use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use flow_rt::{
    BoxBlocking, BoxTask, BoxTimer, Handle, Instant, JoinError, Runtime, Stopped, TimeoutError,
    Timer,
};
use futures_util::FutureExt;

use crate::planned::PanicsOnDrop;

/// Keeps what it is given; its timers say that it has stopped.
#[derive(Default)]
struct ByHand {
    tasks: Mutex<Vec<BoxTask>>,
    jobs: Mutex<Vec<BoxBlocking>>,
    timers: AtomicUsize,
}

impl Runtime for ByHand {
    fn spawn(&self, task: BoxTask) {
        self.tasks.lock().unwrap().push(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        self.jobs.lock().unwrap().push(job);
    }

    fn timer(&self, _: Instant) -> BoxTimer {
        self.timers.fetch_add(1, Ordering::Relaxed);
        BoxTimer::new(StoppedTimer)
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(1)
    }
}

struct StoppedTimer;

impl Timer for StoppedTimer {
    fn arm(self: Pin<&mut Self>, _: Instant) {}

    fn poll_fired(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        Poll::Ready(Err(Stopped::new()))
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn by_hand() -> (Arc<ByHand>, Handle) {
    let runtime = Arc::new(ByHand::default());
    let handle = Handle::from_arc(runtime.clone());
    (runtime, handle)
}

fn poll(task: &mut BoxTask) -> Poll<()> {
    Pin::new(task).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn what_a_runtime_drops_is_cancelled() {
    let (runtime, handle) = by_hand();
    let task = handle.spawn(async { 1 });
    let job = handle.spawn_blocking(|| 2);
    assert!(!task.is_finished() && !job.is_finished());
    runtime.tasks.lock().unwrap().clear();
    runtime.jobs.lock().unwrap().clear();
    assert!(matches!(
        task.now_or_never(),
        Some(Err(JoinError::Cancelled))
    ));
    assert!(matches!(
        job.now_or_never(),
        Some(Err(JoinError::Cancelled))
    ));

    let mut group = handle.task_group();
    group.spawn(async {});
    runtime.tasks.lock().unwrap().clear();
    let ended = group.join_next().now_or_never().unwrap().unwrap();
    assert!(matches!(ended, Err(JoinError::Cancelled)));
}

#[test]
fn a_dropped_task_with_a_destructor_that_panics_is_cancelled() {
    let (runtime, handle) = by_hand();
    let bomb = PanicsOnDrop;
    let task = handle.spawn(async move {
        let _bomb = bomb;
    });
    let bomb = PanicsOnDrop;
    let detached = async move {
        let _bomb = bomb;
    };
    handle.spawn_detached(detached);
    runtime.tasks.lock().unwrap().clear();
    assert!(matches!(
        task.now_or_never(),
        Some(Err(JoinError::Cancelled))
    ));
}

#[test]
fn an_aborted_closure_never_starts() {
    let (runtime, handle) = by_hand();
    let job = handle.spawn_blocking(|| panic!("it ran"));
    let job: flow_rt::JoinHandle<()> = job;
    job.abort();
    let queued = runtime.jobs.lock().unwrap().pop().unwrap();
    queued();
    assert!(matches!(
        job.now_or_never(),
        Some(Err(JoinError::Cancelled))
    ));
}

#[test]
fn an_aborted_task_is_not_polled() {
    let (runtime, handle) = by_hand();
    let task = handle.spawn(async { panic!("it ran") });
    let task: flow_rt::JoinHandle<()> = task;
    task.abort();
    let mut queued = runtime.tasks.lock().unwrap().pop().unwrap();
    assert_eq!(poll(&mut queued), Poll::Ready(()));
    // Polled after its end by an executor that does not keep count: still ready.
    assert_eq!(poll(&mut queued), Poll::Ready(()));
    assert!(matches!(
        task.now_or_never(),
        Some(Err(JoinError::Cancelled))
    ));
}

#[test]
fn an_abort_wakes_the_task() {
    let (runtime, handle) = by_hand();
    let task = handle.spawn(pending::<()>());
    let mut queued = runtime.tasks.lock().unwrap().pop().unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut queued).poll(&mut cx).is_pending());
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    task.abort();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(Pin::new(&mut queued).poll(&mut cx).is_ready());
}

#[test]
fn an_abort_wakes_by_the_waker_of_the_last_poll() {
    let (runtime, handle) = by_hand();
    let task = handle.spawn(pending::<()>());
    let mut queued = runtime.tasks.lock().unwrap().pop().unwrap();
    let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
    // The first again after the second: what stands there counts, not what once stood there.
    for by in [&woken[0], &woken[1], &woken[0], &woken[1]] {
        let waker = Waker::from(by.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut queued).poll(&mut cx).is_pending());
    }
    task.abort();
    let times = woken
        .each_ref()
        .map(|woken| woken.0.load(Ordering::Relaxed));
    assert_eq!(times, [0, 1]);
    // One that was polled after the abort by nobody's waker ends all the same.
    assert_eq!(poll(&mut queued), Poll::Ready(()));
}

#[test]
fn a_task_says_who_it_is() {
    let (runtime, handle) = by_hand();
    handle.spawn_named("cleaner", async {}).detach();
    handle.spawn(async {}).detach();
    let tasks = runtime.tasks.lock().unwrap();
    assert_eq!(tasks[0].name(), Some("cleaner"));
    assert_eq!(tasks[1].name(), None);
    assert!(tasks.iter().all(|task| task.spawned_at().file() == file!()));
    let shown = format!("{:?}", tasks[0]);
    assert!(
        shown.contains("cleaner") && shown.contains("by_hand.rs"),
        "{shown}"
    );
}

#[test]
fn a_timeout_of_a_ready_future_asks_for_no_timer() {
    let (runtime, handle) = by_hand();
    let ready = handle.timeout(Duration::from_secs(1), ready(1));
    assert_eq!(ready.now_or_never(), Some(Ok(1)));
    let ever = handle.timeout(Duration::MAX, pending::<()>());
    assert_eq!(ever.now_or_never(), None);
    assert_eq!(runtime.timers.load(Ordering::Relaxed), 0);
}

#[test]
fn waiting_on_a_runtime_that_is_gone_is_an_error() {
    let (_, handle) = by_hand();
    let late = handle.timeout(Duration::from_secs(1), pending::<()>());
    let late = late.now_or_never().unwrap();
    assert!(matches!(late, Err(TimeoutError::Stopped(_))));
    assert!(late.unwrap_err().to_string().contains("shut down"));
    assert_eq!(
        handle.sleep(Duration::ZERO).now_or_never(),
        Some(Err(Stopped::new()))
    );
    let mut ticks = handle.interval(Duration::from_secs(1)).unwrap();
    assert_eq!(ticks.tick().now_or_never(), Some(Err(Stopped::new())));
    let mut stream = std::pin::pin!(ticks);
    assert_eq!(
        futures_util::StreamExt::next(&mut stream).now_or_never(),
        Some(None)
    );
}

#[test]
fn identity_is_that_of_the_runtime() {
    let (runtime, handle) = by_hand();
    let (_other, another) = by_hand();
    assert_eq!(handle.id(), handle.clone().id());
    assert_eq!(handle.id(), Handle::from_arc(runtime).id());
    assert_ne!(handle.id(), another.id());
    assert_ne!(Handle::smol().id(), Handle::async_std().id());
    assert!(handle.name().contains("ByHand"));
    assert!(format!("{handle:?}").contains("ByHand"));
}
