//! The layers before real servers, axum's on tokio and hyper's on smol: 200 clients with a connection
//! each, counted one by one.
#![allow(dead_code, reason = "the parts are used as a whole by the examples")]

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use flow_ratelimit::fields::{Policy, TrustedProxies, retry_after, service_limits};
use flow_ratelimit::{
    AdaptiveLayer, AdaptiveLimiter, Aimd, BreakerState, CircuitBreaker, CircuitBreakerLayer,
    ConcurrencyLimiter, KeyedLimiter, RateLimitLayer,
};
use flow_rt::{CancellationToken, Handle};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, Response, StatusCode};
use tower::ServiceBuilder;

#[path = "../gateway/alarm.rs"]
mod alarm;
#[path = "../http_axum/app.rs"]
mod app;
#[path = "../gateway/net.rs"]
mod net;
#[path = "../http_hyper/service.rs"]
mod service;
#[path = "../../crates/flow-ratelimit/tests/support/structured.rs"]
mod structured;
#[path = "../gateway/told.rs"]
mod told;

use net::Net;
use structured::{numbers, parsed};

const CLIENTS: u32 = 200;
/// How long requests may wait.
const PATIENCE: Duration = Duration::from_secs(10);
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A connection that is kept.
struct Client {
    authority: String,
    sender: http1::SendRequest<Empty<Bytes>>,
}

impl Client {
    async fn connect(net: Net, rt: &Handle, addr: SocketAddr) -> Result<Self, Failure> {
        let authority = addr.to_string();
        let (sender, connection) = http1::handshake(net.connect(&authority).await?).await?;
        rt.spawn(async move { drop(connection.await) }).detach();
        Ok(Self { authority, sender })
    }

    /// One request with these fields; what was answered.
    async fn ask(&mut self, fields: &[(&str, &str)]) -> Result<(StatusCode, HeaderMap), Failure> {
        let mut request = Request::get("/").header("host", &self.authority);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        self.sender.ready().await?;
        let response = self
            .sender
            .send_request(request.body(Empty::new())?)
            .await?;
        let (head, body) = response.into_parts();
        body.collect().await?;
        Ok((head.status, head.headers))
    }
}

/// What the fields say of the one limit that a response was under, by a parser that is not ours: the
/// policy's name and what is left, and that both fields are about one policy.
fn left(headers: &HeaderMap) -> (String, u64) {
    let [(limit, numbers)] = &parsed(headers, "ratelimit")[..] else {
        panic!("one limit: {headers:?}");
    };
    let [(policy, allowed)] = &parsed(headers, "ratelimit-policy")[..] else {
        panic!("one policy: {headers:?}");
    };
    assert_eq!(limit, policy);
    let [(q, _), (w, _)] = &allowed[..] else {
        panic!("a quota and its window: {headers:?}");
    };
    let [(r, left), (t, _)] = &numbers[..] else {
        panic!("what is left, and a time: {headers:?}");
    };
    assert_eq!([&**q, &**w, &**r, &**t], ["q", "w", "r", "t"]);
    (limit.clone(), *left)
}

/// The seconds of a `Retry-After`, as any client reads them.
fn seconds(headers: &HeaderMap) -> Result<u64, Failure> {
    let field = headers.get("retry-after").ok_or("no Retry-After")?;
    Ok(field.to_str()?.parse()?)
}

