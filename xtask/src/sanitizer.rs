//! Nightly's thread sanitizer on the behaviour suites of flow-sync and its users.
//!
//! std is not rebuilt with it (that needs std's sources), so `tsan.supp` names what it gets wrong.

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
    let users = workspace.crates().filter(|package| {
        package.name == "flow-sync"
            || package
                .dependencies
                .iter()
                .any(|used| used.name == "flow-sync")
    });
    let mut command = process::cargo(["+nightly", "test", "--tests", "--no-fail-fast"]);
    command.args(["--target", TARGET]);
    for package in users {
        command.args(["--package", &package.name]);
        for feature in ["tokio", "smol", "async-std", "sim", "conformance"] {
            if package.has_feature(feature) {
                command.args(["--features", &format!("{}/{feature}", package.name)]);
            }
        }
    }
    let suppressions = workspace::root().join("xtask/tsan.supp");
    command
        // One test at a time: libtest's own threads speak through std, which is not instrumented.
        .args(["--", "--test-threads=1"])
        .env("CARGO_TARGET_DIR", workspace::root().join("target-tsan"))
        // The cargo that runs this command has chosen a toolchain for its children.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env(
            "RUSTFLAGS",
            "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer",
        )
        .env(
            "TSAN_OPTIONS",
            format!("suppressions={}", suppressions.display()),
        );
    process::run(&mut command)
}
