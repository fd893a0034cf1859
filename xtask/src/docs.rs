//! `cargo xtask docs`: the documentation of the published crates.

use crate::cli::{self, Outcome};
use crate::process;
use crate::workspace::Workspace;

const HELP: &str = "\
Builds the documentation of all crates into target/doc; a warning is an error.

Usage: cargo xtask docs [OPTIONS]

Options:
      --open  show it in a browser afterwards
  -h, --help  print this";

pub(crate) fn main(parser: lexopt::Parser) -> Outcome {
    let Some([open]) = cli::flags(parser, HELP, ["open"])? else {
        return Ok(());
    };
    build(&Workspace::load()?, open)
}

/// Builds it with the features of the shared build.
pub(crate) fn build(workspace: &Workspace, open: bool) -> Outcome {
    let mut command = process::cargo(["doc", "--no-deps"]);
    command
        .args(workspace.shared_features())
        .env("RUSTDOCFLAGS", "-D warnings");
    if open {
        command.arg("--open");
    }
    process::run(&mut command)
}
