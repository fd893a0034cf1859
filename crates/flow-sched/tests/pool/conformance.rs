//! A pool's handle keeps the contract of a runtime, as long as there are slots for all tasks that
//! wait at the same time.

use flow_rt::Handle;
use flow_rt::conformance::Subject;
use flow_sched::WorkerPool;
use tokio::runtime::Builder;

/// More than any case has tasks.
const SLOTS: usize = 20_000;

fn pool_on_tokio() -> Subject {
    let tokio = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let builder = WorkerPool::builder().runtime(&handle).slots(0..=SLOTS);
    let pool = builder.build().unwrap();
    Subject::new(pool.handle()).shut_down_by(move || drop(tokio))
}

flow_rt::conformance!(pool_on_tokio, super::pool_on_tokio);
