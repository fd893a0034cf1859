//! The example `gateway` beside the same proxy in hyper alone: what a request costs the server.
//!
//! Both servers are processes of their own; clients and upstream are this one. What is measured is
//! the servers' CPU time, user and system, and with `--instructions` the instructions they execute
//! in user mode. Every answer, the upstream's count and both access logs are
//! checked, so that a server that refuses or forgets does not look fast.
#![allow(clippy::print_stdout)] // the plain proxy says where it listens
#![allow(clippy::disallowed_methods)] // the peer is its host's own, and time is real

#[allow(dead_code, reason = "its tests run with the examples")]
#[path = "../../../examples/gateway/alarm.rs"]
mod alarm;
mod host;
mod load;
mod plain;
mod server;
#[path = "../../../examples/gateway/told.rs"]
mod told;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use flow_benches::Bench;

use load::{CONNECTIONS, Load};
use server::Server;

/// The key that clients sign with and servers check.
const SECRET: &str = "benches/gateway";

/// The contenders' names in tables and targets.
const FLOW: &str = "flow";
const PLAIN: &str = "plain hyper";

/// Requests per connection over which instructions are counted.
///
/// As many as make little of what two starts differ by: the gateway's clock is calibrated until the
/// wall says so, which takes up to eight million instructions more in one process than in another.
const COUNTED: u64 = 1_600;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((plain::COMMAND, rest)) = arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return plain::main(rest);
    }
    flow_benches::run(
        "gateway",
        "The example `gateway` beside the same proxy in hyper alone: CPU time of the server process.",
        &["hyper", "tokio", "smol", "async-std"],
        |bench| {
            if let Err(why) = rows(bench) {
                eprintln!("gateway: {why}");
                std::process::exit(1);
            }
        },
    )
}

fn rows(bench: &mut Bench) -> Result<(), String> {
    let gateway = server::gateway(bench.is_fixed())?;
    for runtime in ["tokio", "smol", "async-std"] {
        let row = format!("proxied request, {runtime}");
        if bench.wants(&row) {
            proxied(bench, row, runtime, &gateway)?;
        }
    }
    bench.note(format!(
        "A request is what curl sends, signed, over one of {CONNECTIONS} kept-alive loopback connections, each \
         of a client of its own, the next one as soon as the answer is there; the upstream answers \
         20 bytes. Figures are CPU time of the server process, user and system, of all its \
         threads; clients and upstream are one thread of another process, on the same cores. Each \
         turn of a server is as many requests as any other, and the turns go there and back \
         (A B B A), 24 in a round."
    ));
    bench.note(
        "The same on both sides: hyper's server and client with their defaults, the runtime with \
         its default workers, kept connections to the upstream, the HMAC-SHA256 of each request, \
         the headers taken out and put in, the log's lines, written 64 KiB at a time, and sockets \
         of smol and async-std that are read only after they have woken their task. The plain proxy checks the signature in the request's own task, limits nothing, waits without \
         limit, formats its line under a mutex, counts nothing and does not drain. The gateway's \
         sockets are boxed; it decides a rate and a concurrency limit, which \
         admit everybody here, and checks signatures on its pool.",
    );
    bench.note(
        "Instructions are those in user mode, and counted on tokio only: on the others most of \
         them would be smol-hyper's zeroing of the buffer before each read, an instruction that \
         callgrind counts once per byte.",
    );
    Ok(())
}

