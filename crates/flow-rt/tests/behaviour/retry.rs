//! Retries: when they run, and when they give up.

use std::cell::Cell;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use flow_rt::{
    Backoff, BackoffConfigError, Deadline, GiveUp, RetryBudget, RetryError, TaskContext,
    TestRuntime, sim,
};

const MS: Duration = Duration::from_millis(1);

/// The number of the run that failed.
#[derive(Debug, PartialEq)]
struct Failed(u32);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} failed", self.0)
    }
}

impl std::error::Error for Failed {}

flow_rt::on_every_runtime! {
    a_success_is_the_last_run,
    every_allowed_run_fails,
    a_refused_plan_runs_nothing,
    an_error_may_decline_a_retry,
    a_hint_lengthens_the_sleep,
    the_budget_is_shared,
    cancelling_the_task_ends_the_sleep,
    the_tasks_deadline_ends_it_at_once,
    a_retry_in_a_task_is_send,
}

/// Fails so many times, counting.
fn fails(times: u32, runs: &Cell<u32>) -> Result<u32, Failed> {
    runs.set(runs.get() + 1);
    if runs.get() > times {
        Ok(runs.get())
    } else {
        Err(Failed(runs.get()))
    }
}

async fn a_success_is_the_last_run(rt: TestRuntime) {
    let runs = Cell::new(0);
    let plan = Backoff::exponential(MS).full_jitter().attempts(4);
    let done = rt.retry(plan, async || fails(2, &runs)).await;
    assert_eq!((done, runs.get()), (Ok(3), 3));
    let done = rt.retry(plan, async || fails(0, &runs)).await;
    assert_eq!((done, runs.get()), (Ok(4), 4));
}

async fn every_allowed_run_fails(rt: TestRuntime) {
    for attempts in [1, 2, 5] {
        let runs = Cell::new(0);
        let start = rt.now();
        let plan = Backoff::exponential(MS).attempts(attempts);
        let failed = rt.retry(plan, async || fails(9, &runs)).await.unwrap_err();
        let took = rt.now() - start;
        assert_eq!(runs.get(), attempts);
        // 1, 2, 4, 8 ms.
        assert!(took >= MS * ((1 << (attempts - 1)) - 1));
        let RetryError::GaveUp {
            why: GiveUp::Attempts,
            attempts: said,
            elapsed,
            last: Failed(last),
        } = failed
        else {
            panic!("{failed:?}");
        };
        assert_eq!((said, last), (attempts, attempts));
        assert!(elapsed <= took);
    }
}

async fn a_refused_plan_runs_nothing(rt: TestRuntime) {
    let runs = Cell::new(0);
    let plan = Backoff::exponential(Duration::ZERO);
    let given = Duration::ZERO;
    let refused = rt.retry(plan, async || fails(9, &runs)).await.unwrap_err();
    assert_eq!(
        refused,
        RetryError::Invalid(BackoffConfigError::Delay { given })
    );
    assert_eq!(runs.get(), 0);
    assert_eq!((refused.last(), refused.why()), (None, None));
    assert_eq!(
        refused.to_string(),
        "the backoff was refused: a delay of 0ns, allowed are 1ns to 365 days"
    );
    assert!(refused.source().is_none() && refused.into_inner().is_none());
}

async fn an_error_may_decline_a_retry(rt: TestRuntime) {
    let runs = Cell::new(0);
    let plan = Backoff::constant(MS).attempts(9);
    let failed = rt
        .retry(plan, async || fails(9, &runs))
        .retry_if(|Failed(run)| *run < 2)
        .await
        .unwrap_err();
    assert_eq!(runs.get(), 2);
    assert_eq!(failed.why(), Some(&GiveUp::NotRetryable));
    assert!(failed.to_string().ends_with("is not one to try again for"));
    assert_eq!(failed.source().unwrap().to_string(), "run 2 failed");
    assert_eq!(failed.into_inner(), Some(Failed(2)));
}

