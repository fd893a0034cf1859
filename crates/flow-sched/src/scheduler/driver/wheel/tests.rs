//! The wheel against a sorted map.

use std::collections::BTreeMap;

use flow_rt::sim::SimRng;
use proptest::prelude::*;

use super::{Key, SWEEP_FLOOR, Wheel};

/// What the wheel claims to be.
#[derive(Default)]
struct Model(BTreeMap<(u64, u64, u64), u64>);

struct Pair {
    wheel: Wheel<u64>,
    model: Model,
    keys: Vec<(Key, (u64, u64, u64))>,
    next: u64,
    now: u64,
}

impl Pair {
    fn new(now: u64) -> Self {
        Self {
            wheel: Wheel::new(now),
            model: Model::default(),
            keys: Vec::new(),
            next: 0,
            now,
        }
    }

    fn insert(&mut self, deadline: u64, order: u64) {
        let id = self.next;
        self.next += 1;
        let key = self.wheel.insert(deadline, order, id);
        self.model.0.insert((deadline, order, id), id);
        self.keys.push((key, (deadline, order, id)));
    }

    fn cancel(&mut self, pick: u64) {
        if self.keys.is_empty() {
            return;
        }
        let pick = (pick % self.keys.len() as u64) as usize;
        let (key, place) = self.keys.swap_remove(pick);
        let expected = self.model.0.remove(&place);
        // By its key, or by its cell.
        if place.2 % 2 == 0 {
            assert_eq!(self.wheel.cancel(key), expected);
        } else {
            let is_meant = |id: &u64| *id == place.2;
            assert_eq!(self.wheel.cancel_at(key.index, is_meant), expected);
        }
        assert_eq!(self.wheel.cancel(key), None, "a key serves once");
        let other = self.wheel.cancel_at(key.index, |_| false);
        assert_eq!(other, None, "a cell may hold another one by now");
    }

    fn advance(&mut self, by: u64) {
        self.now = self.now.saturating_add(by);
        while let Some((deadline, id)) = self.wheel.pop_due(self.now) {
            let (&place, &expected) = self.model.0.first_key_value().expect("nothing is due");
            assert_eq!((deadline, id), (place.0, expected));
            assert!(deadline <= self.now, "never early");
            self.model.0.remove(&place);
        }
        if let Some((first, _)) = self.model.0.first_key_value() {
            assert!(first.0 > self.now, "never late");
        }
    }

    fn agree(&mut self) {
        let first = self.model.0.first_key_value().map(|(place, _)| place.0);
        assert_eq!(self.wheel.next_deadline(), first);
        assert_eq!(self.wheel.len(), self.model.0.len());
    }

    fn entries(&self) -> usize {
        let in_slots: usize = self.wheel.slots.iter().map(|s| s.entries.len()).sum();
        in_slots + self.wheel.near.len()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert { ahead: u64, order: u64 },
    Cancel(u64),
    Advance(u64),
    Look,
}

/// Spans of every size, so that every level is met.
fn span() -> impl Strategy<Value = u64> {
    (0_u32..63, any::<u64>()).prop_map(|(bits, noise)| noise >> (63 - bits))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (span(), 0_u64..4).prop_map(|(ahead, order)| Step::Insert { ahead, order }),
        2 => any::<u64>().prop_map(Step::Cancel),
        2 => span().prop_map(|by| Step::Advance(by >> 4)),
        1 => Just(Step::Look),
    ]
}

proptest! {
    #[test]
    fn equals_a_sorted_map(start in span(), steps in prop::collection::vec(step(), 0..400)) {
        let mut pair = Pair::new(start);
        for step in steps {
            match step {
                Step::Insert { ahead, order } => {
                    let deadline = pair.now.saturating_add(ahead);
                    pair.insert(deadline, order);
                }
                Step::Cancel(pick) => pair.cancel(pick),
                Step::Advance(by) => pair.advance(by),
                Step::Look => pair.agree(),
            }
        }
        pair.agree();
        pair.advance(u64::MAX);
        prop_assert_eq!(pair.wheel.len(), 0);
    }
}

#[test]
fn equals_a_sorted_map_over_many_random_operations() {
    let mut rng = SimRng::new(7);
    let mut pair = Pair::new(1 << 40);
    for n in 0..1_000_000_u64 {
        match rng.below(10) {
            0..=4 => {
                let ahead = rng.next_u64() >> (20 + rng.below(30));
                pair.insert(pair.now + ahead, rng.below(3));
            }
            5..=7 => pair.cancel(rng.next_u64()),
            _ => pair.advance(rng.next_u64() >> (24 + rng.below(30))),
        }
        if n % 64 == 0 {
            pair.agree();
        }
    }
    pair.advance(u64::MAX);
}

#[test]
fn equal_deadlines_come_in_order_then_in_order_of_insertion() {
    let mut wheel = Wheel::new(0);
    for (order, value) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
        wheel.insert(5_000_000_000, order, value);
    }
    let due: Vec<_> = core::iter::from_fn(|| wheel.pop_due(u64::MAX)).collect();
    let values: Vec<_> = due.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
}

