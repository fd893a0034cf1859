//! Events of `tracing`, as a subscriber sees them.
#![cfg(all(feature = "tracing", not(loom)))]

#[path = "support/notebook.rs"]
mod notebook;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use flow_ratelimit::{
    Aimd, CircuitBreaker, ClassedLimiter, Composite, ConcurrencyLimiter, FairShare, KeyedLimiter,
    LeakyBucket, MultiBucket, Rate, TokenBucket,
};
use flow_rt::{Handle, ManualClock};

/// What is told while `act` runs on this thread.
fn told(act: impl FnOnce()) -> Vec<String> {
    notebook::told("flow_ratelimit", act)
}

#[test]
fn changes_and_the_end_of_a_bucket_are_told_and_grants_are_not() {
    let bucket = TokenBucket::builder().rate("10/s").burst(5).name("api");
    let bucket = bucket.build().unwrap();
    let events = told(|| {
        bucket.try_acquire_n(5).unwrap();
        bucket.try_acquire().unwrap_err();
        bucket.set_rate(Rate::per_minute(90)).unwrap();
        bucket.set_burst(7).unwrap();
        bucket.set_burst(0).unwrap_err();
        bucket.close();
        bucket.close();
    });
    let event = "DEBUG message=a limit was changed limiter=\"api\"";
    assert_eq!(
        events,
        [
            format!("{event} setting=\"rate\" to=90/min"),
            format!("{event} setting=\"burst\" to=7"),
            "DEBUG message=a limiter was closed limiter=\"api\" waiting=0".to_owned(),
        ]
    );
}

#[test]
fn changes_and_the_end_of_a_keyed_limiter_are_told_and_grants_are_not() {
    let builder = KeyedLimiter::<u64>::builder()
        .rate("10/s")
        .burst(5)
        .max_keys(9);
    let limiter = builder.name("clients").classes(["1/s burst 1"]);
    let limiter = limiter.build().unwrap();
    let events = told(|| {
        limiter.try_acquire_n(&1, 5).unwrap();
        limiter.try_acquire(&1).unwrap_err();
        limiter.set_rate(Rate::per_minute(90)).unwrap();
        limiter.set_burst(0).unwrap_err();
        limiter.class(1).unwrap().set_quota("2/s burst 3").unwrap();
        limiter.close();
        limiter.close();
    });
    let event = "DEBUG message=a limit was changed limiter=\"clients\"";
    assert_eq!(
        events,
        [
            format!("{event} setting=\"rate\" to=90/min"),
            format!("{event} setting=\"rate\" to=2/s"),
            format!("{event} setting=\"burst\" to=3"),
            "DEBUG message=a limiter was closed limiter=\"clients\" waiting=0".to_owned(),
        ]
    );
}

#[test]
fn a_capacity_is_told_by_its_name() {
    let bucket = LeakyBucket::new("10/s", 5).unwrap();
    let events = told(|| bucket.set_capacity(9).unwrap());
    assert_eq!(
        events,
        ["DEBUG message=a limit was changed setting=\"capacity\" to=9"]
    );
}

#[test]
fn changes_and_the_end_of_a_concurrency_limiter_are_told() {
    let limiter = ConcurrencyLimiter::builder().limit(2).name("db");
    let limiter = limiter.build().unwrap();
    let events = told(|| {
        let held = limiter.try_acquire_n(2).unwrap();
        limiter.try_acquire().unwrap_err();
        let mut waits = pin!(limiter.acquire_n(2));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(cx).is_pending());
        limiter.set_limit(3).unwrap();
        limiter.set_limit(3).unwrap();
        limiter.set_limit(u32::MAX).unwrap_err();
        limiter.close();
        limiter.close();
        drop(held);
    });
    assert_eq!(
        events,
        [
            "DEBUG message=a limit was changed limiter=\"db\" setting=\"limit\" to=3",
            "DEBUG message=a limiter was closed limiter=\"db\" waiting=1",
        ]
    );
}

#[test]
fn changes_and_the_end_of_a_limiter_with_classes_are_told() {
    let limiter = ClassedLimiter::builder().limit(10).class("high", 4);
    let limiter = limiter.class("low", 0).name("api").build().unwrap();
    let high = limiter.class("high").unwrap();
    let events = told(|| {
        drop(high.try_acquire().unwrap());
        high.set_share(5).unwrap();
        high.set_share(5).unwrap();
        high.set_share(50).unwrap_err();
        limiter.set_limit(6).unwrap();
        limiter.set_limit(4).unwrap_err();
        limiter.close();
        limiter.close();
    });
    let event = "DEBUG message=a limit was changed limiter=\"api\"";
    assert_eq!(
        events,
        [
            format!("{event} setting=\"share\" to=5 for high"),
            format!("{event} setting=\"limit\" to=6"),
            "DEBUG message=a limiter was closed limiter=\"api\" waiting=0".to_owned(),
        ]
    );
}

#[test]
fn a_runtime_that_goes_is_told_if_somebody_waits() {
    let bucket = TokenBucket::builder().rate("1/h").burst(1).initial(0);
    let bucket = bucket.build().unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let runtime = Handle::tokio(tokio.handle().clone()).unwrap();
    let mut waits = pin!(bucket.acquire());
    let mut poll = || {
        let _inside = tokio.enter();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(waits.as_mut().poll(cx).is_pending());
    };
    poll();
    // Its driver comes to its first look.
    tokio.block_on(async { runtime.spawn(async {}).await.unwrap() });
    let events = told(|| drop(tokio));
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert!(
        event.starts_with("WARN message=a runtime has gone"),
        "{event}"
    );
    assert!(event.ends_with("runtime=\"tokio\" waiting=1"), "{event}");
}

