//! How exact a rate is, from one an hour to more than one can take: a check, not a speed.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use flow_benches::Bench;
use flow_ratelimit::{Rate, TokenBucket};
use flow_rt::{Clock, Instant, MonotonicClock};

const ROW: &str = "precision, 2 threads: tokens outside of the bounds";
const THREADS: usize = 2;
const INITIAL: u64 = 10;

/// Two threads take what they can get. What they got, and what is left, is compared with
/// `rate × t`, where `t` is known to lie between two spans of the bucket's own clock.
pub(crate) fn check(bench: &mut Bench) {
    if !bench.wants(ROW) {
        return;
    }
    let rates = [
        Rate::per_hour(1),
        Rate::per_second(1_000),
        Rate::per_second(99_991),
        Rate::per_second(1_000_000),
        Rate::per_second(7_000_003),
        Rate::per_second(23_000_000),
    ];
    let length = bench.round() * 10;
    let mut worst = 0.0_f64;
    for rate in rates {
        let beyond = beyond(rate, length);
        eprintln!("{ROW}: {beyond:+.2} at {rate}");
        worst = worst.max(beyond.abs());
    }
    bench.record(ROW, "tokens", &[worst], &[("a hundredth", vec![0.01])]);
    bench.note(format!(
        "Precision: what two threads got and what was left, in {length:?} of real time, at {} to {}. \
         At one an hour nothing comes in that time: by a clock set by hand it is exact to the \
         nanosecond in flow-ratelimit's tests.",
        rates[0],
        rates[rates.len() - 1]
    ));
}

/// How many tokens more than `rate × t + INITIAL` there were, granted or left, or how many less.
///
/// The bucket holds more than comes, so nothing runs over while the machine is busy elsewhere; and
/// it goes by the clock that is the same on all threads.
fn beyond(rate: Rate, length: Duration) -> f64 {
    let clock = MonotonicClock::new();
    let per_second = rate.tokens() as f64 / rate.period().as_secs_f64();
    // What comes in a hundred periods.
    let room = rate.tokens() * 100;
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(INITIAL + room)
        .initial(INITIAL)
        .clock(clock);
    let before = clock.now();
    let bucket = bucket.build().expect("a valid limit");
    let after = clock.now();
    let end = after + length;
    let barrier = Barrier::new(THREADS);
    let one = || {
        barrier.wait();
        let mut granted = 0_u64;
        while clock.now() < end {
            granted += u64::from(bucket.try_acquire().is_ok());
        }
        granted
    };
    let granted: u64 = thread::scope(|scope| {
        let running: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
        let joined = running.into_iter().map(|it| it.join().expect("no panic"));
        joined.sum()
    });
    let from = clock.now();
    let there = (granted + bucket.available()) as f64;
    let to = clock.now();
    let due = |from, to: Instant| {
        let time = to.saturating_duration_since(from).as_secs_f64();
        INITIAL as f64 + time * per_second
    };
    let (least, most) = (due(after, from).floor(), due(before, to));
    if there > most {
        there - most
    } else {
        (there - least).min(0.0)
    }
}
