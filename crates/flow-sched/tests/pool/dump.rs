//! Dumps: what runs and what waits, since when, and where from.

use std::time::Duration;

use flow_rt::{TaskContext, TestRuntime, sim};
use flow_sched::{PoolPhase, PoolTask, WorkerPool, WorkerPoolBuilder};

use crate::common::{Gate, LONG, ms, occupy, poll_once};

flow_rt::on_every_runtime! {
    seeds 0..50;
    a_dump_names_what_runs_and_what_waits,
    a_task_that_was_told_to_stop_says_so,
    a_task_that_has_ended_is_not_on_the_roll,
    a_pool_without_a_roll_counts,
    what_is_spawned_and_grouped_has_its_place,
    a_dump_says_what_the_pool_is_at,
    the_text_is_short_unless_asked,
    a_hand_off_is_as_old_as_its_wait,
}

fn builder(rt: &TestRuntime) -> WorkerPoolBuilder {
    let builder = WorkerPool::builder().runtime(rt).name("io");
    builder.slots(1).queue(100).track_tasks(true)
}

fn names(tasks: &[PoolTask]) -> Vec<&str> {
    tasks
        .iter()
        .map(|task| task.name.as_deref().unwrap_or("-"))
        .collect()
}

async fn a_dump_names_what_runs_and_what_waits(rt: TestRuntime) {
    let pool = builder(&rt).priorities(2).build().unwrap();
    let gate = Gate::new();
    let busy = gate.clone();
    let line = line!() + 1;
    let task = pool.submit(async move |_| busy.cancelled().await);
    let task = task.name("busy").await.unwrap();
    rt.settle().await;
    rt.advance(ms(30)).await;
    for (name, priority) in [("low", 0), ("late", 0), ("urgent", 1)] {
        let task = pool.submit(async |_| ()).name(name.to_owned());
        task.priority(priority).detach().await.unwrap();
    }
    rt.advance(ms(20)).await;

    let dump = pool.dump();
    let [running] = dump.running() else {
        panic!("one runs: {dump}");
    };
    assert_eq!(running.name.as_deref(), Some("busy"));
    let place = running.submitted_at.unwrap();
    assert!(place.file().ends_with("tests/pool/dump.rs"), "{place}");
    assert_eq!(place.line(), line);
    assert_eq!((running.priority, running.slot), (Some(0), Some(0)));
    assert_eq!(running.age, ms(50));
    assert_eq!(running.running_for, Some(ms(50)));
    assert!(!running.cancelled);
    assert_eq!(names(dump.queued()), ["urgent", "low", "late"]);
    assert!(dump.queued().iter().all(|task| task.age == ms(20)));
    assert_eq!(dump.queued()[0].running_for, None);
    assert_eq!(dump.lanes, [2, 1]);
    assert_eq!((dump.stats.running, dump.stats.queued), (1, 3));

    let text = dump.to_string();
    assert!(text.starts_with("io: open, 1 of 1..=1 slots busy, 1 running, 3 queued of 100"));
    assert!(
        text.contains("runs 50.000ms on slot 0, priority 0, \"busy\", from "),
        "{text}"
    );
    assert!(
        text.contains("waits 20.000ms, priority 1, \"urgent\""),
        "{text}"
    );
    gate.cancel();
    task.await.unwrap();
    pool.shutdown(LONG).await;
}

