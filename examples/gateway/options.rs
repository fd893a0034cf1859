//! The command line and the configuration file: the same names, the same checks. The key, which is
//! not for others to read, comes from the environment.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::jobs::Jobs;
use crate::net::Net;
use crate::signature::Key;

pub(crate) const HELP: &str = "\
An HTTP/1.1 gateway made of flow's parts: token bucket per client, concurrency limit, worker
pool for signatures, scheduler, channel and writer for the access log, /metrics and /healthz.

Without options it starts an upstream and the gateway on free loopback ports, drives them for
ten seconds with polite and abusive clients, and checks that every count agrees.

Usage: gateway [OPTIONS]

Options:
  --runtime NAME     tokio, smol or async-std                          [default: tokio]
  --serve ADDR       listen on ADDR, e.g. 127.0.0.1:8080, and stay up until SIGINT or SIGTERM
  --upstream URL     forward to URL, e.g. http://127.0.0.1:9000; with --serve
                                                                       [default: own upstream]
  --duration TIME    how long to drive the load, at least 200ms; not with --serve
                                                                       [default: 10s]
  --clients N        clients of the load, 2 to 1000, every second one abusive; not with --serve
                                                                       [default: 8]
  --rate N           requests per second that each client may make, 1 to 1000000 [default: 100]
  --burst N          requests a client may make at once, 1 to 1000000  [default: 50]
  --redis URL        keep the limits in Redis, e.g. redis://127.0.0.1:6379, shared by gateways
  --adaptive         let the concurrency limit follow the upstream's latency and failures, from 16
                     to 1024, instead of 256 at once; `adaptive = true` in a file
  --access-log FILE  where to write the access log     [default: a new file in the temporary folder;
                     with --serve it stays there]
  --timeout TIME     how long a connection may stand still, up to a quarter more: a client that
                     does not ask or take its answer is cut off, an upstream that does not
                     answer gives 504; with --serve                    [default: 30s]
  --drain TIME       how long a stop may take before what is left is cut off; with --serve
                                                                       [default: 10s]
  --config FILE      read options from a TOML file with these names; the command line wins. Its
                     table [jobs] has cron patterns: forget-closed, when connections that were
                     closed are forgotten, and report, when to print what was admitted and
                     limited so far
  -h, --help         print this text

A TIME is a whole number of s or ms, such as 10s or 500ms, from 1ms to 3600s.

Exit codes: 0 all counts agree, or a stop; 1 a mismatch or a failure; 2 a wrong option; 130 or 143
a second SIGINT or SIGTERM, which ends a stop at once. What comes within a second of the first is
taken for the same one: `timeout` sends two.

Clients name themselves in the header x-client, with 1 to 128 visible ASCII characters but \" and
\\ (else their address counts), and sign \"METHOD PATH CLIENT\" with HMAC-SHA256 in x-signature;
the key is what the environment has as FLOW_GATEWAY_KEY, and \"demonstration\" if it has none.
Requests without a right signature are limited by address.";

/// Where the environment has the key.
pub(crate) const KEY: &str = "FLOW_GATEWAY_KEY";

/// Everything the gateway can be told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) net: Net,
    pub(crate) serve: Option<SocketAddr>,
    pub(crate) upstream: Option<Upstream>,
    pub(crate) duration: Duration,
    pub(crate) clients: usize,
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    pub(crate) redis: Option<String>,
    pub(crate) adaptive: bool,
    pub(crate) access_log: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) drain: Duration,
    /// Of the environment only.
    pub(crate) key: Option<Key>,
    /// Of a file only.
    pub(crate) jobs: Jobs,
}

/// Where requests are forwarded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// host:port, as the connection and the `host` header take it.
    pub(crate) authority: String,
    /// Put before every path, without a trailing slash.
    pub(crate) prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            net: Net::Tokio,
            serve: None,
            upstream: None,
            duration: Duration::from_secs(10),
            clients: 8,
            rate: 100,
            burst: 50,
            redis: None,
            adaptive: false,
            access_log: None,
            timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            key: None,
            jobs: Jobs::default(),
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Box<Options>),
}

