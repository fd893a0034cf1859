//! Who may pass whom: first in, first out, and barging.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use flow_ratelimit::{Denied, Fairness, Rate, TokenBucket};
use flow_rt::{ManualClock, TestRuntime, sim};

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    a_newcomer_passes_those_who_wait,
    those_who_wait_keep_their_order,
    barging_waits_are_served,
    nobody_passes_a_reservation,
    newcomers_take_nothing_that_a_late_driver_owes,
    newcomers_overdraw_and_waiters_do_not,
}

fn bucket(rate: Rate, burst: u64, fairness: Fairness) -> TokenBucket {
    let bucket = TokenBucket::builder().rate(rate).burst(burst).initial(0);
    bucket.fairness(fairness).build().expect("a valid bucket")
}

fn is_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
    future
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}

/// A small request passes a large one that saves, if it may, and is not counted twice.
async fn a_newcomer_passes_those_who_wait(rt: TestRuntime) {
    for fairness in [Fairness::Fifo, Fairness::Barging] {
        let bucket = bucket(Rate::per_second(100), 5, fairness);
        let mut large = pin!(bucket.acquire_n(5));
        assert!(is_pending(large.as_mut()));
        let start = rt.now();
        rt.advance(20 * MS).await;
        let passes = bucket.try_acquire_n(2);
        assert!(bucket.peek().is_err(), "{passes:?}");
        let then = if fairness == Fairness::Barging {
            assert_eq!(passes.expect("two have come").remaining(), 0);
            // As for a lone caller.
            let Err(Denied::NotYet { retry_after, .. }) = bucket.try_acquire() else {
                panic!("minted");
            };
            assert_eq!(retry_after, 10 * MS);
            70 * MS
        } else {
            assert!(passes.is_err());
            50 * MS
        };
        large.await.expect("open");
        assert_eq!(rt.now() - start, then);
    }
}

/// A reservation says when it is ready: while one is in the line, nobody passes anybody.
async fn nobody_passes_a_reservation(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(100), 5, Fairness::Barging);
    let reserved = bucket.reserve_n(3).expect("in line");
    rt.advance(20 * MS).await;
    assert!(bucket.try_acquire().is_err(), "two have come, and are its");
    assert!(bucket.peek().is_err());
    assert_eq!(reserved.delay(), 10 * MS);
    let mut large = pin!(bucket.acquire_n(5));
    assert!(is_pending(large.as_mut()));
    rt.advance(30 * MS).await;
    assert_eq!(reserved.delay(), Duration::ZERO);
    assert!(
        bucket.try_acquire().is_ok(),
        "only a waiter is left in the line"
    );
    drop(reserved);
    large.await.expect("open");
}

/// What comes beyond a burst while somebody waits is for those who wait, though a driver is late.
async fn newcomers_take_nothing_that_a_late_driver_owes(rt: TestRuntime) {
    let clock = ManualClock::new();
    let bucket = TokenBucket::builder().rate("100000/s").burst(10).initial(0);
    let bucket = bucket.fairness(Fairness::Barging).clock(clock.clone());
    let bucket = bucket.build().expect("a valid bucket");
    for look_first in [false, true] {
        let mut waits: Vec<_> = (0..5).map(|_| Box::pin(bucket.acquire_n(6))).collect();
        assert!(waits.iter_mut().all(|wait| is_pending(wait.as_mut())));
        // A hundred have come, and thirty are due to those who wait.
        clock.advance(MS);
        if look_first {
            bucket.peek_n(10).expect("a burst is left");
            assert_eq!(bucket.stats().waiting, 0);
        }
        let passed = (0..100).filter(|_| bucket.try_acquire().is_ok()).count();
        assert_eq!(passed, 10, "a burst");
        assert!(waits.iter_mut().all(|wait| !is_pending(wait.as_mut())));
        assert_eq!(bucket.available(), 0);
    }
    drop(rt);
}

