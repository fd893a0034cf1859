//! Every way in which counts can disagree is a mismatch, and a mismatch is exit code 1.

use std::time::Duration;

use super::*;
use crate::load::plans;

/// Two clients at 10 per second and a burst of 5 for a second, and every count as it should be.
fn agreeing() -> (Counts, Options) {
    let options = Options {
        rate: 10,
        burst: 5,
        redis: Some("redis://127.0.0.1".to_owned()),
        ..Options::default()
    };
    let seen = |plan, sent, admitted| Seen {
        plan,
        sent,
        admitted,
        limited: sent - admitted,
        other: Vec::new(),
        p50: Duration::from_millis(1),
        p99: Duration::from_millis(2),
        time: Duration::from_secs(1),
        found: 15.0,
    };
    let mut plans = plans(2, 10, 5).into_iter();
    let polite = seen(plans.next().unwrap(), 5, 5);
    let abusive = seen(plans.next().unwrap(), 100, 15);
    let decided = [&polite, &abusive]
        .map(|client| (client.plan.name.clone(), (client.admitted, client.limited)));
    let parts = [
        (POOL_COMPLETED, 107),
        (RUNS, 2),
        (GRANTED, 20),
        (LOG_RECEIVED, 105),
        (LOG_WRITTEN, 5_000),
        (CLIENTS_GRANTED, 20),
        (CLIENTS_DENIED, 85),
        (REDIS_GRANTED, 20),
        (REDIS_DENIED, 85),
    ]
    .map(|(series, value)| format!("{series} {value}\n"))
    .concat();
    let counts = Counts {
        decided: decided.into(),
        seen: vec![polite, abusive],
        server: (20, 85, 105),
        metrics: "flow_gateway_requests_total{outcome=\"admitted\"} 20\n\
                  flow_gateway_requests_total{outcome=\"limited\"} 85\n"
            .to_owned(),
        parts,
        log_lines: 105,
        log_bytes: 5_000,
        upstream: 20,
        lost: Vec::new(),
        was_interrupted: false,
    };
    (counts, options)
}

/// What is said when this is not as it should be.
fn said(change: impl FnOnce(&mut Counts)) -> String {
    let (mut counts, options) = agreeing();
    change(&mut counts);
    mismatches(&counts, &options).join("\n")
}

#[test]
fn counts_that_agree_are_no_mismatch() {
    assert_eq!(said(|_| {}), "");
}

#[test]
fn each_count_that_differs_is_named() {
    for (words, change) in [
        (
            "20 admitted, the server counted 19",
            (|c| c.server.0 = 19) as fn(&mut Counts),
        ),
        ("85 limited, the server counted 84", |c| c.server.1 = 84),
        ("105 answers, the server counted 106", |c| c.server.2 = 106),
        ("20 admitted, the upstream received 21", |c| c.upstream = 21),
        ("the access log has lines: 104", |c| c.log_lines = 104),
        ("20 admitted, /metrics says nothing", |c| c.metrics.clear()),
        ("85 limited, /metrics says 8", |c| {
            c.metrics = c.metrics.replace("} 85", "} 8");
        }),
        ("the access log has 4999 bytes", |c| c.log_bytes = 4_999),
        ("the server decided 0 and 0", |c| c.decided.clear()),
        ("abusive-1 got 1 unexpected answers", |c| {
            c.seen[1].other.push("502 Bad Gateway".to_owned());
        }),
        ("polite-0 is polite and was limited 1 times", |c| {
            c.seen[0].limited = 1;
        }),
        ("polite-0 sent nothing", |c| c.seen[0].sent = 0),
        ("so between 16 and 16 were due", |c| {
            c.seen[1].time = Duration::from_millis(1_190);
            c.seen[1].found = 16.9;
        }),
        ("abusive-1 was admitted 16 times", |c| {
            c.seen[1].admitted = 16;
        }),
        ("lost something: the pool lost tasks", |c| {
            c.lost.push("the pool lost tasks".to_owned());
        }),
    ] {
        let said = said(change);
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn each_part_of_flow_is_compared() {
    for (series, in_redis) in [
        (POOL_COMPLETED, true),
        (RUNS, true),
        (GRANTED, true),
        (LOG_RECEIVED, true),
        (LOG_WRITTEN, true),
        (REDIS_GRANTED, true),
        (REDIS_DENIED, true),
        (CLIENTS_GRANTED, false),
        (CLIENTS_DENIED, false),
    ] {
        let (mut counts, mut options) = agreeing();
        options.redis = options.redis.filter(|_| in_redis);
        assert_eq!(mismatches(&counts, &options).len(), 0);
        counts.parts = counts.parts.replace(series, "other");
        assert_ne!(mismatches(&counts, &options).len(), 0, "{series}");
    }
}

#[test]
fn a_client_that_was_never_over_its_rate_shows_nothing() {
    let slow = |counts: &mut Counts| {
        counts.seen[1].sent = 15;
        counts.seen[1].limited = 0;
    };
    assert!(said(slow).contains("could not drive abusive-1 above its rate: it sent 15"));
    let interrupted = said(|counts| {
        slow(counts);
        counts.was_interrupted = true;
    });
    assert!(!interrupted.contains("could not drive"), "{interrupted}");
}
