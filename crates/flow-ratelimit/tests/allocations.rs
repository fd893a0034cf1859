//! What waiting allocates: nothing for each wait, and little for each who waits.
#![cfg(not(loom))]

use std::task::{Context, Waker};
use std::time::Duration;

use allocation_counter::measure;
use flow_ratelimit::{KeyedLimiter, LeakyBucket, Limiter, Rate, TokenBucket, WaitState};
use flow_rt::Handle;
use flow_rt::sim::Sim;
use futures_util::FutureExt;

const MS: Duration = Duration::from_millis(1);

/// How often the simulation's own lists may grow.
const GROWTH: u64 = 10;

fn bucket(rate: Rate, burst: u64) -> TokenBucket {
    let bucket = TokenBucket::builder().rate(rate).burst(burst).initial(0);
    bucket.build().expect("a valid bucket")
}

/// The number of allocations of a whole run in which one task waits so many times.
fn paced(waits: u32) -> u64 {
    let run = move || {
        let paced = Sim::new(0).run(|rt| async move {
            let bucket = bucket(Rate::per_second(1_000), 1);
            let start = rt.now();
            for _ in 0..waits {
                bucket.acquire().await.expect("open");
            }
            assert_eq!(rt.now() - start, waits * MS);
        });
        paced.expect("no failure");
    };
    measure(run).count_total
}

/// A task that paces itself alone, wait after wait: its driver and its timer stay.
#[test]
fn a_lone_wait_allocates_nothing_in_the_steady_state() {
    paced(10);
    let for_more = paced(2_010) - paced(10);
    assert!(for_more <= GROWTH, "{for_more} for 2,000 waits");
}

/// What needs no wait, of every kind of bucket: nothing at all.
#[test]
fn what_is_there_is_taken_without_an_allocation() {
    let plain = || {
        TokenBucket::builder()
            .rate(Rate::per_second(1_000))
            .burst(100_000)
    };
    let whole = plain().build().expect("a valid bucket");
    let sharded = plain().sharded(2).build().expect("a valid bucket");
    let local = whole.local(32).expect("a small part of the burst");
    let leaky = LeakyBucket::new(Rate::per_hour(1), 100_000).expect("a valid bucket");
    let keyed = KeyedLimiter::<u32>::new(Rate::per_hour(1), 1_000, 64).expect("valid numbers");
    let all = || {
        assert!(whole.try_acquire().is_ok());
        assert!(whole.peek_n(3).is_ok());
        assert!(
            whole
                .acquire_n(2)
                .now_or_never()
                .is_some_and(|it| it.is_ok())
        );
        assert!(whole.reserve().is_ok_and(|it| it.commit().is_ok()));
        whole.refund(1);
        assert!(whole.try_acquire_n(200_000).is_err());
        assert!(sharded.try_acquire().is_ok());
        assert!(local.try_acquire().is_ok());
        assert!(leaky.try_acquire().is_ok());
        assert!(leaky.acquire().now_or_never().is_some_and(|it| it.is_ok()));
        assert!(keyed.try_acquire(&7).is_ok());
    };
    all();
    let counted = measure(|| (0..500).for_each(|_| all()));
    assert_eq!(counted.count_total, 0);
}

/// Tasks that wait behind one another.
#[test]
fn many_who_wait_by_turns_allocate_nothing_in_the_steady_state() {
    let crowd = |rounds: u32| {
        let run = move || {
            let served = Sim::new(0).run(|rt| async move {
                let bucket = bucket(Rate::per_second(10_000), 1);
                let tasks: Vec<_> = (0..20)
                    .map(|_| {
                        let bucket = bucket.clone();
                        rt.spawn(async move {
                            for _ in 0..rounds {
                                bucket.acquire().await.expect("open");
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("no panic");
                }
            });
            served.expect("no failure");
        };
        measure(run).count_total
    };
    crowd(10);
    let for_more = crowd(220) - crowd(20);
    assert!(for_more <= GROWTH, "{for_more} for 4,000 waits");
}

/// 100,000 in one queue: at most 64 bytes each, and most of it is given back when they go.
#[test]
fn a_hundred_thousand_who_wait_are_small() {
    const WAITERS: usize = 100_000;
    let smol = Handle::smol();
    let _inside = smol.enter();
    let bucket = bucket(Rate::per_hour(1), 1);
    let mut cx = Context::from_waker(Waker::noop());
    let mut waits: Vec<WaitState> = std::iter::repeat_with(WaitState::new)
        .take(WAITERS)
        .collect();
    let mut enter = |wait: &mut WaitState| {
        assert!(bucket.poll_acquire_n(&mut cx, 1, wait).is_pending());
    };
    enter(&mut waits[0]);
    let queued = measure(|| waits[1..].iter_mut().for_each(&mut enter));
    let each = queued.bytes_max as f64 / WAITERS as f64;
    assert!(each <= 64.0, "{each} bytes");
    // Chunks of 256, and the list of chunks.
    assert!(
        queued.count_total < 500,
        "{} allocations",
        queued.count_total
    );
    assert_eq!(bucket.stats().waiting, WAITERS);

    let gone = measure(|| waits.iter_mut().for_each(WaitState::leave));
    assert_eq!(bucket.stats().waiting, 0);
    let given_back = u64::try_from(-gone.bytes_current).expect("less is held than before");
    assert!(given_back * 10 > queued.bytes_max * 9);
}

/// One for each of 10,000 keys: a line for each, and nothing of it once all are gone.
#[test]
fn those_who_wait_for_keys_leave_nothing_behind() {
    const KEYS: usize = 10_000;
    let smol = Handle::smol();
    let _inside = smol.enter();
    let limiter = KeyedLimiter::<usize>::new(Rate::per_hour(1), 1, KEYS).expect("valid numbers");
    let mut cx = Context::from_waker(Waker::noop());
    let mut waits: Vec<WaitState> = std::iter::repeat_with(WaitState::new).take(KEYS).collect();
    let mut enter = |(key, wait): (usize, &mut WaitState)| {
        limiter.try_acquire(&key).expect("the first token");
        let polled = limiter.key(&key).poll_acquire_n(&mut cx, 1, wait);
        assert!(polled.is_pending());
    };
    enter((0, &mut waits[0]));
    let queued = measure(|| waits.iter_mut().enumerate().skip(1).for_each(&mut enter));
    let each = queued.bytes_max as f64 / KEYS as f64;
    // The table of lines is there twice while it grows.
    assert!(each <= 420.0, "{each} bytes");
    assert_eq!(limiter.stats().waiting, KEYS);

    let gone = measure(|| waits.iter_mut().for_each(WaitState::leave));
    assert_eq!(limiter.stats().waiting, 0);
    let given_back = u64::try_from(-gone.bytes_current).expect("less is held than before");
    let held = u64::try_from(queued.bytes_current).expect("more is held than before");
    assert!(given_back * 100 > held * 99, "{given_back} of {held}");
}
