//! `cargo xtask coverage`: lines run by the tests, per crate.

use std::collections::BTreeMap;
use std::fs;

use lexopt::Arg;
use serde_json::Value;

use crate::cli::{Failure, Outcome};
use crate::process;
use crate::tools::TARPAULIN;
use crate::workspace::{self, Workspace};

const HELP: &str = "\
Runs the tests under cargo-tarpaulin (built into target/tools if it is missing) and prints the
line coverage of each crate. Exits with 1 if a crate has less than the minimum.

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

/// Covered and coverable lines of `crates/<name>/src`.
fn per_crate(report: &Value) -> BTreeMap<String, (u64, u64)> {
    let mut lines = BTreeMap::<String, (u64, u64)>::new();
    let files = report["files"]
        .as_array()
        .map_or(&[] as &[_], Vec::as_slice);
    for file in files {
        let path: Vec<&str> = file["path"]
            .as_array()
            .map(|parts| parts.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let crates = path
            .windows(3)
            .find(|parts| parts[0] == "crates" && parts[2] == "src");
        if let Some(parts) = crates {
            let count = lines.entry(parts[1].to_owned()).or_default();
            count.0 += file["covered"].as_u64().unwrap_or_default();
            count.1 += file["coverable"].as_u64().unwrap_or_default();
        }
    }
    lines
}
