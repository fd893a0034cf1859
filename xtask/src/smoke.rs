//! Every example, run once and expected to succeed.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::cli::{Failure, Outcome};
use crate::process;
use crate::test::Tally;
use crate::workspace::{self, Workspace};

/// Arguments of the examples that do not run as they are, one line per run.
///
/// An example that is not listed runs once without arguments: none is skipped.
const RUNS: &[(&str, &[&str])] = &[
    ("explain", &["30 2 * * *", "Europe/Berlin"]),
    ("gateway", &["--duration", "3s", "--runtime", "tokio"]),
    ("gateway", &["--duration", "3s", "--runtime", "smol"]),
    ("gateway", &["--duration", "3s", "--runtime", "async-std"]),
];

/// No example takes longer, on a loaded machine in an unoptimized build.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the examples, which must have been built.
pub(crate) fn run(workspace: &Workspace) -> Outcome<Tally> {
    let mut tally = Tally::default();
    let examples: Vec<&str> = workspace
        .packages
        .iter()
        .filter(|package| package.is_default)
        .flat_map(|package| package.targets_of("example"))
        .collect();
    if let Some((unknown, _)) = RUNS
        .iter()
        .find(|(name, _)| !examples.is_empty() && !examples.contains(name))
    {
        return Err(Failure::failed(format!(
            "xtask/src/smoke.rs lists the example `{unknown}`, which is not there"
        )));
    }
    for example in examples {
        let mut runs: Vec<&[&str]> = RUNS
            .iter()
            .filter(|(name, _)| *name == example)
            .map(|(_, arguments)| *arguments)
            .collect();
        if runs.is_empty() {
            runs.push(&[]);
        }
        for arguments in runs {
            if run_one(example, arguments)? {
                tally.passed += 1;
            } else {
                tally.failed += 1;
            }
        }
    }
    Ok(tally)
}

fn run_one(example: &str, arguments: &[&str]) -> Outcome<bool> {
    let folder = workspace::target_dir().join("debug/examples");
    let mut command = Command::new(folder.join(example));
    command.args(arguments).current_dir(workspace::root());
    let start = Instant::now();
    let ended = process::quiet(&mut command, LIMIT)?;
    let seconds = start.elapsed().as_secs_f64();
    let shown = process::line(&command);
    if ended.success {
        println!("ok      {shown} ({seconds:.1} s)");
    } else {
        println!("FAILED  {shown}: {} after {seconds:.1} s", ended.how);
        println!("{}", ended.text);
    }
    Ok(ended.success)
}
