//! The tests on 32-bit x86: nothing here may rely on a `usize` of 64 bits.

use crate::cli::Outcome;
use crate::process;
use crate::workspace::{self, Workspace};

const TARGET: &str = "i686-unknown-linux-gnu";

/// Runs the tests of every published crate but those that need a server.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    // Nothing happens if std is there for it. The linker is the host's, with its 32-bit libraries
    // (`gcc-multilib` on Debian).
    process::run(std::process::Command::new("rustup").args(["target", "add", TARGET]))?;
    let mut command = tests_without_server(workspace);
    command.args(["--target", TARGET]);
    command.env("CARGO_TARGET_DIR", workspace::root().join("target-32"));
    process::run(&mut command)
}

/// `cargo test` of every published crate but those that need a server; the caller says how.
pub(crate) fn tests_without_server(workspace: &Workspace) -> std::process::Command {
    let mut command = process::cargo(["test", "--no-fail-fast"]);
    let without_server = workspace.crates().filter(|package| {
        let needs = |name: &str| name == "flow-redis";
        !needs(&package.name) && !package.dependencies.iter().any(|used| needs(&used.name))
    });
    for package in without_server {
        command.args(["--package", &package.name]);
        for feature in package.checked_features() {
            command.args(["--features", &format!("{}/{feature}", package.name)]);
        }
    }
    command
}
