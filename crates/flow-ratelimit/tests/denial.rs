//! Denials that rely on one before them, on a clock moved by hand.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{Denied, Rate, TokenBucket};
use flow_rt::{Instant, ManualClock};

const MS: Duration = Duration::from_millis(1);

fn empty(rate: Rate) -> (TokenBucket<ManualClock>, ManualClock) {
    let clock = ManualClock::starting_at(Instant::from_nanos(1_000_000_007));
    let bucket = TokenBucket::builder().rate(rate).burst(5).initial(0);
    (bucket.clock(clock.clone()).build().expect("valid"), clock)
}

fn wait(bucket: &TokenBucket<ManualClock>) -> Duration {
    let denied = bucket.try_acquire().expect_err("empty");
    denied.retry_after().expect("it comes")
}

#[test]
fn it_counts_down_and_lets_go() {
    let (bucket, clock) = empty(Rate::per_second(100));
    for left in (1..=10).rev() {
        assert_eq!((wait(&bucket), wait(&bucket)), (left * MS, left * MS));
        clock.advance(MS);
    }
    bucket.try_acquire().expect("as promised");
    assert_eq!((wait(&bucket), bucket.stats().denied), (10 * MS, 21));
}

#[test]
fn whatever_changes_is_seen() {
    let (bucket, clock) = empty(Rate::per_second(100));
    assert_eq!(wait(&bucket), 10 * MS);
    bucket.refund(1);
    bucket.try_acquire().expect("it came back");
    assert_eq!(wait(&bucket), 10 * MS);

    bucket.set_rate(Rate::per_second(1_000)).expect("valid");
    assert_eq!(wait(&bucket), MS);
    bucket.set_rate(Rate::ZERO).expect("valid");
    assert_eq!(bucket.try_acquire(), Err(Denied::NeverRefills));
    bucket.set_rate(Rate::per_second(100)).expect("valid");
    assert_eq!(wait(&bucket), 10 * MS);

    // A clock that goes back waits for longer.
    clock.set(Instant::from_nanos(1_000_000_007) - 5 * MS);
    assert_eq!(wait(&bucket), 15 * MS);
    clock.advance(15 * MS);
    bucket.try_acquire().expect("as promised");

    assert_eq!(wait(&bucket), 10 * MS);
    bucket.close();
    assert_eq!(bucket.try_acquire(), Err(Denied::Closed));
}

/// The word is what it was, and the time is another one.
#[test]
fn a_token_that_comes_back_in_time_goes_again() {
    let (bucket, clock) = empty(Rate::per_second(100));
    for _ in 0..3 {
        assert_eq!(wait(&bucket), 10 * MS);
        clock.advance(10 * MS);
        bucket.try_acquire().expect("due");
        assert_eq!(wait(&bucket), 10 * MS);
        bucket.refund(1);
        bucket.try_acquire().expect("it came back");
    }
}

/// Who waits or reserves leaves the debt in the bucket, and is denied until later.
#[test]
fn one_who_makes_no_debt_is_denied_for_longer() {
    let clock = ManualClock::starting_at(Instant::from_nanos(1_000_000_007));
    let bucket = TokenBucket::builder().rate(Rate::per_second(100)).burst(5);
    let bucket = bucket.initial(0).debt(3).clock(clock.clone());
    let bucket = bucket.build().expect("valid");
    let reserved = bucket.reserve().expect("a place");
    assert_eq!(reserved.delay(), 10 * MS);
    drop(reserved);
    for _ in 0..3 {
        bucket.try_acquire().expect("on credit");
    }
    assert_eq!((wait(&bucket), wait(&bucket)), (10 * MS, 10 * MS));
    let reserved = bucket.reserve().expect("a place");
    assert_eq!(reserved.delay(), 40 * MS);
    assert_eq!(wait(&bucket), 40 * MS);
    drop(reserved);
    assert_eq!(wait(&bucket), 10 * MS);
    clock.advance(10 * MS);
    bucket.try_acquire().expect("as promised");
    assert_eq!(wait(&bucket), 10 * MS);
}

/// What a reservation leaves is seen, though nobody looked when it was due.
#[test]
fn a_reservation_between_two_denials_is_seen() {
    let (bucket, clock) = empty(Rate::per_second(100));
    assert_eq!(wait(&bucket), 10 * MS);
    let reserved = bucket.reserve_n(2).expect("a place");
    assert_eq!(wait(&bucket), 30 * MS);
    clock.advance(25 * MS);
    assert_eq!(wait(&bucket), 5 * MS);
    reserved.commit().expect("ready");
    assert_eq!((wait(&bucket), bucket.available()), (5 * MS, 0));
    drop(bucket.reserve().expect("a place"));
    assert_eq!(wait(&bucket), 5 * MS);
    clock.advance(5 * MS);
    bucket.try_acquire().expect("as promised");
}
