//! A pattern's normal form, which reads back as an equal pattern in its dialect.

use core::fmt;

use super::dialect::{DayRule, Dialect, Grammar, Question};
use super::fields::{
    ALL_60, ALL_DAYS, ALL_HOURS, ALL_MONTHS, ALL_WEEKDAYS, Fields, LAST_WEEKDAYS, Years,
};
use super::parser::MAX_BYTES;
use super::pattern::{CronPattern, Spec};

pub(super) const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
pub(super) const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// The numbers of weekdays from Sunday on, which is 1 in Quartz.
const NUMBERS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

pub(super) fn write(pattern: &CronPattern, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &pattern.spec {
        Spec::Reboot => f.write_str("@reboot"),
        Spec::Every(seconds) => {
            f.write_str("@every ")?;
            for (part, unit) in [
                (seconds / 3_600, 'h'),
                (seconds / 60 % 60, 'm'),
                (seconds % 60, 's'),
            ] {
                if part > 0 {
                    write!(f, "{part}{unit}")?;
                }
            }
            Ok(())
        }
        Spec::Calendar(fields) => {
            let form = |short| Form {
                pattern,
                fields,
                short,
            };
            let named = form(false).to_string();
            if named.len() <= MAX_BYTES {
                return f.write_str(&named);
            }
            // Names may be longer than what was read, and longer than what is read.
            fmt::Display::fmt(&form(true), f)
        }
    }
}

/// A pattern of fields, with names or, shorter, with numbers.
struct Form<'a> {
    pattern: &'a CronPattern,
    fields: &'a Fields,
    short: bool,
}

impl fmt::Display for Form<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        calendar(self.pattern, self.fields, self.short, f)
    }
}

fn calendar(
    pattern: &CronPattern,
    fields: &Fields,
    short: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let grammar = Grammar::of(pattern.dialect);
    let [second, minute, hour] = clock(pattern, fields, grammar);
    let with_seconds =
        fields.second != 1 || fields.years.is_some() || pattern.dialect == Dialect::Quartz;
    if with_seconds {
        SIXTY.write(fields.second, second, f)?;
        f.write_str(" ")?;
    }
    SIXTY.write(fields.minute, minute, f)?;
    f.write_str(" ")?;
    HOURS.write(u64::from(fields.hour), hour, f)?;
    f.write_str(" ")?;
    let [day, weekday] = day_styles(fields, grammar);
    days(fields, day, grammar, f)?;
    f.write_str(" ")?;
    let months = if short {
        MONTH_SET.named(&[])
    } else {
        MONTH_SET
    };
    months.write(u64::from(fields.month), Style::Free, f)?;
    f.write_str(" ")?;
    weekdays(fields, weekday, grammar, short, f)?;
    if let Some(years) = &fields.years {
        f.write_str(" ")?;
        write_years(years, f)?;
    }
    Ok(())
}

/// How a field may be written without another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Free,
    /// Not with a leading `*`.
    NoStar,
    /// With a leading `*`.
    Star,
    /// As a list of single values.
    Singles,
    /// With a range even for a single value.
    Range,
}

/// Styles of second, minute and hour that keep what clock changes do to the pattern.
fn clock(pattern: &CronPattern, fields: &Fields, grammar: &Grammar) -> [Style; 3] {
    match grammar.star_needed(pattern.dst) {
        Some(true) if fields.hour & 1 != 0 => return [Style::Free, Style::Free, Style::Star],
        Some(true) if fields.minute & 1 != 0 => return [Style::Free, Style::Star, Style::Free],
        Some(false) => return [Style::Free, Style::NoStar, Style::NoStar],
        _ => {}
    }
    match grammar.interval_needed(pattern.dst) {
        Some(true) => {
            let has_many = |set: Set, mask| set.has_range(mask);
            let shown = has_many(SIXTY, fields.minute)
                || has_many(HOURS, u64::from(fields.hour))
                || has_many(SIXTY, fields.second);
            let minute = if shown { Style::Free } else { Style::Range };
            [Style::Free, minute, Style::Free]
        }
        Some(false) => [Style::Singles; 3],
        None => [Style::Free; 3],
    }
}

