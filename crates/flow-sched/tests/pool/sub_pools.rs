//! Pools on the slots of other pools: what of the one above holds for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flow_rt::TestRuntime;
use flow_sched::{Shutdown, TaskError, TaskHandle, WorkerPool};
use futures_util::future::join_all;

use crate::common::{Gate, LONG, ms, occupy};

flow_rt::on_every_runtime! {
    seeds 0..50;
    resized_it_keeps_no_idle_slot,
    the_limit_above_is_not_its_own,
    what_it_has_queued_still_runs_when_the_pool_above_is_closed,
    a_shutdown_above_waits_for_it,
    its_tasks_have_the_grace_of_a_shutdown_above,
    its_tasks_hear_of_a_cancellation_above,
    a_shutdown_above_abandons_and_drops_its_tasks,
    on_a_closed_pool_it_is_closed,
    one_that_has_ended_holds_nothing_up,
    a_submitters_cancellation_is_not_the_slots,
}

fn pool(rt: &TestRuntime, slots: usize) -> WorkerPool {
    let builder = WorkerPool::builder().runtime(rt);
    builder.slots(slots).queue(8).build().unwrap()
}

fn sub_pool(above: &WorkerPool) -> WorkerPool {
    let builder = above.sub_pool().name("sub").slots(1);
    builder.queue(200).build().unwrap()
}

/// So many tasks, each of which takes a millisecond.
fn naps(rt: &TestRuntime, pool: &WorkerPool, tasks: usize) -> Vec<TaskHandle<()>> {
    let nap = |_| {
        let rt = rt.clone();
        pool.try_submit(async move |_| rt.sleep(ms(1)).await.unwrap())
    };
    (0..tasks).map(nap).collect::<Result<_, _>>().unwrap()
}

async fn resized_it_keeps_no_idle_slot(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    sub.resize(2).unwrap();
    assert_eq!(sub.slots(), 0..=2);
    sub.run(async |_| ()).await.unwrap();
    assert_eq!(above.run(async |_| 1).await.unwrap(), 1);
    sub.resize(1..=1).unwrap();
    assert_eq!(sub.slots(), 0..=1);
    assert_eq!(join_all(naps(&rt, &sub, 2)).await.len(), 2);
    assert_eq!(above.run(async |_| 2).await.unwrap(), 2);
}

async fn the_limit_above_is_not_its_own(rt: TestRuntime) {
    let builder = WorkerPool::builder().runtime(&rt).slots(1);
    let above = builder.task_timeout(ms(5)).build().unwrap();
    let sub = sub_pool(&above);
    // One that takes longer, and many that do together.
    let sleeper = rt.clone();
    let long = sub.try_submit(async move |_| sleeper.sleep(ms(20)).await.unwrap());
    let short = naps(&rt, &sub, 20);
    long.unwrap().await.unwrap();
    assert!(join_all(short).await.iter().all(Result::is_ok));
    assert!(!sub.is_closed());
    assert_eq!(above.stats().timed_out, 0);
    // For its own tasks it holds, and so does a limit of the sub-pool's.
    let late = above.run(async |_| std::future::pending::<()>().await);
    assert!(matches!(late.await, Err(TaskError::TimedOut { limit }) if limit == ms(5)));
    let limited = above.sub_pool().task_timeout(ms(7)).build().unwrap();
    let late = limited.run(async |_| std::future::pending::<()>().await);
    assert!(matches!(late.await, Err(TaskError::TimedOut { limit }) if limit == ms(7)));
}

async fn what_it_has_queued_still_runs_when_the_pool_above_is_closed(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    // More than a slot runs in a row, and behind a task that has the only slot above.
    let gate = occupy(&rt, &above).await;
    let tasks = naps(&rt, &sub, 150);
    above.close();
    assert!(sub.is_closed());
    assert!(sub.try_submit(async |_| ()).unwrap_err().is_closed());
    gate.cancel();
    assert!(join_all(tasks).await.iter().all(Result::is_ok));
    assert!(above.shutdown(LONG).await.is_clean());
}

