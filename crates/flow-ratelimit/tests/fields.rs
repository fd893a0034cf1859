//! The fields of HTTP: what a server writes is read by a parser that is not ours, and what clients
//! are told by whomever does not harm them.
#![cfg(all(not(loom), feature = "http"))]

#[path = "support/structured.rs"]
mod structured;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use flow_ratelimit::fields::{
    Advertise, Fields, Pace, Policy, PolicyError, ProxyError, TrustedProxies, by_header,
    quota_policies, retry_after, service_limits,
};
use flow_ratelimit::{AcquireError, Denied, Granted, KeyedLimiter, Rate, TokenBucket};
use flow_rt::{Instant, ManualClock, TestRuntime};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use sfv::{BareItem, ListEntry, Parser};
use structured::{numbers, parsed};

flow_rt::on_every_runtime! {
    seeds 0..20;
    a_pace_waits_its_time_and_not_for_ever,
}

const SECOND: Duration = Duration::from_secs(1);
/// The largest whole number of RFC 9651.
const MAX: u64 = 999_999_999_999_999;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

proptest! {
    /// For whatever name, quota and time.
    #[test]
    fn another_parser_reads_what_a_server_writes(
        name in "[ -~]{1,40}",
        quota: u64,
        window in proptest::option::of(1_u64..),
        remaining: u64,
        reset: u64,
    ) {
        let window = window.map(Duration::from_nanos);
        let seconds = |nanos: u64| nanos.div_ceil(1_000_000_000);
        let policy = Policy::new(&name, quota, window).unwrap();
        let fields = Fields::new().policy(policy).legacy();
        let mut headers = HeaderMap::new();
        let granted = Granted::new(remaining, quota, Duration::from_nanos(reset));
        fields.add_granted(&granted, &mut headers);

        let mut allowed = numbers(&[("q", quota.min(MAX))]);
        if let Some(window) = window {
            allowed.extend(numbers(&[("w", seconds(window.as_nanos() as u64))]));
        }
        prop_assert_eq!(parsed(&headers, "ratelimit-policy"), vec![(name.clone(), allowed)]);
        let left = numbers(&[("r", remaining.min(MAX)), ("t", seconds(reset))]);
        prop_assert_eq!(parsed(&headers, "ratelimit"), vec![(name.clone(), left)]);

        // And so does ours.
        let limits = service_limits(&headers);
        prop_assert_eq!(limits.len(), 1);
        prop_assert_eq!(&limits[0].policy, &name);
        prop_assert_eq!(limits[0].available, remaining.min(MAX));
        prop_assert_eq!(limits[0].window, Some(Duration::from_secs(seconds(reset))));
        let policies = quota_policies(&headers);
        prop_assert_eq!(&policies[0].name, &name);
        prop_assert_eq!(policies[0].quota, quota.min(MAX));
    }

    /// Whatever comes, ours takes what the other one takes, and nothing else.
    #[test]
    fn both_parsers_take_the_same(field in r#"("[a-c\\" ]{0,3}"?|[;=,. ]|r=-?[0-9]{1,16}|t=[0-9.]{1,4}|;r=1|pk=:[A-Za-z0-9+/]{0,5}={0,3}:|q=\?[0-2]|[a-z*]{1,3}=[a-zA-Z*/:]{1,3}|@[0-9]{1,3}|\(\)){1,8}"#) {
        let Ok(value) = HeaderValue::from_str(&field) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit", value);
        let theirs: Result<sfv::List, _> = Parser::new(&field).parse();
        let takes = theirs.is_ok_and(|list| {
            !list.is_empty() && list.iter().all(|entry| {
                let ListEntry::Item(item) = entry else { return false };
                let number = |key: &str| item.params.get(key).map(|value| match value {
                    BareItem::Integer(n) => i64::from(*n) >= 0,
                    _ => false,
                });
                let bytes = item.params.get("pk").is_none_or(|value| matches!(value, BareItem::ByteSequence(_)));
                matches!(item.bare_item, BareItem::String(_))
                    && number("r") == Some(true)
                    && number("t") != Some(false)
                    && bytes
            })
        });
        prop_assert_eq!(!service_limits(&headers).is_empty(), takes, "{}", field);
    }

    #[test]
    fn no_bytes_at_all_do_harm(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let Ok(value) = HeaderValue::from_bytes(&line) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        for name in ["ratelimit", "ratelimit-policy", "retry-after", "date", "x-forwarded-for"] {
            headers.insert(name, value.clone());
        }
        service_limits(&headers);
        quota_policies(&headers);
        retry_after(&headers, SystemTime::UNIX_EPOCH);
        Pace::with_clock(ManualClock::new(), SECOND).observe(&headers);
        let proxies = TrustedProxies::new(["0.0.0.0/0", "::/0"]).unwrap();
        proxies.client([127, 0, 0, 1].into(), &headers);
    }
}

