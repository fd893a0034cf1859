//! `H`: a value that a seed chooses, the same one for the same seed for ever.
//!
//! Cronos draws it from .NET's `Random(seed)`, so an `H` is the same time there and here. Source
//! of the generator: D. E. Knuth, *The Art of Computer Programming* 2, 3.2.2 (subtractive), with
//! the lag of 21 instead of 31 that .NET cannot mend for its callers' sake.

use super::cursor::Cursor;
use super::item::{Fault, FaultKind, Item};

/// The values of one pattern's `H`s, in the order of its fields.
pub(super) struct Seed {
    seed: Option<u64>,
    draws: Option<Draws>,
}

impl Seed {
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self { seed, draws: None }
    }

    pub(super) fn is_some(&self) -> bool {
        self.seed.is_some()
    }

    /// Reads an `H`, one of the field's values up to `last`; or an `H/n`, each nth of them from
    /// one of the first n on.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>, last: u32) -> Result<Item, Fault> {
        let start = cursor.at();
        cursor.skip();
        let Some(seed) = self.seed else {
            return Err(cursor.fault(FaultKind::NoSeed, start));
        };
        let draws = self.draws.get_or_insert_with(|| Draws::new(seed));
        let first = cursor.min();
        let item = if cursor.peek() == b'/' {
            cursor.skip();
            let step = cursor.step(last)?;
            Item {
                step,
                ..Item::range(first + draws.below(step), last)
            }
        } else {
            Item::single(first + draws.below(last + 1 - first))
        };
        if cursor.ends(0) {
            return Ok(item);
        }
        Err(cursor.unexpected("a step or the next field"))
    }
}

/// .NET's `Random(int)`.
struct Draws {
    /// From place 1 on.
    state: [i32; 56],
    next: usize,
    lag: usize,
}

impl Draws {
    /// Seeds below 2^32 are those of .NET, as the bits of its `int`; of larger ones both halves
    /// count.
    fn new(seed: u64) -> Self {
        let folded = (seed ^ (seed >> 32)) as u32;
        let seed = folded.cast_signed().checked_abs().unwrap_or(i32::MAX);
        let mut state = [0_i32; 56];
        let mut last = 161_803_398 - seed;
        let mut value = 1_i32;
        state[55] = last;
        for i in 1..55 {
            let place = 21 * i % 55;
            state[place] = value;
            value = positive(last.wrapping_sub(value));
            last = state[place];
        }
        for _ in 0..4 {
            for i in 1..56 {
                state[i] = positive(state[i].wrapping_sub(state[1 + (i + 30) % 55]));
            }
        }
        Self {
            state,
            next: 0,
            lag: 21,
        }
    }

    /// A value from 0 to below `count`.
    fn below(&mut self, count: u32) -> u32 {
        self.next = self.next % 55 + 1;
        self.lag = self.lag % 55 + 1;
        let mut value = self.state[self.next].wrapping_sub(self.state[self.lag]);
        if value == i32::MAX {
            value -= 1;
        }
        let value = positive(value);
        self.state[self.next] = value;
        // Below `count`, since `value` is below `i32::MAX`.
        let drawn = f64::from(value) * (1.0 / f64::from(i32::MAX)) * f64::from(count);
        (drawn as i32).cast_unsigned()
    }
}

fn positive(value: i32) -> i32 {
    if value < 0 {
        value.wrapping_add(i32::MAX)
    } else {
        value
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Draws;

    /// `new Random(seed).Next()` in .NET, three times each.
    #[test]
    fn draws_are_those_of_dot_net() {
        for (seed, expected) in [
            (0, [1_559_595_546, 1_755_192_844, 1_649_316_166]),
            (42, [1_434_747_710, 302_596_119, 269_548_474]),
        ] {
            let mut draws = Draws::new(seed);
            assert_eq!(expected.map(|_| draws.below(i32::MAX as u32)), expected);
        }
    }
}
