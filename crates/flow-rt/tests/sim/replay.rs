//! What a failing check prints, read in another process and run again.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use flow_rt::sim;

/// Runs one test of this binary as the child that fails.
fn child(test: &str, kind: &str, replayed: Option<(&str, &str)>) -> (Output, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env("FLOW_SIM_FAILS", kind)
        .envs(replayed)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

/// The variable and the value that a failure names.
fn line_to_copy(errors: &str) -> (&str, &str) {
    let lines = errors
        .lines()
        .filter_map(|line| line.strip_prefix("simulation failed; replay it with "));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{errors}");
    lines[0].split_once('=').unwrap()
}

/// The runs it took to fail, and the text of the failure.
fn told(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| line.contains("told: "));
    lines.map(str::to_owned).collect()
}

static RUNS: AtomicU64 = AtomicU64::new(0);

/// Six tasks write their letter; of the orders some are a bug.
async fn letters(rt: sim::Sim) -> String {
    RUNS.fetch_add(1, Ordering::SeqCst);
    let order = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    for letter in ["a", "b", "c", "d", "e", "f"] {
        let order = order.clone();
        rt.spawn_detached(async move { order.lock().unwrap().push_str(letter) });
    }
    rt.run_until_idle().await;
    let order = order.lock().unwrap();
    order.clone()
}

/// In the child: fails in the way that is asked for, and tells how.
#[allow(clippy::print_stdout)] // for the parent
fn fail(kind: &str) {
    let is_a_bug = |order: &str| order.starts_with("fe");
    let text = crate::panic_of(|| match kind {
        "assert" => sim::check(0..10_000, |rt| async move {
            let order = letters(rt).await;
            assert!(!is_a_bug(&order), "the order was {order}");
        }),
        "error" => sim::check(0..10_000, |rt| async move {
            let order = letters(rt).await;
            if is_a_bug(&order) { Err(order) } else { Ok(()) }
        }),
        "order" => drop(sim::exhaustive(1_000, |rt| async move {
            let order = letters(rt).await;
            assert!(!is_a_bug(&order), "the order was {order}");
        })),
        _ => sim::check(5..10, |_| async {
            #[allow(clippy::disallowed_methods)] // the mistake itself
            tokio::time::sleep(std::time::Duration::ZERO).await;
        }),
    });
    println!("told: {text}");
    println!("runs told: {}", RUNS.load(Ordering::SeqCst));
}

#[test]
fn a_failure_prints_one_line_that_replays_it() {
    if let Ok(kind) = std::env::var("FLOW_SIM_FAILS") {
        return fail(&kind);
    }
    let name = "replay::a_failure_prints_one_line_that_replays_it";
    for kind in ["assert", "error", "order"] {
        let (output, errors) = child(name, kind, None);
        let line = line_to_copy(&errors);
        let variable = if kind == "order" {
            "FLOW_SIM_CHOICES"
        } else {
            "FLOW_SIM_SEED"
        };
        assert_eq!(line.0, variable, "{errors}");
        let first = told(&output);
        assert!(first[0].contains("fe"), "{first:?}");
        assert_ne!(first[1], "runs told: 1", "it was found on the way");
        let (output, errors) = child(name, kind, Some(line));
        assert_eq!(line_to_copy(&errors), line);
        assert_eq!(told(&output), [first[0].as_str(), "runs told: 1"]);
    }
    let (_, errors) = child(name, "tokio", None);
    assert_eq!(line_to_copy(&errors), ("FLOW_SIM_SEED", "5"));
    assert!(errors.contains("use timers of its handle"), "{errors}");
}
