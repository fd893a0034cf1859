//! A thousand tasks that wait for tokens, and a hundred thousand: what a grant costs, how well
//! the rate is kept, how evenly it is shared, and what a waiter weighs.

#![allow(clippy::disallowed_methods)] // it measures real time

use core::future::Future;
use core::num::NonZeroU32;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use flow_benches::{Bench, process};
use flow_ratelimit::{Rate, TokenBucket};
use governor::{DefaultDirectRateLimiter, Jitter, Quota, RateLimiter};
use leaky_bucket::RateLimiter as LeakyBucket;
use tokio::runtime::{Builder, Runtime};

const TASKS: usize = 1_000;
const QUEUED: usize = 100_000;

pub(crate) fn rows(bench: &mut Bench) {
    grants(bench, Host::Tokio, 1_000);
    grants(bench, Host::Smol, 1_000);
    grants(bench, Host::Tokio, 100_000);
    grants(bench, Host::Smol, 100_000);
}

/// Where the tasks run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    Tokio,
    Smol,
}

/// Tasks that are dropped with this.
enum Tasks {
    Tokio(Runtime),
    Smol(Vec<smol::Task<()>>),
}

/// Waits at a rate, for a window of such a length.
type Contender = fn(Host, u32, Duration) -> Window;

/// One figure of a window.
type Figure = fn(&Window) -> f64;

/// What a window of waiting came to.
struct Window {
    /// Grants per second, in hundredths of the rate.
    kept: f64,
    /// The most grants of one task less the fewest.
    spread: u64,
    /// Microseconds of CPU time per grant.
    cpu: f64,
}

fn grants(bench: &mut Bench, host: Host, rate: u32) {
    let on = match host {
        Host::Tokio => "",
        Host::Smol => ", smol",
    };
    let what = format!("1,000 tasks at {rate}/s{on}");
    let row = format!("CPU per grant, {what}");
    let keeping = KEEPING.map(|(row, ..)| format!("{row}, {what}"));
    if !bench.wants(&row) && !keeping.iter().any(|row| bench.wants(row)) {
        return;
    }
    // Windows of two seconds as the target says; quick runs look at less.
    let length = Duration::from_millis(if bench.is_quick() { 300 } else { 2_000 });
    let rounds = if bench.is_quick() {
        1
    } else {
        bench.rounds().min(5)
    };
    let mut contenders: Vec<(&str, Contender)> = vec![
        ("flow", flow),
        ("governor", governor),
        ("governor, jitter", governor_with_jitter),
    ];
    if host == Host::Tokio {
        // It knows no other runtime.
        contenders.push(("leaky-bucket", leaky));
        contenders.push(("leaky-bucket, 10 ms", leaky_each_10_ms));
    }
    let mut windows: Vec<Vec<Window>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((_, run), windows) in contenders.iter().zip(&mut windows) {
            windows.push(run(host, rate, length));
        }
    }
    for (row, (_, unit, figure)) in keeping.iter().zip(KEEPING) {
        let mut worst = contenders.iter().zip(&windows).map(|((name, _), windows)| {
            let worst = windows.iter().map(figure).fold(0.0, f64::max);
            (*name, vec![worst])
        });
        if let Some((_, ours)) = worst.next() {
            bench.record(row, unit, &ours, &worst.collect::<Vec<_>>());
        }
    }
    let mut cpu = contenders.iter().zip(&windows).map(|((name, _), windows)| {
        let each = windows.iter().map(|window| window.cpu);
        (*name, each.collect::<Vec<_>>())
    });
    let Some((_, ours)) = cpu.next() else {
        return;
    };
    let mut peers: Vec<_> = cpu.collect();
    if rate >= 100_000 {
        // What a grant may use if all of them are to take 0.15 of a core.
        peers.push(("0.15 core", vec![0.15e6 / f64::from(rate); rounds]));
    }
    bench.record(&row, "µs", &ours, &peers);
}

/// How well the rate was kept in the worst window, and how evenly it was shared: so that less is
/// better, and by what is never zero if it can be helped.
const KEEPING: [(&str, &str, Figure); 3] = [
    ("the rate by its lowest window", "%", |it| 1e4 / it.kept),
    ("the highest window by the rate", "%", |it| it.kept),
    ("most less fewest grants of a task", "grants", |it| {
        it.spread as f64
    }),
];

