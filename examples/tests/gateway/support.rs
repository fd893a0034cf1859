//! The gateway as a process, a client and an upstream that do what they are told byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::signature::Key;

pub(crate) const RUNTIMES: [&str; 3] = ["tokio", "smol", "async-std"];

/// What these tests' gateways and clients sign with.
pub(crate) const KEY: &str = "examples/tests/gateway";

/// The example's binary, beside this test's, with a key.
pub(crate) fn gateway() -> Command {
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
    let mut command = Command::new(binary);
    command.env("FLOW_GATEWAY_KEY", KEY);
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    gateway().args(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a gateway says that was told something wrong: a line, and exit code 2.
pub(crate) fn refusal(command: &mut Command) -> String {
    let run = command.output().unwrap();
    let err = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{command:?}: {err}");
    assert_eq!(err.lines().count(), 1, "{command:?}: {err}");
    err
}

/// A folder of a test's own, which goes with all that is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("flow-gateway-tests-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway that serves until it is told to stop; killed if a test takes minutes.
pub(crate) struct Serving {
    child: Child,
    pub(crate) addr: String,
    out: BufReader<ChildStdout>,
    /// Where its log is, if it was told so here; it goes after the process.
    _folder: Option<Folder>,
    /// Closed when the test is over.
    _watched: mpsc::Sender<()>,
}

impl Serving {
    pub(crate) fn start(runtime: &str, args: &[&str]) -> Self {
        let folder = Folder::new();
        let mut command = gateway();
        command
            .args(["--runtime", runtime, "--serve", "127.0.0.1:0"])
            .args(["--access-log", &folder.file("log")])
            .args(args);
        Self::run_with(&mut command, Some(folder))
    }

    /// One that drives load against itself, for longer than any test lasts.
    pub(crate) fn checking_itself(runtime: &str) -> Self {
        Self::run(gateway().args(["--runtime", runtime, "--duration", "600s"]))
    }

    pub(crate) fn run(command: &mut Command) -> Self {
        Self::run_with(command, None)
    }

    /// Runs until its first line names its address.
    fn run_with(command: &mut Command, folder: Option<Folder>) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id().to_string();
        let (watched, watch) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if watch.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let addr = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_else(|| panic!("no address in {line:?}"))
            .to_owned();
        Self {
            child,
            addr,
            out,
            _folder: folder,
            _watched: watched,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.addr).unwrap()
    }

    /// Asks for `path` on a connection of its own, with these lines among the headers.
    pub(crate) fn ask(&self, path: &str, headers: &str) -> String {
        let mut stream = self.connect();
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.ask(path, "")
    }

    /// Asks for the metrics until they have this line: each try is short, and there is an end.
    pub(crate) fn metrics_come_to(&self, line: &str) {
        let mut metrics = String::new();
        for _ in 0..5_000 {
            metrics = self.get("/metrics");
            if metrics.lines().any(|is| is == line) {
                return;
            }
        }
        panic!("{line} never came: {metrics}");
    }

    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// What it says on its standard error, if that was piped.
    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn thread_names(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .collect()
    }

    /// Sends these signals, one straight after the other.
    pub(crate) fn send(&self, signals: &[&str]) {
        let pid = self.pid();
        let kill = |signal| format!("kill {signal} {pid}");
        let kills: Vec<String> = signals.iter().map(kill).collect();
        let sent = Command::new("sh")
            .args(["-c", &kills.join(" && ")])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Sends a signal, and waits for the end.
    pub(crate) fn signal(self, signal: &str) -> (Option<i32>, String) {
        self.send(&[signal]);
        self.end()
    }

    /// Its exit code, when it has ended, and what it has said until then.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A test that failed leaves none behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Far above what any of these tests takes.
const WATCHDOG: Duration = Duration::from_secs(120);

/// The headers of a client that has signed `GET path`.
pub(crate) fn signed(path: &str, client: &str) -> String {
    signed_with(KEY.as_bytes(), path, client)
}

pub(crate) fn signed_with(key: &[u8], path: &str, client: &str) -> String {
    let signature = Key::new(key).sign("GET", path, client);
    format!("x-client: {client}\r\nx-signature: {signature}\r\n")
}

/// A signed `GET /` that keeps its connection.
pub(crate) fn signed_get() -> String {
    format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", signed("/", "tester"))
}

/// Up to the end of a head.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", text(&head));
        head.push(byte[0]);
    }
    text(&head)
}

/// An upstream: `serve` gets each connection with the head of its first request. What it returns
/// comes out of the channel.
pub(crate) fn upstream<T: Send + 'static>(
    serve: impl Fn(&mut TcpStream, String) -> T + Send + 'static,
) -> (String, mpsc::Receiver<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (done, seen) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let head = read_head(&mut stream);
            let seen = serve(&mut stream, head);
            drop(stream);
            if done.send(seen).is_err() {
                return;
            }
        }
    });
    (url, seen)
}
