//! The gateway as a person starts it: its own check, its options, its stop on a signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

const RUNTIMES: [&str; 3] = ["tokio", "smol", "async-std"];

/// The example's binary, beside this test's.
fn gateway() -> Command {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    let binary: PathBuf = path.join("examples").join("gateway");
    assert!(
        binary.exists(),
        "{} is missing: build it with `cargo build -p flow-examples --examples`",
        binary.display()
    );
    Command::new(binary)
}

fn run(args: &[&str]) -> Output {
    gateway().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_count_agrees_on_every_runtime() {
    for runtime in RUNTIMES {
        let run = run(&[
            "--runtime",
            runtime,
            "--duration",
            "1500ms",
            "--clients",
            "4",
            "--rate",
            "50",
            "--burst",
            "20",
        ]);
        let (out, err) = (text(&run.stdout), text(&run.stderr));
        assert!(run.status.success(), "{runtime}: {out}{err}");
        assert!(out.contains("every count agrees"), "{runtime}: {out}");
        assert!(
            out.contains("polite-0") && out.contains("abusive-3"),
            "{out}"
        );
    }
}

#[test]
fn wrong_values_get_a_sentence_and_exit_code_2() {
    for (args, sentence) in [
        (
            &["--runtime", "glommio"][..],
            "takes tokio, smol or async-std",
        ),
        (&["--rate", "0"], "a whole number from 1 to 1000000"),
        (&["--rate", "-1"], "a whole number from 1 to 1000000"),
        (&["--burst", "many"], "a whole number from 1 to 1000000"),
        (&["--clients", "1"], "a whole number from 2 to 1000"),
        (&["--duration", "10"], "such as 10s"),
        (&["--serve", "nowhere"], "such as 127.0.0.1:8080"),
        (&["--upstream", "ftp://x"], "such as http://127.0.0.1:9000"),
        (&["--upstream", "http://127.0.0.1:9"], "needs --serve"),
        (&["--redis", "localhost"], "such as redis://127.0.0.1:6379"),
        (&["--config", "/nonexistent.toml"], "/nonexistent.toml"),
        (&["--rate"], "needs a value"),
        (&["--bogus"], "--bogus"),
        (&["surplus"], "surplus"),
    ] {
        let run = run(args);
        let err = text(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{args:?}: {err}");
        assert!(err.contains(sentence), "{args:?}: {err}");
    }
}

#[test]
fn help_names_every_option() {
    let run = run(&["--help"]);
    let out = text(&run.stdout);
    assert!(run.status.success());
    for option in [
        "runtime",
        "serve",
        "upstream",
        "duration",
        "clients",
        "rate",
        "burst",
        "redis",
        "access-log",
        "config",
    ] {
        assert!(
            out.contains(&format!("--{option}")),
            "--{option} is not in --help"
        );
    }
}

#[test]
fn the_configuration_file_has_the_same_names_and_the_command_line_wins() {
    let dir = std::env::temp_dir();
    let file = dir.join(format!("flow-gateway-test-{}.toml", std::process::id()));
    let path = file.to_str().unwrap();
    std::fs::write(
        &file,
        "rate = 30\nclients = 2\nduration = \"300ms\"\nruntime = \"smol\"\n",
    )
    .unwrap();
    let good = run(&["--config", path, "--burst", "5"]);
    std::fs::write(&file, "rates = 30\n").unwrap();
    let bad = run(&["--config", path]);
    std::fs::remove_file(&file).unwrap();
    let out = text(&good.stdout);
    assert!(good.status.success(), "{out}{}", text(&good.stderr));
    assert!(
        out.contains("on smol") && out.contains("30/s and a burst of 5"),
        "{out}"
    );
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("rates"));
}

/// A gateway that serves until it is told to stop.
struct Serving {
    child: Child,
    addr: String,
    out: BufReader<std::process::ChildStdout>,
}

impl Serving {
    fn start(runtime: &str) -> Self {
        let mut child = gateway()
            .args(["--runtime", runtime, "--serve", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let addr = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_else(|| panic!("no address in {line:?}"))
            .to_owned();
        Self { child, addr, out }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn thread_names(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .collect()
    }

    fn signal(mut self, signal: &str) -> (Option<i32>, String) {
        let kill = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

#[test]
fn threads_are_the_named_runtimes_own_and_signals_drain() {
    for runtime in RUNTIMES {
        for signal in ["-INT", "-TERM"] {
            let serving = Serving::start(runtime);
            assert!(serving.get("/healthz").starts_with("HTTP/1.1 200"));
            // Unsigned: limited by address, refused by the signature, logged.
            assert!(serving.get("/").starts_with("HTTP/1.1 401"));
            let metrics = serving.get("/metrics");
            let counted = "flow_gateway_requests_total{outcome=\"unsigned\"} 1";
            assert!(metrics.contains(counted), "{metrics}");
            let names = serving.thread_names();
            let on_tokio = names.iter().any(|name| name.contains("tokio"));
            assert_eq!(on_tokio, runtime == "tokio", "{runtime}: {names:?}");
            let (code, rest) = serving.signal(signal);
            assert_eq!(code, Some(0), "{runtime} {signal}: {rest}");
            assert!(rest.contains("stopped; 1 requests logged"), "{rest}");
        }
    }
}
