//! A client that obeys the fields of HTTP: `RateLimit` before it is told off, `Retry-After` after.
//!
//! Run with `cargo run --example http_client`. Expect seven requests in about two seconds to a server
//! that allows a client three at once and five a second, and none denied.
#![allow(clippy::print_stdout)] // a program for people

#[path = "../http_hyper/service.rs"]
mod service;

use std::net::SocketAddr;

use flow_ratelimit::KeyedLimiter;
use flow_ratelimit::fields::{Pace, TrustedProxies, service_limits};
use flow_rt::Handle;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use smol::net::{TcpListener, TcpStream};
use smol_hyper::rt::FuturesIo;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let rt = Handle::smol();
    // The pace waits on it.
    rt.set_default()?;
    smol::block_on(async {
        let per_client = KeyedLimiter::builder()
            .rate("5/s burst 3")
            .max_keys(1_000)
            .build()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let service = service::hello(&per_client, TrustedProxies::none())?;
        let server = rt.spawn(service::serve(rt.clone(), listener, service));
        let denied = visit(&rt, addr, 7).await?;
        server.abort();
        if denied > 0 {
            return Err(format!("{denied} requests were denied").into());
        }
        Ok(())
    })
}

/// Asks so many times, when the server's answers say that it may. Returns how often it was denied.
async fn visit(rt: &Handle, addr: SocketAddr, requests: u32) -> Result<u32, Failure> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) = http1::handshake(FuturesIo::new(stream)).await?;
    rt.spawn(async move { drop(connection.await) }).detach();

    let pace = Pace::new();
    let start = rt.now();
    let mut denied = 0;
    for _ in 0..requests {
        pace.start().await?;
        let request = Request::get("/")
            .header("host", addr.to_string())
            .body(Empty::<Bytes>::new())?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        pace.observe(response.headers());
        denied += u32::from(response.status() == StatusCode::TOO_MANY_REQUESTS);
        for limit in service_limits(response.headers()) {
            println!(
                "{:6.2?} {}: {} left of {:?}",
                rt.now() - start,
                response.status(),
                limit.available,
                limit.policy
            );
        }
        response.into_body().collect().await?;
    }
    Ok(denied)
}
