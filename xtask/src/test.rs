//! `cargo xtask test`: every test of the workspace, one build, one closing line.

use crate::cli::{self, Failure, Outcome};
use crate::process::{self, Ended};
use crate::smoke;
use crate::tools;
use crate::workspace::Workspace;

const HELP: &str = "\
Runs every test: unit, property, behaviour, conformance, Redis and doc tests, and each example
once as a smoke test. All of them share one build, with every runtime enabled.

What the tests need is found on PATH (redis-server), else installed with apt-get when this is
root or sudo asks no password, else named in an error. Nothing is skipped: an `#[ignore]`d test
counts as failed.

Uses cargo-nextest if it is there, `cargo test` if not. The last line is `N passed, N failed`.

Usage: cargo xtask test [OPTIONS]

Options:
      --no-install  fail instead of installing what is missing
      --no-nextest  use `cargo test` even if cargo-nextest is there
  -h, --help        print this";

/// Passed and failed tests.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

pub(crate) fn main(parser: lexopt::Parser) -> Outcome {
    let names = ["no-install", "no-nextest"];
    let Some([no_install, no_nextest]) = cli::flags(parser, HELP, names)? else {
        return Ok(());
    };
    let mut total = Tally::default();
    if let Err(failure) = all(&mut total, !no_install, !no_nextest) {
        eprintln!("{}", failure.sentence());
        // What could not even start is one more failure in the count.
        total.failed += 1;
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

fn all(total: &mut Tally, may_install: bool, may_nextest: bool) -> Outcome {
    let workspace = Workspace::load()?;
    let features = workspace.shared_features();
    redis_server(&workspace, may_install)?;
    let with = |command: &mut std::process::Command| process::tee(command.args(&features));

    // First, because the tests of the examples start them, and not every runner builds them.
    heading("build of the examples");
    process::run(process::cargo(["build", "--examples"]).args(&features))?;

    heading("unit, property and behaviour tests");
    let nextest = may_nextest && tools::find("cargo-nextest").is_some();
    let tests = if nextest {
        let ended = with(&mut process::cargo(["nextest", "run", "--no-fail-fast"]))?;
        nextest_tally(&ended)
    } else {
        let ended = with(&mut process::cargo([
            "test",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
        ]))?;
        libtest_tally(&ended)
    };
    total.add(&tests);

    // Apart from the others: no runtime is enabled in this build, and some of its tests are about
    // that.
    let own = process::tee(&mut process::cargo(["test", "--package", "xtask"]))?;
    total.add(&libtest_tally(&own));

    heading("doc tests");
    let ended = with(&mut process::cargo(["test", "--doc", "--no-fail-fast"]))?;
    total.add(&libtest_tally(&ended));
    if ended.success && !ran_the_readme(&ended) {
        eprintln!("no doc test of README.md has run: see the facade's `Readme`");
        total.failed += 1;
    }

    heading("examples");
    total.add(&smoke::run(&workspace)?);
    Ok(())
}

/// Sees to it that the server of flow-redis's tests is on the path, if it has tests.
fn redis_server(workspace: &Workspace, may_install: bool) -> Outcome {
    let has_tests = workspace
        .package("flow-redis")
        .is_some_and(|package| package.targets_of("test").next().is_some());
    if has_tests {
        let for_what = "by the tests of flow-redis, which start servers of their own";
        tools::system_program("redis-server", "redis-server", for_what, may_install)?;
    }
    Ok(())
}

/// Reads nextest's closing line: `Summary [0.1s] 9 tests run: 8 passed (1 slow), 1 failed, 0 skipped`.
fn nextest_tally(ended: &Ended) -> Tally {
    let summary = ended.text.lines().rev().find_map(|line| {
        line.split_once("tests run:")
            .or(line.split_once("test run:"))
    });
    let mut tally = Tally::default();
    if let Some((_, counts)) = summary {
        tally.passed = count_before(counts, "passed");
        let bad = ["failed", "exec failed", "timed out", "skipped"];
        tally.failed = bad.into_iter().map(|word| count_before(counts, word)).sum();
    }
    settle(tally, ended)
}

/// Adds up libtest's lines: `test result: ok. 8 passed; 1 failed; 0 ignored; 0 measured; ...`.
fn libtest_tally(ended: &Ended) -> Tally {
    let mut tally = Tally::default();
    for line in ended.text.lines() {
        if let Some((_, counts)) = line.split_once("test result:") {
            let counts = counts.replace(';', ",").replacen(". ", ", ", 1);
            tally.passed += count_before(&counts, "passed");
            tally.failed += count_before(&counts, "failed") + count_before(&counts, "ignored");
        }
    }
    settle(tally, ended)
}

/// Whether the README's program was among the doc tests: the facade's `Readme` includes it only
/// where the features that it uses are on, and a test that is not there cannot fail.
fn ran_the_readme(ended: &Ended) -> bool {
    ended.text.lines().any(|line| {
        line.strip_prefix("test ")
            .is_some_and(|test| test.contains(" - Readme (") && test.ends_with("... ok"))
    })
}

/// A child that failed without a failed test (it did not build, say) is one failure.
fn settle(mut tally: Tally, ended: &Ended) -> Tally {
    if !ended.success && tally.failed == 0 {
        eprintln!(
            "the tests ended with {} and without a failed test",
            ended.how
        );
        tally.failed = 1;
    }
    tally
}

/// The number in `... 12 word ...` of a list separated by commas.
fn count_before(counts: &str, word: &str) -> u64 {
    counts
        .split(',')
        .filter_map(|part| {
            let (number, rest) = part.trim().split_once(' ')?;
            let rest = rest.split(" (").next().unwrap_or(rest);
            (rest == word).then(|| number.parse::<u64>().ok())?
        })
        .sum()
}

fn heading(what: &str) {
    println!("\n== {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(text: &str, success: bool) -> Ended {
        Ended {
            success,
            how: "exit status: 100".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn nextest_summaries_are_counted() {
        let line = "     Summary [   1.2s] 9 tests run: 6 passed (1 slow), 1 failed, 1 exec failed, 1 timed out, 2 skipped";
        let tally = nextest_tally(&ended(line, false));
        assert_eq!((tally.passed, tally.failed), (6, 5));
    }

    #[test]
    fn libtest_results_add_up_and_ignored_counts_as_failed() {
        let lines = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                     test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out";
        let tally = libtest_tally(&ended(lines, false));
        assert_eq!((tally.passed, tally.failed), (5, 5));
    }

    #[test]
    fn the_readme_is_found_among_the_doc_tests() {
        let ran = "test crates/flow/src/lib.rs - Readme (line 72) ... ok";
        assert!(ran_the_readme(&ended(ran, true)));
        let other = "test crates/flow-rt/src/lib.rs - (line 8) ... ok";
        assert!(!ran_the_readme(&ended(other, true)));
        let only_built = ran.replace("ok", "ignored");
        assert!(!ran_the_readme(&ended(&only_built, true)));
    }

    #[test]
    fn a_build_that_fails_is_a_failure() {
        let tally = nextest_tally(&ended("error: could not compile", false));
        assert_eq!((tally.passed, tally.failed), (0, 1));
    }
}
