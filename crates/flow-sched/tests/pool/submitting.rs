//! Handing tasks in, and their handles: order, refusal, abort, blocking closures, nesting.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use flow_rt::{CancellationToken, Deadline, OnFull, Panic, TaskContext, TestRuntime, TraceContext};
use flow_sched::{Rejected, SubmitError, TaskError, TaskHandle, TrySubmitError, WorkerPool};
use futures_util::future::join_all;

use crate::common::{Gate, LONG, ms, occupy, poll_once};

flow_rt::on_every_runtime! {
    seeds 0..50;
    submitters_are_served_in_order,
    newcomers_do_not_overtake,
    a_dropped_promise_goes_to_the_next,
    a_close_takes_promises_back,
    reject_answers_at_once,
    abort_in_the_queue,
    abort_in_the_run,
    a_task_never_gets_the_token_of_another_that_is_kept_or_cancelled,
    dropping_a_handle_detaches_and_dropping_a_run_aborts,
    blocking_closures_take_slots,
    a_nested_submit_to_a_full_queue_is_refused,
    a_task_works_for_its_submitter,
    a_submitters_cancellation_reaches_its_tasks,
    with_no_time_a_task_has_one_poll,
    a_detached_task_has_no_handle,
    a_future_that_was_ready_stays_pending,
    one_that_was_ready_takes_no_place,
}

fn one_slot(rt: &TestRuntime, queue: usize) -> WorkerPool {
    let builder = WorkerPool::builder().runtime(rt);
    builder.slots(1).queue(queue).build().unwrap()
}

async fn submitters_are_served_in_order(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let gate = occupy(&rt, &pool).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let task = |n: u32| {
        let order = order.clone();
        async move |_| order.lock().unwrap().push(n)
    };
    pool.try_submit(task(0)).unwrap().detach();
    let mut waiting: Vec<_> = (1..6).map(|n| pool.submit(task(n))).collect();
    for submit in &mut waiting {
        assert!(poll_once(submit).is_pending());
    }
    // One in the middle gives up; the promise it may hold goes to the next.
    drop(waiting.remove(2));
    gate.cancel();
    for handle in join_all(waiting).await {
        handle.unwrap().await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 4, 5]);
}

async fn newcomers_do_not_overtake(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let gate = occupy(&rt, &pool).await;
    pool.try_submit(async |_| ()).unwrap().detach();
    let mut first = pool.submit(async |_| "first");
    assert!(poll_once(&mut first).is_pending());
    gate.cancel();
    rt.settle().await;
    assert_eq!(pool.stats().completed, 2);
    // The free place is promised to the one who waits, although it has not come for it.
    let refused = pool.try_submit(async |_| "second").unwrap_err();
    assert!(matches!(refused, TrySubmitError::Full { capacity: 1, .. }));
    assert_eq!(first.await.unwrap().await.unwrap(), "first");
    assert_eq!(
        pool.try_submit(refused.into_inner())
            .unwrap()
            .await
            .unwrap(),
        "second"
    );
}

async fn a_dropped_promise_goes_to_the_next(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let gate = occupy(&rt, &pool).await;
    pool.try_submit(async |_| ()).unwrap().detach();
    let mut first = pool.submit(async |_| 1);
    let mut second = pool.submit(async |_| 2);
    assert!(poll_once(&mut first).is_pending());
    assert!(poll_once(&mut second).is_pending());
    gate.cancel();
    rt.settle().await;
    assert_eq!(pool.stats().completed, 2);
    drop(first);
    assert_eq!(second.await.unwrap().await.unwrap(), 2);
}

async fn a_close_takes_promises_back(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let gate = occupy(&rt, &pool).await;
    pool.try_submit(async |_| ()).unwrap().detach();
    let mut promised = pool.submit(async |_| 1);
    assert!(poll_once(&mut promised).is_pending());
    gate.cancel();
    rt.settle().await;
    assert_eq!(pool.stats().completed, 2);
    // Nobody polls the submitter, and still the shutdown ends.
    let report = pool.shutdown(LONG).await;
    assert!(report.is_clean(), "{report}");
    assert!(promised.await.unwrap_err().is_closed());
}

