//! The anchoring on a counter that a script moves.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use proptest::prelude::*;

use super::{LONGEST, Line, SHORTEST, Scale, Source};

/// A machine: its time, and what its counter shows of it.
struct Machine {
    mono: Cell<u64>,
    raw: Cell<u64>,
    /// Parts of a tick that are not shown yet, times 2^32.
    part: Cell<u64>,
    /// Ticks per nanosecond, times 2^32.
    speed: Cell<u64>,
}

/// What reading the counter, or the time, takes here.
const READ: u64 = 10;
/// What a reading may be off while the counter behaves.
const BOUND: u64 = 500;
const GHZ: u64 = 1 << 32;

impl Machine {
    fn new(mono: u64, raw: u64, speed: u64) -> Rc<Self> {
        Rc::new(Self {
            mono: Cell::new(mono),
            raw: Cell::new(raw),
            part: Cell::new(0),
            speed: Cell::new(speed),
        })
    }

    fn pass(&self, nanos: u64) {
        self.mono.set(self.mono.get().saturating_add(nanos));
        let ticks = u128::from(nanos) * u128::from(self.speed.get()) + u128::from(self.part.get());
        self.part.set(ticks as u64 & (GHZ - 1));
        self.jump((ticks >> 32) as u64);
    }

    fn jump(&self, ticks: u64) {
        self.raw.set(self.raw.get().wrapping_add(ticks));
    }

    fn calibrated(self: &Rc<Self>) -> Scale<Rc<Self>> {
        Scale::calibrate(self.clone(), |pause| self.pass(pause.as_nanos() as u64))
            .expect("an even counter")
    }

    fn faster(&self, ppm: i64) {
        let by = self.speed.get() / 1_000_000 * ppm.unsigned_abs();
        let speed = self.speed.get();
        self.speed
            .set(if ppm < 0 { speed - by } else { speed + by });
    }
}

impl Source for Rc<Machine> {
    fn raw(&self) -> u64 {
        self.pass(READ);
        self.raw.get()
    }

    fn mono(&self) -> u64 {
        self.pass(READ);
        self.mono.get()
    }
}

/// Reads for `nanos` at distances of `step`; the largest error.
fn worst(
    machine: &Rc<Machine>,
    scale: &Scale<Rc<Machine>>,
    line: &Line,
    nanos: u64,
    step: u64,
) -> u64 {
    let end = machine.mono.get() + nanos;
    let mut worst = 0;
    let mut last = 0;
    while machine.mono.get() < end {
        let before = machine.mono.get();
        let now = line.now(scale);
        assert!(now >= last, "went back from {last} to {now}");
        last = now;
        let after = machine.mono.get();
        worst = worst.max(before.saturating_sub(now).max(now.saturating_sub(after)));
        machine.pass(step);
    }
    worst
}

const MS: u64 = 1_000_000;
const START: u64 = 3_600_000 * MS;

#[test]
fn an_even_counter_of_any_speed_is_followed() {
    // 24 MHz as on ARM, 1 to 6 GHz, and one that wraps on the way.
    for (speed, raw) in [
        (GHZ * 24 / 1000, 0),
        (GHZ, 5),
        (GHZ * 26 / 10, 1 << 60),
        (GHZ * 6, u64::MAX - 100_000_000),
    ] {
        for step in [5, 700, 90_000, 3 * MS, 20 * MS, 70_000 * MS] {
            let machine = Machine::new(START, raw, speed);
            let scale = machine.calibrated();
            let line = Line::new();
            let worst = worst(&machine, &scale, &line, 50 * MS.max(step), step);
            assert!(
                worst <= BOUND,
                "{worst} ns off at speed {speed}, step {step}"
            );
            assert!(!scale.is_distrusted());
        }
    }
}

#[test]
fn a_calibration_that_is_off_by_200_ppm_costs_no_more_than_the_bound() {
    for ppm in [-200, -50, 50, 200] {
        let machine = Machine::new(START, 77, GHZ * 26 / 10);
        let scale = machine.calibrated();
        machine.faster(ppm);
        for _thread in 0..3 {
            let line = Line::new();
            let worst = worst(&machine, &scale, &line, 300 * MS, 3_000);
            assert!(worst <= BOUND, "{worst} ns off at {ppm} ppm");
        }
        assert!(!scale.is_distrusted());
    }
}

#[test]
fn a_rate_that_changes_by_50_ppm_stays_within_the_bound() {
    let machine = Machine::new(START, 77, GHZ * 3);
    let scale = machine.calibrated();
    let line = Line::new();
    worst(&machine, &scale, &line, 100 * MS, 3_000);
    for ppm in [50, -50, -50, 50] {
        machine.faster(ppm);
        let worst = worst(&machine, &scale, &line, 40 * MS, 3_000);
        assert!(worst <= BOUND, "{worst} ns off after a change of {ppm} ppm");
    }
}

