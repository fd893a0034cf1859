//! Blocking closures: many to one call of the host's, and none the worse for it.

use std::future::pending;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use flow_rt::sim::Sim;
use flow_rt::{
    BoxBlocking, BoxTask, BoxTimer, Handle, Instant, OnFull, Runtime, TaskContext, TestRuntime,
};
use flow_sched::{Shutdown, TaskError, TaskHandle, WorkerPool, WorkerPoolBuilder};
use futures_util::future::join_all;

use crate::common::{LONG, ms, occupy, poll_once, quiet};

flow_rt::on_every_runtime! {
    seeds 0..50;
    closures_in_a_row_take_one_call,
    closures_and_tasks_keep_their_order,
    a_call_runs_no_more_than_64_closures,
    a_panic_ends_its_closure_and_not_the_call,
    each_closure_has_its_own_context,
    an_aborted_closure_in_the_queue_never_runs,
    a_sub_pool_blocks_beside_its_only_slot,
    a_submitter_runs_its_closure_off_the_executor,
    a_pool_that_stops_takes_closures_back,
    a_closure_stopped_as_it_begins_is_dropped,
    a_closure_aborted_as_it_begins_is_cancelled,
    hooks_and_figures_see_each_closure,
}

/// A runtime that counts the blocking calls that it is asked for.
struct Counting(Handle, Arc<AtomicUsize>);

