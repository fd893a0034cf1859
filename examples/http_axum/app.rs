//! The service: who a client is, which plan it has, and how much that allows.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderValue;
use axum::routing::get;
use flow_ratelimit::fields::{Policy, TrustedProxies};
use flow_ratelimit::{ConfigError, KeyedLimiter, RateLimitLayer, WithoutKey};

/// What a client has paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Free,
    Paid,
}

/// One limit for each client, as large as its plan says, and one for each address of those who have
/// no plan.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) free: KeyedLimiter<HeaderValue>,
    pub(crate) paid: KeyedLimiter<HeaderValue>,
    pub(crate) strangers: KeyedLimiter<IpAddr>,
}

impl Limits {
    pub(crate) fn new(free: &str, paid: &str, strangers: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            free: KeyedLimiter::builder()
                .rate(free)
                .max_keys(100_000)
                .build()?,
            paid: KeyedLimiter::builder()
                .rate(paid)
                .max_keys(10_000)
                .build()?,
            strangers: KeyedLimiter::builder()
                .rate(strangers)
                .max_keys(100_000)
                .build()?,
        })
    }
}

/// The routes, and the limits before them. A layer is about the requests of which its closure has a
/// key, and admits the others.
pub(crate) fn app(
    limits: &Limits,
    proxies: TrustedProxies,
) -> Result<Router, Box<dyn std::error::Error + Send + Sync>> {
    let free = RateLimitLayer::keyed(&limits.free, |request: &Request| {
        member(request, Plan::Free)
    })
    .without_key(WithoutKey::Admit)
    .policy(Policy::of("free", &limits.free)?);
    let paid = RateLimitLayer::keyed(&limits.paid, |request: &Request| {
        member(request, Plan::Paid)
    })
    .without_key(WithoutKey::Admit)
    .policy(Policy::of("paid", &limits.paid)?);
    let address = move |request: &Request| stranger(request, &proxies);
    let strangers = RateLimitLayer::keyed(&limits.strangers, address)
        .without_key(WithoutKey::Admit)
        .policy(Policy::of("address", &limits.strangers)?)
        .problem_json();
    Ok(Router::new()
        .route("/", get(async || "hello\n"))
        .layer(free)
        .layer(paid)
        .layer(strangers))
}

/// The key of a client that has this plan.
fn member(request: &Request, plan: Plan) -> Option<HeaderValue> {
    let (key, its_plan) = known(request)?;
    (its_plan == plan).then(|| key.clone())
}

/// The address of a client that has none. None would admit it, so it has one in any case: that of
/// the proxy, if that does not say whose request it is, and one for all whose connection is
/// unknown.
fn stranger(request: &Request, proxies: &TrustedProxies) -> Option<IpAddr> {
    if known(request).is_some() {
        return None;
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let Some(ConnectInfo(peer)) = peer else {
        return Some(Ipv4Addr::UNSPECIFIED.into());
    };
    let client = proxies.client(peer.ip(), request.headers());
    Some(client.unwrap_or(peer.ip()))
}

/// A key that is one of ours, and its plan. A real service would look into its database: a key that
/// anybody can make up would be a new limit for each.
fn known(request: &Request) -> Option<(&HeaderValue, Plan)> {
    let key = request.headers().get("x-api-key")?;
    match key.to_str().ok()?.split_once('-')? {
        ("free", _) => Some((key, Plan::Free)),
        ("paid", _) => Some((key, Plan::Paid)),
        _ => None,
    }
}
