//! Waiting on plain threads, alone and in one queue with tasks. What is refused, and where.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use flow_ratelimit::{
    AcquireBlockingError, AcquireError, Denied, LeakyBucket, Pacer, Rate, TokenBucket,
};
use flow_rt::sim::Sim;
use flow_rt::{BlockOnError, Clock, DefaultClock, Handle, ManualClock, TestRuntime};

const MS: Duration = Duration::from_millis(1);

flow_rt::on_every_runtime! {
    a_blocking_closure_waits_in_its_runtimes_time,
}

fn bucket(rate: Rate, burst: u64) -> TokenBucket {
    let bucket = TokenBucket::builder().rate(rate).burst(burst).initial(0);
    bucket.build().expect("a valid bucket")
}

/// A bucket whose time stands still: what is granted is what was refunded.
fn still(burst: u64) -> TokenBucket<ManualClock> {
    let bucket = TokenBucket::builder().rate(Rate::per_hour(1)).burst(burst);
    let bucket = bucket.initial(0).clock(ManualClock::new());
    bucket.build().expect("a valid bucket")
}

fn until_waiting<C: Clock>(bucket: &TokenBucket<C>, waiting: usize) {
    while bucket.stats().waiting != waiting {
        thread::yield_now();
    }
}

/// A stepped runtime's time moves while its closure waits; a simulation has one thread only.
async fn a_blocking_closure_waits_in_its_runtimes_time(rt: TestRuntime) {
    let bucket = bucket(Rate::per_second(200), 1);
    let start = rt.now();
    let waits = bucket.clone();
    let job = rt.spawn_blocking(move || {
        let waited = waits.acquire_blocking();
        waited.and_then(|_| waits.acquire_blocking_timeout(6 * MS))
    });
    let waited = job.await.expect("no panic");
    if rt.as_sim().is_some() {
        let refused = AcquireBlockingError::MustNotBlock(BlockOnError::InSimulation);
        assert_eq!(waited, Err(refused));
        return;
    }
    waited.expect("open");
    assert_eq!(rt.now() - start, 10 * MS);
    assert_eq!(bucket.stats().granted, 2);
}

#[test]
fn a_thread_waits_its_time() {
    let (clock, bucket) = (DefaultClock::machine(), bucket(Rate::per_second(500), 2));
    let start = clock.now();
    for n in [1, 2, 1] {
        bucket.acquire_n_blocking(n).expect("open");
    }
    assert!(clock.now() - start >= 8 * MS);
    assert_eq!((bucket.stats().granted, bucket.stats().waiting), (3, 0));
}

#[test]
fn many_threads_are_all_served() {
    let (clock, bucket) = (DefaultClock::machine(), bucket(Rate::per_second(4_000), 3));
    let start = clock.now();
    thread::scope(|scope| {
        for n in 0..24 {
            let bucket = &bucket;
            scope.spawn(move || {
                for _ in 0..5 {
                    bucket.acquire_n_blocking(1 + n % 3).expect("open");
                }
            });
        }
    });
    // 240 tokens.
    assert!(clock.now() - start >= 59 * MS);
    assert_eq!((bucket.stats().granted, bucket.stats().waiting), (120, 0));
}

/// One queue: whoever came first goes first, a thread or a task.
#[test]
fn threads_and_tasks_wait_in_one_order() {
    let bucket = still(3);
    let served = Arc::new(Mutex::new(Vec::new()));
    let smol = Handle::smol();
    let _inside = smol.enter();
    let mut threads = Vec::new();
    for place in 0..6 {
        let (waits, served) = (bucket.clone(), served.clone());
        let note = move || served.lock().expect("not poisoned").push(place);
        if place % 2 == 0 {
            threads.push(thread::spawn(move || {
                waits.acquire_blocking().expect("open");
                note();
            }));
        } else {
            smol.spawn_detached(async move {
                waits.acquire().await.expect("open");
                note();
            });
        }
        until_waiting(&bucket, place + 1);
    }
    for place in 0..6 {
        bucket.refund(1);
        while served.lock().expect("not poisoned").len() == place {
            thread::yield_now();
        }
        assert_eq!(bucket.stats().waiting, 5 - place);
    }
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert_eq!(*served.lock().expect("not poisoned"), [0, 1, 2, 3, 4, 5]);
}

