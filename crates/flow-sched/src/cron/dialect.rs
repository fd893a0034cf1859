//! What the dialects allow, as data.

use super::dst::{DstGap, DstOverlap, DstPolicy};

/// How a pattern is written, and what it means on days on which clocks change.
///
/// | dialect | fields | day fields | besides |
/// |---|---|---|---|
/// | `Flow` | 5, 6 or 7 | one is enough; `+` asks for both | `L`, `W`, `#`, `?`, nicknames, `@every`, `@reboot` |
/// | `Ocps` | 5, 6 or 7 | the same | the same without `@every` |
/// | `Vixie` | 5 | both, if one begins with `*`; else one is enough | nicknames, `@reboot` |
/// | `Quartz` | 6 or 7 | one of them is `?` | weekdays from 1 (Sunday) to 7; `L-n`, `LW`, `n/m`, ranges that wrap |
/// | `Robfig` | 5 or 6 | one is enough | `?`, `n/m`, nicknames, `@every` |
/// | `Cronos` | 5 or 6 | both | `L-n`, `L-nW`, `n/m`, ranges that wrap, its macros, `H` with a seed |
/// | `Croner` | 5, 6 or 7 | one is enough; `+` asks for both | read by the crate croner |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Dialect {
    /// The grammar of OCPS 1.4 with Vixie cron's rules for clock changes.
    ///
    /// A job with fixed times runs at the end of a gap that skips one of them, and the first time
    /// only when the clock shows one twice. If the minute or the hour begins with `*`, the
    /// pattern follows the clock: nothing in the gap, both times in the overlap.
    #[default]
    Flow,
    /// The Open Cron Pattern Specification 1.4 as written: what a gap skips does not run, what an
    /// overlap repeats runs the first time.
    Ocps,
    /// Vixie cron and its successor cronie: its rules for clock changes are those of `Flow`.
    Vixie,
    /// Quartz. Its documentation leaves clock changes open; here they are as with `Flow`.
    Quartz,
    /// robfig/cron 3 for Go: gaps skip runs, overlaps repeat them.
    Robfig,
    /// Cronos for .NET: what a gap skips runs at its end; an overlap repeats patterns with `*`,
    /// ranges or steps in the second, minute or hour.
    Cronos,
    /// croner: read by that crate, and before it by `Flow`'s grammar, which refuses what croner
    /// lets through and should not.
    ///
    /// A job with one second, one minute and one hour is fixed as with `Flow`; other ones follow
    /// the clock.
    Croner,
}

/// What a dialect's text may hold.
#[allow(clippy::struct_excessive_bools)] // a table of answers
#[derive(Debug)]
pub(super) struct Grammar {
    pub(super) dialect: Dialect,
    pub(super) fields: core::ops::RangeInclusive<usize>,
    /// `L`, `W` and `#`.
    pub(super) specials: bool,
    /// `L-n` and `L-nW`; then `L` stands alone, not in a list.
    pub(super) before_last: bool,
    /// `l` and `w` too.
    pub(super) lower_case: bool,
    /// `FRI#L` too.
    pub(super) hash_last: bool,
    /// `+` before the weekdays.
    pub(super) plus: bool,
    /// `n/m`: from n to the end.
    pub(super) open_steps: bool,
    /// Ranges such as `22-2`.
    pub(super) wrap: bool,
    /// `H` and `H/n`: values that a seed chooses.
    pub(super) seeded: bool,
    pub(super) question: Question,
    pub(super) steps: Steps,
    /// Weekdays are counted from 1; 0 and 7 are Sunday otherwise.
    pub(super) sunday_is_one: bool,
    pub(super) seven_is_sunday: bool,
    pub(super) days: DayRule,
    pub(super) nicknames: Nicknames,
    pub(super) reboot: bool,
    pub(super) every: bool,
    changes: Changes,
}

/// Where `?` stands for `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Nowhere,
    DayFields,
    /// In one of the day fields, and there it must be.
    OneDayField,
    Everywhere,
}

/// How large a step may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Steps {
    /// Up to the number of the field's values.
    ToCount,
    /// Up to the field's largest value.
    ToLargest,
    /// However large.
    Any,
}

/// When the two day fields must both fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DayRule {
    /// If one of them is exactly `*`.
    ExactStar,
    /// If one of them begins with `*`.
    LeadingStar,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nicknames {
    None,
    Plain,
    /// Those of Cronos, in any case, with `@every_minute` and `@every_second`.
    Cronos,
}

/// Which patterns are fixed in time when clocks change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changes {
    Vixie,
    Ocps,
    Robfig,
    Cronos,
}

/// What the second, minute and hour of a pattern looked like.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looks {
    /// The minute or the hour begins with `*`.
    pub(super) star: bool,
    /// One of the three has a `*`, a range or a step.
    pub(super) interval: bool,
}

