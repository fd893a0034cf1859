//! A handle tells the time its tokio's timers go by: when a test has paused it, and from anywhere.
#![cfg(all(feature = "tokio", not(loom)))]

use std::future::poll_fn;
use std::thread;
use std::time::Duration;

use flow_rt::{Handle, Instant};
use tokio::runtime::{Builder, Runtime as Tokio};

const DAY: Duration = Duration::from_secs(86_400);

fn paused() -> Tokio {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

#[test]
fn paused_time_is_seen_from_outside() {
    let tokio = paused();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let start = handle.now();
    let inside = tokio.block_on(async {
        tokio::time::advance(DAY).await;
        handle.now()
    });
    assert_eq!(inside, start + DAY);
    assert_eq!(handle.now(), inside);
    let elsewhere = thread::spawn(move || handle.now());
    assert_eq!(elsewhere.join().unwrap(), inside);
}

#[test]
fn a_timer_made_outside_fires_when_its_time_has_come_inside() {
    let tokio = paused();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    tokio.block_on(tokio::time::advance(DAY));
    let start = handle.now();
    let timer = handle.sleep(DAY);
    tokio.block_on(timer).unwrap();
    assert!(handle.now() >= start + DAY);
}

/// By an addition within a second, by a division beyond: the instant is the same.
#[test]
fn a_timer_that_is_moved_fires_where_it_was_moved_to() {
    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);
    let tokio = paused();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    tokio.block_on(async {
        for first in [MS, SECOND, DAY] {
            for by in [MS, 999 * MS, SECOND, SECOND + MS, DAY] {
                let ways: [fn(Instant) -> Vec<Instant>; 5] = [
                    |there| vec![there],
                    |there| vec![there + MS, there],
                    |there| vec![there + DAY, there - MS, there],
                    |there| vec![Instant::FAR_FUTURE, there],
                    |there| {
                        let never = Instant::FAR_FUTURE;
                        vec![never - MS, never, never - SECOND, there]
                    },
                ];
                for way in ways {
                    let start = handle.now();
                    let there = start + first + by;
                    let mut timer = handle.timer(start + first);
                    for at in way(there) {
                        timer.arm(at);
                    }
                    poll_fn(|cx| timer.poll_fired(cx)).await.unwrap();
                    // tokio rounds up to its tick, a millisecond.
                    assert!((there..=there + 2 * MS).contains(&handle.now()));
                }
            }
        }
    });
}

#[test]
fn one_runtime_s_paused_time_is_no_other_s() {
    let tokio = paused();
    let other = paused();
    let workers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let far = tokio.block_on(async {
        tokio::time::advance(DAY).await;
        Handle::current().unwrap().now()
    });
    let _inside = tokio.enter();
    for stranger in [other.handle(), workers.handle()] {
        let stranger = Handle::tokio(stranger.clone()).unwrap();
        assert!(stranger.now() + DAY / 2 < far);
    }
}
