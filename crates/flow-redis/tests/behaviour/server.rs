//! A real redis-server, for whoever needs one: these tests, those of the examples, and the bench.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// A redis-server on a port of its own that keeps nothing on disk; killed on drop.
pub(crate) struct Server {
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A server that accepts connections.
    pub(crate) fn start() -> Self {
        Self::first_up(Self::away)
    }

    /// The first of a few that accepts connections: somebody else may take a port before its server
    /// does.
    pub(crate) fn first_up(make: impl FnMut() -> Self) -> Self {
        let mut few = std::iter::repeat_with(make).take(5);
        few.find_map(|mut server| server.try_restart().then_some(server))
            .expect("a redis-server that does not end before it is ready")
    }

    /// The address of a server that is not there yet.
    pub(crate) fn away() -> Self {
        Self::with(Vec::new())
    }

    /// A server that is not there yet, with further options of the command line.
    pub(crate) fn with(options: Vec<String>) -> Self {
        Self {
            port: free_port(),
            options,
            child: None,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts the server, empty, on the same port; returns when it accepts connections.
    pub(crate) fn restart(&mut self) {
        assert!(self.try_restart(), "redis-server ended before it was ready");
    }

    /// As [`restart`](Self::restart); false if the server ended before it was ready.
    fn try_restart(&mut self) -> bool {
        self.kill();
        let mut child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect(
                "this needs the program redis-server in PATH: \
                 install the package redis-server (Debian, Ubuntu) or redis",
            );
        let mut log = BufReader::new(child.stdout.take().expect("it is piped"));
        self.child = Some(child);
        let mut line = String::new();
        while !line.contains("Ready to accept connections") {
            line.clear();
            let read = log.read_line(&mut line).expect("its log is text");
            if read == 0 {
                return false;
            }
        }
        // A full pipe would stop the server.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        true
    }

    /// Kills the server; returns when it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends the server's process a signal: `STOP` makes it hang, `CONT` go on.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it was started").id();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Sends one command on a connection of its own; arrays come back as lines.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let stream = TcpStream::connect(("127.0.0.1", self.port));
        let mut stream = stream.expect("the server accepts connections");
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        stream.write_all(&request).expect("the server reads");
        read_reply(&mut BufReader::new(stream))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The kernel hands out ports in turn, so this one is not given away again soon.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0");
    let address = listener.and_then(|listener| listener.local_addr());
    address.expect("there is a free port").port()
}

fn read_reply(stream: &mut impl BufRead) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("the server answers");
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    let number = || rest.parse::<usize>().expect("a length");
    match kind {
        "$" if rest == "-1" => "nil".to_owned(),
        "$" => {
            let mut text = vec![0; number() + 2];
            stream.read_exact(&mut text).expect("as long as it said");
            text.truncate(text.len() - 2);
            String::from_utf8_lossy(&text).into_owned()
        }
        "*" => {
            let parts = (0..number()).map(|_| read_reply(stream));
            parts.collect::<Vec<_>>().join("\n")
        }
        _ => rest.to_owned(),
    }
}
