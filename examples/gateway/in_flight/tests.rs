//! What an adaptive limit makes of how requests end, in virtual time.

use std::time::Duration;

use flow_rt::Handle;
use flow_rt::sim::Sim;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// For some of the limiter's windows all of its places are taken and end like this, again and
/// again; the limit before that, and after.
async fn all_end(rt: &Handle, in_flight: &InFlight, end: impl Fn(Place)) -> (u32, u32) {
    let limit = || match in_flight {
        InFlight::Fixed(limiter) => limiter.limit(),
        InFlight::Adaptive(limiter) => limiter.limit(),
    };
    let before = limit();
    for _ in 0..60 {
        let mut places = Vec::new();
        for _ in 0..limit() {
            places.push(in_flight.acquire().await.expect("there is one"));
        }
        rt.sleep(10 * MS).await.expect("it runs");
        places.into_iter().for_each(&end);
    }
    (before, limit())
}

fn in_virtual_time(test: impl AsyncFnOnce(&Handle)) {
    let report = Sim::new(0).run(|rt| async move {
        let rt: &Handle = &rt;
        test(rt).await;
    });
    report.expect("no deadlock");
}

#[test]
fn an_adaptive_limit_falls_by_overload_and_rises_by_answers() {
    in_virtual_time(async |rt| {
        let in_flight = InFlight::new(true).expect("valid");
        for overload in [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::GATEWAY_TIMEOUT,
        ] {
            let (before, after) = all_end(rt, &in_flight, |place| place.answered(overload)).await;
            assert!(after < before, "{overload}: {after} after {before}");
        }
        let in_flight = InFlight::new(true).expect("valid");
        let (before, after) = all_end(rt, &in_flight, Place::timed_out).await;
        assert!(after < before, "timed out: {after} after {before}");
        // An error that is no overload is an answer like any other.
        for answer in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
            let (before, after) = all_end(rt, &in_flight, |place| place.answered(answer)).await;
            assert!(after > before, "{answer}: {after} after {before}");
        }
    });
}

/// Requests whose clients leave say nothing about the upstream.
#[test]
fn places_that_are_dropped_change_nothing() {
    in_virtual_time(async |rt| {
        let in_flight = InFlight::new(true).expect("valid");
        let (before, after) = all_end(rt, &in_flight, drop).await;
        assert_eq!(after, before);
    });
}

#[test]
fn a_fixed_limit_stays() {
    in_virtual_time(async |rt| {
        let in_flight = InFlight::new(false).expect("valid");
        assert_eq!(
            all_end(rt, &in_flight, Place::timed_out).await,
            (LIMIT, LIMIT)
        );
        let overload = |place: Place| place.answered(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(all_end(rt, &in_flight, overload).await, (LIMIT, LIMIT));
    });
}

#[test]
fn only_an_adaptive_limit_shows_its_range() {
    for is_adaptive in [false, true] {
        let in_flight = InFlight::new(is_adaptive).expect("valid");
        let collector = in_flight.collector();
        let range = "flow_ratelimit_limit_range_permits";
        let mut shown = collector.descriptions().iter();
        assert_eq!(shown.any(|desc| desc.name() == range), is_adaptive);
    }
}
