//! The peers: built from `benches/sim-peers`, run as processes that time themselves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flow_benches::Bench;

/// What a peer is asked to run; the names are those of `benches/sim-peers`.
#[derive(Clone, Copy)]
pub(crate) enum Workload {
    Poll,
    Timers,
    Year,
    Seeds,
}

/// A peer's program.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: PathBuf,
}

impl Peer {
    /// How long the workload takes, so often.
    pub(crate) fn run(&self, workload: Workload, count: u64) -> Duration {
        let workload = match workload {
            Workload::Poll => "poll",
            Workload::Timers => "timers",
            Workload::Year => "year",
            Workload::Seeds => "seeds",
        };
        let output = Command::new(&self.program)
            .args([workload, &count.to_string()])
            .output()
            .expect("the peer was built and can be started");
        let text = String::from_utf8_lossy(&output.stdout);
        let nanos = text.trim().parse();
        assert!(
            output.status.success() && nanos.is_ok(),
            "{}: {}",
            self.name,
            String::from_utf8_lossy(&output.stderr)
        );
        Duration::from_nanos(nanos.unwrap_or_default())
    }
}

/// Builds the peers. One that does not build is left out, and a note says so.
pub(crate) fn build(bench: &mut Bench) -> Vec<Peer> {
    let wanted = [
        ("tokio paused", "tokio-paused", None),
        ("madsim", "madsim-seeded", Some("madsim")),
    ];
    let mut peers = Vec::new();
    for (name, binary, feature) in wanted {
        match build_one(binary, feature, bench.is_fixed()) {
            Some(program) => peers.push(Peer { name, program }),
            None => bench.note(format!("{name} could not be built here and is left out.")),
        }
    }
    peers
}

/// Each in a target folder of its own: the flags differ, and so would every dependency.
fn build_one(binary: &str, feature: Option<&str>, is_built: bool) -> Option<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("sim-peers");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| package.join("../../target"), PathBuf::from)
        .join("sim-peers")
        .join(binary);
    let program = target.join("release").join(binary);
    if is_built {
        return Some(program);
    }
    eprintln!("building {binary} (the first time takes minutes)");
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(&package)
        .args(["build", "--release", "--quiet", "--locked", "--bin", binary])
        .arg("--target-dir")
        .arg(&target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    if let Some(feature) = feature {
        command
            .args(["--features", feature])
            .env("RUSTFLAGS", format!("--cfg {feature}"));
    }
    command.status().ok()?.success().then_some(program)
}