async fn reject_answers_at_once(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).on_full(OnFull::Reject);
    let pool = builder.slots(1).queue(1).build().unwrap();
    let gate = occupy(&rt, &pool).await;
    pool.submit(async |_| ()).await.unwrap().detach();
    let full = pool.submit(async |_| 3).await.unwrap_err();
    assert_eq!(full.to_string(), "the pool's queue is full (1 tasks)");
    let full_too = pool.run(async |_| 3).await;
    assert!(matches!(full_too, Err(TaskError::Full { capacity: 1 })));
    gate.cancel();
    rt.settle().await;
    assert_eq!(pool.stats().queued, 0);
    assert_eq!(pool.run(full.into_inner()).await.unwrap(), 3);
    assert_eq!(pool.stats().rejected, 2);
}

async fn abort_in_the_queue(rt: TestRuntime) {
    let pool = one_slot(&rt, 2);
    let gate = occupy(&rt, &pool).await;
    let captured = Arc::new(());
    let held = captured.clone();
    let handle = pool.try_submit(async move |_| drop(held)).unwrap();
    handle.abort();
    handle.abort();
    assert!(handle.is_finished());
    assert_eq!(
        Arc::strong_count(&captured),
        1,
        "the closure is dropped now"
    );
    assert_eq!((pool.stats().cancelled, pool.stats().queued), (1, 0));
    assert!(handle.await.unwrap_err().is_cancelled());
    gate.cancel();
    assert_eq!(pool.run(async |_| 1).await.unwrap(), 1);
    assert_eq!((pool.stats().cancelled, pool.stats().completed), (1, 2));
}

async fn abort_in_the_run(rt: TestRuntime) {
    let pool = one_slot(&rt, 2);
    let captured = Arc::new(());
    let (held, started, token) = (captured.clone(), Gate::new(), Arc::new(Mutex::new(None)));
    let (tell, keep) = (started.clone(), token.clone());
    let handle = pool
        .try_submit(async move |cx| {
            *keep.lock().unwrap() = Some(cx.cancellation().clone());
            tell.cancel();
            std::future::pending::<()>().await;
            drop(held);
        })
        .unwrap();
    started.cancelled().await;
    handle.abort();
    assert!(handle.await.unwrap_err().is_cancelled());
    assert_eq!(
        Arc::strong_count(&captured),
        1,
        "the future is gone before the join"
    );
    assert!(token.lock().unwrap().take().unwrap().is_cancelled());
    let stats = pool.stats();
    assert_eq!((stats.cancelled, stats.running), (1, 0));
    // Aborting what has ended changes nothing, for this task and for the slot's next one.
    let done = pool.try_submit(async |_| 1).unwrap();
    rt.settle().await;
    assert!(done.is_finished());
    done.abort();
    assert_eq!(done.await.unwrap(), 1);
    assert_eq!(pool.run(async |_| 2).await.unwrap(), 2);
}

async fn a_task_never_gets_the_token_of_another_that_is_kept_or_cancelled(rt: TestRuntime) {
    let pool = one_slot(&rt, 2);
    let token = async |cx: TaskContext| cx.cancellation().clone();
    let kept = pool.run(token).await.unwrap();
    let next = pool.run(token).await.unwrap();
    assert_ne!(kept, next);
    kept.cancel();
    drop((kept, next));
    // Nothing is kept of these, the second cancels itself, and the third is as new.
    pool.run(async |_| ()).await.unwrap();
    pool.run(async |cx| cx.cancellation().cancel())
        .await
        .unwrap();
    assert!(!pool.run(async |cx| cx.is_cancelled()).await.unwrap());
    // A child of its own that outlives the task is cancelled with the pool, not by the next task.
    let child = pool.run(async |cx| cx.child()).await.unwrap();
    pool.run(async |cx| cx.cancellation().cancel())
        .await
        .unwrap();
    assert!(!child.is_cancelled());
    pool.cancellation().cancel();
    assert!(child.is_cancelled());
}

