//! The developer's commands. `cargo xtask --help` lists them.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // a program for a terminal
#![allow(clippy::disallowed_methods)] // it measures real time and runs on no async runtime

mod bench;
mod ci;
mod cli;
mod coverage;
mod cron;
mod docs;
mod loom;
mod mutate;
mod narrow;
mod overflow;
mod process;
mod sanitizer;
mod smoke;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use cli::{Failure, Outcome};
use lexopt::Arg;

const HELP: &str = "\
The developer's commands of this workspace.

Usage: cargo xtask <COMMAND> [OPTIONS]

Commands:
  test      run every test; find or install what they need
  ci        run every other gate: format, lints, docs, dependencies, loom, packages
  bench     measure flow beside its peers, check the targets, write the report
  loom      run the loom models, or prove that they notice mutations
  coverage  measure line coverage per crate
  docs      build the documentation, warnings denied

`cargo xtask <COMMAND> --help` explains one command.
Exit codes: 0 all is well, 1 something failed, 2 the command line was wrong.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => {
            eprintln!("{message}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            eprintln!("{message}\nTry `cargo xtask --help`.");
            ExitCode::from(2)
        }
        Err(Failure::Told) => ExitCode::from(1),
    }
}

fn run() -> Outcome {
    let mut parser = lexopt::Parser::from_env();
    let command = match parser.next()? {
        Some(Arg::Value(command)) => command.to_string_lossy().into_owned(),
        Some(Arg::Short('h') | Arg::Long("help")) => {
            println!("{HELP}");
            return Ok(());
        }
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Failure::usage(format!("a command is missing.\n\n{HELP}"))),
    };
    match command.as_str() {
        "test" => test::main(parser),
        "ci" => ci::main(parser),
        "bench" => bench::main(parser),
        "loom" => loom::main(parser),
        "coverage" => coverage::main(parser),
        "docs" => docs::main(parser),
        other => Err(Failure::usage(format!(
            "there is no command `{other}`; there are test, ci, bench, loom, coverage and docs."
        ))),
    }
}