impl Grammar {
    /// What becomes of a pattern that looks like this when clocks change.
    pub(super) fn policy(&self, looks: Looks) -> DstPolicy {
        match self.changes {
            Changes::Vixie if looks.star => FOLLOWS,
            Changes::Vixie => FIXED,
            Changes::Ocps => DstPolicy {
                gap: DstGap::Skip,
                overlap: DstOverlap::First,
            },
            Changes::Robfig => FOLLOWS,
            Changes::Cronos => DstPolicy {
                gap: DstGap::RunAfter,
                overlap: if looks.interval {
                    DstOverlap::Both
                } else {
                    DstOverlap::First
                },
            },
        }
    }

    /// Whether a pattern with this policy must begin its minute or hour with `*`, and whether it
    /// must not: what a text needs to be read back as it was.
    pub(super) fn star_needed(&self, policy: DstPolicy) -> Option<bool> {
        (self.changes == Changes::Vixie).then_some(policy.overlap == DstOverlap::Both)
    }

    /// The same for a `*`, a range or a step in the second, minute or hour.
    pub(super) fn interval_needed(&self, policy: DstPolicy) -> Option<bool> {
        (self.changes == Changes::Cronos).then_some(policy.overlap == DstOverlap::Both)
    }

    pub(super) fn of(dialect: Dialect) -> &'static Self {
        match dialect {
            Dialect::Flow => &FLOW,
            Dialect::Ocps => &OCPS,
            Dialect::Vixie => &VIXIE,
            Dialect::Quartz => &QUARTZ,
            Dialect::Robfig => &ROBFIG,
            Dialect::Cronos => &CRONOS,
            Dialect::Croner => &CRONER,
        }
    }

    /// The fields that a text may have, for a reader.
    pub(super) fn allowed_fields(&self) -> &'static str {
        match (*self.fields.start(), *self.fields.end()) {
            (5, 5) => "five (minute, hour, day of month, month, weekday)",
            (6, 7) => "six (second to weekday), or seven with years after them",
            (5, 6) => "five (minute to weekday), or six with seconds before them",
            _ => {
                "five (minute to weekday), six with seconds before them, or seven with years \
                 after them"
            }
        }
    }
}

/// Fixed in time.
pub(super) const FIXED: DstPolicy = DstPolicy {
    gap: DstGap::RunAfter,
    overlap: DstOverlap::First,
};
/// Follows the clock.
pub(super) const FOLLOWS: DstPolicy = DstPolicy {
    gap: DstGap::Skip,
    overlap: DstOverlap::Both,
};

const FLOW: Grammar = Grammar {
    dialect: Dialect::Flow,
    fields: 5..=7,
    specials: true,
    before_last: false,
    lower_case: false,
    hash_last: true,
    plus: true,
    open_steps: false,
    wrap: false,
    seeded: false,
    question: Question::DayFields,
    steps: Steps::ToCount,
    sunday_is_one: false,
    seven_is_sunday: true,
    days: DayRule::ExactStar,
    nicknames: Nicknames::Plain,
    reboot: true,
    every: true,
    changes: Changes::Vixie,
};
const OCPS: Grammar = Grammar {
    dialect: Dialect::Ocps,
    every: false,
    changes: Changes::Ocps,
    ..FLOW
};
const VIXIE: Grammar = Grammar {
    dialect: Dialect::Vixie,
    fields: 5..=5,
    specials: false,
    plus: false,
    question: Question::Nowhere,
    days: DayRule::LeadingStar,
    every: false,
    ..FLOW
};
/// What Quartz and Cronos have in common.
const WIDE: Grammar = Grammar {
    before_last: true,
    lower_case: true,
    hash_last: false,
    plus: false,
    open_steps: true,
    wrap: true,
    reboot: false,
    every: false,
    ..FLOW
};
const QUARTZ: Grammar = Grammar {
    dialect: Dialect::Quartz,
    fields: 6..=7,
    question: Question::OneDayField,
    sunday_is_one: true,
    seven_is_sunday: false,
    nicknames: Nicknames::None,
    ..WIDE
};
const CRONOS: Grammar = Grammar {
    dialect: Dialect::Cronos,
    fields: 5..=6,
    seeded: true,
    steps: Steps::ToLargest,
    days: DayRule::Always,
    nicknames: Nicknames::Cronos,
    changes: Changes::Cronos,
    ..WIDE
};
const ROBFIG: Grammar = Grammar {
    dialect: Dialect::Robfig,
    fields: 5..=6,
    specials: false,
    plus: false,
    open_steps: true,
    question: Question::Everywhere,
    steps: Steps::Any,
    seven_is_sunday: false,
    reboot: false,
    changes: Changes::Robfig,
    ..FLOW
};
/// What a text must be before croner reads it.
const CRONER: Grammar = Grammar {
    dialect: Dialect::Croner,
    ..FLOW
};
