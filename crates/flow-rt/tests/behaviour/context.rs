//! Contexts: which task has which, and what ends with them.

use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_rt::{CancellationToken, ContextError, Deadline, TaskContext, TestRuntime};
use futures_util::FutureExt;

use crate::planned::{SaysDropped, planned_panic};

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    tasks_inherit_the_context_of_their_starter,
    a_spawned_closure_is_handed_its_context,
    detached_tasks_have_no_context,
    blocking_closures_have_their_starters_context,
    a_group_inherits,
    a_context_is_there_after_each_await,
    a_panic_leaves_no_context_behind,
    contexts_nest_and_come_back,
    a_ready_future_wins_over_a_context_that_has_ended,
    a_context_ends_what_it_runs,
}

fn named(name: &str) -> TaskContext {
    TaskContext::new().with_baggage("name", name).unwrap()
}

/// The name of the context here.
fn here() -> Option<String> {
    TaskContext::current().map(|cx| cx.baggage("name").unwrap_or_default().to_owned())
}

/// Pending once, so that whoever awaits is polled again.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn tasks_inherit_the_context_of_their_starter(rt: TestRuntime) {
    assert_eq!(here(), None);
    let plain = rt.spawn(async { here() });
    assert_eq!(plain.await.unwrap(), None);

    let cx = named("a");
    let inner = rt.clone();
    let task = rt.spawn_with(cx.clone(), async move |_cx| {
        let spawned = inner.spawn({
            let inner = inner.clone();
            async move {
                inner
                    .spawn_named("grandchild", async { TaskContext::current() })
                    .await
            }
        });
        spawned.await.unwrap().unwrap()
    });
    let inherited = task.await.unwrap().unwrap();
    assert_eq!(inherited.baggage("name"), Some("a"));
    // The same work: the same token, not a child's.
    assert_eq!(inherited.cancellation(), cx.cancellation());
    assert_eq!(cx.cancellation().child_count(), 0);
    assert_eq!(here(), None);
}

async fn a_spawned_closure_is_handed_its_context(rt: TestRuntime) {
    let parent = named("a");
    let task = rt.spawn_with(parent.child(), async |cx| {
        cx.cancellation().cancelled().await;
        (here(), cx.cancellation().reason())
    });
    parent.cancellation().cancel_with("enough");
    let (name, reason) = task.await.unwrap();
    assert_eq!(name.as_deref(), Some("a"));
    assert_eq!(reason.as_deref(), Some("enough"));

    // Its panic is the task's.
    let task = rt.spawn_with(parent, |_cx| -> std::future::Ready<()> {
        planned_panic("planned, in a closure");
    });
    assert!(task.await.unwrap_err().is_panic());
}

async fn detached_tasks_have_no_context(rt: TestRuntime) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (named_sender, named_receiver) = tokio::sync::oneshot::channel();
    let inner = rt.clone();
    let task = rt.spawn_with(named("a"), async move |_cx| {
        inner.spawn_detached(async move {
            let _ = sender.send(here());
        });
        inner.spawn_detached_named("driver", async move {
            let _ = named_sender.send(here());
        });
    });
    task.await.unwrap();
    assert_eq!(receiver.await.unwrap(), None);
    assert_eq!(named_receiver.await.unwrap(), None);
}

async fn blocking_closures_have_their_starters_context(rt: TestRuntime) {
    let inner = rt.clone();
    let task = rt.spawn_with(named("a"), async move |_cx| {
        inner.spawn_blocking(here).await.unwrap()
    });
    assert_eq!(task.await.unwrap().as_deref(), Some("a"));
    assert_eq!(rt.spawn_blocking(here).await.unwrap(), None);
}

async fn a_group_inherits(rt: TestRuntime) {
    let inner = rt.clone();
    let task = rt.spawn_with(named("a"), async move |_cx| {
        let mut group = inner.task_group();
        group.spawn(async { here() });
        group.join_next().await.unwrap().unwrap()
    });
    assert_eq!(task.await.unwrap().as_deref(), Some("a"));
}

