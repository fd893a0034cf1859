//! The same seed is the same run: in this process, in another one, and on other machines.

use std::collections::HashMap;
use std::future::pending;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::sim::{self, Failure, Order, Sim, Stall};

use crate::yield_now;

/// Tasks that wait for one another and for time, with random numbers of their own.
async fn a_busy_town(rt: Sim) {
    let mut group = rt.task_group();
    for _ in 0..10 {
        let inner = rt.clone();
        let mut rng = rt.rng();
        group.spawn(async move {
            for _ in 0..5 {
                inner.sleep(Duration::from_millis(rng.below(20))).await;
                yield_now().await;
                inner.spawn(async { yield_now().await }).await.unwrap();
            }
        });
    }
    while group.join_next().await.is_some() {}
}

/// Groups that go with all their members at once.
async fn groups_that_end(rt: Sim) {
    let full = || {
        let mut group = rt.task_group();
        for _ in 0..20 {
            group.spawn(pending::<()>());
        }
        group
    };
    let dropped = full();
    rt.run_until_idle().await;
    drop(dropped);
    full().shutdown().await;
    rt.run_until_idle().await;
}

fn traces() -> Vec<u64> {
    let orders = [Order::Random, Order::Fifo, Order::Pct { depth: 3 }];
    let millis = Duration::from_millis(1)..=Duration::from_millis(9);
    orders
        .into_iter()
        .flat_map(|order| [Sim::new(17), Sim::new(18)].map(|sim| sim.order(order)))
        .chain([Sim::new(17).stall(Stall::new(5, millis))])
        .map(|sim| sim.run(a_busy_town).unwrap().trace)
        .collect()
}

/// Runs one test of this binary in a process of its own.
fn again(test: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[test]
#[allow(clippy::print_stdout)] // for the parent
fn traces_are_the_same_in_another_process() {
    let ends = Sim::new(19).run(groups_that_end).unwrap().trace;
    let mine = format!("traces {:?} {ends}", traces());
    if std::env::var_os("FLOW_SIM_CHILD").is_some() {
        println!("{mine}");
        return;
    }
    let name = "determinism::traces_are_the_same_in_another_process";
    let child = again(name, &[("FLOW_SIM_CHILD", "1")]);
    let output = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(output.contains(&mine), "{mine} in {output}");
}

#[test]
fn traces_are_those_of_the_first_version() {
    let report = Sim::new(17).run(a_busy_town).unwrap();
    assert_eq!(
        (report.polls, report.trace),
        (268, 9_016_536_928_226_456_687)
    );
    let mut seen = traces();
    seen.sort_unstable();
    seen.dedup();
    // Two seeds of first-in-first-out differ by the random numbers that tasks draw.
    assert_eq!(seen.len(), 7);
}

#[test]
#[allow(clippy::print_stdout)] // for the parent
fn a_seed_and_an_order_are_replayed_by_the_environment() {
    if std::env::var_os("FLOW_SIM_CHILD").is_some() {
        let runs = AtomicU64::new(0);
        sim::check(0..3, |_| async {
            runs.fetch_add(1, Ordering::SeqCst);
        });
        let orders = Mutex::new(Vec::new());
        let seen = &orders;
        let explored = sim::exhaustive(100, |rt| async move {
            let order = Arc::new(Mutex::new(String::new()));
            for name in ["a", "b", "c"] {
                let order = order.clone();
                rt.spawn_detached(async move { order.lock().unwrap().push_str(name) });
            }
            rt.run_until_idle().await;
            seen.lock().unwrap().push(order.lock().unwrap().clone());
        });
        let seeds = runs.load(Ordering::SeqCst);
        let orders = orders.into_inner().unwrap();
        println!("replayed {seeds} {} {orders:?}", explored.runs);
        return;
    }
    let name = "determinism::a_seed_and_an_order_are_replayed_by_the_environment";
    let replayed = |variables: &[(&str, &str)]| {
        let child = [&[("FLOW_SIM_CHILD", "1")], variables].concat();
        let output = again(name, &child);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        text + &errors
    };
    let all = r#"replayed 3 6 ["abc", "acb", "bac", "bca", "cab", "cba"]"#;
    assert!(replayed(&[]).contains(all), "{}", replayed(&[]));
    let one = replayed(&[("FLOW_SIM_SEED", "2"), ("FLOW_SIM_CHOICES", "2.0")]);
    assert!(one.contains(r#"replayed 1 1 ["cab"]"#), "{one}");
    let many = replayed(&[("FLOW_SIM_RUNS", "50"), ("FLOW_SIM_CHOICES", "0")]);
    assert!(many.contains(r#"replayed 50 1 ["abc"]"#), "{many}");
    let twice = replayed(&[("FLOW_SIM_TWICE", "1"), ("FLOW_SIM_CHOICES", "1.1")]);
    assert!(twice.contains(r#"replayed 6 1 ["bca"]"#), "{twice}");
    for (variable, value) in [("FLOW_SIM_SEED", "x"), ("FLOW_SIM_CHOICES", "1..2")] {
        let refused = replayed(&[(variable, value)]);
        assert!(
            refused.contains(&format!("{variable} is {value:?}; it takes")),
            "{refused}"
        );
    }
}

#[test]
fn two_runs_of_a_deterministic_test_are_the_same() {
    for order in [Order::Random, Order::Fifo, Order::Pct { depth: 2 }] {
        let report = Sim::new(1).order(order).run_twice(a_busy_town).unwrap();
        let alone = Sim::new(1).order(order).run(a_busy_town).unwrap();
        assert_eq!(report.trace, alone.trace, "looking changes nothing");
    }
}

#[test]
fn the_order_of_a_hash_map_is_found_and_the_first_event_named() {
    let failure = Sim::new(0)
        .run_twice(|rt| async move {
            rt.spawn_named("the first", async {}).await.unwrap();
            let names: HashMap<u32, u32> = (0..50).map(|n| (n, n)).collect();
            for name in names.values() {
                rt.spawn_named(format!("task {name}"), async {}).detach();
            }
            rt.run_until_idle().await;
        })
        .unwrap_err();
    let Failure::Nondeterministic(difference) = &failure else {
        panic!("{failure}");
    };
    assert!(
        difference.first[0].starts_with("spawned task "),
        "{failure}"
    );
    assert_ne!(difference.first[0], difference.second[0]);
    assert!(!difference.before.is_empty());
    let text = failure.to_string();
    assert!(
        text.contains("hash map") && text.contains("determinism.rs:"),
        "{text}"
    );
}

#[test]
fn a_static_that_lives_on_is_found() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let failure = Sim::new(0)
        .run_twice(|rt| async move {
            rt.sleep(Duration::from_millis(5)).await;
            let run = RUNS.fetch_add(1, Ordering::SeqCst);
            rt.sleep(Duration::from_millis(10 + run)).await;
        })
        .unwrap_err();
    let Failure::Nondeterministic(difference) = &failure else {
        panic!("{failure}");
    };
    assert_eq!(difference.first[0], "the root armed a timer for 15ms");
    assert_eq!(difference.second[0], "the root armed a timer for 16ms");
    assert_eq!(
        difference.before.last().unwrap(),
        "polled the root, one of 1 ready"
    );
}

#[test]
fn a_failure_of_both_runs_is_reported_as_it_is() {
    let failure = Sim::new(0)
        .run_twice(|_| std::future::pending::<()>())
        .unwrap_err();
    assert!(matches!(failure, Failure::Deadlock { .. }), "{failure}");
}
