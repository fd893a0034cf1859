//! The two day fields, and how they are joined.

use super::cursor::Cursor;
use super::dialect::{DayRule, Dialect, Grammar};
use super::fields::{ALL_DAYS, ALL_WEEKDAYS, Fields, LAST_WEEKDAYS};
use super::item::{Fault, FaultKind, Kind, Unit};
use super::seed::Seed;

/// What a day field looked like.
#[allow(clippy::struct_excessive_bools)] // four independent marks
#[derive(Default)]
pub(super) struct DayLooks {
    star: bool,
    leading: bool,
    pub(super) question: bool,
    plus: bool,
}

impl DayLooks {
    /// A field that is `*`.
    pub(super) const STAR: Self = Self {
        star: true,
        leading: true,
        question: false,
        plus: false,
    };
}

/// Whether a day that fits one of the fields is enough.
pub(super) fn is_either(grammar: &Grammar, day: &DayLooks, weekday: &DayLooks) -> bool {
    !weekday.plus
        && match grammar.days {
            DayRule::ExactStar => !(day.star || weekday.star),
            DayRule::LeadingStar => !(day.leading || weekday.leading),
            DayRule::Always => false,
        }
}

/// Reads the day of month, and the blanks behind it.
pub(super) fn days(
    cursor: &mut Cursor<'_>,
    fields: &mut Fields,
    seed: &mut Seed,
) -> Result<DayLooks, Fault> {
    cursor.enter(Unit::Day);
    if let Some(looks) = all(cursor) {
        return Ok(looks);
    }
    let mut looks = DayLooks {
        leading: cursor.peek() == b'*',
        ..DayLooks::default()
    };
    fields.day = 0;
    if cursor.is_hash() {
        // A day that every month has.
        let item = seed.read(cursor, 28)?;
        fields.day = cursor.bits(&item) as u32;
        cursor.leave()?;
        return Ok(looks);
    }
    let mut items = 0;
    let mut nearest = None;
    loop {
        items += 1;
        let start = cursor.at();
        if let Some(day) = cursor.plain() {
            fields.day |= 1 << day;
        } else if cursor.grammar.specials && cursor.letter(b'L') {
            let mut before = 0;
            if cursor.grammar.before_last && cursor.peek() == b'-' {
                cursor.skip();
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
    cursor.leave()?;
    looks.star = is_robfigs_star(cursor.grammar, &looks) && fields.day == ALL_DAYS;
    Ok(looks)
}

/// Reads the day of week, and the blanks behind it.
pub(super) fn weekdays(
    cursor: &mut Cursor<'_>,
    fields: &mut Fields,
    seed: &mut Seed,
) -> Result<DayLooks, Fault> {
    if let Some((day, n)) = cursor.lone_nth() {
        fields.weekday = 0;
        fields.nth = 1 << (7 * (n - 1) + number(cursor.grammar, day));
        return Ok(DayLooks::default());
    }
    cursor.enter(Unit::Weekday);
    let plus = cursor.grammar.plus && cursor.peek() == b'+';
    if plus {
        cursor.skip();
    }
    if let Some(looks) = all(cursor) {
        return Ok(DayLooks { plus, ..looks });
    }
    let mut looks = DayLooks {
        plus,
        leading: cursor.peek() == b'*',
        ..DayLooks::default()
    };
    let mut bits = 0_u64;
    if cursor.is_hash() {
        let item = seed.read(cursor, 7)?;
        bits = cursor.bits(&item);
    } else {
        loop {
            bits |= weekday(cursor, &mut fields.nth)?;
            if !cursor.comma()? {
                break;
            }
        }
    }
    cursor.leave()?;
    // 7 is Sunday too.
    fields.weekday = (bits | bits >> 7) as u8 & ALL_WEEKDAYS;
    looks.star = is_robfigs_star(cursor.grammar, &looks) && fields.weekday == ALL_WEEKDAYS;
    Ok(looks)
}

/// One item of a list of weekdays: its bits, or those that it adds to the nth ones of a month.
#[inline]
fn weekday(cursor: &mut Cursor<'_>, nth: &mut u64) -> Result<u64, Fault> {
    let sunday_is_one = cursor.grammar.sunday_is_one;
    if sunday_is_one && cursor.last_letter() {
        // Quartz: the week's last day.
        return Ok(1 << 6);
    }
    let item = cursor.item()?;
    if !cursor.grammar.specials || item.kind != Kind::Single {
        return Ok(cursor.bits(&item));
    }
    let day = number(cursor.grammar, item.low);
    if cursor.peek() == b'#' {
        cursor.skip();
        let shift = if cursor.grammar.hash_last && cursor.letter(b'L') {
            LAST_WEEKDAYS
        } else {
            7 * (cursor.number_within(1, 5)? - 1)
        };
        *nth |= 1 << (shift + day);
    } else if cursor.letter(b'L') {
        *nth |= 1 << (LAST_WEEKDAYS + day);
    } else {
        return Ok(1 << day);
    }
    Ok(0)
}

/// A weekday from its number in the text: Sunday is 0.
#[inline]
fn number(grammar: &Grammar, day: u32) -> u32 {
    if grammar.sunday_is_one {
        day - 1
    } else {
        day % 7
    }
}

/// Leaves a field that is `*`, or a `?` that means the same.
#[inline]
fn all(cursor: &mut Cursor<'_>) -> Option<DayLooks> {
    let star = cursor.star();
    let question = !star && cursor.question();
    (star || question).then_some(DayLooks {
        question,
        ..DayLooks::STAR
    })
}

/// To robfig/cron, `*/1` and lists with a `*` are a star too.
fn is_robfigs_star(grammar: &Grammar, looks: &DayLooks) -> bool {
    grammar.dialect == Dialect::Robfig && looks.leading
}
