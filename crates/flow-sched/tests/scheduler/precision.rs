//! Timers of async-io's precision, on the one runtime whose own are coarser. Real time: nothing is
//! early.

use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::time::Duration;

use flow_rt::{Handle, Instant, block_on};
use flow_sched::{EndReason, JobContext, JobNewsKind, Precision, Scheduler};
use futures_util::future::join;

#[test]
fn a_fine_scheduler_on_tokio_is_never_early() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let scheduler = Scheduler::builder()
        .runtime(&handle)
        .precision(Precision::Fine)
        .build()
        .unwrap();
    let (tell, told) = mpsc::channel();
    let job = scheduler.job_with(
        "fine",
        (tell, handle),
        async |cx: JobContext, (tell, handle): (mpsc::Sender<_>, Handle)| {
            tell.send((cx.due(), handle.now())).unwrap();
        },
    );
    job.every(Duration::from_micros(700))
        .max_runs(5)
        .start()
        .unwrap();
    let seen: Vec<(Instant, Instant)> = told.iter().take(5).collect();
    for (due, ran) in &seen {
        assert!(ran >= due, "{ran:?} is before {due:?}");
    }
    block_on(scheduler.shutdown(Duration::from_secs(60))).unwrap();
}

/// How a job with one run ends whose tokio goes before it is due. tokio's timers fail then, and
/// with the first that does the driver ends; fine ones are not tokio's.
fn ends_without_tokio(precision: Precision) -> EndReason {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let builder = Scheduler::builder().runtime(&handle);
    let (scheduler, driver) = builder.precision(precision).build_with_driver().unwrap();
    let mut events = scheduler.events(NonZeroUsize::new(8).unwrap());
    let job = scheduler.job("fine", async |_cx| ());
    let job = job.every(Duration::from_micros(700)).max_runs(1);
    job.start().unwrap();
    drop(tokio);
    let ends = async move {
        loop {
            let news = events.next().await.expect("the job has not ended");
            if let JobNewsKind::Ended(reason) = news.kind {
                scheduler.close();
                return reason;
            }
        }
    };
    // It drops the driver as soon as that has ended, which closes the scheduler.
    block_on(join(driver, ends)).unwrap().1
}

#[test]
fn a_fine_schedulers_timers_are_not_tokios() {
    assert_eq!(ends_without_tokio(Precision::Coarse), EndReason::ShutDown);
    assert_eq!(ends_without_tokio(Precision::Fine), EndReason::Finished);
}
