//! Why a pattern is refused.

use core::fmt;
use core::ops::Range;

use super::name::UnknownZone;

/// Why a cron pattern is refused.
///
/// Variants about a part of the text carry its [`CronPlace`], and their message shows it:
/// `60 does not fit the minute field of "0 >60< * * * *"; allowed are 0 to 59`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CronError {
    /// The text is longer than a pattern can sensibly be. It is not shown: it may be of any size,
    /// and what is too much of it is its end.
    TooLong {
        /// Its bytes.
        len: usize,
        /// The most that is read.
        max: usize,
    },
    /// The number of fields is none that the dialect knows.
    Fields {
        /// The fields that are too many; the end of the text, if there are too few.
        place: CronPlace,
        /// The fields found.
        found: usize,
        /// What the dialect allows, in words.
        allowed: &'static str,
    },
    /// An `@` word that is none of the dialect's.
    Nickname {
        /// The word as given.
        place: CronPlace,
        /// The dialect's words.
        known: &'static str,
    },
    /// The period of `@every` cannot be read, or is less than a second or more than a century.
    Period {
        /// What stands behind `@every`.
        place: CronPlace,
    },
    /// A list has an item without text, as in `1,,2`.
    EmptyItem {
        /// Where.
        place: CronPlace,
    },
    /// A number is outside of its field's range.
    OutOfRange {
        /// Where.
        place: CronPlace,
        /// The least that is allowed.
        min: u32,
        /// The most that is allowed.
        max: u32,
    },
    /// A range ends before it begins.
    InvertedRange {
        /// Where.
        place: CronPlace,
    },
    /// A step of zero.
    ZeroStep {
        /// Where.
        place: CronPlace,
    },
    /// A step that no two values of its field are apart.
    StepTooLarge {
        /// Where.
        place: CronPlace,
        /// The largest step of the field.
        max: u32,
    },
    /// A word that its field does not know: a month's name among the weekdays, say.
    Name {
        /// Where.
        place: CronPlace,
        /// What the field knows.
        allowed: &'static str,
    },
    /// Something that cannot stand where it stands.
    Unexpected {
        /// Where.
        place: CronPlace,
        /// What could.
        allowed: &'static str,
    },
    /// `W` looks for the weekday nearest to a single day, not to each of a list or range.
    NearestOfMany {
        /// Where.
        place: CronPlace,
    },
    /// Neither of the day fields is `?`, or both are; Quartz wants one.
    QuestionMarks {
        /// The second of them.
        place: CronPlace,
        /// How many are.
        found: usize,
    },
    /// The zone before the pattern is none.
    UnknownZone {
        /// Where.
        place: CronPlace,
        /// Its name, and the nearest one.
        zone: UnknownZone,
    },
    /// An `H` in a pattern that was read without a seed; see
    /// [`CronPattern::parse_seeded`](super::CronPattern::parse_seeded).
    NoSeed {
        /// Where.
        place: CronPlace,
    },
    /// No day of any year fits, as with 30 February.
    NeverOccurs {
        /// From the day of month on.
        place: CronPlace,
        /// Why: "30 February never comes".
        reason: String,
    },
    /// The crate croner refuses what our own reading takes, and does not say where. No text is known
    /// of which it does: the tests look for one.
    Croner {
        /// The text.
        pattern: String,
        /// What croner says.
        reason: String,
    },
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, max } => {
                write!(
                    f,
                    "the cron pattern has {len} bytes; at most {max} are read"
                )
            }
            Self::Fields {
                place,
                found,
                allowed,
            } => {
                let plural = if *found == 1 { "" } else { "s" };
                write!(
                    f,
                    "{place} has {found} field{plural}; a cron pattern needs {allowed}"
                )
            }
            Self::Nickname { place, known } => {
                write!(f, "unknown cron nickname {place}; known are {known}")
            }
            Self::Period { place } => write!(
                f,
                "{:?} is no period in {place}; `@every` takes hours, minutes and seconds such as \
                 1h30m or 90s, one second at the least and a century at the most",
                place.text()
            ),
            Self::EmptyItem { place } => {
                write!(f, "an empty item in the list of {place}")
            }
            Self::OutOfRange { place, min, max } => write!(
                f,
                "{} does not fit {place}; allowed are {min} to {max}",
                place.text()
            ),
            Self::InvertedRange { place } => write!(
                f,
                "the range {} ends before it begins in {place}; write it as two",
                place.text()
            ),
            Self::ZeroStep { place } => {
                write!(f, "a step of zero in {place}; the least is 1")
            }
            Self::StepTooLarge { place, max } => write!(
                f,
                "the step {} is too large for {place}; the most is {max}",
                place.text()
            ),
            Self::Name { place, allowed } => {
                write!(
                    f,
                    "{:?} is no word of {place}; it knows {allowed}",
                    place.text()
                )
            }
            Self::Unexpected { place, allowed } => match place.text() {
                "" => write!(f, "something is missing in {place}: {allowed}"),
                text => write!(f, "{text:?} cannot stand there in {place}; {allowed} can"),
            },
            Self::NearestOfMany { place } => write!(
                f,
                "`W` takes a single day, not a list or a range, in {place}"
            ),
            Self::QuestionMarks { place, found } => write!(
                f,
                "{found} of the two day fields are `?`, with {place}; exactly one must be"
            ),
            Self::UnknownZone { place, zone } => write!(f, "{zone}, in {place}"),
            Self::NoSeed { place } => write!(
                f,
                "an `H` in {place}, which needs a seed to choose its value"
            ),
            Self::NeverOccurs { place, reason } => {
                write!(f, "the cron pattern {place} never occurs: {reason}")
            }
            Self::Croner { pattern, reason } => {
                write!(f, "croner refuses the pattern {pattern:?}: {reason}")
            }
        }
    }
}

