//! Occurrences on a zone's clock: what happens where the clock is put forward or back.
//!
//! A zone's time is a row of spans of constant offset (`zone`). Within a span, occurrences are the
//! fitting times of its clock less the offset. Going from a span to the next one, a larger offset
//! leaves a gap: times that the clock never shows, to which [`DstGap`] gives a second of their
//! own, or none. A smaller offset shows times a second time, and [`DstOverlap`] says in which span
//! they count. A search therefore looks for fitting times once, and again only behind an overlap;
//! it is right for any length of a gap, the day that Apia left out included. It does not walk to a
//! time that is far off: no clock is a day from UTC, so of the spans in between only those within
//! a few days of either end can matter.

use super::civil::{DAY, FIRST, LAST};
use super::fields::Fields;
use super::search;
use super::zone::{Span, Table};

/// What the `steps` of a call never exceed: two searches through months (a clock change may make
/// it look again), and the spans near either end of the way.
pub(super) const MOST_STEPS: u32 = 2 * search::MOST_MONTHS + MOST_SPANS;
/// The spans that a call goes through: no zone has changed its clock more often within the days
/// that are looked at.
pub(super) const MOST_SPANS: u32 = 8;

/// What becomes of a time that the clock leaves out when it is put forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DstGap {
    /// It does not occur.
    Skip,
    /// It occurs at the end of the gap; several of them occur once.
    RunAfter,
    /// It occurs as if the clock had not been put forward yet: 02:30 at 03:30.
    ShiftForward,
}

/// What becomes of a time that the clock shows twice when it is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DstOverlap {
    /// It occurs the first time.
    First,
    /// It occurs the last time.
    Last,
    /// It occurs each time.
    Both,
}

/// What clock changes do to a pattern; without one, the dialect decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DstPolicy {
    /// For times that are left out.
    pub gap: DstGap,
    /// For times that come twice.
    pub overlap: DstOverlap,
}

impl DstPolicy {
    /// The bounds of a span for times of its clock: the first that counts, and the first that
    /// does not count any more.
    fn bounds(self, span: Span, next: Option<Span>) -> (i64, i64) {
        let mut low = span.start.saturating_add(span.offset);
        let mut high = next.map_or(i64::MAX, |next| next.start + span.offset);
        match self.overlap {
            DstOverlap::First => low = low.max(span.shown),
            DstOverlap::Last => high = high.min(span.again),
            DstOverlap::Both => {}
        }
        (low, high)
    }
}

/// The first occurrence after `after`, in seconds since the epoch. `steps` grows by the months and
/// spans looked at.
pub(super) fn next(
    fields: &Fields,
    zone: &Table,
    dst: DstPolicy,
    after: i64,
    steps: &mut u32,
) -> Option<i64> {
    let at = after.checked_add(1)?;
    if let Some(offset) = zone.fixed() {
        let found = fields.next(at.saturating_add(offset), steps)?;
        return Some(found - offset);
    }
    // The span of `after`: if the clock is put forward right behind it, the gap is still to come.
    let place = zone.find(after);
    let span = zone.span(place);
    let behind = zone.after(place);
    let (low, high) = dst.bounds(span, behind);
    let from = low.max(at.saturating_add(span.offset));
    let found = fields.next(from, steps).unwrap_or(i64::MAX);
    // What the gap before this span left out may be due still.
    if dst.gap == DstGap::ShiftForward && place > 0 {
        let before = zone.span(place - 1);
        let from = at.saturating_add(before.offset);
        if let Some(shifted) = fields.next(from, steps)
            && shifted < span.start + span.offset
        {
            let shifted = shifted - before.offset;
            let own = found.saturating_sub(span.offset);
            return Some(if found < high {
                shifted.min(own)
            } else {
                shifted
            });
        }
    }
    if found < high {
        return Some(found - span.offset);
    }
    // In the gap right behind, as on the day of a change; others are found below.
    let behind = behind?;
    if dst.gap == DstGap::RunAfter
        && found >= behind.start + span.offset
        && found < behind.start + behind.offset
    {
        return Some(behind.start);
    }
    next_beyond(fields, zone, dst, (place, from, found), steps)
}