async fn a_hint_lengthens_the_sleep(rt: TestRuntime) {
    let runs = Cell::new(0);
    let start = rt.now();
    let plan = Backoff::constant(MS).max_delay(2 * MS);
    let done = rt
        .retry(plan, async || fails(1, &runs))
        .retry_after(|_| Some(5 * MS))
        .await;
    assert_eq!(done, Ok(2));
    assert!(rt.now() - start >= 5 * MS);
    // A shorter one does not shorten it.
    let (start, runs) = (rt.now(), Cell::new(0));
    let done = rt
        .retry(plan, async || fails(1, &runs))
        .retry_after(|_| Some(Duration::ZERO))
        .await;
    assert_eq!(done, Ok(2));
    assert!(rt.now() - start >= MS);
    // One that is too long for the plan ends it at once.
    let runs = Cell::new(0);
    let failed = rt
        .retry(plan.max_elapsed(YEAR), async || fails(1, &runs))
        .retry_after(|_| Some(Duration::MAX))
        .await
        .unwrap_err();
    assert_eq!(failed.why(), Some(&GiveUp::MaxElapsed { limit: YEAR }));
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

async fn the_budget_is_shared(rt: TestRuntime) {
    let budget = RetryBudget::builder().ratio(0.5).min_per_second(0).burst(3);
    let budget = budget.build().unwrap();
    let plan = Backoff::constant(Duration::from_nanos(1)).attempts(3);
    let mut retries = 0;
    for call in 1..=10 {
        let runs = Cell::new(0);
        let failed = rt.retry(plan, async || fails(9, &runs)).budget(&budget);
        let failed = failed.await.unwrap_err();
        retries += runs.get() - 1;
        let spent = failed.why() == Some(&GiveUp::Budget);
        assert_eq!(spent, runs.get() < 3);
        // Full at first, so that the first deposit is lost.
        assert!(retries <= 3 + call / 2);
    }
    assert_eq!(retries, 3 + 9 / 2);
}

async fn cancelling_the_task_ends_the_sleep(rt: TestRuntime) {
    let cx = TaskContext::new();
    let inner = rt.clone();
    let (sleeps, asleep) = tokio::sync::oneshot::channel();
    let task = rt.spawn_with(cx.clone(), async move |_cx| {
        let mut sleeps = Some(sleeps);
        let plan = Backoff::constant(YEAR);
        let retry = inner.retry(plan, || {
            let _ = sleeps.take().unwrap().send(());
            std::future::ready(Err::<(), _>(Failed(1)))
        });
        retry.await
    });
    asleep.await.unwrap();
    cx.cancellation().cancel_with("enough");
    let failed = task.await.unwrap().unwrap_err();
    assert_eq!(failed.why(), Some(&GiveUp::Cancelled));
    assert_eq!(failed.into_inner(), Some(Failed(1)));

    // Cancelled before: the first run happens, as it would by a plain call.
    let runs = Cell::new(0);
    let plan = Backoff::constant(MS);
    let retry = cx.scope(rt.retry(plan, async || fails(9, &runs)));
    assert_eq!(retry.await.unwrap_err().why(), Some(&GiveUp::Cancelled));
    assert_eq!(runs.get(), 1);
}

async fn the_tasks_deadline_ends_it_at_once(rt: TestRuntime) {
    let runs = Cell::new(0);
    let cx = TaskContext::new().with_deadline(Deadline::after(rt.now(), YEAR));
    let plan = Backoff::constant(YEAR).attempts(9);
    let retry = cx.scope(rt.retry(plan, async || fails(9, &runs)));
    assert_eq!(retry.await.unwrap_err().why(), Some(&GiveUp::Deadline));
    assert_eq!(runs.get(), 1);
}

async fn a_retry_in_a_task_is_send(rt: TestRuntime) {
    let inner = rt.clone();
    let url = String::from("/");
    let task = rt.spawn(async move {
        let url = url.as_str();
        let retry = inner.retry(Backoff::default(), async || {
            inner.sleep(MS).await.map_err(|_| Failed(0))?;
            Ok::<_, Failed>(url.len())
        });
        retry.retry_if(|Failed(run)| *run > url.len() as u32).await
    });
    assert_eq!(task.await.unwrap(), Ok(1));
}

/// When each run began, in milliseconds from the first.
async fn runs_begin(
    rt: &sim::Sim,
    plan: Backoff,
    takes: Duration,
) -> (Vec<u128>, RetryError<Failed>) {
    let start = rt.now();
    let began = Cell::new(Vec::new());
    let retry = rt.retry(plan, async || {
        let mut all = began.take();
        all.push((rt.now() - start).as_millis());
        let run = all.len() as u32;
        began.set(all);
        rt.sleep(takes).await;
        Err::<(), _>(Failed(run))
    });
    let failed = retry.await.unwrap_err();
    (began.into_inner(), failed)
}

#[test]
fn delays_are_counted_from_the_end_of_a_run() {
    sim::check(0..3, |rt| async move {
        let plan = Backoff::exponential(100 * MS).attempts(4);
        let (began, failed) = runs_begin(&rt, plan, Duration::ZERO).await;
        assert_eq!(began, [0, 100, 300, 700]);
        assert_eq!(
            failed.to_string(),
            "4 attempts in 700ms failed: that was the last one allowed"
        );
        let (began, _) = runs_begin(&rt, plan, 10 * MS).await;
        assert_eq!(began, [0, 110, 320, 730]);
    });
}

#[test]
fn no_sleep_begins_that_would_end_too_late() {
    sim::check(0..3, |rt| async move {
        let plan = Backoff::exponential(100 * MS).attempts(9);
        let limited = plan.max_elapsed(700 * MS);
        let start = rt.now();
        let (began, failed) = runs_begin(&rt, limited, Duration::ZERO).await;
        assert_eq!(began, [0, 100, 300, 700]);
        assert_eq!(rt.now() - start, 700 * MS);
        let limit = 700 * MS;
        assert_eq!(failed.why(), Some(&GiveUp::MaxElapsed { limit }));
        assert!(failed.to_string().contains("later than 700ms"));
        // The runs' own time counts, the first one's too.
        let (began, _) = runs_begin(&rt, limited, MS).await;
        assert_eq!(began, [0, 101, 302]);

        let deadline = Deadline::after(rt.now(), 700 * MS);
        let cx = TaskContext::new().with_deadline(deadline);
        let (began, failed) = cx.scope(runs_begin(&rt, plan, Duration::ZERO)).await;
        assert_eq!(began, [0, 100, 300]);
        assert_eq!(failed.why(), Some(&GiveUp::Deadline));
    });
}

#[test]
fn one_seed_of_a_simulation_is_one_sequence_of_delays() {
    let run = |seed| {
        let plan = Backoff::exponential(100 * MS).full_jitter().attempts(9);
        let report = sim::Sim::new(seed).run(|rt| async move {
            let (began, _) = runs_begin(&rt, plan, Duration::ZERO).await;
            let again = plan.delays().unwrap().collect::<Vec<_>>();
            (began, again)
        });
        report.unwrap().output
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_dropped_retry_runs_no_more() {
    sim::check(0..20, |rt| async move {
        let runs = Cell::new(0);
        let plan = Backoff::constant(10 * MS).attempts(9);
        let retry = rt.retry(plan, async || fails(9, &runs));
        assert!(rt.timeout(25 * MS, retry).await.is_err());
        assert_eq!(runs.get(), 3);
        rt.sleep(100 * MS).await;
        assert_eq!(runs.get(), 3);
    });
}