impl std::error::Error for CronError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is in ours.
            Self::UnknownZone { zone, .. } => zone.source(),
            _ => None,
        }
    }
}

impl CronError {
    /// The same of the text that the pattern ends: places are places in it.
    #[cold]
    pub(crate) fn within(mut self, whole: &str) -> Self {
        match &mut self {
            Self::Fields { place, .. }
            | Self::Nickname { place, .. }
            | Self::Period { place }
            | Self::EmptyItem { place }
            | Self::OutOfRange { place, .. }
            | Self::InvertedRange { place }
            | Self::ZeroStep { place }
            | Self::StepTooLarge { place, .. }
            | Self::Name { place, .. }
            | Self::Unexpected { place, .. }
            | Self::NearestOfMany { place }
            | Self::QuestionMarks { place, .. }
            | Self::UnknownZone { place, .. }
            | Self::NoSeed { place }
            | Self::NeverOccurs { place, .. } => place.widen(whole),
            Self::Croner { pattern, .. } => whole.clone_into(pattern),
            Self::TooLong { .. } => {}
        }
        self
    }
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronPlace {
    pattern: String,
    field: Option<&'static str>,
    start: usize,
    end: usize,
}

impl CronPlace {
    pub(super) fn new(pattern: &str, field: Option<&'static str>, range: Range<usize>) -> Self {
        // A place within a character, or outside, becomes the end of the text.
        let whole = pattern.get(range.clone()).is_some();
        let (start, end) = if whole {
            (range.start, range.end)
        } else {
            (pattern.len(), pattern.len())
        };
        Self {
            pattern: pattern.to_owned(),
            field,
            start,
            end,
        }
    }

    /// Moves the place to a text that the pattern ends.
    fn widen(&mut self, whole: &str) {
        if let Some(zone) = whole.strip_suffix(&*self.pattern) {
            self.start += zone.len();
            self.end += zone.len();
            whole.clone_into(&mut self.pattern);
        }
    }

    /// The whole text that was read, its zone included, without blanks around it.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The field's name, if the place lies in one: "second", "minute", "hour", "day of month",
    /// "month", "weekday", "year".
    pub fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// Which bytes of [`pattern`](Self::pattern).
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// What stands there.
    pub fn text(&self) -> &str {
        self.pattern.get(self.range()).unwrap_or("")
    }
}

/// The field, if it is one, and the pattern with the place marked: `the minute field of
/// "0 >60< * * * *"`.
impl fmt::Display for CronPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, rest) = self.pattern.split_at(self.start);
        let (marked, after) = rest.split_at(self.end - self.start);
        if let Some(field) = self.field {
            write!(f, "the {field} field of ")?;
        }
        let marked = format!("{before}>{marked}<{after}");
        write!(f, "{marked:?}")
    }
}
