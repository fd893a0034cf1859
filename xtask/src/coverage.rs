//! `cargo xtask coverage`: lines run by the tests, per crate.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use lexopt::Arg;
use serde_json::Value;

use crate::cli::{Failure, Outcome};
use crate::process;
use crate::tools::TARPAULIN;
use crate::workspace::{self, Workspace};

const HELP: &str = "\
Runs the tests under cargo-tarpaulin (built into target/tools if it is missing) and prints the
line coverage of each crate. Exits with 1 if a crate has less than the minimum.

Left out are the copies of sources that other tasks make under target/, and the files that exist
only under `--cfg loom`: no line of them is in the programs that are measured.

Usage: cargo xtask coverage [OPTIONS]

Options:
      --min PERCENT  the least coverage of each crate, 0 to 100 (default 90)
      --html         also write target/coverage/tarpaulin-report.html
  -h, --help         print this";

pub(crate) fn main(mut parser: lexopt::Parser) -> Outcome {
    let mut min = DEFAULT_MIN;
    let mut html = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Arg::Long("html") => html = true,
            Arg::Long("min") => {
                let given = parser.value()?.to_string_lossy().into_owned();
                min = given
                    .parse()
                    .ok()
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .ok_or_else(|| {
                        Failure::usage(format!(
                            "--min takes a number from 0 to 100, not `{given}`."
                        ))
                    })?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    run(&Workspace::load()?, min, html)
}

pub(crate) const DEFAULT_MIN: f64 = 90.0;

/// Sources without a line that a normal build runs; tarpaulin finds them by reading, not by
/// running, and would count them as never reached.
const LOOM_ONLY: [&str; 3] = [
    "crates/flow-sched/src/sync.rs",
    "crates/flow-sync/src/model.rs",
    "crates/flow-sync/src/sync/on_loom.rs",
];

/// Measures, prints the table, and fails below `min` percent.
pub(crate) fn run(workspace: &Workspace, min: f64, html: bool) -> Outcome {
    let folder = workspace::target_dir().join("coverage");
    let tarpaulin = TARPAULIN.program()?;
    let mut command = std::process::Command::new(tarpaulin);
    command
        .arg("tarpaulin")
        .current_dir(workspace::root())
        .args(["--engine", "llvm", "--skip-clean", "--no-fail-fast"])
        .args(["--timeout", "600", "--out", "Json"])
        .arg("--output-dir")
        .arg(&folder)
        .arg("--target-dir")
        .arg(folder.join("build"))
        .args(workspace.shared_features());
    for package in workspace.crates() {
        command.args(["--packages", &package.name]);
    }
    for file in LOOM_ONLY {
        command.args(["--exclude-files", file]);
    }
    command.args(["--exclude-files", "target/*"]);
    if html {
        command.args(["--out", "Html"]);
    }
    process::run(&mut command)?;

    let report = folder.join("tarpaulin-report.json");
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("cannot read {}: {error}", report.display()))
    };
    let text = fs::read_to_string(&report).map_err(|error| unreadable(&error))?;
    let report: Value = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    let lines = per_crate(&report);

    println!(
        "\n{:<16} {:>8} {:>8} {:>8}",
        "crate", "covered", "lines", "percent"
    );
    let mut short = Vec::new();
    for package in workspace.crates() {
        let (covered, total) = lines.get(&package.name).copied().unwrap_or_default();
        if total == 0 {
            println!("{:<16} {covered:>8} {total:>8} {:>8}", package.name, "-");
            continue;
        }
        let percent = covered as f64 * 100.0 / total as f64;
        println!(
            "{:<16} {covered:>8} {total:>8} {percent:>7.1}%",
            package.name
        );
        if percent < min {
            short.push(format!("{} ({percent:.1} %)", package.name));
        }
    }
    if short.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "below {min} % of lines covered: {}",
            short.join(", ")
        )))
    }
}

/// Covered and coverable lines of `crates/<name>/src`, but for what is left out.
fn per_crate(report: &Value) -> BTreeMap<String, (u64, u64)> {
    let mut lines = BTreeMap::<String, (u64, u64)>::new();
    let files = report["files"]
        .as_array()
        .map_or(&[] as &[_], Vec::as_slice);
    for file in files {
        let path: PathBuf = file["path"]
            .as_array()
            .map(|parts| parts.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        if let Some(name) = measured(&path) {
            let count = lines.entry(name.to_owned()).or_default();
            count.0 += file["covered"].as_u64().unwrap_or_default();
            count.1 += file["coverable"].as_u64().unwrap_or_default();
        }
    }
    lines
}

/// The crate whose lines a file's are, if they count: copies of sources lie elsewhere in the
/// workspace, and what only loom runs is left out.
fn measured(path: &Path) -> Option<&str> {
    let file = path.strip_prefix(workspace::root()).ok()?;
    if LOOM_ONLY.iter().any(|left_out| file == Path::new(left_out)) {
        return None;
    }
    let mut parts = file.iter().filter_map(OsStr::to_str);
    let (folder, name, sources) = (parts.next()?, parts.next()?, parts.next()?);
    (folder == "crates" && sources == "src").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_of_crates_count_and_not_what_loom_alone_runs() {
        let counts = |file: &str| {
            let path = workspace::root().join(file);
            measured(&path).map(str::to_owned)
        };
        assert_eq!(counts("crates/a/src/b/c.rs").as_deref(), Some("a"));
        for file in [
            "crates/a/tests/b.rs",
            "target/mutants/crates/a/src/b.rs",
            "xtask/src/main.rs",
            LOOM_ONLY[0],
        ] {
            assert_eq!(counts(file), None, "{file}");
        }
        assert_eq!(measured(Path::new("/elsewhere/crates/a/src/b.rs")), None);
        for file in LOOM_ONLY {
            assert!(workspace::root().join(file).is_file(), "{file} is gone");
        }
    }
}
