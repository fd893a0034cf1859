//! From text to masks: one pass over the bytes, no allocation but for a set of years.

use super::dialect::{DayRule, Dialect, Grammar, Looks, Nicknames, Question, Steps};
use super::error::{CronError, CronPlace};
use super::fields::{
    ALL_60, ALL_DAYS, ALL_HOURS, ALL_MONTHS, ALL_WEEKDAYS, Fields, LAST_WEEKDAYS, Years,
};
use super::item::{Cursor, Fault, FaultKind, Item, Kind, Unit};
use super::nickname;
use super::pattern::{CronPattern, Spec};

/// The longest pattern that is read.
pub(super) const MAX_BYTES: usize = 256;

/// Reads a pattern without a zone.
pub(super) fn parse(text: &str, dialect: Dialect) -> Result<CronPattern, CronError> {
    if text.len() > MAX_BYTES {
        return Err(CronError::TooLong {
            len: text.len(),
            max: MAX_BYTES,
        });
    }
    let trimmed = text.trim_ascii();
    let grammar = Grammar::of(dialect);
    if trimmed.starts_with('@') && grammar.nicknames != Nicknames::None {
        return nickname::parse(trimmed, grammar);
    }
    if dialect == Dialect::Croner {
        return super::croner::parse(trimmed);
    }
    let mut fields = Fields::EVERY_MINUTE;
    match read(trimmed.as_bytes(), grammar, &mut fields) {
        Ok(looks) => finish(trimmed, fields, looks, grammar),
        Err(fault) => Err(explain(trimmed, &fault, grammar)),
    }
}

/// A pattern of fields, if it occurs.
pub(super) fn finish(
    text: &str,
    mut fields: Fields,
    looks: Looks,
    grammar: &'static Grammar,
) -> Result<CronPattern, CronError> {
    fields.normalize();
    if !fields.occurs() {
        return Err(CronError::NeverOccurs {
            pattern: text.to_owned(),
        });
    }
    Ok(CronPattern {
        spec: Spec::Calendar(fields),
        dialect: grammar.dialect,
        dst: grammar.policy(looks),
    })
}

fn read(text: &[u8], grammar: &Grammar, fields: &mut Fields) -> Result<Looks, Fault> {
    let mut spans = [(0, 0); 7];
    let found = split(text, &mut spans);
    if !grammar.fields.contains(&found) {
        return Err(Fault::new(FaultKind::Fields(found), Unit::Minute, 0, 0));
    }
    let mut spans = spans.iter().map(|&(start, end)| (start, end));
    let mut next = |unit| {
        let (start, end) = spans.next().unwrap_or_default();
        Cursor::new(text, start, end, unit, grammar)
    };
    let mut looks = Looks::default();
    if found > 5 {
        fields.second = set(next(Unit::Second), &mut looks.interval)?.0;
    }
    let star;
    (fields.minute, star) = set(next(Unit::Minute), &mut looks.interval)?;
    looks.star |= star;
    let (hour, star) = set(next(Unit::Hour), &mut looks.interval)?;
    // Hours are below 24, months below 13.
    fields.hour = hour as u32;
    looks.star |= star;
    let day = days(next(Unit::Day), fields)?;
    fields.month = set(next(Unit::Month), &mut false)?.0 as u16;
    let weekday = weekdays(next(Unit::Weekday), fields)?;
    if found > 6 {
        years(next(Unit::Year), fields)?;
    }
    let questions = usize::from(day.question) + usize::from(weekday.question);
    if grammar.question == Question::OneDayField && questions != 1 {
        let kind = FaultKind::QuestionMarks(questions);
        return Err(Fault::new(kind, Unit::Weekday, 0, 0));
    }
    fields.either = !weekday.plus
        && match grammar.days {
            DayRule::ExactStar => !(day.star || weekday.star),
            DayRule::LeadingStar => !(day.leading || weekday.leading),
            DayRule::Always => false,
        };
    Ok(looks)
}

