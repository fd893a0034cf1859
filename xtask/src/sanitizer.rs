//! Nightly's thread sanitizer on the behaviour suites of flow-sync and its users.
//!
//! std is rebuilt with it. As it ships, its locks and fences are invisible to the sanitizer, which
//! then sees races wherever a lock was taken on its slow path.

use crate::cli::{Failure, Outcome};
use crate::process;
use crate::workspace::{self, Workspace};

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
    let mut command = process::cargo([
        "+nightly",
        "test",
        "-Zbuild-std",
        "--tests",
        "--no-fail-fast",
    ]);
    command.args(["--target", TARGET]);
    for package in users {
        command.args(["--package", &package.name]);
        // All that `xtask test` looks at: a suite that asks for a feature more is empty without.
        for feature in package.checked_features() {
            command.args(["--features", &format!("{}/{feature}", package.name)]);
        }
    }
    command
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
