//! Conditions and throttles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::TestRuntime;
use flow_sched::{JobContext, RunOutcome, Scheduler, WorkerPool};

use crate::common::{HOUR, Log, MIN, SEC, ms, noting, scheduler, secs};

flow_rt::on_every_runtime! {
    seeds 0..20;
    case_120_a_condition_decides_about_each_run,
    case_124_a_throttle_spaces_runs,
    a_condition_may_take_its_time_and_panic,
    what_waits_at_the_gate_takes_up_no_slot_and_goes_with_its_job,
}

/// Makes a limiter whose clock is the runtime's.
fn in_its_time<T>(rt: &TestRuntime, make: impl FnOnce() -> T) -> T {
    let _entered = rt.enter();
    make()
}

async fn case_120_a_condition_decides_about_each_run(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let open = Arc::new(AtomicBool::new(false));
    let asks = open.clone();
    let job = noting(&scheduler, "if open", &log)
        .every(SEC)
        .when(move |cx: JobContext| {
            assert_eq!(cx.attempt(), 0);
            let open = asks.clone();
            async move { open.load(Relaxed) }
        });
    let job = job.start().unwrap();
    rt.advance(ms(3_500)).await;
    assert_eq!((log.len(), job.stats().runs.declined), (0, 3));
    assert_eq!(job.stats().last.unwrap().outcome, RunOutcome::Declined);
    open.store(true, Relaxed);
    rt.advance(secs(2)).await;
    assert_eq!(log.millis(), [4_000, 5_000]);
    job.trigger_now().await.unwrap();
    rt.settle().await;
    assert_eq!(log.len(), 3);
    open.store(false, Relaxed);
    job.trigger_now().await.unwrap();
    rt.settle().await;
    let runs = job.stats().runs;
    assert_eq!((runs.started, runs.completed, runs.declined), (7, 3, 4));
    assert!(scheduler.remove("if open"));
    assert_eq!(scheduler.stats().runs.declined, 4);
}

async fn case_124_a_throttle_spaces_runs(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let bucket = in_its_time(&rt, || TokenBucket::new(Rate::every(ms(20)), 1).unwrap());
    let job = noting(&scheduler, "often", &log)
        .every(ms(5))
        .throttle(&bucket);
    let job = job.start().unwrap();
    rt.advance(ms(500)).await;
    let seen = log.millis();
    assert!((24..=26).contains(&seen.len()), "{seen:?}");
    assert!(
        seen.windows(2).all(|pair| pair[1] - pair[0] >= 20),
        "{seen:?}"
    );
    job.remove().await;
    bucket.close();
    let refused = noting(&scheduler, "refused", &log)
        .after(SEC)
        .throttle(&bucket);
    let refused = refused.start().unwrap();
    rt.advance(secs(2)).await;
    let RunOutcome::Failed(message) = refused.stats().last.unwrap().outcome else {
        panic!("it did not fail");
    };
    assert!(
        message.starts_with("its throttle lets nothing through: "),
        "{message}"
    );
}

async fn a_condition_may_take_its_time_and_panic(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let clock = rt.clone();
    let slow = noting(&scheduler, "slow", &log)
        .every(SEC)
        .when(move |_cx| {
            let clock = clock.clone();
            async move { clock.sleep(ms(2_500)).await.is_ok() }
        });
    let slow = slow.start().unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let asks = asked.clone();
    let panics = noting(&scheduler, "panics", &log)
        .every(SEC)
        .when(move |_cx| {
            let first = asks.fetch_add(1, Relaxed) == 0;
            assert!(!first, "in the closure");
            async { panic!("in its future") }
        });
    let panics = panics.start().unwrap();
    rt.advance(ms(1_500)).await;
    let outcome = || panics.stats().last.unwrap().outcome;
    assert_eq!(outcome(), RunOutcome::Panicked("in the closure".into()));
    rt.advance(ms(5_000)).await;
    assert_eq!(outcome(), RunOutcome::Panicked("in its future".into()));
    assert_eq!(log.millis(), [3_500, 6_500]);
    assert_eq!(slow.stats().runs.skipped, 4);
    assert_eq!(scheduler.stats().runs.panicked, 6);
}

async fn what_waits_at_the_gate_takes_up_no_slot_and_goes_with_its_job(rt: TestRuntime) {
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(1)
        .queue(4)
        .build()
        .unwrap();
    let scheduler = Scheduler::builder()
        .runtime(&rt)
        .pool(&pool)
        .build()
        .unwrap();
    let (waits, goes) = (Log::new(&rt), Log::new(&rt));
    let bucket = in_its_time(&rt, || TokenBucket::new(Rate::every(HOUR), 1).unwrap());
    bucket.try_acquire_n(1).unwrap();
    let start = |name: &'static str| {
        let job = noting(&scheduler, name, &waits)
            .after(SEC)
            .throttle(&bucket);
        job.start().unwrap()
    };
    let (first, second, third) = (start("first"), start("second"), start("third"));
    noting(&scheduler, "goes", &goes)
        .every(SEC)
        .start()
        .unwrap();
    rt.advance(MIN).await;
    assert_eq!((goes.len(), waits.len()), (60, 0));
    assert_eq!(first.stats().running, 1);
    assert!(first.remove().await);
    assert_eq!(first.stats().last.unwrap().outcome, RunOutcome::Dropped);
    rt.advance(HOUR).await;
    assert_eq!(waits.len(), 1, "the token goes to the next in line");
    let of_both = || [second.stats().runs, third.stats().runs];
    assert_eq!(of_both().map(|runs| runs.completed).iter().sum::<u64>(), 1);
    let report = scheduler.shutdown(SEC).await;
    assert_eq!((report.finished, report.cancelled), (1, 0));
    assert_eq!(of_both().map(|runs| runs.dropped).iter().sum::<u64>(), 1);
    pool.shutdown(SEC).await;
}