/// Where the fields stand; how many there are, those beyond the seventh counted too.
fn split(text: &[u8], spans: &mut [(usize, usize); 7]) -> usize {
    let mut found = 0;
    let mut at = 0;
    while at < text.len() {
        if is_blank(text[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < text.len() && !is_blank(text[at]) {
            at += 1;
        }
        if let Some(span) = spans.get_mut(found) {
            *span = (start, at);
        }
        found += 1;
    }
    found
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// What a day field looked like.
#[allow(clippy::struct_excessive_bools)] // four independent marks
#[derive(Default)]
struct DayLooks {
    star: bool,
    leading: bool,
    question: bool,
    plus: bool,
}

/// A field of plain values: its mask, and whether it begins with `*`.
fn set(mut cursor: Cursor<'_>, interval: &mut bool) -> Result<(u64, bool), Fault> {
    if cursor.is_star() {
        *interval = true;
        return Ok((full(cursor.unit), true));
    }
    let leading = cursor.peek() == b'*';
    let mut mask = 0;
    loop {
        let item = cursor.item()?;
        *interval |= item.kind != Kind::Single;
        mask |= cursor.bits(&item);
        if !cursor.comma()? {
            return Ok((mask, leading));
        }
    }
}

fn days(mut cursor: Cursor<'_>, fields: &mut Fields) -> Result<DayLooks, Fault> {
    let mut looks = DayLooks::default();
    if cursor.is_star() {
        (looks.star, looks.leading) = (true, true);
        return Ok(looks);
    }
    if cursor.is_question() {
        (looks.star, looks.leading, looks.question) = (true, true, true);
        return Ok(looks);
    }
    looks.leading = cursor.peek() == b'*';
    fields.day = 0;
    let mut items = 0;
    let mut nearest = None;
    loop {
        items += 1;
        let start = cursor.at;
        if cursor.grammar.specials && cursor.letter(b'L') {
            let mut before = 0;
            if cursor.grammar.before_last && cursor.peek() == b'-' {
                cursor.at += 1;
                before = cursor.number_within(1, 30)?;
            }
            if cursor.letter(b'W') {
                fields.nearest |= 1 << (32 + before);
                nearest = Some(start);
            } else {
                fields.from_last |= 1 << before;
                if cursor.grammar.before_last && (items > 1 || cursor.peek() == b',') {
                    return Err(cursor.unexpected("`L` on its own"));
                }
            }
        } else {
            let item = cursor.item()?;
            if cursor.grammar.specials && cursor.letter(b'W') {
                if item.kind != Kind::Single {
                    return Err(cursor.fault(FaultKind::NearestOfMany, start));
                }
                fields.nearest |= 1 << item.low;
                nearest = Some(start);
            } else {
                // Days are below 32.
                fields.day |= cursor.bits(&item) as u32;
            }
        }
        if !cursor.comma()? {
            break;
        }
    }
    if let Some(start) = nearest
        && items > 1
    {
        return Err(cursor.fault(FaultKind::NearestOfMany, start));
    }
    looks.star = is_robfigs_star(cursor.grammar, &looks) && fields.day == ALL_DAYS;
    Ok(looks)
}

fn weekdays(mut cursor: Cursor<'_>, fields: &mut Fields) -> Result<DayLooks, Fault> {
    let mut looks = DayLooks::default();
    if cursor.grammar.plus && cursor.peek() == b'+' {
        cursor.at += 1;
        looks.plus = true;
    }
    if cursor.is_star() {
        (looks.star, looks.leading) = (true, true);
        return Ok(looks);
    }
    if cursor.is_question() {
        (looks.star, looks.leading, looks.question) = (true, true, true);
        return Ok(looks);
    }
    looks.leading = cursor.peek() == b'*';
    fields.weekday = 0;
    let mut bits = 0_u64;
    loop {
        if cursor.grammar.sunday_is_one && cursor.is_last_letter() {
            // Quartz: the week's last day.
            cursor.at += 1;
            bits |= 1 << 6;
        } else {
            let item = cursor.item()?;
            let special = cursor.grammar.specials && item.kind == Kind::Single;
            let day = if cursor.grammar.sunday_is_one {
                item.low - 1
            } else {
                item.low % 7
            };
            if special && cursor.peek() == b'#' {
                cursor.at += 1;
                let shift = if cursor.grammar.hash_last && cursor.letter(b'L') {
                    LAST_WEEKDAYS
                } else {
                    7 * (cursor.number_within(1, 5)? - 1)
                };
                fields.nth |= 1 << (shift + day);
            } else if special && cursor.letter(b'L') {
                fields.nth |= 1 << (LAST_WEEKDAYS + day);
            } else {
                bits |= cursor.bits(&item);
            }
        }
        if !cursor.comma()? {
            break;
        }
    }
    // 7 is Sunday too.
    fields.weekday = (bits | bits >> 7) as u8 & ALL_WEEKDAYS;
    looks.star = is_robfigs_star(cursor.grammar, &looks) && fields.weekday == ALL_WEEKDAYS;
    Ok(looks)
}

/// To robfig/cron, `*/1` and lists with a `*` are a star too.
fn is_robfigs_star(grammar: &Grammar, looks: &DayLooks) -> bool {
    grammar.dialect == Dialect::Robfig && looks.leading
}

fn years(mut cursor: Cursor<'_>, fields: &mut Fields) -> Result<(), Fault> {
    if cursor.is_star() {
        return Ok(());
    }
    let mut years = Box::new(Years::default());
    loop {
        let item = cursor.item()?;
        let (low, high) = (item.low.cast_signed(), item.high.cast_signed());
        for year in (low..=high).step_by(item.step as usize) {
            years.add(year);
        }
        if !cursor.comma()? {
            break;
        }
    }
    fields.years = (!years.is_full()).then_some(years);
    Ok(())
}

/// All values of a field.
fn full(unit: Unit) -> u64 {
    match unit {
        Unit::Second | Unit::Minute | Unit::Year => ALL_60,
        Unit::Hour => u64::from(ALL_HOURS),
        Unit::Day => u64::from(ALL_DAYS),
        Unit::Month => u64::from(ALL_MONTHS),
        Unit::Weekday => u64::from(ALL_WEEKDAYS),
    }
}

/// The error of a fault, in the pattern that has it.
#[cold]
fn explain(text: &str, fault: &Fault, grammar: &Grammar) -> CronError {
    // A mark never splits a character.
    let mut end = fault.end.min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let place = || CronPlace::new(text, fault.unit.name(), fault.start..end);
    match fault.kind {
        FaultKind::Fields(found) => CronError::Fields {
            found,
            allowed: grammar.allowed_fields(),
        },
        FaultKind::QuestionMarks(found) => CronError::QuestionMarks { found },
        FaultKind::EmptyItem => CronError::EmptyItem { place: place() },
        FaultKind::OutOfRange(min, max) => CronError::OutOfRange {
            place: place(),
            min,
            max,
        },
        FaultKind::Inverted => CronError::InvertedRange { place: place() },
        FaultKind::ZeroStep => CronError::ZeroStep { place: place() },
        FaultKind::StepTooLarge(max) => CronError::StepTooLarge {
            place: place(),
            max,
        },
        FaultKind::Name => CronError::Name {
            place: place(),
            allowed: fault.unit.words(grammar.specials),
        },
        FaultKind::Unexpected(allowed) => CronError::Unexpected {
            place: place(),
            allowed,
        },
        FaultKind::NearestOfMany => CronError::NearestOfMany { place: place() },
    }
}

/// The largest step that a grammar allows in a field of these values.
pub(super) fn largest_step(grammar: &Grammar, min: u32, max: u32) -> u32 {
    match grammar.steps {
        Steps::ToCount => max - min + 1,
        Steps::ToLargest => max,
        Steps::Any => u32::MAX,
    }
}

/// The bits of an item in a field whose `span` values end with `wrap_at`.
#[inline]
pub(super) fn item_bits(item: &Item, wrap_at: u32, span: u32) -> u64 {
    if item.high > wrap_at {
        return wrapped_bits(item, wrap_at, span);
    }
    // At most 60 values; each turn doubles those that are set.
    let width = item.high - item.low;
    let mut bits = 1_u64;
    let mut shift = item.step;
    while shift <= width {
        bits |= bits << shift;
        shift *= 2;
    }
    (bits & u64::MAX >> (63 - width)) << item.low
}

fn wrapped_bits(item: &Item, wrap_at: u32, span: u32) -> u64 {
    let mut bits = 0;
    let mut value = item.low;
    while value <= item.high {
        bits |= 1 << if value > wrap_at { value - span } else { value };
        value = value.saturating_add(item.step);
    }
    bits
}
