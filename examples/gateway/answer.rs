//! One request: check who asks, limit, bound, forward, log.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use flow_sched::TaskHandle;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

use crate::access_log::{Asked, Entry};
use crate::counters::Outcome;
use crate::limits::Decision;
use crate::progress::{Answer, Overdue, Progress};
use crate::server::Gateway;

static X_CLIENT: HeaderName = HeaderName::from_static("x-client");
static X_SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// One connection of a client, as its requests see it.
pub(crate) struct Peer {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) addr: SocketAddr,
    pub(crate) progress: Arc<Progress>,
}

impl Peer {
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Infallible> {
        let gateway = &*self.gateway;
        match request.uri().path() {
            "/metrics" => {
                let mut metrics = text(StatusCode::OK, gateway.metrics());
                let format = HeaderValue::from_static(flow_metrics::CONTENT_TYPE);
                metrics.headers_mut().insert(CONTENT_TYPE, format);
                self.progress.answered();
                return Ok(metrics);
            }
            "/healthz" => {
                self.progress.answered();
                return Ok(text(StatusCode::OK, "ok\n"));
            }
            _ => {}
        }
        self.progress.asked();
        let started = gateway.rt.now();
        let at = gateway.rt.wall();
        let client = match request.headers().get(&X_CLIENT) {
            Some(name) if is_name(name.as_bytes()) => name.clone(),
            _ => address(self.addr),
        };
        let asked = Arc::new(Asked {
            client,
            method: request.method().clone(),
            target: request.uri().path_and_query().cloned(),
            signature: request.headers().get(&X_SIGNATURE).cloned(),
        });
        let (outcome, response) = self.decide(&asked, request).await;
        gateway.counters.count(outcome);
        let entry = Entry {
            at,
            asked: &asked,
            status: response.status().as_u16(),
            took: gateway.rt.now() - started,
        };
        // Waits while the log is behind; refused only after the gateway has stopped.
        let _ = gateway.log.send(entry.line()).await;
        self.progress.answered();
        Ok(response)
    }

    async fn decide(
        &self,
        asked: &Arc<Asked>,
        request: Request<Incoming>,
    ) -> (Outcome, Response<Answer>) {
        let gateway = &*self.gateway;
        match self.signed(asked).await {
            Some(true) => {}
            // A name counts as its own only when it is signed; the address pays for the others.
            Some(false) => {
                return match gateway.limits.stranger(self.addr.ip()) {
                    decision @ Decision::Limited { .. } => self.limited(decision),
                    _ => (
                        Outcome::Unsigned,
                        text(
                            StatusCode::UNAUTHORIZED,
                            "x-signature is missing or wrong\n",
                        ),
                    ),
                };
            }
            None => return overloaded(),
        }
        let decision = gateway.limits.decide(asked.client()).await;
        match decision {
            Decision::Admitted(_) => {}
            Decision::Limited { .. } => return self.limited(decision),
            Decision::Unavailable { .. } => {
                let (outcome, mut response) = overloaded();
                gateway.limits.tell(decision, response.headers_mut());
                return (outcome, response);
            }
        }
        let Ok(place) = gateway.in_flight.acquire().await else {
            return overloaded();
        };
        let forwarded = pin!(gateway.upstream.forward(request, &self.progress));
        match self.progress.upstream(forwarded).await {
            Ok(Ok(response)) => {
                let status = response.status();
                let mut response = response
                    .map(|body| Answer::passed_on(body, self.progress.clone(), place, status));
                gateway.limits.tell(decision, response.headers_mut());
                (Outcome::Admitted, response)
            }
            Ok(Err(error)) => (
                Outcome::BadGateway,
                text(StatusCode::BAD_GATEWAY, format!("upstream: {error}\n")),
            ),
            Err(Overdue) => {
                place.timed_out();
                (
                    Outcome::TimedOut,
                    text(
                        StatusCode::GATEWAY_TIMEOUT,
                        "the upstream did not answer in time\n",
                    ),
                )
            }
        }
    }

    fn limited(&self, decision: Decision) -> (Outcome, Response<Answer>) {
        let mut response = text(StatusCode::TOO_MANY_REQUESTS, "too many requests\n");
        self.gateway.limits.tell(decision, response.headers_mut());
        (Outcome::Limited, response)
    }

    /// Checks the signature on the pool: CPU work does not belong on the connections' tasks. `None`
    /// if the pool has no room for it in the time that a connection may stand still, or is closed.
    ///
    /// Once it has a place it goes when those before it have gone: no more than the queue holds, and
    /// none of them waits for anything. If the connection goes meanwhile, it is not checked.
    async fn signed(&self, asked: &Arc<Asked>) -> Option<bool> {
        if asked.signature.is_none() {
            return Some(false);
        }
        let Gateway {
            key,
            pool,
            patience,
            ..
        } = &*self.gateway;
        // Two words: a task's closure moves some ten times on its way.
        let (key, asked) = (key.clone(), asked.clone());
        let check = async move |_cx| {
            let signature = asked
                .signature
                .as_ref()
                .map_or(&b""[..], HeaderValue::as_bytes);
            let (method, path) = (asked.method.as_str(), asked.path());
            key.verify(method, path, asked.client.as_bytes(), signature)
        };
        let mut check = Check(pool.submit_timeout(check, *patience).await.ok()?);
        (&mut check.0).await.ok()
    }
}

/// A check that nobody needs once this is gone.
struct Check(TaskHandle<bool>);

impl Drop for Check {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a client may call itself: a log's line can hold it, and no other name looks like it.
fn is_name(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    (1..=128).contains(&name.len()) && name.iter().all(is_plain)
}

/// What a client is called that has not said its name.
fn address(of: SocketAddr) -> HeaderValue {
    // An address is visible ASCII.
    HeaderValue::try_from(of.ip().to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn overloaded() -> (Outcome, Response<Answer>) {
    (
        Outcome::Overloaded,
        text(StatusCode::SERVICE_UNAVAILABLE, "overloaded\n"),
    )
}

fn text(status: StatusCode, body: impl Into<hyper::body::Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::text(body));
    *response.status_mut() = status;
    response
}
