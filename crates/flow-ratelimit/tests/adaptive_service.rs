//! What the algorithms make of services: capacity that steps, noise, several clients, and the
//! failures of other implementations as scenarios.
#![cfg(not(loom))]

#[path = "support/service.rs"]
mod service;

use std::ops::RangeInclusive;
use std::time::Duration;

use flow_ratelimit::{
    AdaptiveLimiter, Aimd, ConcurrencyLimiter, Gradient2, LimitAlgorithm, Vegas, Window,
};
use flow_rt::ManualClock;
use service::{Noise, Random, Service};

const WINDOW: Duration = Duration::from_millis(100);
const MEAN: Duration = Duration::from_millis(10);

type Make = fn() -> Box<dyn Algorithm>;

/// The algorithms, each with how many the service lets wait before it refuses.
fn algorithms() -> [(&'static str, usize, Make); 3] {
    [
        ("vegas", usize::MAX, || Box::new(Vegas::default())),
        ("gradient2", usize::MAX, || Box::new(Gradient2::default())),
        // It goes by refusals and by nothing else.
        ("aimd", 1, || Box::new(Aimd::default())),
    ]
}

/// Any algorithm, to be built into a limiter later.
trait Algorithm {
    fn limiter(
        self: Box<Self>,
        clock: ManualClock,
        window: Duration,
        initial: u32,
    ) -> AdaptiveLimiter<ManualClock>;
    fn on_window(&mut self, window: &Window) -> u32;
}

impl<A: LimitAlgorithm> Algorithm for A {
    fn limiter(
        self: Box<Self>,
        clock: ManualClock,
        window: Duration,
        initial: u32,
    ) -> AdaptiveLimiter<ManualClock> {
        let builder = ConcurrencyLimiter::adaptive(*self)
            .range(1..=2_000)
            .initial(initial);
        builder.window(window).clock(clock).build().expect("valid")
    }

    fn on_window(&mut self, window: &Window) -> u32 {
        LimitAlgorithm::on_window(self, window)
    }
}

/// The limit's mean over the next `time`, as a part of `capacity`.
fn found(
    service: &mut Service,
    client: &AdaptiveLimiter<ManualClock>,
    time: Duration,
    capacity: usize,
) -> f64 {
    let looks = time.as_millis() / WINDOW.as_millis();
    let mut sum = 0.0;
    for _ in 0..looks {
        service.run(WINDOW);
        sum += f64::from(client.limit());
    }
    sum / looks as f64 / capacity as f64
}

/// Capacity steps up and down. After 50 windows the limit is within a tenth of it.
fn steps(noise: Noise, seeds: u64, window: Duration) {
    for (name, room, make) in algorithms() {
        for seed in 1..=seeds {
            let mut service = Service::new(seed, 50, MEAN, noise);
            service.refuse_beyond(room);
            let client = make().limiter(service.clock(), window, 20);
            service.join(client.clone());
            for servers in [50, 25, 100, 50, 200, 100] {
                service.change(servers, MEAN);
                service.run(50 * window);
                service.take_latency();
                let limit = found(&mut service, &client, 50 * window, servers);
                let latency = service.take_latency();
                assert!(
                    (0.9..=1.1).contains(&limit),
                    "{name}, {seed}: {limit:.3} of {servers}"
                );
                assert!(
                    latency <= 2 * MEAN,
                    "{name}, {seed}: {latency:?} at {servers}"
                );
            }
        }
    }
}

#[test]
fn the_limit_is_near_the_capacity_50_windows_after_a_step() {
    steps(Noise::None, 1, WINDOW);
}

#[test]
fn the_limit_is_near_the_capacity_among_noise() {
    steps(Noise::Half, 4, WINDOW);
}

#[test]
fn the_limit_is_near_the_capacity_of_m_m_c() {
    // A window of 100 ms knows the mean to 2 to 6 %; 8 % of a queue is seen by that late.
    steps(Noise::Exponential, 2, 3 * WINDOW);
}

#[test]
fn a_slower_service_is_found_out() {
    for (name, room, make) in algorithms() {
        for seed in 1..=4 {
            let mut service = Service::new(seed, 50, MEAN, Noise::Half);
            service.refuse_beyond(room);
            let client = make().limiter(service.clock(), WINDOW, 20);
            service.join(client.clone());
            for mean in [MEAN, 2 * MEAN, 3 * MEAN, MEAN] {
                service.change(50, mean);
                service.run(150 * WINDOW);
                let limit = found(&mut service, &client, 50 * WINDOW, 50);
                assert!(
                    (0.8..=1.25).contains(&limit),
                    "{name}, {seed}: {limit:.3} at {mean:?}"
                );
            }
        }
    }
}

/// It is slower by less than a queue would be clearly: the limit that is lowered for that, again and
/// again, comes back before there is nothing left of it.
#[test]
fn a_service_that_is_a_little_slower_is_not_left_alone() {
    for part in [1.05, 1.1, 1.15] {
        let mut all = 0.0;
        for seed in 1..=8 {
            let mut service = Service::new(seed, 50, MEAN, Noise::Half);
            let client = Gradient2::default();
            let client = Box::new(client).limiter(service.clock(), WINDOW, 20);
            service.join(client.clone());
            service.run(150 * WINDOW);
            service.change(50, MEAN.mul_f64(part));
            let limit = found(&mut service, &client, 400 * WINDOW, 50);
            assert!((0.8..=1.2).contains(&limit), "{part}, {seed}: {limit:.3}");
            all += limit / 8.0;
        }
        assert!((0.9..=1.1).contains(&all), "{part}: {all:.3}");
    }
}

/// Two clients of a service with 100 servers, of which the first has all when the second comes
/// with a limit of `second`. By the mean of 2,000 windows they are within a fifth of each other.
fn share(algorithm: usize, second: u32, seeds: RangeInclusive<u64>) {
    let (name, room, make) = algorithms()[algorithm];
    for seed in seeds {
        let mut service = Service::new(seed, 100, MEAN, Noise::Half);
        service.refuse_beyond(room);
        let one = make().limiter(service.clock(), WINDOW, 20);
        let other = make().limiter(service.clock(), WINDOW, second);
        service.join(one.clone());
        service.run(100 * WINDOW);
        service.join(other.clone());
        service.run(300 * WINDOW);
        let (mut shares, windows) = ((0.0, 0.0), 2_000);
        for _ in 0..windows {
            service.run(WINDOW);
            shares.0 += f64::from(one.limit());
            shares.1 += f64::from(other.limit());
        }
        let ratio = shares.0 / shares.1;
        let sum = (shares.0 + shares.1) / f64::from(windows) / 100.0;
        assert!(
            (1.0 / 1.2..=1.2).contains(&ratio),
            "{name}, {seed}: {ratio:.3}"
        );
        assert!((0.9..=1.15).contains(&sum), "{name}, {seed}: {sum:.3}");
    }
}

#[test]
fn two_clients_come_to_equal_shares_by_vegas() {
    share(0, 20, 1..=4);
}

#[test]
fn two_clients_come_to_equal_shares_by_gradient2() {
    share(1, 20, 1..=8);
}

/// Each has as much as there is.
#[test]
fn two_clients_come_to_equal_shares_by_gradient2_from_too_much() {
    share(1, 100, 1..=4);
}

#[test]
fn two_clients_come_to_equal_shares_by_aimd() {
    share(2, 20, 1..=4);
}

/// Each probe of one takes a twentieth of what is in flight, and the others fill it up.
#[test]
fn four_clients_keep_no_queue_for_the_unloaded_latency() {
    for seed in 1..=4 {
        let mut service = Service::new(seed, 400, MEAN, Noise::Half);
        let mut clients = Vec::new();
        for _ in 0..4 {
            let client = Gradient2::default();
            let client = Box::new(client).limiter(service.clock(), WINDOW, 20);
            service.join(client.clone());
            service.run(100 * WINDOW);
            clients.push(client);
        }
        service.run(100 * WINDOW);
        let mut shares = [0.0; 4];
        for _ in 0..500 {
            service.run(WINDOW);
            for (share, client) in shares.iter_mut().zip(&clients) {
                *share += f64::from(client.limit()) / 500.0;
            }
        }
        let sum = shares.iter().sum::<f64>() / 400.0;
        assert!((0.9..=1.15).contains(&sum), "{seed}: {shares:.0?}");
    }
}

/// A window as a service with so many servers would show it.
fn shown(limit: u32, servers: f64, error: f64, random: &mut Random) -> Window {
    let queued = (f64::from(limit) / servers).max(1.0);
    let measured = (1.0 + error * random.normal()).max(0.1);
    let latency = MEAN.mul_f64(queued * measured);
    // The mean of 400 is 20 times as sure as one of them.
    Window::new(limit)
        .successes(400, latency)
        .deviation(MEAN.mul_f64(queued * error * 20.0))
        .max_in_flight(limit)
}

#[test]
fn nothing_drifts_in_a_million_windows() {
    for (name, _, make) in algorithms() {
        let mut algorithm = make();
        let mut random = Random(0x5EED);
        let (mut limit, mut sum) = (20, 0.0);
        for turn in 1..=1_000_000 {
            let mut window = shown(limit, 50.0, 0.02, &mut random);
            if name == "aimd" && limit > 50 {
                window = window.failures(100);
            }
            limit = algorithm.on_window(&window).clamp(1, 2_000);
            sum += f64::from(limit);
            if turn % 10_000 == 0 {
                let mean = sum / 10_000.0 / 50.0;
                assert!((0.9..=1.1).contains(&mean), "{name} at {turn}: {mean:.3}");
                sum = 0.0;
            }
        }
    }
}

/// concurrency-limits#134: at a gradient of 0.8 the queue's allowance makes up for all of the
/// decrease, so the limit grows however slow the service becomes.
#[test]
fn gradient2_does_not_grow_while_latency_says_no() {
    let mut gradient = Gradient2::default();
    let mut limit = 20;
    for _ in 0..8 {
        let calm = Window::new(limit).successes(400, MEAN).max_in_flight(limit);
        limit = LimitAlgorithm::on_window(&mut gradient, &calm);
    }
    for _ in 0..2 {
        let slow = Window::new(limit)
            .successes(400, MEAN.mul_f64(1.25))
            .max_in_flight(limit);
        let next = LimitAlgorithm::on_window(&mut gradient, &slow);
        assert!(next <= limit, "{next} after {limit}");
        limit = next;
    }
}

/// The same over thousands of windows, in which latency follows the limit: a queue that grows with
/// it, and one that costs a quarter and no more, which is the gradient at which that one grew.
#[test]
fn gradient2_stays_where_latency_says_no() {
    type Latency = fn(f64) -> f64;
    let curves: [(&str, Latency); 2] = [
        ("a queue", |limit| (limit / 50.0).max(1.0)),
        ("a quarter", |limit| if limit > 50.0 { 1.25 } else { 1.0 }),
    ];
    for (name, latency) in curves {
        let mut gradient = Gradient2::default();
        let (mut limit, mut most) = (20, 0);
        for _ in 0..10_000 {
            let window = Window::new(limit)
                .successes(400, MEAN.mul_f64(latency(f64::from(limit))))
                .max_in_flight(limit);
            limit = LimitAlgorithm::on_window(&mut gradient, &window);
            most = most.max(limit);
        }
        assert!((50..=65).contains(&most), "{name}: {most} of 50");
    }
}

/// Envoy probes with a few requests at a time (envoy#8337, #46532): here a probe leaves four
/// fifths of the limit.
#[test]
fn a_probe_does_not_cut_the_traffic() {
    for (name, _, make) in &algorithms()[..2] {
        let mut service = Service::new(3, 50, MEAN, Noise::None);
        let client = make().limiter(service.clock(), WINDOW, 20);
        service.join(client.clone());
        service.run(100 * WINDOW);
        let mut least = u32::MAX;
        for _ in 0..2_000 {
            service.run(WINDOW / 4);
            least = least.min(client.limit());
        }
        assert!(least >= 35, "{name}: {least} of 50");
    }
}

/// A service that is a quarter slower looks like one with a queue: the limit is cut, a probe below
/// that shows that there was none, and all of it comes back. In between half of the traffic goes
/// on.
#[test]
fn a_probe_after_a_cut_leaves_half_of_the_traffic() {
    let mut least = u32::MAX;
    // The limit moves around the capacity: the service changes while it stands anywhere.
    for windows in 100..115 {
        let mut service = Service::new(1, 50, MEAN, Noise::None);
        let client = Box::new(Gradient2::default()).limiter(service.clock(), WINDOW, 20);
        service.join(client.clone());
        service.run(windows * WINDOW);
        service.change(50, MEAN * 5 / 4);
        for _ in 0..100 {
            service.run(WINDOW / 4);
            least = least.min(client.limit());
        }
        let limit = found(&mut service, &client, 50 * WINDOW, 50);
        assert!((0.9..=1.1).contains(&limit), "{windows}: {limit:.3}");
    }
    // Cut to 95 of 125, and probed at 0.64 of that.
    assert!((23..=25).contains(&least), "{least} of 50");
}

/// concurrency-limits#165: the unloaded latency is measured while a queue stands, so the queue
/// counts as none and the limit grows by it, again and again.
#[test]
fn a_queue_of_its_own_does_not_raise_the_unloaded_latency() {
    for (name, _, make) in &algorithms()[..2] {
        let mut service = Service::new(5, 50, MEAN, Noise::Half);
        let client = make().limiter(service.clock(), WINDOW, 20);
        service.join(client.clone());
        service.run(100 * WINDOW);
        // Four of five servers go: a queue four times as long as what is at work.
        service.change(10, MEAN);
        service.run(100 * WINDOW);
        let limit = found(&mut service, &client, 200 * WINDOW, 10);
        assert!((0.8..=1.3).contains(&limit), "{name}: {limit:.3} of 10");
    }
}

/// Without much traffic the limit says nothing, and stays.
#[test]
fn an_idle_limiter_does_not_move() {
    for (name, _, make) in algorithms() {
        let mut algorithm = make();
        for latency in [MEAN, 5 * MEAN, MEAN / 5] {
            for _ in 0..200 {
                let idle = Window::new(100).successes(400, latency).max_in_flight(49);
                assert_eq!(algorithm.on_window(&idle), 100, "{name}");
            }
        }
    }
}
