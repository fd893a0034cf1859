//! Runs that do not end, and destructors that go on.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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