#[test]
fn one_jump_is_forgotten_and_jumps_again_and_again_are_not_forgiven() {
    let machine = Machine::new(START, 1 << 40, GHZ * 2);
    let scale = machine.calibrated();
    let line = Line::new();
    // Back, far back, a little forward, far forward, half way round.
    let jumps = [
        1_000_u64.wrapping_neg(),
        (1_u64 << 39).wrapping_neg(),
        4 * MS,
        1 << 50,
        1 << 63,
    ];
    for jump in jumps {
        machine.jump(jump);
        let off = worst(&machine, &scale, &line, 40 * MS, 1_000);
        assert!(
            off <= LONGEST + BOUND,
            "{off} ns off after a jump of {jump}"
        );
        let off = worst(&machine, &scale, &line, 1_000 * MS, 1_000);
        assert!(off <= BOUND, "{off} ns off long after a jump of {jump}");
        assert!(!scale.is_distrusted());
    }
    for _ in 0..4 {
        machine.jump(1 << 40);
        line.now(&scale);
    }
    assert!(scale.is_distrusted());
    // From now on it is CLOCK_MONOTONIC, for every thread.
    let other = Line::new();
    machine.jump(1 << 40);
    assert_eq!(line.now(&scale), machine.mono.get());
    assert_eq!(other.now(&scale), machine.mono.get());
}

#[test]
fn a_counter_that_stands_is_noticed_at_once_and_given_up() {
    let machine = Machine::new(START, 9, GHZ * 2);
    let scale = machine.calibrated();
    let line = Line::new();
    worst(&machine, &scale, &line, 20 * MS, 1_000);
    machine.speed.set(0);
    let worst = worst(&machine, &scale, &line, 20 * MS, 1_000);
    assert!(worst <= BOUND, "{worst} ns off");
    assert!(scale.is_distrusted());
}

#[test]
fn a_counter_that_is_not_even_is_not_calibrated() {
    let unclear = Machine::new(START, 9, GHZ);
    // Slower than any counter, faster than any, standing.
    for speed in [GHZ / 1_000, GHZ * 2_000, 0] {
        unclear.speed.set(speed);
        let wait = |pause: Duration| unclear.pass(pause.as_nanos() as u64);
        assert!(Scale::calibrate(unclear.clone(), wait).is_none());
    }
    let backward = Machine::new(START, 1 << 50, GHZ);
    let wait = |pause: Duration| {
        backward
            .mono
            .set(backward.mono.get() + pause.as_nanos() as u64);
        backward.jump((1_u64 << 20).wrapping_neg());
    };
    assert!(Scale::calibrate(backward.clone(), wait).is_none());
}

#[test]
fn a_machine_that_was_suspended_is_followed_again() {
    let machine = Machine::new(START, 9, GHZ * 2);
    let scale = machine.calibrated();
    let line = Line::new();
    worst(&machine, &scale, &line, 20 * MS, 1_000);
    // The counter runs on for eight hours, or begins anew; the time stands.
    for suspended in [GHZ * 30_000, machine.raw.get().wrapping_neg()] {
        machine.jump(suspended);
        let worst = worst(&machine, &scale, &line, 600 * MS, 1_000);
        assert!(worst <= BOUND, "{worst} ns off");
    }
    assert!(!scale.is_distrusted());
}

#[test]
fn the_end_of_the_range_is_survived() {
    let machine = Machine::new(u64::MAX - 30 * MS, u64::MAX - 7 * MS, GHZ);
    let scale = machine.calibrated();
    let line = Line::new();
    let mut last = 0;
    for _ in 0..50_000 {
        let now = line.now(&scale);
        assert!(now >= last);
        last = now;
        machine.pass(1_000);
    }
    assert_eq!(last, u64::MAX);
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Jump(u64),
    Speed(u64),
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..40 * MS).prop_map(Step::Pass),
        (0..2_000_u64).prop_map(Step::Pass),
        any::<u64>().prop_map(Step::Jump),
        (0..100 * MS).prop_map(Step::Jump),
        (0..100 * MS).prop_map(|back| Step::Jump(back.wrapping_neg())),
        (0..=GHZ * 10).prop_map(Step::Speed),
        (0..3_usize).prop_map(Step::Read),
        (0..3_usize).prop_map(Step::Read),
        (0..3_usize).prop_map(Step::Read),
    ]
}

proptest! {
    /// Whatever the counter does: no thread goes back, none gets more ahead than a line is long,
    /// and a counter that behaves again is right again.
    #[test]
    fn nothing_a_counter_does_moves_a_thread_back_or_far_ahead(
        mono in prop_oneof![Just(0), Just(START), any::<u64>()],
        raw in any::<u64>(),
        speed in GHZ / 50..GHZ * 6,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mono = mono.min(u64::MAX - 100_000 * MS);
        let machine = Machine::new(mono, raw, speed);
        let scale = machine.calibrated();
        let lines = [Line::new(), Line::new(), Line::new()];
        let mut last = [0; 3];
        for step in steps {
            match step {
                Step::Pass(nanos) => machine.pass(nanos),
                Step::Jump(ticks) => machine.jump(ticks),
                Step::Speed(speed) => machine.speed.set(speed),
                Step::Read(thread) => {
                    let now = lines[thread].now(&scale);
                    prop_assert!(now >= last[thread]);
                    prop_assert!(now <= machine.mono.get() + LONGEST + BOUND);
                    last[thread] = now;
                }
            }
        }
        machine.speed.set(speed);
        for line in &lines {
            // Until it is right: its line, and slower lines where it was ahead.
            worst(&machine, &scale, line, 100 * MS, SHORTEST / 3);
            let worst = worst(&machine, &scale, line, 50 * MS, 7_000);
            prop_assert!(worst <= BOUND, "{worst} ns off");
        }
    }
}
