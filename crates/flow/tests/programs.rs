//! What users write: the short programs that fix the look of the API, compiled and run.
//!
//! Services on real sockets are examples of their own (`http_axum`, `http_hyper`), and so is
//! an executor of one's own (`custom_executor`).
#![cfg(all(
    feature = "tokio",
    feature = "sim",
    feature = "ratelimit",
    feature = "sched",
    feature = "stream"
))]
#![expect(clippy::unused_async, reason = "what users would await")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use flow::prelude::*;
use flow::rt::{Handle, sim};

async fn remove_old_files() {}

/// Quick start: limit, pool, schedule. The same on each runtime.
async fn quick_start() -> Result<String, flow::Error> {
    let limiter = TokenBucket::new(Rate::per_second(1), 10)?;
    let pool = WorkerPool::builder().slots(1..=5).queue(100).build()?;
    let scheduler = Scheduler::builder().pool(&pool).build()?;

    scheduler
        .job("cleanup", async |_cx| remove_old_files().await)
        .cron("@daily")
        .start()?;

    if limiter.try_acquire().is_ok() {
        let answer = pool.run(async |_cx| 6 * 7).await?;
        assert_eq!(answer, 42);
    }
    scheduler.shutdown(Duration::from_secs(5)).await;
    let report = pool.shutdown(Duration::from_secs(5)).await;
    Ok(format!("{report}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_start_on_tokio() {
    assert!(!quick_start().await.unwrap().is_empty());
}

#[cfg(feature = "smol")]
#[test]
fn a_quick_start_on_smol() {
    let report = smol::block_on(quick_start());
    assert!(!report.unwrap().is_empty());
}

/// It is the README's, word for word.
#[test]
fn the_landing_page_shows_the_quick_start() {
    let quick_start = |page: &str| {
        let (_, rest) = page.split_once("use std::time::Duration;\n").unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let landing: String = include_str!("../src/lib.rs")
        .split_inclusive('\n')
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let readme = quick_start(include_str!("../../../README.md"));
    assert_eq!(quick_start(&landing), readme);
}

/// A page, where one is to be had.
async fn fetch(url: &str) -> Result<String, std::io::Error> {
    Ok(format!("<{url}>"))
}

async fn who_may_go(handle: &Handle) -> Result<(), flow::Error> {
    let bucket = TokenBucket::builder().rate("100/s").burst(200).build()?;
    match bucket.try_acquire_n(5) {
        Ok(granted) => assert_eq!(granted.remaining(), 195),
        Err(Denied::NotYet { retry_after, .. }) => panic!("come back in {retry_after:?}"),
        Err(denied) => return Err(denied.into()),
    }
    bucket.acquire().await?;
    bucket.acquire_timeout(Duration::from_millis(50)).await?;
    bucket.set_rate(Rate::per_second(500))?;

    let per_client = KeyedLimiter::<IpAddr>::builder()
        .rate(Rate::per_minute(60))
        .burst(10)
        .max_keys(1_000)
        .build()?;
    let addr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    per_client.try_acquire(&addr)?;
    let hourly = TokenBucket::new("1000/1h".parse::<Rate>()?, 1_000)?;
    let both = Composite::new((&bucket, &hourly));
    both.try_acquire()?;

    let in_flight = ConcurrencyLimiter::adaptive(Gradient2::default())
        .range(10..=1_000)
        .build()?;
    let permit = in_flight.acquire_owned().await?;
    permit.success();

    let url = "https://example.org";
    let breaker = CircuitBreaker::builder()
        .failure_rate(0.5)
        .window(100)
        .open_for(Duration::from_secs(10))
        .build()?;
    let page = breaker.call(async || fetch(url).await).await?;
    let plan = Backoff::exponential(Duration::from_millis(50))
        .full_jitter()
        .attempts(4);
    let again = handle.retry(plan, async || fetch(url).await).await?;
    let in_time = handle.timeout(Duration::from_secs(2), fetch(url)).await?;
    assert_eq!(
        (page.as_str(), again.as_str(), in_time.ok().as_deref()),
        (
            "<https://example.org>",
            "<https://example.org>",
            Some("<https://example.org>")
        )
    );
    Ok(())
}

#[tokio::test]
async fn who_may_go_runs() {
    let handle = Handle::current().unwrap();
    who_may_go(&handle).await.unwrap();
}

/// Limits before an axum service: one for each client, outside, and one for all.
#[cfg(all(feature = "tower", feature = "http"))]
async fn in_front_of_a_service() -> Result<(), flow::Error> {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, Response, StatusCode};
    use axum::routing::get;
    use flow::ratelimit::RateLimitLayer;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    async fn hello() -> &'static str {
        "hello"
    }
    fn client_ip(request: &Request<Body>) -> Option<IpAddr> {
        request
            .headers()
            .get("x-real-ip")?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }
    fn my_page(denied: &Denied) -> Response<Body> {
        Response::new(Body::from(denied.to_string()))
    }

    let per_client = KeyedLimiter::new("1/h", 1, 1_000)?;
    let bucket = TokenBucket::new("1/h", 2)?;
    let app = Router::new()
        .route("/", get(hello))
        .layer(RateLimitLayer::new(&bucket).respond_with(|denied: &Denied| my_page(denied)))
        .layer(
            RateLimitLayer::keyed(&per_client, client_ip).wait_up_to(Duration::from_millis(100)),
        );
    let mut answers = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let request = Request::get("/").header("x-real-ip", client);
        let request = request.body(Body::empty()).expect("a valid request");
        let Ok(response) = app.clone().oneshot(request).await;
        let says = response.headers().contains_key("ratelimit");
        answers.push((response.status(), says));
    }
    let (ok, denied) = (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS);
    // The last one's page is `my_page`, with what its own limit adds to it.
    assert_eq!(
        answers,
        [(ok, true), (denied, true), (ok, true), (ok, true)]
    );

    let service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(&bucket).fail())
        .service(service_fn(async |n: u32| Ok::<_, std::io::Error>(n + 1)));
    let denied = service.oneshot(1).await.expect_err("they are spent");
    assert!(denied.retry_after().is_some());
    Ok(())
}

