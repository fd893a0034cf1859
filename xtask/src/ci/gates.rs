//! The gates that are a command or two.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::cli::{Failure, Outcome};
use crate::process;
use crate::tools::DENY;
use crate::workspace::{self, Package, Workspace};

/// Files that the licences ask to pass on.
const PACKED: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// What the README promises a newcomer.
const README_COMMANDS: [&str; 2] = ["cargo run --release --example gateway", "cargo xtask test"];

pub(super) fn fmt(_: &Workspace) -> Outcome {
    process::run(&mut process::cargo(["fmt", "--all", "--check"]))
}

/// Everything at once; then what feature unification hides: each crate bare, and each crate with
/// each of its features alone, a single runtime among them.
pub(super) fn clippy(workspace: &Workspace) -> Outcome {
    let denied = |command: &mut Command| process::run(command.args(["--", "-D", "warnings"]));
    let mut failed = Vec::new();
    let mut all = process::cargo(["clippy", "--workspace", "--all-targets"]);
    if denied(all.args(workspace.shared_features())).is_err() {
        failed.push("all features of all crates".to_owned());
    }
    for package in workspace.crates() {
        let bare = [
            "clippy",
            "--package",
            &package.name,
            "--no-default-features",
        ];
        if denied(&mut process::cargo(bare)).is_err() {
            failed.push(format!("{} without features", package.name));
        }
        for feature in package.checked_features() {
            let mut alone = process::cargo(bare);
            if denied(alone.args(["--features", feature])).is_err() {
                failed.push(format!("{} with {feature} alone", package.name));
            }
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format!(
            "lints or errors in: {}",
            failed.join(", ")
        )))
    }
}

/// Advisories are configured in deny.toml but not checked here: their database is a git
/// repository, and this gate must work offline.
pub(super) fn deny(_: &Workspace) -> Outcome {
    let mut command = Command::new(DENY.program()?);
    command.current_dir(workspace::root()).args([
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    process::run(&mut command)
}

/// Packages all published crates together, so that one may need another that no registry has.
///
/// Not verified, which would build each package with all of its dependencies once more, in a
/// folder of its own: the other gates have built the same sources, bare and with each feature.
/// What packing itself can lose is a file, hence the look at the lists.
pub(super) fn package(workspace: &Workspace) -> Outcome {
    let mut wanting = Vec::new();
    let mut command = process::cargo(["package", "--no-verify", "--allow-dirty"]);
    command.arg("--exclude-lockfile");
    for package in workspace.crates() {
        if !package.missing.is_empty() {
            let missing = package.missing.join(", ");
            wanting.push(format!("{} has no {missing}", package.name));
        }
        let mut list = process::cargo(["package", "--list", "--allow-dirty", "--package"]);
        let packed = process::stdout(list.arg(&package.name))?;
        for file in PACKED {
            if !packed.lines().any(|line| line == file) {
                wanting.push(format!("the package {} has no {file}", package.name));
            }
        }
        command.args(["--package", &package.name]);
    }
    process::run(&mut command)?;
    if wanting.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(wanting.join("; ")))
    }
}

/// The README shows both commands; what they name is there, and so are the features of its table.
pub(super) fn readme(workspace: &Workspace) -> Outcome {
    let path = workspace::root().join("README.md");
    let text = fs::read_to_string(&path)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    for command in README_COMMANDS {
        if !text.lines().any(|line| line.trim() == command) {
            return Err(Failure::failed(format!(
                "README.md has no line `{command}`"
            )));
        }
    }
    // Any other example or xtask command it shows must exist as well.
    let examples: BTreeSet<&str> = workspace
        .packages
        .iter()
        .flat_map(|package| package.targets_of("example"))
        .collect();
    for named in words_after(&text, "--example ") {
        if !examples.contains(named) {
            return Err(Failure::failed(format!(
                "README.md shows the example `{named}`, which is not there"
            )));
        }
    }
    for named in words_after(&text, "cargo xtask ") {
        if !["test", "ci", "bench", "loom", "coverage", "docs"].contains(&named) {
            return Err(Failure::failed(format!(
                "README.md shows `cargo xtask {named}`, which is not there"
            )));
        }
    }
    for package in workspace.crates() {
        let row = format!("| `{}` |", package.name);
        let shown = text
            .lines()
            .find(|line| line.starts_with(&row))
            .and_then(|line| line.trim_end_matches([' ', '|']).rsplit('|').next())
            .ok_or_else(|| Failure::failed(format!("README.md has no row for {}", package.name)))?;
        let (shown, there) = (features_shown(shown), features_there(package));
        if let Some((name, bold)) = shown.symmetric_difference(&there).next() {
            let default = if *bold { " (default)" } else { "" };
            return Err(Failure::failed(format!(
                "README.md and the manifest of {} do not agree on its feature {name}{default}",
                package.name
            )));
        }
    }
    Ok(())
}

/// What a newcomer does: clone, and run what the README promises, with nothing built before.
///
/// What is not committed is not in it.
pub(super) fn clone(_: &Workspace) -> Outcome {
    let folder = workspace::target_dir().join("clone");
    let remove = || -> Outcome {
        if folder.exists() {
            let error = |error| Failure::failed(format!("{}: {error}", folder.display()));
            fs::remove_dir_all(&folder).map_err(error)?;
        }
        Ok(())
    };
    remove()?;
    let cloned = process::run(
        Command::new("git")
            .args(["clone", "--quiet"])
            .arg(workspace::root())
            .arg(&folder),
    );
    let ran = cloned.and_then(|()| {
        README_COMMANDS.iter().try_for_each(|command| {
            let mut words = command.split(' ');
            let mut newcomers = Command::new(words.next().unwrap_or_default());
            newcomers.args(words).current_dir(&folder);
            // A target folder of its own.
            process::run(newcomers.env_remove("CARGO_TARGET_DIR"))
        })
    });
    // Gigabytes, whether or not they work.
    remove()?;
    ran
}

/// Names in backticks and whether they are bold, as a set.
fn features_shown(cell: &str) -> BTreeSet<(String, bool)> {
    let names = cell.split(", ").filter(|word| word.contains('`'));
    names
        .map(|word| {
            let name = word.trim().trim_matches(['*', '`']);
            (name.to_owned(), word.contains("**"))
        })
        .collect()
}

/// What a manifest offers to users, and whether it is on by default.
fn features_there(package: &Package) -> BTreeSet<(String, bool)> {
    let offered = package
        .features
        .iter()
        .filter(|name| !["default", "loom"].contains(&name.as_str()));
    offered
        .map(|name| (name.clone(), package.default_features.contains(name)))
        .collect()
}

fn words_after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| {
        let end = |c: char| !(c.is_alphanumeric() || c == '_' || c == '-');
        rest.split(end).next().filter(|word| !word.is_empty())
    })
}
