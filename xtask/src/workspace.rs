//! The workspace as `cargo metadata` describes it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::{Failure, Outcome};
use crate::process;

/// Features that the shared build of tests, lints and documentation leaves out.
///
/// Everything else is on, for all crates at once: so each dependency is built in one shape only.
const LEFT_OUT: &[(&str, &str)] = &[
    ("loom", "swaps std's atomics for loom's"),
    ("tls", "builds a TLS library that no test here can use"),
    ("full", "enables nothing that the others do not"),
];

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace's folder")
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The version of a package that Cargo.lock has.
pub(crate) fn locked(name: &str) -> Outcome<String> {
    let text = fs::read_to_string(root().join("Cargo.lock"))
        .map_err(|error| Failure::failed(format!("Cargo.lock: {error}")))?;
    let lock: toml::Table = text
        .parse()
        .map_err(|error| Failure::failed(format!("Cargo.lock: {error}")))?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    packages
        .into_iter()
        .flatten()
        .find(|package| package.get("name").and_then(toml::Value::as_str) == Some(name))
        .and_then(|package| package.get("version")?.as_str().map(str::to_owned))
        .ok_or_else(|| Failure::failed(format!("there is no {name} in Cargo.lock")))
}

/// Members, as far as the commands need them.
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
}

pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) features: Vec<String>,
    pub(crate) default_features: Vec<String>,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    pub(crate) publishable: bool,
    /// Fields a registry or a reader expects and the manifest lacks.
    pub(crate) missing: Vec<&'static str>,
    /// Member that plain `cargo test` tests.
    pub(crate) is_default: bool,
}

pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) is_dev: bool,
    pub(crate) is_optional: bool,
}

pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: String,
}

impl Workspace {
    pub(crate) fn load() -> Outcome<Self> {
        let text = process::stdout(&mut process::cargo([
            "metadata",
            "--format-version=1",
            "--no-deps",
        ]))?;
        let metadata: Value = serde_json::from_str(&text)
            .map_err(|error| Failure::failed(format!("cannot read `cargo metadata`: {error}")))?;
        let defaults = array(&metadata["workspace_default_members"]);
        let packages = array(&metadata["packages"])
            .iter()
            .map(|package| Package::read(package, defaults.contains(&package["id"])))
            .collect();
        Ok(Self { packages })
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The members that are published, in the order of `cargo metadata`.
    pub(crate) fn crates(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.publishable)
    }

    /// `--features` of the shared build; see [`LEFT_OUT`].
    pub(crate) fn shared_features(&self) -> Vec<String> {
        let mut list = Vec::new();
        for package in self.packages.iter().filter(|package| package.is_default) {
            let features = package.checked_features();
            list.extend(features.map(|feature| format!("{}/{feature}", package.name)));
        }
        if list.is_empty() {
            return list;
        }
        vec!["--features".to_owned(), list.join(",")]
    }
}

impl Package {
    fn read(package: &Value, is_default: bool) -> Self {
        let wanted = [
            "description",
            "license",
            "keywords",
            "categories",
            "readme",
            "rust_version",
        ];
        Self {
            name: text(&package["name"]),
            features: package["features"]
                .as_object()
                .map(|features| features.keys().cloned().collect())
                .unwrap_or_default(),
            default_features: array(&package["features"]["default"])
                .iter()
                .map(text)
                .collect(),
            dependencies: array(&package["dependencies"])
                .iter()
                .map(|dependency| Dependency {
                    name: text(&dependency["name"]),
                    is_dev: dependency["kind"] == "dev",
                    is_optional: dependency["optional"] == true,
                })
                .collect(),
            targets: array(&package["targets"])
                .iter()
                .map(|target| Target {
                    name: text(&target["name"]),
                    kind: text(&target["kind"][0]),
                })
                .collect(),
            // `publish = false` is an empty list of registries.
            publishable: package["publish"].is_null(),
            missing: wanted
                .into_iter()
                .filter(|field| is_blank(&package[*field]))
                .collect(),
            is_default,
        }
    }

    /// The features that tests and lints look at; see [`LEFT_OUT`].
    pub(crate) fn checked_features(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(String::as_str).filter(|feature| {
            let left_out = LEFT_OUT.iter().any(|(name, _why)| name == feature);
            *feature != "default" && !left_out
        })
    }

    pub(crate) fn has_feature(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature == name)
    }

    pub(crate) fn targets_of(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.targets
            .iter()
            .filter(move |target| target.kind == kind)
            .map(|target| target.name.as_str())
    }
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
