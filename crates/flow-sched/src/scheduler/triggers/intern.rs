//! Jobs with equal patterns share one parsed form, and what is known of its next time.
//!
//! Most schedulers have far fewer patterns than jobs, and a pattern's next time is the same for all
//! who ask before it has come. So a job by a known pattern costs one look-up, by a hash that is
//! computed once; a table that grows looks at no text.
//!
//! A pattern is kept when it comes for the second time. To keep each one that never comes again, to
//! look through all of them for those that nobody uses, and to free these when they have left every
//! cache, took a fifth of what a start by a new pattern takes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use chrono_tz::Tz;
use flow_sync::sync::Mutex;

use crate::cron::{Cron, CronError, CronPattern};
use crate::scheduler::text_hash::{self, ByHash};

#[derive(Default)]
struct Table {
    /// By the hash of a text. Another text of the same hash is not kept: it is parsed each time.
    known: HashMap<u64, Known, ByHash>,
    seen: Seen,
}

/// Patterns that have come: of each a few bits, in a place that it shares with others. One that
/// has come and is not found any more waits for the next time to be kept, and one that is taken for
/// another is kept at once, which does no harm.
struct Seen(Box<[u8]>);

/// Enough for as many patterns, if each comes again before many others have.
const PLACES: usize = 1 << 15;

impl Default for Seen {
    fn default() -> Self {
        Self(vec![0; PLACES].into())
    }
}

impl Seen {
    /// Whether a pattern has come before; from now on it has.
    fn again(&mut self, hash: u64) -> bool {
        // Other bits than those of the place; none are zero, which stands for nobody.
        let mark = (hash >> 56) as u8 | 1;
        core::mem::replace(&mut self.0[hash as usize % PLACES], mark) == mark
    }
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

struct Known {
    text: Cow<'static, str>,
    /// That of live jobs, as long as there are others who hold it. A clone counts it, where that of
    /// a weak reference would have to look whether it is still there.
    pattern: Arc<CronPattern>,
    ahead: Option<Ahead>,
}

impl Known {
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.pattern) > 1
    }
}

/// The pattern, in that zone, is due at `next`, and not before that after `from`.
struct Ahead {
    zone: Tz,
    from: SystemTime,
    next: SystemTime,
}

impl Ahead {
    fn after(&self, zone: Tz, wall: SystemTime) -> Option<SystemTime> {
        let holds = self.zone == zone && self.from <= wall && wall < self.next;
        holds.then_some(self.next)
    }
}

/// A pattern in a zone, in the parsed form that live jobs of the same text share, else a new one; and
/// its first time after `wall`, if it has times of day. Takes the text if it is a new one's.
pub(in crate::scheduler) fn intern(
    text: &mut Cow<'static, str>,
    zone: Tz,
    wall: SystemTime,
) -> Result<(Cron, Option<SystemTime>), CronError> {
    let hash = text_hash::of(text);
    let (live, again) = {
        let mut table = TABLE.lock();
        let known = table.known.get(&hash);
        let live = known.filter(|known| known.text == *text).map(|known| {
            let ahead = known.ahead.as_ref();
            let next = ahead.and_then(|ahead| ahead.after(zone, wall));
            (known.pattern.clone(), next)
        });
        let again = live.is_some() || table.seen.again(hash);
        (live, again)
    };
    // Outside of the lock; if two threads meet here, what comes later stays in the table.
    let (pattern, is_new) = match live {
        Some((pattern, next @ Some(_))) => {
            return Ok((Cron::from_shared(pattern).in_zone(zone), next));
        }
        Some((pattern, None)) => (pattern, false),
        None => (Arc::new(CronPattern::parse(text)?), true),
    };
    let to_keep = (again && is_new).then(|| pattern.clone());
    let cron = Cron::from_shared(pattern).in_zone(zone);
    let next = cron.first_time_after(wall);
    if !again {
        return Ok((cron, next));
    }
    let from = wall;
    let ahead = next.map(|next| Ahead { zone, from, next });
    let mut table = TABLE.lock();
    if let Some(pattern) = to_keep {
        let known = Known {
            text: core::mem::take(text),
            pattern,
            ahead,
        };
        keep(&mut table.known, hash, known);
    } else if ahead.is_some()
        && let Some(known) = table.known.get_mut(&hash)
        && known.text == *text
    {
        known.ahead = ahead;
    }
    Ok((cron, next))
}

fn keep(table: &mut HashMap<u64, Known, ByHash>, hash: u64, known: Known) {
    if table.len() == table.capacity() {
        table.retain(|_, known| known.is_used());
    }
    match table.entry(hash) {
        Entry::Vacant(vacant) => {
            vacant.insert(known);
        }
        Entry::Occupied(mut occupied) => {
            let before = occupied.get_mut();
            // That of another text stays for as long as it is somebody's.
            if before.text == known.text || !before.is_used() {
                *before = known;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::time::UNIX_EPOCH;

    use chrono_tz::America::New_York;

    use super::*;

    #[test]
    fn what_is_known_is_what_the_pattern_says() {
        // On both sides of a change of clocks, to and fro, so that what is known is of another time.
        let start = UNIX_EPOCH + Duration::from_secs(1_772_900_000);
        let texts = [
            "30 2 * * *",
            "*/7 * * * *",
            "0 0 29 2 *",
            "0 0 0 1 1 * 2030",
        ];
        let take = || texts.map(|text| intern(&mut text.into(), Tz::UTC, start).unwrap());
        let (_, kept) = (take(), take());
        let is_known = |text: &str, zone, wall| {
            let table = TABLE.lock();
            let ahead = table.known[&text_hash::of(text)].ahead.as_ref();
            ahead.is_some_and(|ahead| ahead.after(zone, wall).is_some())
        };
        let mut answers = texts.map(|_| [0; 2]);
        for zone in [Tz::UTC, New_York, Tz::UTC] {
            for turn in 1..=1_000_u64 {
                let wall = start + Duration::from_millis(turn * 7_919 % 1_000 * 500_123);
                for wall in [wall, wall + Duration::from_secs(61)] {
                    for (place, (text, (cron, _))) in texts.iter().zip(&kept).enumerate() {
                        answers[place][usize::from(is_known(text, zone, wall))] += 1;
                        let (known, next) = intern(&mut Cow::Borrowed(*text), zone, wall).unwrap();
                        assert_eq!(known, cron.clone().in_zone(zone));
                        assert_eq!(next, known.next_after(wall), "{text:?} in {zone}");
                    }
                }
            }
        }
        // Some from what was known, and some not.
        assert!(
            answers.iter().flatten().all(|&times| times > 10),
            "{answers:?}"
        );
    }

    #[test]
    fn what_has_no_times_of_day_has_no_first_one() {
        for text in ["@every 5m", "@reboot"] {
            for _ in 0..2 {
                let (_, next) = intern(&mut text.into(), Tz::UTC, UNIX_EPOCH).unwrap();
                assert_eq!(next, None);
            }
        }
    }

    #[test]
    fn live_jobs_share_a_form_from_the_second_on() {
        let of = |mut text| intern(&mut text, Tz::UTC, UNIX_EPOCH).unwrap().0;
        let text = "1 2 3 4 *";
        let is_kept = || TABLE.lock().known.contains_key(&text_hash::of(text));
        let first = of(text.into());
        assert!(!is_kept());
        let [one, other] = [of(text.into()), of(String::from(text).into())];
        assert!(is_kept());
        assert!(core::ptr::eq(one.pattern(), other.pattern()));
        assert_eq!(first, one);
    }
}
