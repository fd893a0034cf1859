//! Time zones by name.

use core::fmt;

use chrono_tz::{TZ_VARIANTS, Tz};

/// No time zone has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownZone {
    given: String,
    nearest: &'static str,
}

impl UnknownZone {
    /// The name that was given.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// The name in the time zone database that is most like it.
    pub fn nearest(&self) -> &'static str {
        self.nearest
    }
}

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown time zone {:?}: expected a name of the IANA database; the nearest is {:?}",
            self.given, self.nearest
        )
    }
}

impl std::error::Error for UnknownZone {}

/// The zone of that name, exact in its letters' case.
pub(crate) fn find(name: &str) -> Result<Tz, UnknownZone> {
    name.parse().map_err(|_| {
        // The longest zone name has 32 letters: more of the given one tells nothing.
        let given: String = name.chars().take(64).collect();
        let nearest = TZ_VARIANTS
            .iter()
            .map(|zone| zone.name())
            .min_by_key(|candidate| distance(&given, candidate))
            .unwrap_or("UTC");
        UnknownZone { given, nearest }
    })
}

/// Levenshtein's distance, regardless of case; a letter that differs in case only costs nothing.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
