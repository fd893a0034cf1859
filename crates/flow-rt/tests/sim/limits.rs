//! Runs that do not end, and destructors that go on.

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::sim::{Failure, Limit, Sim};

const MINUTE: Duration = Duration::from_secs(60);

async fn tick_for_ever(rt: Sim) {
    let inner = rt.clone();
    let ticker = rt.spawn_named("the ticker", async move {
        loop {
            inner.sleep(MINUTE).await;
        }
    });
    let never: Result<(), _> = ticker.await;
    never.unwrap();
}

#[test]
fn a_run_that_goes_on_for_ever_ends_at_its_limit_of_time() {
    let failure = Sim::new(0)
        .max_time(MINUTE * 90)
        .run(tick_for_ever)
        .unwrap_err();
    let Failure::Unfinished { limit, busiest, .. } = &failure else {
        panic!("{failure}");
    };
    assert_eq!(*limit, Limit::Time(MINUTE * 90));
    assert_eq!(busiest[0].name.as_deref(), Some("the ticker"));
    assert_eq!(busiest[0].age, MINUTE * 90);
    let text = failure.to_string();
    assert!(
        text.contains("5400s of virtual time (`max_time`)"),
        "{text}"
    );
}

#[test]
fn and_at_its_limit_of_polls() {
    let failure = Sim::new(0).max_polls(5_000).run(tick_for_ever).unwrap_err();
    let Failure::Unfinished { limit, busiest, .. } = &failure else {
        panic!("{failure}");
    };
    assert_eq!(*limit, Limit::Polls(5_000));
    assert_eq!(busiest[0].name.as_deref(), Some("the ticker"));
}

#[test]
fn a_run_within_its_limits_is_not_touched_by_them() {
    let run = Sim::new(0)
        .max_time(MINUTE)
        .max_polls(2)
        .run(|rt| async move { rt.sleep(MINUTE).await });
    assert_eq!(run.unwrap().polls, 2);
    let none = Sim::new(0).max_polls(0).run(|_| async {});
    assert!(matches!(none, Err(Failure::Unfinished { .. })), "{none:?}");
}

/// A root that has ended in time is not to blame for what its polls and those after it cost.
#[test]
fn what_comes_after_the_root_counts_towards_no_limit() {
    let limit = Duration::from_millis(5);
    let priced = |cost| Sim::new(0).poll_cost(cost).max_time(limit);
    let with_a_spinner = priced(Duration::from_millis(1)).run(|rt| async move {
        rt.spawn_named("the spinner", async {
            loop {
                crate::yield_now().await;
            }
        })
        .detach();
    });
    let report = with_a_spinner.unwrap();
    assert_eq!(report.leaked[0].name.as_deref(), Some("the spinner"));
    assert_eq!(report.elapsed, Duration::from_millis(1), "that of the root");
    assert!(priced(limit * 2).run(|_| async {}).is_ok());
    let late = priced(limit * 2).run(|_| crate::yield_now());
    assert!(matches!(late, Err(Failure::Unfinished { .. })), "{late:?}");
}

/// Leaves a number behind when it is dropped.
struct Numbered(u32, Arc<Mutex<Vec<u32>>>);

impl Drop for Numbered {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn what_is_left_is_dropped_in_the_order_in_which_it_was_spawned() {
    for seed in 0..20 {
        let dropped = Arc::new(Mutex::new(Vec::new()));
        let inside = dropped.clone();
        let report = Sim::new(seed).run(|rt| async move {
            // Slots that are used again, in the order in which the seed lets these end.
            for _ in 0..5 {
                rt.spawn_detached(async {});
            }
            rt.run_until_idle().await;
            for number in 0..10 {
                let numbered = Numbered(number, inside.clone());
                rt.spawn_detached(async move {
                    let _numbered = numbered;
                    pending::<()>().await;
                });
            }
            rt.run_until_idle().await;
        });
        assert_eq!(report.unwrap().leaked.len(), 10);
        let dropped = dropped.lock().unwrap();
        assert!(dropped.iter().copied().eq(0..10), "{dropped:?}");
    }
}

/// Spawns another one of itself whenever it is dropped.
struct Hydra(Sim, Arc<AtomicU32>);

impl Drop for Hydra {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
        grow(&self.0, &self.1);
    }
}

fn grow(rt: &Sim, heads: &Arc<AtomicU32>) {
    let hydra = Hydra(rt.clone(), heads.clone());
    rt.spawn_detached(async move {
        let _hydra = hydra;
        pending::<()>().await;
    });
}

#[test]
fn destructors_that_spawn_for_ever_do_not_hang_the_end() {
    let heads = Arc::new(AtomicU32::new(0));
    let inside = heads.clone();
    let report = Sim::new(0)
        .run(|rt| async move {
            grow(&rt, &inside);
            rt.run_until_idle().await;
        })
        .unwrap();
    assert_eq!(report.leaked.len(), 1);
    let heads = heads.load(Ordering::SeqCst);
    assert!((2..=20_000).contains(&heads), "{heads}");
}

#[test]
fn a_task_that_never_rests_does_not_hang_the_end() {
    let report = Sim::new(0)
        .run(|rt| async move {
            rt.spawn_detached(async {
                loop {
                    crate::yield_now().await;
                }
            });
        })
        .unwrap();
    assert_eq!(report.leaked.len(), 1);
}
