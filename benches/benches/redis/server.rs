//! A redis-server for one run.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// A server on a free port that keeps nothing on disk; killed on drop.
pub(crate) struct Server {
    port: u16,
    child: Child,
}

impl Server {
    /// A server that accepts connections.
    pub(crate) fn start() -> Self {
        // The kernel hands out ports in turn, so this one is not given away again soon.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("there is a free port")
            .port();
        let mut child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect(
                "this bench needs the program redis-server in PATH: \
                 install the package redis-server (Debian, Ubuntu) or redis",
            );
        let mut log = BufReader::new(child.stdout.take().expect("it is piped"));
        let server = Self { port, child };
        let mut line = String::new();
        while !line.contains("Ready to accept connections") {
            line.clear();
            let read = log.read_line(&mut line).expect("its log is text");
            assert!(read > 0, "redis-server ended before it was ready");
        }
        // A full pipe would stop the server.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
