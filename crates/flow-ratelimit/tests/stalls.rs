//! Drivers that are held up at random: however late they come, no window of time gets more than a
//! burst and what the rate brings in it.
#![cfg(not(loom))]

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::Instant;
use flow_rt::sim::{Sim, Stall};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// When one who waits was granted: a driver wakes it at the instant at which it takes the tokens.
struct Noted {
    sim: Sim,
    at: Mutex<Option<Instant>>,
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        let mut at = self.at.lock().expect("not poisoned");
        at.get_or_insert_with(|| self.sim.now());
    }
}

/// What each of them got and when, in order.
async fn grants(sim: Sim, bucket: TokenBucket, needs: Vec<u64>) -> Vec<(u64, u64)> {
    let waits = needs.into_iter().map(|n| {
        let noted = Arc::new(Noted {
            sim: sim.clone(),
            at: Mutex::default(),
        });
        let mut wait = Box::pin(bucket.acquire_n(n));
        let waker = Waker::from(noted.clone());
        if wait
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            noted.wake_by_ref();
        }
        (n, noted, wait)
    });
    let waits: Vec<_> = waits.collect();
    let mut granted = Vec::new();
    for &(n, ref noted, _) in &waits {
        let at = loop {
            if let Some(at) = *noted.at.lock().expect("not poisoned") {
                break at;
            }
            sim.sleep(MS).await;
        };
        granted.push((at.as_nanos(), n));
    }
    // Not before: a grant that nobody takes goes back.
    drop(waits);
    granted
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(150)
    })]

    #[test]
    fn no_window_gets_more_of_a_driver_that_is_late(
        seed in any::<u64>(),
        rate in prop_oneof![50..2_000_u64, 2_000..200_000_u64],
        burst in prop_oneof![1..5_u64, 5..60_u64],
        initial in 0..5_u64,
        catch_up in prop_oneof![Just(None), (0..30_u64).prop_map(Some)],
        one_in in 1..6_u64,
        longest in 1..400_u64,
        needs in prop::collection::vec(1..6_u64, 2..120),
    ) {
        let needs: Vec<u64> = needs.into_iter().map(|n| n.min(burst)).collect();
        // The driver's polls and the root's, which only looks what came.
        let stall = Stall::new(one_in, Duration::ZERO..=longest as u32 * MS);
        let run = Sim::new(seed).stall(stall).run(move |sim| async move {
            let bucket = TokenBucket::builder().rate(Rate::per_second(rate)).burst(burst);
            let mut bucket = bucket.initial(initial.min(burst));
            if let Some(millis) = catch_up {
                bucket = bucket.catch_up(millis as u32 * MS);
            }
            grants(sim, bucket.build().expect("valid"), needs).await
        });
        let granted = run.expect("all are served").output;
        prop_assert!(granted.is_sorted_by_key(|it| it.0), "first in, first out");
        // Those who wait may get what comes in the time that a driver may be late: 4 ms unless told
        // otherwise.
        let late = u128::from(catch_up.unwrap_or(4)) * 1_000_000;
        let (rate, second) = (u128::from(rate), 1_000_000_000);
        let kept = (u128::from(burst) * second).max(rate * late);
        for (i, &(from, _)) in granted.iter().enumerate() {
            let mut sum = 0;
            for &(to, n) in &granted[i..] {
                sum += u128::from(n);
                // A grain, and what comes in a nanosecond, beside that.
                let most = kept + rate * u128::from(to - from) + second / 512 + rate;
                prop_assert!(sum * second <= most, "{sum} in {} ns", to - from);
            }
        }
    }
}
