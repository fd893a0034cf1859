//! What an adaptive limit adds to a permit, and what the algorithms make of a service whose
//! capacity steps: the limit over time beside the capacity.

#[allow(dead_code, reason = "the tests of flow-ratelimit use all of it")]
#[path = "../../../crates/flow-ratelimit/tests/support/service.rs"]
mod service;

use std::time::Duration;

use flow_benches::{Bench, Curve, on_threads, repeat};
use flow_ratelimit::{Aimd, ConcurrencyLimiter, Gradient2, LimitAlgorithm, Vegas};
use flow_rt::{CoarseClock, Handle};
use service::{Noise, Service};
use tokio::runtime::Builder;

/// As in the rows of the fixed one.
const LIMIT: u32 = 64;

pub(crate) fn rows(bench: &mut Bench) {
    let fixed = ConcurrencyLimiter::new(LIMIT).expect("a valid limit");
    let adaptive = ConcurrencyLimiter::adaptive(Gradient2::default()).range(LIMIT..=LIMIT);
    let adaptive = adaptive.build().expect("a valid range");
    let work = || drop(fixed.try_acquire());
    let teach = || {
        if let Ok(permit) = adaptive.try_acquire() {
            permit.success();
        }
    };
    bench
        .row("adaptive on, 1 thread")
        .flow(|n| repeat(n, |_| teach()))
        .peer("fixed", |n| repeat(n, |_| work()))
        .measure();
    bench
        .row("adaptive on, 2 threads")
        .flow(|n| on_threads(2, n, |_| teach()))
        .peer("fixed", |n| on_threads(2, n, |_| work()))
        .measure();
    every_permit(bench, &fixed);
    bench.note(
        "Adaptive limits take as samples as many permits as a window of 100 ms needs: at the \
         rates of these rows one in 64. *Every one* is what a sample costs, by the machine's \
         clock and by a coarse one.",
    );
    curves(bench);
}

/// Windows so short that no permit is left out.
fn every_permit(bench: &mut Bench, fixed: &ConcurrencyLimiter) {
    let row = "adaptive on, every one a sample";
    if !bench.wants(row) {
        return;
    }
    let limiter = || {
        ConcurrencyLimiter::adaptive(Gradient2::default())
            .range(LIMIT..=LIMIT)
            .window(Duration::from_micros(20))
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let handle = Handle::tokio(runtime.handle().clone()).expect("with timers");
    let clock = CoarseClock::on(&handle, Duration::from_millis(1)).expect("a resolution");
    let machine = limiter().build().expect("a valid range");
    // Its windows are those of the clock, of a millisecond: as full as they get.
    let coarse = limiter().clock(clock).build().expect("a valid range");
    bench
        .row(row)
        .flow(|n| {
            repeat(n, |_| {
                machine
                    .try_acquire()
                    .map(flow_ratelimit::AdaptivePermit::success)
            })
        })
        .peer("fixed", |n| repeat(n, |_| drop(fixed.try_acquire())))
        .peer("coarse clock, sampled", |n| {
            repeat(n, |_| {
                coarse
                    .try_acquire()
                    .map(flow_ratelimit::AdaptivePermit::success)
            })
        })
        .measure();
}

/// The capacity over time: windows, and servers.
const STEPS: [(u32, usize); 5] = [(100, 50), (100, 25), (100, 100), (100, 50), (100, 200)];
const WINDOW: Duration = Duration::from_millis(100);
const MEAN: Duration = Duration::from_millis(10);

fn curves(bench: &mut Bench) {
    let mut capacity = Vec::new();
    for (windows, servers) in STEPS {
        capacity.extend((0..windows).map(|_| servers as f64));
    }
    let curves = [
        Curve::new("capacity", capacity),
        curve("Gradient2", usize::MAX, Gradient2::default()),
        curve("Vegas", usize::MAX, Vegas::default()),
        curve("Aimd (where it is refused)", 1, Aimd::default()),
    ];
    bench.plot(
        "adaptive",
        "Limit found over windows of 100 ms, and the capacity of the service",
        &curves,
    );
}

fn curve(name: &str, room: usize, algorithm: impl LimitAlgorithm) -> Curve {
    let mut service = Service::new(1, STEPS[0].1, MEAN, Noise::Half);
    service.refuse_beyond(room);
    let limiter = ConcurrencyLimiter::adaptive(algorithm).clock(service.clock());
    let limiter = limiter.build().expect("a valid limiter");
    service.join(limiter.clone());
    let mut limits = Vec::new();
    for (windows, servers) in STEPS {
        service.change(servers, MEAN);
        for _ in 0..windows {
            service.run(WINDOW);
            limits.push(f64::from(limiter.limit()));
        }
    }
    Curve::new(name, limits)
}
