//! Cases about shutting the runtime down. The watchdog is what catches a hang.

use core::future::{pending, poll_fn};
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Waker;

use flow_sync::sync::Mutex;

use super::lab::{Ending, Lab, Step, Verdict, ensure};
use super::tools::{Count, Flag, OnDrop, yield_now};
use crate::handle::Handle;
use crate::join::{JoinError, JoinHandle};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);

#[allow(clippy::unnecessary_wraps)] // a case like the others: what it can fail by is a hang or a panic
pub(super) fn shutdown_when_idle(lab: Lab, ending: Ending) -> Verdict {
    ending.shut_down(lab);
    Ok(())
}

/// Three kinds of live tasks: parked for good, asleep, and always ready.
pub(super) fn shutdown_ends_live_tasks(lab: Lab, ending: Ending) -> Verdict {
    const OF_EACH: usize = 50;
    let (started, dropped) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let all_started = Flag::default();
    let mut tasks = Vec::new();
    for n in 0..3 * OF_EACH {
        let guard = OnDrop({
            let dropped = dropped.clone();
            move || {
                dropped.add();
            }
        });
        let (started, all_started) = (started.clone(), all_started.clone());
        let timer = lab.sleep(HOUR);
        tasks.push(lab.spawn(async move {
            let _guard = guard;
            if started.add() == 3 * OF_EACH {
                all_started.set();
            }
            match n % 3 {
                0 => pending().await,
                // The timer may say that it was stopped: the task is to be dropped all the same.
                1 => {
                    let _ = timer.await;
                    pending::<()>().await;
                }
                _ => loop {
                    yield_now().await;
                },
            }
        }));
    }
    lab.block_on("150 tasks to start", all_started.wait())?;
    let step = lab.clone_step();
    ending.shut_down(lab);
    for task in tasks {
        let joined: Result<(), _> =
            ended(&step, "the join of a task that was live at shutdown", task)?;
        ensure!(
            matches!(joined, Err(JoinError::Cancelled)),
            "a task that was live at shutdown joined as {joined:?}"
        );
    }
    let dropped = dropped.get();
    ensure!(
        dropped == 3 * OF_EACH,
        "of 150 tasks live at shutdown {dropped} futures were dropped"
    );
    Ok(())
}

pub(super) fn shutdown_ends_armed_timers(lab: Lab, ending: Ending) -> Verdict {
    let (waiting, waits) = mpsc::channel();
    let mut timer = lab.sleep(200 * MS);
    let waiter = std::thread::spawn(move || {
        crate::block_on(poll_fn(move |cx| {
            let fired = timer.poll_fired(cx);
            let _ = waiting.send(());
            fired
        }))
    });
    let _ = waits.recv();
    let mut kept = lab.sleep(MS);
    let step = lab.clone_step();
    ending.shut_down(lab);
    step.set("a thread that waits for a timer across the shutdown");
    // Whether it fired in its time or was stopped is the runtime's choice; a panic is not.
    waiter
        .join()
        .map_err(|_| "waiting for a timer across a shutdown panicked".to_owned())?
        .map_err(|why| why.to_string())
        .map(drop)?;
    kept.arm(crate::Instant::ORIGIN);
    let _ = ended(&step, "a timer armed after the shutdown", kept)?;
    Ok(())
}

pub(super) fn shutdown_with_queued_jobs(lab: Lab, ending: Ending) -> Verdict {
    let mut gates = Vec::new();
    let mut jobs = Vec::new();
    for n in 0..100 {
        let (open, gate) = mpsc::channel::<()>();
        // The first ones block until their gate's end is dropped; the rest queue behind them.
        let gate = (n < 8).then(|| {
            gates.push(open);
            gate
        });
        jobs.push(lab.spawn_blocking(move || {
            if let Some(gate) = gate {
                let _ = gate.recv();
            }
        }));
    }
    let step = lab.clone_step();
    drop(gates);
    ending.shut_down(lab);
    for job in jobs {
        let joined = ended(&step, "the join of a closure queued at shutdown", job)?;
        ensure!(
            matches!(joined, Ok(()) | Err(JoinError::Cancelled)),
            "a closure queued at shutdown joined as {joined:?}"
        );
    }
    Ok(())
}

pub(super) fn wakers_outlive_the_runtime(lab: Lab, ending: Ending) -> Verdict {
    let kept: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let polled = Flag::default();
    let task = {
        let (kept, polled) = (kept.clone(), polled.clone());
        lab.spawn(poll_fn(move |cx| {
            kept.lock().push(cx.waker().clone());
            polled.set();
            Poll::<()>::Pending
        }))
    };
    lab.block_on("a task's first poll", polled.wait())?;
    let step = lab.clone_step();
    ending.shut_down(lab);
    step.set("a wake after the shutdown");
    let kept = core::mem::take(&mut *kept.lock());
    for waker in kept {
        let copy = waker.clone();
        waker.wake_by_ref();
        copy.wake();
    }
    let joined = ended(&step, "the join of a task woken after the shutdown", task)?;
    ensure!(
        matches!(joined, Err(JoinError::Cancelled)),
        "a task woken after the shutdown joined as {joined:?}"
    );
    Ok(())
}

