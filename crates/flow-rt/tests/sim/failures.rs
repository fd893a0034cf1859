//! Deadlock, lost wake-up, livelock, leak, panic: planted, found and named.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use flow_rt::Stopped;
use flow_rt::sim::{self, Failure, Policy, Sim};

use crate::{panic_of, planned_panic, yield_now};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_deadlock_is_reported_with_names_places_and_ages() {
    let failure = Sim::new(0)
        .run(|rt| async move {
            rt.spawn_named("the stuck one", pending::<()>()).detach();
            rt.sleep(HOUR).await;
            pending::<()>().await;
        })
        .unwrap_err();
    let Failure::Deadlock { waiting } = &failure else {
        panic!("{failure}");
    };
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0].name.as_deref(), Some("the root"));
    assert_eq!((waiting[1].age, waiting[1].polls), (HOUR, 1));
    let text = failure.to_string();
    let line = text
        .lines()
        .find(|line| line.contains("the stuck one"))
        .unwrap();
    assert!(
        line.contains("failures.rs:") && line.contains("3600s ago"),
        "{text}"
    );
}

/// A cell with a lost wake-up: it looks, lets others run, and only then listens.
#[derive(Default)]
struct Leaky {
    state: Mutex<(bool, Option<Waker>)>,
}

impl Leaky {
    async fn wait(&self) {
        if self.state.lock().unwrap().0 {
            return;
        }
        yield_now().await;
        let mut waited = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            self.state.lock().unwrap().1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn set(&self) {
        let waker = {
            let mut state = self.state.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[test]
fn a_lost_wake_up_is_found_by_a_seed_and_named() {
    let text = panic_of(|| {
        sim::check(0..1_000, |rt| async move {
            let cell = Arc::new(Leaky::default());
            let waiting = cell.clone();
            let waiter = rt.spawn_named("the waiter", async move { waiting.wait().await });
            rt.spawn_detached(async move { cell.set() });
            waiter.await.unwrap();
        });
    });
    assert!(text.starts_with("FLOW_SIM_SEED="), "{text}");
    assert!(
        text.contains("a wake-up was lost") && text.contains("the waiter"),
        "{text}"
    );
}

#[test]
fn a_livelock_is_reported_with_the_busiest_task() {
    let failure = Sim::new(0)
        .livelock_polls(10_000)
        .run(|rt| async move {
            let spin = poll_fn::<(), _>(|cx| {
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            rt.sleep(HOUR).await;
            rt.spawn_named("spinner", spin).await
        })
        .unwrap_err();
    let Failure::Livelock { polls, busiest, .. } = &failure else {
        panic!("{failure}");
    };
    assert_eq!(*polls, 10_000);
    assert_eq!(busiest[0].name.as_deref(), Some("spinner"));
    assert!(
        failure
            .to_string()
            .contains("10000 polls without time moving")
    );
}

async fn leave_a_task(rt: Sim) {
    let inner = rt.clone();
    let ticker = async move {
        loop {
            inner.sleep(HOUR).await;
        }
    };
    rt.spawn_named("the ticker", ticker).detach();
    rt.run_until_idle().await;
}

#[test]
fn leaks_are_reported_or_fail_the_run() {
    let report = Sim::new(0).run(leave_a_task).unwrap();
    assert_eq!(report.leaked[0].name.as_deref(), Some("the ticker"));
    assert_eq!((report.armed.len(), report.armed[0].due_in), (1, HOUR));
    let failure = Sim::new(0)
        .leaks(Policy::Fail)
        .run(leave_a_task)
        .unwrap_err();
    let text = failure.to_string();
    assert!(matches!(failure, Failure::Leaked { .. }), "{text}");
    assert!(
        text.contains("a timer due in 3600s, of the ticker"),
        "{text}"
    );
}

#[test]
fn who_is_told_to_stop_by_the_end_is_no_leak() {
    Sim::builder()
        .leaks(Policy::Fail)
        .check(0..20, |rt| async move {
            let mut group = rt.task_group();
            group.spawn(pending::<()>());
            // Aborted when the root drops it; so is the closed channel's reader told.
            let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
            rt.spawn_detached(async move { drop(receiver.await) });
            rt.run_until_idle().await;
            drop((sender, group));
        });
}

#[test]
fn a_timer_that_outlives_its_task_is_a_leak_of_its_own() {
    let kept = Arc::new(Mutex::new(None));
    let keep = kept.clone();
    let report = Sim::new(0)
        .run(|rt| async move {
            let inner = rt.clone();
            let task = rt.spawn(async move {
                let mut timer = inner.timer(inner.now() + HOUR);
                poll_fn(|cx| Poll::Ready(timer.poll_fired(cx).is_pending())).await;
                *keep.lock().unwrap() = Some(timer);
            });
            task.await.unwrap();
        })
        .unwrap();
    assert_eq!((report.leaked.len(), report.armed.len()), (0, 1));
    assert_eq!(
        report.armed[0].to_string(),
        "a timer due in 3600s, of a task that has ended"
    );
    // After the run it says so, instead of waiting for ever.
    let timer = kept.lock().unwrap().take().unwrap();
    assert_eq!(flow_rt::block_on(timer), Ok(Err(Stopped::new())));
}

#[test]
fn a_panic_that_nobody_joins_fails_the_run() {
    for detached_at_once in [true, false] {
        let failure = Sim::new(0)
            .run(|rt| async move {
                let broken = async { planned_panic("out of cheese") };
                if detached_at_once {
                    rt.spawn_detached(broken);
                } else {
                    rt.spawn_named("the kitchen", broken).detach();
                }
                rt.sleep(HOUR).await;
            })
            .unwrap_err();
        let Failure::TaskPanicked(panic) = &failure else {
            panic!("{failure}");
        };
        assert_eq!(
            (panic.message.as_str(), panic.task.polls),
            ("out of cheese", 1)
        );
        assert!(
            panic.task.spawned_at.file().ends_with("failures.rs"),
            "{failure}"
        );
        if !detached_at_once {
            assert!(failure.to_string().contains("the kitchen"), "{failure}");
        }
    }
}

#[test]
fn a_panic_that_is_kept_to_the_end_and_not_read_fails_the_run() {
    let run = |read: bool| {
        Sim::new(0).run(move |rt| async move {
            let broken = rt.spawn_named("broken", async { planned_panic("lost?") });
            rt.sleep(HOUR).await;
            if read {
                assert!(broken.await.unwrap_err().is_panic());
            }
        })
    };
    assert!(run(true).is_ok());
    let failure = run(false).unwrap_err().to_string();
    assert!(
        failure.contains("lost?") && failure.contains("broken"),
        "{failure}"
    );
}

#[test]
fn a_panic_of_a_blocking_closure_counts_too() {
    let failure = Sim::new(0)
        .run(|rt| async move {
            rt.spawn_blocking(|| planned_panic("no disk")).detach();
            rt.run_until_idle().await;
        })
        .unwrap_err()
        .to_string();
    assert!(
        failure.contains("no disk") && failure.contains("blocking closure"),
        "{failure}"
    );
    assert!(failure.contains(file!()), "where it was spawned: {failure}");
}

#[test]
fn panics_may_be_reported_instead() {
    let report = Sim::new(0)
        .task_panics(Policy::Report)
        .run(|rt| async move {
            rt.spawn_detached(async { planned_panic("one") });
            rt.run_until_idle().await;
            rt.spawn_named("two", async { planned_panic("two") })
                .detach();
            rt.run_until_idle().await;
        })
        .unwrap();
    let messages: Vec<_> = report
        .panics
        .iter()
        .map(|panic| panic.message.as_str())
        .collect();
    assert_eq!(messages, ["one", "two"]);
}
