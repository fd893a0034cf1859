//! Reservations, takes, debts and changes against a bucket that is stepped through every
//! nanosecond, without tolerance: the rates are such that each brings whole grains.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::time::Duration;

use flow_ratelimit::{Denied, Rate, Reservation, TokenBucket};
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

/// Units of a token: `SLOWEST` per second bring one each nanosecond.
const TOKEN: i64 = 512;

/// 5^9: a power of two of grains each nanosecond, if a token has at least 9 fraction bits.
const SLOWEST: u64 = 1_953_125;

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance(u64),
    Take(u64),
    Reserve(u64),
    /// Of the n-th reservation held, modulo their number.
    Drop(usize),
    Commit(usize),
    Look(usize),
    Refund(u64),
    SetSlope(u64),
    SetBurst(u64),
    Close,
}

fn steps() -> impl Strategy<Value = Step> {
    // One in 137 closes: two of three histories at most.
    prop_oneof![
        24 => (0..400_u64).prop_map(Step::Advance),
        8 => (0..8_000_u64).prop_map(Step::Advance),
        16 => tokens(30).prop_map(Step::Take),
        32 => tokens(24).prop_map(Step::Reserve),
        20 => any::<usize>().prop_map(Step::Drop),
        8 => any::<usize>().prop_map(Step::Commit),
        16 => any::<usize>().prop_map(Step::Look),
        4 => (0..20_u64).prop_map(Step::Refund),
        4 => (0..64_u64).prop_map(Step::SetSlope),
        4 => tokens(24).prop_map(Step::SetBurst),
        1 => Just(Step::Close),
    ]
}

/// Often so few that one more or less is what matters.
fn tokens(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![1..5_u64, 1..most]
}

/// A bucket with water in it.
struct Model {
    /// Units in it; negative while tokens are owed.
    content: i64,
    slope: i64,
    burst: i64,
    debt: i64,
    line: VecDeque<(usize, i64)>,
    ready: Vec<usize>,
    /// Reservations that never come.
    closed: Vec<usize>,
    is_closed: bool,
}

impl Model {
    fn advance(&mut self, nanos: u64) {
        for _ in 0..nanos {
            self.content += self.slope;
            self.settle();
        }
    }

    fn settle(&mut self) {
        let mut went = false;
        while let Some(&(id, need)) = self.line.front() {
            if need > self.burst + self.debt {
                self.closed.push(id);
                if !went {
                    // What does not fit is gone before the next one stands first.
                    self.content = self.content.min(self.burst);
                }
            } else if self.content >= need {
                self.content -= need;
                self.ready.push(id);
                went = true;
            } else {
                break;
            }
            self.line.pop_front();
        }
        // One that needs more than a burst is filled beyond it: only while it stands first.
        let keeps = self
            .line
            .front()
            .map_or(0, |&(_, need)| need)
            .max(self.burst);
        self.content = self.content.min(keeps);
    }

    /// Nanoseconds until so much is there; `None` if never.
    fn until(&self, units: i64) -> Option<u64> {
        let missing = units - self.content;
        if missing <= 0 {
            return Some(0);
        }
        (self.slope > 0).then(|| missing.unsigned_abs().div_ceil(self.slope.unsigned_abs()))
    }

    fn close(&mut self) {
        self.is_closed = true;
        self.closed.extend(self.line.drain(..).map(|(id, _)| id));
        self.settle();
    }

    fn sum(&self) -> i64 {
        self.line.iter().map(|(_, need)| need).sum()
    }

    /// How long until the n-th is ready.
    fn delay(&self, id: usize) -> Option<u64> {
        if self.ready.contains(&id) {
            return Some(0);
        }
        let at = self.line.iter().position(|&(other, _)| other == id)?;
        self.until(self.line.iter().take(at + 1).map(|(_, need)| need).sum())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    })]

    #[test]
    fn follow_a_bucket_of_water(
        slope in 0..64_u64,
        burst in tokens(24),
        debt in prop_oneof![2 => Just(0), 1 => 1..12_u64],
        schedule in prop::collection::vec(steps(), 1..100),
    ) {
        follow(slope, burst, debt, &schedule)?;
    }
}

fn nanos(expected: Option<u64>) -> Duration {
    expected.map_or(Duration::MAX, Duration::from_nanos)
}

fn units(tokens: u64) -> i64 {
    tokens.cast_signed() * TOKEN
}

fn rate(slope: u64) -> Rate {
    Rate::per_second(slope * SLOWEST)
}

