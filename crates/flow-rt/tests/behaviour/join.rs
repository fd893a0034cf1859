//! Join handles: results, panics, abort, detach, destructors that panic.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use flow_rt::{JoinError, TestRuntime};
use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};

use crate::planned::{PanicsOnDrop, SaysDropped, planned_panic};

flow_rt::on_every_runtime! {
    a_result_comes_back,
    a_panic_comes_back_with_its_payload,
    an_aborted_future_runs_no_further,
    an_abort_after_the_end_changes_nothing,
    abort_handles_are_clones_of_one_request,
    an_abort_handle_keeps_no_result,
    a_dropped_handle_detaches,
    abort_on_drop_aborts_and_detach_takes_it_back,
    destructors_that_panic_are_contained,
    unread_results_that_panic_when_dropped_are_contained,
    a_joined_handle_stays_pending,
    a_detached_panic_harms_nobody,
    names_and_closures,
}

async fn a_result_comes_back(rt: TestRuntime) {
    let task = rt.spawn(async { String::from("done") });
    assert_eq!(task.await.unwrap(), "done");

    let mut task = rt.spawn(async { 1 });
    assert_eq!((&mut task).await.unwrap(), 1);
    assert!(task.is_finished());
}

async fn a_panic_comes_back_with_its_payload(rt: TestRuntime) {
    let text = rt.spawn(async { planned_panic("planned") });
    let error: JoinError = text.await.unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.to_string(), "the task panicked: planned");

    let number = rt.spawn(async { std::panic::resume_unwind(Box::new(17_u32)) });
    let number: Result<(), _> = number.await;
    let Err(JoinError::Panicked(panic)) = number else {
        panic!("joined as {number:?}");
    };
    assert_eq!(panic.message(), "a payload that is not text");
    assert_eq!(*panic.into_payload().downcast::<u32>().unwrap(), 17);
}

async fn an_aborted_future_runs_no_further(rt: TestRuntime) {
    let ran = Arc::new(AtomicBool::new(false));
    let gate = Arc::new(Notify::new());
    let task = rt.spawn({
        let (ran, gate) = (ran.clone(), gate.clone());
        async move {
            gate.notified().await;
            ran.store(true, Ordering::Release);
        }
    });
    task.abort();
    gate.notify_one();
    assert!(matches!(task.await, Err(JoinError::Cancelled)));
    assert!(!ran.load(Ordering::Acquire));
}

async fn an_abort_after_the_end_changes_nothing(rt: TestRuntime) {
    let (guard, ended) = SaysDropped::new();
    let task = rt.spawn(async move {
        drop(guard);
        5
    });
    ended.await.unwrap();
    rt.settle().await;
    assert!(task.is_finished());
    task.abort();
    task.abort();
    assert_eq!(task.await.unwrap(), 5);
}

async fn abort_handles_are_clones_of_one_request(rt: TestRuntime) {
    let task = rt.spawn(pending::<()>());
    let abort = task.abort_handle();
    let copy = abort.clone();
    drop(abort);
    copy.abort();
    let error = task.await.unwrap_err();
    assert!(error.is_cancelled());
    assert!(error.to_string().contains("aborted"));
    // The task is gone, and the handle still harmless.
    copy.abort();
}

async fn an_abort_handle_keeps_no_result(rt: TestRuntime) {
    let (go, gone) = oneshot::channel::<()>();
    let result = Arc::new(());
    let of_task = result.clone();
    let abort = rt
        .spawn(async move {
            gone.await.unwrap();
            of_task
        })
        .abort_handle();
    // The join handle went before the result was there, and nobody else may keep that.
    go.send(()).unwrap();
    rt.settle().await;
    assert_eq!(Arc::strong_count(&result), 1);
    abort.abort();
}

async fn a_dropped_handle_detaches(rt: TestRuntime) {
    let (done, finished) = oneshot::channel();
    let go = Arc::new(Notify::new());
    let start = |done: oneshot::Sender<()>| {
        let go = go.clone();
        rt.spawn(async move {
            go.notified().await;
            done.send(()).unwrap();
        })
    };
    drop(start(done));
    go.notify_one();
    finished.await.unwrap();

    let (done, finished) = oneshot::channel();
    start(done).detach();
    go.notify_one();
    finished.await.unwrap();
}

