//! goflow itself beside flow: its own Go code in a process of its own, told over a pipe what to
//! run, which it times itself.
//!
//! `benches/goflow/main.go` is compiled inside goflow's module, in a checkout that stays as it is.

use std::cell::{OnceCell, RefCell};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;

use crate::machine;

/// The contender's name in every row.
pub(crate) const GOFLOW: &str = "goflow";

/// goflow's process, which is started when the first row wants it.
#[derive(Default)]
pub(crate) struct Goflow {
    started: OnceCell<Result<Rc<Process>, String>>,
}

impl Goflow {
    /// The process; or `None`, and [`note`](Self::note) says why.
    pub(crate) fn process(&self) -> Option<Rc<Process>> {
        let started = self.started.get_or_init(|| Process::start().map(Rc::new));
        started.as_ref().ok().cloned()
    }

    /// What a reader of the rows must know, if one asked for it: which goflow it is, or why there
    /// is none.
    pub(crate) fn note(&self) -> Option<String> {
        Some(match self.started.get()? {
            Ok(process) => format!(
                "goflow is its own code in a process of its own, {}.",
                process.version
            ),
            Err(why) => format!("goflow is left out: {why}."),
        })
    }
}

/// It ends when its input does.
pub(crate) struct Process {
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    child: Child,
    version: String,
}

impl Process {
    fn start() -> Result<Self, String> {
        let Built { program, version } = build()?;
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("it cannot be started: {error}"))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("it has no pipes".to_owned());
        };
        Ok(Self {
            pipes: RefCell::new((orders, BufReader::new(answers))),
            child,
            version,
        })
    }

    /// How long `contender` takes for `n` batches.
    ///
    /// # Panics
    /// If goflow does not answer: what went wrong is on standard error then.
    pub(crate) fn run(&self, contender: &str, n: u64) -> Duration {
        let answer = self.ask(contender, n).expect("goflow's process is there");
        let nanos = answer.trim().parse().expect("goflow answers nanoseconds");
        Duration::from_nanos(nanos)
    }

    fn ask(&self, contender: &str, n: u64) -> io::Result<String> {
        let (orders, answers) = &mut *self.pipes.borrow_mut();
        writeln!(orders, "{contender}\n{n}")?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It holds nothing that it would have to put away.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Built {
    program: PathBuf,
    version: String,
}

/// Compiles what runs goflow.
fn build() -> Result<Built, String> {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| machine::workspace().join("target"), PathBuf::from);
    let checkout = env::var_os("FLOW_GOFLOW").map_or_else(|| target.join(GOFLOW), PathBuf::from);
    let checkout = checkout.canonicalize().map_err(|_| {
        format!(
            "there is no checkout in {}; make one with `git clone \
             https://github.com/vnykmshr/goflow {}`, or name one in FLOW_GOFLOW",
            checkout.display(),
            target.join(GOFLOW).display()
        )
    })?;
    let ours = machine::workspace().join("benches/goflow/main.go");
    let overlay = target.join("goflow-overlay.json");
    let program = target.join("goflow-peer");
    write_overlay(&overlay, &checkout.join("flowbench/main.go"), &ours)
        .map_err(|error| format!("{}: {error}", overlay.display()))?;
    let go = env::var_os("GO").unwrap_or_else(|| OsString::from("go"));
    let built = Command::new(&go)
        .current_dir(&checkout)
        .args(["build", "-overlay"])
        .arg(&overlay)
        .arg("-o")
        .arg(&program)
        .arg("./flowbench")
        .output()
        .map_err(|error| {
            format!(
                "{} cannot be run ({error}); install Go 1.25 or later, or name it in GO",
                go.display()
            )
        })?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).trim().to_owned());
    }
    let mut version = Command::new(&go);
    let mut commit = Command::new("git");
    commit.current_dir(&checkout);
    Ok(Built {
        program,
        version: format!(
            "commit {}, {}",
            said(commit.args(["rev-parse", "--short", "HEAD"])),
            said(version.current_dir(&checkout).arg("version"))
        ),
    })
}

/// What a command prints; nothing if it cannot.
fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout);
    String::from_utf8_lossy(&output.unwrap_or_default())
        .trim()
        .to_owned()
}

/// As if our program lay in goflow's module.
fn write_overlay(overlay: &Path, there: &Path, ours: &Path) -> io::Result<()> {
    let replaced = json!({ there.to_string_lossy(): ours.to_string_lossy() });
    fs::write(overlay, json!({ "Replace": replaced }).to_string())
}
