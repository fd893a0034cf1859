//! A pattern without a zone.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;
use core::time::Duration;

use super::dialect::Dialect;
use super::dst::DstPolicy;
use super::error::CronError;
use super::fields::Fields;
use super::{describe, display, parser};

/// A cron pattern without a zone: what a line of text means.
///
/// Reading one is a single pass without allocation (a field of years takes one), so it is cheap
/// enough for input as it is typed. [`Cron`](super::Cron) is such a pattern in a zone.
///
/// Patterns are equal if and only if they mean the same, on days on which clocks change too:
/// `0 0 * * 7` and `@weekly` are equal and hash alike, and so is `0 0 0 ? * 1` in Quartz' dialect;
/// `0 0 31 4,5 *` is `0 0 31 5 *`, since April has 30 days. To compare two whose days are written
/// differently takes some microseconds. What is displayed reads back as an equal pattern in its
/// dialect: with names or, if it were longer than the 256 bytes that are read, with numbers. Only of
/// a text of nearly that length, whose years are many steps over each other, it may still be longer.
///
/// ```
/// use flow_sched::{CronPattern, Dialect};
///
/// # fn main() -> Result<(), flow_sched::CronError> {
/// let pattern: CronPattern = "*/15 9-17 * * MON-FRI".parse()?;
/// assert_eq!(pattern.to_string(), "*/15 9-17 * * MON-FRI");
/// let quartz = CronPattern::parse_as("0 */15 9-17 ? * 2-6", Dialect::Quartz)?;
/// assert_eq!(quartz.describe(), pattern.describe());
/// assert_eq!(quartz, pattern);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CronPattern {
    pub(super) spec: Spec,
    pub(super) dialect: Dialect,
    /// What clock changes do to it, of all that the dialect knows.
    pub(super) dst: DstPolicy,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Spec {
    Calendar(Fields),
    /// `@every`, in seconds.
    Every(u32),
    Reboot,
}

impl CronPattern {
    /// Reads a pattern of the dialect [`Dialect::Flow`].
    ///
    /// # Errors
    /// [`CronError`] if it cannot be read, or can never occur.
    ///
    /// # Cost
    /// About 0.1 µs; a pattern that asks for rare days of rare weekdays or years up to some µs,
    /// since whether it occurs is decided here.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        Self::parse_as(text, Dialect::Flow)
    }

    /// Reads a pattern of a dialect.
    ///
    /// # Errors
    /// [`CronError`] if it cannot be read, or can never occur.
    pub fn parse_as(text: &str, dialect: Dialect) -> Result<Self, CronError> {
        parser::parse(text, dialect, None)
    }

    /// Reads a pattern of a dialect that knows `H`: a value that the seed chooses, the same one
    /// for the same seed for ever. So jobs of one pattern do not all run at once.
    ///
    /// In [`Dialect::Cronos`], the one that knows it, `H` is a value of its field and `H/15` each
    /// fifteenth one from one of the first fifteen on, and a macro such as `@daily` is any time
    /// within its period. Seeds below 2^32 give the same times as in Cronos. A seed may be a
    /// job's number or a hash of its name. Other dialects take no notice of it.
    ///
    /// # Errors
    /// [`CronError`] if it cannot be read, or can never occur.
    ///
    /// ```
    /// use flow_sched::{CronPattern, Dialect};
    ///
    /// # fn main() -> Result<(), flow_sched::CronError> {
    /// let report = CronPattern::parse_seeded("H 3 * * *", Dialect::Cronos, 3)?;
    /// assert_eq!(report.to_string(), "17 3 * * *");
    /// # Ok(())
    /// # }
    /// ```
    pub fn parse_seeded(text: &str, dialect: Dialect, seed: u64) -> Result<Self, CronError> {
        parser::parse(text, dialect, Some(seed))
    }

    /// The dialect that it was read as.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What clock changes do to it by the rules of its dialect.
    pub fn dst(&self) -> DstPolicy {
        self.dst
    }

    /// The period of an `@every`.
    pub fn period(&self) -> Option<Duration> {
        match self.spec {
            Spec::Every(seconds) => Some(Duration::from_secs(u64::from(seconds))),
            _ => None,
        }
    }

    /// Whether it is `@reboot`: once, when the scheduler starts the job, and at no time of day.
    pub fn is_reboot(&self) -> bool {
        self.spec == Spec::Reboot
    }

    /// What it means, in English: "at 09:00, on Monday to Friday".
    pub fn describe(&self) -> String {
        describe::describe(self)
    }
}

impl PartialEq for CronPattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.spec, self.dst) == (&other.spec, other.dst)
    }
}

impl Eq for CronPattern {}

impl Hash for CronPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.spec, self.dst).hash(state);
    }
}

impl FromStr for CronPattern {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::parse(text)
    }
}

impl fmt::Display for CronPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display::write(self, f)
    }
}

impl fmt::Debug for CronPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CronPattern({:?}, {:?})", self.to_string(), self.dialect)
    }
}
