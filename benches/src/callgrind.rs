//! Instructions per batch, counted by valgrind's callgrind on this same program.
//!
//! Each contender runs twice in a process of its own, `n` and then `2 n` batches: the difference
//! is what `n` batches cost, without start and set-up.

use std::process::{Command, Stdio};

/// Instructions of one batch; `None`, with the reason on the screen, if they cannot be counted.
pub(crate) fn per_batch(row: &str, contender: &str, batches: u64) -> Option<f64> {
    let once = count(row, contender, batches)?;
    let twice = count(row, contender, batches * 2)?;
    Some(twice.saturating_sub(once) as f64 / batches as f64)
}

fn count(row: &str, contender: &str, batches: u64) -> Option<u64> {
    let this = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
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
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, number)| number.trim().parse().ok());
    if !output.status.success() || collected.is_none() {
        eprintln!("instructions of {row} / {contender} are not counted:\n{text}");
        return None;
    }
    collected
}
