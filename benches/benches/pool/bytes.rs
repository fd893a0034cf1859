//! What a task takes while it is queued.

use flow_benches::Bench;
use flow_benches::process::resident;
use tokio::runtime::Runtime;

use crate::{pool, tokio_handle};

const TASKS: usize = 1_000_000;

#[allow(clippy::disallowed_methods)] // the host is what is measured against
pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    const ROW: &str = "bytes per queued task with an empty closure";
    if !bench.wants(ROW) {
        return;
    }
    let grown = |make: &mut dyn FnMut()| {
        let before = resident();
        make();
        resident().saturating_sub(before) as f64 / TASKS as f64
    };
    let gate = flow_rt::CancellationToken::new();
    let mut full = None;
    // With the pool, whose queue has its memory from the start.
    let flow = grown(&mut || {
        let pool = pool(&tokio_handle(runtime), 1, TASKS);
        let busy = gate.clone();
        let blocks = pool.try_submit(async move |_cx| busy.cancelled().await);
        blocks.expect("the pool is empty").detach();
        while pool.stats().running == 0 {
            std::thread::yield_now();
        }
        for _ in 0..TASKS {
            pool.try_submit(async |_cx| ())
                .expect("there is room")
                .detach();
        }
        full = Some(pool);
    });
    gate.cancel();
    if let Some(pool) = full {
        runtime.block_on(pool.shutdown(core::time::Duration::MAX));
    }

    // One thread, which the gate keeps busy.
    let alone = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("it has no thread to start");
    let spawn = grown(&mut || {
        for _ in 0..TASKS {
            drop(alone.spawn(async {}));
        }
    });
    drop(alone);
    bench.record(ROW, "B", &[flow], &[("tokio spawn", vec![spawn])]);
}
