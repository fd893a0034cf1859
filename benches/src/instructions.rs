//! Instructions, counted by valgrind's callgrind, which gungraun drives.
//!
//! A contender is counted in two processes: this same program with `--fixed`, which runs `n`
//! batches of it and ends, and once more with `2 n`. The difference is what `n` batches cost,
//! without start and set-up. A contender that is a program of its own is counted by that program:
//! what such a process starts counts, and not what it executes itself.
//!
//! gungraun's harness takes over the command line, so it has a process to itself: this program
//! again, told by the environment what to count.

use std::env;
use std::process::{Command, Stdio};

use gungraun::{
    Bench, BinaryBenchmark, BinaryBenchmarkConfig, BinaryBenchmarkGroup, Callgrind,
    binary_benchmark_group, main,
};
use serde_json::Value;

/// What to count: row, contender and number of batches, a line each.
const COUNTED: &str = "FLOW_BENCHES_COUNTED";

/// What says to a counted process that it is one.
const FIXED: &str = "--fixed";

/// Instructions of one batch.
///
/// # Errors
/// They cannot be counted; gungraun has said on the screen what it knows of that.
pub(crate) fn per_batch(row: &str, contender: &str, batches: u64) -> Result<f64, String> {
    let this = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(this)
        .args(["--bench", "--output-format=json"])
        .env(COUNTED, format!("{row}\n{contender}\n{batches}"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("gungraun ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let counts: Vec<u64> = text.lines().filter_map(count).collect();
    match counts[..] {
        [once, twice] => Ok(twice.saturating_sub(once) as f64 / batches as f64),
        _ => Err(format!("gungraun says\n{text}")),
    }
}

/// Whether this process is gungraun's; then it has counted, and there is nothing else to do.
pub(crate) fn is_harness() -> bool {
    let is_harness = env::var_os(COUNTED).is_some();
    if is_harness {
        main();
    }
    is_harness
}

/// The instructions of a run, by gungraun's summary of it: of the processes that it started, if
/// there are any, and else of its own.
fn count(summary: &str) -> Option<u64> {
    let summary: Value = serde_json::from_str(summary).ok()?;
    let processes = summary["profiles"][0]["data"]["parts"].as_array()?;
    let (mut own, mut started) = (0, 0);
    for process in processes {
        let command = process["tool_run"]["new"]["command"].as_str();
        let instructions = process["metrics"]["Ir"]["values"]["new"].as_u64();
        let (Some(command), Some(instructions)) = (command, instructions) else {
            // Of the run before, which gungraun compares this one with.
            continue;
        };
        if command.contains(FIXED) {
            own += instructions;
        } else {
            started += instructions;
        }
    }
    Some(if started > 0 { started } else { own })
}

main!(
    config = BinaryBenchmarkConfig::default()
        .pass_through_env("CARGO_TARGET_DIR")
        .tool(Callgrind::with_args([
            "--cache-sim=no",
            "--dump-line=no",
            "--separate-threads=no",
        ])),
    binary_benchmark_groups = counted
);

binary_benchmark_group!(
    name = counted,
    benchmarks = |group: &mut BinaryBenchmarkGroup| super::both(group)
);

/// The shorter run and the longer one.
fn both(group: &mut BinaryBenchmarkGroup) {
    let counted = env::var(COUNTED).unwrap_or_default();
    let this = env::current_exe().expect("this program is somewhere");
    let [row, contender, batches] = counted.splitn(3, '\n').collect::<Vec<_>>()[..] else {
        return;
    };
    let batches: u64 = batches.parse().unwrap_or_default();
    let mut runs = BinaryBenchmark::new("fixed");
    for (id, batches) in [("once", batches), ("twice", 2 * batches)] {
        let mut command = gungraun::Command::new(&this);
        command.args([FIXED, row, contender, &batches.to_string()]);
        runs.bench(Bench::new(id).command(command));
    }
    group.binary_benchmark(runs);
}
