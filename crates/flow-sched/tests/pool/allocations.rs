//! What it takes to submit a task and to run it.

use allocation_counter::measure;
use flow_rt::Handle;
use flow_sched::WorkerPool;

const TASKS: u64 = 10_000;

/// Allocations per task, of all that happens on this one thread.
fn per_task(tokio: &tokio::runtime::Runtime, work: impl AsyncFn()) -> f64 {
    let counted = measure(|| {
        tokio.block_on(async {
            for _ in 0..TASKS {
                work().await;
            }
        });
    });
    counted.count_total as f64 / TASKS as f64
}

#[test]
fn a_detached_task_takes_what_it_captures_and_one_with_a_handle_its_cell() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let builder = WorkerPool::builder().runtime(&handle).slots(1);
    let pool = builder.queue(64).build().unwrap();
    let empty = async || pool.submit(async |_| ()).detach().await.unwrap();
    let capturing = async || {
        let n = core::hint::black_box(7_u64);
        let task = async move |_| {
            let _ = core::hint::black_box(n);
        };
        pool.submit(task).detach().await.unwrap();
    };
    let awaited = async || pool.run(async |_| ()).await.unwrap();
    // The first ones start the slot and make its body, its context and the queue.
    for _ in 0..2 {
        per_task(&tokio, empty);
        per_task(&tokio, capturing);
        per_task(&tokio, awaited);
    }
    let [empty, capturing, awaited] = [
        per_task(&tokio, empty),
        per_task(&tokio, capturing),
        per_task(&tokio, awaited),
    ];
    // The queue and the host take memory for many tasks at once.
    assert!(empty < 0.05, "{empty} for a task that captures nothing");
    assert!((0.95..1.05).contains(&capturing), "{capturing}");
    assert!((0.95..1.05).contains(&awaited), "{awaited} with a handle");
}
