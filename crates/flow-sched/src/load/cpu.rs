//! The processors' share of time that is not idle.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{LoadError, LoadSource};

/// How busy the machine's processors were since they were last asked about, all of them together:
/// `/proc/stat`, so on Linux.
///
/// Time in which others kept the machine from running (steal) counts as busy, time that waits for
/// a disk as idle. In a container it is the machine's load still, not the container's share of it.
///
/// # Cost
/// A read of the file, 10 µs and more with many processors. Asked again before 100 ms of the
/// processors' time have passed it says what it said before.
#[derive(Debug)]
pub struct CpuLoad {
    path: PathBuf,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    ticks: Ticks,
    load: f64,
}

/// Ticks of all processors, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks {
    pub(super) busy: u64,
    pub(super) all: u64,
}

impl CpuLoad {
    /// That of this machine; 0 until it is asked for the first time that is 100 ms later.
    ///
    /// # Errors
    /// [`LoadError`] where there is no such file.
    pub fn new() -> Result<Self, LoadError> {
        Self::at("/proc/stat")
    }

    /// The same from a file elsewhere, such as the host's in a container.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let path = path.into();
        let ticks = read(&path)?;
        let last = Mutex::new(Last { ticks, load: 0.0 });
        Ok(Self { path, last })
    }
}

impl LoadSource for CpuLoad {
    fn load(&self) -> f64 {
        let now = read(&self.path);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(now) = now
            && let Some(load) = now.since(last.ticks)
        {
            *last = Last { ticks: now, load };
        }
        last.load
    }
}

impl Ticks {
    /// The share of busy ticks; `None` if they are too few to tell.
    pub(super) fn since(self, then: Self) -> Option<f64> {
        let all = self.all.checked_sub(then.all)?;
        if all < ENOUGH {
            return None;
        }
        let busy = self.busy.saturating_sub(then.busy);
        Some(busy as f64 / all as f64)
    }

    /// From the line that sums all processors up.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are among the users.
        let mut ticks = [0_u64; 8];
        for (ticks, word) in ticks.iter_mut().zip(line.split_ascii_whitespace()) {
            *ticks = word.parse().ok()?;
        }
        let all = ticks
            .iter()
            .fold(0_u64, |sum, ticks| sum.saturating_add(*ticks));
        let idle = ticks[3].saturating_add(ticks[4]);
        Some(Self {
            busy: all.saturating_sub(idle),
            all,
        })
    }
}

fn read(path: &Path) -> Result<Ticks, LoadError> {
    let text = fs::read_to_string(path).map_err(|error| LoadError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    Ticks::parse(&text).ok_or_else(|| LoadError::Unexpected {
        path: path.to_owned(),
        expected: "that begins with `cpu` and numbers",
    })
}

/// Ticks that speak of a load: 100 ms of one processor's time, where a tick is 10 ms.
const ENOUGH: u64 = 10;
