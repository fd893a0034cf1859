//! Runs that part after more events than are kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flow_rt::sim::{Difference, Failure, Sim};

use crate::yield_now;

/// Each is a poll and a wake: more than a million events.
const YIELDS: usize = 530_000;

/// How two runs of a long test differ whose last sleep takes the milliseconds that `last` says for
/// the number of the run.
fn difference(last: fn(u64) -> u64) -> Difference {
    let runs = AtomicU64::new(0);
    let test = |rt: Sim| {
        let millis = last(runs.fetch_add(1, Ordering::SeqCst));
        async move {
            let inner = rt.clone();
            let task = rt.spawn_named("the sleeper", async move {
                for _ in 0..YIELDS {
                    yield_now().await;
                }
                inner.sleep(Duration::from_millis(millis)).await;
            });
            task.await.unwrap();
        }
    };
    match Sim::new(0).run_twice(test) {
        Err(Failure::Nondeterministic(difference)) => *difference,
        other => panic!("{other:?}"),
    }
}

fn is_about_the_sleeper(difference: &Difference) {
    assert!(difference.at > 1 << 20, "{difference}");
    assert_eq!(difference.before.len(), 4, "{difference}");
    for line in &difference.before {
        assert!(line.contains("the sleeper (task 1, "), "{difference}");
    }
}

fn armed(line: &str, millis: u64) -> bool {
    line.starts_with("the sleeper (task 1, ")
        && line.ends_with(&format!(") armed a timer for {millis}ms"))
}

#[test]
fn the_first_event_that_differs_is_named_if_other_runs_repeat_both() {
    let difference = difference(|run| 10 + run % 2);
    is_about_the_sleeper(&difference);
    assert!(armed(&difference.first[0], 10), "{difference}");
    assert!(armed(&difference.second[0], 11), "{difference}");
    assert_eq!(difference.first[1], "time moved to 10ms");
}

#[test]
fn it_is_named_if_no_two_runs_are_the_same() {
    let difference = difference(|run| 10 + run);
    is_about_the_sleeper(&difference);
    // Those of the third run and the fourth.
    assert!(armed(&difference.first[0], 12), "{difference}");
    assert!(armed(&difference.second[0], 13), "{difference}");
}

#[test]
fn what_only_the_first_run_does_is_told_from_the_other_side() {
    let difference = difference(|run| 10 + run.min(1));
    is_about_the_sleeper(&difference);
    assert!(
        difference.first[0].contains("too many to keep"),
        "{difference}"
    );
    assert!(armed(&difference.second[0], 11), "{difference}");
}
