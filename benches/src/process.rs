//! What this process has used: the CPU time of its threads, and its memory.

use std::fs;
use std::time::Duration;

/// The CPU time of this process's live threads so far.
///
/// The kernel brings a thread's count up to date when it stops running; over seconds that does
/// not matter. Threads that have ended are not counted any more, so keep them between two looks.
///
/// # Panics
/// Where there is no `/proc` of Linux.
pub fn cpu_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("this bench needs Linux");
    let nanos = threads.flatten().filter_map(|thread| {
        let figures = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        figures.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// The memory that this process has resident, in bytes.
///
/// # Panics
/// Where there is no `/proc` of Linux.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this bench needs Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the resident size in KiB") * 1024
}
