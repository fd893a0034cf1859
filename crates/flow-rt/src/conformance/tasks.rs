//! Cases about tasks.

use core::cell::Cell;
use core::future::pending;
use core::time::Duration;
use std::sync::Arc;

use super::lab::{Lab, Verdict, ensure};
use super::tools::{Count, Flag, OnDrop, planned_panic, yield_now};
use crate::handle::Handle;
use crate::join::{JoinError, JoinHandle};

const THREADS: usize = 4;
const SPAWNS: usize = 10_000;

thread_local! {
    static SPAWNING: Cell<bool> = const { Cell::new(false) };
}

/// From the case's thread and from a task: the executor's own thread is where polling at once
/// is most tempting.
pub(super) async fn spawn_does_not_run_inline(lab: Lab) -> Verdict {
    let inline = Arc::new(Count::default());
    for task in spawn_marked(&lab, &inline) {
        lab.join("tasks spawned from outside", task).await?;
    }
    let inside = lab.spawn({
        let (rt, inline) = (Handle::clone(&lab), inline.clone());
        async move {
            for task in spawn_marked(&rt, &inline) {
                task.await?;
            }
            Ok::<_, JoinError>(())
        }
    });
    let inside = lab.join("tasks spawned by a task", inside).await?;
    ensure!(
        inside.is_ok(),
        "a task spawned by a task gave no result: {inside:?}"
    );
    ensure!(
        inline.get() == 0,
        "{} of 128 tasks were polled inside the call of spawn",
        inline.get()
    );
    Ok(())
}

fn spawn_marked(rt: &Handle, inline: &Arc<Count>) -> Vec<JoinHandle<()>> {
    let spawn = |_| {
        let inline = inline.clone();
        SPAWNING.set(true);
        let task = rt.spawn(async move {
            if SPAWNING.get() {
                inline.add();
            }
        });
        SPAWNING.set(false);
        task
    };
    (0..64).map(spawn).collect()
}

pub(super) fn every_spawn_runs_once(lab: &Lab) -> Verdict {
    let ran = Arc::new(Count::default());
    let spawner = || {
        let (rt, ran) = (Handle::clone(lab), ran.clone());
        std::thread::spawn(move || {
            let spawn = |_| {
                let ran = ran.clone();
                rt.spawn(async move {
                    ran.add();
                })
            };
            (0..SPAWNS / THREADS).map(spawn).collect::<Vec<_>>()
        })
    };
    let spawners: Vec<_> = (0..THREADS).map(|_| spawner()).collect();
    lab.step("spawn to return on four threads");
    for spawner in spawners {
        let tasks = spawner
            .join()
            .map_err(|_| "spawn panicked on a plain thread".to_owned())?;
        for task in tasks {
            lab.block_on("each of 10 000 tasks to end", task)?
                .map_err(|why| format!("of 10 000 tasks one gave no result: {why}"))?;
        }
    }
    ensure!(
        ran.get() == SPAWNS,
        "{SPAWNS} tasks ran {} times",
        ran.get()
    );
    Ok(())
}

pub(super) async fn panic_stays_in_its_task(lab: Lab) -> Verdict {
    let bystander = lab.spawn(async {
        for _ in 0..100 {
            yield_now().await;
        }
    });
    for _ in 0..32 {
        let at_once = lab.spawn(async { planned_panic("planned, at once") });
        let later = lab.spawn(async {
            yield_now().await;
            planned_panic("planned, later");
        });
        lab.spawn_detached(async { planned_panic("planned, detached") });
        lab.step("the join of a task that panics");
        expect_panic(at_once.await, "planned, at once")?;
        expect_panic(later.await, "planned, later")?;
    }
    lab.join("a task that ran beside panicking ones", bystander)
        .await?;
    let after = lab.spawn(async { 6 * 7 });
    let answer = lab.join("a task spawned after panics", after).await?;
    ensure!(
        answer == 42,
        "a task spawned after panics returned {answer}"
    );
    Ok(())
}

fn expect_panic(joined: Result<(), JoinError>, message: &str) -> Verdict {
    match joined {
        Err(JoinError::Panicked(panic)) if panic.message() == message => Ok(()),
        other => Err(format!(
            "a task that panicked with {message:?} joined as {other:?}"
        )),
    }
}

pub(super) async fn abort_ends_a_pending_task(lab: Lab) -> Verdict {
    for polled_first in [true, false] {
        let polled = Flag::default();
        let task = lab.spawn({
            let polled = polled.clone();
            async move {
                polled.set();
                pending::<()>().await;
            }
        });
        if polled_first {
            lab.step("a task's first poll");
            polled.wait().await;
        }
        task.abort();
        lab.step("the join of an aborted task");
        let joined = task.await;
        ensure!(
            matches!(joined, Err(JoinError::Cancelled)),
            "an aborted task joined as {joined:?}"
        );
    }
    let ended = lab.spawn(async { 7 });
    lab.step("a task to end");
    while !ended.is_finished() {
        let _ = lab.sleep(Duration::from_millis(1)).await;
    }
    ended.abort();
    let result = lab.join("a task aborted after its end", ended).await?;
    ensure!(
        result == 7,
        "a task aborted after its end returned {result}"
    );
    Ok(())
}