/// Measures one runtime.
fn proxied(bench: &mut Bench, row: String, runtime: &str, gateway: &Path) -> Result<(), String> {
    if bench.is_fixed() {
        let whole = |name| move |n| whole_life(name, runtime, gateway, n);
        bench
            .row(row)
            .flow(whole(FLOW))
            .peer(PLAIN, whole(PLAIN))
            .measure();
        return Ok(());
    }
    let mut flow = Contender::start(FLOW, runtime, gateway)?;
    let mut plain = Contender::start(PLAIN, runtime, gateway)?;
    let mut row = bench
        .row(row)
        .unit("ns CPU")
        .batch(CONNECTIONS)
        .until_steady()
        .flow(|n| flow.cpu_time_of(n))
        .peer(PLAIN, |n| plain.cpu_time_of(n));
    if runtime == "tokio" {
        row = row.instructions(COUNTED);
    }
    row.measure();
    let (ours, theirs) = (flow.stop()?, plain.stop()?);
    if form(&ours) != form(&theirs) {
        return Err(format!(
            "the logs differ: {:?} and {:?}",
            ours.first(),
            theirs.first()
        ));
    }
    Ok(())
}

/// A server from start to end, and so many requests on each connection between: what it does in
/// all can be counted.
fn whole_life(name: &str, runtime: &str, gateway: &Path, requests: u64) -> Duration {
    let lived = Contender::start(name, runtime, gateway).and_then(|mut contender| {
        contender.load.run(requests)?;
        contender.stop()
    });
    if let Err(why) = lived {
        panic!("{name}: {why}");
    }
    Duration::ZERO
}

/// A server with its load.
struct Contender {
    name: String,
    load: Load,
    server: Server,
    /// The server's CPU time when it was last asked for.
    used: Duration,
}

impl Contender {
    fn start(name: &str, runtime: &str, gateway: &Path) -> Result<Self, String> {
        let mut load = Load::new().map_err(|error| format!("cannot start the load: {error}"))?;
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let is_plain = name == PLAIN;
        let program = if is_plain { &this } else { gateway };
        let mut command = Command::new(program);
        // No two servers have the upstream's port.
        let (_, port) = load.upstream.rsplit_once(':').unwrap_or_default();
        let log = std::env::temp_dir().join(format!("flow-bench-gateway-{port}.log"));
        if is_plain {
            command.args([plain::COMMAND, runtime, &load.upstream]);
        } else {
            command
                .args(["--runtime", runtime, "--serve", "127.0.0.1:0"])
                .args(["--upstream", &format!("http://{}", load.upstream)])
                // More than anybody asks for: nothing is limited.
                .args(["--rate", "1000000", "--burst", "1000000"])
                .arg("--access-log");
        }
        command.arg(&log);
        let mut server = Server::start(command, &log)?;
        load.connect(&server.addr)
            .map_err(|error| format!("cannot connect to {name} at {}: {error}", server.addr))?;
        Ok(Self {
            name: name.to_owned(),
            load,
            used: server.cpu_time(),
            server,
        })
    }

    /// The server's CPU time for so many requests on each connection.
    ///
    /// What the server has put off from the requests before, a flush of its log say, counts too.
    fn cpu_time_of(&mut self, requests: u64) -> Duration {
        if let Err(why) = self.load.run(requests) {
            // Unwinding stops the servers.
            panic!("{}: {why}", self.name);
        }
        let before = self.used;
        self.used = self.server.cpu_time();
        // The count of a thread never falls.
        self.used.saturating_sub(before)
    }

    /// Stops the server and compares what was counted; the lines of its log.
    fn stop(mut self) -> Result<Vec<String>, String> {
        let (answered, received) = (self.load.answered, self.load.received());
        self.load.close();
        let lines = self.server.stop()?;
        let logged = lines.len() as u64;
        if received != answered || logged != answered {
            return Err(format!(
                "{} answered {answered} requests, the upstream received {received}, \
                 the access log has {logged}",
                self.name
            ));
        }
        Ok(lines)
    }
}

/// The different forms of the lines, sorted, with a zero for each run of digits.
fn form(lines: &[String]) -> Vec<String> {
    let form = |line: &String| {
        let mut form = String::new();
        for part in line.split_inclusive(|c: char| !c.is_ascii_digit()) {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            if rest.len() < part.len() {
                form.push('0');
            }
            form.push_str(rest);
        }
        form
    };
    let mut forms: Vec<String> = lines.iter().map(form).collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}
