//! Events of `tracing`, as a subscriber sees them.

#[path = "../../../flow-ratelimit/tests/support/notebook.rs"]
mod notebook;

use flow_rt::{OnFull, sim};
use flow_sched::{Shutdown, TaskError, WorkerPool};

use crate::common::{LONG, ms, quiet};

/// What is told while `act` runs on this thread.
fn told(act: impl FnOnce()) -> Vec<String> {
    notebook::told("flow_sched", act)
}

fn starts_are(events: &[String], starts: &[&str]) {
    assert_eq!(events.len(), starts.len(), "{events:#?}");
    for (event, start) in events.iter().zip(starts) {
        assert!(event.starts_with(start), "{event}\nis not {start}");
    }
}

#[test]
fn tasks_that_fail_are_told_and_others_are_not() {
    quiet();
    let events = told(|| {
        sim::check(0..1, |rt| async move {
            let pool = WorkerPool::builder().name("io").slots(1).build().unwrap();
            pool.run(async |_| ()).await.unwrap();
            let panicked = pool.run(async |_| panic!("quiet: a bug")).await;
            assert!(matches!(panicked, Err(TaskError::Panicked(_))));
            let slow = pool.submit(async move |_| rt.sleep(LONG).await);
            let slow = slow.timeout(ms(5)).await.unwrap().await;
            assert!(matches!(slow, Err(TaskError::TimedOut { .. })));
            assert!(pool.shutdown(LONG).await.is_clean());
        });
    });
    starts_are(
        &events,
        &[
            "WARN message=a task has panicked pool=\"io\" slot=0 panic=",
            "WARN message=a task ran for too long and was dropped pool=\"io\" slot=0 limit=5ms",
            "DEBUG message=a pool was closed pool=\"io\" queued=0 running=0",
            "DEBUG message=a pool was shut down pool=\"io\" report=io: 0 completed",
        ],
    );
    assert!(events[0].contains("quiet: a bug"), "{}", events[0]);
}

#[test]
fn a_task_that_its_submitter_runs_has_no_slot() {
    quiet();
    let events = told(|| {
        sim::check(0..1, |_rt| async move {
            let builder = WorkerPool::builder().name("io").slots(1).rendezvous();
            let pool = builder.on_full(OnFull::CallerRuns).build().unwrap();
            let waits = pool.try_submit(async |cx| cx.cancellation().cancelled().await);
            let panics = pool.submit(async |_| panic!("quiet: a bug")).await.unwrap();
            assert!(panics.await.unwrap_err().is_panic());
            let slow = pool.submit(async |_| std::future::pending::<()>().await);
            assert!(slow.timeout(ms(5)).await.unwrap().await.is_err());
            pool.shutdown(ms(0)).await;
            drop(waits);
        });
    });
    starts_are(
        &events[..2],
        &[
            "WARN message=a task has panicked pool=\"io\" panic=",
            "WARN message=a task ran for too long and was dropped pool=\"io\" limit=5ms",
        ],
    );
}

#[test]
fn a_full_queue_is_told_once_and_what_it_cost_at_its_end() {
    for on_full in [OnFull::Reject, OnFull::DropOldest] {
        let events = told(|| {
            sim::check(0..1, |rt| async move {
                let builder = WorkerPool::builder().name("io").slots(1).queue(2);
                let pool = builder.on_full(on_full).build().unwrap();
                for _ in 0..2 {
                    // Nothing has run yet: two have room, the others cost one task each.
                    for _ in 0..5 {
                        let _ = pool.submit(async |_| ()).detach().try_now();
                    }
                    rt.run_until_idle().await;
                }
                pool.close();
                rt.run_until_idle().await;
            });
        });
        let full = format!(
            "WARN message=a pool's queue is full and costs tasks pool=\"io\" capacity=2 running=0 on_full={on_full}"
        );
        let over = "INFO message=a pool's queue costs no tasks any more pool=\"io\" lost=3";
        let closed = "DEBUG message=a pool was closed pool=\"io\"";
        starts_are(&events, &[&full, over, &full, over, closed]);
    }
}

#[test]
fn the_phases_of_a_shutdown_are_told() {
    let events = told(|| {
        sim::check(0..1, |rt| async move {
            let builder = WorkerPool::builder().name("io").slots(1).queue(2);
            let pool = builder.build().unwrap();
            for _ in 0..2 {
                let task = pool.submit(async |_| std::future::pending::<()>().await);
                task.detach().await.unwrap();
            }
            rt.run_until_idle().await;
            let how = Shutdown::drain(ms(5)).then_cancel(ms(5));
            assert!(!pool.shutdown(how).await.is_clean());
        });
    });
    starts_are(
        &events,
        &[
            "DEBUG message=a pool was closed pool=\"io\" queued=1 running=1",
            "WARN message=a pool's time to drain is over: what is queued is abandoned, what runs is told to stop pool=\"io\" queued=1 running=1",
            "WARN message=tasks of a pool did not stop when told to, and are dropped pool=\"io\" running=1",
            "WARN message=a pool was shut down and not all of its tasks ended by themselves pool=\"io\" report=io: 0 completed, 1 dropped, 1 never ran",
        ],
    );
}
