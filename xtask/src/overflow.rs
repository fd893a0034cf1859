//! The tests in a release build with overflow checks: where the optimizer has its way, and a number
//! that wraps by accident panics all the same.

use crate::cli::Outcome;
use crate::narrow;
use crate::process;
use crate::workspace::Workspace;

/// Runs the tests of every published crate but those that need a server.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let mut command = narrow::tests_without_server(workspace);
    command.args(["--profile", PROFILE, "--lib", "--tests"]);
    process::run(&mut command)
}

/// Of the workspace's manifest.
const PROFILE: &str = "checked";
