//! What runs carry of the work that has started their job, and of the work that asks for them.

use std::sync::{Arc, Mutex};

use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::{Backoff, TaskContext, TestRuntime, TraceContext};
use flow_sched::{JobBuilder, JobContext, Overlap, Scheduler, SchedulerBuilder, WorkerPool};

use crate::common::{HOUR, SEC, ms, scheduler, secs};

flow_rt::on_every_runtime! {
    seeds 0..20;
    case_130_runs_carry_baggage_and_trace_of_who_starts_the_job,
    a_run_by_hand_carries_its_callers_and_what_follows_it_the_jobs,
    what_ends_with_the_caller_stays_with_the_caller,
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The tenant of each run, and its trace.
type Seen = Arc<Mutex<Vec<(Option<String>, Option<TraceContext>)>>>;

fn telling(scheduler: &Scheduler, name: &'static str, seen: &Seen) -> JobBuilder<()> {
    scheduler.job_with(name, seen.clone(), async |cx: JobContext, seen: Seen| {
        let current = TaskContext::current().unwrap();
        let tenant = current.baggage("tenant").map(str::to_owned);
        assert_eq!(cx.baggage("tenant"), tenant.as_deref());
        seen.lock().unwrap().push((tenant, cx.trace()));
    })
}

/// A scheduler of each kind: with runs on the runtime, in a pool, and in one that is full at first.
fn kinds(rt: &TestRuntime) -> [(SchedulerBuilder, Arc<flow_rt::CancellationToken>); 3] {
    let pool = |queue| {
        let pool = WorkerPool::builder().runtime(rt).slots(1).queue(queue);
        pool.build().unwrap()
    };
    let full = pool(1);
    let go = Arc::new(flow_rt::CancellationToken::new());
    for _ in 0..2 {
        let go = go.clone();
        full.submit(async move |_cx| go.cancelled().await)
            .detach()
            .try_now()
            .ok();
    }
    [
        (Scheduler::builder().runtime(rt), Arc::default()),
        (Scheduler::builder().pool(&pool(4)), Arc::default()),
        (Scheduler::builder().pool(&full), go),
    ]
}

async fn case_130_runs_carry_baggage_and_trace_of_who_starts_the_job(rt: TestRuntime) {
    let trace: TraceContext = TRACE.parse().unwrap();
    for (builder, go) in kinds(&rt) {
        let scheduler = builder.build().unwrap();
        let request = TaskContext::new().with_baggage("tenant", "acme").unwrap();
        let request = request.with_baggage("secret", "word").unwrap();
        let request = request.with_trace(trace).propagate(&["tenant"]);
        let [runs, none, gated, retried] = [(); 4].map(|()| Seen::default());
        request.enter(|| {
            telling(&scheduler, "runs", &runs)
                .every(SEC)
                .start()
                .unwrap();
            let alone = telling(&scheduler, "none", &none).every(SEC);
            alone.propagate(false).start().unwrap();
            let bucket = {
                let _entered = rt.enter();
                TokenBucket::new(Rate::every(ms(10)), 1).unwrap()
            };
            let asks = telling(&scheduler, "gated", &gated).every(SEC);
            let asks = asks.throttle(&bucket).when(async |cx: JobContext| {
                assert_eq!(cx.baggage("secret"), None, "as far as it goes to children");
                cx.baggage("tenant") == Some("acme")
            });
            asks.start().unwrap();
            let fails = scheduler.job_with(
                "retried",
                retried.clone(),
                async |cx: JobContext, seen: Seen| {
                    let tenant = cx.baggage("tenant").map(str::to_owned);
                    seen.lock().unwrap().push((tenant, cx.trace()));
                    Err::<(), _>("not yet")
                },
            );
            let plan = Backoff::constant(ms(10)).attempts(2);
            fails.every(SEC).retry(plan).max_runs(1).start().unwrap();
        });
        rt.advance(ms(1_500)).await;
        go.cancel();
        rt.advance(ms(1_000)).await;
        let acme = (Some("acme".to_owned()), Some(trace));
        for seen in [&runs, &gated, &retried] {
            assert_eq!(*seen.lock().unwrap(), [acme.clone(), acme.clone()]);
        }
        assert_eq!(*none.lock().unwrap(), [(None, None), (None, None)]);
        scheduler.cancel_all();
    }
}

async fn a_run_by_hand_carries_its_callers_and_what_follows_it_the_jobs(rt: TestRuntime) {
    for (builder, go) in kinds(&rt) {
        go.cancel();
        let scheduler = builder.build().unwrap();
        let tenant = |name: &'static str| TaskContext::new().with_baggage("tenant", name).unwrap();
        let seen = Seen::default();
        let job = scheduler.job_with(
            "job",
            (seen.clone(), rt.clone()),
            async |cx: JobContext, (seen, rt): (Seen, TestRuntime)| {
                let tenant = cx.baggage("tenant").map(str::to_owned);
                seen.lock().unwrap().push((tenant, None));
                rt.sleep(SEC).await.unwrap();
            },
        );
        let job = job.every(HOUR).overlap(Overlap::BufferAll(4));
        let job = tenant("acme").enter(|| job.start()).unwrap();
        tenant("hand").scope(job.trigger_now()).await.unwrap();
        rt.advance(ms(500)).await;
        // It follows, and what asked for it may be long gone by then.
        tenant("hand").scope(job.trigger_now()).await.unwrap();
        rt.advance(secs(3)).await;
        job.trigger_now().await.unwrap();
        rt.advance(secs(3)).await;
        let of = |name: &str| (Some(name.to_owned()), None);
        assert_eq!(*seen.lock().unwrap(), [of("hand"), of("acme"), of("acme")]);
        scheduler.cancel_all();
    }
}

async fn what_ends_with_the_caller_stays_with_the_caller(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let seen = Seen::default();
    let request = TaskContext::new()
        .with_baggage("tenant", "acme")
        .unwrap()
        .with_deadline(rt.now() + ms(500));
    let job = scheduler.job_with("job", seen.clone(), async |cx: JobContext, seen: Seen| {
        assert!(cx.deadline().is_none() && !cx.is_cancelled());
        let tenant = cx.baggage("tenant").map(str::to_owned);
        seen.lock().unwrap().push((tenant, None));
    });
    request.enter(|| job.every(SEC).start()).unwrap();
    request.cancellation().cancel();
    rt.advance(ms(2_500)).await;
    let acme = (Some("acme".to_owned()), None);
    assert_eq!(*seen.lock().unwrap(), [acme.clone(), acme]);
}
