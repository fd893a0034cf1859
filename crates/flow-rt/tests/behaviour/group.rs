//! Task groups: order, panics, abort, detach.

use std::future::pending;
use std::sync::Arc;

use flow_rt::{JoinError, TaskGroup, TestRuntime};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, oneshot};

use crate::planned::{SaysDropped, planned_panic};

flow_rt::on_every_runtime! {
    results_come_as_tasks_end,
    an_empty_group_is_done,
    a_panic_is_one_result_of_many,
    abort_all_leaves_the_results_to_join,
    shutdown_waits_for_all,
    a_dropped_group_aborts,
    a_detached_group_runs_on,
    a_dropped_join_takes_nothing,
    a_group_is_a_stream,
}

async fn results_come_as_tasks_end(rt: TestRuntime) {
    let mut group = rt.task_group();
    // Each one starts the next, the last spawned first.
    let gates: Vec<_> = (0..6).map(|_| Arc::new(Notify::new())).collect();
    for n in 0..5_usize {
        let (mine, next) = (gates[n + 1].clone(), gates[n].clone());
        group.spawn(async move {
            mine.notified().await;
            (n, next)
        });
    }
    assert_eq!(group.len(), 5);
    gates[5].notify_one();
    let mut order = Vec::new();
    while let Some(ended) = group.join_next().await {
        let (n, next) = ended.unwrap();
        order.push(n);
        next.notify_one();
    }
    assert_eq!(order, [4, 3, 2, 1, 0]);
    assert!(group.is_empty());
}

async fn an_empty_group_is_done(rt: TestRuntime) {
    let mut group: TaskGroup<()> = rt.task_group();
    assert!(group.join_next().await.is_none());
    group.shutdown().await;
    group.abort_all();
    group.detach_all();
    assert!(group.is_empty());
    group.spawn(async {});
    assert!(group.join_next().await.unwrap().is_ok());
    assert!(group.join_next().await.is_none());
}

async fn a_panic_is_one_result_of_many(rt: TestRuntime) {
    let mut group = rt.task_group();
    for n in 0..10 {
        group.spawn(async move {
            if n == 3 {
                planned_panic("planned, in a group");
            }
            n
        });
    }
    let (mut sum, mut panics) = (0, 0);
    while let Some(ended) = group.join_next().await {
        match ended {
            Ok(n) => sum += n,
            Err(error) => panics += i32::from(error.is_panic()),
        }
    }
    assert_eq!((sum, panics), (45 - 3, 1));
}

async fn abort_all_leaves_the_results_to_join(rt: TestRuntime) {
    let mut group = rt.task_group();
    for _ in 0..20 {
        group.spawn(pending::<()>());
    }
    group.abort_all();
    let mut cancelled = 0;
    while let Some(ended) = group.join_next().await {
        assert!(matches!(ended, Err(JoinError::Cancelled)));
        cancelled += 1;
    }
    assert_eq!(cancelled, 20);
}

async fn shutdown_waits_for_all(rt: TestRuntime) {
    let mut group = rt.task_group();
    let mut dropped = Vec::new();
    for _ in 0..10 {
        let (guard, is_dropped) = SaysDropped::new();
        dropped.push(is_dropped);
        group.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
    }
    group.shutdown().await;
    assert!(group.is_empty());
    for mut is_dropped in dropped {
        assert!(
            is_dropped.try_recv().is_ok(),
            "a task outlived the shutdown"
        );
    }
}

async fn a_dropped_group_aborts(rt: TestRuntime) {
    let mut group = rt.task_group();
    let (guard, dropped) = SaysDropped::new();
    group.spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    });
    drop(group);
    dropped.await.unwrap();
}

async fn a_detached_group_runs_on(rt: TestRuntime) {
    let mut group = rt.task_group();
    let go = Arc::new(Notify::new());
    let (done, finished) = oneshot::channel();
    group.spawn({
        let go = go.clone();
        async move {
            go.notified().await;
            done.send(()).unwrap();
        }
    });
    group.detach_all();
    assert!(group.join_next().await.is_none());
    drop(group);
    go.notify_one();
    finished.await.unwrap();
}

async fn a_dropped_join_takes_nothing(rt: TestRuntime) {
    let mut group = rt.task_group();
    let go = Arc::new(Notify::new());
    for n in 0..3 {
        let go = go.clone();
        group.spawn(async move {
            go.notified().await;
            n
        });
    }
    assert!(group.join_next().now_or_never().is_none());
    go.notify_waiters();
    go.notify_one();
    go.notify_one();
    let mut seen = Vec::new();
    while !group.is_empty() {
        // Some of these are dropped between the end of a task and the hand-over of its result.
        if let Some(ended) = group.join_next().now_or_never() {
            seen.push(ended.unwrap().unwrap());
        } else {
            go.notify_one();
            rt.settle().await;
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
}

async fn a_group_is_a_stream(rt: TestRuntime) {
    let mut group = rt.task_group();
    for n in 0..8 {
        group.spawn(async move { n });
    }
    assert_eq!(futures_util::Stream::size_hint(&group), (8, Some(8)));
    let mut all: Vec<i32> = group.by_ref().map(Result::unwrap).collect().await;
    all.sort_unstable();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
}