/// The same of a time that is not in the span at `place`: the first fitting one of its clock from
/// `from` on is `found`, behind its end. Apart, so that most calls do not carry what this needs.
#[inline(never)]
fn next_beyond(
    fields: &Fields,
    zone: &Table,
    dst: DstPolicy,
    (mut place, mut from, mut found): (usize, i64, i64),
    steps: &mut u32,
) -> Option<i64> {
    let mut span = zone.span(place);
    let mut next = zone.after(place);
    loop {
        let before = span;
        span = next?;
        place += 1;
        *steps += 1;
        next = zone.after(place);
        let resumes = span.start + span.offset;
        let in_gap = found >= span.start + before.offset && found < resumes;
        if in_gap && dst.gap == DstGap::RunAfter {
            return Some(span.start);
        }
        let (low, mut high) = dst.bounds(span, next);
        if in_gap && dst.gap == DstGap::ShiftForward {
            let shifted = found - before.offset;
            let own = fields.next(low, steps).filter(|&own| own < high);
            return Some(own.map_or(shifted, |own| shifted.min(own - span.offset)));
        }
        if low < from || found < low {
            from = low;
            found = fields.next(low, steps).unwrap_or(i64::MAX);
        }
        // Spans that begin later than `from`'s day and end before `found`'s: what they show and
        // leave out is after the one and before the other.
        let far = found.min(LAST) - 2 * DAY;
        if span.start < far && span.start - DAY > from {
            place = zone.find(far);
            span = zone.span(place);
            next = zone.after(place);
            high = dst.bounds(span, next).1;
        }
        if found < high {
            return Some(found - span.offset);
        }
    }
}

/// The last occurrence before `before`, in seconds since the epoch. `steps` grows as with [`next`].
pub(super) fn prev(
    fields: &Fields,
    zone: &Table,
    dst: DstPolicy,
    before: i64,
    steps: &mut u32,
) -> Option<i64> {
    let mut at = before.checked_sub(1)?;
    if let Some(offset) = zone.fixed() {
        let found = fields.prev(at.saturating_add(offset), steps)?;
        return Some(found - offset);
    }
    let mut place = zone.find(at);
    let mut span = zone.span(place);
    let (mut low, high) = dst.bounds(span, zone.after(place));
    let mut until = at.saturating_add(span.offset).min(high.saturating_sub(1));
    let mut found = fields.prev(until, steps).unwrap_or(i64::MIN);
    loop {
        let own = (found >= low && found != i64::MIN).then(|| found - span.offset);
        if place == 0 {
            return own;
        }
        *steps += 1;
        let mut earlier = zone.span(place - 1);
        let gap = span.start + earlier.offset..span.start + span.offset;
        if dst.gap == DstGap::ShiftForward && !gap.is_empty() {
            let until = at.saturating_add(earlier.offset).min(gap.end - 1);
            let shifted = fields.prev(until, steps).filter(|time| gap.contains(time));
            let shifted = shifted.map(|time| time - earlier.offset);
            if own.max(shifted).is_some() {
                return own.max(shifted);
            }
        }
        if own.is_some() {
            return own;
        }
        if dst.gap == DstGap::RunAfter && gap.contains(&found) {
            return Some(span.start);
        }
        place -= 1;
        // As in `next`: spans that end before `until`'s day and begin after `found`'s.
        let far = found.max(FIRST) + 2 * DAY;
        if earlier.start > far && span.start + DAY < until {
            place = zone.find(far);
            earlier = zone.span(place);
            span = zone.span(place + 1);
        }
        at = span.start - 1;
        let high;
        (low, high) = dst.bounds(earlier, Some(span));
        span = earlier;
        let last = high.saturating_sub(1);
        if last > until || found > last {
            until = last;
            found = fields.prev(last, steps).unwrap_or(i64::MIN);
        }
    }
}
