//! The same layers as with axum in front of a bare hyper service, on smol.
//!
//! Run with `cargo run --example http_hyper`. Expect three answers, the last of them 429 with its
//! problem in JSON. With an address, `-- 127.0.0.1:8080`, it serves until it is stopped.
#![allow(clippy::print_stdout)] // a program for people

mod service;

use flow_ratelimit::KeyedLimiter;
use flow_ratelimit::fields::TrustedProxies;
use flow_rt::Handle;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let rt = Handle::smol();
    // Waiting requests find it.
    rt.set_default()?;
    smol::block_on(run(rt, std::env::args().nth(1)))
}

async fn run(rt: Handle, addr: Option<String>) -> Result<(), Failure> {
    let per_client = KeyedLimiter::builder()
        .rate("1/s burst 2")
        .max_keys(100_000)
        .build()?;
    let service = service::hello(&per_client, TrustedProxies::none())?;
    let is_demo = addr.is_none();
    let addr = addr.unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    println!("listening on http://{addr}");
    if !is_demo {
        service::serve(rt, listener, service).await?;
        return Ok(());
    }
    let server = rt.spawn(service::serve(rt.clone(), listener, service));
    for _ in 0..3 {
        let mut stream = TcpStream::connect(addr).await?;
        let request = format!("GET / HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        println!("\n{}", answer.trim_end());
    }
    server.abort();
    Ok(())
}