pub(super) async fn future_is_dropped_exactly_once(lab: Lab) -> Verdict {
    #[derive(Debug, Clone, Copy)]
    enum Way {
        Returns,
        Panics,
        Aborted,
    }
    for way in [Way::Returns, Way::Panics, Way::Aborted] {
        for _ in 0..32 {
            let dropped = Arc::new(Count::default());
            let guard = OnDrop({
                let dropped = dropped.clone();
                move || {
                    dropped.add();
                }
            });
            let task = lab.spawn(async move {
                let _guard = guard;
                yield_now().await;
                match way {
                    Way::Returns => {}
                    Way::Panics => planned_panic("planned"),
                    Way::Aborted => pending().await,
                }
            });
            if matches!(way, Way::Aborted) {
                task.abort();
            }
            lab.step("the join of a task that owns a guard");
            let _ = task.await;
            let times = dropped.get();
            ensure!(
                times == 1,
                "when the join ended, the future (way: {way:?}) was dropped {times} times"
            );
        }
    }
    Ok(())
}

pub(super) async fn task_joins_its_own_child(lab: Lab) -> Verdict {
    let rt = Handle::clone(&lab);
    let task = lab.spawn(async move {
        let child = rt.clone().spawn(async move {
            let grandchild = rt.spawn(async { 5 });
            grandchild.await.map(|n| n + 1)
        });
        child.await.and_then(|n| n).map(|n| n + 1)
    });
    let answer = lab.join("a task that waits for its child", task).await?;
    ensure!(
        matches!(answer, Ok(7)),
        "a task that waits for its child and grandchild returned {answer:?}"
    );
    Ok(())
}

pub(super) async fn tasks_take_turns(lab: Lab) -> Verdict {
    let (there, back) = (Flag::default(), Flag::default());
    let first = lab.spawn({
        let (there, back) = (there.clone(), back.clone());
        async move {
            there.wait().await;
            back.set();
        }
    });
    let second = lab.spawn(async move {
        there.set();
        back.wait().await;
    });
    lab.join("the second of two tasks that need each other", second)
        .await?;
    lab.join("the first of two tasks that need each other", first)
        .await
}

pub(super) async fn thousand_pending_tasks_wake(lab: Lab) -> Verdict {
    let (go, parked) = (Flag::default(), Arc::new(Count::default()));
    let all_parked = Flag::default();
    let park = |_| {
        let (go, parked, all_parked) = (go.clone(), parked.clone(), all_parked.clone());
        lab.spawn(async move {
            if parked.add() == 1_000 {
                all_parked.set();
            }
            go.wait().await;
        })
    };
    let tasks: Vec<_> = (0..1_000).map(park).collect();
    lab.step("1 000 tasks to be polled once");
    all_parked.wait().await;
    go.set();
    for task in tasks {
        lab.join("each of 1 000 tasks woken together", task).await?;
    }
    Ok(())
}

pub(super) async fn spawn_from_drop(lab: Lab) -> Verdict {
    let by_task = Flag::default();
    let guard = OnDrop({
        let (rt, by_task) = (Handle::clone(&lab), by_task.clone());
        move || {
            let by_task = by_task.clone();
            rt.spawn(async move { by_task.set() }).detach();
        }
    });
    let owner = lab.spawn(async move {
        let _guard = guard;
        yield_now().await;
    });
    lab.join("a task whose destructor spawns", owner).await?;
    lab.step("a task spawned by a task's destructor");
    by_task.wait().await;

    let by_case = Flag::default();
    drop(OnDrop(|| {
        let by_case = by_case.clone();
        lab.spawn(async move { by_case.set() }).detach();
    }));
    lab.step("a task spawned by a destructor outside of tasks");
    by_case.wait().await;
    Ok(())
}

pub(super) fn spawn_from_a_foreign_thread(lab: &Lab) -> Verdict {
    let rt = Handle::clone(lab);
    lab.step("spawn to return on a plain thread");
    let tasks = std::thread::spawn(move || {
        let spawn = |n| rt.spawn(async move { n });
        (0..100_u32).map(spawn).collect::<Vec<_>>()
    });
    let tasks = tasks
        .join()
        .map_err(|_| "spawn panicked on a plain thread".to_owned())?;
    for (n, task) in tasks.into_iter().enumerate() {
        let answer = lab.block_on("a task spawned by a plain thread that has ended", task)?;
        ensure!(
            answer.as_ref().is_ok_and(|answer| *answer as usize == n),
            "task {n} of a plain thread joined as {answer:?}"
        );
    }
    Ok(())
}