async fn dropping_a_handle_detaches_and_dropping_a_run_aborts(rt: TestRuntime) {
    let pool = one_slot(&rt, 4);
    let gate = occupy(&rt, &pool).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let add = |n| {
        let ran = ran.clone();
        async move |_| ran.fetch_add(n, Ordering::Relaxed)
    };
    drop(pool.try_submit(add(1)).unwrap());
    let mut run = Box::pin(pool.run(add(10)));
    assert!(poll_once(&mut run).is_pending());
    drop(run);
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert_eq!((pool.stats().completed, pool.stats().cancelled), (2, 1));
}

async fn blocking_closures_take_slots(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut handles = Vec::new();
    for n in 0..8 {
        let (now, most) = (now.clone(), most.clone());
        let task = move |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            n
        };
        handles.push(pool.submit_blocking(task).await.unwrap());
    }
    let values: Vec<u32> = join_all(handles).await.into_iter().flatten().collect();
    assert_eq!(values, (0..8).collect::<Vec<_>>());
    assert!(most.load(Ordering::SeqCst) <= 2);
    let panicked = pool.run_blocking(|_| -> u8 { panic!("blocked") }).await;
    let message = |panic: &Panic| panic.message() == "blocked";
    assert!(matches!(panicked, Err(TaskError::Panicked(panic)) if message(&panic)));
    let told = pool.run_blocking(|cx| cx.is_cancelled()).await;
    assert!(!told.unwrap());
    assert_eq!(pool.stats().panicked, 1);
}

async fn a_nested_submit_to_a_full_queue_is_refused(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let inner = pool.clone();
    let nested = pool.run(async move |_| {
        // Room: taken like anybody's. No room: waiting would keep the only slot.
        let queued = inner.submit(async |_| 1).await.unwrap();
        let refused = inner.submit(async |_| 2).await.unwrap_err();
        assert!(matches!(refused, SubmitError::Nested { capacity: 1, .. }));
        let run = inner.run(async |_| 3).await;
        assert!(matches!(run, Err(TaskError::Nested { capacity: 1 })));
        (queued, refused.into_inner())
    });
    let (queued, refused) = nested.await.unwrap();
    assert_eq!(queued.await.unwrap(), 1);
    assert_eq!(pool.run(refused).await.unwrap(), 2);
    // Another pool's task may wait.
    let other = one_slot(&rt, 1);
    let gate = occupy(&rt, &pool).await;
    pool.try_submit(async |_| ()).unwrap().detach();
    let (target, waits) = (pool.clone(), Arc::new(AtomicBool::new(false)));
    let tell = waits.clone();
    let from_outside = other
        .submit(async move |_| {
            tell.store(true, Ordering::Release);
            target.run(async |_| 4).await
        })
        .await
        .unwrap();
    rt.settle().await;
    assert!(waits.load(Ordering::Acquire));
    assert_eq!(pool.stats().waiting, 1);
    gate.cancel();
    assert_eq!(from_outside.await.unwrap().unwrap(), 4);
}