#[test]
fn a_breaker_that_opens_is_a_warning_once_a_minute_and_its_other_changes_are_told() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder().minimum_calls(1).name("db");
    let breaker = breaker.clock(clock.clone()).build().unwrap();
    let events = told(|| {
        breaker.try_acquire().unwrap().failure();
        breaker.open();
        breaker.reset();
        breaker.reset();
    });
    assert_eq!(
        events,
        [
            "WARN message=a circuit breaker has opened breaker=\"db\" from=closed \
             cause=too many calls failed",
            "DEBUG message=a circuit breaker has changed breaker=\"db\" from=open to=closed \
             cause=by hand",
        ]
    );
    clock.advance(Duration::from_secs(59));
    let again = told(|| breaker.open());
    let quiet = "DEBUG message=a circuit breaker has changed breaker=\"db\" from=closed to=open \
                 cause=by hand";
    assert_eq!(again, [quiet]);
    breaker.reset();
    clock.advance(Duration::from_secs(1));
    let again = told(|| breaker.open());
    let warned = "WARN message=a circuit breaker has opened breaker=\"db\" from=closed \
                  cause=by hand";
    assert_eq!(again, [warned]);
}

#[test]
fn an_adaptive_limiter_tells_of_its_changes_and_warns_once_a_minute_at_its_lowest() {
    let clock = ManualClock::new();
    let limiter = ConcurrencyLimiter::adaptive(Aimd::new().backoff(0.5))
        .range(10..=100)
        .initial(20)
        .min_samples(1)
        .name("db")
        .clock(clock.clone());
    let limiter = limiter.build().unwrap();
    let end = |count: u32, ms: u64, fails: bool| {
        let permits: Vec<_> = (0..count).map(|_| limiter.try_acquire().unwrap()).collect();
        clock.advance(Duration::from_millis(ms));
        for permit in permits {
            if fails {
                permit.failure();
            } else {
                permit.success();
            }
        }
    };
    let changed = "TRACE message=an adaptive limiter has changed its limit limiter=\"db\"";
    let lowest = "WARN message=an adaptive limiter is at the lowest limit of its range \
                  limiter=\"db\" limit=10";
    let events = told(|| end(1, 100, true));
    let failures = "latency=0ns failures=1.0";
    assert_eq!(
        events,
        [
            format!("{changed} from=20 to=10 {failures}"),
            format!("{lowest} {failures}"),
        ]
    );
    // Up and down again; the window after a decrease is thrown away.
    let again = || {
        told(|| {
            end(1, 100, true);
            end(10, 100, false);
            end(1, 300, true);
        })
    };
    let up = format!("{changed} from=10 to=11 latency=100ms failures=0.0");
    let half = "latency=100ms failures=0.1";
    let down = format!("{changed} from=11 to=10 {half}");
    assert_eq!(again(), [up.clone(), down.clone()]);
    clock.advance(Duration::from_secs(60));
    assert_eq!(again(), [up, down, format!("{lowest} {half}")]);
}

#[test]
fn changes_and_the_end_of_a_fair_share_are_told() {
    let builder = FairShare::builder().rate("1/h burst 9").name("api");
    let share = builder.child("web", 2).child("batch", 1).build().unwrap();
    let told = told(|| {
        let web = share.child("web").unwrap();
        web.try_acquire().unwrap();
        web.set_weight(3).unwrap();
        web.set_weight(0).unwrap_err();
        share.set_rate("2/h").unwrap();
        share.set_burst(8).unwrap();
        share.set_burst(3).unwrap_err();
        share.close();
        share.close();
    });
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].contains("3 for web") && told[0].contains("weight"));
    assert!(told[1].contains("2/h") && told[1].contains("rate"));
    assert!(told[2].contains('8') && told[2].contains("burst"));
    assert!(told[3].contains("closed"));
}

#[test]
fn changes_and_the_end_of_a_multi_bucket_are_told() {
    let builder = MultiBucket::builder().limits(["1/h burst 3", "1/h burst 8"]);
    let bucket = builder.name("api").build().unwrap();
    let told = told(|| {
        bucket.try_acquire().unwrap();
        bucket.set_quota(1, "2/h burst 8").unwrap();
        bucket.set_quota(2, "2/h burst 8").unwrap_err();
        bucket.close();
        bucket.close();
    });
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("2/h burst 8") && told[0].contains("quota"));
    assert!(told[1].contains("closed"));
}

#[test]
fn a_composite_tells_once_that_one_of_its_limits_is_closed() {
    let (one, other) = (TokenBucket::new("1/h", 3), TokenBucket::new("1/h", 1));
    let (one, other) = (one.unwrap(), other.unwrap());
    let both = Composite::builder((&one, &other)).name("api");
    let both = both.build().unwrap();
    let told = told(|| {
        both.try_acquire().unwrap();
        both.try_acquire().unwrap_err();
        other.close();
        for _ in 0..3 {
            both.clone().try_acquire().unwrap_err();
        }
        Composite::new((&one, &other)).try_acquire().unwrap_err();
        // Of the first that was found so, and of no other.
        one.close();
        assert_eq!(both.try_acquire().unwrap_err().index, 0);
    });
    let closed = "DEBUG message=a limiter was closed waiting=0";
    let event = "DEBUG message=a limit of a composite is closed limiter=\"api\" index=1";
    assert_eq!(told, [closed, event, closed]);
}
