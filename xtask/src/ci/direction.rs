//! Who may depend on whom, as data, checked against `cargo metadata` and `cargo tree`.
//!
//! Tests, benches and examples may use anything; these rules are about what users get.

use std::collections::BTreeSet;

use crate::cli::{Failure, Outcome};
use crate::process;
use crate::workspace::{Package, Workspace};

/// Each published crate and the members it may depend on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("flow-sync", &[]),
    ("flow-rt", &["flow-sync"]),
    ("flow-metrics", &["flow-rt", "flow-sync"]),
    ("flow-ratelimit", &["flow-metrics", "flow-rt", "flow-sync"]),
    (
        "flow-sched",
        &["flow-metrics", "flow-ratelimit", "flow-rt", "flow-sync"],
    ),
    (
        "flow-stream",
        &["flow-metrics", "flow-ratelimit", "flow-rt", "flow-sync"],
    ),
    (
        "flow-redis",
        &[
            "flow-metrics",
            "flow-ratelimit",
            "flow-rt",
            "flow-sched",
            "flow-sync",
        ],
    ),
    (
        "flow",
        &[
            "flow-metrics",
            "flow-ratelimit",
            "flow-redis",
            "flow-rt",
            "flow-sched",
            "flow-stream",
            "flow-sync",
        ],
    ),
];

/// Reached through a feature only, by every crate: who observes nothing builds nothing for it.
const OPTIONAL: &[&str] = &["flow-metrics"];

/// Packages that are a runtime, or that only work on one.
const RUNTIMES: &[&str] = &[
    "tokio",
    "tokio-util",
    "smol",
    "async-std",
    "async-executor",
    "async-global-executor",
    "async-io",
    "futures-timer",
];

/// Who may name a runtime: the adapters, and the private driver of the Redis client.
const MAY_NAME_RUNTIMES: &[&str] = &["flow-rt", "flow-redis"];

/// Crates whose tree holds a runtime even without features.
const BUILT_ON_A_RUNTIME: &[(&str, &str)] =
    &[("flow-redis", "its client, fred, is built on tokio")];

/// Default trees and how many third-party crates they may have. That of flow-rt, which has no
/// default features, is what everything else stands on.
const TREES: &[(&str, usize)] = &[("flow-rt", 8), ("flow-ratelimit", 15)];

pub(super) fn check(workspace: &Workspace) -> Outcome {
    let mut broken = Vec::new();
    for package in workspace.crates() {
        check_package(workspace, package, &mut broken);
        let runtimes: Vec<String> = tree(&package.name, &["--no-default-features"])?
            .into_iter()
            .filter(|name| RUNTIMES.contains(&name.as_str()))
            .collect();
        let excused = BUILT_ON_A_RUNTIME
            .iter()
            .any(|(name, _why)| *name == package.name);
        if !runtimes.is_empty() && !excused {
            broken.push(format!(
                "{} without features has {} in its tree",
                package.name,
                runtimes.join(", ")
            ));
        }
    }
    for (name, most) in TREES {
        let third_party: Vec<String> = tree(name, &[])?
            .into_iter()
            .filter(|used| workspace.package(used).is_none())
            .collect();
        let runtimes = third_party
            .iter()
            .filter(|used| RUNTIMES.contains(&used.as_str()))
            .count();
        println!(
            "{name}: {} third-party crates (at most {most}), {runtimes} runtimes among them (at most 0)",
            third_party.len()
        );
        if runtimes > 0 {
            broken.push(format!("{name} has a runtime in its default tree"));
        }
        if third_party.len() > *most {
            broken.push(format!(
                "{name} has {} third-party crates, more than {most}: {}",
                third_party.len(),
                third_party.join(", ")
            ));
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(broken.join("\n")))
    }
}

fn check_package(workspace: &Workspace, package: &Package, broken: &mut Vec<String>) {
    let name = &package.name;
    let Some((_, allowed)) = MAY_USE.iter().find(|(user, _)| user == name) else {
        broken.push(format!(
            "{name} has no line in xtask/src/ci/direction.rs that says what it may depend on"
        ));
        return;
    };
    for used in package.dependencies.iter().filter(|used| !used.is_dev) {
        let to = used.name.as_str();
        if workspace.package(to).is_some() && !allowed.contains(&to) {
            broken.push(format!("{name} may not depend on {to}"));
        }
        if OPTIONAL.contains(&to) && !used.is_optional {
            broken.push(format!("{name} must depend on {to} through a feature only"));
        }
        if RUNTIMES.contains(&to) && !MAY_NAME_RUNTIMES.contains(&name.as_str()) {
            broken.push(format!("{name} may not name the runtime {to}"));
        }
    }
}

/// Packages that a crate builds for its users on this platform, itself left out.
fn tree(package: &str, features: &[&str]) -> Outcome<BTreeSet<String>> {
    let mut command = process::cargo(["tree", "--package", package, "--prefix", "none"]);
    command.args(["--edges", "normal,build", "--format", "{p}"]);
    let text = process::stdout(command.args(features))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && *name != package)
        .map(str::to_owned)
        .collect())
}
