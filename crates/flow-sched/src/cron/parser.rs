//! From text to masks: one pass over the bytes, no allocation but for a set of years.

use super::cursor::{Cursor, count_fields, is_blank};
use super::day::{self, DayLooks};
use super::describe;
use super::dialect::{Dialect, Grammar, Looks, Nicknames, Question};
use super::error::{CronError, CronPlace};
use super::fields::{Fields, Years};
use super::item::{Fault, FaultKind, Kind, Unit};
use super::nickname;
use super::pattern::{CronPattern, Spec};
use super::seed::Seed;

/// The longest pattern that is read.
pub(super) const MAX_BYTES: usize = 256;

/// Reads a pattern without a zone.
pub(super) fn parse(
    text: &str,
    dialect: Dialect,
    seed: Option<u64>,
) -> Result<CronPattern, CronError> {
    let trimmed = text.trim_ascii();
    if trimmed.len() > MAX_BYTES {
        return Err(CronError::TooLong {
            len: trimmed.len(),
            max: MAX_BYTES,
        });
    }
    let grammar = Grammar::of(dialect);
    if trimmed.starts_with('@') && grammar.nicknames != Nicknames::None {
        return nickname::parse(trimmed, grammar, Seed::new(seed));
    }
    if dialect == Dialect::Croner {
        return super::croner::parse(trimmed);
    }
    calendar(trimmed, grammar, Seed::new(seed))
}

/// Reads a pattern of fields.
pub(super) fn calendar(
    text: &str,
    grammar: &'static Grammar,
    mut seed: Seed,
) -> Result<CronPattern, CronError> {
    let mut fields = Fields::EVERY_MINUTE;
    match read(text.as_bytes(), grammar, &mut seed, &mut fields) {
        Ok(looks) => finish(text, fields, looks, grammar),
        Err(fault) => Err(explain(text, &fault, grammar)),
    }
}

/// A pattern of fields, if it occurs.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "the fields go from registers to where the pattern is wanted, not through memory twice"
)]
pub(super) fn finish(
    text: &str,
    mut fields: Fields,
    looks: Looks,
    grammar: &'static Grammar,
) -> Result<CronPattern, CronError> {
    fields.normalize();
    if !fields.occurs() {
        return Err(never(text, &fields));
    }
    Ok(CronPattern {
        spec: Spec::Calendar(fields),
        dialect: grammar.dialect,
        dst: grammar.policy(looks),
    })
}

fn read(
    text: &[u8],
    grammar: &'static Grammar,
    seed: &mut Seed,
    fields: &mut Fields,
) -> Result<Looks, Fault> {
    let found = count_fields(text);
    if !grammar.fields.contains(&found) {
        return Err(Fault::new(FaultKind::Fields(found), Unit::Minute, 0, 0));
    }
    let cursor = &mut Cursor::new(text, grammar);
    let mut looks = Looks::default();
    if found > 5 {
        fields.second = set(cursor, Unit::Second, seed, &mut looks.interval)?.0;
    }
    let star;
    (fields.minute, star) = set(cursor, Unit::Minute, seed, &mut looks.interval)?;
    looks.star |= star;
    let (hour, star) = set(cursor, Unit::Hour, seed, &mut looks.interval)?;
    // Hours are below 24, months below 13.
    fields.hour = hour as u32;
    looks.star |= star;
    let mut day = DayLooks::STAR;
    if !cursor.all_days() {
        day = day::days(cursor, fields, seed)?;
        fields.month = set(cursor, Unit::Month, seed, &mut false)?.0 as u16;
    }
    if cursor.only_star_follows() {
        // The day decides alone.
        return Ok(looks);
    }
    let start = cursor.at();
    let weekday = day::weekdays(cursor, fields, seed)?;
    if grammar.question == Question::OneDayField && day.question == weekday.question {
        let kind = FaultKind::QuestionMarks(2 * usize::from(day.question));
        let field = &text[start..];
        let len = field.iter().position(|&byte| is_blank(byte));
        let end = len.map_or(text.len(), |len| start + len);
        return Err(Fault::new(kind, Unit::Weekday, start, end));
    }
    if found > 6 {
        years(cursor, fields)?;
        cursor.leave()?;
    }
    fields.either = day::is_either(grammar, &day, &weekday);
    Ok(looks)
}