async fn a_task_that_was_told_to_stop_says_so(rt: TestRuntime) {
    let pool = builder(&rt).slots(2).build().unwrap();
    let cancelled = || {
        let dump = pool.dump();
        let of = |tasks: &[PoolTask]| tasks.iter().map(|task| task.cancelled).collect::<Vec<_>>();
        (of(dump.running()), of(dump.queued()))
    };
    let (first, second) = (occupy(&rt, &pool).await, occupy(&rt, &pool).await);
    let scope = TaskContext::new();
    let waits = scope.enter(|| pool.try_submit(async |_| ()).unwrap());
    assert_eq!(cancelled(), (vec![false, false], vec![false]));
    // The submitter was cancelled, and nobody has come to the task yet.
    scope.cancellation().cancel();
    assert_eq!(cancelled(), (vec![false, false], vec![true]));
    waits.abort();
    assert_eq!(cancelled(), (vec![false, false], vec![]));
    pool.cancellation().cancel();
    assert_eq!(cancelled(), (vec![true, true], vec![]));
    first.cancel();
    second.cancel();
    rt.settle().await;
    assert_eq!(cancelled(), (vec![], vec![]));
}

async fn a_task_that_has_ended_is_not_on_the_roll(rt: TestRuntime) {
    let pool = builder(&rt).build().unwrap();
    // By itself, by a panic, by time, by an abort that runs and one that waits.
    crate::common::quiet();
    let done = pool.submit(async |_| 7).await.unwrap();
    let panics = pool.submit(async |_| panic!("quiet")).await.unwrap();
    rt.settle().await;
    let slow = pool.submit(async |_| std::future::pending::<()>().await);
    let slow = slow.timeout(ms(10)).await.unwrap();
    rt.settle().await;
    let waits = pool.submit(async |_| ()).await.unwrap();
    waits.abort();
    assert_eq!(pool.dump().queued().len(), 0);
    assert_eq!(pool.dump().lanes, [1], "until a slot comes to it");
    rt.advance(ms(10)).await;
    rt.settle().await;
    let blocking = pool.submit_blocking(|_| 8).await.unwrap();
    rt.settle().await;
    let dump = pool.dump();
    assert_eq!((dump.running().len(), dump.queued().len()), (0, 0));
    // The handles are there all the while.
    assert_eq!((done.await.unwrap(), blocking.await.unwrap()), (7, 8));
    assert!(slow.await.is_err() && waits.await.is_err() && panics.await.is_err());
    // One that a closed pool drops as it is spawned was on the roll, and is not.
    pool.close();
    pool.handle().spawn_detached(async {});
    assert_eq!(pool.dump().queued().len(), 0);
}

async fn a_pool_without_a_roll_counts(rt: TestRuntime) {
    let pool = builder(&rt)
        .priorities(2)
        .track_tasks(false)
        .build()
        .unwrap();
    let gate = occupy(&rt, &pool).await;
    let low = pool.submit(async |_| ()).name("nobody asks");
    low.detach().await.unwrap();
    let dump = pool.dump();
    assert!(dump.tasks.is_none() && dump.running().is_empty() && dump.queued().is_empty());
    assert_eq!(dump.lanes, [1, 0]);
    let text = dump.to_string();
    assert!(text.contains("priority 0: 1 queued\n"), "{text}");
    assert!(text.ends_with("tasks are not tracked\n"), "{text}");
    gate.cancel();
    pool.shutdown(LONG).await;
}

async fn what_is_spawned_and_grouped_has_its_place(rt: TestRuntime) {
    let pool = builder(&rt).build().unwrap();
    let gate = occupy(&rt, &pool).await;
    pool.handle().spawn_detached_named("driver", async {});
    pool.handle().spawn_blocking(|| ()).detach();
    let group = pool.group().run_all([async |_| ()]);
    let mut group = Box::pin(group);
    assert!(crate::common::poll_once(&mut group).is_pending());
    let dump = pool.dump();
    assert_eq!(names(dump.queued()), ["driver", "-", "-"]);
    assert_eq!(dump.spawned, 2);
    let place = |at: usize| {
        dump.queued()[at]
            .submitted_at
            .map(std::panic::Location::file)
    };
    assert!(place(0).is_some_and(|file| file.ends_with("dump.rs")));
    assert_eq!(place(1), None, "a closure comes without one");
    assert!(place(2).is_some_and(|file| file.ends_with("dump.rs")));
    assert_eq!(dump.queued()[0].priority, None);
    gate.cancel();
    group.await;
    // `run` is the caller's place too.
    let gate = occupy(&rt, &pool).await;
    let mut run = Box::pin(pool.run(async |_| ()));
    assert!(crate::common::poll_once(&mut run).is_pending());
    let place = pool.dump().queued()[0].submitted_at.unwrap();
    assert!(place.file().ends_with("tests/pool/dump.rs"), "{place}");
    gate.cancel();
    run.await.unwrap();
}

