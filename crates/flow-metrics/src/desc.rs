//! One entry of a crate's catalogue, and the rules for its name.

use crate::error::DescError;

/// What a metric is called, what it means and how it behaves: a constant of the crate that has
/// it.
///
/// A name reads `flow_<crate>_<what>_<unit>`, or `<application>_<what>_<unit>` outside flow, in
/// base units; a counter's ends in `_total`. It is the name on the dashboard, so that a search
/// for one finds the other.
///
/// ```
/// use flow_metrics::{Desc, Kind, Unit};
///
/// const WAIT: Desc = Desc::histogram("flow_pool_queue_wait_seconds", "Time in the queue.", &["pool"]);
/// assert_eq!((WAIT.kind(), WAIT.unit()), (Kind::Histogram, Unit::Seconds));
/// assert!(WAIT.check().is_ok());
/// assert!(Desc::gauge("flow_pool_wait_ms", "Time in the queue.", &[]).check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Desc {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    labels: &'static [&'static str],
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows, from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// What a metric is measured in: the last word of its name, before `_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Things: whatever the name says is counted.
    Count,
    /// Seconds: `_seconds`.
    Seconds,
    /// Bytes: `_bytes`.
    Bytes,
    /// A fraction, 1 being all of it: `_ratio`.
    Ratio,
}

impl Desc {
    /// Describes a counter.
    pub const fn counter(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self::new(name, Kind::Counter, help, labels)
    }

    /// Describes a gauge.
    pub const fn gauge(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self::new(name, Kind::Gauge, help, labels)
    }

    /// Describes a histogram.
    pub const fn histogram(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self::new(name, Kind::Histogram, help, labels)
    }

    const fn new(
        name: &'static str,
        kind: Kind,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            kind,
            help,
            labels,
        }
    }

    /// The name, as it is exported (after the registry's prefix).
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How it behaves.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it means, in a sentence.
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// The labels that each of its series has.
    pub const fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// What it is measured in, by its name.
    pub fn unit(&self) -> Unit {
        match self.words().last() {
            Some("seconds") => Unit::Seconds,
            Some("bytes") => Unit::Bytes,
            Some("ratio") => Unit::Ratio,
            _ => Unit::Count,
        }
    }

    /// Whether the entry follows the rules; a registry asks at registration.
    ///
    /// # Errors
    /// [`DescError`] with the rule that is broken.
    pub fn check(&self) -> Result<(), DescError> {
        let bad_name = |problem| DescError::Name {
            name: self.name,
            problem,
        };
        if !is_snake_case(self.name) {
            return Err(bad_name("must be lower-case words joined by single `_`"));
        }
        let in_flow = self.name == "flow" || self.name.starts_with("flow_");
        if in_flow && self.words().count() < 3 {
            return Err(bad_name("must read flow_<crate>_<what>_<unit>"));
        }
        if self.words().count() < 2 {
            return Err(bad_name("must read <application>_<what>_<unit>"));
        }
        if self.name.ends_with("_total") != (self.kind == Kind::Counter) {
            return Err(bad_name("must end in `_total` if a counter, and only then"));
        }
        let last = self.words().last().unwrap_or_default();
        if DERIVED.contains(&last) {
            return Err(bad_name(
                "must not end in `_bucket`, `_sum` or `_count`: those are the parts of a histogram",
            ));
        }
        if NOT_BASE_UNITS.contains(&last) {
            return Err(bad_name(
                "must be in a base unit: `_seconds`, `_bytes` or `_ratio`",
            ));
        }
        if self.help.is_empty() {
            return Err(DescError::NoHelp { name: self.name });
        }
        for (at, label) in self.labels.iter().enumerate() {
            let problem = match label_problem(label) {
                None if self.labels[..at].contains(label) => "is declared twice",
                None => continue,
                Some(problem) => problem,
            };
            return Err(DescError::Label {
                name: self.name,
                label,
                problem,
            });
        }
        Ok(())
    }

    /// The words of the name, without the `total` of a counter.
    fn words(&self) -> impl Iterator<Item = &'static str> {
        self.name
            .strip_suffix("_total")
            .unwrap_or(self.name)
            .split('_')
    }
}

/// What is wrong with a label's name, if anything.
pub(crate) fn label_problem(label: &str) -> Option<&'static str> {
    if !is_snake_case(label) {
        Some("must be lower-case words joined by single `_`")
    } else if label == "le" || label == "quantile" {
        Some("is reserved for the parts of a distribution")
    } else {
        None
    }
}

/// Words of `[a-z0-9]` joined by single underscores, the first one starting with a letter.
pub(crate) fn is_snake_case(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.split('_').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

/// The words that an exporter appends to a histogram's name.
const DERIVED: &[&str] = &["bucket", "sum", "count"];

/// Last words that name a unit a scraper would have to convert.
const NOT_BASE_UNITS: &[&str] = &[
    "ns",
    "nanos",
    "nanoseconds",
    "us",
    "micros",
    "microseconds",
    "ms",
    "millis",
    "milliseconds",
    "minutes",
    "hours",
    "days",
    "kb",
    "kib",
    "mb",
    "mib",
    "gb",
    "gib",
    "percent",
];
