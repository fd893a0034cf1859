//! The windows against lists of calls.

use core::time::Duration;
use std::collections::VecDeque;

use flow_rt::Instant;

use super::window::{CountWindow, Outcome, Tally, TimeWindow, Window};

/// SplitMix64, so that the cases are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn outcome(&mut self) -> Outcome {
        Outcome {
            failed: self.below(2) == 0,
            slow: self.below(3) == 0,
        }
    }
}

fn tally<'a>(calls: impl IntoIterator<Item = &'a Outcome>) -> Tally {
    let mut tally = Tally::default();
    for outcome in calls {
        tally.add(*outcome);
    }
    tally
}

#[test]
fn a_window_by_number_holds_the_last_calls() {
    for size in [1, 2, 3, 63, 64, 65, 100, 128, 129, 1_000] {
        let mut random = Random(size.into());
        let mut window = Window::Count(CountWindow::new(size));
        let mut calls = VecDeque::new();
        for step in 0..2_000 {
            if step == 1_500 {
                window.clear(Instant::ORIGIN);
                calls.clear();
            } else if random.below(2) == 0 {
                let outcome = random.outcome();
                window.push(outcome);
                calls.push_back(outcome);
            } else {
                let good = random.below(u64::from(size) * 2);
                window.good(good);
                calls.extend((0..good).map(|_| Outcome::default()));
            }
            while calls.len() > size as usize {
                calls.pop_front();
            }
            assert_eq!(window.tally(), tally(&calls), "{size} calls, step {step}");
        }
        window.good(u64::MAX);
        let all_good = Tally {
            calls: size.into(),
            ..Tally::default()
        };
        assert_eq!(window.tally(), all_good);
    }
}

#[test]
fn a_window_by_time_forgets_by_tenths() {
    let length = Duration::from_nanos(1_003);
    let tenth = 101;
    let mut random = Random(7);
    let start = 50;
    let mut window = TimeWindow::new(length, Instant::from_nanos(start));
    let mut calls: Vec<(u64, Outcome)> = Vec::new();
    let (mut now, mut newest) = (start, start);
    for step in 0..5_000 {
        now = match random.below(20) {
            0 => now.saturating_sub(random.below(300)),
            1 => now + random.below(3_000),
            _ => now + random.below(40),
        };
        // A clock that went back counts as standing still.
        newest = newest.max(now);
        window.turn(Instant::from_nanos(now));
        let bucket = |at: u64| (at - start) / tenth;
        calls.retain(|(at, _)| bucket(newest) - bucket(*at) < 10);
        let outcome = random.outcome();
        let mut both = Window::Time(window);
        both.push(outcome);
        both.good(2);
        calls.extend([outcome, Outcome::default(), Outcome::default()].map(|it| (newest, it)));
        assert_eq!(
            both.tally(),
            tally(calls.iter().map(|(_, outcome)| outcome)),
            "step {step}"
        );
        let Window::Time(same) = both else {
            unreachable!("it was one by time");
        };
        window = same;
        assert!(window.ends() > newest);
    }
}

#[test]
fn a_window_by_time_stands_the_end_of_time() {
    let year = Duration::from_secs(365 * 86_400);
    let mut window = TimeWindow::new(year, Instant::ORIGIN);
    window.turn(Instant::FAR_FUTURE);
    assert_eq!(window.ends(), u64::MAX);
    window.turn(Instant::FAR_FUTURE);
    window.turn(Instant::ORIGIN);
    let window = Window::Time(window);
    assert_eq!(window.tally(), Tally::default());
}
