//! Runs that nobody takes over: those of a closed pool.

use std::time::Duration;

use flow_rt::sim;
use flow_sched::{JobHandle, JobState, Overlap, Scheduler, WorkerPool};

use crate::common::{HOUR, SEC};

/// More than a thread's stack could hold, one inside the other.
const MANY: u64 = 100_000;

/// Has a job asked for `MANY` runs that wait for the first one to end, which it does not.
async fn waited_for(scheduler: &Scheduler, rt: &sim::Sim) -> JobHandle {
    let job = scheduler.job("hangs", async |_cx| std::future::pending::<()>().await);
    let job = job
        .every(HOUR)
        .overlap(Overlap::BufferAll(MANY as usize))
        .start()
        .unwrap();
    for _ in 0..=MANY {
        job.trigger_now().await.unwrap();
    }
    rt.sleep(SEC).await;
    assert_eq!(job.stats().runs.started, 1);
    job
}

#[test]
fn requests_that_wait_for_a_pool_that_closes_end_one_after_another() {
    sim::check(0..2, |rt| async move {
        let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
        let scheduler = Scheduler::builder().pool(&pool).build().unwrap();
        let job = waited_for(&scheduler, &rt).await;
        pool.shutdown(Duration::ZERO).await;
        let stats = job.stats();
        assert_eq!((stats.running, stats.state), (0, JobState::Active));
        assert_eq!(stats.runs.started, MANY + 1);
        assert_eq!(stats.runs.dropped, MANY + 1);
        assert_eq!(scheduler.stats().running, 0);
        rt.sleep(HOUR).await;
        assert_eq!(job.stats().runs.started, MANY + 2, "its timetable goes on");
        scheduler.shutdown(SEC).await;
    });
}
