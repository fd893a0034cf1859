//! Instructions, counted by valgrind's callgrind: per batch on this same program, or of any other.
//!
//! Each contender runs twice in a process of its own, `n` and then `2 n` batches: the difference
//! is what `n` batches cost, without start and set-up.
//!
//! No crate drives it: a row's count and its time are of one closure, in one table, with one target.
//! gungraun has a harness and a report of its own, and a runner to install in the same version;
//! crabgrind, which could mark the batch from within, wants libclang and valgrind's headers to build.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// Instructions of one batch; `None`, with the reason on the screen, if they cannot be counted.
pub(crate) fn per_batch(row: &str, contender: &str, batches: u64) -> Option<f64> {
    let once = count(row, contender, batches)?;
    let twice = count(row, contender, batches * 2)?;
    Some(twice.saturating_sub(once) as f64 / batches as f64)
}

/// `program` under callgrind; [`collected`] reads the count from what it writes to its standard
/// error.
pub fn callgrind(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program);
    command
}

/// The instructions that callgrind counted, by what it wrote.
pub fn collected(stderr: &str) -> Option<u64> {
    let line = |line| str::split_once(line, "Collected :");
    let (_, number) = stderr.lines().find_map(line)?;
    number.trim().parse().ok()
}

fn count(row: &str, contender: &str, batches: u64) -> Option<u64> {
    let output = callgrind(std::env::current_exe().ok()?)
        .args(["--fixed", row, contender, &batches.to_string()])
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            eprintln!("instructions are not counted: cannot run valgrind: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = collected(&text);
    if !output.status.success() || collected.is_none() {
        eprintln!("instructions of {row} / {contender} are not counted:\n{text}");
        return None;
    }
    collected
}
