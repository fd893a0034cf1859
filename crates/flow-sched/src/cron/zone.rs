//! A zone's offsets as a table of spans.
//!
//! chrono-tz answers for one moment at a time and knows no changes of clocks beyond 2099. Here all
//! changes from 1900 to 2199 are found once per zone, at its first use, by looking at each day
//! and halving the days that differ (some 2 ms). From 2100 on, a zone whose clocks still change
//! in 2099 goes on as it did in 2072 to 2099: those 28 years have all 14 shapes that a year can
//! have, and such rules depend on nothing else.
//!
//! So no library is asked when an occurrence is looked for. Of those measured jiff answers in less
//! than half of chrono-tz's time (benches, `cron`: "zone library"), and the table in less than
//! either's: an occurrence in New York takes 6 ns more than one in UTC, there and back. What is left
//! to a library are the rules, which both have from the same database. chrono-tz has them compiled
//! in, and over chrono, which the dialect `Croner` needs anyway.
//!
//! # Invariants
//! 1. The spans' starts ascend; the first one is `i64::MIN`. A span ends where the next one starts.
//! 2. Neighbours have different offsets.
//! 3. `shown` is the latest time of the zone's clock up to the span's start, exclusive: what is
//!    below it was on the clock before. `again` is the earliest time of the clock in all later
//!    spans: what is not below it will be on the clock again.

use std::sync::OnceLock;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use super::civil::{DAY, FIRST, LAST, days, is_leap, weekday};

#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) offset: i64,
    pub(super) shown: i64,
    pub(super) again: i64,
}

#[derive(Debug)]
pub(super) struct Table {
    spans: Vec<Span>,
    /// The span of every `1 << HINT` seconds from `FIRST` on.
    hints: Vec<u16>,
}

/// The table of a zone.
pub(super) fn table(zone: Tz) -> &'static Table {
    static UTC: Table = Table::UTC;
    static TABLES: [OnceLock<Table>; PLACES] = [const { OnceLock::new() }; PLACES];
    if zone == Tz::UTC {
        return &UTC;
    }
    // The place of a zone in its enum is below the number of zones; a test looks at each.
    TABLES[zone as usize].get_or_init(|| Table::new(zone))
}

impl Table {
    /// No changes at all.
    const UTC: Self = Self {
        spans: Vec::new(),
        hints: Vec::new(),
    };

    fn new(zone: Tz) -> Self {
        let mut changes = vec![(i64::MIN, offset(zone, FIRST))];
        let mut day = FIRST;
        let mut known = changes[0].1;
        while day < LAST_KNOWN {
            let next = day + DAY;
            let then = offset(zone, next);
            if then != known {
                changes.push((halve(zone, day, next, known), then));
            }
            (day, known) = (next, then);
        }
        extend(&mut changes);
        Self::from_changes(&changes)
    }

    fn from_changes(changes: &[(i64, i64)]) -> Self {
        let mut spans: Vec<Span> = Vec::with_capacity(changes.len());
        let mut shown = i64::MIN;
        for &(start, offset) in changes {
            if let Some(last) = spans.last() {
                shown = shown.max(start + last.offset);
            }
            spans.push(Span {
                start,
                offset,
                shown,
                again: i64::MAX,
            });
        }
        let mut again = i64::MAX;
        for span in spans.iter_mut().rev() {
            span.again = again;
            again = again.min(span.start.saturating_add(span.offset));
        }
        let count = ((LAST - FIRST) >> HINT) + 1;
        let hints = (0..count)
            .map(|place| {
                let at = FIRST + (place << HINT);
                let span = spans.partition_point(|span| span.start <= at) - 1;
                // Two changes a year in 300 years.
                span as u16
            })
            .collect();
        Self { spans, hints }
    }

    /// The offset of a zone whose clocks never change.
    #[inline]
    pub(super) fn fixed(&self) -> Option<i64> {
        match *self.spans {
            [] => Some(0),
            [only] => Some(only.offset),
            _ => None,
        }
    }

    /// The span that `at` lies in.
    pub(super) fn find(&self, at: i64) -> usize {
        let place = usize::try_from((at - FIRST) >> HINT).unwrap_or(0);
        let mut span = match self.hints.get(place) {
            Some(&span) => usize::from(span),
            None => self.spans.len().saturating_sub(1),
        };
        while let Some(next) = self.spans.get(span + 1)
            && next.start <= at
        {
            span += 1;
        }
        span
    }

    pub(super) fn span(&self, place: usize) -> Span {
        self.spans.get(place).copied().unwrap_or(Span {
            start: i64::MIN,
            offset: 0,
            shown: i64::MIN,
            again: i64::MAX,
        })
    }

    /// The span after that.
    pub(super) fn after(&self, place: usize) -> Option<Span> {
        self.spans.get(place + 1).copied()
    }
}

/// The first second with an offset other than `known`, which is that of `low`.
fn halve(zone: Tz, mut low: i64, mut high: i64, known: i64) -> i64 {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if offset(zone, middle) == known {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The changes from 2100 to 2199, from those of years of the same shape.
fn extend(changes: &mut Vec<(i64, i64)>) {
    let year_start = |year| days(year, 1, 1);
    let last = changes.last().map_or(i64::MIN, |&(start, _)| start);
    if last < year_start(2099) * DAY {
        return;
    }
    let known: Vec<(i64, i64)> = changes.clone();
    for year in 2100..2200 {
        let start = year_start(year);
        let like = (2072..2100).find(|&like| {
            is_leap(like) == is_leap(year) && weekday(year_start(like)) == weekday(start)
        });
        let Some(like) = like else { continue };
        let (from, until) = (year_start(like) * DAY, year_start(like + 1) * DAY);
        for &(at, offset) in &known {
            if (from..until).contains(&at) {
                changes.push((at - from + start * DAY, offset));
            }
        }
    }
}

/// Seconds east of UTC.
fn offset(zone: Tz, at: i64) -> i64 {
    let Some(utc) = DateTime::from_timestamp(at, 0) else {
        return 0;
    };
    let offset = zone.offset_from_utc_datetime(&utc.naive_utc());
    i64::from(offset.fix().local_minus_utc())
}

/// Where the changes that chrono-tz knows end.
const LAST_KNOWN: i64 = days(2100, 1, 1) * DAY;
/// More than there are zones, some 600.
pub(super) const PLACES: usize = 1_024;
/// 97 days: in most zones no two changes are nearer to one another.
const HINT: u32 = 23;
