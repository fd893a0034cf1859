//! Two limits in one bucket, beside a bucket with one.

use flow_benches::{Bench, on_threads, repeat};
use flow_ratelimit::{Composite, MultiBucket, Quota, Rate, TokenBucket};

use crate::bucket::PLENTY;

pub(crate) fn rows(bench: &mut Bench) {
    let plenty: u64 = PLENTY.into();
    // More than anybody takes, but less than they have: nothing runs over.
    let drawn = [
        (Rate::per_second(1_000), 1_u64 << 48),
        (Rate::per_hour(1_000), 1 << 49),
    ];
    // Each is full again before the next request.
    let full = [
        (Rate::per_second(plenty), plenty),
        (Rate::per_hour(plenty * 3_600), 2 * plenty),
    ];
    granted(bench, "two limits at once", drawn);
    granted(bench, "two limits at once, both full", full);
    denied(bench);
    bench.note(
        "*Two limits at once* are a `MultiBucket` of a rate per second and one per hour, beside a \
         `TokenBucket` of the first. Those that are *full* refill faster than the machine takes: \
         each grant notes what has run over since the last, by a swap for each limit. Of two limits a \
         grant is 53 instructions more than of one (302 to 250 by callgrind, with its `clock_gettime` \
         in both), and 66 where they are full: a second line of supply, a second sum of what was \
         spent and lost, and the choice of the one to tell of. That is 4 ns beside the 10 of the \
         clock and the swap, a third more than the target allows.",
    );
}

fn granted(bench: &mut Bench, row: &str, limits: [(Rate, u64); 2]) {
    let [one, other] =
        limits.map(|(rate, burst)| TokenBucket::new(rate, burst).expect("a valid limit"));
    let quotas = limits.map(|(rate, burst)| Quota {
        rate,
        burst: Some(burst),
    });
    let both = MultiBucket::new(quotas).expect("valid limits");
    let composite = Composite::new((&one, &other));
    assert!(both.try_acquire().is_ok(), "there is plenty");
    bench
        .row(format!("{row}, 1 thread"))
        .instructions(10_000)
        .flow(|n| repeat(n, |_| both.try_acquire()))
        .peer("one", |n| repeat(n, |_| one.try_acquire()))
        .peer("composite", |n| repeat(n, |_| composite.try_acquire()))
        .measure();
    bench
        .row(format!("{row}, 2 threads"))
        .flow(|n| on_threads(2, n, |_| both.try_acquire()))
        .peer("one", |n| on_threads(2, n, |_| one.try_acquire()))
        .measure();
}

fn denied(bench: &mut Bench) {
    let one = TokenBucket::new(Rate::per_hour(1), 1).expect("a valid limit");
    let both = MultiBucket::new(["10/s burst 10", "1/h burst 1"]).expect("valid limits");
    assert!(one.try_acquire().is_ok(), "it starts full");
    assert!(both.try_acquire().is_ok(), "it starts full");
    bench
        .row("two limits at once, denied")
        .instructions(10_000)
        .flow(|n| repeat(n, |_| both.try_acquire()))
        .peer("one", |n| repeat(n, |_| one.try_acquire()))
        .measure();
}