#[cfg(all(feature = "tower", feature = "http"))]
#[tokio::test]
async fn in_front_of_a_service_runs() {
    in_front_of_a_service().await.unwrap();
}

#[derive(Default)]
struct App {
    reports: AtomicU32,
}

impl App {
    async fn report(&self, _at: std::time::SystemTime) -> Result<(), std::io::Error> {
        self.reports.fetch_add(1, Relaxed);
        Ok(())
    }
}

async fn jobs(handle: &Handle) -> Result<(), flow::Error> {
    let scheduler = Scheduler::builder().runtime(handle).build()?;
    let app = Arc::new(App::default());
    scheduler
        .job_with("report", app.clone(), async |cx, app| {
            app.report(cx.scheduled_at()).await
        })
        .cron("0 9 * * MON-FRI")
        .time_zone("Europe/Berlin")
        .overlap(Overlap::Skip)
        .misfire(Misfire::FireOnce {
            within: Duration::from_secs(3600),
        })
        .jitter(Jitter::stable(Duration::from_secs(30)))
        .retry(
            Backoff::exponential(Duration::from_millis(100))
                .max_delay(Duration::from_secs(10))
                .full_jitter()
                .attempts(5),
        )
        .timeout(Duration::from_secs(60))
        .when(async |_cx| true)
        .start()?;

    let bucket = TokenBucket::new(Rate::per_second(10), 1)?;
    let polls = Arc::new(AtomicU32::new(0));
    let poll = scheduler
        .job_with("poll", polls.clone(), async |_cx, polls| {
            polls.fetch_add(1, Relaxed);
        })
        .every(Duration::from_secs(5))
        .throttle(&bucket)
        .start()?;
    poll.pause();
    poll.trigger_now().await?;
    handle.sleep(Duration::from_millis(1)).await?;
    assert_eq!(polls.load(Relaxed), 1);
    assert_eq!(poll.upcoming(3).len(), 0, "it is paused");
    poll.resume();
    assert_eq!(poll.upcoming(3).len(), 3);
    poll.remove().await;

    let chain = Chain::new()
        .step("extract", async |_cx| Ok::<_, std::io::Error>(()))
        .step("load", async |_cx| Ok::<_, std::io::Error>(()))
        .on_error(OnError::Stop);
    scheduler
        .chain("nightly", chain)
        .cron("@midnight")
        .start()?;

    // A week has five working days.
    handle.sleep(Duration::from_secs(7 * 86_400)).await?;
    assert_eq!(app.reports.load(Relaxed), 5);
    scheduler.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

#[test]
fn jobs_run() {
    sim::check(0..3, |rt| async move { jobs(&rt).await.unwrap() });
}

async fn head(url: &'static str, _: CancellationToken) -> Result<u64, std::io::Error> {
    Ok(url.len() as u64)
}

async fn work(handle: &Handle) -> Result<(), flow::Error> {
    let pool = WorkerPool::builder()
        .runtime(handle)
        .name("io")
        .slots(4..=64)
        .queue(1_024)
        .on_full(OnFull::Wait)
        .priorities(3)
        .build()?;
    let url = "https://example.org";
    let task = pool
        .submit(async move |cx| head(url, cx.cancellation().clone()).await)
        .priority(1)
        .timeout(Duration::from_secs(5))
        .await?;
    assert_eq!(task.await?.ok(), Some(19));
    let job = async |_cx| 1;
    match pool.try_submit(job) {
        Ok(task) => assert_eq!(task.await?, 1),
        Err(full) => {
            let _later = full.into_inner();
        }
    }
    let urls = ["a", "bb", "ccc"];
    let sizes: Vec<u64> = pool
        .group()
        .try_run_all(
            urls.into_iter()
                .map(|url| move |cx: TaskContext| head(url, cx.cancellation().clone())),
        )
        .await?;
    assert_eq!(sizes, [1, 2, 3]);
    Ok(())
}

#[test]
fn work_runs() {
    sim::check(0..3, |rt| async move { work(&rt).await.unwrap() });
}

#[derive(Debug, PartialEq)]
struct Event(u32);

async fn channels() -> Result<(), flow::Error> {
    let dropped = Arc::new(AtomicU32::new(0));
    let seen = dropped.clone();
    let (tx, rx) = Channel::<Event>::builder()
        .capacity(2)
        .on_full(OnFull::DropOldest)
        .on_drop(move |event, _why| seen.store(event.0, Relaxed))
        .build()?;
    for n in 1..=3 {
        tx.send(Event(n)).await?;
    }
    drop(tx);
    let mut batch = Vec::new();
    assert_eq!(rx.recv_many(&mut batch, 64).await, 2);
    assert_eq!((batch.pop(), dropped.load(Relaxed)), (Some(Event(3)), 1));
    assert_eq!(rx.recv_many(&mut batch, 64).await, 0, "closed and drained");
    Ok(())
}

#[tokio::test]
async fn channels_that_know_what_to_do_when_full() {
    channels().await.unwrap();
}

#[test]
fn a_day_of_polling() {
    sim::check(0..100, |rt| async move {
        let runs = Arc::new(AtomicU32::new(0));
        let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
        scheduler
            .job_with("poll", runs.clone(), async |_cx, runs| {
                runs.fetch_add(1, Relaxed);
            })
            .every(Duration::from_secs(60))
            .start()
            .unwrap();
        rt.sleep(Duration::from_secs(86_430)).await;
        assert_eq!(runs.load(Relaxed), 1_440);
    });
}