/// Each client asks so often, all of them at the same time, and says who it is by its own field;
/// returns how often each was admitted.
async fn all_ask(
    net: Net,
    rt: &Handle,
    addr: SocketAddr,
    times: u32,
    field: fn(u32) -> (&'static str, String),
) -> Result<Vec<u32>, Failure> {
    let ask = |n: u32| {
        let inner = rt.clone();
        rt.spawn(async move {
            let mut client = Client::connect(net, &inner, addr).await?;
            let (name, value) = field(n);
            let mut admitted = 0;
            for _ in 0..times {
                let (status, headers) = client.ask(&[(name, &value)]).await?;
                let (policy, left) = left(&headers);
                match status {
                    StatusCode::OK => admitted += 1,
                    StatusCode::TOO_MANY_REQUESTS => assert_eq!(left, 0),
                    status => panic!("{status}"),
                }
                // Our own client understands the same.
                let own = &service_limits(&headers)[0];
                assert_eq!((&own.policy, own.available), (&policy, left));
            }
            Ok::<_, Failure>(admitted)
        })
    };
    let asking: Vec<_> = (0..CLIENTS).map(ask).collect();
    let mut admitted = Vec::new();
    for client in asking {
        admitted.push(client.await??);
    }
    Ok(admitted)
}

/// Each client uses its burst up, is told when to come back, comes back then, and is admitted.
async fn all_come_back(
    net: Net,
    rt: &Handle,
    addr: SocketAddr,
    field: fn(u32) -> (&'static str, String),
) -> Result<(), Failure> {
    let come_back = |n: u32| {
        let inner = rt.clone();
        rt.spawn(async move {
            let mut client = Client::connect(net, &inner, addr).await?;
            let (name, value) = field(n);
            let mut denials = 0;
            while denials < 2 {
                let (status, headers) = client.ask(&[(name, &value)]).await?;
                if status == StatusCode::OK {
                    continue;
                }
                denials += 1;
                let wait = seconds(&headers)?;
                let limit = &parsed(&headers, "ratelimit")[0];
                assert_eq!(limit.1, numbers(&[("r", 0), ("t", wait)]));
                let wait = Duration::from_secs(wait);
                assert_eq!(retry_after(&headers, inner.wall()), Some(wait));
                inner.sleep(wait).await?;
                let (status, _) = client.ask(&[(name, &value)]).await?;
                assert_eq!(status, StatusCode::OK, "client {n} waited for {wait:?}");
            }
            Ok::<_, Failure>(())
        })
    };
    for client in (0..CLIENTS).map(come_back).collect::<Vec<_>>() {
        client.await??;
    }
    Ok(())
}

/// However a client forges the field, it stays one.
async fn forgery_changes_nothing(net: Net, rt: &Handle, addr: SocketAddr) -> Result<u32, Failure> {
    let mut client = Client::connect(net, rt, addr).await?;
    let mut admitted = 0;
    for n in 0..50 {
        let forged = address(n);
        let chain = format!("127.0.0.1, {forged}");
        let fields = match n % 3 {
            0 => [("x-forwarded-for", &*forged), ("x-real-ip", &*forged)],
            1 => [("x-forwarded-for", &*chain), ("x-forwarded-for", &*forged)],
            _ => [("x-forwarded-for", "nonsense"), ("forwarded", &*forged)],
        };
        let (status, _) = client.ask(&fields).await?;
        admitted += u32::from(status == StatusCode::OK);
    }
    Ok(admitted)
}

fn address(n: u32) -> String {
    IpAddr::from(Ipv4Addr::from_bits(0xCB00_7100 + n)).to_string()
}

fn by_address(n: u32) -> (&'static str, String) {
    ("x-forwarded-for", format!("198.51.100.1, {}", address(n)))
}

fn by_key(n: u32) -> (&'static str, String) {
    let plan = if n.is_multiple_of(2) { "free" } else { "paid" };
    ("x-api-key", format!("{plan}-{n}"))
}

fn local() -> TrustedProxies {
    TrustedProxies::new(["127.0.0.0/8"]).expect("a network")
}

/// Serves the app on tokio.
async fn axum(
    rt: &Handle,
    limits: &app::Limits,
    proxies: TrustedProxies,
) -> Result<SocketAddr, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let service = app::app(limits, proxies)?.into_make_service_with_connect_info::<SocketAddr>();
    let serving = async move { drop(axum::serve(listener, service).await) };
    rt.spawn(serving).detach();
    Ok(addr)
}

/// Serves hello on smol.
async fn hyper(
    rt: &Handle,
    limiter: &KeyedLimiter<IpAddr>,
    proxies: TrustedProxies,
) -> Result<SocketAddr, Failure> {
    let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let service = service::hello(limiter, proxies)?;
    let inner = rt.clone();
    let serving = async move { drop(service::serve(inner, listener, service).await) };
    rt.spawn(serving).detach();
    Ok(addr)
}

fn on_tokio<F: Future<Output = Result<(), Failure>>>(test: impl FnOnce(Handle) -> F) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let rt = Handle::tokio(runtime.handle().clone()).expect("it runs");
    runtime.block_on(test(rt)).expect("no failure");
}

fn on_smol<F: Future<Output = Result<(), Failure>>>(test: impl FnOnce(Handle) -> F) {
    smol::block_on(test(Handle::smol())).expect("no failure");
}

