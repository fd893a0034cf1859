//! Jobs with equal patterns share one parsed form, and what is known of its next time.
//!
//! Most schedulers have far fewer patterns than jobs, and a pattern's next time is the same for all
//! who ask before it has come. So a job by a known pattern costs one look-up, by a hash that is
//! computed once; a table that grows looks at no text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use chrono_tz::Tz;
use flow_sync::sync::Mutex;

use crate::cron::{Cron, CronError, CronPattern};
use crate::scheduler::text_hash::{self, ByHash};

/// By the hash of a text. Another text of the same hash is not kept: it is parsed each time.
type Table = HashMap<u64, Known, ByHash>;

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

struct Known {
    text: Cow<'static, str>,
    /// That of live jobs, as long as there are others who hold it. A clone counts it, where that of
    /// a weak reference would have to look whether it is still there.
    pattern: Arc<CronPattern>,
    ahead: Option<Box<Ahead>>,
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

/// A pattern in a zone, in the parsed form of a live job with the same text, else a new one; and
/// its first time after `wall`, if it has times of day. Takes the text if it is a new one's.
pub(in crate::scheduler) fn intern(
    text: &mut Cow<'static, str>,
    zone: Tz,
    wall: SystemTime,
) -> Result<(Cron, Option<SystemTime>), CronError> {
    let hash = text_hash::of(text);
    let live = {
        let table = TABLE.lock();
        let known = table.get(&hash).filter(|known| known.text == *text);
        known.map(|known| {
            let ahead = known.ahead.as_ref();
            let next = ahead.and_then(|ahead| ahead.after(zone, wall));
            (known.pattern.clone(), next)
        })
    };
    // Outside of the lock; if two threads meet here, what comes later stays in the table.
    let (pattern, parsed) = match live {
        Some((pattern, next @ Some(_))) => {
            return Ok((Cron::from_shared(pattern).in_zone(zone), next));
        }
        Some((pattern, None)) => (pattern, None),
        None => {
            let pattern = Arc::new(CronPattern::parse(text)?);
            (pattern.clone(), Some(pattern))
        }
    };
    let cron = Cron::from_shared(pattern).in_zone(zone);
    let next = cron.first_time_after(wall);
    let mut table = TABLE.lock();
    if let Some(pattern) = parsed {
        keep(&mut table, hash, core::mem::take(text), pattern);
    } else if let Some(next) = next
        && let Some(known) = table.get_mut(&hash)
        && known.text == *text
    {
        // Only for a pattern that has come twice: most that never do need no room for it.
        known.ahead = Some(Box::new(Ahead {
            zone,
            from: wall,
            next,
        }));
    }
    Ok((cron, next))
}

fn keep(table: &mut Table, hash: u64, text: Cow<'static, str>, pattern: Arc<CronPattern>) {
    if table.len() == table.capacity() {
        table.retain(|_, known| known.is_used());
    }
    let known = Known {
        text,
        pattern,
        ahead: None,
    };
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
        let kept = texts.map(|text| intern(&mut text.into(), Tz::UTC, start).unwrap());
        let is_known = |text: &str, zone, wall| {
            let table = TABLE.lock();
            let ahead = table[&text_hash::of(text)].ahead.as_ref();
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
    fn live_jobs_share_a_form() {
        let of = |mut text| intern(&mut text, Tz::UTC, UNIX_EPOCH).unwrap().0;
        let [one, other] = [of("1 2 3 4 *".into()), of(String::from("1 2 3 4 *").into())];
        assert!(core::ptr::eq(one.pattern(), other.pattern()));
    }
}
