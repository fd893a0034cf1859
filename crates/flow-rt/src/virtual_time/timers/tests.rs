//! The heap beside a plain list of timers, which is sorted whenever something is due.

use proptest::prelude::*;

use super::{Key, Timers};

#[derive(Debug, Clone)]
enum Step {
    Register {
        after: u64,
    },
    /// Registers one of the timers there were, anew or for another time.
    Again {
        which: usize,
        after: u64,
    },
    Remove {
        which: usize,
    },
    Fire {
        after: u64,
    },
    PopDue {
        after: u64,
    },
    /// Moves time to what is due next, and takes that out.
    Next,
}

/// Distances of all magnitudes, some of them equal.
fn distance() -> impl Strategy<Value = u64> {
    prop_oneof![
        1_u64..5,
        (0_u32..62).prop_map(|bits| 1 << bits),
        (0_u32..62, any::<u64>()).prop_map(|(bits, noise)| 1 + noise % (1 << bits)),
        // Many in one bucket, some of them at one instant.
        (1_u64..40).prop_map(|tenths| tenths * 100_000_000),
        // The same, and so near to each other that their highest bits are the same.
        (1_u64..20).prop_map(|nanos| (1 << 40) + nanos),
        Just(u64::MAX),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => distance().prop_map(|after| Step::Register { after }),
        1 => (any::<usize>(), distance()).prop_map(|(which, after)| Step::Again { which, after }),
        1 => any::<usize>().prop_map(|which| Step::Remove { which }),
        2 => distance().prop_map(|after| Step::Fire { after }),
        1 => distance().prop_map(|after| Step::PopDue { after }),
        3 => Just(Step::Next),
    ];
    prop::collection::vec(step, 0..300)
}

/// What is registered: when it is due, when it was registered for that, and its number.
#[derive(Default)]
struct Plain {
    timers: Vec<(u64, u64, u64)>,
    registrations: u64,
}

impl Plain {
    fn register(&mut self, due: u64, number: u64) {
        if self
            .timers
            .iter()
            .any(|&(known, _, other)| (known, other) == (due, number))
        {
            return;
        }
        self.remove(number);
        self.registrations += 1;
        self.timers.push((due, self.registrations, number));
    }

    fn remove(&mut self, number: u64) -> bool {
        let before = self.timers.len();
        self.timers.retain(|&(_, _, other)| other != number);
        self.timers.len() < before
    }

    fn pop_due(&mut self, now: u64) -> Option<u64> {
        self.timers.sort_unstable();
        let &(due, _, number) = self.timers.first()?;
        (due <= now).then(|| {
            self.timers.remove(0);
            number
        })
    }

    fn armed(&self) -> Vec<(u64, u64)> {
        let mut armed: Vec<_> = self.timers.iter().map(|&(due, _, n)| (due, n)).collect();
        armed.sort_unstable();
        armed
    }
}

#[test]
fn those_of_one_bucket_fire_in_order_however_near_to_each_other() {
    for apart in [1, 1 << 10, 1 << 16, 1 << 20, 1 << 25] {
        let mut timers = Timers::new();
        let mut expected = Vec::new();
        // Out of order, each time twice, and all in one bucket.
        for number in 0..28_u64 {
            let due = (1 << 30) + number * 11 % 14 * apart;
            timers.insert(due, number, number);
            expected.push((due, number));
        }
        expected.sort_unstable();
        let mut fired = Vec::new();
        while let Some(due) = timers.next_due() {
            assert!(timers.pop_alone(due).is_none(), "there are two");
            timers.fire(due, |_, who| fired.push((due, who)));
        }
        assert_eq!(fired, expected);
        // Each time once.
        let due = |number: u64| (1 << 31) + number * 11 % 28 * apart;
        for number in 0..28 {
            timers.insert(due(number), number, number);
        }
        let alone = core::iter::from_fn(|| timers.pop_alone(u64::MAX));
        let alone: Vec<_> = alone.map(|(due, _, who)| (due, who)).collect();
        let mut expected: Vec<_> = (0..28).map(|number| (due(number), number)).collect();
        expected.sort_unstable();
        assert_eq!(alone, expected);
    }
}

