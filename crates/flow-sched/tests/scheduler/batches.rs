//! Batches: tasks beside one another.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::TestRuntime;
use flow_sched::{
    Batch, BatchConfigError, BatchError, Chain, JobContext, JobHandle, Overlap, RunOutcome,
    ScheduleError, Scheduler, WorkerPool,
};

use crate::common::{MIN, SEC, ms, scheduler, secs};

flow_rt::on_every_runtime! {
    seeds 0..30;
    case_123_two_at_once_of_four,
    case_123_the_first_error_ends_the_batch_or_all_are_collected,
    a_batch_that_takes_too_long_leaves_nothing_running,
    a_run_that_is_dropped_takes_its_batch_along,
    one_slot_is_enough_and_batches_nest,
    tasks_have_the_jobs_priority_and_context,
    a_pool_that_closes_fails_the_batch,
    bad_batches_are_refused,
}

/// How many tasks are inside, how many were at most, and which have ended.
#[derive(Clone)]
struct Tasks {
    rt: TestRuntime,
    inside: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    ended: Arc<Mutex<Vec<&'static str>>>,
}

struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Tasks {
    fn new(rt: &TestRuntime) -> Self {
        Self {
            rt: rt.clone(),
            inside: Arc::default(),
            most: Arc::default(),
            ended: Arc::default(),
        }
    }

    /// Adds a task that takes `time`, and fails if its name begins with an x.
    fn add(&self, batch: Batch, name: &'static str, time: Duration) -> Batch {
        batch.task_with(name, self.clone(), move |_cx, tasks: Self| async move {
            let inside = tasks.inside.fetch_add(1, Relaxed) + 1;
            tasks.most.fetch_max(inside, Relaxed);
            let _inside = Inside(tasks.inside.clone());
            tasks.rt.sleep(time).await.unwrap();
            tasks.ended.lock().unwrap().push(name);
            assert!(!name.starts_with("xx"), "as told");
            if name.starts_with('x') {
                Err("no luck")
            } else {
                Ok(())
            }
        })
    }

    fn inside(&self) -> usize {
        self.inside.load(Relaxed)
    }

    fn take(&self) -> (usize, Vec<&'static str>) {
        let most = self.most.swap(0, Relaxed);
        (most, core::mem::take(&mut *self.ended.lock().unwrap()))
    }
}

/// A scheduler whose runs are tasks of the runtime, and one with a pool of two slots.
fn kinds(rt: &TestRuntime) -> [Scheduler; 2] {
    let pool = WorkerPool::builder().runtime(rt).slots(2).queue(1);
    let pool = pool.build().unwrap();
    [
        Scheduler::builder().runtime(rt).build().unwrap(),
        Scheduler::builder().pool(&pool).build().unwrap(),
    ]
}

fn start(scheduler: &Scheduler, name: &'static str, batch: Batch) -> JobHandle {
    scheduler.batch(name, batch).after(SEC).start().unwrap()
}

fn outcome(job: &JobHandle) -> RunOutcome {
    job.last().unwrap().outcome
}

fn failed(message: &str) -> RunOutcome {
    RunOutcome::Failed(message.into())
}

async fn case_123_two_at_once_of_four(rt: TestRuntime) {
    for scheduler in kinds(&rt) {
        let tasks = Tasks::new(&rt);
        let mut batch = Batch::new().concurrency(2);
        for (name, time) in [("a", 400), ("b", 100), ("c", 100), ("d", 100)] {
            batch = tasks.add(batch, name, ms(time));
        }
        let job = start(&scheduler, "four", batch.clone());
        rt.advance(secs(2)).await;
        assert_eq!(tasks.take(), (2, vec!["b", "c", "d", "a"]));
        let last = job.last().unwrap();
        assert_eq!(
            (last.outcome, last.duration),
            (RunOutcome::Completed, ms(400))
        );
        let one = start(&scheduler, "one", batch.concurrency(1));
        rt.advance(secs(2)).await;
        assert_eq!(tasks.take(), (1, vec!["a", "b", "c", "d"]));
        assert_eq!(one.last().unwrap().duration, ms(700));
    }
    // All at once, unless told otherwise.
    let scheduler = scheduler(&rt);
    let tasks = Tasks::new(&rt);
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let add = |batch, name| tasks.add(batch, name, SEC);
    start(&scheduler, "all", names.into_iter().fold(Batch::new(), add));
    rt.advance(secs(3)).await;
    assert_eq!(tasks.take().0, 7);
}