/// A field of plain values, and the blanks behind it: its mask, and whether it begins with `*`.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "most fields are a `*`, for which a call costs more than the reading"
)]
fn set(
    cursor: &mut Cursor<'_>,
    unit: Unit,
    seed: &mut Seed,
    interval: &mut bool,
) -> Result<(u64, bool), Fault> {
    if cursor.star() {
        *interval = true;
        return Ok((unit.full(), true));
    }
    if let Some(number) = cursor.lone(unit) {
        return Ok((1 << number, false));
    }
    cursor.enter(unit);
    list(cursor, seed, interval)
}

/// The same of a field that is not just `*`.
#[inline(never)]
fn list(
    cursor: &mut Cursor<'_>,
    seed: &mut Seed,
    interval: &mut bool,
) -> Result<(u64, bool), Fault> {
    let leading = cursor.peek() == b'*';
    let mut mask = 0;
    if cursor.is_hash() {
        let item = seed.read(cursor, cursor.max())?;
        *interval |= item.kind != Kind::Single;
        mask = cursor.bits(&item);
    } else {
        loop {
            if let Some(number) = cursor.plain() {
                mask |= 1 << number;
            } else if let Some(bits) = cursor.stepped_star() {
                *interval = true;
                mask |= bits;
            } else {
                let item = cursor.item()?;
                *interval |= item.kind != Kind::Single;
                mask |= cursor.bits(&item);
            }
            if !cursor.comma()? {
                break;
            }
        }
    }
    cursor.leave()?;
    Ok((mask, leading))
}

fn years(cursor: &mut Cursor<'_>, fields: &mut Fields) -> Result<(), Fault> {
    cursor.enter(Unit::Year);
    if cursor.star() {
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

/// The error of a fault, in the pattern that has it.
#[cold]
fn explain(text: &str, fault: &Fault, grammar: &Grammar) -> CronError {
    // A mark never splits a character.
    let mut end = fault.end.min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let place = CronPlace::new(text, Some(fault.unit.name()), fault.start..end);
    match fault.kind {
        FaultKind::Fields(found) => wrong_fields(text, found, grammar),
        FaultKind::QuestionMarks(found) => CronError::QuestionMarks { place, found },
        FaultKind::EmptyItem => CronError::EmptyItem { place },
        FaultKind::OutOfRange(min, max) => CronError::OutOfRange { place, min, max },
        FaultKind::Inverted => CronError::InvertedRange { place },
        FaultKind::ZeroStep => CronError::ZeroStep { place },
        FaultKind::StepTooLarge(max) => CronError::StepTooLarge { place, max },
        FaultKind::Name => CronError::Name {
            place,
            allowed: fault.unit.words(grammar.specials),
        },
        FaultKind::Unexpected(allowed) => CronError::Unexpected { place, allowed },
        FaultKind::NearestOfMany => CronError::NearestOfMany { place },
        FaultKind::NoSeed => CronError::NoSeed { place },
    }
}

/// Fields too few, with the end marked, or too many, with those that are too many marked.
#[cold]
fn wrong_fields(text: &str, found: usize, grammar: &Grammar) -> CronError {
    let start = field_start(text, *grammar.fields.end());
    CronError::Fields {
        place: CronPlace::new(text, None, start..text.len()),
        found,
        allowed: grammar.allowed_fields(),
    }
}

/// No day fits: the fields from the day of month on are marked.
#[cold]
fn never(text: &str, fields: &Fields) -> CronError {
    let before = match count_fields(text.as_bytes()) {
        5 => 2,
        _ => 3,
    };
    let start = field_start(text, before);
    CronError::NeverOccurs {
        place: CronPlace::new(text, None, start..text.len()),
        reason: describe::never(fields),
    }
}

/// Where the field after so many others begins; the text's end, if there is none.
fn field_start(text: &str, before: usize) -> usize {
    let is_blank = |byte: u8| is_blank(byte);
    let bytes = text.as_bytes();
    let mut starts =
        (0..bytes.len()).filter(|&at| !is_blank(bytes[at]) && (at == 0 || is_blank(bytes[at - 1])));
    starts.nth(before).unwrap_or(text.len())
}