async fn a_shutdown_above_waits_for_it(rt: TestRuntime) {
    let above = pool(&rt, 2);
    let sub = above.sub_pool().slots(2).queue(200).build().unwrap();
    let of_sub = sub.sub_pool().slots(2).queue(200).build().unwrap();
    let tasks = [naps(&rt, &sub, 150), naps(&rt, &of_sub, 150)];
    let report = above.shutdown(LONG).await;
    assert!(report.is_clean(), "{report}");
    for task in tasks.into_iter().flatten() {
        assert!(task.is_finished());
        task.await.unwrap();
    }
    for pool in [above, sub, of_sub] {
        assert_eq!(pool.stats().slots, 0);
    }
}

async fn its_tasks_have_the_grace_of_a_shutdown_above(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let sleeper = rt.clone();
    let tidies_up = sub.try_submit(async move |cx| {
        cx.cancellation().cancelled().await;
        sleeper.sleep(ms(5)).await.unwrap();
    });
    rt.settle().await;
    let queued = sub.try_submit(async |_| ()).unwrap();
    let before = rt.now();
    let how = Shutdown::drain(ms(10)).then_cancel(ms(20));
    let report = above.shutdown(how).await;
    assert_eq!(rt.now() - before, ms(15));
    assert_eq!((report.cancelled, report.dropped), (1, 0), "{report}");
    tidies_up.unwrap().await.unwrap();
    assert!(matches!(queued.await, Err(TaskError::Closed)));
}

async fn its_tasks_hear_of_a_cancellation_above(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let told = sub.try_submit(async |cx| cx.cancellation().cancelled().await);
    above.cancellation().cancel();
    told.unwrap().await.unwrap();
    assert!(!sub.is_closed());
}

async fn a_shutdown_above_abandons_and_drops_its_tasks(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let running = sub.try_submit(async |_| std::future::pending::<()>().await);
    rt.settle().await;
    let queued = sub.try_submit(async |_| ()).unwrap();
    let before = rt.now();
    let report = above.shutdown(ms(5)).await;
    assert_eq!(rt.now() - before, ms(5));
    assert!(!report.is_clean());
    assert!(running.unwrap().await.unwrap_err().is_cancelled());
    assert!(matches!(queued.await, Err(TaskError::Closed)));
    let report = sub.shutdown(LONG).await;
    assert_eq!((report.dropped, report.abandoned), (1, 1), "{report}");
    assert_eq!((above.stats().slots, sub.stats().slots), (0, 0));
}

async fn on_a_closed_pool_it_is_closed(rt: TestRuntime) {
    let above = pool(&rt, 1);
    above.close();
    let sub = sub_pool(&above);
    assert!(sub.is_closed());
    assert!(sub.submit(async |_| ()).await.unwrap_err().is_closed());
    assert!(sub.shutdown(LONG).await.is_clean());
    assert!(above.shutdown(LONG).await.is_clean());
}

async fn one_that_has_ended_holds_nothing_up(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let ended = sub_pool(&above);
    ended.run(async |_| ()).await.unwrap();
    assert!(ended.shutdown(LONG).await.is_clean());
    // Its last handle closes it, and its task runs on.
    let dropped = sub_pool(&above);
    let task = naps(&rt, &dropped, 1);
    drop(dropped);
    assert!(!above.is_closed());
    assert!(above.shutdown(LONG).await.is_clean());
    assert!(task[0].is_finished());
}

/// The slot that a submit starts runs for others too.
async fn a_submitters_cancellation_is_not_the_slots(rt: TestRuntime) {
    let above = pool(&rt, 1);
    let sub = sub_pool(&above);
    let (ran, asked) = (Arc::new(AtomicUsize::new(0)), Gate::new());
    let caller = flow_rt::TaskContext::under_token(asked.clone());
    let gate = occupy(&rt, &above).await;
    let first = caller.enter(|| sub.try_submit(async |cx| cx.is_cancelled()));
    let counts = ran.clone();
    let second = sub.try_submit(async move |cx| {
        counts.fetch_add(1, Ordering::Relaxed);
        cx.is_cancelled()
    });
    asked.cancel();
    gate.cancel();
    assert!(first.unwrap().await.unwrap());
    assert!(!second.unwrap().await.unwrap());
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}
