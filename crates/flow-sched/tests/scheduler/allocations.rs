//! What it takes to schedule and to cancel a job.

use std::time::Duration;

use allocation_counter::measure;
use flow_rt::Handle;
use flow_sched::Scheduler;

const JOBS: u64 = 10_000;

#[test]
fn a_job_takes_two_allocations_and_its_name_one_more() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    // Nobody drives it: what is counted is what this thread does.
    let built = Scheduler::builder().runtime(&handle).build_with_driver();
    let (scheduler, _driver) = built.unwrap();
    let hour = Duration::from_secs(3_600);
    let names: Vec<String> = (0..JOBS).map(|n| format!("job {n}")).collect();
    let mut jobs = Vec::with_capacity(2 * JOBS as usize);
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
    // The job and its closure; a block of the hand-over for 31 of them, and the registry.
    assert!(count < 2.1, "{count} allocations for a job without a name");
    assert!(bytes < 256.0, "{bytes} bytes for a job without a name");
    let named = measure(|| {
        for name in names {
            let job = scheduler.job(name, async |_cx| ()).after(hour);
            jobs.push(job.start().unwrap());
        }
    });
    let (count, _) = per_job(&named);
    assert!(count < 3.1, "{count} allocations for a job with a name");
    let cancelled = measure(|| {
        for job in &jobs {
            drop(job.remove());
        }
    });
    // Blocks of the hand-over.
    assert!(
        per_job(&cancelled).0 < 0.1,
        "{} allocations",
        cancelled.count_total
    );
}