/// The thread that looks for all threads passes that on when its own wait ends.
#[test]
fn a_thread_that_goes_hands_its_seat_over() {
    let bucket = bucket(Rate::per_second(100), 1);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| bucket.acquire_blocking().expect("open"));
        }
    });
    assert_eq!((bucket.stats().granted, bucket.stats().waiting), (3, 0));
}

/// A runtime that stands still, with the primary on it, holds up no thread.
#[test]
fn a_thread_takes_over_from_a_runtime_that_stands_still() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let bucket = bucket(Rate::per_second(200), 1);
    let mut held = Box::pin(bucket.acquire());
    tokio.block_on(async {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(held.as_mut().poll(&mut cx).is_pending());
    });
    // Nobody polls tokio any more.
    bucket.acquire_blocking().expect("open");
    // The held one was granted on the way.
    assert_eq!(bucket.stats().waiting, 0);
    drop(tokio);
    assert!(flow_rt::block_on(held).expect("a plain thread").is_ok());
}

/// A thread that was the primary goes: the task behind it is driven on.
#[test]
fn a_task_is_driven_on_when_the_thread_goes() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let rt = Handle::tokio(tokio.handle().clone()).expect("with time");
    let bucket = bucket(Rate::per_second(50), 1);
    let (first, behind) = (bucket.clone(), bucket.clone());
    let first = thread::spawn(move || first.acquire_blocking());
    until_waiting(&bucket, 1);
    let behind = rt.spawn(async move { behind.acquire().await });
    first.join().expect("no panic").expect("open");
    flow_rt::block_on(behind)
        .expect("a plain thread")
        .expect("no panic")
        .expect("open");
    assert_eq!(bucket.stats().waiting, 0);
}

/// Threads and tasks of two runtimes in one queue, of which one runtime dies on the way: whoever
/// does not die with it is served, and nobody else's tokens are lost.
#[test]
fn a_runtime_dies_among_threads_and_tasks() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let rt = Handle::tokio(tokio.handle().clone()).expect("with time");
    let bucket = bucket(Rate::per_second(1_000), 1);
    let smol = Handle::smol();
    let tasks: Vec<_> = (0..40)
        .map(|place| {
            let waits = bucket.clone();
            let host = if place % 2 == 0 { &rt } else { &smol };
            let task = async move {
                for _ in 0..3 {
                    waits.acquire().await.expect("open");
                }
            };
            (place % 2 != 0, host.spawn(task))
        })
        .collect();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let waits = bucket.clone();
            thread::spawn(move || {
                for _ in 0..8 {
                    waits.acquire_blocking().expect("open");
                }
            })
        })
        .collect();
    // In the midst of it, wherever the primary is.
    while bucket.stats().granted < 20 {
        thread::yield_now();
    }
    tokio.shutdown_background();
    for thread in threads {
        thread.join().expect("no panic");
    }
    for (lives, task) in tasks {
        let ended = flow_rt::block_on(task).expect("a plain thread");
        assert!(ended.is_ok() || !lives);
    }
    assert_eq!(bucket.stats().waiting, 0);
    assert!(bucket.stats().granted >= 20 * 3 + 4 * 8);
    bucket.acquire_blocking().expect("the fast path is open");
}

#[test]
fn a_limit_that_cannot_suffice_is_refused_at_once() {
    let bucket = bucket(Rate::per_hour(1), 1);
    let Err(AcquireBlockingError::NotGranted(AcquireError::Timeout { would_wait, .. })) =
        bucket.acquire_blocking_timeout(MS)
    else {
        panic!("not refused");
    };
    assert!(would_wait > Duration::from_secs(3_500));
    assert_eq!(bucket.stats().waiting, 0);
}

