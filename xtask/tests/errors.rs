//! The facade's error gathers every error that a crate of its own exports.

use std::fs;
use std::path::{Path, PathBuf};

/// Errors that no user of the facade meets, each with its reason.
const LEFT_OUT: &[(&str, &str)] = &[(
    "flow_rt::UnknownCase",
    "of the conformance suite, which the facade has no feature for",
)];

/// Crates that the facade does not re-export.
const INNER: &[&str] = &["flow", "flow-sync"];

#[test]
fn the_facade_gathers_every_error() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let read = |file: &Path| fs::read_to_string(file).unwrap();
    let gathered = read(&crates.join("flow/src/error.rs"));
    let tested = read(&crates.join("flow/tests/errors.rs"));

    let mut found = 0;
    for folder in fs::read_dir(&crates).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        if INNER.contains(&&*name) {
            continue;
        }
        let module = name.replace('-', "_");
        for source in sources(&folder.path().join("src")) {
            for error in errors(&read(&source)) {
                let path = format!("{module}::{error}");
                if LEFT_OUT.iter().any(|(left_out, _why)| *left_out == path) {
                    continue;
                }
                found += 1;
                // `Failure` is in a module of its own: the last part of the path decides.
                let is_in = |text: &str, module: &str| {
                    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                        .any(|word| word.starts_with(module) && last(word) == error)
                };
                let short = module.trim_start_matches("flow_");
                assert!(
                    is_in(&gathered, &module),
                    "{path} is not in flow/src/error.rs"
                );
                assert!(
                    is_in(&tested, short),
                    "{path} is not in flow/tests/errors.rs"
                );
            }
        }
    }
    assert!(
        found > 40,
        "only {found} errors were found: does the pattern still fit?"
    );
}

/// The types that a file implements `Error` for.
fn errors(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| line.starts_with("impl"))
        .filter_map(|line| line.split_once("Error for "))
        .filter(|(before, _)| before.ends_with(' ') || before.ends_with("::"))
        .map(|(_, name)| {
            let end = name
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(name.len());
            &name[..end]
        })
        .collect()
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
