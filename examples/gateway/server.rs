//! The gateway itself: accept, limit, check, forward, log.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flow_metrics::Registry;
use flow_ratelimit::ConcurrencyLimiter;
use flow_rt::{CancellationToken, Handle};
use flow_sched::{Scheduler, WorkerPool};
use flow_stream::Sender;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, RETRY_AFTER, TE, UPGRADE};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};

use crate::access_log::{AccessLog, Asked, Entry};
use crate::counters::{Counters, Outcome};
use crate::limits::{Decision, Limits};
use crate::net::{Listener, Net};
use crate::options::{Options, Upstream};
use crate::signature::Key;

/// The upstream's body as it comes, or a text of our own.
type Body = Either<Incoming, Full<Bytes>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A running gateway's parts.
pub(crate) struct Gateway {
    net: Net,
    rt: Handle,
    upstream: Upstream,
    /// The upstream's name, as requests to it carry it.
    host: HeaderValue,
    key: Key,
    pub(crate) limits: Limits,
    in_flight: ConcurrencyLimiter,
    pool: WorkerPool,
    scheduler: Scheduler,
    pub(crate) counters: Arc<Counters>,
    registry: Registry,
    log: Sender<Entry>,
    idle: Mutex<Vec<client::SendRequest<Incoming>>>,
}

/// Requests that may be at the upstream at once; as many again may wait.
const IN_FLIGHT: u32 = 256;

/// Idle connections kept to the upstream.
const IDLE_CONNECTIONS: usize = 64;

static X_CLIENT: HeaderName = HeaderName::from_static("x-client");
static X_SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// Headers that are about one connection, and end with it.
static HOP_BY_HOP: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    UPGRADE,
];

impl Gateway {
    pub(crate) fn build(
        options: &Options,
        rt: &Handle,
        upstream: Upstream,
        log: &AccessLog,
    ) -> Result<Arc<Self>, Failure> {
        let pool = WorkerPool::builder()
            .name("signatures")
            .slots(1..=4)
            .queue(1_024)
            .runtime(rt)
            .build()?;
        let scheduler = Scheduler::builder().runtime(rt).pool(&pool).build()?;
        let registry = Registry::new();
        let counters = Arc::new(Counters::default());
        registry.register(counters.clone())?.forget();
        let gateway = Arc::new(Self {
            net: options.net,
            rt: rt.clone(),
            host: HeaderValue::from_str(&upstream.authority)?,
            upstream,
            key: Key::from_env(),
            limits: Limits::new(options)?,
            in_flight: ConcurrencyLimiter::builder()
                .limit(IN_FLIGHT)
                .max_waiters(IN_FLIGHT as usize)
                .build()?,
            pool,
            scheduler,
            counters,
            registry,
            log: log.entries.clone(),
            idle: Mutex::new(Vec::new()),
        });
        gateway
            .scheduler
            .job_with(
                "forget idle clients",
                Arc::downgrade(&gateway),
                async |_cx, gateway| {
                    if let Some(gateway) = gateway.upgrade() {
                        gateway.limits.forget_idle();
                    }
                },
            )
            .every(Duration::from_secs(60))
            .start()?;
        Ok(gateway)
    }

