//! Where and when something was measured, and with which versions.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use toml::{Table, Value};

/// The circumstances of a run.
pub(crate) struct Machine {
    /// UTC, year-month-day.
    pub(crate) date: String,
    cpu: String,
    cores: usize,
    kernel: String,
    compiler: String,
    commit: String,
    load: String,
    /// Of the peers, from Cargo.lock.
    versions: Vec<String>,
}

impl Machine {
    pub(crate) fn new(packages: &[&str]) -> Self {
        Self {
            date: today(),
            cpu: cpu().unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: first_word("/proc/sys/kernel/osrelease"),
            compiler: output("rustc", &["--version"]),
            commit: output("git", &["rev-parse", "--short", "HEAD"]),
            load: first_word("/proc/loadavg"),
            versions: versions(packages),
        }
    }

    /// All of it on a line.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{}; {}, {} cores; Linux {}; {}; commit {}; load {}",
            self.date, self.cpu, self.cores, self.kernel, self.compiler, self.commit, self.load
        );
        if !self.versions.is_empty() {
            line.push_str("; ");
            line.push_str(&self.versions.join(", "));
        }
        line
    }
}

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("benches lies in the workspace's folder")
}

fn versions(packages: &[&str]) -> Vec<String> {
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).unwrap_or_default();
    let lock: Table = lock.parse().unwrap_or_default();
    let locked = lock.get("package").and_then(Value::as_array);
    let field = |package: &Value, name: &str| {
        package
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    locked
        .into_iter()
        .flatten()
        .filter(|package| packages.contains(&field(package, "name").as_str()))
        .map(|package| format!("{} {}", field(package, "name"), field(package, "version")))
        .collect()
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = info.lines().find(|line| line.starts_with("model name"))?;
    Some(model.split_once(':')?.1.trim().to_owned())
}

fn first_word(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(workspace())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok()
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| format!("{program} unknown"))
}

fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = since.map_or(0, |since| since.as_secs() / 86_400);
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02}")
}

/// Days since 1970 as a date: Howard Hinnant's `civil_from_days`, for days from then on.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_based = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_based + 2) / 5 + 1;
    let month = if march_based < 10 {
        march_based + 3
    } else {
        march_based - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}
