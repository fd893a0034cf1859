//! Warming up against exact rational arithmetic, over random schedules.
#![cfg(not(loom))]

use std::time::Duration;

use flow_ratelimit::{Denied, Rate, TokenBucket};
use flow_rt::{Clock, Instant, ManualClock};
use proptest::prelude::*;

/// One token in the model's units, which no slope below rounds.
const TOKEN: i128 = 3_600_000_000_000 * 48;

/// The model may differ from the bucket by two grains of 2^-30 token for each step.
const GRAINS: i128 = TOKEN / (1 << 24) + 1;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many 64ths of the period.
    Pass(u64),
    Advance(u64),
    Take(u64),
    /// Waits as long as it is told, and takes then.
    TakeInTime(u64),
    Refund(u64),
    SetRate(u64, usize),
    SetBurst(u64),
}

const PERIODS: [u64; 3] = [1_000_000_000, 60_000_000_000, 3_600_000_000_000];

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..200_u64).prop_map(Step::Pass),
        3 => (0..500_000_000_u64).prop_map(Step::Advance),
        6 => (1..20_u64).prop_map(Step::Take),
        4 => (1..20_u64).prop_map(Step::TakeInTime),
        1 => (1..10_u64).prop_map(Step::Refund),
        1 => (0..2_000_u64, 0..PERIODS.len()).prop_map(|(n, p)| Step::SetRate(n, p)),
        1 => (1..20_u64).prop_map(Step::SetBurst),
    ]
}

/// Virtual tokens without rounding, and a way up in 32 steps.
struct Model {
    at: i128,
    base: i128,
    /// Units per nanosecond at the full rate.
    slope: i128,
    spent: i128,
    burst: i128,
    period: i128,
    /// When the way up began.
    began: Option<i128>,
    /// When there was a token after the last grant: not before the first of the two and not after
    /// the second, as the bucket counts in grains.
    quiet: Option<(i128, i128)>,
    /// What the last one wanted who was denied, and when it is there.
    told: Option<(u64, i128)>,
}

impl Model {
    /// The area below the way up between two instants.
    fn supply(&self, now: i128) -> i128 {
        self.base + (self.area(now) - self.area(self.at)) * self.slope / 48
    }

    /// 48ths of nanoseconds at the full rate, from the beginning of the way up.
    fn area(&self, now: i128) -> i128 {
        let Some(began) = self.began else {
            return now * 48;
        };
        let start = |step: i128| began + self.period * step / 32;
        let steps = (0..32).map(|step| {
            let passed = now.min(start(step + 1)) - start(step);
            passed.max(0) * (16 + step)
        });
        steps.sum::<i128>() + (now - start(32)).max(0) * 48
    }

    fn clip(&mut self, now: i128) {
        self.spent = self.spent.max(self.supply(now) - self.burst);
    }

    fn free(&self, now: i128) -> i128 {
        (self.supply(now) - self.spent).min(self.burst)
    }

    /// The first instant from `now` on at which so much is free.
    fn ready(&self, now: i128, need: i128) -> Option<i128> {
        let is_there = |at| self.supply(at) - self.spent.max(self.supply(now) - self.burst) >= need;
        let (mut early, mut late) = (now, now + (1 << 62));
        if !is_there(late) {
            return None;
        }
        while early < late {
            let middle = i128::midpoint(early, late);
            if is_there(middle) {
                late = middle;
            } else {
                early = middle + 1;
            }
        }
        Some(late)
    }

    /// A request that the bucket can grant, which perhaps ends a pause. Whether that is certain.
    fn request(&mut self, now: i128, n: u64) -> bool {
        let is_over = |quiet: i128| {
            let since = match self.told {
                Some((told, ready)) if n >= told => quiet.max(ready),
                _ => quiet,
            };
            now - since >= self.period
        };
        let (surely, perhaps) = self.quiet.map_or((true, true), |(early, late)| {
            (is_over(late), is_over(early))
        });
        if surely {
            self.go_on(now);
            self.began = Some(now);
            self.note(now);
        }
        surely == perhaps
    }

    /// After a grant, or as if there had been one.
    fn note(&mut self, now: i128) {
        self.quiet = Some(self.token_at(now));
        self.told = None;
    }

    fn token_at(&self, now: i128) -> (i128, i128) {
        let at = |need| self.ready(now, need).unwrap_or(i128::MAX >> 1);
        (at(TOKEN - GRAINS), at(TOKEN + GRAINS))
    }

    /// After a change of what comes.
    fn note_change(&mut self, now: i128) {
        if let Some((early, late)) = self.quiet
            && late > now
        {
            let next = self.token_at(now);
            // It may have been there.
            let early = if early > now { next.0 } else { early };
            self.quiet = Some((early, next.1.max(early)));
        }
    }

