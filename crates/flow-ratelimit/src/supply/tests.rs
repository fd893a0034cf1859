//! The line against exact fractions, from a token in longer than a clock counts to 2^60 a second.

use core::time::Duration;

use flow_rt::Instant;
use proptest::prelude::*;

use super::{
    Anchor, MAX_BURST, MAX_PER_SECOND, MAX_SUPPLY, USED_MASK, fraction_bits, grains_per, times,
};
use crate::rate::Rate;

/// A line, and the fraction that it goes by.
struct Line {
    anchor: Anchor,
    rate: Rate,
    bits: u32,
    /// So many grains in so many nanoseconds.
    grains: u128,
    nanos: u128,
}

impl Line {
    /// An empty bucket's; none for what no bucket can have.
    fn new(rate: Rate, burst: u64, start: u64) -> Option<Self> {
        let bits = fraction_bits(rate, burst).ok()?;
        let anchor = Anchor::new(rate, burst << bits, 0, bits, Instant::from_nanos(start));
        let (grains, nanos) = grains_per(rate.into(), bits);
        Some(Self {
            anchor,
            rate,
            bits,
            grains,
            nanos,
        })
    }

    /// Whether `grains` or more come in so many nanoseconds, exactly.
    fn comes(&self, grains: u128, elapsed: u128) -> bool {
        wide(grains, self.nanos) <= wide(elapsed, self.grains)
    }
}

/// The product of two numbers, in words of 64 bits, the highest first.
fn wide(a: u128, b: u128) -> [u64; 4] {
    let mut words = [0_u64; 4];
    let halves = |it: u128| [it as u64, (it >> 64) as u64];
    for (i, a) in halves(a).into_iter().enumerate() {
        let mut carry = 0_u128;
        for (j, b) in halves(b).into_iter().enumerate() {
            let sum = u128::from(a) * u128::from(b) + u128::from(words[3 - i - j]) + carry;
            (words[3 - i - j], carry) = (sum as u64, sum >> 64);
        }
        words[1 - i] = carry as u64;
    }
    words
}

/// Walks along a line: at each instant what it has supplied, and now and then a new anchor.
fn walk(mut line: Line, steps: &[(u64, bool)]) {
    let start = line.anchor.at;
    let (mut until, mut moves) = (0_u128, 0_u128);
    for &(step, moves_on) in steps {
        let now = Instant::from_nanos(line.anchor.at.saturating_add(step));
        let elapsed = u128::from(now.as_nanos() - start);
        let supplied = line.anchor.supplied(now).cast_unsigned();
        let total = until + u128::from(supplied);
        if supplied < MAX_SUPPLY {
            assert!(!line.comes(total + 1, elapsed), "{total} by {elapsed}");
        }
        if !line.anchor.is_stale(now) {
            assert_eq!(line.anchor.supplied_soon(now).cast_unsigned(), supplied);
            assert!(supplied <= 1 << 60);
            // The slope adds less than an eighth of a grain, and each move almost nothing.
            let least = (total * 8).saturating_sub(2);
            assert!(line.comes(least, elapsed * 8), "{total} by {elapsed}");
        }
        if !moves_on {
            continue;
        }
        let moved = line.anchor.moved(now, line.rate, line.bits);
        until += u128::from(moved.base.wrapping_sub(line.anchor.base) & USED_MASK);
        moves += 1;
        line.anchor = moved;
        if until >= u128::from(MAX_SUPPLY) || elapsed >> 63 != 0 {
            // It ran over, or the numbers below have no room.
            return;
        }
        // In parts of a grain: exact, but for a part that each move rounds up.
        let (parts, elapsed) = (until << 64 | u128::from(moved.carry), elapsed << 64);
        assert!(!line.comes(parts + 1, elapsed), "{parts} of {elapsed}");
        let least = parts.saturating_sub(moves);
        assert!(line.comes(least, elapsed), "{parts} of {elapsed}");
    }
}