fn follow(slope: u64, burst: u64, debt: u64, schedule: &[Step]) -> Result<(), TestCaseError> {
    let clock = ManualClock::starting_at(Instant::from_nanos(77));
    let bucket = TokenBucket::builder()
        .rate(rate(slope))
        .burst(burst)
        .debt(debt)
        .clock(clock.clone())
        .build()
        .expect("valid");
    let mut model = Model {
        content: units(burst),
        slope: slope.cast_signed(),
        burst: units(burst),
        debt: units(debt),
        line: VecDeque::new(),
        ready: Vec::new(),
        closed: Vec::new(),
        is_closed: false,
    };
    let mut held: Vec<(usize, Reservation)> = Vec::new();
    for (id, &step) in schedule.iter().enumerate() {
        match step {
            Step::Advance(by) => {
                clock.advance(Duration::from_nanos(by));
                model.advance(by);
            }
            Step::Take(n) => {
                took(&bucket, &mut model, n)?;
            }
            Step::Reserve(n) => match bucket.reserve_n(n) {
                Ok(reservation) => {
                    prop_assert!(!model.is_closed);
                    model.line.push_back((id, units(n)));
                    model.settle();
                    held.push((id, reservation));
                }
                Err(Denied::ExceedsBurst { .. }) => {
                    prop_assert!(units(n) > model.burst + model.debt);
                }
                Err(Denied::Closed) => prop_assert!(model.is_closed),
                Err(denied) => {
                    prop_assert_eq!(denied, Denied::NeverRefills);
                    prop_assert!(model.slope == 0 && model.content < model.sum() + units(n));
                }
            },
            Step::Drop(n) if !held.is_empty() => {
                let (id, reservation) = held.swap_remove(n % held.len());
                drop(reservation);
                if model.line.front().is_some_and(|head| head.0 == id) {
                    // What it alone had a claim to is gone before the next one stands first.
                    model.content = model.content.min(model.burst);
                }
                model.line.retain(|&(other, _)| other != id);
                model.settle();
            }
            Step::Commit(n) if !held.is_empty() => {
                let (id, reservation) = held.swap_remove(n % held.len());
                let kept = reservation.commit();
                prop_assert_eq!(kept.is_err(), model.closed.contains(&id));
            }
            Step::Look(n) if !held.is_empty() => {
                let (id, reservation) = &held[n % held.len()];
                prop_assert_eq!(reservation.delay(), nanos(model.delay(*id)));
                let at = reservation.ready_at();
                match model.delay(*id) {
                    Some(0) => prop_assert!(at <= clock.now()),
                    Some(delay) => prop_assert_eq!(at, clock.now() + Duration::from_nanos(delay)),
                    None => prop_assert!(at.is_far_future()),
                }
            }
            Step::Drop(_) | Step::Commit(_) | Step::Look(_) => {}
            Step::Refund(n) => {
                bucket.refund(n);
                model.content += units(n).min(model.burst + model.debt);
                model.settle();
            }
            Step::SetSlope(slope) => {
                bucket.set_rate(rate(slope)).expect("in range");
                model.slope = slope.cast_signed();
            }
            Step::SetBurst(burst) => {
                bucket.set_burst(burst).expect("in range");
                model.burst = units(burst);
                model.settle();
            }
            Step::Close => {
                bucket.close();
                model.close();
            }
        }
        if model.line.is_empty() {
            let there = model.content.max(0) / TOKEN;
            prop_assert_eq!(bucket.available().cast_signed(), there, "after {:?}", step);
        }
    }
    // Whatever was cancelled took nothing with it.
    held.clear();
    model.line.clear();
    model.settle();
    Ok(())
}

fn took(bucket: &TokenBucket<ManualClock>, model: &mut Model, n: u64) -> Result<(), TestCaseError> {
    let fits = !model.is_closed && model.line.is_empty() && model.content + model.debt >= units(n);
    match bucket.try_acquire_n(n) {
        Ok(_) => {
            prop_assert!(fits, "took {n}");
            model.content -= units(n);
        }
        Err(Denied::ExceedsBurst { .. }) => {
            prop_assert!(units(n) > model.burst + model.debt);
        }
        Err(Denied::Closed) => prop_assert!(model.is_closed),
        Err(denied) => {
            prop_assert!(!fits && !model.is_closed, "refused {n}");
            let (before, owed) = (model.sum(), model.debt);
            let at = if before == 0 {
                model.until(units(n) - owed)
            } else {
                // Those before do not overdraw, and it comes after them.
                model
                    .until(before + (units(n) - owed).max(0))
                    .map(|at| at.max(1))
            };
            match denied {
                Denied::NotYet { retry_after, .. } => {
                    prop_assert_eq!(retry_after, nanos(at));
                }
                denied => {
                    prop_assert_eq!(denied, Denied::NeverRefills);
                    prop_assert_eq!(model.slope, 0);
                }
            }
        }
    }
    Ok(())
}
