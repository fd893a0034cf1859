//! A handle tells the time its tokio's timers go by: when a test has paused it, and from anywhere.
#![cfg(all(feature = "tokio", not(loom)))]

use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use flow_rt::{BoxTimer, Handle, Instant, Stopped};
use tokio::runtime::{Builder, Runtime as Tokio};

const SECOND: Duration = Duration::from_secs(1);
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
    let tokio = paused();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let woken = Arc::default();
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
                        // It is moved by the poll.
                        assert!(poll(&mut timer, &woken).is_pending());
                    }
                    poll_fn(|cx| timer.poll_fired(cx)).await.unwrap();
                    // tokio rounds up to its tick, a millisecond.
                    assert!((there..=there + 2 * MS).contains(&handle.now()));
                }
            }
        }
    });
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll(timer: &mut BoxTimer, woken: &Arc<Woken>) -> Poll<Result<(), Stopped>> {
    let waker = Waker::from(woken.clone());
    timer.poll_fired(&mut Context::from_waker(&waker))
}

/// Moves the time that the test has paused.
async fn pass(time: Duration) {
    #[allow(
        clippy::disallowed_methods,
        reason = "by the host's own timer, beside ours"
    )]
    tokio::time::sleep(time).await;
}

/// Moves a timer to each of these seconds after `start`, and polls it each time.
fn move_later(timer: &mut BoxTimer, start: Instant, to: RangeInclusive<u32>, woken: &Arc<Woken>) {
    for second in to {
        timer.arm(start + second * SECOND);
        assert!(poll(timer, woken).is_pending());
    }
}

#[test]
fn a_timer_that_is_moved_a_few_times_wakes_nobody_early() {
    let tokio = paused();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    tokio.block_on(async {
        let (start, woken) = (handle.now(), Arc::default());
        let mut timer = handle.timer(start + SECOND);
        for round in 1..=3 {
            move_later(
                &mut timer,
                start + (round - 1) * 21 * SECOND,
                1..=20,
                &woken,
            );
            pass(19 * SECOND).await;
            assert_eq!(woken.times(), round as usize - 1);
            pass(2 * SECOND).await;
            assert_eq!(woken.times(), round as usize);
            assert!(poll(&mut timer, &woken).is_ready());
        }
    });
}

/// It is left where it is by then, and moved to where it belongs when it fires there.
#[test]
fn a_timer_that_is_moved_often_wakes_early_once() {
    let tokio = paused();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    tokio.block_on(async {
        for _ in 0..3 {
            let (start, before, woken) = (handle.now(), Arc::default(), Arc::default());
            let mut timer = handle.timer(start + SECOND);
            move_later(&mut timer, start, 1..=999, &before);
            move_later(&mut timer, start, 1_000..=1_000, &woken);
            pass(998 * SECOND).await;
            // Who polled last, once.
            assert_eq!((before.times(), woken.times()), (0, 1));
            assert!(poll(&mut timer, &woken).is_pending());
            pass(SECOND).await;
            assert_eq!(woken.times(), 1);
            assert!(poll(&mut timer, &woken).is_pending());
            pass(2 * SECOND).await;
            assert_eq!(woken.times(), 2);
            assert!(poll(&mut timer, &woken).is_ready());
        }
    });
}

#[test]
fn a_timer_that_was_left_has_fired_though_nobody_polled_it_meanwhile() {
    let tokio = paused();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    tokio.block_on(async {
        let (start, woken) = (handle.now(), Arc::default());
        let mut timer = handle.timer(start + SECOND);
        move_later(&mut timer, start, 1..=1_000, &woken);
        pass(1_001 * SECOND).await;
        assert!(poll(&mut timer, &woken).is_ready());
        // And earlier again, from where it is by now.
        move_later(&mut timer, start + 1_001 * SECOND, 1..=1_000, &woken);
        timer.arm(start + 1_002 * SECOND);
        assert!(poll(&mut timer, &woken).is_pending());
        pass(2 * SECOND).await;
        assert!(poll(&mut timer, &woken).is_ready());
    });
}

#[test]
fn a_timer_that_was_left_hears_of_a_shutdown() {
    let tokio = paused();
    let handle = Handle::tokio(tokio.handle().clone()).unwrap();
    let (start, woken) = (handle.now(), Arc::default());
    let mut timer = handle.timer(start + SECOND);
    move_later(&mut timer, start, 1..=1_000, &woken);
    drop(tokio);
    assert_eq!(woken.times(), 1);
    for _ in 0..2 {
        assert_eq!(poll(&mut timer, &woken), Poll::Ready(Err(Stopped::new())));
        timer.arm(start + DAY);
    }
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
