//! What the pool's errors say, word for word, and what they give back; and what `{:?}` tells.

use std::error::Error;
use std::time::Duration;

use flow_rt::{HandleError, OnFull, TaskContext, TestRuntime};
use flow_sched::{PoolConfigError, Rejected, SubmitError, TaskError, TrySubmitError, WorkerPool};

use crate::common::ms;

flow_rt::on_every_runtime! {
    seeds 0..1;
    of_submitting,
    of_trying_to_submit,
    of_tasks,
    a_pool_shows_its_state,
}

#[track_caller]
fn says<E: Error>(error: &E, text: &str, source: Option<&dyn Error>) {
    assert_eq!(error.to_string(), text);
    assert_eq!(
        error.source().map(ToString::to_string),
        source.map(ToString::to_string)
    );
}

#[test]
fn of_building_a_pool() {
    let no_runtime = HandleError::NotFound;
    let errors = [
        (
            PoolConfigError::NoSlots,
            "the pool has 0 slots, so no task would ever run; 1 to 1048575 are allowed",
        ),
        (
            PoolConfigError::EmptySlotRange { min: 3, max: 2 },
            "the range of slots 3..=2 is empty; its end must not be before its start",
        ),
        (
            PoolConfigError::TooManySlots { given: 2_000_000 },
            "the pool has 2000000 slots; at most 1048575 are allowed",
        ),
        (
            PoolConfigError::ZeroQueue,
            "the queue has room for 0 tasks; 1 to 16777216 are allowed, and `rendezvous` is a pool \
             without a queue",
        ),
        (
            PoolConfigError::QueueTooLong { given: 20_000_000 },
            "the queue has room for 20000000 tasks; at most 16777216 are allowed, because its \
             memory is taken when the pool is built",
        ),
        (
            PoolConfigError::UnsupportedOnFull {
                given: OnFull::DropNewest,
            },
            "a pool cannot answer \"full\" with drop-newest; wait, reject, drop-oldest and \
             caller-runs are allowed",
        ),
        (
            PoolConfigError::NothingToDrop,
            "a rendezvous has no queue whose oldest task could be dropped; wait, reject and \
             caller-runs are allowed",
        ),
        (
            PoolConfigError::Priorities { given: 0 },
            "the pool has 0 priorities; 1 to 16 are allowed",
        ),
        (
            PoolConfigError::ZeroAgeing,
            "`ageing` is zero, so that the least urgent task would always be next; 1 turn and \
             more are allowed",
        ),
        (
            PoolConfigError::ZeroDuration {
                option: "task_timeout",
            },
            "`task_timeout` is zero; leave it out for no limit, or give more than zero",
        ),
        (
            PoolConfigError::ZeroDuration {
                option: "idle_timeout",
            },
            "`idle_timeout` is zero; more than zero is allowed",
        ),
    ];
    for (error, text) in &errors {
        says(error, text, None);
    }
    says(
        &PoolConfigError::from(no_runtime),
        &no_runtime.to_string(),
        Some(&no_runtime),
    );
    #[cfg(feature = "adaptive")]
    {
        let overload = flow_sched::Sizing::default().load(|| 0.5, 2.0);
        let error = WorkerPool::builder().adaptive(overload).build();
        let error = error.unwrap_err();
        let source = error.source().unwrap();
        assert_eq!(error.to_string(), source.to_string());
    }
}

/// A task that a closed pool gives back.
fn rejected(rt: &TestRuntime) -> Rejected<fn(TaskContext) -> std::future::Ready<u8>> {
    let pool = WorkerPool::builder()
        .runtime(rt)
        .slots(1)
        .queue(1)
        .build()
        .unwrap();
    pool.close();
    let task: fn(TaskContext) -> std::future::Ready<u8> = |_| std::future::ready(7);
    match pool.try_submit(task) {
        Err(TrySubmitError::Closed(task)) => task,
        other => panic!("{other:?}"),
    }
}

const CLOSED: &str = "the pool is closed and takes no more tasks";
const FULL: &str = "the pool's queue is full (5 tasks)";
const UNKNOWN: &str = "the pool has no priority 7; 0 to 2 are allowed";
const NESTED: &str = "the pool's queue is full (5 tasks); a task that waited for room would keep \
                      the slot that has to make it";

