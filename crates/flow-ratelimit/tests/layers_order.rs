//! Layers one around the other: whoever is outside has spent its token when the one inside denies.
#![cfg(all(not(loom), feature = "tower"))]

use std::convert::Infallible;

use flow_ratelimit::{KeyedLimiter, RateLimitLayer, TokenBucket};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// A limit for all, and one for each client; nothing comes while a test runs.
fn limits() -> (TokenBucket, KeyedLimiter<u32>) {
    let per_client = KeyedLimiter::new("1/h", 2, 100);
    (TokenBucket::new("1/h", 4).unwrap(), per_client.unwrap())
}

/// How many of so many requests of a client are admitted.
fn admitted<S>(service: &S, client: u32, requests: usize) -> usize
where
    S: Service<u32> + Clone,
{
    let asks = (0..requests).map(|_| flow_rt::block_on(service.clone().oneshot(client)));
    asks.filter(|answer| matches!(answer, Ok(Ok(_)))).count()
}

#[test]
fn outside_the_limit_for_all_is_spent_by_one_client() {
    let (all, per_client) = limits();
    let service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(&all).fail())
        .layer(RateLimitLayer::keyed(&per_client, |client: &u32| Some(*client)).fail())
        .service(service_fn(async |_: u32| Ok::<_, Infallible>(())));
    assert_eq!(admitted(&service, 1, 10), 2);
    assert_eq!(all.available(), 0);
    assert_eq!(admitted(&service, 2, 1), 0);
    assert_eq!(per_client.available(&2), 2);
}

#[test]
fn outside_the_limit_for_each_client_spares_that_for_all() {
    let (all, per_client) = limits();
    let service = ServiceBuilder::new()
        .layer(RateLimitLayer::keyed(&per_client, |client: &u32| Some(*client)).fail())
        .layer(RateLimitLayer::new(&all).fail())
        .service(service_fn(async |_: u32| Ok::<_, Infallible>(())));
    assert_eq!(admitted(&service, 1, 10), 2);
    assert_eq!(all.available(), 2);
    assert_eq!(admitted(&service, 2, 2), 2);
    // Its own token is spent when the limit for all denies.
    assert_eq!(admitted(&service, 3, 1), 0);
    assert_eq!(per_client.available(&3), 1);
}
