//! Cases about blocking closures.

use core::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc;

use super::lab::{Lab, Verdict, ensure};
use super::tools::{Count, planned_panic};
use crate::handle::Handle;
use crate::join::JoinError;

thread_local! {
    static SPAWNING: Cell<bool> = const { Cell::new(false) };
}

pub(super) async fn blocking_does_not_run_inline(lab: Lab) -> Verdict {
    for _ in 0..16 {
        SPAWNING.set(true);
        let job = lab.spawn_blocking(|| SPAWNING.get());
        SPAWNING.set(false);
        let inline = lab.join("a blocking closure", job).await?;
        ensure!(
            !inline,
            "a blocking closure ran inside the call of spawn_blocking"
        );
    }
    Ok(())
}

/// The closures wait for tasks that are spawned after them; four of them, so that every thread
/// of a small executor would be taken.
pub(super) fn blocking_does_not_stall_tasks(lab: &Lab) -> Verdict {
    let block = |_| {
        let (open, gate) = mpsc::channel::<()>();
        let job = lab.spawn_blocking(move || gate.recv().is_ok());
        (open, job)
    };
    let jobs: Vec<_> = (0..4).map(block).collect();
    for (open, job) in jobs {
        let opener = lab.spawn(async move {
            let _ = open.send(());
        });
        lab.block_on("a task that runs while closures block", opener)?
            .map_err(|why| format!("a task that ran while closures blocked: {why}"))?;
        let opened = lab
            .block_on("a closure that a task set free", job)?
            .map_err(|why| format!("a blocking closure: {why}"))?;
        ensure!(
            opened,
            "the task that was to set a closure free was dropped"
        );
    }
    Ok(())
}

pub(super) async fn blocking_panic_comes_back(lab: Lab) -> Verdict {
    for _ in 0..16 {
        let job = lab.spawn_blocking(|| planned_panic("planned, in a closure"));
        lab.step("the join of a closure that panics");
        match job.await {
            Err(JoinError::Panicked(panic)) if panic.message() == "planned, in a closure" => {}
            other => return Err(format!("a closure that panicked joined as {other:?}")),
        }
    }
    let next = lab.spawn_blocking(|| 42);
    let answer = lab
        .join("a closure after closures that panicked", next)
        .await?;
    ensure!(answer == 42, "a closure returned {answer} instead of 42");
    Ok(())
}

pub(super) async fn sixty_four_jobs_progress(lab: Lab) -> Verdict {
    let ran = Arc::new(Count::default());
    let job = |n: usize| {
        let ran = ran.clone();
        lab.spawn_blocking(move || {
            ran.add();
            n
        })
    };
    let jobs: Vec<_> = (0..64).map(job).collect();
    for (n, job) in jobs.into_iter().enumerate() {
        let answer = lab.join("each of 64 blocking closures", job).await?;
        ensure!(answer == n, "closure {n} of 64 returned {answer}");
    }
    ensure!(ran.get() == 64, "64 closures ran {} times", ran.get());
    Ok(())
}

pub(super) fn blocking_may_use_the_runtime(lab: &Lab) -> Verdict {
    let rt = Handle::clone(lab);
    let job = lab.spawn_blocking(move || {
        let task = rt.spawn(async { 42 });
        crate::block_on(task)
    });
    let answer = lab.block_on("a closure that blocks on a task", job)?;
    ensure!(
        matches!(answer, Ok(Ok(Ok(42)))),
        "a closure that blocked on a task gave {answer:?}"
    );
    Ok(())
}