/// Looks ahead: the first instant at which there is so much.
fn look_ahead(line: &Line, grains: u64) {
    let Anchor {
        at, mult, horizon, ..
    } = line.anchor;
    if mult == 0 {
        return assert_eq!(line.anchor.ready_at(0, grains), None);
    }
    let before = |nanos: u64| {
        // By a slope that is one of its parts less there are not so many.
        let (nanos, slope) = (u128::from(nanos), u128::from(mult - 1));
        let of = u128::from(grains) * u128::from(mult);
        assert!(wide(nanos * slope, line.grains) < wide(of, line.nanos));
    };
    let Some(ready) = line.anchor.ready_at(0, grains) else {
        return before(u64::MAX - 1 - at);
    };
    let nanos = ready.as_nanos() - at;
    if nanos <= horizon {
        let supplied = |nanos| line.anchor.supplied(Instant::from_nanos(nanos));
        assert!(supplied(at + nanos) >= grains.cast_signed());
        assert!(nanos == 0 || supplied(at + nanos - 1) < grains.cast_signed());
    } else {
        assert!(line.comes(u128::from(grains), u128::from(nanos)));
        before(nanos - 1);
    }
}

/// Numbers of every size.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64_u32).prop_map(|(bits, shift)| bits >> shift)
}

fn rate() -> impl Strategy<Value = Rate> {
    let period = (number(), number(), 0..1_000_000_000_u32);
    let period = period.prop_map(|(seconds, scale, nanos)| match scale & 1 {
        0 => Duration::new(seconds, nanos),
        _ => Duration::from_nanos(seconds),
    });
    (number(), period).prop_map(|(tokens, period)| {
        Rate::per(tokens, period.max(Duration::from_nanos(1))).expect("a period")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_line_is_exact_at_any_rate(
        rate in rate(),
        burst in number(),
        start in number(),
        steps in prop::collection::vec((number(), any::<bool>()), 1..12),
    ) {
        if let Some(line) = Line::new(rate, burst, start) {
            walk(line, &steps);
        }
    }

    #[test]
    fn what_is_due_is_due_at_the_first_instant(
        rate in rate(),
        burst in number(),
        start in number(),
        grains in number(),
    ) {
        if let Some(line) = Line::new(rate, burst, start) {
            look_ahead(&line, (grains & USED_MASK).max(1));
        }
    }

    #[test]
    fn long_products_are_divided_exactly(
        count in any::<u64>(),
        // As of a period in its parts, and no more than 2^31 wholes.
        whole in any::<u128>().prop_map(|it| (it >> 18).max(1 << 96)),
        part in any::<u128>(),
    ) {
        let (quotient, rest) = times(count, part, whole);
        prop_assert!(rest < whole);
        let (low, high) = (wide(quotient, whole), wide(quotient + 1, whole));
        let product = wide(u128::from(count), part);
        prop_assert!(low <= product && product < high);
    }
}

/// The ends of what can be built, walked to the ends of a clock.
#[test]
fn the_slowest_and_the_fastest_lines_are_exact() {
    let years = |it: u64| Duration::from_secs(it * 31_556_952);
    let rates = [
        (1, years(584)),
        (1, Duration::MAX),
        (u64::MAX, Duration::MAX),
        (u64::MAX - 1, Duration::new(u64::MAX / 3, 1)),
        (1 << 60, Duration::from_secs(1)),
        ((1 << 60) / 1_000_000_000, Duration::from_nanos(1)),
        (1, Duration::from_nanos(1)),
        (999_999_999, Duration::from_nanos(1_000_000_001)),
        (0, Duration::from_secs(1)),
    ];
    let steps = [
        0,
        1,
        999_999_999,
        1 << 40,
        1 << 61,
        (1 << 61) + 1,
        1 << 62,
        u64::MAX,
    ];
    for (tokens, period) in rates {
        let rate = Rate::per(tokens, period).expect("a period");
        for burst in [1, 1 << 31, MAX_BURST] {
            for start in [0, 1, u64::MAX >> 1, u64::MAX - 1] {
                let line = || Line::new(rate, burst, start).expect("in range");
                walk(line(), &steps.map(|it| (it, true)));
                walk(line(), &steps.map(|it| (it, false)));
                for grains in [1, line().anchor.burst, MAX_SUPPLY, USED_MASK] {
                    look_ahead(&line(), grains);
                }
            }
        }
    }
}

/// Nobody moves an anchor more often than about once a second.
#[test]
fn the_nearest_horizon_is_a_second_away() {
    let fastest = Rate::per_second(MAX_PER_SECOND);
    let line = Line::new(fastest, 1, 0).expect("in range");
    assert_eq!((line.bits, line.anchor.finer), (0, 31));
    assert_eq!(line.anchor.horizon, 999_999_999);
}
