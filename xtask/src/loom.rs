//! `cargo xtask loom`: the models of the wait protocols.
//!
//! `--cfg loom` holds for the whole build, so it has a target folder of its own. A model that
//! explores one execution proves nothing and counts as failed: the number is read from what
//! loom logs (`Completed in N iterations`) and from what models print themselves
//! (`N executions`).

use std::path::PathBuf;
use std::process::Command;

use crate::cli::{self, Failure, Outcome};
use crate::workspace::{self, Workspace};
use crate::{mutate, process};

const HELP: &str = "\
Runs the loom models (tests/loom_*.rs of every crate with the feature `loom`), each of which must
explore more than one execution.

Usage: cargo xtask loom [OPTIONS]

Options:
      --full    no bound on preemptions but the models' own (minutes to hours)
      --mutate  instead, apply each mutation of crates/*/loom-mutations.toml to a copy in
                target/mutants and expect the model it names to fail; a mutation that survives is
                named, and the exit code is 1
  -h, --help    print this

A mutation:
    [[mutant]]
    name = \"notify before publish\"
    package = \"flow-sync\"               # whose model is run
    file = \"src/wait.rs\"                # of that package; `crates/...` for another one's
    find = '''the exact lines, found once'''
    replace = '''what to put there'''
    model = \"loom_wait::grant_wakes\"    # test file and test
    why = \"what the model must notice\"";

/// How deep the models of one run look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At most this many preemptions, unless a model says otherwise.
    Bounded(u8),
    Full,
}

pub(crate) fn main(parser: lexopt::Parser) -> Outcome {
    let Some([full, mutate]) = cli::flags(parser, HELP, ["full", "mutate"])? else {
        return Ok(());
    };
    match (full, mutate) {
        (true, true) => Err(Failure::usage(
            "--full and --mutate do not go together: mutations are run bounded.",
        )),
        (_, true) => mutate::run(),
        (true, _) => run(&Workspace::load()?, Depth::Full),
        _ => run(&Workspace::load()?, Depth::Bounded(3)),
    }
}

/// Runs every model.
pub(crate) fn run(workspace: &Workspace, depth: Depth) -> Outcome {
    let mut models = 0;
    let mut counts = Vec::new();
    let mut failed = Vec::new();
    for package in workspace
        .crates()
        .filter(|package| package.has_feature("loom"))
    {
        let files: Vec<&str> = package
            .targets_of("test")
            .filter(|name| name.starts_with("loom"))
            .collect();
        if files.is_empty() {
            continue;
        }
        let mut command = test_command(&package.name, depth);
        for file in files {
            command.args(["--test", file]);
        }
        command
            .current_dir(workspace::root())
            .env("CARGO_TARGET_DIR", target())
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
    if fewest == 1 {
        return Err(Failure::failed(
            "a model explored one execution only: what it shares is invisible to loom",
        ));
    }
    Ok(())
}

/// `cargo test` of one package's models; the caller says where and which.
pub(crate) fn test_command(package: &str, depth: Depth) -> Command {
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
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("LOOM_LOG", "loom::model=info");
    match depth {
        Depth::Bounded(preemptions) => command.env("LOOM_MAX_PREEMPTIONS", preemptions.to_string()),
        Depth::Full => command.env_remove("LOOM_MAX_PREEMPTIONS"),
    };
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
    numbers_before(text, " iterations")
        .chain(numbers_before(text, " executions"))
        .collect()
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
    fn executions_are_read_from_both_forms() {
        let text = "INFO loom::model: Completed in 58 iterations\nwait: 7 executions\nok";
        assert_eq!(executions(text), [58, 7]);
    }

    #[test]
    fn passed_models_add_up() {
        let text = "test result: ok. 3 passed; 0 failed\ntest result: ok. 4 passed; 0 failed";
        assert_eq!(passed(text), 7);
    }
}
