//! The service behind the gateway, for the self-test: answers, and counts what it was asked.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flow_rt::{CancellationToken, Handle};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};

use crate::net::Net;

/// A running upstream.
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    received: Arc<AtomicU64>,
}

impl Origin {
    /// Starts one on a free loopback port; it stops with `stop`.
    pub(crate) async fn start(net: Net, rt: &Handle, stop: &CancellationToken) -> io::Result<Self> {
        let listener = net.bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let addr = listener.local_addr()?;
        let received = Arc::new(AtomicU64::new(0));
        let (counter, spawner, stop) = (received.clone(), rt.clone(), stop.clone());
        rt.spawn_named("upstream", async move {
            while let Some(Ok((connection, _))) = stop.run_until_cancelled(listener.accept()).await
            {
                let (counter, stop) = (counter.clone(), stop.clone());
                spawner.spawn_detached(async move {
                    let answer = service_fn(|_: Request<hyper::body::Incoming>| {
                        counter.fetch_add(1, Ordering::Relaxed);
                        let body = Full::new(Bytes::from_static(b"hello from upstream\n"));
                        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
                    });
                    let serve = http1::Builder::new().serve_connection(connection, answer);
                    // A connection that breaks is the other side's to report.
                    let _ = stop.run_until_cancelled(serve).await;
                });
            }
        })
        .detach();
        Ok(Self { addr, received })
    }

    /// Requests received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}
