//! One item of a field's list: a number or name, a range, a star, each perhaps with a step.

use super::dialect::{Grammar, Question};
use super::parser::{item_bits, largest_step};

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

    fn range(self, grammar: &Grammar) -> (u32, u32) {
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

/// Reads a field.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    pub(super) at: usize,
    end: usize,
    pub(super) unit: Unit,
    pub(super) grammar: &'a Grammar,
    min: u32,
    max: u32,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn new(
        text: &'a [u8],
        start: usize,
        end: usize,
        unit: Unit,
        grammar: &'a Grammar,
    ) -> Self {
        let (min, max) = unit.range(grammar);
        Self {
            text,
            at: start,
            end,
            unit,
            grammar,
            min,
            max,
        }
    }

    /// The byte at hand; 0 at the end of the field.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        if self.at < self.end {
            self.text[self.at]
        } else {
            0
        }
    }

    /// Whether all that is left is `*`, or a `?` that stands for it.
    pub(super) fn is_star(&self) -> bool {
        self.at + 1 == self.end
            && (self.text[self.at] == b'*'
                || self.grammar.question == Question::Everywhere && self.text[self.at] == b'?')
    }

    /// Whether all that is left is a `?` that stands for all days.
    pub(super) fn is_question(&self) -> bool {
        self.at + 1 == self.end
            && self.text[self.at] == b'?'
            && self.grammar.question != Question::Nowhere
    }

    /// Whether all that is left is an `L`.
    pub(super) fn is_last_letter(&self) -> bool {
        self.at + 1 == self.end && self.is_letter(b'L')
    }

    /// Takes the letter, if it is the next byte and no name begins with it.
    pub(super) fn letter(&mut self, letter: u8) -> bool {
        let taken = self.is_letter(letter);
        self.at += usize::from(taken);
        taken
    }

    fn is_letter(&self, letter: u8) -> bool {
        let byte = self.peek();
        byte == letter || self.grammar.lower_case && byte == letter.to_ascii_lowercase()
    }

    /// Whether another item follows. Anything else than a comma or the end is refused.
    #[inline]
    pub(super) fn comma(&mut self) -> Result<bool, Fault> {
        if self.at == self.end {
            return Ok(false);
        }
        if self.text[self.at] != b',' {
            return Err(self.unexpected("a comma or the next field"));
        }
        self.at += 1;
        Ok(true)
    }

    pub(super) fn item(&mut self) -> Result<Item, Fault> {
        let start = self.at;
        let mut item = match self.peek() {
            0 | b',' => return Err(self.fault(FaultKind::EmptyItem, start)),
            b'*' => {
                self.at += 1;
                self.all()
            }
            b'?' if self.grammar.question == Question::Everywhere => {
                self.at += 1;
                self.all()
            }
            _ => self.range(start)?,
        };
        if self.peek() == b'/' {
            if item.kind == Kind::Single {
                if !self.grammar.open_steps {
                    return Err(self.unexpected("a step behind `*` or a range"));
                }
                item.high = self.max;
            }
            self.at += 1;
            item.step = self.step()?;
            item.kind = Kind::Many;
        }
        Ok(item)
    }

    /// The bits of an item. Not for years.
    #[inline]
    pub(super) fn bits(&self, item: &Item) -> u64 {
        if self.unit == Unit::Weekday && self.grammar.sunday_is_one {
            let counted = item_bits(item, 7, 7);
            // Quartz' 1 is our 0; its 7 our 6.
            return counted >> 1;
        }
        if self.unit == Unit::Weekday {
            // 7 is bit 7 here, and Sunday with the caller; beyond it the week begins again.
            return item_bits(item, 7, 7);
        }
        item_bits(item, self.max, self.max - self.min + 1)
    }

    /// A number between the two, as behind `#`.
    pub(super) fn number_within(&mut self, min: u32, max: u32) -> Result<u32, Fault> {
        let start = self.at;
        let number = self.number()?;
        if (min..=max).contains(&number) {
            return Ok(number);
        }
        Err(self.fault(FaultKind::OutOfRange(min, max), start))
    }

    /// What is left from here to the next separator cannot stand there.
    #[cold]
    pub(super) fn unexpected(&self, allowed: &'static str) -> Fault {
        let rest = &self.text[self.at..self.end];
        let len = rest.iter().position(|&byte| byte == b',');
        let end = self.at + len.unwrap_or(rest.len()).max(usize::from(!rest.is_empty()));
        Fault::new(FaultKind::Unexpected(allowed), self.unit, self.at, end)
    }

    /// A fault of what stands between `start` and here.
    #[cold]
    pub(super) fn fault(&self, kind: FaultKind, start: usize) -> Fault {
        Fault::new(kind, self.unit, start, self.at)
    }

    fn all(&self) -> Item {
        // Sunday counts once.
        let max = if self.unit == Unit::Weekday && self.grammar.seven_is_sunday {
            6
        } else {
            self.max
        };
        Item {
            low: self.min,
            high: max,
            step: 1,
            kind: Kind::Many,
        }
    }

    fn range(&mut self, start: usize) -> Result<Item, Fault> {
        let (low, _) = self.value()?;
        let mut item = Item {
            low,
            high: low,
            step: 1,
            kind: Kind::Single,
        };
        if self.peek() == b'-' {
            self.at += 1;
            let (high, named) = self.value()?;
            item.kind = Kind::Many;
            item.high = high;
            if high < low {
                let sunday = named && high == 0 && self.grammar.seven_is_sunday;
                if sunday {
                    // `FRI-SUN` ends on the week's seventh day.
                    item.high = 7;
                } else if self.grammar.wrap && self.unit != Unit::Year {
                    let span = if self.unit == Unit::Weekday {
                        7
                    } else {
                        self.max - self.min + 1
                    };
                    item.high = high + span;
                } else {
                    return Err(self.fault(FaultKind::Inverted, start));
                }
            }
        }
        Ok(item)
    }

    fn step(&mut self) -> Result<u32, Fault> {
        let start = self.at;
        let step = self.number()?;
        if step == 0 {
            return Err(self.fault(FaultKind::ZeroStep, start));
        }
        let most = largest_step(self.grammar, self.min, self.last());
        if step > most {
            return Err(self.fault(FaultKind::StepTooLarge(most), start));
        }
        Ok(step)
    }

    /// The largest value, Sunday counted once where steps are counted by it.
    fn last(&self) -> u32 {
        let twice = self.unit == Unit::Weekday
            && self.grammar.seven_is_sunday
            && self.grammar.steps == super::dialect::Steps::ToCount;
        self.max - u32::from(twice)
    }

    /// A number or a name of the field; whether it was a name.
    fn value(&mut self) -> Result<(u32, bool), Fault> {
        let start = self.at;
        let byte = self.peek();
        if byte.is_ascii_digit() {
            let number = self.number()?;
            if number < self.min || number > self.max {
                return Err(self.fault(FaultKind::OutOfRange(self.min, self.max), start));
            }
            return Ok((number, false));
        }
        if !byte.is_ascii_alphabetic() {
            return Err(self.unexpected("a number, a name, `*` or a range"));
        }
        if self.end - self.at >= 3 {
            let name = &self.text[self.at..self.at + 3];
            let name = [name[0], name[1], name[2]].map(|byte| byte & !0x20);
            if let Some(value) = self.named(name) {
                self.at += 3;
                return Ok((value, true));
            }
        }
        while self.peek().is_ascii_alphanumeric() {
            self.at += 1;
        }
        Err(self.fault(FaultKind::Name, start))
    }

    fn named(&self, name: [u8; 3]) -> Option<u32> {
        match self.unit {
            Unit::Weekday => weekday(name).map(|day| day + u32::from(self.grammar.sunday_is_one)),
            Unit::Month => month(name),
            _ => None,
        }
    }

    /// Digits; more than a field can hold are as many as it refuses.
    #[inline]
    fn number(&mut self) -> Result<u32, Fault> {
        let start = self.at;
        let mut number = 0_u32;
        while let digit @ b'0'..=b'9' = self.peek() {
            number = number
                .saturating_mul(10)
                .saturating_add(u32::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == start {
            return Err(self.unexpected("a number"));
        }
        Ok(number)
    }
}

/// One comparison for a name: a number of its letters.
const fn letters(name: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, name[0], name[1], name[2]])
}

fn weekday(name: [u8; 3]) -> Option<u32> {
    const NAMES: [u32; 7] = [
        letters(*b"SUN"),
        letters(*b"MON"),
        letters(*b"TUE"),
        letters(*b"WED"),
        letters(*b"THU"),
        letters(*b"FRI"),
        letters(*b"SAT"),
    ];
    let name = letters(name);
    (0..7).find(|&day| NAMES[day as usize] == name)
}

fn month(name: [u8; 3]) -> Option<u32> {
    const NAMES: [u32; 12] = [
        letters(*b"JAN"),
        letters(*b"FEB"),
        letters(*b"MAR"),
        letters(*b"APR"),
        letters(*b"MAY"),
        letters(*b"JUN"),
        letters(*b"JUL"),
        letters(*b"AUG"),
        letters(*b"SEP"),
        letters(*b"OCT"),
        letters(*b"NOV"),
        letters(*b"DEC"),
    ];
    let name = letters(name);
    (1..13).find(|&month| NAMES[month as usize - 1] == name)
}
