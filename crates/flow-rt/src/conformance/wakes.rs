//! Cases about wakes: none is lost, none does harm, none starves others.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::Waker;

use flow_sync::sync::Mutex;

use super::lab::{Lab, Verdict, ensure};
use super::tools::{Count, Flag, OnDrop, TURNS, Turns, yield_now};
use crate::join::JoinHandle;

const MS: Duration = Duration::from_millis(1);

pub(super) fn wake_from_a_plain_thread(lab: &Lab) -> Verdict {
    let (flags, to_set) = mpsc::channel::<Flag>();
    let setter = std::thread::spawn(move || to_set.into_iter().for_each(|flag| flag.set()));
    let task = lab.spawn(async move {
        for _ in 0..TURNS / 10 {
            let flag = Flag::default();
            let _ = flags.send(flag.clone());
            flag.wait().await;
        }
    });
    lab.block_on("a task woken by a plain thread", task)?
        .map_err(|why| format!("a task woken by a plain thread: {why}"))?;
    setter
        .join()
        .map_err(|_| "a wake panicked on a plain thread".to_owned())
}

pub(super) async fn wake_from_drop(lab: Lab) -> Verdict {
    let flag = Flag::default();
    let waiter = lab.spawn(flag.wait());
    let guard = OnDrop(move || flag.set());
    let owner = lab.spawn(async move {
        let _guard = guard;
        yield_now().await;
    });
    lab.join("a task whose destructor wakes another", owner)
        .await?;
    lab.join("a task woken by a destructor", waiter).await
}

pub(super) async fn wake_inside_poll(lab: Lab) -> Verdict {
    let task = lab.spawn(async {
        for _ in 0..1_000 {
            yield_now().await;
        }
    });
    lab.join("a task that wakes itself inside each of 1 000 polls", task)
        .await
}

pub(super) async fn ping_pong_between_tasks(lab: Lab) -> Verdict {
    const WHAT: &str = "two tasks that wake each other in turn";
    let turns = Turns::default();
    let ping = lab.spawn(turns.clone().play(0, lab.clone_step(), WHAT));
    let pong = lab.spawn(turns.play(1, lab.clone_step(), WHAT));
    lab.join(WHAT, ping).await?;
    lab.join(WHAT, pong).await
}

pub(super) fn ping_pong_with_a_thread(lab: &Lab) -> Verdict {
    const WHAT: &str = "a task and a thread that wake each other in turn";
    let turns = Turns::default();
    let task = lab.spawn(turns.clone().play(0, lab.clone_step(), WHAT));
    lab.block_on(WHAT, turns.play(1, lab.clone_step(), WHAT))?;
    lab.block_on(WHAT, task)?
        .map_err(|why| format!("a task that played with a thread: {why}"))
}

pub(super) async fn wake_after_completion_is_harmless(lab: Lab) -> Verdict {
    let kept: Arc<Mutex<Vec<Waker>>> = Arc::default();
    let keep_one = |_| {
        let kept = kept.clone();
        lab.spawn(async move {
            yield_now().await;
            poll_fn(|cx| {
                kept.lock().push(cx.waker().clone());
                Poll::Ready(())
            })
            .await;
        })
    };
    let tasks: Vec<JoinHandle<()>> = (0..64).map(keep_one).collect();
    for task in tasks {
        lab.join("tasks that leave their wakers behind", task)
            .await?;
    }
    let kept = core::mem::take(&mut *kept.lock());
    ensure!(
        kept.len() == 64,
        "64 tasks left {} wakers behind",
        kept.len()
    );
    for waker in &kept {
        let copy = waker.clone();
        waker.wake_by_ref();
        copy.wake();
    }
    let after = lab.spawn(async {
        for _ in 0..10 {
            yield_now().await;
        }
    });
    lab.join("a task spawned after ended ones were woken", after)
        .await?;
    kept.into_iter().for_each(Waker::wake);
    let after = lab.spawn(async {});
    lab.join(
        "a task spawned after ended ones were woken for the last time",
        after,
    )
    .await
}

pub(super) async fn double_wake_polls_once(lab: Lab) -> Verdict {
    let (polls, end) = (Arc::new(Count::default()), Arc::new(AtomicBool::new(false)));
    let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
    let second_poll = Flag::default();
    let task = {
        let (polls, end) = (polls.clone(), end.clone());
        let (waker, second_poll) = (waker.clone(), second_poll.clone());
        lab.spawn(poll_fn(move |cx| {
            match polls.add() {
                1 => {
                    let copy = cx.waker().clone();
                    cx.waker().wake_by_ref();
                    copy.wake();
                    cx.waker().wake_by_ref();
                }
                2 => {
                    *waker.lock() = Some(cx.waker().clone());
                    second_poll.set();
                }
                _ => {}
            }
            if end.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    };
    lab.step("the poll after wakes inside a poll");
    second_poll.wait().await;
    // A third poll, if it is to come, is queued by now: let it come.
    for _ in 0..10 {
        let other = lab.spawn(yield_now());
        lab.join("another task", other).await?;
    }
    lab.fired("a sleep", lab.sleep(2 * MS)).await?;
    let polled = polls.get();
    ensure!(
        polled == 2,
        "a task that woke itself three times inside its first poll, and never after, was polled \
         {polled} times"
    );
    end.store(true, Ordering::Release);
    let waker = waker.lock().take();
    if let Some(waker) = waker {
        waker.wake();
    }
    lab.join("a task woken for the last time", task).await
}

pub(super) async fn yield_storm_starves_no_task(lab: Lab) -> Verdict {
    let storm = Storm::start(&lab);
    for _ in 0..10 {
        let beside = lab.spawn(async {
            for _ in 0..10 {
                yield_now().await;
            }
        });
        lab.join("a task beside tasks that always yield", beside)
            .await?;
    }
    storm.stop(&lab).await
}

pub(super) async fn yield_storm_starves_no_timer(lab: Lab) -> Verdict {
    let storm = Storm::start(&lab);
    for _ in 0..3 {
        lab.fired("a timer beside tasks that always yield", lab.sleep(5 * MS))
            .await?;
        let asleep = lab.spawn(lab.sleep(5 * MS));
        let fired = lab
            .join("a task asleep beside tasks that always yield", asleep)
            .await?;
        ensure!(
            fired.is_ok(),
            "a timer beside tasks that always yield said {fired:?}"
        );
    }
    storm.stop(&lab).await
}

/// Tasks that are always ready.
struct Storm {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Storm {
    fn start(lab: &Lab) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |_| {
            let stop = stop.clone();
            lab.spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    yield_now().await;
                }
            })
        };
        let tasks = (0..8).map(spawn).collect();
        Self { stop, tasks }
    }

    async fn stop(self, lab: &Lab) -> Verdict {
        self.stop.store(true, Ordering::Release);
        for task in self.tasks {
            lab.join("a task that yielded until it was told to stop", task)
                .await?;
        }
        Ok(())
    }
}