/// A sentence for the person who typed it.
#[derive(Debug)]
pub(crate) struct WrongOption(pub(crate) String);

impl std::error::Error for WrongOption {}

impl fmt::Display for WrongOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the command line, the file it names, and the key.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, WrongOption> {
    use lexopt::Arg::{Long, Short, Value};

    let mut settings = Vec::new();
    let mut config = None;
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(wrong)? {
        match arg {
            Long("help") | Short('h') => return Ok(Command::Help),
            Long("config") => config = Some(text(&mut parser, "config")?),
            Long("adaptive") => settings.push(("adaptive".to_owned(), "true".to_owned())),
            Long(name) if NAMES.contains(&name) => {
                let name = name.to_owned();
                let value = text(&mut parser, &name)?;
                settings.push((name, value));
            }
            Value(value) => {
                return Err(WrongOption(format!(
                    "{} is not an option; see --help",
                    value.display()
                )));
            }
            unknown => return Err(wrong(unknown.unexpected())),
        }
    }
    let mut options = Options {
        key: key()?,
        ..Options::default()
    };
    let mut given = Vec::new();
    if let Some(file) = config {
        let in_file = |WrongOption(why)| WrongOption(format!("{file}: {why}"));
        let (plain, jobs) = read_file(Path::new(&file))?;
        for (name, value) in plain {
            options.set(&name, &value).map_err(in_file)?;
            given.push(name);
        }
        options.jobs = Jobs::read(jobs).map_err(in_file)?;
    }
    for (name, value) in settings {
        options.set(&name, &value)?;
        given.push(name);
    }
    for name in given {
        let (only, why) = match (options.serve, name.as_str()) {
            (None, "upstream") => (
                "needs --serve ADDR",
                "the self-test counts what its own upstream receives",
            ),
            (None, "timeout" | "drain") => ("needs --serve ADDR", "the self-test has its own"),
            (Some(_), "duration" | "clients") => (
                "does not go with --serve",
                "it is about the self-test's load",
            ),
            _ => continue,
        };
        return Err(WrongOption(format!("--{name} {only}: {why}")));
    }
    Ok(Command::Run(Box::new(options)))
}

const NAMES: [&str; 12] = [
    "runtime",
    "serve",
    "upstream",
    "duration",
    "clients",
    "rate",
    "burst",
    "redis",
    "adaptive",
    "access-log",
    "timeout",
    "drain",
];

impl Options {
    fn set(&mut self, name: &str, value: &str) -> Result<(), WrongOption> {
        match name {
            "runtime" => {
                self.net = Net::by_name(value).ok_or_else(|| {
                    WrongOption(format!(
                        "--runtime is {value:?}; it takes tokio, smol or async-std"
                    ))
                })?;
            }
            "serve" => {
                self.serve = Some(value.parse().map_err(|_| {
                    WrongOption(format!(
                        "--serve is {value:?}; it takes an address such as 127.0.0.1:8080"
                    ))
                })?);
            }
            "upstream" => self.upstream = Some(upstream(value)?),
            "duration" => self.duration = duration(name, value, 200)?,
            "timeout" => self.timeout = duration(name, value, 1)?,
            "drain" => self.drain = duration(name, value, 1)?,
            "clients" => self.clients = number(name, value, 2, 1_000)? as usize,
            "rate" => self.rate = number(name, value, 1, 1_000_000)?,
            "burst" => self.burst = number(name, value, 1, 1_000_000)?,
            "redis" => {
                if !value.starts_with("redis://") && !value.starts_with("valkey://") {
                    return Err(WrongOption(format!(
                        "--redis is {value:?}; it takes a URL such as redis://127.0.0.1:6379, or \
                         valkey:// with the same: no TLS, cluster or sentinel"
                    )));
                }
                self.redis = Some(value.to_owned());
            }
            "adaptive" => {
                self.adaptive = value.parse().map_err(|_| {
                    WrongOption(format!("adaptive is {value:?}; it takes true or false"))
                })?;
            }
            "access-log" => self.access_log = Some(PathBuf::from(value)),
            unknown => {
                return Err(WrongOption(format!(
                    "there is no option {unknown:?}; the names are {}",
                    NAMES.join(", ")
                )));
            }
        }
        Ok(())
    }
}