impl Runtime for Counting {
    fn spawn(&self, task: BoxTask) {
        self.0.spawn_detached(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        self.1.fetch_add(1, Ordering::SeqCst);
        drop(self.0.spawn_blocking(job));
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        self.0.timer(at)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }
}

/// One slot on a runtime that counts calls.
fn counted(rt: &TestRuntime) -> (WorkerPoolBuilder, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let host = Handle::new(Counting(Handle::clone(rt), calls.clone()));
    let builder = WorkerPool::builder().runtime(&host);
    (builder.slots(1).queue(1_000), calls)
}

async fn closures_in_a_row_take_one_call(rt: TestRuntime) {
    let (builder, calls) = counted(&rt);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let mut handles = Vec::new();
    for n in 0..50 {
        handles.push(pool.submit_blocking(move |_| n).await.unwrap());
    }
    gate.cancel();
    let values: Vec<_> = join_all(handles).await.into_iter().flatten().collect();
    assert_eq!(values, (0..50).collect::<Vec<_>>());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // One that comes alone takes its own.
    rt.settle().await;
    assert_eq!(pool.run_blocking(|_| 7).await.unwrap(), 7);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    rt.settle().await;
    assert_eq!((pool.stats().completed, pool.stats().running), (52, 0));
}

async fn closures_and_tasks_keep_their_order(rt: TestRuntime) {
    let (builder, calls) = counted(&rt);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    for n in 0..30 {
        let order = order.clone();
        // Two that block, and one that does not.
        if n % 3 == 2 {
            let task = async move |_| order.lock().unwrap().push(n);
            pool.submit(task).detach().await.unwrap();
        } else {
            let closure = move |_| order.lock().unwrap().push(n);
            pool.submit_blocking(closure).detach().await.unwrap();
        }
    }
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(*order.lock().unwrap(), (0..30).collect::<Vec<_>>());
    assert_eq!(calls.load(Ordering::SeqCst), 10);
}

async fn a_call_runs_no_more_than_64_closures(rt: TestRuntime) {
    let (builder, calls) = counted(&rt);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    for _ in 0..200 {
        pool.submit_blocking(|_| ()).detach().await.unwrap();
    }
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    assert_eq!(pool.stats().completed, 201);
}

async fn a_panic_ends_its_closure_and_not_the_call(rt: TestRuntime) {
    quiet();
    let (builder, calls) = counted(&rt);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let mut handles = Vec::new();
    for n in 0..6 {
        let closure = move |_| {
            assert!(n % 2 == 0, "quiet");
            n
        };
        handles.push(pool.submit_blocking(closure).await.unwrap());
    }
    gate.cancel();
    let ended = join_all(handles).await;
    for (n, ended) in ended.into_iter().enumerate() {
        match ended {
            Ok(value) => assert_eq!(value, n),
            Err(error) => assert!(error.is_panic() && n % 2 == 1, "{error}"),
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!((pool.stats().completed, pool.stats().panicked), (4, 3));
}

async fn each_closure_has_its_own_context(rt: TestRuntime) {
    let (builder, _) = counted(&rt);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let tenant = |cx: TaskContext| {
        let current = TaskContext::current().unwrap();
        assert_eq!(current.cancellation(), cx.cancellation());
        cx.baggage("tenant").map(str::to_owned)
    };
    let mut handles = Vec::new();
    for name in ["acme", "globex"] {
        let scope = TaskContext::new().with_baggage("tenant", name).unwrap();
        let submit = scope.enter(|| pool.submit_blocking(tenant).try_now());
        handles.push(submit.unwrap());
        handles.push(pool.submit_blocking(tenant).await.unwrap());
    }
    gate.cancel();
    let seen: Vec<_> = join_all(handles).await.into_iter().flatten().collect();
    let expected = [Some("acme"), None, Some("globex"), None];
    assert_eq!(seen, expected.map(|name| name.map(str::to_owned)));
}

async fn an_aborted_closure_in_the_queue_never_runs(rt: TestRuntime) {
    let (builder, _) = counted(&rt);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let mut handles = Vec::new();
    for _ in 0..9 {
        let ran = ran.clone();
        let closure = move |_| ran.fetch_add(1, Ordering::SeqCst);
        handles.push(pool.submit_blocking(closure).await.unwrap());
    }
    // The first, the last, and one between.
    for n in [0, 4, 8] {
        handles[n].abort();
    }
    gate.cancel();
    let ended = join_all(handles).await;
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 6);
    assert_eq!(ran.load(Ordering::SeqCst), 6);
    rt.settle().await;
    assert_eq!((pool.stats().completed, pool.stats().cancelled), (7, 3));
}

/// Its slot is the only one of the pool above, and would wait for its closure for ever.
async fn a_sub_pool_blocks_beside_its_only_slot(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1);
    let pool = builder.build().unwrap();
    let sub = pool.sub_pool().slots(1).build().unwrap();
    let mut handles = Vec::new();
    for n in 0..100 {
        handles.push(sub.submit_blocking(move |_| n).await.unwrap());
    }
    // The pool's own have a turn in between.
    assert_eq!(pool.run(async |_| 1).await.unwrap(), 1);
    let values: Vec<_> = join_all(handles).await.into_iter().flatten().collect();
    assert_eq!(values.len(), 100);
}

async fn a_submitter_runs_its_closure_off_the_executor(rt: TestRuntime) {
    let (builder, calls) = counted(&rt);
    let builder = builder.queue(1).on_full(OnFull::CallerRuns);
    let pool = builder.build().unwrap();
    let gate = occupy(&rt, &pool).await;
    pool.try_submit(async |_| ()).unwrap().detach();
    let handle = pool.submit_blocking(|_| 7).await.unwrap();
    assert!(handle.is_finished());
    assert_eq!(handle.await.unwrap(), 7);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
}

/// A host whose threads do not come.
struct Never(Handle, Mutex<Vec<BoxBlocking>>);

impl Runtime for Never {
    fn spawn(&self, task: BoxTask) {
        self.0.spawn_detached(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        self.1.lock().unwrap().push(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        self.0.timer(at)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

async fn a_pool_that_stops_takes_closures_back(rt: TestRuntime) {
    let never = Arc::new(Never(Handle::clone(&rt), Mutex::default()));
    let host = Handle::new(never.clone());
    let pool = WorkerPool::builder().runtime(&host).slots(1).build();
    let pool = pool.unwrap();
    let waits = pool.submit_blocking(|_| ()).await.unwrap();
    let queued = pool.submit_blocking(|_| ()).await.unwrap();
    rt.settle().await;
    let report = pool.shutdown(ms(10)).await;
    assert_eq!((report.abandoned, report.stuck), (2, 0), "{report}");
    assert!(matches!(waits.await, Err(TaskError::Closed)));
    assert!(matches!(queued.await, Err(TaskError::Closed)));
    // A thread that comes late finds nothing to do.
    let late: Vec<_> = never.1.lock().unwrap().drain(..).collect();
    for job in late {
        job();
    }
    assert_eq!(pool.stats().cancelled, 2);

    // And one whose host is gone before it came gives the closure up.
    let pool = WorkerPool::builder().runtime(&host).slots(1).build();
    let pool = pool.unwrap();
    let lost = pool.submit_blocking(|_| ()).await.unwrap();
    rt.settle().await;
    let dropped: Vec<_> = never.1.lock().unwrap().drain(..).collect();
    drop(dropped);
    assert!(matches!(lost.await, Err(TaskError::Cancelled)));
    assert!(pool.run(async |_| true).await.unwrap());
    assert_eq!((pool.stats().cancelled, pool.stats().running), (1, 0));
}

/// One slot, whose second task has begun, and not been called, when `f` is.
fn with_a_begin(rt: &TestRuntime, f: impl Fn() + Send + Sync + 'static) -> WorkerPool {
    let begun = AtomicUsize::new(0);
    let builder = WorkerPool::builder().runtime(rt).slots(1).queue(2);
    let builder = builder.on_task_start(move |_| {
        if begun.fetch_add(1, Ordering::SeqCst) == 1 {
            f();
        }
    });
    builder.build().unwrap()
}

/// What ends a closure between its begin and its call tells in the report.
async fn a_closure_stopped_as_it_begins_is_dropped(rt: TestRuntime) {
    let stopper = Arc::new(Mutex::new(None::<WorkerPool>));
    let stops = stopper.clone();
    let pool = with_a_begin(&rt, move || {
        let pool = stops.lock().unwrap().take().unwrap();
        // There is one that is queued, or it would wait for nothing but this task.
        assert!(poll_once(&mut Box::pin(pool.shutdown(ms(0)))).is_ready());
    });
    *stopper.lock().unwrap() = Some(pool.clone());
    let gate = occupy(&rt, &pool).await;
    let task = pool.submit_blocking(|_| unreachable!("it was stopped"));
    let task = task.await.unwrap();
    pool.submit(async |_| ()).detach().await.unwrap();
    gate.cancel();
    assert!(matches!(task.await, Err(TaskError::Cancelled)));
    let report = pool.shutdown(LONG).await;
    assert_eq!((report.dropped, report.cancelled), (1, 0), "{report}");
    assert_eq!(report.abandoned, 1, "{report}");
}

async fn a_closure_aborted_as_it_begins_is_cancelled(rt: TestRuntime) {
    let handle = Arc::new(Mutex::new(None::<TaskHandle<()>>));
    let aborts = handle.clone();
    let pool = with_a_begin(&rt, move || {
        aborts.lock().unwrap().as_ref().unwrap().abort();
    });
    let gate = occupy(&rt, &pool).await;
    let task = pool.submit_blocking(|_| unreachable!("it was aborted"));
    *handle.lock().unwrap() = Some(task.await.unwrap());
    pool.close();
    gate.cancel();
    let report = pool.shutdown(LONG).await;
    assert_eq!((report.dropped, report.cancelled), (0, 1), "{report}");
    let task = handle.lock().unwrap().take().unwrap();
    assert!(matches!(task.await, Err(TaskError::Cancelled)));
}

async fn hooks_and_figures_see_each_closure(rt: TestRuntime) {
    let (builder, _) = counted(&rt);
    let (starts, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (start, end) = (starts.clone(), ends.clone());
    let builder = builder
        .on_task_start(move |slot| {
            assert_eq!(slot, Some(0));
            start.fetch_add(1, Ordering::SeqCst);
        })
        .on_task_end(move |task| {
            assert_eq!(task.slot, Some(0));
            end.fetch_add(1, Ordering::SeqCst);
        });
    let pool = builder.build().unwrap();
    let mut handles = Vec::new();
    for n in 0..10 {
        handles.push(pool.submit_blocking(move |_| n).await.unwrap());
    }
    join_all(handles).await;
    assert_eq!(
        (starts.load(Ordering::SeqCst), ends.load(Ordering::SeqCst)),
        (10, 10)
    );
    assert_eq!(pool.stats().completed, 10);
}

/// Real threads and real time: closures that block for as long as the test wants.
mod on_threads {
    use std::sync::mpsc::Sender;

    use flow_rt::block_on;

    use super::*;

    fn on_hosts(case: impl AsyncFn(Handle)) {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let hosts = [
            Handle::tokio(tokio.handle().clone()).unwrap(),
            Handle::smol(),
            Handle::async_std(),
        ];
        for host in hosts {
            block_on(case(host)).unwrap();
        }
    }

    /// A closure that says that it runs, and blocks until it is let go; then it says whether it
    /// was cancelled.
    fn blocker(tell: Sender<bool>) -> (impl FnOnce(TaskContext) + Send, Receiver<()>, Sender<()>) {
        let (begin, started) = channel();
        let (let_go, gate) = channel();
        let closure = move |cx: TaskContext| {
            begin.send(()).unwrap();
            gate.recv().unwrap();
            let _ = tell.send(cx.is_cancelled());
        };
        (closure, started, let_go)
    }

    fn one_slot(host: &Handle) -> WorkerPool {
        let builder = WorkerPool::builder().runtime(host);
        builder.slots(1).queue(100).build().unwrap()
    }

    #[test]
    fn a_closure_that_blocks_holds_up_its_own_slot_alone() {
        on_hosts(async |host| {
            let builder = WorkerPool::builder().runtime(&host);
            let pool = builder.slots(2).queue(200).build().unwrap();
            let (tell, _) = channel();
            let (closure, started, let_go) = blocker(tell);
            let blocked = pool.submit_blocking(closure).await.unwrap();
            started.recv().unwrap();
            let mut handles = Vec::new();
            for n in 0..150 {
                handles.push(pool.submit_blocking(move |_| n).await.unwrap());
            }
            // What is queued behind it all runs on the other slot.
            assert_eq!(join_all(handles).await.len(), 150);
            assert!(!blocked.is_finished());
            let_go.send(()).unwrap();
            blocked.await.unwrap();
        });
    }

    #[test]
    fn a_closure_that_runs_too_long_loses_its_slot() {
        on_hosts(async |host| {
            let pool = one_slot(&host);
            let (tell, told) = channel();
            // The second of a call: its slot watches nothing yet, and must be told of the limit.
            let (closure, started, let_go) = blocker(tell);
            pool.submit_blocking(|_| ()).detach().await.unwrap();
            let slow = pool.submit_blocking(closure).timeout(ms(5));
            let slow = slow.await.unwrap();
            let next = pool.submit_blocking(|_| 7).await.unwrap();
            started.recv().unwrap();
            let ended = slow.await;
            assert!(matches!(ended, Err(TaskError::TimedOut { limit }) if limit == ms(5)));
            // It blocks still, and its slot goes on.
            assert_eq!(next.await.unwrap(), 7);
            let_go.send(()).unwrap();
            assert!(told.recv().unwrap(), "its cancellation has fired");
            let stats = pool.stats();
            assert_eq!((stats.timed_out, stats.completed), (1, 2));
        });
    }

    #[test]
    fn an_aborted_closure_frees_its_slot() {
        on_hosts(async |host| {
            let pool = one_slot(&host);
            for _ in 0..50 {
                let (tell, told) = channel();
                let (closure, started, let_go) = blocker(tell);
                let blocked = pool.submit_blocking(closure).await.unwrap();
                started.recv().unwrap();
                blocked.abort();
                assert!(matches!(blocked.await, Err(TaskError::Cancelled)));
                assert_eq!(pool.run_blocking(|_| 7).await.unwrap(), 7);
                let_go.send(()).unwrap();
                assert!(told.recv().unwrap());
            }
            assert_eq!((pool.stats().cancelled, pool.stats().completed), (50, 50));
        });
    }

    #[test]
    fn a_submitter_that_is_cancelled_tells_its_closures() {
        on_hosts(async |host| {
            let pool = one_slot(&host);
            let scope = TaskContext::new();
            let mut handles = Vec::new();
            for _ in 0..3 {
                let closure = |cx: TaskContext| {
                    while !cx.is_cancelled() {
                        std::thread::yield_now();
                    }
                };
                let submit = scope.enter(|| pool.submit_blocking(closure).try_now());
                handles.push(submit.unwrap());
            }
            scope.cancellation().cancel();
            for handle in handles {
                handle.await.unwrap();
            }
            assert_eq!(pool.stats().completed, 3);
        });
    }

    #[test]
    fn a_shutdown_ends_by_its_deadline_whatever_blocks() {
        on_hosts(async |host| {
            let pool = one_slot(&host);
            let (tell, told) = channel();
            let (closure, started, let_go) = blocker(tell);
            let blocked = pool.submit_blocking(closure).await.unwrap();
            let queued = pool.submit_blocking(|_| ()).await.unwrap();
            started.recv().unwrap();
            let how = Shutdown::drain(ms(2)).then_cancel(ms(2));
            let report = pool.shutdown(how).await;
            let figures = (report.dropped, report.abandoned, report.stuck);
            // It was let go of, and runs on.
            assert_eq!(figures, (1, 1, 1), "{report}");
            assert!(matches!(blocked.await, Err(TaskError::Cancelled)));
            assert!(matches!(queued.await, Err(TaskError::Closed)));
            let_go.send(()).unwrap();
            assert!(told.recv().unwrap());
            // Its thread is about to return.
            while pool.shutdown(LONG).await.stuck > 0 {
                std::thread::yield_now();
            }
        });
    }

    /// Aborts against closures that end: each has one end, and no more.
    #[test]
    fn aborts_race_with_closures() {
        on_hosts(async |host| {
            let builder = WorkerPool::builder().runtime(&host);
            let pool = builder.slots(2).queue(100).build().unwrap();
            let (mut done, mut aborted) = (0, 0);
            for round in 0..200_u32 {
                let mut handles = Vec::new();
                for n in 0..20 {
                    handles.push(pool.submit_blocking(move |_| n).await.unwrap());
                }
                for handle in handles.iter().skip(round as usize % 20) {
                    handle.abort();
                }
                for (n, handle) in handles.into_iter().enumerate() {
                    match handle.await {
                        Ok(value) => {
                            assert_eq!(value, n);
                            done += 1;
                        }
                        Err(TaskError::Cancelled) => aborted += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            pool.shutdown(LONG).await;
            let stats = pool.stats();
            assert_eq!((stats.completed, stats.cancelled), (done, aborted));
            assert_eq!((stats.queued, stats.running, stats.slots), (0, 0, 0));
        });
    }
}

/// Random histories of closures and tasks, with aborts and a shutdown: every one has one end.
#[test]
fn every_closure_has_one_end_and_every_figure_adds_up() {
    quiet();
    for cost in [0, 1] {
        Sim::builder()
            .blocking_cost(ms(cost))
            .check(0..1_000, |rt| async move {
                let mut rng = rt.rng();
                let slots = 1 + rng.below(3) as usize;
                let pool = WorkerPool::builder().slots(0..=slots).unbounded();
                let pool = match rng.below(3) {
                    0 => pool.task_timeout(ms(2)),
                    1 => pool.track_tasks(true),
                    _ => pool,
                };
                let pool = pool.build().unwrap();
                let began = Arc::new(AtomicU64::new(0));
                let mut handles = Vec::new();
                for _ in 0..rng.below(100) {
                    let (kind, begins, sleeper) = (rng.below(4), began.clone(), rt.clone());
                    handles.push(if rng.below(3) == 0 {
                        let task = async move |_| {
                            begins.fetch_add(1, Ordering::Relaxed);
                            match kind {
                                0 => pending().await,
                                1 => sleeper.sleep(ms(1)).await,
                                _ => {}
                            }
                        };
                        pool.submit(task).await.unwrap()
                    } else {
                        let closure = move |_| {
                            begins.fetch_add(1, Ordering::Relaxed);
                            assert!(kind > 0, "quiet");
                        };
                        pool.submit_blocking(closure).await.unwrap()
                    });
                    match rng.below(8) {
                        0 => rt.sleep(ms(rng.below(3))).await,
                        1 => rt.run_until_idle().await,
                        2 => handles[rng.below(handles.len() as u64) as usize].abort(),
                        _ => {}
                    }
                }
                if rng.below(2) == 0 {
                    rt.sleep(ms(rng.below(20))).await;
                }
                let within = ms(rng.below(5));
                let report = pool
                    .shutdown(Shutdown::drain(within).then_cancel(ms(1)))
                    .await;
                assert_eq!(report.stuck, 0, "{report}");
                let mut ok = 0;
                for handle in handles {
                    ok += u64::from(handle.await.is_ok());
                }
                let stats = pool.stats();
                assert_eq!((stats.queued, stats.running, stats.slots), (0, 0, 0));
                assert_eq!(stats.completed, ok);
                assert!(stats.completed + stats.panicked <= began.load(Ordering::Relaxed));
                let ends = stats.completed + stats.panicked + stats.timed_out + stats.cancelled;
                assert_eq!(stats.submitted, ends);
                assert_eq!(pool.dump().running().len() + pool.dump().queued().len(), 0);
            });
    }
}
