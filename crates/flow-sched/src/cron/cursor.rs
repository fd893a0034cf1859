//! One pass over a pattern's bytes: numbers and names, ranges, stars, each perhaps with a step.

use super::dialect::{Grammar, Question, Steps};
use super::item::{Fault, FaultKind, Item, Kind, Unit};

/// Where the reading is, and in which field.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    len: usize,
    pub(super) grammar: &'static Grammar,
    unit: Unit,
    min: u32,
    max: u32,
}

impl<'a> Cursor<'a> {
    /// At the first field of a text without blanks around it.
    pub(super) fn new(text: &'a [u8], grammar: &'static Grammar) -> Self {
        Self {
            rest: text,
            len: text.len(),
            grammar,
            unit: Unit::Minute,
            min: 0,
            max: 59,
        }
    }

    /// Says which field is read from here on.
    #[inline]
    pub(super) fn enter(&mut self, unit: Unit) {
        self.unit = unit;
        (self.min, self.max) = unit.range(self.grammar);
    }

    /// Goes on behind the blanks that end a field.
    #[inline]
    pub(super) fn leave(&mut self) -> Result<(), Fault> {
        if self.rest.first().is_some_and(|&byte| !is_blank(byte)) {
            return Err(self.unexpected("a comma or the next field"));
        }
        self.skip_blanks();
        Ok(())
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let [byte, rest @ ..] = self.rest
            && is_blank(*byte)
        {
            self.rest = rest;
        }
    }

