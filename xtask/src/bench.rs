//! `cargo xtask bench`: runs the benches and lets them report.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use lexopt::Arg;

use crate::cli::{Failure, Outcome};
use crate::process;
use crate::tools::{self, CargoTool};
use crate::workspace::{self, Workspace};

const HELP: &str = "\
Runs the benches. Each compares flow with its peers in one run, in interleaved rounds, and
prints medians and ratios. A full run also writes the bench's section of benches/RESULTS.md and
its plot in benches/plots/; every run adds its rows to target/bench/history.jsonl.

Usage: cargo xtask bench [NAME]... [OPTIONS]

Arguments:
  [NAME]...       the benches to run (without: all of benches/benches/)

Options:
      --quick         short rounds and few of them: to try a bench, not to quote it;
                      writes no report
      --check         exit with 1 and name the rows that miss their target of
                      benches/targets.toml
      --filter TEXT   only the rows whose name contains TEXT; writes no report
      --instructions  also count instructions, for the rows that say over how many batches, with
                      valgrind's callgrind, which gungraun drives. What is missing is installed:
                      valgrind with apt-get, gungraun-runner into target/tools, in the version
                      of gungraun in Cargo.lock
      --list          name the benches and stop
  -h, --help          print this";

pub(crate) fn main(mut parser: lexopt::Parser) -> Outcome {
    let mut names = Vec::new();
    let mut forwarded = Vec::new();
    let mut list = false;
    let mut instructions = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Arg::Long("list") => list = true,
            Arg::Long("quick") => forwarded.push("--quick".to_owned()),
            Arg::Long("check") => forwarded.push("--check".to_owned()),
            Arg::Long("instructions") => instructions = true,
            Arg::Long("filter") => {
                forwarded.push("--filter".to_owned());
                forwarded.push(parser.value()?.to_string_lossy().into_owned());
            }
            Arg::Value(name) => names.push(name.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    let workspace = Workspace::load()?;
    let known: Vec<&str> = workspace
        .package("flow-benches")
        .map(|package| package.targets_of("bench").collect())
        .unwrap_or_default();
    if list {
        for name in known {
            println!("{name}");
        }
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::usage(format!(
            "there is no bench `{unknown}`; there are {}.",
            known.join(", ")
        )));
    }
    if names.is_empty() {
        names = known.into_iter().map(str::to_owned).collect();
    }
    let mut path = env::var_os("PATH").unwrap_or_default();
    if instructions {
        forwarded.push("--instructions".to_owned());
        path = counting(&path)?;
    }
    let mut failed = Vec::new();
    for name in names {
        let mut command = process::cargo(["bench", "--package", "flow-benches", "--bench", &name]);
        command.env("PATH", &path).arg("--").args(&forwarded);
        if process::run(&mut command).is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "failed, or short of a target: {}",
            failed.join(", ")
        )))
    }
}

/// Sees to what instructions are counted with; the path on which it is found.
fn counting(path: &OsStr) -> Outcome<OsString> {
    tools::system_program("valgrind", "valgrind", "to count instructions", true)?;
    let runner = CargoTool {
        name: "gungraun-runner",
        version: &workspace::locked("gungraun-runner")?,
    };
    let folder = runner.built()?.parent().map(Path::to_owned);
    let folders = folder.into_iter().chain(env::split_paths(path));
    env::join_paths(folders).map_err(|error| Failure::failed(format!("target/tools: {error}")))
}
