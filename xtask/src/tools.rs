//! Programs the commands need: found, else installed where that may be done, else named in an
//! error that says how to get them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::{Failure, Outcome};
use crate::{process, workspace};

/// A program from crates.io, with the version these commands were tried with.
pub(crate) struct CargoTool<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
}

pub(crate) const DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
};

pub(crate) const TARPAULIN: CargoTool = CargoTool {
    name: "cargo-tarpaulin",
    version: "0.37.5",
};

impl CargoTool<'_> {
    /// The program: ours, else any on the path, else built.
    pub(crate) fn program(&self) -> Outcome<PathBuf> {
        match find(self.name) {
            Some(found) if !self.is_built() => Ok(found),
            _ => self.built(),
        }
    }

    /// The program in this very version; builds it into `target/tools` if it is not there.
    pub(crate) fn built(&self) -> Outcome<PathBuf> {
        let Self { name, version } = self;
        if !self.is_built() {
            eprintln!(
                "{name} {version} is not installed: building it into target/tools (once, about 3 \
                 minutes)"
            );
            process::run(
                process::cargo(["install", "--locked", name, "--version", version])
                    .arg("--root")
                    .arg(folder()),
            )
            .map_err(|failure| {
                Failure::failed(format!(
                    "{name} is missing and could not be built; install it with `cargo install \
                     --locked {name} --version {version} --root target/tools`. {}",
                    failure.sentence()
                ))
            })?;
        }
        Ok(folder().join("bin").join(name))
    }

    fn is_built(&self) -> bool {
        // What cargo notes of what it has installed: name, version and source.
        let installed = fs::read_to_string(folder().join(".crates.toml")).unwrap_or_default();
        installed.contains(&format!("\"{} {} (", self.name, self.version))
    }
}

/// Where tools are built that belong to this workspace alone.
fn folder() -> PathBuf {
    workspace::root().join("target/tools")
}

/// A program from the system's packages, found on the path or installed by apt-get.
///
/// `for_what` completes the sentence "X is missing; it is needed ...".
pub(crate) fn system_program(
    name: &str,
    apt_package: &str,
    for_what: &str,
    may_install: bool,
) -> Outcome<PathBuf> {
    if let Some(found) = find(name) {
        return Ok(found);
    }
    let missing = |why: &str| {
        Failure::failed(format!(
            "{name} is missing; it is needed {for_what}. {why} \
             Get it with `sudo apt-get install {apt_package}`, or put another build of {name} on \
             PATH, and run this again."
        ))
    };
    if !may_install {
        return Err(missing("Installing was forbidden by --no-install."));
    }
    if find("apt-get").is_none() {
        return Err(missing("There is no apt-get here to install it with."));
    }
    let Some(prefix) = root_prefix() else {
        return Err(missing(
            "This is not root, and sudo asks for a password or is not there.",
        ));
    };
    eprintln!("{name} is missing; installing the package {apt_package}");
    let apt = |arguments: &[&str]| {
        let mut command = if prefix.is_empty() {
            Command::new("apt-get")
        } else {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "apt-get"]);
            sudo
        };
        command
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        process::run(&mut command)
    };
    let install = ["install", "-y", "--no-install-recommends", apt_package];
    // A fresh machine has no package lists yet, or old ones.
    let installed = apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)));
    match (installed, find(name)) {
        (Ok(()), Some(found)) => Ok(found),
        (Ok(()), None) => Err(missing(
            "apt-get installed the package, but not this program.",
        )),
        (Err(failure), _) => Err(missing(&format!("apt-get: {}.", failure.sentence()))),
    }
}

/// A program on the path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| is_program(candidate))
}

/// What to put before a command to run it as root; `None` if that cannot be had.
fn root_prefix() -> Option<&'static str> {
    let user = Command::new("id").arg("-u").output().ok()?;
    if user.stdout.trim_ascii() == b"0" {
        return Some("");
    }
    let sudo = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    sudo.is_ok_and(|status| status.success()).then_some("sudo")
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}
