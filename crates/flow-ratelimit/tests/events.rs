//! Events of `tracing`, as a subscriber sees them.
#![cfg(all(feature = "tracing", not(loom)))]

use std::fmt::{Debug, Write as _};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use flow_ratelimit::{CircuitBreaker, LeakyBucket, MultiBucket, Rate, TokenBucket};
use flow_rt::Handle;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down each event: its level, and its fields.
#[derive(Clone, Default)]
struct Notebook(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Notebook {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is told while `act` runs on this thread.
fn told(act: impl FnOnce()) -> Vec<String> {
    let notebook = Notebook::default();
    tracing::subscriber::with_default(notebook.clone(), act);
    notebook.0.lock().unwrap().split_off(0)
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
fn a_capacity_is_told_by_its_name() {
    let bucket = LeakyBucket::new("10/s", 5).unwrap();
    let events = told(|| bucket.set_capacity(9).unwrap());
    assert_eq!(
        events,
        ["DEBUG message=a limit was changed setting=\"capacity\" to=9"]
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
fn a_breaker_that_opens_is_a_warning_and_its_other_changes_are_told() {
    let breaker = CircuitBreaker::builder().minimum_calls(1).name("db");
    let breaker = breaker.build().unwrap();
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