async fn case_123_the_first_error_ends_the_batch_or_all_are_collected(rt: TestRuntime) {
    for scheduler in kinds(&rt) {
        let tasks = Tasks::new(&rt);
        let mut batch = Batch::new().concurrency(2);
        for (name, time) in [("a", 500), ("x", 100), ("b", 100), ("xx", 50), ("c", 50)] {
            batch = tasks.add(batch, name, ms(time));
        }
        let first = start(&scheduler, "first", batch.clone());
        rt.advance(secs(2)).await;
        let told = "1 of 5 tasks of the batch failed; task \"x\" failed: no luck";
        assert_eq!(outcome(&first), failed(told));
        assert_eq!(
            first.last().unwrap().duration,
            ms(100),
            "the others are not waited for"
        );
        assert_eq!((tasks.take(), tasks.inside()), ((2, vec!["x"]), 0));
        let all = start(&scheduler, "all", batch.collect_all());
        rt.advance(secs(2)).await;
        let told = "2 of 5 tasks of the batch failed; task \"x\" failed: no luck";
        assert_eq!(outcome(&all), failed(told));
        let ended = tasks.take().1;
        assert_eq!(ended, ["x", "b", "xx", "c", "a"]);
    }
}

async fn a_batch_that_takes_too_long_leaves_nothing_running(rt: TestRuntime) {
    for scheduler in kinds(&rt) {
        let tasks = Tasks::new(&rt);
        let mut batch = Batch::new().timeout(ms(250));
        for (name, time) in [("a", 100), ("b", 1_000)] {
            batch = tasks.add(batch, name, ms(time));
        }
        let job = start(&scheduler, "late", batch.collect_all());
        rt.advance(ms(1_251)).await;
        assert_eq!(outcome(&job), failed("the batch took longer than 250ms"));
        assert_eq!((tasks.inside(), tasks.take().1), (0, vec!["a"]));
    }
}

async fn a_run_that_is_dropped_takes_its_batch_along(rt: TestRuntime) {
    for scheduler in kinds(&rt) {
        let tasks = Tasks::new(&rt);
        let batch = tasks.add(tasks.add(Batch::new(), "a", MIN), "b", MIN);
        let job = scheduler.batch("job", batch).every(secs(10));
        let job = job.overlap(Overlap::TerminatePrevious).start().unwrap();
        rt.advance(secs(25)).await;
        assert_eq!((job.stats().runs.terminated, tasks.inside()), (1, 2));
        let late = tasks.add(Batch::new(), "c", MIN);
        let late = scheduler.batch("late", late).after(SEC).timeout(SEC);
        job.remove().await;
        rt.advance(MIN).await;
        let late = late.start().unwrap();
        rt.advance(secs(3)).await;
        assert_eq!((outcome(&late), tasks.inside()), (RunOutcome::TimedOut, 0));
    }
}

