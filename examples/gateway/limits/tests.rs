//! What is counted, and what clients are told.

use flow_rt::block_on;

use super::*;

fn limits(rate: u64, burst: u64, serve: bool) -> Limits {
    let options = Options {
        rate,
        burst,
        serve: serve.then(|| ([127, 0, 0, 1], 0).into()),
        ..Options::default()
    };
    block_on(Limits::open(&options)).unwrap().unwrap()
}

fn decide(limits: &Limits, name: &str) -> Decision {
    block_on(limits.decide(name)).unwrap()
}

fn is_admitted(decision: Decision) -> bool {
    matches!(decision, Decision::Admitted(_))
}

#[test]
fn the_self_test_counts_each_client() {
    let limits = limits(1, 3, false);
    for n in 1..=5 {
        assert_eq!(is_admitted(decide(&limits, "a")), n <= 3);
    }
    assert!(is_admitted(decide(&limits, "b")));
    assert_eq!(limits.counts()["a"], (3, 2));
    assert_eq!(limits.counts()["b"], (1, 0));
}

#[test]
fn a_gateway_that_stays_up_keeps_no_names() {
    let limits = limits(1, 1, true);
    assert!(is_admitted(decide(&limits, "a")));
    assert!(!is_admitted(decide(&limits, "a")));
    assert!(limits.counts().is_empty());
}

#[test]
fn a_stranger_pays_for_its_address_alone() {
    let limits = limits(1, 1, false);
    let (one, other) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
    assert!(is_admitted(limits.stranger(one)));
    assert!(matches!(limits.stranger(one), Decision::Limited { .. }));
    assert!(is_admitted(limits.stranger(other)));
    assert!(is_admitted(decide(&limits, "a")));
    assert!(limits.counts().keys().eq(["a"]));
}

#[test]
fn clients_are_told_how_they_stand() {
    let limits = limits(1, 2, true);
    let told = |decision| {
        let mut headers = HeaderMap::new();
        limits.tell(decision, &mut headers);
        headers
    };
    let headers = told(decide(&limits, "a"));
    assert_eq!(headers["ratelimit-policy"], "\"client\";q=2;w=2");
    assert_eq!(headers["ratelimit"], "\"client\";r=1;t=1");
    assert!(!headers.contains_key("retry-after"));
    let headers = told(Decision::Limited {
        retry_after: Duration::from_millis(1_001),
    });
    assert_eq!(headers["ratelimit"], "\"client\";r=0;t=2");
    assert_eq!(headers["retry-after"], "2");
    let unavailable = |retry_after| told(Decision::Unavailable { retry_after });
    assert!(unavailable(None).is_empty());
    assert!(unavailable(Some(Duration::MAX)).is_empty());
    let headers = unavailable(Some(Duration::from_millis(1_001)));
    assert_eq!(
        (headers.len(), &headers["retry-after"]),
        (1, &"2".parse().unwrap())
    );
}

#[test]
fn whom_there_is_no_room_for_is_told_when_there_is() {
    let limiter = KeyedLimiter::<str>::builder().rate("1/h").burst(2);
    let limiter = limiter.max_keys(1).when_full(WhenFull::Deny);
    let limiter = limiter.build().unwrap();
    // A table has eight places at the least.
    for n in 0..8 {
        let client = format!("client {n}");
        assert!(is_admitted(decided(limiter.try_acquire(&*client))));
    }
    let Decision::Unavailable { retry_after } = decided(limiter.try_acquire("another")) else {
        panic!("there is no room");
    };
    // When one of them is full again.
    assert!(retry_after.unwrap() > Duration::from_mins(59));
    let closed = decided(Err(Denied::Closed));
    assert_eq!(closed, Decision::Unavailable { retry_after: None });
}

#[test]
fn a_password_is_not_shown() {
    assert_eq!(without_password("redis://u:p@h:1/0"), "redis://***@h:1/0");
    assert_eq!(without_password("redis://h:1"), "redis://h:1");
}
