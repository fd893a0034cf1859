//! What it takes to schedule and to cancel a job.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use allocation_counter::measure;
use flow_rt::Handle;
use flow_sched::Scheduler;

const JOBS: u64 = 10_000;

#[test]
fn a_job_takes_one_allocation_and_what_it_captures_one_more() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    // Nobody drives it: what is counted is what this thread does.
    let built = Scheduler::builder().runtime(&handle).build_with_driver();
    let (scheduler, mut driver) = built.unwrap();
    let hour = Duration::from_secs(3_600);
    let names: Vec<String> = (0..JOBS).map(|n| format!("job {n}")).collect();
    let mut jobs = Vec::with_capacity(4 * JOBS as usize);
    let unnamed = measure(|| {
        for _ in 0..JOBS {
            jobs.push(
                scheduler
                    .unnamed(async |_cx| ())
                    .after(hour)
                    .start()
                    .unwrap(),
            );
        }
    });
    let per_job = |info: &allocation_counter::AllocationInfo| {
        (
            info.count_total as f64 / JOBS as f64,
            info.bytes_current as f64 / JOBS as f64,
        )
    };
    let (count, bytes) = per_job(&unnamed);
    // The job; the registry and the hand-over, which grow.
    assert!(count < 1.1, "{count} allocations for a job without a name");
    assert!(bytes < 200.0, "{bytes} bytes for a job without a name");
    let capturing = measure(|| {
        for n in 0..JOBS {
            let job = scheduler.unnamed_with(n, async |_cx, _n: u64| ());
            jobs.push(job.after(hour).start().unwrap());
        }
    });
    let (count, _) = per_job(&capturing);
    assert!(count < 2.1, "{count} allocations for a job that captures");
    let by_cron = measure(|| {
        for _ in 0..JOBS {
            let job = scheduler.unnamed(async |_cx| ()).cron("30 9 * * MON-FRI");
            jobs.push(job.start().unwrap());
        }
    });
    let (count, _) = per_job(&by_cron);
    // All of them share the pattern.
    assert!(count < 1.1, "{count} allocations for a job by cron");
    let named = measure(|| {
        for name in names {
            let job = scheduler.job(name, async |_cx| ()).after(hour);
            jobs.push(job.start().unwrap());
        }
    });
    let (count, _) = per_job(&named);
    // The name is kept as it was given.
    assert!(count < 1.1, "{count} allocations for a job with a name");
    let cancelled = measure(|| {
        for job in &jobs {
            drop(job.remove());
        }
    });
    // The hand-over, which grows.
    let count = cancelled.count_total as f64 / jobs.len() as f64;
    assert!(
        count < 0.1,
        "{count} allocations for a job that is cancelled"
    );
    jobs.clear();
    let _entered = tokio.enter();
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..100 {
        assert!(Pin::new(&mut driver).poll(cx).is_pending());
    }
    // As many as are kept.
    let again = measure(|| {
        for _ in 0..1_024 {
            drop(scheduler.unnamed(async |_cx| ()).after(hour).start());
        }
    });
    let count = again.count_total as f64 / 1_024.0;
    // What grows in the registry.
    assert!(count < 0.1, "{count} allocations for a job after another");
}