async fn a_dump_says_what_the_pool_is_at(rt: TestRuntime) {
    let pool = builder(&rt).build().unwrap();
    let gate = occupy(&rt, &pool).await;
    assert_eq!(pool.dump().phase, PoolPhase::Open);
    pool.close();
    assert_eq!(pool.dump().phase, PoolPhase::Draining);
    gate.cancel();
    pool.shutdown(LONG).await;
    assert_eq!(pool.dump().phase, PoolPhase::Ended);
}

async fn the_text_is_short_unless_asked(rt: TestRuntime) {
    let pool = builder(&rt).build().unwrap();
    let gate = occupy(&rt, &pool).await;
    for _ in 0..20 {
        pool.submit(async |_| ()).detach().await.unwrap();
    }
    let dump = pool.dump();
    let short = dump.to_string();
    assert_eq!(short.matches("waits").count(), 16, "{short}");
    assert!(short.ends_with("and 4 more of this priority\n"), "{short}");
    assert_eq!(format!("{dump:#}").matches("waits").count(), 20);
    gate.cancel();
    pool.shutdown(LONG).await;
}

/// However tasks come and go, the roll holds those that are there, and no others.
#[test]
fn the_roll_agrees_with_the_figures() {
    sim::check(0..100, |rt| async move {
        let pool = WorkerPool::builder().slots(3).unbounded();
        let pool = pool.track_tasks(true).build().unwrap();
        let mut handles = Vec::new();
        for step in 0..200_u64 {
            let sleeper = rt.clone();
            let nap = Duration::from_micros(step * 7 % 50);
            let task = pool.submit(async move |_| sleeper.sleep(nap).await);
            match step % 4 {
                0 => task.timeout(ms(0)).detach().await.unwrap(),
                1 => task.detach().await.unwrap(),
                _ => handles.push(task.await.unwrap()),
            }
            if step % 5 == 0 && !handles.is_empty() {
                handles.swap_remove(step as usize % handles.len()).abort();
            }
            if step % 11 == 0 {
                rt.sleep(Duration::from_micros(20)).await;
            }
            // One thread: nothing moves between the two.
            let (dump, stats) = (pool.dump(), pool.stats());
            assert_eq!(dump.running().len() as u64, stats.running);
            assert_eq!(dump.queued().len() as u64, stats.queued);
        }
        let report = pool.shutdown(LONG).await;
        assert_eq!((report.dropped, report.abandoned, report.stuck), (0, 0, 0));
        let dump = pool.dump();
        assert_eq!((dump.running().len(), dump.queued().len()), (0, 0));
    });
}

async fn a_hand_off_is_as_old_as_its_wait(rt: TestRuntime) {
    let pool = builder(&rt).rendezvous().build().unwrap();
    let gate = occupy(&rt, &pool).await;
    let last = Gate::new();
    let busy = last.clone();
    let mut waits = pool.submit(async move |_| busy.cancelled().await);
    assert!(poll_once(&mut waits).is_pending());
    rt.advance(ms(30)).await;
    gate.cancel();
    let handle = waits.await.unwrap();
    rt.settle().await;
    let ages: Vec<_> = pool.dump().running().iter().map(|it| it.age).collect();
    assert_eq!(ages, [ms(30)]);
    last.cancel();
    handle.await.unwrap();
    pool.shutdown(LONG).await;
}
