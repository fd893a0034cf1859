//! Those who wait and those who have reserved in one line, over many interleavings.
#![cfg(not(loom))]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::sim;

const MS: Duration = Duration::from_millis(1);

/// Whoever is left is served in the order of the line, and nothing is minted or lost.
#[test]
fn one_line_for_all_with_random_cancels() {
    sim::check(0..200, |rt| async move {
        let mut rng = rt.rng();
        let bucket = TokenBucket::builder()
            .rate(Rate::per_second(1_000))
            // It never runs over, so that every token is somewhere.
            .burst(10_000)
            .initial(0);
        let bucket = bucket.build().expect("a valid bucket");
        let start = rt.now();
        let served = Arc::new(Mutex::new(Vec::new()));
        let (mut tasks, mut held, mut refunded) = (Vec::new(), Vec::new(), 0);
        for place in 0..60_u64 {
            let need = 1 + rng.below(10);
            let (rt2, served) = (rt.clone(), served.clone());
            match rng.below(8) {
                0..3 => {
                    let bucket = bucket.clone();
                    tasks.push(rt.spawn(async move {
                        bucket.acquire_n(need).await.expect("open");
                        let mut served = served.lock().expect("not poisoned");
                        served.push((place, rt2.now(), need));
                    }));
                    // In the line before the next one comes.
                    rt.run_until_idle().await;
                }
                3 | 4 => {
                    let reserved = bucket.reserve_n(need).expect("in line");
                    tasks.push(rt.spawn(async move {
                        reserved.await.expect("open");
                        let mut served = served.lock().expect("not poisoned");
                        served.push((place, rt2.now(), need));
                    }));
                }
                5 => held.push(bucket.reserve_n(need).expect("in line")),
                6 if !tasks.is_empty() => {
                    // A reservation that is ready and not looked at would be spent, by nobody here.
                    rt.run_until_idle().await;
                    let victim = rng.below(tasks.len() as u64) as usize;
                    tasks.swap_remove(victim).abort();
                    rt.run_until_idle().await;
                }
                6 if !held.is_empty() => {
                    let victim = rng.below(held.len() as u64) as usize;
                    let reserved = held.swap_remove(victim);
                    if reserved.delay().is_zero() {
                        bucket.refund(reserved.tokens());
                    }
                }
                7 if place % 2 == 0 => {
                    bucket.refund(1);
                    refunded += 1;
                }
                _ => rt.sleep(MS * rng.below(30) as u32).await,
            }
        }
        let mut spent = 0;
        for reserved in held {
            let n = reserved.tokens();
            reserved.await.expect("open");
            spent += n;
        }
        for task in tasks {
            task.await.expect("served");
        }
        let passed = rt.now() - start;
        let mut served = served.lock().expect("not poisoned").clone();
        // Those granted at one instant run in any order, which is the executor's.
        served.sort_unstable();
        assert!(served.is_sorted_by_key(|(_, at, _)| *at), "{served:?}");
        spent += served.iter().map(|(_, _, need)| need).sum::<u64>();
        let supplied = passed.as_millis() as u64 + refunded;
        assert!(spent <= supplied, "{spent} of {supplied}");
        assert_eq!(bucket.stats().waiting, 0);
        // Whatever was cancelled took nothing with it.
        assert_eq!(bucket.available(), supplied - spent);
        rt.run_until_idle().await;
        // Beyond a linger.
        rt.advance(Duration::from_millis(200)).await;
        assert_eq!(rt.live_tasks(), 0, "a driver stays");
    });
}
