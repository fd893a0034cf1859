//! Nightly's thread sanitizer on the behaviour suites of flow-sync and its users.
//!
//! std is rebuilt with it. As it ships, its locks and fences are invisible to the sanitizer, which
//! then sees races wherever a lock was taken on its slow path.
//!
//! What runs on one thread is left out, since nothing can race there and the sanitizer makes minutes
//! of it: cases in the simulation, models, simulated services, the calendar of `cron`.

use crate::cli::{Failure, Outcome};
use crate::process;
use crate::workspace::{self, Package, Workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Runs the tests of the crates that use flow-sync's protocols.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let toolchains =
        process::stdout(std::process::Command::new("rustup").args(["toolchain", "list"]))?;
    if !toolchains.lines().any(|line| line.starts_with("nightly")) {
        return Err(Failure::failed(
            "the thread sanitizer needs a nightly compiler: `rustup toolchain install nightly`",
        ));
    }
    // std's sources, of which it is rebuilt; nothing happens if they are there.
    process::run(std::process::Command::new("rustup").args([
        "component",
        "add",
        "rust-src",
        "--toolchain",
        "nightly",
    ]))?;
    let users = workspace.crates().filter(|package| {
        package.name == "flow-sync"
            || package
                .dependencies
                .iter()
                .any(|used| used.name == "flow-sync")
    });
    let failed: Vec<_> = users
        .filter(|package| run_package(package).is_err())
        .map(|package| package.name.as_str())
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "under the thread sanitizer: {}",
        failed.join(", ")
    )))
}

fn run_package(package: &Package) -> Outcome {
    let mut command = process::cargo(["+nightly", "test", "-Zbuild-std", "--no-fail-fast"]);
    command.args(["--target", TARGET, "--package", &package.name, "--lib"]);
    for test in package.targets_of("test").filter(|test| has_threads(test)) {
        command.args(["--test", test]);
    }
    // All that `xtask test` looks at: a suite that asks for a feature more is empty without.
    for feature in package.checked_features() {
        command.args(["--features", feature]);
    }
    command
        .args(["--", "--skip", "::sim"])
        .env("CARGO_TARGET_DIR", workspace::root().join("target-tsan"))
        // The cargo that runs this command has chosen a toolchain for its children.
        .env_remove("RUSTUP_TOOLCHAIN")
        // Runtimes that are broken on purpose leave threads behind; races are what is looked for.
        .env("TSAN_OPTIONS", "report_thread_leaks=0")
        .env(
            "RUSTFLAGS",
            "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer",
        );
    process::run(&mut command)
}

/// Whether a test target, by its name, has cases with several threads.
fn has_threads(test: &str) -> bool {
    let is_model = test.starts_with("model_") || test.starts_with("loom_");
    let is_simulated = test.ends_with("_sim") || test == "adaptive_service";
    let is_calendar = test == "cron";
    !is_model && !is_simulated && !is_calendar
}
