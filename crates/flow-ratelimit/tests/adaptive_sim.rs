//! The adaptive limiters before an M/M/c queue whose clients and servers are tasks of a simulation:
//! timers, wake-ups and the limiter's own line are real, and the time is virtual.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{AdaptiveLimiter, Aimd, ConcurrencyLimiter, Gradient2, LimitAlgorithm, Vegas};
use flow_rt::Handle;
use flow_rt::sim::{Sim, SimRng};

const MEAN: Duration = Duration::from_millis(10);
/// A shorter one knows the mean of so many exponential times too badly.
const WINDOW: Duration = Duration::from_millis(300);
/// More than the limit ever is: all that it lets through is asked for.
const CLIENTS: u32 = 250;

/// A service with so many servers and one line before them.
#[derive(Clone)]
struct Service {
    servers: ConcurrencyLimiter,
    /// How many may stand in the line; more are refused.
    room: usize,
}

impl Service {
    /// Answers after a time, or refuses.
    async fn answer(&self, rt: &Handle, rng: &mut SimRng) -> bool {
        if self.servers.available() == 0 && self.servers.stats().waiting >= self.room {
            return false;
        }
        let server = self.servers.acquire().await.expect("open");
        let part = (rng.below(1 << 53) + 1) as f64 / (1_u64 << 53) as f64;
        rt.sleep(MEAN.mul_f64(-part.ln())).await.expect("it runs");
        drop(server);
        true
    }
}

/// Asks again and again; after a refusal not at once.
async fn client(rt: Handle, mut rng: SimRng, limiter: AdaptiveLimiter, service: Service) {
    loop {
        let permit = limiter.acquire().await.expect("open");
        if service.answer(&rt, &mut rng).await {
            permit.success();
        } else {
            permit.failure();
            rt.sleep(MEAN).await.expect("it runs");
        }
    }
}

/// The mean of the limit over `settled` windows at each of these capacities, as a part of it, after
/// as many windows for each to get there; and every limit that was seen.
fn found(
    seed: u64,
    algorithm: impl LimitAlgorithm,
    room: usize,
    capacities: &'static [u32],
    settled: u32,
) -> (Vec<f64>, Vec<u32>) {
    let report = Sim::new(seed).run(|rt| async move {
        let limiter = ConcurrencyLimiter::adaptive(algorithm).range(1..=2_000);
        let limiter = limiter.window(WINDOW).build().expect("valid");
        let servers = ConcurrencyLimiter::new(capacities[0]).expect("valid");
        let service = Service { servers, room };
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (limiter, service) = (limiter.clone(), service.clone());
                rt.spawn(client((*rt).clone(), rt.rng(), limiter, service))
            })
            .collect();
        let mut parts = (Vec::new(), Vec::new());
        for &capacity in capacities {
            service.servers.set_limit(capacity).expect("valid");
            rt.sleep(WINDOW * settled).await;
            let mut sum = 0.0;
            for _ in 0..settled {
                rt.sleep(WINDOW).await;
                sum += f64::from(limiter.limit());
                parts.1.push(limiter.limit());
            }
            parts.0.push(sum / f64::from(settled) / f64::from(capacity));
        }
        for client in clients {
            client.abort();
        }
        parts
    });
    report.expect("no deadlock").output
}

fn finds_the_capacity(algorithm: impl LimitAlgorithm, room: usize) {
    let (parts, _) = found(1, algorithm, room, &[50, 25, 100, 50], 50);
    for part in &parts {
        // Five requests more are a fifth at 25, and lost in the noise of its mean.
        assert!((0.8..=1.3).contains(part), "{parts:.3?}");
    }
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    assert!((0.9..=1.1).contains(&mean), "{mean:.3} of {parts:.3?}");
}

#[test]
fn gradient2_finds_the_capacity_that_steps() {
    finds_the_capacity(Gradient2::default(), usize::MAX);
}

#[test]
fn vegas_finds_the_capacity_that_steps() {
    finds_the_capacity(Vegas::default(), usize::MAX);
}

/// It goes by refusals and by nothing else.
#[test]
fn aimd_finds_the_capacity_that_steps() {
    finds_the_capacity(Aimd::default(), 1);
}

#[test]
fn equal_seeds_find_it_by_the_same_way() {
    let run = |seed| found(seed, Vegas::default(), usize::MAX, &[20, 10], 10).1;
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