async fn one_slot_is_enough_and_batches_nest(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).queue(1);
    let pool = pool.build().unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let tasks = Tasks::new(&rt);
    let inner = tasks.add(tasks.add(Batch::new(), "a", ms(10)), "b", ms(10));
    let chain = inner.clone();
    let chain = Chain::new()
        .step("batch", move |cx| chain.run(cx))
        .step("done", async |_cx| ());
    let outer = Batch::new()
        .task("batch", move |cx| inner.run(cx))
        .task("chain", move |cx| chain.run(cx));
    let job = start(&scheduler, "outer", outer);
    rt.advance(secs(2)).await;
    assert_eq!(outcome(&job), RunOutcome::Completed);
    assert_eq!(tasks.take().1.len(), 4);
    scheduler.shutdown(SEC).await;
    let report = pool.shutdown(SEC).await;
    assert_eq!(pool.stats().running, 0, "{report}");
}

async fn tasks_have_the_jobs_priority_and_context(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).priorities(2);
    let pool = pool.build().unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let note = |seen: &Arc<Mutex<Vec<String>>>| {
        let seen = seen.clone();
        move |cx: JobContext| {
            let tenant = cx.baggage("tenant").unwrap_or("none").to_owned();
            seen.lock()
                .unwrap()
                .push(format!("{} {} {tenant}", cx.job(), cx.run()));
            assert!(!cx.is_cancelled());
            async {}
        }
    };
    let batch = Batch::new().task("a", note(&seen)).task("b", note(&seen));
    let urgent = scheduler.batch("urgent", batch).after(SEC).priority(1);
    let request = flow_rt::TaskContext::new();
    let request = request.with_baggage("tenant", "acme").unwrap();
    request.enter(|| urgent.start()).unwrap();
    for n in 0..3 {
        let plain = scheduler.job(format!("plain {n}"), note(&seen)).after(SEC);
        plain.start().unwrap();
    }
    rt.advance(secs(2)).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 5);
    let urgent: Vec<_> = seen.iter().filter(|seen| seen.starts_with('u')).collect();
    assert_eq!(urgent, ["urgent 1 acme", "urgent 1 acme"]);
}

async fn a_pool_that_closes_fails_the_batch(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(2).build().unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let tasks = Tasks::new(&rt);
    let batch = tasks.add(tasks.add(Batch::new().concurrency(1), "a", SEC), "b", SEC);
    let job = start(&scheduler, "job", batch);
    rt.advance(ms(1_500)).await;
    pool.close();
    rt.advance(secs(3)).await;
    let RunOutcome::Failed(message) = outcome(&job) else {
        panic!("it did not fail");
    };
    assert!(
        message.starts_with("1 of 2 tasks of the batch failed; task \"b\""),
        "{message}"
    );
    assert_eq!(tasks.take().1, ["a"]);
}

async fn bad_batches_are_refused(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let one = || Batch::new().task("a", async |_cx| ());
    let batches = [
        (Batch::default(), "a batch needs a task at the least"),
        (
            one().task("", async |_cx| ()),
            "the name of a batch's task must not be empty",
        ),
        (
            one().concurrency(0),
            "a batch with 0 tasks at once runs none; allowed are 1 and more",
        ),
        (
            one().timeout(Duration::ZERO),
            "the timeout of a batch is zero; leave it out for batches without a limit",
        ),
    ];
    for (batch, text) in batches {
        let error = scheduler
            .batch("x", batch.clone())
            .every(SEC)
            .start()
            .unwrap_err();
        assert_eq!(error.to_string(), text);
        let job = scheduler
            .job("y", move |cx| batch.run(cx))
            .after(SEC)
            .start()
            .unwrap();
        rt.advance(secs(2)).await;
        assert_eq!(outcome(&job), failed(text));
    }
    let empty = scheduler.batch("x", Batch::new()).every(SEC).start();
    assert_eq!(
        empty.unwrap_err(),
        ScheduleError::Batch(BatchConfigError::Empty)
    );
    assert_eq!(
        format!("{:?}", one().concurrency(2)),
        "Batch { tasks: [\"a\"], concurrency: 2, collect_all: false, timeout: None }"
    );
    assert_eq!(
        BatchError::Stopped.to_string(),
        "the runtime of the batch has shut down"
    );
}