#[test]
fn where_two_are_due_time_has_to_move_to_them_all_the_same() {
    let mut timers = Timers::new();
    let now = 1_u64 << 30;
    timers.insert(now, 0, 0);
    timers.fire(now, |_, _| ());
    // In one bucket, which starts between now and then.
    let due = now + 10_000_000;
    for (number, due) in [due, due, due + 500_000].into_iter().enumerate() {
        timers.insert(due, number as u64, number);
    }
    assert!(timers.pop_alone(u64::MAX).is_none(), "there are two");
    assert!(now < timers.base && timers.base <= due);
    // What is new is not due before that, and so neither before what time moves to.
    timers.insert(now + 1, 3, 3);
    assert_eq!(timers.next_due(), Some(timers.base));
    let mut fired = Vec::new();
    timers.fire(due, |_, who| fired.push(who));
    assert_eq!(fired, [3, 0, 1]);
}

proptest! {
    #[test]
    fn does_what_a_plain_list_does(steps in steps()) {
        let (mut timers, mut plain) = (Timers::new(), Plain::default());
        let mut keys: Vec<Key> = Vec::new();
        let mut now = 1_000_000_000_u64;
        for step in steps {
            match step {
                Step::Register { after } => {
                    let (due, number) = (now.saturating_add(after), keys.len() as u64);
                    keys.push(timers.insert(due, number, number));
                    plain.register(due, number);
                }
                Step::Again { which, after } if !keys.is_empty() => {
                    let which = which % keys.len();
                    let (due, number) = (now.saturating_add(after), which as u64);
                    let was_there = plain.timers.iter().any(|timer| timer.2 == number);
                    let (key, replaced) =
                        timers.register(Some(keys[which]), due, number, number);
                    prop_assert_eq!(replaced.is_some(), was_there);
                    prop_assert!(timers.waits(key, due, |&who| who == number));
                    keys[which] = key;
                    plain.register(due, number);
                }
                Step::Remove { which } if !keys.is_empty() => {
                    let which = which % keys.len();
                    let removed = timers.remove(keys[which]).is_some();
                    prop_assert_eq!(removed, plain.remove(which as u64));
                }
                Step::Fire { after } => {
                    now = now.saturating_add(after).min(u64::MAX - 1);
                    let mut fired = Vec::new();
                    timers.fire(now, |owner, who| fired.push((owner, who)));
                    let expected: Vec<_> =
                        core::iter::from_fn(|| plain.pop_due(now)).map(|n| (n, n)).collect();
                    prop_assert_eq!(fired, expected);
                }
                Step::PopDue { after } => {
                    // As if time moved no further than to what is taken out.
                    let until = now.saturating_add(after);
                    let due = timers.next_due().filter(|&due| due <= until && due < u64::MAX);
                    if let Some(due) = due {
                        now = now.max(due);
                        let popped = timers.pop_due(now).map(|(_, who)| who);
                        prop_assert_eq!(popped, plain.pop_due(now));
                    }
                }
                Step::Next => {
                    let first = plain.timers.iter().map(|timer| timer.0).min();
                    if let Some(due) = first.filter(|&due| due < u64::MAX) {
                        prop_assert!(timers.pop_alone(due - 1).is_none());
                        let alone = plain.timers.iter().filter(|timer| timer.0 == due).count() == 1;
                        let popped = timers.pop_alone(due);
                        prop_assert_eq!(popped.is_some(), alone);
                        now = due;
                        let mut fired = Vec::new();
                        match popped {
                            Some((at, owner, who)) => {
                                prop_assert_eq!(at, due);
                                fired.push((owner, who));
                            }
                            None => timers.fire(now, |owner, who| fired.push((owner, who))),
                        }
                        let expected: Vec<_> =
                            core::iter::from_fn(|| plain.pop_due(now)).map(|n| (n, n)).collect();
                        prop_assert_eq!(fired, expected);
                    }
                }
                Step::Again { .. } | Step::Remove { .. } => {}
            }
            let mut armed: Vec<_> = timers.armed().collect();
            armed.sort_unstable();
            prop_assert_eq!(&armed, &plain.armed());
            prop_assert_eq!(timers.is_empty(), armed.is_empty());
            prop_assert_eq!(timers.next_due(), armed.first().map(|timer| timer.0));
        }
    }
}
