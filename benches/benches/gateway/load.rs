//! What is around a server: the clients, and the upstream. One thread for both, in this process.

use std::cell::Cell;
use std::fmt::Write;
use std::io;
use std::rc::Rc;

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::plain;

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 20\r\n\r\n\
                      hello from upstream\n";
const BODY: &str = "hello from upstream\n";

/// Kept-alive connections, each of a client of its own name.
pub(crate) const CONNECTIONS: u64 = 16;

/// The clients of one server and the upstream behind it.
pub(crate) struct Load {
    runtime: Runtime,
    tasks: LocalSet,
    /// `host:port` of the upstream.
    pub(crate) upstream: String,
    received: Rc<Cell<u64>>,
    clients: Vec<Client>,
    /// Requests that were answered with 200 and the upstream's body.
    pub(crate) answered: u64,
}

struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Load {
    /// Starts the upstream. It works while the clients do.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let tasks = LocalSet::new();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let upstream = listener.local_addr()?.to_string();
        let received = Rc::new(Cell::new(0));
        tasks.spawn_local(accept(listener, received.clone()));
        Ok(Self {
            runtime,
            tasks,
            upstream,
            received,
            clients: Vec::new(),
            answered: 0,
        })
    }

    /// Connects the clients to the server.
    pub(crate) fn connect(&mut self, server: &str) -> io::Result<()> {
        for number in 0..CONNECTIONS {
            let connecting = Client::connect(server, format!("client-{number}"));
            self.clients.push(self.runtime.block_on(connecting)?);
        }
        Ok(())
    }

    /// So many requests on each connection, one after the other.
    ///
    /// # Errors
    /// A connection broke, or an answer was not what the upstream said.
    pub(crate) fn run(&mut self, requests: u64) -> Result<(), String> {
        let clients = self.clients.iter_mut();
        let all = join_all(clients.map(|client| client.ask(requests)));
        let ended = self.tasks.block_on(&self.runtime, all);
        ended.into_iter().collect::<Result<(), _>>()?;
        self.answered += requests * CONNECTIONS;
        Ok(())
    }

    /// Requests that the upstream was asked.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Ends the clients' connections, and those to the upstream.
    pub(crate) fn close(&mut self) {
        self.clients.clear();
        self.tasks = LocalSet::new();
    }
}

impl Client {
    async fn connect(server: &str, name: String) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let key = Hmac::new_from_slice(crate::SECRET.as_bytes()).expect("of any length");
        let code = plain::mac(&key, "GET", "/", &name).finalize().into_bytes();
        let mut signature = String::new();
        for byte in code {
            // Writing to a string cannot fail.
            let _ = write!(signature, "{byte:02x}");
        }
        let request = format!(
            "GET / HTTP/1.1\r\nhost: {server}\r\nuser-agent: curl/8.14.1\r\naccept: */*\r\n\
             x-client: {name}\r\nx-signature: {signature}\r\n\r\n"
        );
        Ok(Self {
            stream,
            request: request.into_bytes(),
            answer: vec![0; 1_024],
        })
    }

    async fn ask(&mut self, requests: u64) -> Result<(), String> {
        for _ in 0..requests {
            let sent = self.stream.write_all(&self.request).await;
            sent.map_err(|error| format!("cannot ask the server: {error}"))?;
            self.read_answer().await?;
        }
        Ok(())
    }

    async fn read_answer(&mut self) -> Result<(), String> {
        let mut length = 0;
        loop {
            let more = self.stream.read(&mut self.answer[length..]).await;
            let more = more.map_err(|error| format!("no answer from the server: {error}"))?;
            length += more;
            let so_far = &self.answer[..length];
            let good = so_far.starts_with(b"HTTP/1.1 200 ");
            if good && so_far.ends_with(BODY.as_bytes()) {
                return Ok(());
            }
            if more == 0 || (!good && length >= 13) {
                return Err(format!(
                    "not the upstream's answer: {:?}",
                    String::from_utf8_lossy(so_far)
                ));
            }
        }
    }
}

async fn accept(listener: TcpListener, received: Rc<Cell<u64>>) {
    while let Ok((stream, _)) = listener.accept().await {
        // The server kept it open or it did not; then its next request finds another one.
        tokio::task::spawn_local(answer(stream, received.clone()));
    }
}

/// Answers requests without a body until the connection ends.
async fn answer(mut stream: TcpStream, received: Rc<Cell<u64>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = vec![0; 4_096];
    let mut length = 0;
    loop {
        let more = stream.read(&mut request[length..]).await?;
        if more == 0 {
            return Ok(());
        }
        length += more;
        if request[..length].ends_with(b"\r\n\r\n") {
            received.set(received.get() + 1);
            length = 0;
            stream.write_all(ANSWER.as_bytes()).await?;
        }
    }
}
