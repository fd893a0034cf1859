//! The word of permits in classes, cut into fields as wide as the number of classes allows.

use super::ClassedPermits;
use crate::error::ClassesError;

/// Whoever gives permits back comes to the lock.
pub(super) const W: u64 = 1 << FLAGS;
/// Closed.
pub(super) const C: u64 = 1 << (FLAGS + 1);

const FLAGS: u32 = 62;
const WIDEST: u32 = 28;

/// Where the fields of the word are: the limit, all in flight, and those of each class but the
/// last, which has the rest.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    width: u32,
    classes: usize,
}

impl Layout {
    /// For 1 to [`ClassedPermits::MAX_CLASSES`] classes.
    pub(super) const fn new(classes: usize) -> Self {
        let width = FLAGS / (classes as u32 + 1);
        Self {
            width: if width > WIDEST { WIDEST } else { width },
            classes,
        }
    }

    pub(super) const fn classes(self) -> usize {
        self.classes
    }

    pub(super) const fn max_limit(self) -> u32 {
        self.mask() as u32
    }

    /// The limit, where it stands in the word.
    pub(super) const fn checked(self, limit: u32) -> Result<u64, ClassesError> {
        if limit > self.max_limit() {
            return Err(ClassesError::LimitTooLarge {
                given: limit,
                classes: self.classes,
                max: self.max_limit(),
            });
        }
        Ok(limit as u64)
    }

    /// The word with another limit.
    pub(super) const fn with_limit(self, word: u64, limit: u64) -> u64 {
        word & !self.mask() | limit
    }

    #[inline]
    pub(super) const fn limit(self, word: u64) -> u64 {
        word & self.mask()
    }

    #[inline]
    pub(super) const fn in_flight(self, word: u64) -> u64 {
        word >> self.width & self.mask()
    }

    #[inline]
    pub(super) const fn free(self, word: u64) -> u64 {
        self.limit(word).saturating_sub(self.in_flight(word))
    }

    /// Those in flight of one class; 0 if there is no such class.
    #[inline]
    pub(super) fn in_flight_of(self, word: u64, class: usize) -> u64 {
        if class >= self.classes {
            return 0;
        }
        if class + 1 < self.classes {
            return word >> self.shift(class) & self.mask();
        }
        let others: u64 = (0..class)
            .map(|other| word >> self.shift(other) & self.mask())
            .sum();
        self.in_flight(word) - others
    }

    /// One permit of each class, where it stands in the word; 0 where there is no class.
    pub(super) fn units(self) -> [u64; ClassedPermits::MAX_CLASSES] {
        let all = 1 << self.width;
        core::array::from_fn(|class| match class + 1 {
            next if next < self.classes => all | 1 << self.shift(class),
            next if next == self.classes => all,
            _ => 0,
        })
    }

    #[inline]
    const fn shift(self, class: usize) -> u32 {
        self.width * (class as u32 + 2)
    }

    #[inline]
    const fn mask(self) -> u64 {
        (1 << self.width) - 1
    }
}
