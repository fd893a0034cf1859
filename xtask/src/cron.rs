//! Cron patterns as thoroughly as the tests can look at them, and their fuzz target.

use crate::cli::Outcome;
use crate::process;
use crate::workspace::Workspace;

/// Every change of every zone's clock, and many more texts from strangers than `cargo xtask test`
/// feeds.
pub(crate) fn run(_: &Workspace) -> Outcome {
    // Optimized: all zones take minutes otherwise.
    let mut command = process::cargo(["test", "--release", "--package", "flow-sched"]);
    command.args(["--features", "cron", "--lib", "--test", "cron"]);
    command.args(["--", "cron::", "days_of_change", "--nocapture"]);
    command.env("FLOW_CRON_ZONES", "all");
    command.env("FLOW_CRON_INPUTS", "100000");
    process::run(&mut command)
}

/// The fuzz target compiles. It is a workspace of its own, which no other gate looks at; running
/// it needs nightly.
pub(crate) fn fuzz(_: &Workspace) -> Outcome {
    let manifest = "crates/flow-sched/fuzz/Cargo.toml";
    process::run(&mut process::cargo([
        "check",
        "--locked",
        "--manifest-path",
        manifest,
    ]))
}
