//! The fields of a pattern, the items of their lists, and what can be wrong with them.

use super::dialect::Grammar;
use super::fields::{ALL_60, ALL_DAYS, ALL_HOURS, ALL_MONTHS, ALL_WEEKDAYS};

/// A field of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Weekday,
    Year,
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day of month",
            Self::Month => "month",
            Self::Weekday => "weekday",
            Self::Year => "year",
        }
    }

    /// The words that may stand in the field.
    pub(super) fn words(self, specials: bool) -> &'static str {
        match self {
            Self::Month => "JAN to DEC",
            Self::Weekday if specials => "SUN to SAT, and `L` behind one of them",
            Self::Weekday => "SUN to SAT",
            Self::Day if specials => "L, W and LW",
            _ => "none",
        }
    }

    #[inline]
    pub(super) fn range(self, grammar: &Grammar) -> (u32, u32) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::Day => (1, 31),
            Self::Month => (1, 12),
            Self::Weekday if grammar.sunday_is_one => (1, 7),
            Self::Weekday if grammar.seven_is_sunday => (0, 7),
            Self::Weekday => (0, 6),
            Self::Year => (1970, 2199),
        }
    }

    /// All values of the field; not for years, which do not fit.
    #[inline]
    pub(super) fn full(self) -> u64 {
        match self {
            Self::Second | Self::Minute | Self::Year => ALL_60,
            Self::Hour => u64::from(ALL_HOURS),
            Self::Day => u64::from(ALL_DAYS),
            Self::Month => u64::from(ALL_MONTHS),
            Self::Weekday => u64::from(ALL_WEEKDAYS),
        }
    }
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) unit: Unit,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug)]
pub(super) enum FaultKind {
    Fields(usize),
    QuestionMarks(usize),
    EmptyItem,
    OutOfRange(u32, u32),
    Inverted,
    ZeroStep,
    StepTooLarge(u32),
    Name,
    Unexpected(&'static str),
    NearestOfMany,
    NoSeed,
}

impl Fault {
    #[cold]
    pub(super) fn new(kind: FaultKind, unit: Unit, start: usize, end: usize) -> Self {
        Self {
            kind,
            unit,
            start,
            end,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    /// A range, a star, or anything with a step.
    Many,
}

/// From `low` to `high` by `step`; above the field's largest value it goes on with its least one.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) low: u32,
    pub(super) high: u32,
    pub(super) step: u32,
    pub(super) kind: Kind,
}

impl Item {
    #[inline]
    pub(super) fn single(value: u32) -> Self {
        Self {
            low: value,
            high: value,
            step: 1,
            kind: Kind::Single,
        }
    }

    #[inline]
    pub(super) fn range(low: u32, high: u32) -> Self {
        Self {
            low,
            high,
            step: 1,
            kind: Kind::Many,
        }
    }

    /// Its bits in a field whose `span` values end with `last`. Not for years.
    #[inline]
    pub(super) fn bits(&self, last: u32, span: u32) -> u64 {
        if self.high > last {
            return self.wrapped_bits(last, span);
        }
        self.bits_within()
    }

    /// The bits of an item that does not wrap. Not for years.
    #[inline]
    pub(super) fn bits_within(&self) -> u64 {
        // At most 60 values.
        let width = self.high - self.low;
        let all = u64::MAX >> (63 - width);
        if self.step == 1 {
            return all << self.low;
        }
        // Each turn doubles those that are set.
        let mut bits = 1_u64;
        let mut shift = self.step;
        while shift <= width {
            bits |= bits << shift;
            shift *= 2;
        }
        (bits & all) << self.low
    }

    #[cold]
    fn wrapped_bits(&self, last: u32, span: u32) -> u64 {
        let mut bits = 0;
        let mut value = self.low;
        while value <= self.high {
            bits |= 1 << if value > last { value - span } else { value };
            value = value.saturating_add(self.step);
        }
        bits
    }
}
