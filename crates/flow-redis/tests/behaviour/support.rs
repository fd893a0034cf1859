//! A real redis-server for a test, and the runtimes to use it from.
#![allow(
    unreachable_pub,
    reason = "each test file is its own crate and uses a part of this"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flow_redis::RedisBackend;
use flow_rt::Handle;

/// A redis-server on a port of its own that keeps nothing on disk; killed on drop.
pub(crate) struct Server {
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// A server that accepts connections.
    pub(crate) fn start() -> Self {
        let mut server = Self::away();
        server.restart();
        server
    }

    /// The address of a server that is not there yet.
    pub(crate) fn away() -> Self {
        // The kernel hands out ports in turn, so this one is not given away again soon.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, child: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connect(&self) -> RedisBackend {
        connect(self.url())
    }

    /// Starts the server, empty, on the same port; returns when it accepts connections.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--enable-debug-command", "yes"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect(
                "these tests need the program redis-server in PATH: \
                 install the package redis-server (Debian, Ubuntu) or redis",
            );
        let mut log = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let mut line = String::new();
        while !line.contains("Ready to accept connections") {
            line.clear();
            let read = log.read_line(&mut line).unwrap();
            assert!(read > 0, "redis-server ended before it was ready");
        }
        // A full pipe would stop the server.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    }

    /// Kills the server; returns when it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends the server's process a signal: `STOP` makes it hang, `CONT` go on.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Sends one command on a connection of its own; arrays come back as lines.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        stream.write_all(&request).unwrap();
        read_reply(&mut BufReader::new(stream))
    }
}

/// A backend that stands a busy machine: only a server that hangs reaches this timeout, and a
/// command that meets the very moment at which a connection breaks.
pub(crate) fn connect(url: String) -> RedisBackend {
    let builder = RedisBackend::builder(url).timeout(Duration::from_secs(2));
    builder.build().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_reply(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    match kind {
        "$" if rest == "-1" => "nil".to_owned(),
        "$" => {
            let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
            stream.read_exact(&mut text).unwrap();
            text.truncate(text.len() - 2);
            String::from_utf8_lossy(&text).into_owned()
        }
        "*" => {
            let parts = (0..rest.parse().unwrap()).map(|_| read_reply(stream));
            parts.collect::<Vec<_>>().join("\n")
        }
        _ => rest.to_owned(),
    }
}

/// Asks again and again until the answer is yes: each try is short, and there is an end.
pub(crate) async fn eventually(rt: &Handle, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if holds().await {
            return;
        }
        rt.sleep(Duration::from_millis(10)).await.unwrap();
    }
    panic!("never happened: {what}");
}

pub(crate) fn tokio_mt(test: impl AsyncFnOnce(&Handle)) {
    on_tokio(&mut tokio::runtime::Builder::new_multi_thread(), test);
}

pub(crate) fn tokio_ct(test: impl AsyncFnOnce(&Handle)) {
    on_tokio(&mut tokio::runtime::Builder::new_current_thread(), test);
}

fn on_tokio(builder: &mut tokio::runtime::Builder, test: impl AsyncFnOnce(&Handle)) {
    let runtime = builder.worker_threads(2).enable_time().build().unwrap();
    let handle = Handle::tokio(runtime.handle().clone()).unwrap();
    runtime.block_on(test(&handle));
}

pub(crate) fn smol(test: impl AsyncFnOnce(&Handle)) {
    let handle = Handle::smol();
    let _entered = handle.enter();
    ::smol::block_on(test(&handle));
}

pub(crate) fn async_std(test: impl AsyncFnOnce(&Handle)) {
    let handle = Handle::async_std();
    let _entered = handle.enter();
    ::async_std::task::block_on(test(&handle));
}

/// Each case as a test on each runtime.
macro_rules! on_every_runtime {
    ($($case:ident),+ $(,)?) => {
        on_every_runtime!(@ tokio_mt: $($case),+);
        on_every_runtime!(@ tokio_ct: $($case),+);
        on_every_runtime!(@ smol: $($case),+);
        on_every_runtime!(@ async_std: $($case),+);
    };
    (@ $runtime:ident: $($case:ident),+) => {
        mod $runtime {
            $(#[test]
            fn $case() {
                $crate::support::$runtime(async |rt| super::$case(rt).await);
            })+
        }
    };
}
pub(crate) use on_every_runtime;