/// Lets tasks take by `take` for a while, and looks at one window of it.
fn window<F, Fut>(host: Host, rate: u32, length: Duration, take: F) -> Window
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let taken: Arc<Vec<AtomicU64>> = Arc::new((0..TASKS).map(|_| AtomicU64::new(0)).collect());
    let tasks = (0..TASKS).map(|task| {
        let (take, taken) = (take.clone(), taken.clone());
        async move {
            loop {
                take().await;
                taken[task].fetch_add(1, Relaxed);
            }
        }
    });
    let tasks = match host {
        Host::Tokio => {
            let runtime = runtime();
            tasks.for_each(|task| drop(runtime.spawn(task)));
            Tasks::Tokio(runtime)
        }
        Host::Smol => Tasks::Smol(tasks.map(smol::spawn).collect()),
    };
    let look = || {
        taken
            .iter()
            .map(|taken| taken.load(Relaxed))
            .collect::<Vec<_>>()
    };
    // Until everybody queues and what the limiter held at the start is gone.
    std::thread::sleep(length / 4);
    let (before, cpu, start) = (look(), process::cpu_time(), Instant::now());
    std::thread::sleep(length);
    let (after, cpu, time) = (
        look(),
        process::cpu_time().saturating_sub(cpu),
        start.elapsed(),
    );
    match tasks {
        Tasks::Tokio(runtime) => runtime.shutdown_background(),
        Tasks::Smol(tasks) => drop(tasks),
    }
    let each: Vec<u64> = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect();
    let all = each.iter().sum::<u64>() as f64;
    let spread = each
        .iter()
        .max()
        .zip(each.iter().min())
        .map_or(0, |(most, least)| most - least);
    Window {
        kept: 100.0 * all / (f64::from(rate) * time.as_secs_f64()),
        spread,
        cpu: cpu.as_secs_f64() * 1e6 / all.max(1.0),
    }
}

fn flow(host: Host, rate: u32, length: Duration) -> Window {
    let bucket = TokenBucket::builder()
        .rate(Rate::per_second(rate.into()))
        .burst(10)
        .initial(0)
        .build()
        .expect("a valid limit");
    window(host, rate, length, move || {
        let bucket = bucket.clone();
        async move {
            let _ = bucket.acquire().await;
        }
    })
}

fn governor(host: Host, rate: u32, length: Duration) -> Window {
    let limiter = Arc::new(governor_of(rate));
    window(host, rate, length, move || {
        let limiter = limiter.clone();
        async move { limiter.until_ready().await }
    })
}

/// Each at another time than those granted with it.
fn governor_with_jitter(host: Host, rate: u32, length: Duration) -> Window {
    let limiter = Arc::new(governor_of(rate));
    let jitter = Jitter::up_to(Duration::from_millis(10));
    window(host, rate, length, move || {
        let limiter = limiter.clone();
        async move { limiter.until_ready_with_jitter(jitter).await }
    })
}

fn governor_of(rate: u32) -> DefaultDirectRateLimiter {
    let per_second = NonZeroU32::new(rate).expect("not zero");
    let burst = NonZeroU32::new(10).expect("not zero");
    RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst))
}

/// As it is meant to be used for such rates: so many every millisecond.
fn leaky(host: Host, rate: u32, length: Duration) -> Window {
    leaky_each(1, host, rate, length)
}

/// The same with fewer of its timers, and larger batches.
fn leaky_each_10_ms(host: Host, rate: u32, length: Duration) -> Window {
    leaky_each(10, host, rate, length)
}

fn leaky_each(millis: usize, host: Host, rate: u32, length: Duration) -> Window {
    let refill = (rate as usize * millis / 1_000).max(1);
    let limiter = Arc::new(
        LeakyBucket::builder()
            .initial(0)
            .max(10.max(refill))
            .refill(refill)
            .interval(Duration::from_millis(millis as u64))
            .fair(true)
            .build(),
    );
    window(host, rate, length, move || {
        let limiter = limiter.clone();
        async move { limiter.acquire_one().await }
    })
}

/// What a hundred thousand waiters take, beside the futures that the caller holds.
///
/// By what the process has resident: before any other row, or they are given what others left.
pub(crate) fn weight(bench: &mut Bench) {
    const ROW: &str = "bytes per waiter, 100,000 queued";
    if !bench.wants(ROW) {
        return;
    }
    let runtime = runtime();
    let _entered = runtime.enter();
    let bucket = TokenBucket::builder()
        .rate(Rate::per_hour(1))
        .burst(1)
        .initial(0)
        .build()
        .expect("a valid limit");
    let mut waiters: Vec<_> = (0..QUEUED).map(|_| bucket.acquire()).collect();
    let cx = &mut Context::from_waker(Waker::noop());
    let before = process::resident();
    for waiter in &mut waiters {
        assert!(
            Pin::new(waiter).poll(cx).is_pending(),
            "the bucket is empty"
        );
    }
    let each = process::resident().saturating_sub(before) as f64 / QUEUED as f64;
    assert_eq!(bucket.stats().waiting, QUEUED);
    assert!(each > 0.0, "another row had that memory before");
    drop(waiters);
    bench.record(ROW, "B", &[each], &[("allowed", vec![64.0])]);
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime")
}