#[test]
fn axum_counts_each_client_by_its_plan() {
    on_tokio(async |rt| {
        let limits = app::Limits::new("1/h burst 3", "1/h burst 6", "1/h burst 2")?;
        let addr = axum(&rt, &limits, local()).await?;
        let admitted = all_ask(Net::Tokio, &rt, addr, 8, by_key).await?;
        for (n, admitted) in admitted.into_iter().enumerate() {
            assert_eq!(
                admitted,
                if n.is_multiple_of(2) { 3 } else { 6 },
                "client {n}"
            );
        }
        let admitted = all_ask(Net::Tokio, &rt, addr, 4, by_address).await?;
        assert!(
            admitted.iter().all(|admitted| *admitted == 2),
            "{admitted:?}"
        );
        let free = limits.free.stats();
        assert_eq!((free.granted, free.denied, free.evicted), (300, 500, 0));
        let strangers = limits.strangers.stats();
        assert_eq!((strangers.granted, strangers.denied), (400, 400));
        Ok(())
    });
}

#[test]
fn hyper_counts_each_client() {
    on_smol(async |rt| {
        let limiter = KeyedLimiter::new("1/h", 5, 10_000)?;
        let addr = hyper(&rt, &limiter, local()).await?;
        let admitted = all_ask(Net::Smol, &rt, addr, 8, by_address).await?;
        assert!(
            admitted.iter().all(|admitted| *admitted == 5),
            "{admitted:?}"
        );
        let stats = limiter.stats();
        assert_eq!(
            (stats.granted, stats.denied, stats.evicted),
            (1_000, 600, 0)
        );
        Ok(())
    });
}

#[test]
fn who_waits_as_long_as_axum_says_is_admitted() {
    on_tokio(async |rt| {
        let limits = app::Limits::new("1/s burst 2", "1/s burst 1", "1/s burst 1")?;
        let addr = axum(&rt, &limits, local()).await?;
        all_come_back(Net::Tokio, &rt, addr, by_key).await
    });
}

#[test]
fn who_waits_as_long_as_hyper_says_is_admitted() {
    on_smol(async |rt| {
        let limiter = KeyedLimiter::new("1/s", 2, 10_000)?;
        let addr = hyper(&rt, &limiter, local()).await?;
        all_come_back(Net::Smol, &rt, addr, by_address).await
    });
}

#[test]
fn what_untrusted_peers_forge_changes_nothing() {
    on_tokio(async |rt| {
        let limits = app::Limits::new("1/h burst 3", "1/h burst 6", "1/h burst 2")?;
        let addr = axum(&rt, &limits, TrustedProxies::none()).await?;
        assert_eq!(forgery_changes_nothing(Net::Tokio, &rt, addr).await?, 2);
        Ok(())
    });
    on_smol(async |rt| {
        let limiter = KeyedLimiter::new("1/h", 5, 10_000)?;
        let addr = hyper(&rt, &limiter, TrustedProxies::none()).await?;
        assert_eq!(forgery_changes_nothing(Net::Smol, &rt, addr).await?, 5);
        assert_eq!(limiter.len(), 1);
        Ok(())
    });
}

/// Whoever cannot be told from others has the limit of its proxy, and one limit with all others
/// whose connection is unknown: it is never without one.
#[test]
fn whom_nobody_can_tell_is_limited_too() {
    on_tokio(async |rt| {
        let limits = app::Limits::new("1/h burst 3", "1/h burst 6", "1/h burst 2")?;
        let addr = axum(&rt, &limits, local()).await?;
        let mut client = Client::connect(Net::Tokio, &rt, addr).await?;
        let mut admitted = 0;
        for _ in 0..10 {
            let (status, _) = client.ask(&[("x-forwarded-for", "unknown")]).await?;
            admitted += u32::from(status == StatusCode::OK);
        }
        assert_eq!(admitted, 2);

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let service = app::app(&limits, local())?.into_make_service();
        let serving = async move { drop(axum::serve(listener, service).await) };
        rt.spawn(serving).detach();
        let mut client = Client::connect(Net::Tokio, &rt, addr).await?;
        let mut admitted = 0;
        for n in 0..10 {
            let (status, _) = client.ask(&[("x-forwarded-for", &address(n))]).await?;
            admitted += u32::from(status == StatusCode::OK);
        }
        assert_eq!(admitted, 2);
        Ok(())
    });
}