#[test]
fn the_examples_of_the_draft_are_read() {
    let of = |text: &str| service_limits(&headers(&[("ratelimit", text)]));
    let limit = &of("\"default\";r=50;t=30")[0];
    assert_eq!((&*limit.policy, limit.available), ("default", 50));
    assert_eq!(limit.window, Some(30 * SECOND));
    let limit = &of("\"default\";r=999;pk=:dHJpYWwxMjEzMjM=:")[0];
    assert_eq!(limit.partition_key.as_deref(), Some(&b"trial121323"[..]));
    assert_eq!(limit.window, None);
    let of = |text: &str| quota_policies(&headers(&[("ratelimit-policy", text)]));
    let policies = of("\"permin\";q=50;w=60,\"perhr\";q=1000;w=3600");
    assert_eq!(policies.len(), 2);
    assert_eq!((&*policies[1].name, policies[1].quota), ("perhr", 1_000));
    assert_eq!(policies[1].window, Some(3_600 * SECOND));
    let policy = &of("\"peruser\";q=65535;qu=\"content-bytes\";w=10;pk=:sdfjLJUOUH==:")[0];
    assert_eq!(policy.unit.as_deref(), Some("content-bytes"));
    assert!(policy.partition_key.is_some());
}

#[test]
fn fields_on_several_lines_are_one_list() {
    let headers = headers(&[
        ("ratelimit", "\"a\";r=1;t=2"),
        (
            "ratelimit",
            "\"b\";r=3 , \"c\";r=4;acme-note=?1;acme-at=@1;acme-t=x/y",
        ),
    ]);
    let names: Vec<String> = service_limits(&headers)
        .into_iter()
        .map(|limit| limit.policy)
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn malformed_fields_are_ignored_as_a_whole() {
    for text in [
        "",
        "default;r=1;t=1",
        "\"a\"",
        "\"a\";t=1",
        "\"a\";r=-1",
        "\"a\";r=1.5",
        "\"a\";r=\"1\"",
        "\"a\";r=1;t=soon",
        "\"a\";r=1,",
        "\"a\";r=1,,\"b\";r=1",
        "\"a\";r=1 \"b\";r=1",
        "\"a;r=1",
        "\"a\\n\";r=1",
        "\"a\";r=1000000000000000",
        "\"a\";R=1",
        "\"a\";r=1;pk=:====:",
        "\"a\";r=1;pk=:A:",
        "(\"a\");r=1",
        "\"a\";r=1, \"b\"",
        "\"a\" ;r=1",
    ] {
        let headers = headers(&[("ratelimit", text), ("ratelimit-policy", text)]);
        assert_eq!(service_limits(&headers), [], "{text}");
        assert_eq!(quota_policies(&headers), [], "{text}");
    }
    let no_window = headers(&[("ratelimit-policy", "\"a\";q=1;w=0")]);
    assert_eq!(quota_policies(&no_window), []);
}

#[test]
fn enormous_fields_are_ignored() {
    let long = format!("\"{}\";r=1", "a".repeat(8_192));
    assert_eq!(service_limits(&headers(&[("ratelimit", &long)])), []);
    let items = |n: usize| vec!["\"a\";r=1"; n].join(",");
    assert_eq!(
        service_limits(&headers(&[("ratelimit", &items(64))])).len(),
        64
    );
    assert_eq!(service_limits(&headers(&[("ratelimit", &items(65))])), []);
    let parameters = format!("\"a\";r=1{}", ";x=1".repeat(64));
    assert_eq!(service_limits(&headers(&[("ratelimit", &parameters)])), []);
    let mut lines = HeaderMap::new();
    for _ in 0..2_000 {
        lines.append("ratelimit", HeaderValue::from_static("\"a\";r=1"));
    }
    assert_eq!(service_limits(&lines), []);
}

#[test]
fn a_policy_follows_its_limiter() {
    let bucket = TokenBucket::new("100/s", 50).unwrap();
    let fields = Fields::new().policy(Policy::of("api", &bucket).unwrap());
    let told = || {
        let mut headers = HeaderMap::new();
        fields.add_granted(&bucket.try_acquire_n(0).unwrap(), &mut headers);
        parsed(&headers, "ratelimit-policy")[0].1.clone()
    };
    assert_eq!(told(), numbers(&[("q", 50), ("w", 1)]));
    bucket.set_rate("7/min").unwrap();
    assert_eq!(told(), numbers(&[("q", 50), ("w", 429)]));
    bucket.set_burst(70).unwrap();
    assert_eq!(told(), numbers(&[("q", 70), ("w", 600)]));
    bucket.set_rate(Rate::ZERO).unwrap();
    assert_eq!(told(), numbers(&[("q", 70)]));
    bucket.set_rate(Rate::UNLIMITED).unwrap();
    assert_eq!(told(), numbers(&[("q", 70), ("w", 1)]));
    let keyed = KeyedLimiter::<str>::new("1/h", 3, 10).unwrap();
    assert_eq!(
        format!("{:?}", Policy::of("k", &keyed).unwrap()),
        r#"Policy("\"k\";q=3;w=10800")"#
    );
}

#[test]
fn a_keyed_limit_of_any_kind_and_its_classes_can_be_told() {
    let told = |policy: Policy| {
        let mut headers = HeaderMap::new();
        let granted = Granted::new(1, 2, SECOND);
        Fields::new()
            .policy(policy)
            .add_granted(&granted, &mut headers);
        parsed(&headers, "ratelimit-policy")[0].1.clone()
    };
    let exact = KeyedLimiter::<String>::builder().rate("1/s burst 2");
    let exact = exact.max_keys(9).build_exact().unwrap();
    let of_exact = Policy::of("exact", &exact).unwrap();
    assert_eq!(told(of_exact), numbers(&[("q", 2), ("w", 2)]));
    let limiter = KeyedLimiter::<str>::builder().rate("1/s burst 2");
    let limiter = limiter.max_keys(9).classes(["2/s burst 8"]);
    let limiter = limiter.build().unwrap();
    let class = limiter.class(1).unwrap();
    assert_eq!(class.burst_and_rate(), (8, Rate::per_second(2)));
    let paid = Policy::of_class("paid", class).unwrap();
    assert_eq!(told(paid.clone()), numbers(&[("q", 8), ("w", 4)]));
    class.set_quota("1/s burst 9").unwrap();
    drop(limiter);
    assert_eq!(told(paid), numbers(&[("q", 9), ("w", 9)]), "it is live");
}

#[test]
fn names_and_windows_that_no_field_can_say_are_refused() {
    for name in ["", "\u{e4}", "a\nb", "\u{7f}", &"a".repeat(257)] {
        let refused = Policy::new(name, 1, None).unwrap_err();
        assert!(
            matches!(refused, PolicyError::InvalidName { .. }),
            "{name:?}"
        );
        assert!(refused.to_string().contains("1 to 256"), "{refused}");
    }
    let refused = Policy::new("a", 1, Duration::ZERO).unwrap_err();
    assert_eq!(refused, PolicyError::ZeroWindow);
}

#[test]
fn several_limits_are_told_of_together() {
    let hourly = Fields::new()
        .policy(Policy::new("hourly", 1_000, 3_600 * SECOND).unwrap())
        .legacy();
    let secondly = Fields::new()
        .policy(Policy::new("secondly", 10, SECOND).unwrap())
        .legacy();
    let mut headers = HeaderMap::new();
    secondly.add_granted(&Granted::new(9, 10, SECOND / 10), &mut headers);
    hourly.add_granted(&Granted::new(5, 1_000, 3_500 * SECOND), &mut headers);
    let names: Vec<_> = parsed(&headers, "ratelimit")
        .into_iter()
        .map(|(it, _)| it)
        .collect();
    assert_eq!(names, ["secondly", "hourly"]);
    assert_eq!(headers["x-ratelimit-limit"], "1000");
    assert_eq!(headers["x-ratelimit-remaining"], "5");
    assert_eq!(headers["x-ratelimit-reset"], "3500");

    secondly.add_denied(Some(SECOND / 10), &mut headers);
    assert_eq!(headers["retry-after"], "1");
    assert_eq!(headers["x-ratelimit-remaining"], "0");
    assert_eq!(headers["x-ratelimit-reset"], "1");
    hourly.add_denied(Some(30 * SECOND), &mut headers);
    assert_eq!(headers["retry-after"], "30", "the later");
    secondly.add_denied(Some(SECOND), &mut headers);
    assert_eq!(headers["retry-after"], "30", "it stays");

    let mut headers = HeaderMap::new();
    hourly.add_denied(None, &mut headers);
    assert_eq!(headers["ratelimit"], "\"hourly\";r=0");
    assert!(!headers.contains_key("retry-after"), "that is never");
    assert!(!headers.contains_key("x-ratelimit-reset"));
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = SystemTime::UNIX_EPOCH + 784_111_777 * SECOND;
    let of = |fields: &[(&'static str, &str)]| retry_after(&headers(fields), now);
    assert_eq!(of(&[("retry-after", "120")]), Some(120 * SECOND));
    assert_eq!(of(&[("retry-after", "0")]), Some(Duration::ZERO));
    let for_ever = of(&[("retry-after", "99999999999999999999999")]);
    assert_eq!(for_ever, Some(Duration::from_secs(u64::MAX)));
    let at = "Sun, 06 Nov 1994 08:49:47 GMT";
    assert_eq!(of(&[("retry-after", at)]), Some(10 * SECOND));
    let by_its_own_clock = [
        ("retry-after", at),
        ("date", "Sun, 06 Nov 1994 08:49:40 GMT"),
    ];
    assert_eq!(of(&by_its_own_clock), Some(7 * SECOND));
    let past = "Sun, 06 Nov 1994 08:49:07 GMT";
    assert_eq!(of(&[("retry-after", past)]), Some(Duration::ZERO));
    for text in ["", "-1", "1.5", "soon", "+3", "1 2"] {
        assert_eq!(of(&[("retry-after", text)]), None, "{text}");
    }
    assert_eq!(of(&[]), None);
}

#[test]
fn a_pace_counts_what_is_left_and_waits_for_the_rest() {
    let clock = ManualClock::starting_at(Instant::from_nanos(1));
    let pace = Pace::with_clock(clock.clone(), 60 * SECOND);
    for _ in 0..10 {
        pace.try_start().unwrap();
    }
    pace.observe(&headers(&[("ratelimit", "\"a\";r=2;t=5, \"b\";r=9;t=50")]));
    pace.try_start().unwrap();
    pace.clone().try_start().unwrap();
    assert_eq!(pace.try_start(), Err(Denied::not_yet(5 * SECOND)));
    clock.advance(5 * SECOND);
    pace.try_start().unwrap();

    pace.observe(&headers(&[
        ("ratelimit", "\"a\";r=0;t=5"),
        ("retry-after", "7"),
    ]));
    assert_eq!(pace.try_start(), Err(Denied::not_yet(7 * SECOND)));
    pace.observe(&HeaderMap::new());
    assert_eq!(
        pace.try_start(),
        Err(Denied::not_yet(7 * SECOND)),
        "it said nothing"
    );
    clock.advance(7 * SECOND);
    pace.try_start().unwrap();

    // Bytes are not counted here, but that none are left can be known.
    let bytes = ("ratelimit-policy", "\"b\";q=9;qu=\"content-bytes\"");
    pace.observe(&headers(&[bytes, ("ratelimit", "\"b\";r=1;t=9")]));
    pace.try_start().unwrap();
    pace.try_start().unwrap();
    pace.observe(&headers(&[bytes, ("ratelimit", "\"b\";r=0;t=9")]));
    assert_eq!(pace.try_start(), Err(Denied::not_yet(9 * SECOND)));
}

async fn a_pace_waits_its_time_and_not_for_ever(rt: TestRuntime) {
    let pace = Pace::up_to(10 * SECOND);
    pace.observe(&headers(&[("retry-after", "10")]));
    let start = rt.now();
    pace.start().await.unwrap();
    assert_eq!(rt.now() - start, 10 * SECOND);
    pace.observe(&headers(&[("retry-after", "99999999999999999999")]));
    let refused = pace.start().await.unwrap_err();
    assert!(matches!(refused, AcquireError::Timeout { .. }));
    assert_eq!(rt.now() - start, 10 * SECOND, "at once");
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn of_a_peer_that_is_not_trusted_the_field_counts_for_nothing() {
    let forged = headers(&[("x-forwarded-for", "1.1.1.1")]);
    let peer = ip("203.0.113.9");
    assert_eq!(TrustedProxies::none().client(peer, &forged), Some(peer));
    let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
    assert_eq!(proxies.client(peer, &forged), Some(peer));
}

#[test]
fn a_chain_is_read_from_its_end() {
    let proxies = TrustedProxies::new(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]).unwrap();
    let client = |lines: &[&str]| {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        proxies.client(ip("10.0.0.1"), &headers(&lines))
    };
    assert_eq!(client(&["1.1.1.1, 203.0.113.9"]), Some(ip("203.0.113.9")));
    assert_eq!(
        client(&["203.0.113.9, 192.0.2.1,10.9.9.9"]),
        Some(ip("203.0.113.9"))
    );
    assert_eq!(
        client(&["1.1.1.1", "203.0.113.9, 2001:db8::7"]),
        Some(ip("203.0.113.9"))
    );
    assert_eq!(client(&["203.0.113.9:5678"]), Some(ip("203.0.113.9")));
    assert_eq!(client(&["[2001:4::1:2]:5678"]), Some(ip("2001:4::")));
    assert_eq!(client(&["[2001:4::1]"]), Some(ip("2001:4::")));
    assert_eq!(client(&["::ffff:203.0.113.9"]), Some(ip("203.0.113.9")));
    // What is left of the client is not looked at.
    assert_eq!(client(&["nonsense, 203.0.113.9"]), Some(ip("203.0.113.9")));
    assert_eq!(client(&["203.0.113.9, unknown"]), None);
    assert_eq!(client(&["203.0.113.9,"]), None);
    assert_eq!(client(&[]), Some(ip("10.0.0.1")), "a request of our own");
    assert_eq!(client(&["10.0.0.3, 10.0.0.2"]), Some(ip("10.0.0.3")));
    assert_eq!(client(&[&vec!["10.0.0.2"; 100].join(",")]), None);
}

#[test]
fn a_client_of_ipv6_is_its_network() {
    let none = HeaderMap::new();
    let proxies = TrustedProxies::none();
    let peer = ip("2001:db8:1:2:3:4:5:6");
    assert_eq!(proxies.client(peer, &none), Some(ip("2001:db8:1:2::")));
    let of = |bits| proxies.clone().ipv6_prefix(bits);
    assert_eq!(
        of(48).unwrap().client(peer, &none),
        Some(ip("2001:db8:1::"))
    );
    assert_eq!(of(128).unwrap().client(peer, &none), Some(peer));
    assert_eq!(of(0).unwrap_err(), ProxyError::Prefix { given: 0 });
    assert!(of(129).is_err());
    let mapped = ip("::ffff:10.0.0.1");
    assert_eq!(proxies.client(mapped, &none), Some(ip("10.0.0.1")));
}

#[test]
fn what_is_no_network_is_refused() {
    for text in [
        "",
        "proxy",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0/8",
    ] {
        let refused = TrustedProxies::new([text]).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("neither an address nor a network"),
            "{text}"
        );
    }
    let everyone = TrustedProxies::new(["0.0.0.0/0"]).unwrap();
    let headers = headers(&[("x-forwarded-for", "1.1.1.1")]);
    assert_eq!(everyone.client(ip("::1"), &headers), Some(ip("::")));
    assert_eq!(
        everyone.client(ip("9.9.9.9"), &headers),
        Some(ip("1.1.1.1"))
    );
}

#[test]
fn a_key_is_one_value_of_a_sensible_size() {
    let key = by_header::<()>(HeaderName::from_static("x-api-key"));
    let of = |values: &[&str]| {
        let mut request = Request::new(());
        for value in values {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().append("x-api-key", value);
        }
        key(&request)
    };
    assert_eq!(of(&["a"]).unwrap(), "a");
    assert_eq!(of(&[]), None);
    assert_eq!(of(&["a", "a"]), None);
    assert!(of(&[&"k".repeat(1_024)]).is_some());
    assert_eq!(of(&[&"k".repeat(1_025)]), None);
}