    /// From here on anew.
    fn go_on(&mut self, now: i128) {
        self.clip(now);
        self.base = self.supply(now);
        self.at = now;
    }
}

fn slope(tokens: u64, period: u64) -> i128 {
    i128::from(tokens) * (TOKEN / i128::from(period))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn follows_the_rational_model(
        tokens in 0..2_000_u64,
        per in 0..PERIODS.len(),
        burst in 1..20_u64,
        period in prop_oneof![1..20_000_000_000_u64, Just(9_600_000_000)],
        start in prop_oneof![Just(0), 0..1_u64 << 40],
        schedule in prop::collection::vec(steps(), 1..120),
    ) {
        let rate = |n, p: usize| Rate::per(n, Duration::from_nanos(PERIODS[p])).expect("not zero");
        let clock = ManualClock::starting_at(Instant::from_nanos(start));
        let bucket = TokenBucket::builder()
            .rate(rate(tokens, per))
            .burst(burst)
            .warm_up(Duration::from_nanos(period))
            .clock(clock.clone())
            .build()
            .expect("valid");
        let full = i128::from(burst) * TOKEN;
        let mut model = Model {
            at: start.into(),
            base: full,
            slope: slope(tokens, PERIODS[per]),
            spent: 0,
            burst: full,
            period: period.into(),
            began: None,
            quiet: None,
            told: None,
        };
        for step in schedule {
            let now = clock.now();
            let at = i128::from(now.as_nanos());
            match step {
                Step::Pass(parts) => clock.advance(Duration::from_nanos(period * parts / 64)),
                Step::Advance(nanos) => clock.advance(Duration::from_nanos(nanos)),
                Step::Take(n) => {
                    take(&bucket, &mut model, at, n)?;
                }
                Step::TakeInTime(n) => {
                    let wait = take(&bucket, &mut model, at, n)?;
                    // No longer than an hour, so that the schedule goes on.
                    let Some(wait) = wait.filter(|wait| wait.as_secs() < 3_600) else { continue };
                    clock.advance(wait);
                    let then = clock.now().as_nanos().into();
                    let again = take(&bucket, &mut model, then, n)?;
                    prop_assert_eq!(again, None, "it was told {:?}", wait);
                }
                Step::Refund(n) => {
                    bucket.refund(n);
                    let back = i128::from(n) * TOKEN;
                    model.clip(at);
                    model.spent = (model.spent - back).max(model.supply(at) - model.burst);
                    model.note_change(at);
                }
                Step::SetRate(n, p) => {
                    bucket.set_rate(rate(n, p)).expect("in range");
                    model.go_on(at);
                    model.slope = slope(n, PERIODS[p]);
                    model.note_change(at);
                }
                Step::SetBurst(burst) => {
                    bucket.set_burst(burst).expect("in range");
                    model.go_on(at);
                    model.burst = i128::from(burst) * TOKEN;
                    model.note_change(at);
                }
            }
            let free = model.free(clock.now().as_nanos().into());
            let shown = i128::from(bucket.available());
            prop_assert!(shown * TOKEN <= free + GRAINS && (shown + 1) * TOKEN > free - GRAINS);
        }
    }
}

/// A request to both. How long to wait if it is to come again.
fn take(
    bucket: &TokenBucket<ManualClock>,
    model: &mut Model,
    at: i128,
    n: u64,
) -> Result<Option<Duration>, TestCaseError> {
    let need = i128::from(n) * TOKEN;
    if need > model.burst {
        let refused = bucket.try_acquire_n(n);
        let is_refused = matches!(refused, Err(Denied::ExceedsBurst { .. }));
        prop_assert!(is_refused, "{refused:?}");
        return Ok(None);
    }
    if !model.request(at, n) {
        return Err(TestCaseError::reject("within a grain of a pause"));
    }
    let free = model.free(at);
    match bucket.try_acquire_n(n) {
        Ok(_) => {
            prop_assert!(need <= free + GRAINS, "took {need} of {free}");
            model.clip(at);
            model.spent += need;
            model.note(at);
            Ok(None)
        }
        Err(denied) => {
            prop_assert!(need > free - GRAINS, "refused {need} of {free}");
            let Some(wait) = denied.retry_after() else {
                prop_assert_eq!(model.slope, 0);
                return Ok(None);
            };
            let then = at + wait.as_nanos().cast_signed();
            let free = |then| model.supply(then) - model.spent.max(model.supply(at) - model.burst);
            prop_assert!(need <= free(then) + GRAINS, "told {wait:?}");
            prop_assert!(need > free(then - 1) - GRAINS, "told {wait:?}");
            model.told = Some((n, then));
            Ok(Some(wait))
        }
    }
}