async fn a_task_works_for_its_submitter(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    // Without one it has a context of its own, that its closure and its body find.
    let own = pool.run(async |cx| (cx, TaskContext::current().unwrap()));
    let (handed, current) = own.await.unwrap();
    assert_eq!(handed.cancellation(), current.cancellation());
    assert_eq!(current.baggage_items().count(), 0);
    assert!(TaskContext::current().is_none());

    let deadline = Deadline::after(rt.now(), LONG);
    let [trace, other] = ["4b", "c0"].map(|first| {
        let trace = format!("00-{first}f92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        trace.parse::<TraceContext>().unwrap()
    });
    let other_trace = Some(other);
    let work = TaskContext::new()
        .with_deadline(deadline)
        .with_trace(trace)
        .with_baggage("tenant", "acme")
        .unwrap();
    // One after the other in the same slot, which keeps what it can of a task's context.
    for _ in 0..2 {
        let other = TaskContext::new().with_trace(other);
        let current = other.scope(pool.run(async |cx| cx.trace())).await;
        assert_eq!(current.unwrap(), other_trace);
        let current = pool.run(async |_| TaskContext::current());
        let current = work.clone().scope(current).await.unwrap().unwrap();
        assert_eq!(current.baggage("tenant"), Some("acme"));
        assert_eq!(current.deadline(), deadline);
        assert_eq!(current.trace(), Some(trace));
        assert!(!current.is_cancelled());
        let blocking = work.clone().scope(pool.run_blocking(|cx| cx.trace()));
        assert_eq!(blocking.await.unwrap(), Some(trace));
        let detached = Arc::new(Mutex::new(None));
        let tells = detached.clone();
        let task = pool.submit(async move |cx: TaskContext| *tells.lock().unwrap() = cx.trace());
        work.clone().scope(task.detach()).await.unwrap();
        assert_eq!(pool.run(async |cx| cx.trace()).await.unwrap(), None);
        assert_eq!(*detached.lock().unwrap(), Some(trace));
    }
    let blocking = pool.run_blocking(|cx| {
        let current = TaskContext::current().unwrap();
        current.cancellation() == cx.cancellation()
    });
    assert!(blocking.await.unwrap());
    // The slot goes on without it.
    let next = pool.run(async |cx| cx.baggage_items().count());
    assert_eq!(next.await.unwrap(), 0);
}

async fn with_no_time_a_task_has_one_poll(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let polls = Arc::new(AtomicUsize::new(0));
    let counts = polls.clone();
    let task = pool.submit(async move |_| {
        poll_fn(|cx| {
            counts.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
        .await;
    });
    let late = task.timeout(ms(0)).await.unwrap().await.unwrap_err();
    assert!(matches!(late, TaskError::TimedOut { limit } if limit.is_zero()));
    assert_eq!(polls.load(Ordering::Relaxed), 1);
    // That is enough for one that does not wait.
    let quick = pool.submit(async |_| 7).timeout(ms(0)).await.unwrap();
    assert_eq!(quick.await.unwrap(), 7);
    // A closure is called, and is in time or not.
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = calls.clone();
    let closure = pool.submit_blocking(move |_| counts.fetch_add(1, Ordering::Relaxed));
    match closure.timeout(ms(0)).await.unwrap().await {
        Ok(before) => assert_eq!(before, 0),
        Err(late) => assert!(matches!(late, TaskError::TimedOut { limit } if limit.is_zero())),
    }
    pool.shutdown(LONG).await;
    rt.settle().await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

async fn a_future_that_was_ready_stays_pending(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let mut submit = pool.submit(async |_| 1);
    let mut handle = (&mut submit).await.unwrap();
    assert!(poll_once(&mut submit).is_pending());
    assert_eq!((&mut handle).await.unwrap(), 1);
    assert!(poll_once(&mut handle).is_pending());
    pool.shutdown(ms(0)).await;
    let mut refused = pool.submit_timeout(async |_| 1, LONG);
    assert!((&mut refused).await.is_err());
    assert!(poll_once(&mut refused).is_pending());
}

async fn a_submitters_cancellation_reaches_its_tasks(rt: TestRuntime) {
    let pool = one_slot(&rt, 4);
    let submitter = CancellationToken::new();
    let work = TaskContext::from_token(submitter.clone());
    let told = async |cx: TaskContext| {
        cx.cancellation().cancelled().await;
        cx.cancellation().reason()
    };
    let running = work.enter(|| pool.try_submit(told).unwrap());
    let queued = work.enter(|| pool.try_submit(told).unwrap());
    let other = pool.try_submit(async |cx| cx.is_cancelled()).unwrap();
    rt.settle().await;
    assert!(!running.is_finished());
    submitter.cancel_with("enough");
    assert_eq!(running.await.unwrap().as_deref(), Some("enough"));
    assert_eq!(queued.await.unwrap().as_deref(), Some("enough"));
    assert!(!other.await.unwrap(), "it has another submitter");
    // A context that is cancelled already, without a reason, and a task that does not care.
    let gone = CancellationToken::new();
    gone.cancel();
    let late = TaskContext::from_token(gone).scope(pool.run(told));
    assert_eq!(late.await.unwrap(), None);
    let deaf = work.scope(pool.run(async |_| 7));
    assert_eq!(deaf.await.unwrap(), 7);
    assert!(!pool.cancellation().is_cancelled());
}

async fn a_detached_task_has_no_handle(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let gate = occupy(&rt, &pool).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let task = || {
        let ran = ran.clone();
        async move |_| ran.fetch_add(1, Ordering::Relaxed)
    };
    let submit = pool.submit(task()).timeout(LONG).priority(0).detach();
    assert!(
        format!("{submit:?}").contains("SubmitDetached"),
        "{submit:?}"
    );
    submit.await.unwrap();
    let full = pool.submit(task()).detach().try_now().unwrap_err();
    assert!(matches!(full, TrySubmitError::Full { capacity: 1, .. }));
    let mut waits = pool.submit(task()).detach();
    assert!(poll_once(&mut waits).is_pending());
    gate.cancel();
    waits.await.unwrap();
    rt.settle().await;
    pool.submit(task()).detach().try_now().unwrap();
    // A panic, and a blocking closure.
    let panics = pool.submit(async |_| -> () { panic!("quietly") }).detach();
    panics.await.unwrap();
    let blocking = ran.clone();
    let blocking = pool.submit_blocking(move |_| blocking.fetch_add(1, Ordering::Relaxed));
    blocking.detach().await.unwrap();
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(ran.load(Ordering::Relaxed), 4);
    assert_eq!((pool.stats().completed, pool.stats().panicked), (5, 1));
    assert!(pool.submit(task()).detach().await.unwrap_err().is_closed());
}

async fn one_that_was_ready_takes_no_place(rt: TestRuntime) {
    let pool = one_slot(&rt, 1);
    let mut submit = pool.submit(async |_| 1);
    assert_eq!((&mut submit).await.unwrap().await.unwrap(), 1);
    let mut spent = submit.try_now().unwrap();
    assert!(spent.is_finished());
    assert!(poll_once(&mut spent).is_pending());
    let mut submit = pool.submit(async |_| ()).detach();
    (&mut submit).await.unwrap();
    submit.try_now().unwrap();
    rt.settle().await;
    // The one place is there.
    let gate = occupy(&rt, &pool).await;
    let mut submit = pool.submit(async |_| ());
    let queued = poll_once(&mut submit);
    assert!(queued.is_ready());
    // One that waits still has its task.
    let mut waits = pool.submit(async |_| 2);
    assert!(poll_once(&mut waits).is_pending());
    let full = waits.try_now().unwrap_err();
    assert!(matches!(full, TrySubmitError::Full { capacity: 1, .. }));
    pool.close();
    let mut refused = pool.submit(async |_| ());
    assert!((&mut refused).await.unwrap_err().is_closed());
    assert!(refused.try_now().is_ok());
    gate.cancel();
    assert!(pool.shutdown(LONG).await.is_clean());
    assert_eq!(pool.stats().submitted, 4);
}

#[test]
fn errors_and_handles_go_anywhere() {
    fn is_sync<T: Send + Sync>() {}
    fn is_unpin<T: Unpin>() {}
    // Send, and not Sync.
    type Cell = std::cell::Cell<u8>;
    is_sync::<SubmitError<Cell>>();
    is_sync::<TrySubmitError<Cell>>();
    is_sync::<Rejected<Cell>>();
    is_sync::<TaskError>();
    is_sync::<TaskHandle<Cell>>();
    is_unpin::<TaskHandle<std::marker::PhantomPinned>>();
}