async fn a_context_is_there_after_each_await(rt: TestRuntime) {
    let tasks = ["a", "b", "c"].map(|name| {
        rt.spawn_with(named(name), async move |_cx| {
            for _ in 0..20 {
                assert_eq!(here().as_deref(), Some(name));
                yield_now().await;
            }
        })
    });
    for _ in 0..20 {
        assert_eq!(here(), None);
        yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
}

async fn a_panic_leaves_no_context_behind(rt: TestRuntime) {
    // Polled on this thread, inside another context.
    let outer = named("outer");
    outer.enter(|| {
        let mut task = pin!(named("a").scope(async {
            yield_now().await;
            planned_panic("planned, in a poll");
        }));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(task.as_mut().poll(&mut cx).is_pending());
        assert!(flow_rt::catch(|| task.as_mut().poll(&mut cx)).is_err());
        assert_eq!(here().as_deref(), Some("outer"));
        assert!(flow_rt::catch(|| outer.child().enter(|| planned_panic("planned"))).is_err());
        assert_eq!(here().as_deref(), Some("outer"));
    });
    assert_eq!(here(), None);
    // And on the host's threads.
    for _ in 0..4 {
        let task = rt.spawn_with(named("a"), async |_cx| planned_panic("planned, in a task"));
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!(rt.spawn(async { here() }).await.unwrap(), None);
    }
}

async fn contexts_nest_and_come_back(rt: TestRuntime) {
    let task = rt.spawn_with(named("a"), async move |_cx| {
        let inner = named("b").scope(async {
            yield_now().await;
            assert_eq!(here().as_deref(), Some("b"));
            named("c").enter(|| assert_eq!(here().as_deref(), Some("c")));
            let made = named("d").scope_with(|cx| {
                assert_eq!(here().as_deref(), Some("d"));
                async move { (here(), cx.baggage("name").map(str::to_owned)) }
            });
            assert_eq!(here().as_deref(), Some("b"));
            made.await
        });
        let (current, handed) = inner.await;
        assert!(current.as_deref() == Some("d") && handed == current);
        here()
    });
    assert_eq!(task.await.unwrap().as_deref(), Some("a"));
}

async fn a_ready_future_wins_over_a_context_that_has_ended(rt: TestRuntime) {
    let cx = TaskContext::new().with_deadline(Deadline::at(rt.now()));
    cx.cancellation().cancel();
    assert_eq!(cx.run(&rt, ready(7)).await, Ok(7));
    assert_eq!(cx.run(&rt, async { here() }).await, Ok(Some(String::new())));
}

async fn a_context_ends_what_it_runs(rt: TestRuntime) {
    let cx = TaskContext::new();
    cx.cancellation().cancel_with("enough");
    let (guard, dropped) = SaysDropped::new();
    let ended = cx.run(&rt, async move {
        let _guard = guard;
        pending::<()>().await;
    });
    let error = ended.await.unwrap_err();
    let reason = Some("enough".into());
    assert_eq!(error, ContextError::Cancelled { reason });
    assert_eq!(error.to_string(), "cancelled: enough");
    assert!(dropped.now_or_never().unwrap().is_ok());

    let start = rt.now();
    let cx = TaskContext::new().with_deadline(Deadline::after(start, 3 * MS));
    let late = cx.run(&rt, pending::<()>()).await;
    assert_eq!(late, Err(ContextError::DeadlineExceeded));
    assert!(rt.now() >= start + 3 * MS);

    // From another task, while it waits.
    let token = CancellationToken::new();
    let cx = TaskContext::from_token(token.clone());
    let inner = rt.clone();
    let waits = rt.spawn(async move { cx.run(&inner, pending::<()>()).await });
    rt.sleep(MS).await.unwrap();
    token.cancel();
    let error = waits.await.unwrap().unwrap_err();
    assert_eq!(error, ContextError::Cancelled { reason: None });
    assert_eq!(error.to_string(), "cancelled");
}