/// Styles of the day fields that keep how they are joined.
fn day_styles(fields: &Fields, grammar: &Grammar) -> [Style; 2] {
    if grammar.days != DayRule::LeadingStar {
        return [Style::Free; 2];
    }
    if fields.either {
        return [Style::NoStar; 2];
    }
    let restricted = fields.day != ALL_DAYS && fields.weekday != ALL_WEEKDAYS;
    if !restricted {
        [Style::Free; 2]
    } else if fields.day & 2 != 0 {
        [Style::Star, Style::Free]
    } else {
        [Style::Free, Style::Star]
    }
}

fn days(
    fields: &Fields,
    style: Style,
    grammar: &Grammar,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if fields.day == ALL_DAYS {
        let question = grammar.question == Question::OneDayField;
        let other = fields.weekday != ALL_WEEKDAYS;
        return f.write_str(if question && other { "?" } else { "*" });
    }
    let mut list = List::new(f);
    if fields.day != 0 {
        DAY_SET.write(u64::from(fields.day), style, list.next()?)?;
    }
    for before in bits(u64::from(fields.from_last)) {
        match before {
            0 => list.next()?.write_str("L")?,
            _ => write!(list.next()?, "L-{before}")?,
        }
    }
    for bit in bits(fields.nearest) {
        match bit {
            0..32 => write!(list.next()?, "{bit}W")?,
            32 => list.next()?.write_str("LW")?,
            _ => write!(list.next()?, "L-{}W", bit - 32)?,
        }
    }
    Ok(())
}

fn weekdays(
    fields: &Fields,
    style: Style,
    grammar: &Grammar,
    short: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    if fields.weekday == ALL_WEEKDAYS {
        let question = grammar.question == Question::OneDayField;
        return f.write_str(if question { "?" } else { "*" });
    }
    if grammar.plus && !fields.either && fields.day != ALL_DAYS {
        f.write_str("+")?;
    }
    let names: &'static [&str] = match (short, grammar.sunday_is_one) {
        (false, _) => &WEEKDAYS,
        (true, false) => &NUMBERS[..7],
        (true, true) => &NUMBERS[1..],
    };
    let mut list = List::new(f);
    if fields.weekday != 0 {
        let set = WEEKDAY_SET.named(names);
        set.write(u64::from(fields.weekday), style, list.next()?)?;
    }
    for bit in bits(fields.nth) {
        let (n, day) = (bit / 7 + 1, names[bit as usize % 7]);
        let f = list.next()?;
        if bit < LAST_WEEKDAYS {
            write!(f, "{day}#{n}")?;
        } else if grammar.hash_last && !short {
            write!(f, "{day}#L")?;
        } else {
            write!(f, "{day}L")?;
        }
    }
    Ok(())
}

/// With steps, or as ranges only if that is shorter.
fn write_years(years: &Years, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let form = |most| YearsForm { years, most }.to_string();
    let (stepped, ranges) = (form(u32::MAX), form(1));
    let ranges_are_shorter = ranges.len() < stepped.len();
    f.write_str(if ranges_are_shorter {
        &ranges
    } else {
        &stepped
    })
}

/// A list of years, in runs of steps up to `most`.
struct YearsForm<'a> {
    years: &'a Years,
    most: u32,
}

impl fmt::Display for YearsForm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LAST: u32 = super::civil::LAST_YEAR.cast_unsigned();
        let has = |year: u32| self.years.has(year.cast_signed());
        let mut list = List::new(f);
        let mut rest = self.years.clone();
        for year in Years::FIRST.cast_unsigned()..=LAST {
            if !rest.has(year.cast_signed()) {
                continue;
            }
            let run = Run::longest(year, LAST, self.most, has);
            for year in run.values() {
                rest.remove(year.cast_signed());
            }
            run.write(list.next()?, |year, f| write!(f, "{year}"))?;
        }
        Ok(())
    }
}

/// Values that are equally far apart, as one item: `5`, `5-9`, `5-25/10`.
#[derive(Debug, Clone, Copy)]
struct Run {
    low: u32,
    high: u32,
    step: u32,
}

impl Run {
    fn single(value: u32) -> Self {
        Self {
            low: value,
            high: value,
            step: 1,
        }
    }

    /// The longest one from `low` on, with a step up to `most`. Two values are a list, three a range,
    /// four worth a step.
    fn longest(low: u32, max: u32, most: u32, has: impl Fn(u32) -> bool) -> Self {
        let mut best = (1, Self::single(low));
        for step in 1..=most.min(max - low) {
            let values = (low..=max).step_by(step as usize);
            let count = values.take_while(|&value| has(value)).count() as u32;
            if count > best.0 && count > if step == 1 { 2 } else { 3 } {
                let high = low + (count - 1) * step;
                best = (count, Self { low, high, step });
            }
        }
        best.1
    }

