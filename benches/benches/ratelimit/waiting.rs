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
use governor::{Quota, RateLimiter};
use leaky_bucket::RateLimiter as LeakyBucket;
use tokio::runtime::{Builder, Runtime};

const TASKS: usize = 1_000;
const QUEUED: usize = 100_000;

pub(crate) fn rows(bench: &mut Bench) {
    grants(bench, Host::Tokio, 1_000);
    grants(bench, Host::Smol, 1_000);
    grants(bench, Host::Tokio, 100_000);
    weight(bench);
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
    let row = format!("CPU per grant, 1,000 tasks at {rate}/s{on}");
    if !bench.wants(&row) {
        return;
    }
    // Windows of two seconds as the target says; quick runs look at less.
    let length = Duration::from_millis(if bench.is_quick() { 300 } else { 2_000 });
    let rounds = if bench.is_quick() {
        1
    } else {
        bench.rounds().min(5)
    };
    let mut contenders: Vec<(&str, Contender)> = vec![("flow", flow), ("governor", governor)];
    if host == Host::Tokio {
        // It knows no other runtime.
        contenders.push(("leaky-bucket", leaky));
    }
    let mut windows: Vec<Vec<Window>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((_, run), windows) in contenders.iter().zip(&mut windows) {
            windows.push(run(host, rate, length));
        }
    }
    for ((name, _), windows) in contenders.iter().zip(&windows) {
        let kept = |pick: fn(f64, f64) -> f64| {
            windows
                .iter()
                .map(|window| window.kept)
                .reduce(pick)
                .unwrap_or(f64::NAN)
        };
        let spread = windows.iter().map(|window| window.spread).max();
        bench.note(format!(
            "{rate}/s for 1,000 tasks{on}, {name}: {:.1} to {:.1} % of the rate in windows of {:?}, \
             the most grants of a task less the fewest at most {}.",
            kept(f64::min),
            kept(f64::max),
            length,
            spread.unwrap_or(0),
        ));
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
    let per_second = NonZeroU32::new(rate).expect("not zero");
    let burst = NonZeroU32::new(10).expect("not zero");
    let limiter = Arc::new(RateLimiter::direct(
        Quota::per_second(per_second).allow_burst(burst),
    ));
    window(host, rate, length, move || {
        let limiter = limiter.clone();
        async move { limiter.until_ready().await }
    })
}

fn leaky(host: Host, rate: u32, length: Duration) -> Window {
    // As it is meant to be used for such rates: so many every millisecond.
    let refill = (rate as usize / 1_000).max(1);
    let limiter = Arc::new(
        LeakyBucket::builder()
            .initial(0)
            .max(10.max(refill))
            .refill(refill)
            .interval(Duration::from_millis(1))
            .fair(true)
            .build(),
    );
    window(host, rate, length, move || {
        let limiter = limiter.clone();
        async move { limiter.acquire_one().await }
    })
}

/// What a hundred thousand waiters take, beside the futures that the caller holds.
fn weight(bench: &mut Bench) {
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
