//! `cargo xtask loom`: the models of the wait protocols.
//!
//! `--cfg loom` holds for the whole build, so it has a target folder of its own. A model that
//! explores one execution proves nothing and counts as failed: `flow_sync::model::explore` counts
//! them and prints `N executions`, and a test that printed none counts as failed too.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use lexopt::{Arg, ValueExt as _};

use crate::cli::{Failure, Outcome};
use crate::workspace::{self, Package, Workspace};
use crate::{mutate, process};

const HELP: &str = "\
Runs the loom models (tests/loom_*.rs of every crate with the feature `loom`), each of which must
explore more than one execution. Each says how many preemptions it explores: 1 to 3, or all; and
prints that with the number of executions.

Usage: cargo xtask loom [OPTIONS]

Options:
      --mutate        instead, apply each mutation of crates/*/loom-mutations.toml to a copy in
                      target/mutants and expect the model it names to fail; a mutation that
                      survives is named, and the exit code is 1
      --deeper        every model with a bound explores one preemption more, for 30 seconds at the
                      most; FLOW_LOOM_MORE_PREEMPTIONS and FLOW_LOOM_AT_MOST_SECONDS say otherwise,
                      and without --deeper too
      --only TEXT     with --mutate: only the mutations with this in their name or model
      --package NAME  only the models, or the mutations of the models, of this crate; may be
                      given several times
  -h, --help          print this

A mutation:
    [[mutant]]
    name = \"notify before publish\"
    package = \"flow-sync\"               # whose model is run
    file = \"src/wait.rs\"                # of that package; `crates/...` for another one's
    find = '''the exact lines, found once'''
    replace = '''what to put there'''
    model = \"loom_wait::grant_wakes\"    # test file and test; [\"...\", \"...\"]: each notices it
    why = \"what the model must notice\"";

pub(crate) fn main(mut parser: lexopt::Parser) -> Outcome {
    let (mut mutate, mut deeper) = (false, false);
    let mut only = None;
    let mut packages = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Arg::Long("mutate") => mutate = true,
            Arg::Long("deeper") => deeper = true,
            Arg::Long("only") => only = Some(parser.value()?.string()?),
            Arg::Long("package") => packages.push(parser.value()?.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let workspace = Workspace::load()?;
    for name in &packages {
        if !with_models(&workspace, &[]).any(|package| package.name == *name) {
            return Err(Failure::usage(format!(
                "--package {name}: no crate of that name has the feature `loom`."
            )));
        }
    }
    match only {
        _ if mutate => mutate::run(&packages, only.as_deref().unwrap_or_default()),
        Some(_) => Err(Failure::usage("--only is for --mutate.")),
        None if deeper => run_deeper(&workspace, &packages),
        None => run(&workspace, &packages),
    }
}

/// Runs every model, or those of the named packages.
pub(crate) fn run(workspace: &Workspace, packages: &[String]) -> Outcome {
    run_with(workspace, packages, &[])
}

/// The same with a higher bound, as far as a model gets in its time.
pub(crate) fn run_deeper(workspace: &Workspace, packages: &[String]) -> Outcome {
    let unset = DEEPER
        .into_iter()
        .filter(|(variable, _)| env::var_os(variable).is_none());
    run_with(workspace, packages, &unset.collect::<Vec<_>>())
}

/// By what each bound is higher, and how many seconds a model has: see `flow_sync::model`.
const DEEPER: [(&str, &str); 2] = [
    ("FLOW_LOOM_MORE_PREEMPTIONS", "1"),
    ("FLOW_LOOM_AT_MOST_SECONDS", "30"),
];

fn run_with(workspace: &Workspace, packages: &[String], variables: &[(&str, &str)]) -> Outcome {
    let mut models = 0;
    let mut counts = Vec::new();
    let mut failed = Vec::new();
    for package in with_models(workspace, packages) {
        let files: Vec<&str> = package
            .targets_of("test")
            .filter(|name| name.starts_with("loom"))
            .collect();
        if files.is_empty() {
            continue;
        }
        let mut command = test_command(&package.name);
        for file in files {
            command.args(["--test", file]);
        }
        command
            .current_dir(workspace::root())
            .env("CARGO_TARGET_DIR", target())
            .envs(variables.iter().copied())
            .args(["--no-fail-fast", "--", "--nocapture"]);
        let ended = process::tee(&mut command)?;
        if !ended.success {
            failed.push(package.name.clone());
        }
        models += passed(&ended.text);
        counts.extend(executions(&ended.text));
    }
    let fewest = counts.iter().min().copied().unwrap_or_default();
    println!(
        "{models} models passed; {} reported their executions: {} in all, {fewest} at least",
        counts.len(),
        counts.iter().sum::<u64>(),
    );
    if !failed.is_empty() {
        return Err(Failure::failed(format!(
            "models failed in {}",
            failed.join(", ")
        )));
    }
    if models == 0 {
        return Err(Failure::failed("no loom model was found"));
    }
    if (counts.len() as u64) < models {
        return Err(Failure::failed(
            "a model explored nothing: a test passed and reported no executions",
        ));
    }
    if fewest == 1 {
        return Err(Failure::failed(
            "a model explored one execution only: what it shares is invisible to loom",
        ));
    }
    Ok(())
}

/// The crates that have models; of the named ones only, if there are names.
fn with_models<'a>(
    workspace: &'a Workspace,
    names: &'a [String],
) -> impl Iterator<Item = &'a Package> {
    workspace.crates().filter(move |package| {
        package.has_feature("loom") && (names.is_empty() || names.contains(&package.name))
    })
}

/// `cargo test` of one package's models; the caller says where and which.
pub(crate) fn test_command(package: &str) -> Command {
    let mut command = Command::new("cargo");
    command
        .args([
            "test",
            "--release",
            "--features",
            "loom",
            "--package",
            package,
        ])
        .env("RUSTFLAGS", "--cfg loom")
        // Optimized enough to explore, quick to build.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command
}

fn target() -> PathBuf {
    workspace::root().join("target-loom")
}

/// Tests that libtest reports as passed.
pub(crate) fn passed(text: &str) -> u64 {
    numbers_before(text, " passed;").sum()
}

fn executions(text: &str) -> Vec<u64> {
    numbers_before(text, " executions").collect()
}

fn numbers_before<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = u64> + 'a {
    text.match_indices(word).filter_map(|(at, _)| {
        let digits = text[..at].rsplit(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_what_models_print() {
        let text = "loom: ring: 3 pushes: 58 executions\nok\nloom: wait: 7 executions\nok";
        assert_eq!(executions(text), [58, 7]);
    }

    #[test]
    fn passed_models_add_up() {
        let text = "test result: ok. 3 passed; 0 failed\ntest result: ok. 4 passed; 0 failed";
        assert_eq!(passed(text), 7);
    }
}
