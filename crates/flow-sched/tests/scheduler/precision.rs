//! Timers of async-io's precision, on the one runtime whose own are coarser. Real time: nothing is
//! early.

use std::sync::mpsc;
use std::time::Duration;

use flow_rt::{Handle, Instant, block_on};
use flow_sched::{JobContext, Precision, Scheduler};

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