/// Requests wait for their tokens, unless that would be too long.
async fn all_wait(
    net: Net,
    rt: &Handle,
    addr: SocketAddr,
    limiter: &KeyedLimiter<IpAddr>,
) -> Result<(), Failure> {
    let mut client = Client::connect(net, rt, addr).await?;
    let start = rt.now();
    for _ in 0..4 {
        let (status, headers) = client.ask(&[]).await?;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(left(&headers), ("patient".to_owned(), 0));
    }
    let waited = rt.now() - start;
    // Three waits of a tenth of a second; the clocks differ by less than the last millisecond.
    assert!(waited >= Duration::from_millis(299), "{waited:?}");
    limiter.set_rate("1/h")?;
    // On a machine that is held up a token may have come before.
    let extra = limiter.try_acquire(&addr.ip()).is_ok();
    let denied = u64::from(!extra) + 1;
    let (status, headers) = client.ask(&[]).await?;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(seconds(&headers)? > PATIENCE.as_secs());
    let stats = limiter.stats();
    let granted = 4 + u64::from(extra);
    assert_eq!(
        (stats.granted, stats.denied, stats.waiting),
        (granted, denied, 0)
    );
    Ok(())
}

#[test]
fn requests_wait_before_axum() {
    on_tokio(async |rt| {
        let limiter = KeyedLimiter::new("10/s", 1, 10_000)?;
        let peer = |request: &axum::extract::Request| {
            let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
            Some(peer.ip())
        };
        let layer = RateLimitLayer::keyed(&limiter, peer).wait_up_to(PATIENCE);
        let layer = layer.policy(Policy::of("patient", &limiter)?);
        let app = Router::new()
            .route("/", get(async || "hello\n"))
            .layer(layer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let serving = async move { drop(axum::serve(listener, service).await) };
        rt.spawn(serving).detach();
        all_wait(Net::Tokio, &rt, addr, &limiter).await
    });
}

#[test]
fn requests_wait_before_hyper() {
    on_smol(async |rt| {
        let limiter = KeyedLimiter::new("10/s", 1, 10_000)?;
        let peer = |request: &Request<Incoming>| {
            let service::Peer(peer) = request.extensions().get()?;
            Some(peer.ip())
        };
        let layer = RateLimitLayer::keyed(&limiter, peer).wait_up_to(PATIENCE);
        let layer = layer.policy(Policy::of("patient", &limiter)?);
        let hello = async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello\n")))
        };
        let service = ServiceBuilder::new().layer(layer);
        let service = service.service(tower::service_fn(hello));
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let inner = rt.clone();
        let serving = async move { drop(service::serve(inner, listener, service).await) };
        rt.spawn(serving).detach();
        all_wait(Net::Smol, &rt, addr, &limiter).await
    });
}

/// The problem of a denial is JSON that names the policy.
#[test]
fn a_denied_stranger_is_told_what_the_problem_is() {
    on_smol(async |rt| {
        let limiter = KeyedLimiter::new("1/h", 1, 10_000)?;
        let addr = hyper(&rt, &limiter, TrustedProxies::none()).await?;
        let mut client = Client::connect(Net::Smol, &rt, addr).await?;
        client.ask(&[]).await?;
        let (status, headers) = client.ask(&[]).await?;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(headers["content-type"], "application/problem+json");
        let allowed = numbers(&[("q", 1), ("w", 3_600)]);
        let policies = parsed(&headers, "ratelimit-policy");
        assert_eq!(policies, [("client".to_owned(), allowed)]);
        let wait = seconds(&headers)?;
        assert!(wait <= 3_600, "{wait}");
        Ok(())
    });
}

/// At once so many and no more.
const AT_ONCE: u32 = 5;

/// What is behind a breaker and an adaptive limit: it answers when the gate is open, with a failure
/// if it is asked for one, and counts its calls.
#[derive(Clone)]
struct Behind {
    breaker: CircuitBreaker,
    learns: AdaptiveLimiter,
    gate: CancellationToken,
    calls: Arc<AtomicU32>,
}

impl Behind {
    fn new() -> Result<Self, Failure> {
        let breaker = CircuitBreaker::builder().minimum_calls(4).trial_calls(1);
        let learns = ConcurrencyLimiter::adaptive(Aimd::default()).range(1..=AT_ONCE);
        Ok(Self {
            breaker: breaker.open_for(Duration::from_secs(1)).build()?,
            learns: learns.initial(AT_ONCE).build()?,
            gate: CancellationToken::new(),
            calls: Arc::default(),
        })
    }

