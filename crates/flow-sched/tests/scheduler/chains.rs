//! Chains: steps one after the other, and what follows from each.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::{Backoff, TestRuntime};
use flow_sched::{
    Chain, ChainConfigError, ChainError, ChainStep, JobContext, JobHandle, OnError, OnSuccess,
    RunOutcome, ScheduleError, Scheduler, WorkerPool,
};

use crate::common::{HOUR, SEC, ms, scheduler, secs};

flow_rt::on_every_runtime! {
    seeds 0..30;
    case_121_steps_run_in_order_each_once,
    case_121_stop_repeat_and_restart_after_a_success,
    case_122_an_error_without_an_answer_stops_the_chain,
    retries_and_restarts_follow_their_plans,
    a_panic_is_a_failure_and_nothing_goes_on_for_ever,
    what_ends_a_run_ends_its_chain,
    in_a_pool_a_chain_gives_its_slot_away_while_it_waits,
    bad_chains_are_refused,
}

/// Which step ran when, in milliseconds.
#[derive(Clone)]
struct Steps {
    rt: TestRuntime,
    start: flow_rt::Instant,
    seen: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Steps {
    fn new(rt: &TestRuntime) -> Self {
        Self {
            rt: rt.clone(),
            start: rt.now(),
            seen: Arc::default(),
        }
    }

    fn note(&self, step: &str) {
        let at = (self.rt.now() - self.start).as_millis() as u64;
        self.seen.lock().unwrap().push((step.to_owned(), at));
    }

    fn take(&self) -> Vec<(String, u64)> {
        core::mem::take(&mut *self.seen.lock().unwrap())
    }

    fn names(&self) -> String {
        let seen = self.take();
        seen.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// A step that takes `time`, and fails in its first `fails` attempts.
    fn step(&self, name: &'static str, time: Duration, fails: u32) -> ChainStep {
        ChainStep::with(
            name,
            self.clone(),
            move |cx: JobContext, steps: Self| async move {
                steps.note(name);
                if !time.is_zero() {
                    steps.rt.sleep(time).await.unwrap();
                }
                if cx.attempt() <= fails {
                    return Err(format!("no {}", cx.attempt()));
                }
                Ok(())
            },
        )
    }
}

fn at(seen: &[(&str, u64)]) -> Vec<(String, u64)> {
    seen.iter()
        .map(|(name, at)| ((*name).to_owned(), *at))
        .collect()
}

fn start(scheduler: &Scheduler, name: &'static str, chain: Chain) -> JobHandle {
    scheduler.chain(name, chain).after(SEC).start().unwrap()
}

fn outcome(job: &JobHandle) -> RunOutcome {
    job.last().unwrap().outcome
}

fn failed(message: &str) -> RunOutcome {
    RunOutcome::Failed(message.into())
}

async fn case_121_steps_run_in_order_each_once(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let steps = Steps::new(&rt);
    let chain = Chain::new()
        .then(steps.step("a", secs(3), 0))
        .then(steps.step("b", ms(100), 0))
        .then(steps.step("c", ms(0), 0));
    let job = scheduler.chain("chain", chain).every(SEC).max_runs(2);
    let job = job.start().unwrap();
    rt.advance(secs(10)).await;
    // Longer than the period: what is due meanwhile is a matter of overlap.
    let first = [("a", 1_000), ("b", 4_000), ("c", 4_100)];
    let second = [("a", 5_000), ("b", 8_000), ("c", 8_100)];
    assert_eq!(steps.take(), at(&[first, second].concat()));
    let runs = job.stats().runs;
    assert_eq!((runs.completed, runs.skipped), (2, 3));
}

async fn case_121_stop_repeat_and_restart_after_a_success(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let steps = Steps::new(&rt);
    let stop = Chain::new()
        .then(steps.step("a", ms(0), 0).on_success(|_cx| OnSuccess::Stop))
        .then(steps.step("b", ms(0), 0));
    let stop = start(&scheduler, "stop", stop);
    rt.advance(secs(2)).await;
    assert_eq!(
        (steps.names().as_str(), outcome(&stop)),
        ("a", RunOutcome::Completed)
    );

    let repeat = steps.step("b", ms(0), 0).on_success(|cx| {
        if cx.attempt() < 3 {
            OnSuccess::Repeat
        } else {
            OnSuccess::GoOn
        }
    });
    let repeat = Chain::new().then(steps.step("a", ms(0), 0)).then(repeat);
    let repeat = repeat.then(steps.step("c", ms(0), 0));
    start(&scheduler, "repeat", repeat);
    rt.advance(secs(2)).await;
    assert_eq!(steps.names(), "abbbc");

    let rounds = AtomicU32::new(0);
    let restart = steps.step("b", ms(0), 0).on_success(move |cx| {
        assert_eq!(cx.attempt(), 1, "it begins anew");
        match rounds.fetch_add(1, Relaxed) {
            0 | 1 => OnSuccess::Restart,
            _ => OnSuccess::GoOn,
        }
    });
    let restart = Chain::new().then(steps.step("a", ms(0), 0)).then(restart);
    start(
        &scheduler,
        "restart",
        restart.then(steps.step("c", ms(0), 0)),
    );
    rt.advance(secs(2)).await;
    assert_eq!(steps.names(), "abababc");
}

async fn case_122_an_error_without_an_answer_stops_the_chain(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let steps = Steps::new(&rt);
    let three = |chain: Chain| {
        chain
            .then(steps.step("a", ms(0), 0))
            .then(steps.step("b", ms(0), 1))
            .then(steps.step("c", ms(0), 0))
    };
    let stop = start(&scheduler, "stop", three(Chain::new()));
    rt.advance(secs(2)).await;
    assert_eq!(steps.names(), "ab");
    assert_eq!(
        outcome(&stop),
        failed("step \"b\" of the chain failed: no 1")
    );
    let go_on = start(
        &scheduler,
        "go on",
        three(Chain::new().on_error(OnError::GoOn)),
    );
    rt.advance(secs(2)).await;
    assert_eq!(
        (steps.names().as_str(), outcome(&go_on)),
        ("abc", RunOutcome::Completed)
    );
    // A step's own answer goes before the chain's.
    let own = steps.step("d", ms(0), 1).on_error(OnError::Stop);
    let own = three(Chain::new().on_error(OnError::GoOn)).then(own);
    let own = start(&scheduler, "own", own.then(steps.step("e", ms(0), 0)));
    rt.advance(secs(2)).await;
    assert_eq!(steps.names(), "abcd");
    assert_eq!(
        outcome(&own),
        failed("step \"d\" of the chain failed: no 1")
    );
    // Retried as a whole, it begins with its first step, unless the error is none to retry for.
    let plan = Backoff::constant(ms(100)).attempts(2);
    let whole = scheduler.chain("whole", three(Chain::new())).after(SEC);
    let whole = whole.retry(plan).start().unwrap();
    let never = scheduler.chain("never", Chain::new().then(steps.step("x", ms(0), 1)));
    let never = never.after(SEC).retry(plan).retry_if(|error| match error {
        ChainError::Step(error) => error.part() != "x",
        _ => true,
    });
    never.start().unwrap();
    rt.advance(secs(2)).await;
    let mut names: Vec<char> = steps.names().chars().collect();
    names.sort_unstable();
    assert_eq!(names, ['a', 'a', 'b', 'b', 'x']);
    assert_eq!(whole.last().unwrap().attempts, 2);
}

async fn retries_and_restarts_follow_their_plans(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let steps = Steps::new(&rt);
    let plan = Backoff::exponential(ms(100)).attempts(3);
    let retry = |fails| steps.step("b", ms(0), fails).on_error(OnError::Retry(plan));
    let chain = |fails| {
        let chain = Chain::new()
            .then(steps.step("a", ms(0), 0))
            .then(retry(fails));
        chain.then(steps.step("c", ms(0), 0))
    };
    let good = start(&scheduler, "good", chain(2));
    rt.advance(secs(2)).await;
    let tries = [
        ("a", 1_000),
        ("b", 1_000),
        ("b", 1_100),
        ("b", 1_300),
        ("c", 1_300),
    ];
    assert_eq!(steps.take(), at(&tries));
    assert_eq!(outcome(&good), RunOutcome::Completed);
    let bad = start(&scheduler, "bad", chain(9));
    rt.advance(secs(2)).await;
    assert_eq!(steps.names(), "abbb");
    assert_eq!(
        outcome(&bad),
        failed("step \"b\" of the chain failed: no 3")
    );
    // Failures count in a row: a success between them ends it.
    let odd = ChainStep::new("odd", async |cx: JobContext| {
        if cx.attempt() % 2 == 1 {
            Err("odd")
        } else {
            Ok(())
        }
    });
    let odd = odd.on_success(|cx| match cx.attempt() {
        6 => OnSuccess::GoOn,
        _ => OnSuccess::Repeat,
    });
    let once = OnError::Retry(Backoff::constant(ms(100)).attempts(2));
    let odd = start(&scheduler, "odd", Chain::new().then(odd.on_error(once)));
    rt.advance(secs(2)).await;
    assert_eq!(outcome(&odd), RunOutcome::Completed);
    // A step that fails in its first attempt always fails here.
    let restart = steps.step("b", ms(0), 1).on_error(OnError::Restart(plan));
    let restart = Chain::new().then(steps.step("a", ms(0), 0)).then(restart);
    let restart = start(&scheduler, "restart", restart);
    rt.advance(secs(2)).await;
    let start = 7_000;
    let rounds = [start, start + 100, start + 300].map(|at| [("a", at), ("b", at)]);
    assert_eq!(steps.take(), at(&rounds.concat()));
    assert_eq!(
        outcome(&restart),
        failed("step \"b\" of the chain failed: no 1")
    );
}

async fn a_panic_is_a_failure_and_nothing_goes_on_for_ever(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let steps = Steps::new(&rt);
    let panics = ChainStep::new("p", |cx: JobContext| {
        assert!(cx.attempt() > 1, "in the closure");
        async move { assert!(cx.attempt() > 2, "in the future") }
    });
    let plan = Backoff::constant(ms(10)).attempts(3);
    let chain = Chain::new().then(panics.on_error(OnError::Retry(plan)));
    let good = start(&scheduler, "good", chain.then(steps.step("a", ms(0), 0)));
    let decides = steps
        .step("b", ms(0), 0)
        .on_success(|_cx| panic!("cannot decide"));
    let bad = start(&scheduler, "bad", Chain::new().then(decides));
    let ever = steps
        .step("c", ms(0), 0)
        .on_success(|_cx| OnSuccess::Restart);
    let ever = start(&scheduler, "ever", Chain::new().then(ever).limit(7));
    rt.advance(secs(2)).await;
    assert_eq!(outcome(&good), RunOutcome::Completed);
    assert_eq!(
        outcome(&bad),
        failed("step \"b\" of the chain panicked: cannot decide")
    );
    assert_eq!(
        outcome(&ever),
        failed("the chain has taken 7 steps, as many as it may, and has not ended")
    );
    let names = steps.names();
    assert_eq!(names.matches('c').count(), 7);
    assert_eq!(names.len(), 9);
}

async fn what_ends_a_run_ends_its_chain(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let steps = Steps::new(&rt);
    let chain = || {
        let plan = OnError::Retry(Backoff::constant(HOUR).attempts(9));
        let chain = Chain::new().then(steps.step("a", SEC, 9).on_error(plan));
        chain.then(steps.step("b", ms(0), 0))
    };
    // It waits for its second attempt when its job goes.
    let removed = start(&scheduler, "removed", chain());
    rt.advance(secs(3)).await;
    assert!(removed.remove().await);
    assert_eq!(
        outcome(&removed),
        failed("step \"a\" of the chain failed: no 1")
    );
    // It is told to stop while a step runs, which goes on; nothing begins again.
    let told = start(&scheduler, "told", chain());
    rt.advance(ms(1_500)).await;
    scheduler.cancel_all();
    rt.advance(secs(2)).await;
    assert_eq!(
        outcome(&told),
        failed("step \"a\" of the chain failed: no 1")
    );
    // Nor does what has ended well.
    for again in [OnSuccess::Repeat, OnSuccess::Restart] {
        let step = steps.step("c", SEC, 0).on_success(move |_cx| again);
        let repeats = start(&scheduler, "repeats", Chain::new().then(step));
        rt.advance(ms(1_500)).await;
        scheduler.cancel_all();
        rt.advance(secs(9)).await;
        assert_eq!(
            outcome(&repeats),
            failed("the chain was told to stop, and has not ended")
        );
    }
    // It takes too long.
    let late = scheduler.chain("late", chain()).after(SEC).timeout(ms(500));
    let late = late.start().unwrap();
    rt.advance(secs(3)).await;
    assert_eq!(outcome(&late), RunOutcome::TimedOut);
    assert_eq!(steps.names(), "aacca");
}

async fn in_a_pool_a_chain_gives_its_slot_away_while_it_waits(rt: TestRuntime) {
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
    let steps = Steps::new(&rt);
    let plan = OnError::Retry(Backoff::constant(secs(10)).attempts(2));
    let chain = Chain::new().then(steps.step("a", ms(0), 1).on_error(plan));
    let chain = start(&scheduler, "chain", chain);
    let other = steps.clone();
    let other = scheduler.job_with("other", other, async |_cx, steps: Steps| steps.note("x"));
    other.after(secs(5)).start().unwrap();
    rt.advance(secs(20)).await;
    assert_eq!(
        steps.take(),
        at(&[("a", 1_000), ("x", 5_000), ("a", 11_000)])
    );
    assert_eq!(outcome(&chain), RunOutcome::Completed);
    scheduler.shutdown(SEC).await;
    pool.shutdown(SEC).await;
}

async fn bad_chains_are_refused(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let step = |name: &'static str| ChainStep::new(name, async |_cx| ());
    let zero = Backoff::constant(Duration::ZERO);
    let chains = [
        (Chain::new(), "a chain needs a step at the least"),
        (
            Chain::default().then(step("")),
            "the name of a chain's step must not be empty",
        ),
        (
            Chain::new().then(step("a")).then(step("b")).then(step("a")),
            "two steps of the chain are named \"a\"; names are unique",
        ),
        (
            Chain::new()
                .then(step("a"))
                .on_error(OnError::Restart(zero)),
            "what follows a failure of the chain's step \"a\": a delay of 0ns, allowed are 1ns to \
             365 days",
        ),
        (
            Chain::new().then(step("a")).limit(0),
            "a chain's limit of 0 steps lets none run; allowed are 1 and more",
        ),
    ];
    for (chain, text) in chains {
        let error = scheduler
            .chain("x", chain.clone())
            .every(SEC)
            .start()
            .unwrap_err();
        assert!(matches!(error, ScheduleError::Chain(_)), "{error:?}");
        assert_eq!(
            (error.to_string().as_str(), error.source().is_none()),
            (text, true)
        );
        // Run by hand it says the same.
        let job = scheduler
            .job("y", move |cx| chain.run(cx))
            .after(SEC)
            .start()
            .unwrap();
        rt.advance(secs(2)).await;
        assert_eq!(outcome(&job), failed(text));
    }
    assert!(scheduler.list().is_empty());
    let empty = scheduler.chain("x", Chain::new()).every(SEC).start();
    assert_eq!(
        empty.unwrap_err(),
        ScheduleError::Chain(ChainConfigError::Empty)
    );
    let text = format!("{:?}", Chain::new().then(step("a").on_error(OnError::GoOn)));
    assert!(
        text.contains("name: \"a\"") && text.contains("GoOn"),
        "{text}"
    );
}