    fn values(self) -> impl Iterator<Item = u32> {
        (self.low..=self.high).step_by(self.step as usize)
    }

    fn write(
        self,
        f: &mut fmt::Formatter<'_>,
        value: impl Fn(u32, &mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        value(self.low, f)?;
        if self.high > self.low {
            f.write_str("-")?;
            value(self.high, f)?;
        }
        if self.step > 1 {
            write!(f, "/{}", self.step)?;
        }
        Ok(())
    }
}

/// A field of values from `min` on.
#[derive(Debug, Clone, Copy)]
struct Set {
    min: u32,
    count: u32,
    all: u64,
    names: &'static [&'static str],
}

const SIXTY: Set = Set {
    min: 0,
    count: 60,
    all: ALL_60,
    names: &[],
};
const HOURS: Set = Set {
    min: 0,
    count: 24,
    all: ALL_HOURS as u64,
    names: &[],
};
const DAY_SET: Set = Set {
    min: 1,
    count: 31,
    all: ALL_DAYS as u64,
    names: &[],
};
const MONTH_SET: Set = Set {
    min: 1,
    count: 12,
    all: ALL_MONTHS as u64,
    names: &MONTHS,
};
const WEEKDAY_SET: Set = Set {
    min: 0,
    count: 7,
    all: ALL_WEEKDAYS as u64,
    names: &WEEKDAYS,
};

impl Set {
    fn named(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }

    fn write(self, mask: u64, style: Style, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = !matches!(style, Style::NoStar | Style::Singles | Style::Range);
        if mask == self.all && star {
            return f.write_str("*");
        }
        let mut list = List::new(f);
        let mut rest = mask;
        if star && let Some(step) = self.step(mask, style == Style::Star) {
            write!(list.next()?, "*/{step}")?;
            rest &= !self.every(step);
        }
        while rest != 0 {
            let run = self.run(mask, rest, style);
            rest = run.values().fold(rest, |rest, value| rest & !(1 << value));
            let f = list.next()?;
            run.write(f, |value, f| self.value(value, f))?;
            if style == Style::Range && run.low == run.high {
                f.write_str("-")?;
                self.value(run.low, f)?;
            }
        }
        Ok(())
    }

    /// The next item of what is left of a set.
    fn run(self, mask: u64, rest: u64, style: Style) -> Run {
        let low = rest.trailing_zeros();
        if style == Style::Singles {
            return Run::single(low);
        }
        let has = |value: u32| mask & 1 << value != 0;
        Run::longest(low, self.min + self.count - 1, u32::MAX, has)
    }

    /// The step of the whole set, if it has one; if it must, that of a part of it.
    fn step(self, mask: u64, must: bool) -> Option<u32> {
        let whole = (2..self.count).find(|&step| self.every(step) == mask);
        // Two values are a list; names say more than steps.
        let whole = whole.filter(|_| must || mask.count_ones() > 2 && self.names.is_empty());
        let part = || (2..=self.count).find(|&step| self.every(step) & !mask == 0);
        whole.or_else(|| must.then(part).flatten())
    }

    fn every(self, step: u32) -> u64 {
        (self.min..self.min + self.count)
            .step_by(step as usize)
            .fold(0, |mask, value| mask | 1 << value)
    }

    /// Whether `write` in the free style uses a star, range or step.
    fn has_range(self, mask: u64) -> bool {
        let runs = bits(mask).any(|low| {
            let rest = mask & !((1 << low) - 1);
            self.run(mask, rest, Style::Free).high > low
        });
        runs || mask == self.all || self.step(mask, false).is_some()
    }

    fn value(self, value: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names.get((value - self.min) as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "{value}"),
        }
    }
}

/// Writes commas between items.
struct List<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl<'a, 'f> List<'a, 'f> {
    fn new(f: &'a mut fmt::Formatter<'f>) -> Self {
        Self { f, first: true }
    }

    fn next(&mut self) -> Result<&mut fmt::Formatter<'f>, fmt::Error> {
        if !self.first {
            self.f.write_str(",")?;
        }
        self.first = false;
        Ok(self.f)
    }
}

/// The numbers of a mask's bits.
pub(super) fn bits(mask: u64) -> impl Iterator<Item = u32> + Clone {
    (0..64).filter(move |bit| mask & 1 << bit != 0)
}
