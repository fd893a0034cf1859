//! A server in a process of its own: built, started, asked for its CPU time, stopped.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A running server; killed on drop.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    pub(crate) addr: String,
    log: PathBuf,
    /// Of each thread that was ever seen, the nanoseconds it has run.
    threads: HashMap<String, u64>,
}

/// The example `gateway`, built as benches are, unless it is already.
pub(crate) fn gateway(is_built: bool) -> Result<PathBuf, String> {
    if !is_built {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--profile", "bench"])
            .args(["--package", "flow-examples", "--example", "gateway"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .status()
            .map_err(|error| format!("cannot run cargo to build the example `gateway`: {error}"))?;
        if !built.success() {
            return Err(format!(
                "the example `gateway` does not build: cargo ended with {built}"
            ));
        }
    }
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    // Cargo keeps benches in `deps`, and examples beside that.
    let profile = this.ancestors().nth(2).unwrap_or(&this);
    Ok(profile.join("examples/gateway"))
}

impl Server {
    /// Starts a server that says on its first line where it listens, and logs to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .env("FLOW_GATEWAY_KEY", crate::SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let out = child.stdout.take().expect("it is piped");
        let mut server = Self {
            child,
            out: BufReader::new(out),
            addr: String::new(),
            log: log.to_owned(),
            threads: HashMap::new(),
        };
        let mut line = String::new();
        // A line that cannot be read is a server that cannot be used, like one that says nothing.
        let _ = server.out.read_line(&mut line);
        let addr = line
            .split_once("http://")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        let Some(addr) = addr else {
            // Its standard error ends with it.
            let _ = server.child.kill();
            let why = server.stderr();
            return Err(format!("{program} does not serve: {line}{why}"));
        };
        server.addr = addr.to_owned();
        Ok(server)
    }

    /// The CPU time of all its threads so far, once they have come to rest.
    ///
    /// The kernel counts nanoseconds per thread, and brings them up to date when a thread stops
    /// running; what a thread had used when it was last seen stays counted after its end. Pools
    /// end only threads that had nothing to do for longer than a round takes.
    pub(crate) fn cpu_time(&mut self) -> Duration {
        let mut before = None;
        loop {
            self.look_at_threads();
            let used = self.threads.values().sum();
            if before.replace(used) == Some(used) {
                return Duration::from_nanos(used);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops it as an operator does, and reads the lines of its log, which is removed.
    pub(crate) fn stop(mut self) -> Result<Vec<String>, String> {
        let pid = self.child.id().to_string();
        let signalled = Command::new("kill").args(["-TERM", &pid]).status();
        if !signalled.is_ok_and(|status| status.success()) {
            return Err(format!("cannot signal the server, process {pid}"));
        }
        // It prints less than a pipe holds.
        let stderr = self.stderr();
        let status = self.child.wait();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("the server failed at its end: {stderr}"));
        }
        let log = fs::read_to_string(&self.log);
        let log = log.map_err(|error| format!("no access log {}: {error}", self.log.display()))?;
        Ok(log.lines().map(str::to_owned).collect())
    }

    fn look_at_threads(&mut self) {
        let folder = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(&folder).expect("this bench needs Linux, and a live server");
        for thread in threads.flatten() {
            let id = thread.file_name().to_string_lossy().into_owned();
            // A thread that has just ended stays as it was last seen.
            let Ok(figures) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            let running = figures.split_whitespace().next();
            let running = running.and_then(|nanos| nanos.parse().ok());
            self.threads
                .insert(id, running.expect("a thread's time in nanoseconds"));
        }
    }

    /// The rest of its standard error, to the end.
    fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(stream) = &mut self.child.stderr {
            // What could be read is enough for a message.
            let _ = stream.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and the log may never have been made.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}