#[test]
fn entries_stay_within_twice_the_live_ones_when_all_but_a_few_are_cancelled() {
    let mut pair = Pair::new(0);
    for n in 0..20_000 {
        pair.insert(n * 180_000_000, 0);
    }
    while pair.wheel.len() > 10 {
        pair.cancel(0);
        let slots = 8 * 64 + 1;
        assert!(pair.entries() <= 2 * pair.wheel.len() + slots * SWEEP_FLOOR);
    }
    pair.agree();
    while pair.wheel.len() > 0 {
        pair.cancel(0);
    }
    assert_eq!(pair.entries(), 0);
    assert!(
        pair.wheel.cells.capacity() <= 64,
        "a burst's memory goes back"
    );
}

#[test]
fn the_end_of_time_is_a_deadline_like_any_other() {
    let mut wheel = Wheel::new(u64::MAX - 1);
    wheel.insert(u64::MAX, 0, ());
    assert_eq!(wheel.pop_due(u64::MAX - 1), None);
    assert_eq!(wheel.next_deadline(), Some(u64::MAX));
    assert_eq!(wheel.pop_due(u64::MAX), Some((u64::MAX, ())));
}

impl Pair {
    /// Bytes of what is kept beside the slots, whose entries are counted elsewhere.
    fn room(&self) -> usize {
        let wheel = &self.wheel;
        let cells = wheel.cells.capacity() * size_of::<super::Cell<u64>>();
        let spare = wheel.spare.capacity() * size_of::<super::Entry>();
        cells + spare + wheel.free.capacity() * size_of::<u32>() + wheel.near.room()
    }

    fn tidy(&mut self, most: usize) -> bool {
        let keys = &mut self.keys;
        // The keys are those of 0.. in order, in the tests that tidy.
        self.wheel.tidy(most, |&id, index| {
            let at = keys.binary_search_by_key(&id, |(_, place)| place.2);
            keys[at.unwrap()].0.index = index;
        })
    }
}

#[test]
fn the_memory_of_a_burst_goes_back_while_a_few_live_on() {
    let mut pair = Pair::new(0);
    let many = 100_000;
    // One in a thousand is due after all others; half of these have equal deadlines.
    for n in 0..many {
        let late = n % 1_000 == 999;
        let deadline = match n % 2_000 {
            999 => 1 << 50,
            1_999 => (1 << 50) + n,
            _ => 1_000_000 + n % 7,
        };
        pair.insert(deadline, n % 3);
        assert!(late || deadline < 1 << 50);
    }
    // All due at once, and looked at before they are gone.
    pair.advance(2_000_000);
    assert_eq!(pair.wheel.len(), 100);
    assert!(pair.room() > 1_000_000);
    let mut steps = 0;
    while pair.tidy(64) {
        steps += 1;
        pair.agree();
    }
    assert!(steps > 1_000, "{steps}");
    assert!(pair.room() <= 4 * 64 * super::TIDY_FLOOR, "{}", pair.room());
    assert!(
        pair.entries() <= 2 * 100 + 2 * SWEEP_FLOOR,
        "{}",
        pair.entries()
    );
    // Those that have moved are found, by key and by cell, and come in their order.
    for id in [999, 1_999, 2_999, 3_999] {
        let (key, place) = pair.keys[id];
        assert_eq!(pair.wheel.cancel(key), pair.model.0.remove(&place));
        assert_eq!(pair.wheel.cancel(key), None);
    }
    pair.agree();
    for n in 0..5_000 {
        pair.insert((1 << 50) + n, 0);
    }
    pair.advance(1 << 51);
    assert_eq!(pair.wheel.len(), 0);
}

#[test]
fn what_is_tidied_at_any_time_still_equals_a_sorted_map() {
    let mut rng = SimRng::new(11);
    for _ in 0..20 {
        let mut pair = Pair::new(1 << 40);
        for burst in 0..6 {
            for _ in 0..1_000 + rng.below(4_000) {
                let ahead = rng.next_u64() >> (20 + rng.below(30));
                pair.insert(pair.now + ahead, rng.below(3));
            }
            for _ in 0..6_000 {
                match rng.below(8) {
                    0 => drop(pair.tidy(1 + rng.below(20) as usize)),
                    1 if burst % 2 == 0 => {
                        let ahead = rng.next_u64() >> (20 + rng.below(30));
                        pair.insert(pair.now + ahead, rng.below(3));
                    }
                    2 => pair.advance(rng.next_u64() >> (34 + rng.below(20))),
                    3 => pair.agree(),
                    _ => {
                        // Without taking the key out, so that keys stay in order.
                        let pick = rng.below(pair.keys.len() as u64) as usize;
                        let (key, place) = pair.keys[pick];
                        let expected = pair.model.0.remove(&place);
                        assert_eq!(pair.wheel.cancel(key), expected);
                    }
                }
            }
            while pair.tidy(100) {}
            assert!(pair.wheel.cells.len() <= 2 * pair.wheel.len() + super::TIDY_FLOOR);
        }
        pair.advance(u64::MAX);
        assert_eq!(pair.wheel.len(), 0);
    }
}
