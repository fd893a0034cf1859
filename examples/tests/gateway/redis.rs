//! `--redis`, against a real server.

#![allow(
    clippy::disallowed_methods,
    reason = "another process's time is the machine's"
)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::{Serving, run, signed, text};

/// A redis-server on a port of its own that keeps nothing on disk; killed on drop.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let port = free_port();
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect(
                "these tests need the program redis-server in PATH: \
                 install the package redis-server (Debian, Ubuntu) or redis",
            );
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let url = format!("redis://127.0.0.1:{port}");
        let server = Self { child, url };
        let mut line = String::new();
        while !line.contains("Ready to accept connections") {
            line.clear();
            let read = log.read_line(&mut line).unwrap();
            assert!(read > 0, "redis-server ended before it was ready");
        }
        // A full pipe would stop the server.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kernel hands out ports in turn, so this one is not given away again soon.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn every_count_agrees_time_after_time() {
    let server = Server::start();
    // A slow rate and a large burst: what the first run leaves empty stays so for a while.
    for _ in 0..2 {
        let run = run(&[
            "--redis",
            &server.url,
            "--duration",
            "1s",
            "--clients",
            "2",
            "--rate",
            "20",
            "--burst",
            "50",
        ]);
        let (out, err) = (text(&run.stdout), text(&run.stderr));
        assert!(run.status.success(), "{out}{err}");
        assert!(out.contains("every count agrees"), "{out}");
    }
}

#[test]
fn gateways_that_serve_share_their_clients() {
    let server = Server::start();
    let args = ["--redis", &server.url, "--rate", "1", "--burst", "20"];
    let since = Instant::now();
    let mut admitted = 0;
    for runtime in ["tokio", "smol"] {
        let serving = Serving::start(runtime, &args);
        for _ in 0..20 {
            let answer = serving.ask("/", &signed("/", "one"));
            admitted += u64::from(answer.starts_with("HTTP/1.1 200"));
        }
    }
    let supplied = 20 + since.elapsed().as_secs() + 1;
    assert!(
        (20..=supplied).contains(&admitted),
        "{admitted} of {supplied}"
    );
}

#[test]
fn a_server_that_is_away_gets_a_sentence() {
    let url = format!("redis://user:secret@127.0.0.1:{}", free_port());
    let run = run(&["--redis", &url]);
    let err = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{err}");
    assert!(err.contains("no server answers there"), "{err}");
    assert!(!err.contains("secret"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}
