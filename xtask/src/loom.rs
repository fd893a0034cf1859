//! `cargo xtask loom`: the models of the wait protocols.
//!
//! `--cfg loom` holds for the whole build, so it has a target folder of its own. A model that
//! explores one execution proves nothing and counts as failed: the number is read from what
//! loom logs (`Completed in N iterations`) and from what models print themselves
//! (`N executions`).

use std::path::PathBuf;
use std::process::Command;

use lexopt::{Arg, ValueExt as _};

use crate::cli::{Failure, Outcome};
use crate::workspace::{self, Package, Workspace};
use crate::{mutate, process};

const HELP: &str = "\
Runs the loom models (tests/loom_*.rs of every crate with the feature `loom`), each of which must
explore more than one execution.

Usage: cargo xtask loom [OPTIONS]

Options:
      --full          no bound on preemptions but the models' own (minutes to hours)
      --mutate        instead, apply each mutation of crates/*/loom-mutations.toml to a copy in
                      target/mutants and expect the model it names to fail; a mutation that
                      survives is named, and the exit code is 1
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
    model = \"loom_wait::grant_wakes\"    # test file and test
    why = \"what the model must notice\"";

/// How deep the models of one run look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At most this many preemptions, unless a model says otherwise.
    Bounded(u8),
    Full,
}

pub(crate) fn main(mut parser: lexopt::Parser) -> Outcome {
    let (mut full, mut mutate) = (false, false);
    let mut packages = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Arg::Long("full") => full = true,
            Arg::Long("mutate") => mutate = true,
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
    match (full, mutate) {
        (true, true) => Err(Failure::usage(
            "--full and --mutate do not go together: mutations are run bounded.",
        )),
        (_, true) => mutate::run(&packages),
        (true, _) => run(&workspace, Depth::Full, &packages),
        _ => run(&workspace, Depth::Bounded(3), &packages),
    }
}

/// Runs every model, or those of the named packages.
pub(crate) fn run(workspace: &Workspace, depth: Depth, packages: &[String]) -> Outcome {
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