#[test]
fn a_wait_ends_at_its_limit() {
    let (clock, bucket) = (DefaultClock::machine(), bucket(Rate::per_second(100), 1));
    let start = clock.now();
    let over = AtomicBool::new(false);
    let waited = thread::scope(|scope| {
        scope.spawn(|| {
            // It may be held up for as long as the wait lasts, and would never see it.
            while bucket.stats().waiting != 1 && !over.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            bucket.set_rate(Rate::ZERO).expect("valid");
        });
        let waited = bucket.acquire_n_blocking_timeout(1, 12 * MS);
        over.store(true, Ordering::Relaxed);
        waited
    });
    match waited {
        Err(AcquireBlockingError::NotGranted(AcquireError::NeverRefills)) => {
            assert!(clock.now() - start >= 12 * MS);
        }
        // The other thread was held up until the token had come.
        other => assert!(other.is_ok()),
    }
    assert_eq!(bucket.stats().waiting, 0);
}

/// What it says then is reckoned from then on.
#[test]
fn a_wait_that_ends_at_its_limit_says_how_it_stands() {
    let clock = ManualClock::new();
    let bucket = TokenBucket::builder().rate("100/s").burst(1).initial(0);
    let bucket = bucket.clock(clock.clone()).build().expect("valid");
    let waits = bucket.clone();
    let waits = thread::spawn(move || waits.acquire_blocking_timeout(15 * MS));
    until_waiting(&bucket, 1);
    bucket.set_rate(Rate::per_second(10)).expect("valid");
    clock.advance(15 * MS);
    let Err(AcquireBlockingError::NotGranted(late)) = waits.join().expect("no panic") else {
        panic!("granted");
    };
    assert_eq!(Denied::from(late).retry_after(), Some(85 * MS));
    assert_eq!((bucket.stats().waiting, bucket.stats().denied), (0, 1));
}

#[test]
fn close_ends_a_threads_wait() {
    let bucket = still(1);
    let waits = bucket.clone();
    let waits = thread::spawn(move || waits.acquire_blocking());
    until_waiting(&bucket, 1);
    bucket.close();
    let closed = AcquireBlockingError::NotGranted(AcquireError::Closed);
    assert_eq!(waits.join().expect("no panic"), Err(closed));
    assert_eq!(bucket.acquire_blocking(), Err(closed));
    assert_eq!((bucket.stats().denied, bucket.stats().waiting), (2, 0));
}

#[test]
fn what_no_wait_can_change_is_refused_at_once() {
    let bucket = bucket(Rate::ZERO, 3);
    assert!(matches!(
        bucket.acquire_n_blocking(4),
        Err(AcquireBlockingError::NotGranted(
            AcquireError::ExceedsBurst { burst: 3, .. }
        ))
    ));
    assert_eq!(
        bucket.acquire_blocking(),
        Err(AcquireBlockingError::NotGranted(AcquireError::NeverRefills))
    );
    bucket.acquire_n_blocking(0).expect("always there");
}

/// Without time there is no wait: it is the answer anywhere.
#[test]
fn no_time_at_all_does_not_block() {
    let bucket = bucket(Rate::per_second(1), 1);
    let nested = flow_rt::block_on(async { bucket.acquire_blocking_timeout(Duration::ZERO) });
    assert!(matches!(
        nested,
        Ok(Err(AcquireBlockingError::NotGranted(AcquireError::Timeout { would_wait, .. })))
            if !would_wait.is_zero()
    ));
    assert_eq!((bucket.stats().denied, bucket.stats().waiting), (1, 0));
}

