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
    /// What it may do: requests per second, and at once.
    pub(crate) rate: u64,
    pub(crate) burst: u64,
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
    /// The tokens that its bucket had for it at least, up to when it was limited last.
    pub(crate) found: f64,
}

/// Every second client is abusive: it asks for ten times its rate, a polite one for half of it.
pub(crate) fn plans(clients: usize, rate: u64, burst: u64) -> Vec<Plan> {
    let plan = |n: usize| {
        let abusive = n % 2 == 1;
        Plan {
            name: format!("{}-{n}", if abusive { "abusive" } else { "polite" }),
            abusive,
            spacing: Duration::from_nanos(if abusive { 100_000_000 } else { 2_000_000_000 } / rate),
            rate,
            burst,
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
    let mut bucket = Bucket::full(plan.rate, plan.burst);
    let mut found = 0.0;
    let mut due = start;
    let mut timer = rt.timer(due);
    let mut left_off_admitted = false;
    while (rt.now() < until || left_off_admitted) && !stop.is_cancelled() {
        let asked_before = std::mem::replace(&mut asked, rt.now());
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
        bucket.decided(status, answered - asked_before);
        match status {
            StatusCode::OK => admitted += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                limited += 1;
                found = bucket.supplied(asked - start);
            }
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
        found,
    })
}

/// A client's bucket, as its answers show it from outside. It runs over while a machine that is
/// busy with other things lets an abusive client ask for less than its rate.
struct Bucket {
    rate: f64,
    burst: f64,
    /// Tokens in it at most.
    tokens: f64,
    /// Tokens at most that it had no room for.
    lost: f64,
}

impl Bucket {
    fn full(rate: u64, burst: u64) -> Self {
        let burst = burst as f64;
        Self {
            rate: rate as f64,
            burst,
            tokens: burst,
            lost: 0.0,
        }
    }

    /// A request was decided, at most this long after the one before.
    fn decided(&mut self, status: StatusCode, pause: Duration) {
        let tokens = self.tokens + self.rate * pause.as_secs_f64();
        self.lost += (tokens - self.burst).max(0.0);
        self.tokens = match status {
            StatusCode::OK => tokens.min(self.burst) - 1.0,
            // There was not a whole one.
            StatusCode::TOO_MANY_REQUESTS => 1.0,
            _ => tokens.min(self.burst),
        };
    }

    /// Tokens that it has given, or still has, after this time at least.
    fn supplied(&self, time: Duration) -> f64 {
        self.burst + self.rate * time.as_secs_f64() - self.lost
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const OK: StatusCode = StatusCode::OK;
    const LIMITED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

    #[test]
    fn a_bucket_gives_less_when_it_has_been_full() {
        // Of 10 tokens at once and 5 per second; pauses in milliseconds.
        for (answers, supplied) in [
            (&[(OK, 1), (LIMITED, 100)][..], 10.5),
            // Full until the first one came.
            (&[(OK, 200), (LIMITED, 100)], 10.5),
            // There was room for one token, and five came.
            (&[(OK, 0), (OK, 1_000), (LIMITED, 0)], 11.0),
            // There was room for nine at least.
            (&[(LIMITED, 0), (OK, 1_800), (LIMITED, 200)], 20.0),
            (&[(LIMITED, 0), (OK, 2_800), (LIMITED, 200)], 20.0),
        ] {
            let mut bucket = Bucket::full(5, 10);
            let mut time = Duration::ZERO;
            for &(status, millis) in answers {
                let pause = Duration::from_millis(millis);
                time += pause;
                bucket.decided(status, pause);
            }
            let error = bucket.supplied(time) - supplied;
            assert!(error.abs() < 1e-9, "{answers:?}: {error}");
        }
    }
}