async fn of_submitting(rt: TestRuntime) {
    let errors = [
        (SubmitError::Closed(rejected(&rt)), CLOSED, "Closed { .. }"),
        (
            SubmitError::Full {
                task: rejected(&rt),
                capacity: 5,
            },
            FULL,
            "Full { capacity: 5, .. }",
        ),
        (
            SubmitError::Nested {
                task: rejected(&rt),
                capacity: 5,
            },
            NESTED,
            "Nested { capacity: 5, .. }",
        ),
        (
            SubmitError::UnknownPriority {
                task: rejected(&rt),
                given: 7,
                priorities: 3,
            },
            UNKNOWN,
            "UnknownPriority { given: 7, priorities: 3, .. }",
        ),
        (
            SubmitError::Full {
                task: rejected(&rt),
                capacity: 0,
            },
            "no slot of the pool is free, and it has no queue",
            "Full { capacity: 0, .. }",
        ),
        (
            SubmitError::TimedOut {
                task: rejected(&rt),
                timeout: ms(20),
            },
            "the pool's queue had no room within 20ms",
            "TimedOut { timeout: 20ms, .. }",
        ),
    ];
    for (error, text, debug) in errors {
        says(&error, text, None);
        assert_eq!(format!("{error:?}"), debug);
        assert_eq!(error.is_closed(), text == CLOSED);
        let _task = error.into_inner();
    }
}

async fn of_trying_to_submit(rt: TestRuntime) {
    assert_eq!(format!("{:?}", rejected(&rt)), "Rejected { .. }");
    let errors = [
        (
            TrySubmitError::Closed(rejected(&rt)),
            CLOSED,
            "Closed { .. }",
        ),
        (
            TrySubmitError::Full {
                task: rejected(&rt),
                capacity: 5,
            },
            FULL,
            "Full { capacity: 5, .. }",
        ),
    ];
    for (error, text, debug) in errors {
        says(&error, text, None);
        assert_eq!(format!("{error:?}"), debug);
        assert_eq!(error.is_closed(), text == CLOSED);
        let _task = error.into_inner();
    }
}

async fn of_tasks(rt: TestRuntime) {
    crate::common::quiet();
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(1)
        .build()
        .unwrap();
    let panicked = pool
        .run(async |_| panic!("quiet: of a task"))
        .await
        .unwrap_err();
    says(&panicked, "the task panicked: quiet: of a task", None);
    assert!(panicked.is_panic() && !panicked.is_cancelled());

    let cancelled = TaskError::Cancelled;
    says(
        &cancelled,
        "the task was aborted, or stopped by a shutdown of its pool or of its runtime",
        None,
    );
    assert!(cancelled.is_cancelled() && !cancelled.is_panic());
    says(
        &TaskError::TimedOut { limit: ms(20) },
        "the task did not end within 20ms and was dropped",
        None,
    );
    says(
        &TaskError::Closed,
        "the pool was closed before the task could run",
        None,
    );
    says(
        &TaskError::Evicted,
        "the task was dropped from a full queue in favour of a newer one",
        None,
    );
    says(&TaskError::Full { capacity: 5 }, FULL, None);
    says(&TaskError::Nested { capacity: 5 }, NESTED, None);

    pool.close();
    let closed = pool.run_blocking(|_| ()).await.unwrap_err();
    assert!(matches!(closed, TaskError::Closed), "{closed}");
    let closed = pool.run(async |_| ()).await.unwrap_err();
    assert!(matches!(closed, TaskError::Closed), "{closed}");
}

async fn a_pool_shows_its_state(rt: TestRuntime) {
    let builder = WorkerPool::builder()
        .name("jobs")
        .runtime(&rt)
        .slots(2)
        .queue(3)
        .task_timeout(Duration::from_secs(1))
        .on_panic(|_| ());
    let text = format!("{builder:?}");
    for part in [
        "name: \"jobs\"",
        "slots: 2..=2",
        "Wait",
        "task_timeout: Some(1s)",
        "panic: true",
        "task_end: false",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let pool = builder.build().unwrap();
    assert_eq!((pool.name(), pool.capacity()), ("jobs", Some(3)));
    assert!(format!("{pool:?}").starts_with("WorkerPool"), "{pool:?}");
}