    async fn answer<B>(self, request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
        self.calls.fetch_add(1, Relaxed);
        self.gate.cancelled().await;
        let mut response = Response::new(Full::from("hello\n"));
        if request.headers().contains_key("x-fail") {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Ok(response)
    }

    fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    async fn axum(&self, rt: &Handle) -> Result<SocketAddr, Failure> {
        let behind = self.clone();
        let answer = tower::service_fn(move |request: axum::extract::Request| {
            behind.clone().answer(request)
        });
        let app = Router::new()
            .route_service("/", answer)
            .layer(CircuitBreakerLayer::new(&self.breaker).by_status())
            .layer(AdaptiveLayer::new(&self.learns).by_status().reject());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let serving = async move { drop(axum::serve(listener, app).await) };
        rt.spawn(serving).detach();
        Ok(addr)
    }

    async fn hyper(&self, rt: &Handle) -> Result<SocketAddr, Failure> {
        let behind = self.clone();
        let service = ServiceBuilder::new()
            .layer(AdaptiveLayer::new(&self.learns).by_status().reject())
            .layer(CircuitBreakerLayer::new(&self.breaker).by_status())
            .service(tower::service_fn(move |request: Request<Incoming>| {
                behind.clone().answer(request)
            }));
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let inner = rt.clone();
        let serving = async move { drop(service::serve(inner, listener, service).await) };
        rt.spawn(serving).detach();
        Ok(addr)
    }
}

/// All clients ask while the gate is shut: as many as may are let through, and the others are told at
/// once.
async fn so_many_at_once(
    net: Net,
    rt: &Handle,
    addr: SocketAddr,
    behind: &Behind,
) -> Result<(), Failure> {
    let denied = Arc::new(AtomicU32::new(0));
    let ask = |_| {
        let (inner, gate, denied) = (rt.clone(), behind.gate.clone(), denied.clone());
        rt.spawn(async move {
            let mut client = Client::connect(net, &inner, addr).await?;
            let (status, headers) = client.ask(&[]).await?;
            if status == StatusCode::SERVICE_UNAVAILABLE {
                assert!(!headers.contains_key("retry-after"), "nobody knows");
                // The last of those that are denied opens the gate for the others.
                if denied.fetch_add(1, Relaxed) + 1 == CLIENTS - AT_ONCE {
                    gate.cancel();
                }
            }
            Ok::<_, Failure>(status)
        })
    };
    let mut admitted = 0;
    for client in (0..CLIENTS).map(ask).collect::<Vec<_>>() {
        admitted += u32::from(client.await?? == StatusCode::OK);
    }
    assert_eq!((admitted, behind.calls()), (AT_ONCE, AT_ONCE));
    let permits = behind.learns.stats().permits;
    assert_eq!((permits.granted, permits.denied), (5, 195));
    assert_eq!(permits.in_flight, 0);
    Ok(())
}

/// What fails is asked no more; who comes when the breaker says is the trial that closes it.
async fn what_fails_is_left_alone(
    net: Net,
    rt: &Handle,
    addr: SocketAddr,
    behind: &Behind,
) -> Result<(), Failure> {
    behind.breaker.reset();
    let mut client = Client::connect(net, rt, addr).await?;
    let before = behind.calls();
    for _ in 0..4 {
        let (status, _) = client.ask(&[("x-fail", "1")]).await?;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(behind.breaker.state(), BreakerState::Open);
    let (status, headers) = client.ask(&[]).await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(behind.calls(), before + 4, "it was left alone");
    rt.sleep(Duration::from_secs(seconds(&headers)?)).await?;
    let (status, _) = client.ask(&[]).await?;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(behind.breaker.state(), BreakerState::Closed);
    assert_eq!(behind.calls(), before + 5);
    Ok(())
}

#[test]
fn breakers_and_adaptive_limits_before_axum() {
    on_tokio(async |rt| {
        let behind = Behind::new()?;
        let addr = behind.axum(&rt).await?;
        so_many_at_once(Net::Tokio, &rt, addr, &behind).await?;
        what_fails_is_left_alone(Net::Tokio, &rt, addr, &behind).await
    });
}

#[test]
fn breakers_and_adaptive_limits_before_hyper() {
    on_smol(async |rt| {
        let behind = Behind::new()?;
        let addr = behind.hyper(&rt).await?;
        so_many_at_once(Net::Smol, &rt, addr, &behind).await?;
        what_fails_is_left_alone(Net::Smol, &rt, addr, &behind).await
    });
}