async fn abort_on_drop_aborts_and_detach_takes_it_back(rt: TestRuntime) {
    let (guard, dropped) = SaysDropped::new();
    let task = rt.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    drop(task.abort_on_drop());
    dropped.await.unwrap();

    let (done, finished) = oneshot::channel();
    let go = Arc::new(Notify::new());
    let task = rt.spawn({
        let go = go.clone();
        async move {
            go.notified().await;
            done.send(()).unwrap();
        }
    });
    task.abort_on_drop().detach();
    go.notify_one();
    finished.await.unwrap();

    let kept = rt.spawn(async { 3 }).abort_on_drop();
    assert_eq!(kept.await.unwrap(), 3);
}

async fn destructors_that_panic_are_contained(rt: TestRuntime) {
    // The future's own, after its result: the result comes back.
    let task = rt.spawn(async {
        let _bomb = PanicsOnDrop;
        pending::<()>().await;
    });
    task.abort();
    assert!(matches!(task.await, Err(JoinError::Cancelled)));

    // At the end of the body: a panic of the task like any other.
    let task = rt.spawn(async {
        let _bomb = PanicsOnDrop;
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(rt.spawn(async { 1 }).await.unwrap(), 1);
}

async fn unread_results_that_panic_when_dropped_are_contained(rt: TestRuntime) {
    rt.allow_task_panics();
    // Nobody holds the handle when the result comes.
    let (guard, ended) = SaysDropped::new();
    rt.spawn(async move {
        let _guard = guard;
        PanicsOnDrop
    })
    .detach();
    ended.await.unwrap();

    // The handle is dropped with the result in it.
    let task = rt.spawn(async { PanicsOnDrop });
    rt.settle().await;
    assert!(task.is_finished());
    drop(task);

    // A panic whose payload panics in its destructor, unread.
    let task = rt.spawn(async { std::panic::resume_unwind(Box::new(PanicsOnDrop)) });
    let task: flow_rt::JoinHandle<()> = task;
    rt.settle().await;
    assert!(task.is_finished());
    drop(task);
    assert_eq!(rt.spawn(async { 1 }).await.unwrap(), 1);
}

async fn a_joined_handle_stays_pending(rt: TestRuntime) {
    let mut task = rt.spawn(async { 1 });
    assert_eq!((&mut task).await.unwrap(), 1);
    assert!(pin!(&mut task).now_or_never().is_none());
    assert!(task.is_finished());
}

async fn a_detached_panic_harms_nobody(rt: TestRuntime) {
    rt.allow_task_panics();
    for _ in 0..20 {
        rt.spawn_detached(async { planned_panic("planned, detached") });
        rt.spawn_detached(async {
            let _bomb = PanicsOnDrop;
        });
        // Both at once would end the process.
        let bomb = PanicsOnDrop;
        rt.spawn_detached(std::future::poll_fn(move |_| {
            let _bomb = &bomb;
            planned_panic("planned, with another one behind it")
        }));
        assert_eq!(rt.spawn(async { 2 }).await.unwrap(), 2);
    }
}

async fn names_and_closures(rt: TestRuntime) {
    assert_eq!(rt.spawn_named("answer", async { 42 }).await.unwrap(), 42);
    assert_eq!(
        rt.spawn_named(format!("task {}", 1), async { 43 })
            .await
            .unwrap(),
        43
    );

    let count = Arc::new(AtomicU32::new(0));
    let job = rt.spawn_blocking({
        let count = count.clone();
        move || count.fetch_add(1, Ordering::AcqRel)
    });
    assert_eq!(job.await.unwrap(), 0);
    let panicked = rt.spawn_blocking(|| planned_panic("planned, blocking"));
    let panicked: Result<(), _> = panicked.await;
    assert_eq!(
        panicked.unwrap_err().to_string(),
        "the task panicked: planned, blocking"
    );
    assert_eq!(count.load(Ordering::Acquire), 1);
}
