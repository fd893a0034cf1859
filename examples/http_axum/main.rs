//! Limits per client in front of an axum service: as large as the client's plan, and per address for
//! those without one.
//!
//! Run with `cargo run --example http_axum`. Expect the fields of answers to three clients. With an
//! address, `-- 127.0.0.1:8080`, it serves until it is stopped: try `curl -i` with
//! `-H 'x-api-key: paid-1'`.
#![allow(clippy::print_stdout)] // a program for people

mod app;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use flow_ratelimit::fields::TrustedProxies;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(std::env::args().nth(1)))
}

async fn run(addr: Option<String>) -> Result<(), Failure> {
    let limits = app::Limits::new("1/s burst 2", "100/s burst 200", "10/min burst 1")?;
    // Whatever is on this machine is a proxy of ours.
    let proxies = TrustedProxies::new(["127.0.0.0/8", "::1"])?;
    let app = app::app(&limits, proxies)?;
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let is_demo = addr.is_none();
    let addr = addr.unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    println!("listening on http://{addr}");
    if !is_demo {
        axum::serve(listener, service).await?;
        return Ok(());
    }
    // The server ends with this program.
    let server = flow_rt::Handle::current()?.spawn(async move {
        let _ = axum::serve(listener, service).await;
    });
    tokio::task::spawn_blocking(move || demonstrate(addr)).await??;
    server.abort();
    Ok(())
}

/// Three clients, three requests each.
fn demonstrate(addr: SocketAddr) -> Result<(), Failure> {
    for (client, field) in [
        ("with the free plan", "x-api-key: free-1"),
        ("with the paid plan", "x-api-key: paid-1"),
        ("without a plan", "x-forwarded-for: 203.0.113.9"),
    ] {
        println!("\na client {client}:");
        for _ in 0..3 {
            let answer = ask(addr, field)?;
            let told = answer.lines().filter(|line| {
                ["HTTP", "ratelimit:", "retry-after:"]
                    .iter()
                    .any(|it| line.starts_with(it))
            });
            println!("  {}", told.collect::<Vec<_>>().join("  "));
        }
    }
    Ok(())
}

/// One request, over a connection of its own.
fn ask(addr: SocketAddr, field: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nhost: {addr}\r\n{field}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