/// The options of a file as texts, and its jobs.
fn read_file(path: &Path) -> Result<(Vec<(String, String)>, toml::Table), WrongOption> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| WrongOption(format!("--config {}: {error}", path.display())))?;
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start);
        let lines = text.bytes().take(before).filter(|byte| *byte == b'\n');
        WrongOption(format!(
            "--config {}: line {}: {}",
            path.display(),
            lines.count() + 1,
            error.message()
        ))
    })?;
    let plain = |(name, value): (String, toml::Value)| match value {
        toml::Value::String(text) => Ok((name, text)),
        toml::Value::Integer(number) => Ok((name, number.to_string())),
        toml::Value::Boolean(is_on) if name == "adaptive" => Ok((name, is_on.to_string())),
        other => Err(WrongOption(format!(
            "--config {}: {name} is of type {}; options take a text or a whole number",
            path.display(),
            other.type_str()
        ))),
    };
    let jobs = match table.remove("jobs") {
        Some(toml::Value::Table(jobs)) => jobs,
        None => toml::Table::new(),
        Some(other) => {
            return Err(WrongOption(format!(
                "--config {}: jobs is of type {}; it takes a table of cron patterns",
                path.display(),
                other.type_str()
            )));
        }
    };
    let options = table.into_iter().map(plain).collect::<Result<_, _>>()?;
    Ok((options, jobs))
}

/// The key as bytes, which need not be a text.
fn key() -> Result<Option<Key>, WrongOption> {
    match std::env::var_os(KEY) {
        Some(secret) if secret.is_empty() => Err(WrongOption(format!(
            "{KEY} is empty; it takes the key that clients sign with"
        ))),
        secret => Ok(secret.map(|secret| Key::new(secret.as_encoded_bytes()))),
    }
}

fn number(name: &str, value: &str, least: u64, most: u64) -> Result<u64, WrongOption> {
    match value.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(WrongOption(format!(
            "--{name} is {value:?}; it takes a whole number from {least} to {most}"
        ))),
    }
}

fn duration(name: &str, value: &str, least: u64) -> Result<Duration, WrongOption> {
    let parsed = value
        .strip_suffix("ms")
        .map(|millis| (millis, 1))
        .or_else(|| value.strip_suffix('s').map(|seconds| (seconds, 1_000)))
        .and_then(|(number, scale)| number.parse::<u64>().ok()?.checked_mul(scale));
    match parsed {
        Some(millis) if (least..=3_600_000).contains(&millis) => Ok(Duration::from_millis(millis)),
        _ => Err(WrongOption(format!(
            "--{name} is {value:?}; it takes a time from {least}ms to 3600s, such as 10s"
        ))),
    }
}

fn upstream(value: &str) -> Result<Upstream, WrongOption> {
    let wrong = || {
        WrongOption(format!(
            "--upstream is {value:?}; it takes a URL such as http://127.0.0.1:9000 or \
             http://host/path, without user, query and fragment"
        ))
    };
    let uri: hyper::Uri = value.parse().map_err(|_| wrong())?;
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or_else(wrong)?;
    let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    // What is left out here would be left out in silence: a user, a port that is none.
    let written = uri.authority().map(hyper::http::uri::Authority::as_str);
    let is_whole = written == Some(host) || written == Some(&authority);
    if uri.scheme_str() != Some("http") || !is_whole || value.contains(['?', '#']) {
        return Err(wrong());
    }
    Ok(Upstream {
        authority,
        prefix: uri.path().trim_end_matches('/').to_owned(),
    })
}

fn text(parser: &mut lexopt::Parser, name: &str) -> Result<String, WrongOption> {
    let value = parser
        .value()
        .map_err(|_| WrongOption(format!("--{name} needs a value; see --help")))?;
    value
        .into_string()
        .map_err(|raw| WrongOption(format!("--{name} is not UTF-8: {}", raw.display())))
}

#[allow(clippy::needless_pass_by_value)] // used as the function of a map_err
fn wrong(error: lexopt::Error) -> WrongOption {
    WrongOption(format!("{error}; see --help"))
}