/// Where blocking would stop what it waits for it is refused, unless the tokens are there.
#[test]
fn refused_where_block_on_is() {
    let refused = |bucket: &TokenBucket| match bucket.acquire_blocking() {
        Err(AcquireBlockingError::MustNotBlock(why)) => why,
        other => panic!("{other:?}"),
    };
    let bucket = bucket(Rate::per_second(1), 1);
    let nested = flow_rt::block_on(async { refused(&bucket) });
    assert_eq!(nested, Ok(BlockOnError::Nested));

    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let inside = tokio.block_on(async { refused(&bucket) });
    assert!(matches!(
        inside,
        BlockOnError::InsideRuntime { name: "tokio", .. }
    ));

    let waits = bucket.clone();
    let task = Handle::smol().spawn(async move { refused(&waits) });
    let in_task = flow_rt::block_on(task)
        .expect("a plain thread")
        .expect("no panic");
    assert_eq!(in_task, BlockOnError::InsideTask);

    let simulated = Sim::new(0).run(|_| async {
        let full = TokenBucket::new(Rate::per_second(1), 1).expect("valid");
        full.acquire_blocking().expect("it is there");
        refused(&full)
    });
    assert_eq!(
        simulated.expect("no failure").output,
        BlockOnError::InSimulation
    );
    assert_eq!(bucket.stats().waiting, 0);
}

/// A clock that panics on a waiting thread leaves no place behind.
#[test]
fn a_thread_that_panics_gives_up_its_place() {
    struct Fails(std::sync::atomic::AtomicU64);
    impl Clock for Fails {
        fn now(&self) -> flow_rt::Instant {
            let looks = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if looks == 6 {
                // Not `panic!`: the hook would print it.
                std::panic::resume_unwind(Box::new("a clock's panic"));
            }
            flow_rt::Instant::ORIGIN
        }
    }
    let bucket = TokenBucket::builder()
        .rate(Rate::per_second(1_000))
        .burst(1)
        .initial(0)
        .clock(Fails(0.into()))
        .build()
        .expect("valid");
    let waits = bucket.clone();
    assert!(
        thread::spawn(move || waits.acquire_blocking())
            .join()
            .is_err()
    );
    assert_eq!(bucket.stats().waiting, 0);
    bucket.refund(1);
    bucket.try_acquire().expect("the fast path is open");
}

/// A task that was granted and is not polled holds up no thread behind it.
#[test]
fn a_held_task_in_front_holds_up_no_thread() {
    let bucket = still(2);
    let smol = Handle::smol();
    let _inside = smol.enter();
    let mut held = pin!(bucket.acquire());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(held.as_mut().poll(&mut cx).is_pending());
    let waits = bucket.clone();
    let behind = thread::spawn(move || waits.acquire_blocking());
    until_waiting(&bucket, 2);
    bucket.refund(2);
    behind.join().expect("no panic").expect("open");
    assert!(matches!(held.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
}

#[test]
fn leaky_buckets_and_pacers_are_waited_for_on_threads_too() {
    let clock = DefaultClock::new();
    let start = clock.now();
    let bucket = LeakyBucket::new("1000/s", 2).expect("valid");
    bucket.acquire_n_blocking(2).expect("there is room");
    bucket.acquire_blocking().expect("open");
    let slow = LeakyBucket::new("1/h", 1).expect("valid");
    slow.acquire_blocking().expect("there is room");
    let cannot = slow.acquire_blocking_timeout(Duration::ZERO);
    assert!(
        matches!(
            cannot,
            Err(AcquireBlockingError::NotGranted(
                AcquireError::Timeout { .. }
            ))
        ),
        "{cannot:?}"
    );
    let pacer = Pacer::new("1000/s", 2).expect("valid");
    pacer.acquire_blocking().expect("the first goes at once");
    pacer.acquire_blocking_timeout(Duration::MAX).expect("open");
    assert!(clock.now() - start >= 2 * MS);
    pacer.close();
    assert_eq!(
        pacer.acquire_blocking(),
        Err(AcquireBlockingError::NotGranted(AcquireError::Closed))
    );
}