/// Debt is for those who take at once, beside waiters too; those who wait pay first.
async fn newcomers_overdraw_and_waiters_do_not(rt: TestRuntime) {
    let bucket = TokenBucket::builder()
        .rate(Rate::per_second(100))
        .burst(2)
        .initial(0)
        .debt(3)
        .fairness(Fairness::Barging);
    let bucket = bucket.build().expect("a valid bucket");
    let mut waits = pin!(bucket.acquire());
    assert!(is_pending(waits.as_mut()));
    let start = rt.now();
    bucket.try_acquire_n(3).expect("on credit");
    assert!(bucket.try_acquire().is_err(), "no more credit");
    let mut second = pin!(bucket.acquire());
    assert!(is_pending(second.as_mut()), "who waits does not overdraw");
    waits.await.expect("open");
    assert_eq!(rt.now() - start, 40 * MS, "three to pay, and its own");
    second.await.expect("open");
    assert_eq!(rt.now() - start, 50 * MS);
}

/// Grants are in order all the same.
async fn those_who_wait_keep_their_order(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(1_000), 3, Fairness::Barging);
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for place in 0..6_u64 {
        let (waits, served, rt) = (bucket.clone(), served.clone(), rt.clone());
        tasks.push(rt.clone().spawn(async move {
            waits.acquire_n(1 + place % 3).await.expect("open");
            served.lock().expect("not poisoned").push((rt.now(), place));
        }));
        // In the queue before the next one comes: nothing is there for it to take.
        while bucket.stats().waiting <= place as usize {
            yield_once().await;
        }
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let mut served = served.lock().expect("not poisoned").clone();
    served.sort_unstable();
    assert!(served.is_sorted_by_key(|(_, place)| *place), "{served:?}");
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// What newcomers leave goes to those who wait; close ends both.
async fn barging_waits_are_served(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(1_000), 2, Fairness::Barging);
    let waits = bucket.clone();
    let waiter = rt.spawn(async move {
        for _ in 0..10 {
            waits.acquire().await.expect("open");
        }
    });
    let mut taken = 0;
    for _ in 0..10 {
        rt.advance(3 * MS).await;
        taken += u64::from(bucket.try_acquire().is_ok());
    }
    waiter.await.expect("no panic");
    assert_eq!(bucket.stats().granted, 10 + taken);
    assert!(taken > 0);
    bucket.refund(5);
    bucket.close();
    assert_eq!(bucket.try_acquire(), Err(Denied::Closed));
    assert_eq!(bucket.peek(), Err(Denied::Closed));
}

/// Random newcomers and waits: nothing is minted or lost, whoever passes whom.
#[test]
fn barging_conserves_every_token() {
    sim::check(0..300, |rt| async move {
        let mut rng = rt.rng();
        let clock = ManualClock::new();
        let bucket = TokenBucket::builder()
            .rate(Rate::per_second(1_000))
            .burst(20)
            .initial(0)
            .fairness(Fairness::Barging)
            .clock(clock.clone())
            .build()
            .expect("valid");
        let mut waits: Vec<(u64, std::pin::Pin<Box<_>>)> = Vec::new();
        let (mut supplied, mut spent) = (0, 0);
        for _ in 0..200 {
            match rng.below(5) {
                0 => {
                    let n = 1 + rng.below(20);
                    waits.push((n, Box::pin(bucket.acquire_n(n))));
                }
                1 if !waits.is_empty() => {
                    let left = rng.below(waits.len() as u64) as usize;
                    drop(waits.remove(left));
                }
                2 => {
                    // No more than fits: nothing runs over.
                    let more = rng.below(5).min(20 - (supplied - spent));
                    clock.advance(MS * more as u32);
                    supplied += more;
                }
                _ => {
                    let n = 1 + rng.below(6);
                    spent += if bucket.try_acquire_n(n).is_ok() {
                        n
                    } else {
                        0
                    };
                }
            }
            let mut cx = Context::from_waker(Waker::noop());
            waits.retain_mut(|(n, wait)| {
                let granted = wait.as_mut().poll(&mut cx).is_ready();
                spent += if granted { *n } else { 0 };
                !granted
            });
            assert!(spent <= supplied);
            assert_eq!(bucket.available(), supplied - spent);
        }
    });
}
