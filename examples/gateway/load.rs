//! The load of the self-test: clients over real sockets, some polite, some abusive.

use std::time::Duration;

use flow_rt::{CancellationToken, Handle, Instant};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};

use crate::net::Net;
use crate::signature::Key;

/// How one client behaves.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) abusive: bool,
    /// Time between two requests.
    pub(crate) spacing: Duration,
}

/// What one client saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) plan: Plan,
    pub(crate) sent: u64,
    pub(crate) admitted: u64,
    pub(crate) limited: u64,
    /// Answers that are neither, with what they were.
    pub(crate) other: Vec<String>,
    pub p50: Duration,
    pub p99: Duration,
    /// From the first request to the last answer.
    pub(crate) time: Duration,
    /// From the first request to the last.
    pub(crate) asking: Duration,
}

/// Every second client is abusive: it asks for ten times its rate, a polite one for half of it.
pub(crate) fn plans(clients: usize, rate: u64) -> Vec<Plan> {
    let plan = |n: usize| {
        let abusive = n % 2 == 1;
        Plan {
            name: format!("{}-{n}", if abusive { "abusive" } else { "polite" }),
            abusive,
            spacing: Duration::from_nanos(if abusive { 100_000_000 } else { 2_000_000_000 } / rate),
        }
    };
    (0..clients).map(plan).collect()
}

/// Sends requests on one connection until `until`. An abusive client that has been limited goes on
/// until it is once more: what it was late for at the end is not left in its bucket then.
pub(crate) async fn drive(
    net: Net,
    rt: Handle,
    authority: String,
    key: Key,
    plan: Plan,
    until: Instant,
    stop: CancellationToken,
) -> Result<Seen, Box<dyn std::error::Error + Send + Sync>> {
    let connection = net.connect(&authority).await?;
    let (mut sender, driver) = http1::handshake(connection).await?;
    let driver = rt.spawn(driver);
    let signature = key.sign("GET", "/", &plan.name);
    let (mut sent, mut admitted, mut limited) = (0, 0, 0);
    let mut other = Vec::new();
    let mut latencies = Vec::new();
    let start = rt.now();
    let (mut asked, mut answered) = (start, start);
    let mut due = start;
    let mut timer = rt.timer(due);
    let mut left_off_admitted = false;
    while (rt.now() < until || left_off_admitted) && !stop.is_cancelled() {
        asked = rt.now();
        let request = Request::get("/")
            .header("host", &authority)
            .header("x-client", &plan.name)
            .header("x-signature", &signature)
            .body(Empty::<Bytes>::new())?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        sent += 1;
        let status = response.status();
        response.into_body().collect().await?;
        answered = rt.now();
        latencies.push(answered - asked);
        match status {
            StatusCode::OK => admitted += 1,
            StatusCode::TOO_MANY_REQUESTS => limited += 1,
            status => other.push(status.to_string()),
        }
        left_off_admitted = plan.abusive && limited > 0 && status == StatusCode::OK;
        // An abusive client makes up for what slow answers cost it; a polite one never does.
        due = if plan.abusive { due } else { asked } + plan.spacing;
        timer.arm(due);
        std::future::poll_fn(|cx| timer.poll_fired(cx)).await?;
    }
    drop(sender);
    // The driver ends with its connection.
    let _ = driver.await;
    latencies.sort_unstable();
    let quantile = |q: usize| {
        let at = (latencies.len() * q / 100).min(latencies.len().saturating_sub(1));
        latencies.get(at).copied().unwrap_or_default()
    };
    Ok(Seen {
        p50: quantile(50),
        p99: quantile(99),
        plan,
        sent,
        admitted,
        limited,
        other,
        time: answered - start,
        asking: asked - start,
    })
}

/// The body of one GET, over a connection of its own.
pub(crate) async fn get(
    net: Net,
    rt: &Handle,
    authority: &str,
    path: &str,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, driver) = http1::handshake(net.connect(authority).await?).await?;
    rt.spawn(driver).detach();
    let request = Request::get(path)
        .header("host", authority)
        .body(Empty::<Bytes>::new())?;
    let body = sender.send_request(request).await?.into_body();
    Ok(String::from_utf8(body.collect().await?.to_bytes().into())?)
}