    /// Serves until `stop`; then every open connection finishes the request it is at.
    pub(crate) async fn serve(self: Arc<Self>, listener: Listener, stop: CancellationToken) {
        let mut connections = Vec::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((connection, peer)) = accepted else {
                // Out of file descriptors, most likely: give the others time to close.
                let _ = self.rt.sleep(Duration::from_millis(10)).await;
                continue;
            };
            connections.retain(|task: &flow_rt::JoinHandle<()>| !task.is_finished());
            let (gateway, stop) = (self.clone(), stop.clone());
            connections.push(self.rt.spawn(async move {
                let service = service_fn(|request| gateway.clone().answer(peer, request));
                let serve = server::Builder::new().serve_connection(connection, service);
                let mut serve = std::pin::pin!(serve);
                // A connection that breaks is the client's affair.
                if stop.run_until_cancelled(serve.as_mut()).await.is_none() {
                    serve.as_mut().graceful_shutdown();
                    let _ = serve.await;
                }
            }));
        }
        drop(listener);
        for connection in connections {
            let _ = connection.await;
        }
    }

    /// Ends the background work; call it when `serve` has returned.
    pub(crate) async fn shutdown(&self, limit: Duration) -> Result<(), Failure> {
        self.scheduler.shutdown(limit).await;
        let report = self.pool.shutdown(limit).await;
        if report.dropped > 0 {
            return Err(format!("the pool dropped tasks: {report}").into());
        }
        Ok(())
    }

    /// The metrics as `/metrics` shows them.
    pub(crate) fn metrics(&self) -> String {
        self.registry.collect().to_prometheus()
    }

    async fn answer(
        self: Arc<Self>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        match request.uri().path() {
            "/metrics" => return Ok(text(StatusCode::OK, self.metrics())),
            "/healthz" => return Ok(text(StatusCode::OK, "ok\n")),
            _ => {}
        }
        let started = self.rt.now();
        let at = self.rt.wall();
        let client = match request.headers().get(&X_CLIENT).map(HeaderValue::to_str) {
            Some(Ok(name)) if !name.is_empty() && name.len() <= 128 => name.to_owned(),
            _ => peer.ip().to_string(),
        };
        let asked = Arc::new(Asked {
            client,
            method: request.method().clone(),
            uri: request.uri().clone(),
        });
        let (outcome, response) = self.decide(&asked, request).await;
        self.counters.count(outcome);
        let entry = Entry {
            at,
            asked,
            status: response.status().as_u16(),
            took: self.rt.now() - started,
        };
        // Waits while the log is behind; refused only after the gateway has stopped.
        let _ = self.log.send(entry).await;
        Ok(response)
    }

    async fn decide(
        &self,
        asked: &Arc<Asked>,
        request: Request<Incoming>,
    ) -> (Outcome, Response<Body>) {
        match self.limits.decide(&asked.client).await {
            Decision::Admitted => {}
            Decision::Limited { retry_after } => {
                let mut response = text(StatusCode::TOO_MANY_REQUESTS, "too many requests\n");
                let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                response
                    .headers_mut()
                    .insert(RETRY_AFTER, HeaderValue::from(seconds));
                return (Outcome::Limited, response);
            }
            Decision::Unavailable => return overloaded(),
        }
        let Ok(permit) = self.in_flight.acquire().await else {
            return overloaded();
        };
        match self.signed(asked, &request).await {
            Ok(true) => {}
            Ok(false) => {
                let response = text(
                    StatusCode::UNAUTHORIZED,
                    "x-signature is missing or wrong\n",
                );
                return (Outcome::Unsigned, response);
            }
            Err(_) => return overloaded(),
        }
        let forwarded = self.forward(request).await;
        drop(permit);
        match forwarded {
            Ok(response) => (Outcome::Admitted, response.map(Either::Left)),
            Err(error) => {
                let response = text(StatusCode::BAD_GATEWAY, format!("upstream: {error}\n"));
                (Outcome::BadGateway, response)
            }
        }
    }

    /// Checks the signature on the pool: CPU work does not belong on the connections' tasks.
    async fn signed(
        &self,
        asked: &Arc<Asked>,
        request: &Request<Incoming>,
    ) -> Result<bool, flow_sched::TaskError> {
        let Some(signature) = request.headers().get(&X_SIGNATURE).cloned() else {
            return Ok(false);
        };
        let (key, asked) = (self.key.clone(), asked.clone());
        self.pool
            .run(async move |_cx| {
                let (method, path) = (asked.method.as_str(), asked.uri.path());
                key.verify(method, path, &asked.client, signature.as_bytes())
            })
            .await
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Failure> {
        *request.uri_mut() = match request.uri().path_and_query() {
            Some(path) if self.upstream.prefix.is_empty() => path.clone().into(),
            path => {
                let path = path.map_or("/", |path| path.as_str());
                Uri::try_from(format!("{}{path}", self.upstream.prefix))?
            }
        };
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
        let mut sender = self.connection().await?;
        let response = sender.send_request(request).await?;
        let mut idle = self.idle();
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(sender);
        }
        Ok(response)
    }

    /// A connection whose last answer has been read, or a new one.
    async fn connection(&self) -> Result<client::SendRequest<Incoming>, Failure> {
        {
            let mut idle = self.idle();
            idle.retain(|sender| !sender.is_closed());
            if let Some(ready) = idle.iter().position(client::SendRequest::is_ready) {
                return Ok(idle.swap_remove(ready));
            }
        }
        let connection = self.net.connect(&self.upstream.authority).await?;
        let (sender, driver) = client::handshake(connection).await?;
        self.rt.spawn(driver).detach();
        Ok(sender)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<client::SendRequest<Incoming>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn overloaded() -> (Outcome, Response<Body>) {
    (
        Outcome::Overloaded,
        text(StatusCode::SERVICE_UNAVAILABLE, "overloaded\n"),
    )
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(body.into())));
    *response.status_mut() = status;
    response
}
