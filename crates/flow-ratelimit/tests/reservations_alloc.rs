//! goflow 6, its sixth defect: each decision allocates a reservation under a mutex. Here nothing is
//! allocated by decisions, nor by reservations once the line has been as long before.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{Rate, Reservation, TokenBucket};
use flow_rt::ManualClock;

#[test]
fn decisions_and_reservations_allocate_nothing() {
    let clock = ManualClock::new();
    let bucket = TokenBucket::builder()
        .rate(Rate::per_second(1_000))
        .burst(4)
        .debt(2)
        .clock(clock.clone());
    let bucket = bucket.build().expect("a valid bucket");
    let (mut line, mut taken) = (Vec::with_capacity(32), 0);
    let mut round = || {
        for n in [1, 2, 3, 4] {
            taken += u64::from(bucket.try_acquire_n(n).is_ok());
            line.extend(bucket.reserve_n(n));
        }
        clock.advance(Duration::from_millis(2));
        assert!(line.iter().map(Reservation::delay).is_sorted());
        for (at, reserved) in line.drain(..).enumerate() {
            if at % 2 == 0 {
                reserved.commit().expect("open");
            }
        }
        bucket.refund(1);
        clock.advance(Duration::from_millis(20));
        assert!(bucket.peek().is_ok() && bucket.snapshot().tokens() <= 4);
    };
    round();
    let info = allocation_counter::measure(|| (0..100).for_each(|_| round()));
    assert_eq!(info.count_total, 0);
    assert!(taken > 100, "{taken}");
}
