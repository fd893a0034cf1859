//! What a limit promises, over every window of random schedules, in exact fractions.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{Rate, Reservation, TokenBucket};
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

/// A limit, and what was admitted under it.
struct Log {
    tokens: u128,
    per: u128,
    burst: u128,
    admitted: Vec<(u64, u64)>,
}

impl Log {
    fn admit(&mut self, at: Instant, n: u64) {
        self.admitted.push((at.as_nanos(), n));
    }

    /// Within any window no more than a burst and what came in it, a grain, and what comes in a
    /// nanosecond: tokens that are due within one are there at its end.
    fn check(&mut self) -> Result<(), TestCaseError> {
        self.admitted.sort_unstable();
        for (i, &(from, _)) in self.admitted.iter().enumerate() {
            let mut sum = 0;
            for &(to, n) in &self.admitted[i..] {
                sum += u128::from(n);
                // Multiplied by the period, so that nothing is rounded; a grain is at most a
                // token's 2^-9 here.
                let most = self.burst * self.per + self.tokens * u128::from(to - from);
                prop_assert!(
                    sum * self.per <= most + self.per / 512 + self.tokens,
                    "{sum} in {} ns",
                    to - from
                );
            }
        }
        Ok(())
    }
}

fn limits() -> impl Strategy<Value = (u64, u64, u64)> {
    // Up to 10^9 per second; and a burst, in tokens.
    (
        1..1_000_000_u64,
        1_000_000..10_000_000_000_u64,
        1..1_000_u64,
    )
}

fn started(
    (tokens, per, burst): (u64, u64, u64),
    debt: u64,
) -> (TokenBucket<ManualClock>, ManualClock, Log) {
    let clock = ManualClock::starting_at(Instant::from_nanos(1_000_000_007));
    let rate = Rate::per(tokens, Duration::from_nanos(per)).expect("not zero");
    let bucket = TokenBucket::builder().rate(rate).burst(burst).debt(debt);
    let bucket = bucket.clock(clock.clone()).build().expect("in range");
    let log = Log {
        tokens: tokens.into(),
        per: per.into(),
        burst: (burst + debt).into(),
        admitted: Vec::new(),
    };
    (bucket, clock, log)
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Take(u64),
    Reserve(u64),
    Drop(usize),
}

/// Times of the size of a token's, and much longer ones.
fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..100_000_u64).prop_map(Step::Advance),
        1 => (0..3_000_000_000_u64).prop_map(Step::Advance),
        6 => (1..300_u64).prop_map(Step::Take),
        6 => (1..300_u64).prop_map(Step::Reserve),
        4 => any::<usize>().prop_map(Step::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    })]

    /// Takes, debts, and reservations cancelled in any order.
    #[test]
    fn no_window_admits_more(
        limit in limits(),
        debt in prop_oneof![2 => Just(0), 1 => 1..200_u64],
        schedule in prop::collection::vec(steps(), 1..150),
    ) {
        let (bucket, clock, mut log) = started(limit, debt);
        let mut held: Vec<(Reservation, Instant)> = Vec::new();
        let mut most = log.burst;
        let mut taken = Vec::new();
        let mut end = |(reservation, at): (Reservation, Instant), now| {
            if at <= now {
                taken.push((at, reservation.tokens()));
            }
        };
        for step in schedule {
            match step {
                Step::Advance(nanos) => clock.advance(Duration::from_nanos(nanos)),
                Step::Take(n) => {
                    if bucket.try_acquire_n(n).is_ok() {
                        log.admit(clock.now(), n);
                    }
                }
                Step::Reserve(n) => {
                    if let Ok(reservation) = bucket.reserve_n(n) {
                        held.push((reservation, Instant::FAR_FUTURE));
                        // With a debt more than the burst may be reserved, and comes at once.
                        most = most.max(u128::from(n + debt));
                    }
                }
                Step::Drop(_) if held.is_empty() => {}
                Step::Drop(n) => {
                    let at = n % held.len();
                    end(held.swap_remove(at), clock.now());
                }
            }
            // When it comes, as long as nothing changes; or now, by what has changed.
            for (reservation, at) in &mut held {
                let (next, now) = (reservation.ready_at(), clock.now());
                *at = if next > now { next } else { now.min(*at) };
            }
        }
        for reservation in held {
            end(reservation, clock.now());
        }
        for (at, n) in taken {
            log.admit(at, n);
        }
        log.burst = most;
        log.check()?;
    }

    /// Who takes all there is, whenever it looks, gets all that came but a token.
    #[test]
    fn whoever_takes_all_gets_all(
        (tokens, per, burst) in limits(),
        looks in prop::collection::vec(0..2_000_000_u64, 1..100),
    ) {
        let (bucket, clock, mut log) = started((tokens, per, burst), 0);
        let start = clock.now();
        let mut sum = 0;
        for nanos in [0].into_iter().chain(looks) {
            // Never so long that some of it runs over: less than one is there.
            let fills = u128::from(burst - 1) * u128::from(per) / u128::from(tokens);
            clock.advance(Duration::from_nanos(fills.min(nanos.into()) as u64));
            let there = bucket.available();
            prop_assert!(there == 0 || bucket.try_acquire_n(there).is_ok());
            prop_assert!(bucket.try_acquire().is_err());
            log.admit(clock.now(), there);
            sum += u128::from(there);
        }
        let passed = u128::from((clock.now() - start).as_nanos() as u64);
        let supplied = u128::from(burst) * u128::from(per) + u128::from(tokens) * passed;
        prop_assert!((sum + 1) * u128::from(per) >= supplied, "{sum} in {passed} ns");
        log.check()?;
    }

    /// A clock that shows each caller another time, back and forth and forward for ever.
    #[test]
    fn no_clock_mints(
        (tokens, per, burst) in limits(),
        times in prop::collection::vec(
            prop_oneof![0..1_u64 << 40, any::<u64>(), Just(u64::MAX - 1)],
            1..100,
        ),
    ) {
        let (bucket, clock, _) = started((tokens, per, burst), 0);
        let start = clock.now();
        let (mut sum, mut latest) = (0_u128, start);
        for time in times {
            clock.set(Instant::from_nanos(time));
            latest = latest.max(clock.now());
            let mut held = Vec::new();
            for n in [burst, burst / 2 + 1, 1, 1] {
                sum += u128::from(if bucket.try_acquire_n(n).is_ok() { n } else { 0 });
                held.extend(bucket.reserve_n(n));
            }
            for reservation in held {
                if reservation.delay().is_zero() {
                    sum += u128::from(reservation.tokens());
                }
            }
            let passed = u128::from((latest - start).as_nanos() as u64);
            let most = u128::from(burst) * u128::from(per) + u128::from(tokens) * passed;
            prop_assert!(sum * u128::from(per) <= most + u128::from(per) / 512, "{sum}");
        }
    }
}