pub(super) fn handle_after_shutdown_gives_errors(lab: Lab, ending: Ending) -> Verdict {
    let (rt, step) = (Handle::clone(&lab), lab.clone_step());
    let mut armed_before = lab.sleep(HOUR);
    ending.shut_down(lab);

    let joined = ended(
        &step,
        "the join of a task spawned after shutdown",
        rt.spawn(async {}),
    )?;
    ensure!(
        matches!(joined, Err(JoinError::Cancelled)),
        "a task spawned after shutdown joined as {joined:?}"
    );
    let dropped = Arc::new(Count::default());
    rt.spawn_detached({
        let dropped = dropped.clone();
        let guard = OnDrop(move || {
            dropped.add();
        });
        async move {
            let _guard = guard;
            pending::<()>().await;
        }
    });
    ensure!(
        dropped.get() == 1,
        "a task spawned after shutdown was kept instead of dropped"
    );
    // A closure may still run on a thread of its own; it may not hang, nor panic.
    let _ = ended(
        &step,
        "the join of a closure given after shutdown",
        rt.spawn_blocking(|| ()),
    )?;
    let _ = ended(&step, "a sleep after shutdown", rt.sleep(MS))?;
    armed_before.arm(rt.now() + MS);
    let _ = ended(
        &step,
        "a timer armed before and moved after shutdown",
        armed_before,
    )?;
    let waited = ended(
        &step,
        "a timeout after shutdown",
        rt.timeout(MS, pending::<()>()),
    )?;
    ensure!(
        waited.is_err(),
        "a timeout after shutdown gave a value that nobody made"
    );
    let mut interval = rt.interval(MS).map_err(|why| why.to_string())?;
    let _ = ended(&step, "a tick after shutdown", interval.tick())?;
    let (before, after) = (rt.now(), rt.now());
    ensure!(after >= before, "the time goes back after shutdown");
    Ok(())
}

pub(super) fn spawn_from_drop_at_shutdown(lab: Lab, ending: Ending) -> Verdict {
    let started = Flag::default();
    let spawned: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
    let guard = OnDrop({
        let (rt, spawned) = (Handle::clone(&lab), spawned.clone());
        move || {
            let task = rt.spawn(async {});
            let job = rt.spawn_blocking(|| ());
            spawned.lock().extend([task, job]);
        }
    });
    let owner = {
        let started = started.clone();
        lab.spawn(async move {
            let _guard = guard;
            started.set();
            pending::<()>().await;
        })
    };
    lab.block_on("a task's first poll", started.wait())?;
    let step = lab.clone_step();
    ending.shut_down(lab);
    let _ = ended(&step, "the join of a task whose destructor spawns", owner)?;
    let spawned = core::mem::take(&mut *spawned.lock());
    ensure!(
        spawned.len() == 2,
        "the destructor of a task live at shutdown did not run"
    );
    for task in spawned {
        let joined = ended(
            &step,
            "the join of what a destructor spawned at shutdown",
            task,
        )?;
        ensure!(
            matches!(joined, Ok(()) | Err(JoinError::Cancelled)),
            "what a destructor spawned at shutdown joined as {joined:?}"
        );
    }
    Ok(())
}

pub(super) fn shutdown_races_with_spawn(lab: Lab, ending: Ending) -> Verdict {
    let (down, under_way) = (Flag::default(), Flag::default());
    let spawner = {
        let (rt, down, under_way) = (Handle::clone(&lab), down.clone(), under_way.clone());
        std::thread::spawn(move || {
            let mut tasks = Vec::new();
            // Bounded, so that a slow shutdown does not fill the memory.
            while !down.is_set() && tasks.len() < 20_000 {
                tasks.push(rt.spawn(yield_now()));
                under_way.set();
            }
            tasks
        })
    };
    lab.block_on("the first of many spawns", under_way.wait())?;
    let step = lab.clone_step();
    ending.shut_down(lab);
    down.set();
    step.set("spawn to return during and after the shutdown");
    let tasks = spawner
        .join()
        .map_err(|_| "spawn panicked during the shutdown".to_owned())?;
    for task in tasks {
        let joined = ended(
            &step,
            "the join of a task spawned during the shutdown",
            task,
        )?;
        ensure!(
            matches!(joined, Ok(()) | Err(JoinError::Cancelled)),
            "a task spawned during the shutdown joined as {joined:?}"
        );
    }
    Ok(())
}

/// Waits for what must end after the shutdown, whatever the end.
fn ended<T>(step: &Step, what: &'static str, future: impl Future<Output = T>) -> Verdict<T> {
    step.set(what);
    crate::block_on(future).map_err(|why| format!("{what}: {why}"))
}
