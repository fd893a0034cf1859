//! The limits of one bucket in the fields of HTTP: each by its name, as a parser that is not ours
//! reads them.
#![cfg(all(not(loom), feature = "http"))]

#[path = "support/structured.rs"]
mod structured;

use std::time::Duration;

use flow_ratelimit::fields::{Fields, Policy, PolicyError};
use flow_ratelimit::{MultiBucket, Rate};
use flow_rt::ManualClock;
use http::HeaderMap;
use structured::{numbers, parsed};

const SECOND: Duration = Duration::from_secs(1);

/// Two per second and six per hour, by a clock that stands until it is moved.
fn both() -> (MultiBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::new();
    let builder = MultiBucket::builder().limits(["2/s burst 2", "6/h burst 6"]);
    (builder.clock(clock.clone()).build().unwrap(), clock)
}

fn policy(both: &MultiBucket<ManualClock>) -> Policy {
    Policy::of_each(["second", "hour"], both).unwrap()
}

/// What a field has of the limits by their names.
fn told(headers: &HeaderMap, name: &str, of: [&[(&str, u64)]; 2]) {
    let named = [("second", of[0]), ("hour", of[1])];
    let expected = named.map(|(name, of)| (name.to_owned(), numbers(of)));
    assert_eq!(parsed(headers, name), expected);
}

#[test]
fn each_limit_is_told_of_by_its_name() {
    let (both, clock) = both();
    let fields = Fields::new().policy(policy(&both)).legacy();
    let granted = || {
        let mut headers = HeaderMap::new();
        fields.add_granted(&both.try_acquire().unwrap(), &mut headers);
        headers
    };
    let headers = granted();
    let (second, hour) = ([("q", 2), ("w", 1)], [("q", 6), ("w", 3_600)]);
    told(&headers, "ratelimit-policy", [&second, &hour]);
    let (second, hour) = ([("r", 1), ("t", 1)], [("r", 5), ("t", 600)]);
    told(&headers, "ratelimit", [&second, &hour]);
    assert_eq!(headers["x-ratelimit-limit"], "2", "the one with the least");
    assert_eq!(headers["x-ratelimit-remaining"], "1");

    // The second has none left: it is the hour that has most.
    granted();
    let denied = both.try_acquire().unwrap_err();
    let mut headers = HeaderMap::new();
    fields.add_denied(denied.retry_after(), &mut headers);
    let (second, hour) = ([("r", 0), ("t", 1)], [("r", 4), ("t", 1_200)]);
    told(&headers, "ratelimit", [&second, &hour]);
    assert_eq!(headers["retry-after"], "1");
    assert_eq!(headers["x-ratelimit-limit"], "2");

    // And then the other way about.
    for _ in 0..2 {
        clock.advance(SECOND);
        both.try_acquire_n(2).unwrap();
    }
    clock.advance(SECOND);
    let denied = both.try_acquire().unwrap_err();
    assert_eq!(denied.limit, Some(1));
    let mut headers = HeaderMap::new();
    fields.add_denied(denied.retry_after(), &mut headers);
    let (second, hour) = ([("r", 2), ("t", 0)], [("r", 0), ("t", 597)]);
    told(&headers, "ratelimit", [&second, &hour]);
    assert_eq!(headers["retry-after"], "597", "when the next one comes");
    assert_eq!(headers["x-ratelimit-limit"], "6");
    assert_eq!(headers["x-ratelimit-reset"], "597");
}

#[test]
fn the_policies_follow_their_limits() {
    let (both, _clock) = both();
    let policy = policy(&both);
    assert_eq!(policy.name(), "second");
    let shown = r#"Policy("\"second\";q=2;w=1", "\"hour\";q=6;w=3600")"#;
    assert_eq!(format!("{policy:?}"), shown);
    both.set_quota(1, "12/h burst 24").unwrap();
    both.set_quota(0, Rate::ZERO).unwrap();
    let shown = r#"Policy("\"second\";q=2", "\"hour\";q=24;w=7200")"#;
    assert_eq!(format!("{policy:?}"), shown);

    // What never comes has no time.
    both.try_acquire_n(2).unwrap();
    let mut headers = HeaderMap::new();
    let denied = both.try_acquire().unwrap_err();
    let fields = Fields::new().policy(policy);
    fields.add_denied(denied.retry_after(), &mut headers);
    assert_eq!(headers["ratelimit"], "\"second\";r=0");
    assert!(!headers.contains_key("retry-after"));

    both.set_quota(0, Rate::UNLIMITED).unwrap();
    let mut headers = HeaderMap::new();
    fields.add_granted(&both.try_acquire().unwrap(), &mut headers);
    assert_eq!(headers["ratelimit"], "\"second\";r=2;t=0", "it is full");
}

#[test]
fn names_that_do_not_fit_the_limits_are_refused() {
    let (both, _clock) = both();
    let refused = |names: &[&'static str]| {
        let names = names.iter().copied();
        Policy::of_each(names, &both).unwrap_err()
    };
    for (names, given) in [(&["a"][..], 1), (&[], 0), (&["a", "b", "c"], 3)] {
        let error = refused(names);
        assert_eq!(error, PolicyError::NamesForLimits { given, limits: 2 });
        assert!(error.to_string().contains("for 2 limits"), "{error}");
    }
    let twice = PolicyError::TwoOfOneName { name: "a".into() };
    assert_eq!(refused(&["a", "a"]), twice);
    assert!(twice.to_string().contains("\"a\""), "{twice}");
    let error = refused(&["a", "\u{e4}"]);
    assert!(matches!(error, PolicyError::InvalidName { .. }), "{error}");
}

#[cfg(feature = "tower")]
#[test]
fn a_layer_names_the_limits_that_a_denial_is_due_to() {
    use flow_ratelimit::RateLimitLayer;
    use flow_rt::block_on;
    use http::{Request, Response, StatusCode};
    use tower::{Layer, ServiceExt, service_fn};

    let (both, clock) = both();
    let layer = RateLimitLayer::new(&both).policy(policy(&both));
    let service = layer
        .problem_json()
        .layer(service_fn(async |_: Request<()>| {
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        }));
    let call = || {
        let call = service.clone().oneshot(Request::new(()));
        block_on(call).unwrap().unwrap()
    };
    let violated = || {
        let denied = call();
        assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
        let problem: serde_json::Value = serde_json::from_str(denied.body()).unwrap();
        problem["violated-policies"].clone()
    };
    for _ in 0..2 {
        let granted = call();
        assert_eq!(parsed(granted.headers(), "ratelimit").len(), 2);
        assert_eq!(parsed(granted.headers(), "ratelimit-policy").len(), 2);
    }
    assert_eq!(violated(), serde_json::json!(["second"]));
    for _ in 0..2 {
        clock.advance(SECOND);
        both.try_acquire_n(2).unwrap();
    }
    assert_eq!(violated(), serde_json::json!(["second", "hour"]));
    clock.advance(SECOND);
    assert_eq!(violated(), serde_json::json!(["hour"]));
}