    /// How many bytes have been read.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The byte at hand; 0 at the end of the text.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn skip(&mut self) {
        if let [_, rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Whether the field ends so many bytes from here.
    #[inline]
    pub(super) fn ends(&self, bytes: usize) -> bool {
        self.rest.get(bytes).is_none_or(|&byte| is_blank(byte))
    }

    /// Leaves the days and the months, if they are what most patterns have: `* * `.
    #[inline]
    pub(super) fn all_days(&mut self) -> bool {
        if let Some(rest) = self.rest.strip_prefix(b"* * ")
            && rest.first().is_some_and(|&byte| !is_blank(byte))
        {
            self.rest = rest;
            return true;
        }
        false
    }

    /// Whether the weekday, to be read from here on, is the last field and `*`, which says nothing.
    #[inline]
    pub(super) fn only_star_follows(&self) -> bool {
        self.rest == b"*" && self.grammar.question != Question::OneDayField
    }

    /// Leaves the field, if all that is left of it is a number of the unit of one or two digits:
    /// what most fields are that are no `*`.
    #[inline]
    pub(super) fn lone(&mut self, unit: Unit) -> Option<u32> {
        let (min, max) = unit.range(self.grammar);
        let (number, rest) = match self.rest {
            [a @ b'0'..=b'9', b' ', rest @ ..] => (digit(*a), rest),
            [a @ b'0'..=b'9', b @ b'0'..=b'9', b' ', rest @ ..] => {
                (10 * digit(*a) + digit(*b), rest)
            }
            _ => return None,
        };
        if number < min || number > max {
            return None;
        }
        self.rest = rest;
        self.skip_blanks();
        Some(number)
    }

    /// Leaves the last field, if all that is left of it is a weekday's number and which one of a
    /// month it is, `5#2`: what most weekdays with a `#` are.
    #[inline]
    pub(super) fn lone_nth(&mut self) -> Option<(u32, u32)> {
        let [day @ b'0'..=b'7', b'#', nth @ b'1'..=b'5'] = *self.rest else {
            return None;
        };
        let (min, max) = Unit::Weekday.range(self.grammar);
        if !self.grammar.specials || digit(day) < min || digit(day) > max {
            return None;
        }
        self.rest = &[];
        Some((digit(day), digit(nth)))
    }

    /// Leaves the field, if all that is left of it is `*`, or a `?` that stands for it.
    #[inline]
    pub(super) fn star(&mut self) -> bool {
        let byte = self.peek();
        let star = byte == b'*' || byte == b'?' && self.grammar.question == Question::Everywhere;
        let whole = star && self.ends(1);
        if whole {
            self.skip();
            self.skip_blanks();
        }
        whole
    }

    /// Leaves the field, if all that is left of it is a `?` that stands for all days.
    #[inline]
    pub(super) fn question(&mut self) -> bool {
        let whole =
            self.peek() == b'?' && self.grammar.question != Question::Nowhere && self.ends(1);
        if whole {
            self.skip();
            self.skip_blanks();
        }
        whole
    }

    /// Takes all that is left of the field, if that is an `L`.
    pub(super) fn last_letter(&mut self) -> bool {
        self.ends(1) && self.letter(b'L')
    }

    /// Whether the field is an `H`, perhaps with a step.
    #[inline]
    pub(super) fn is_hash(&self) -> bool {
        self.grammar.seeded && self.peek() == b'H'
    }

    /// Takes the letter, if it is the next byte.
    #[inline]
    pub(super) fn letter(&mut self, letter: u8) -> bool {
        let byte = self.peek();
        let taken =
            byte == letter || self.grammar.lower_case && byte == letter.to_ascii_lowercase();
        if taken {
            self.skip();
        }
        taken
    }

    /// Whether another item follows. Anything else than a comma or the end is refused.
    #[inline]
    pub(super) fn comma(&mut self) -> Result<bool, Fault> {
        if self.ends(0) {
            return Ok(false);
        }
        if self.peek() != b',' {
            return Err(self.unexpected("a comma or the next field"));
        }
        self.skip();
        Ok(true)
    }

    /// Takes a number of one or two digits that is an item by itself: what most items are.
    #[inline]
    pub(super) fn plain(&mut self) -> Option<u32> {
        let (number, rest) = two_digits(self.rest)?;
        if number < self.min || number > self.max {
            return None;
        }
        self.rest = rest;
        Some(number)
    }

    /// Takes a `*` with a step of one or two digits that every dialect allows, and gives its bits:
    /// what most other items are. Not for weekdays and years.
    #[inline]
    pub(super) fn stepped_star(&mut self) -> Option<u64> {
        let [b'*', b'/', rest @ ..] = self.rest else {
            return None;
        };
        let (step, rest) = two_digits(rest)?;
        if step == 0 || step > self.max - self.min {
            return None;
        }
        self.rest = rest;
        let mut item = Item::range(self.min, self.max);
        item.step = step;
        Some(item.bits_within())
    }

    /// Reads an item of a list.
    #[inline]
    pub(super) fn item(&mut self) -> Result<Item, Fault> {
        let mut item = match self.peek() {
            b'*' => {
                self.skip();
                self.all()
            }
            b'?' if self.grammar.question == Question::Everywhere => {
                self.skip();
                self.all()
            }
            _ => self.range()?,
        };
        if self.peek() == b'/' {
            if item.kind == Kind::Single {
                if !self.grammar.open_steps {
                    return Err(self.unexpected("a step behind `*` or a range"));
                }
                item.high = self.max;
            }
            self.skip();
            item.step = self.step(self.last())?;
            item.kind = Kind::Many;
        }
        Ok(item)
    }

    /// The bits of an item. Not for years.
    #[inline]
    pub(super) fn bits(&self, item: &Item) -> u64 {
        if self.unit != Unit::Weekday {
            return item.bits(self.max, self.max - self.min + 1);
        }
        // 7 is bit 7 here, and Sunday with the caller; beyond it the week begins again.
        let bits = item.bits(7, 7);
        // Quartz' 1 is our 0; its 7 our 6.
        bits >> u32::from(self.grammar.sunday_is_one)
    }

    /// A number between the two, as behind `#`.
    pub(super) fn number_within(&mut self, min: u32, max: u32) -> Result<u32, Fault> {
        let start = self.at();
        let number = self.number()?;
        if (min..=max).contains(&number) {
            return Ok(number);
        }
        Err(self.fault(FaultKind::OutOfRange(min, max), start))
    }

    /// The step of a star, a range or an `H` in a field that ends with `last`.
    pub(super) fn step(&mut self, last: u32) -> Result<u32, Fault> {
        let start = self.at();
        let step = self.number()?;
        if step == 0 {
            return Err(self.fault(FaultKind::ZeroStep, start));
        }
        let most = match self.grammar.steps {
            Steps::ToCount => last - self.min + 1,
            Steps::ToLargest => last,
            Steps::Any => u32::MAX,
        };
        if step > most {
            return Err(self.fault(FaultKind::StepTooLarge(most), start));
        }
        Ok(step)
    }

    /// The field's least value.
    pub(super) fn min(&self) -> u32 {
        self.min
    }

    /// The field's largest value.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// What stands from here to the next separator cannot stand there.
    #[cold]
    pub(super) fn unexpected(&self, allowed: &'static str) -> Fault {
        let ends = |&byte: &u8| byte == b',' || is_blank(byte);
        let len = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        // A comma that cannot stand there is marked itself.
        let len = len.max(usize::from(self.peek() == b','));
        let end = self.at() + len;
        Fault::new(FaultKind::Unexpected(allowed), self.unit, self.at(), end)
    }

    /// A fault of what stands between `start` and here.
    #[cold]
    pub(super) fn fault(&self, kind: FaultKind, start: usize) -> Fault {
        Fault::new(kind, self.unit, start, self.at())
    }

    fn all(&self) -> Item {
        // Sunday counts once.
        let twice = self.unit == Unit::Weekday && self.grammar.seven_is_sunday;
        Item::range(self.min, self.max - u32::from(twice))
    }

    #[inline]
    fn range(&mut self) -> Result<Item, Fault> {
        let start = self.at();
        if self.peek() == b',' || self.ends(0) {
            return Err(self.fault(FaultKind::EmptyItem, start));
        }
        let (low, _) = self.value()?;
        if self.peek() != b'-' {
            return Ok(Item::single(low));
        }
        self.skip();
        let (high, named) = self.value()?;
        if high >= low {
            return Ok(Item::range(low, high));
        }
        if named && high == 0 && self.grammar.seven_is_sunday {
            // `FRI-SUN` ends on the week's seventh day.
            return Ok(Item::range(low, 7));
        }
        if self.grammar.wrap && self.unit != Unit::Year {
            let span = if self.unit == Unit::Weekday {
                7
            } else {
                self.max - self.min + 1
            };
            return Ok(Item::range(low, high + span));
        }
        Err(self.fault(FaultKind::Inverted, start))
    }

    /// The largest value, Sunday counted once where steps are counted by it.
    fn last(&self) -> u32 {
        let twice = self.unit == Unit::Weekday
            && self.grammar.seven_is_sunday
            && self.grammar.steps == Steps::ToCount;
        self.max - u32::from(twice)
    }

    /// A number or a name of the field; whether it was a name.
    #[inline]
    fn value(&mut self) -> Result<(u32, bool), Fault> {
        if !self.peek().is_ascii_digit() {
            return self.name().map(|value| (value, true));
        }
        let start = self.at();
        let number = self.number()?;
        if number < self.min || number > self.max {
            return Err(self.fault(FaultKind::OutOfRange(self.min, self.max), start));
        }
        Ok((number, false))
    }

    fn name(&mut self) -> Result<u32, Fault> {
        let start = self.at();
        if !self.peek().is_ascii_alphabetic() {
            return Err(self.unexpected("a number, a name, `*` or a range"));
        }
        if let [a, b, c, rest @ ..] = self.rest
            && let Some(value) = self.named([a, b, c].map(|byte| byte & !0x20))
        {
            self.rest = rest;
            return Ok(value);
        }
        while self.peek().is_ascii_alphanumeric() {
            self.skip();
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
        let Some(mut number) = self.digit() else {
            return Err(self.unexpected("a number"));
        };
        while let Some(digit) = self.digit() {
            if number < MANY {
                number = number * 10 + digit;
            }
        }
        Ok(number)
    }

    #[inline]
    fn digit(&mut self) -> Option<u32> {
        if let [byte @ b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
            return Some(u32::from(byte - b'0'));
        }
        None
    }
}

/// A number of one or two digits that ends its item, and what follows.
#[inline]
fn two_digits(text: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = match text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', rest @ ..] => (10 * digit(*a) + digit(*b), rest),
        [a @ b'0'..=b'9', rest @ ..] => (digit(*a), rest),
        _ => return None,
    };
    ends_item(rest).then_some((number, rest))
}

#[inline]
fn digit(byte: u8) -> u32 {
    u32::from(byte - b'0')
}

/// Whether what follows an item lets it end there.
#[inline]
fn ends_item(rest: &[u8]) -> bool {
    rest.first()
        .is_none_or(|&byte| byte == b',' || is_blank(byte))
}

/// How many fields a text has that is no longer than a pattern, with no blanks around it.
#[inline]
pub(super) fn count_fields(text: &[u8]) -> usize {
    let (eights, rest) = text.as_chunks::<8>();
    // Each byte counts those of its place in eight; all of them are less than a byte holds.
    let mut count = 0;
    // As if a blank stood before the text.
    let mut before = 0x80;
    let mut add = |eight: u64| {
        let blanks = blanks(eight);
        // Bytes that are none, behind one that is.
        count += ((blanks << 8 | before) & !blanks) >> 7;
        before = blanks >> 56;
    };
    for &eight in eights {
        add(u64::from_le_bytes(eight));
    }
    if !rest.is_empty() {
        // Zeros behind the text, which are no blanks, are no further field.
        add(match text.last_chunk() {
            Some(&last) => u64::from_le_bytes(last) >> (64 - 8 * rest.len()),
            None => rest
                .iter()
                .rfold(0, |eight, &byte| eight << 8 | u64::from(byte)),
        });
    }
    (count.wrapping_mul(EACH_BYTE) >> 56) as usize
}

/// Times a byte: that byte eight times.
const EACH_BYTE: u64 = u64::MAX / 255;

/// The highest bit of each byte that is a blank.
#[inline]
fn blanks(eight: u64) -> u64 {
    const SEVEN: u64 = 0x7f * EACH_BYTE;
    let is = |byte: u8| {
        let differs = eight ^ (EACH_BYTE * u64::from(byte));
        // Adding to seven bits carries into the eighth, and no further.
        !(((differs & SEVEN) + SEVEN) | differs | SEVEN)
    };
    is(b' ') | is(b'\t')
}

#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
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

/// More than any field allows; digits behind that many do not matter.
const MANY: u32 = 100_000_000;
