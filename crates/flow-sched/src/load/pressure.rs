//! Pressure stall information.

use std::fs;
use std::path::{Path, PathBuf};

use super::{LoadError, LoadSource};

/// The share of time in which something could have run and had to wait: Linux' pressure stall
/// information, averaged over 10 s by the kernel.
///
/// It tells of overload where [`CpuLoad`](super::CpuLoad) only tells of use: processors that are
/// all busy with nobody waiting have none.
///
/// # Cost
/// A read of the file, a few microseconds.
#[derive(Debug)]
pub struct PressureLoad {
    path: PathBuf,
}

impl PressureLoad {
    /// That of the machine's processors: `/proc/pressure/cpu`.
    ///
    /// # Errors
    /// [`LoadError`] where there is no such file, or the kernel has it switched off.
    pub fn cpu() -> Result<Self, LoadError> {
        Self::at("/proc/pressure/cpu")
    }

    /// That of its input and output: `/proc/pressure/io`.
    ///
    /// # Errors
    /// Those of [`cpu`](Self::cpu).
    pub fn io() -> Result<Self, LoadError> {
        Self::at("/proc/pressure/io")
    }

    /// That of its memory: `/proc/pressure/memory`.
    ///
    /// # Errors
    /// Those of [`cpu`](Self::cpu).
    pub fn memory() -> Result<Self, LoadError> {
        Self::at("/proc/pressure/memory")
    }

    /// The same from a file elsewhere, such as the `cpu.pressure` of a control group.
    ///
    /// # Errors
    /// Those of [`cpu`](Self::cpu).
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let source = Self { path: path.into() };
        read(&source.path)?;
        Ok(source)
    }
}

impl LoadSource for PressureLoad {
    /// 0 if the file has gone meanwhile.
    fn load(&self) -> f64 {
        read(&self.path).unwrap_or_default()
    }
}

fn read(path: &Path) -> Result<f64, LoadError> {
    let text = fs::read_to_string(path).map_err(|error| LoadError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    parse(&text).ok_or_else(|| LoadError::Unexpected {
        path: path.to_owned(),
        expected: "that begins with `some avg10=` and a number",
    })
}

/// From the line of what some tasks had to wait for: a percentage.
pub(super) fn parse(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = line
        .split_ascii_whitespace()
        .next()?
        .strip_prefix("avg10=")?;
    let percent = average.parse::<f64>().ok()?;
    percent.is_finite().then(|| percent / 100.0)
}
