//! How a table is read: by hand where derived code would not name the nearest setting.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::borrow::Cow;
use std::time::SystemTime;

use chrono::DateTime;
use flow_rt::Backoff;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::JobTable;
use super::entry::Entry;
use crate::cron::name::distance;
use crate::pool::Period;
use crate::scheduler::job::policy::{Misfire, Overlap};
use crate::scheduler::triggers::Every;
use crate::scheduler::triggers::calendar::Holidays;
use crate::scheduler::triggers::jitter::Jitter;
use crate::scheduler::triggers::window::Window;

impl<'de> Deserialize<'de> for JobTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Jobs;

        impl<'de> Visitor<'de> for Jobs {
            type Value = JobTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of jobs by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JobTable, A::Error> {
                let mut jobs: Vec<(String, Entry)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if jobs.iter().any(|(other, _)| *other == name) {
                        let twice = format_args!("the job {name:?} is there twice");
                        return Err(A::Error::custom(twice));
                    }
                    jobs.push((name, map.next_value()?));
                }
                Ok(JobTable { jobs })
            }
        }

        deserializer.deserialize_map(Jobs)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Form::<Self>::new())
    }
}

/// What is read from a map of settings, or from a text that stands for one of them.
trait Settings: Sized {
    /// What it is, as in "a job has no setting ..".
    const WHAT: &'static str;
    /// What is expected of a value that is neither.
    const EXPECTED: &'static str;
    const NAMES: &'static [&'static str];

    fn empty() -> Self;

    /// Reads the setting of one of the names.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;

    /// Ends the reading of a map.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    fn of_text(_text: &str) -> Option<Result<Self, String>> {
        None
    }
}

struct Form<T>(PhantomData<fn() -> T>);

impl<T> Form<T> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Settings> Visitor<'de> for Form<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        match T::of_text(text) {
            Some(value) => value.map_err(E::custom),
            None => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let (mut value, mut seen) = (T::empty(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            let Some(&name) = T::NAMES.iter().find(|name| **name == key) else {
                let unknown = unknown(&format!("{} has no setting", T::WHAT), &key, T::NAMES);
                return Err(A::Error::custom(unknown));
            };
            if seen.contains(&name) {
                return Err(A::Error::duplicate_field(name));
            }
            seen.push(name);
            value.read(name, &mut map)?;
        }
        value.check().map_err(A::Error::custom)?;
        Ok(value)
    }
}

impl Settings for Entry {
    const WHAT: &'static str = "a job";
    const EXPECTED: &'static str = "the settings of a job";
    const NAMES: &'static [&'static str] = &[
        "run",
        "cron",
        "every",
        "after",
        "fixed_delay",
        "once_at",
        "time_zone",
        "immediately",
        "window",
        "holidays",
        "not_before",
        "not_after",
        "jitter",
        "overlap",
        "misfire",
        "max_runs",
        "priority",
        "timeout",
        "retry",
        "stop_on_error",
        "history",
        "local",
        "propagate",
    ];

    fn empty() -> Self {
        Self::default()
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "run" => self.run = Some(map.next_value()?),
            "cron" => self.cron = Some(map.next_value()?),
            "every" => self.every = Some(form::<EverySettings, A>(map)?.into()),
            "after" => self.after = Some(period(map)?),
            "fixed_delay" => self.fixed_delay = Some(period(map)?),
            "once_at" => self.once_at = Some(moment(map)?),
            "time_zone" => self.time_zone = Some(map.next_value()?),
            "immediately" => self.immediately = Some(map.next_value()?),
            "window" => {
                let text = map.next_value::<Cow<'_, str>>()?;
                self.window = Some(Window::new(&text).map_err(A::Error::custom)?);
            }
            "holidays" => {
                let days = map.next_value::<Vec<String>>()?;
                self.holidays = Some(Holidays::new(days).map_err(A::Error::custom)?);
            }
            "not_before" => self.not_before = Some(moment(map)?),
            "not_after" => self.not_after = Some(moment(map)?),
            "jitter" => self.jitter = Some(form::<JitterSettings, A>(map)?.into()),
            "overlap" => self.overlap = Some(form::<OverlapSettings, A>(map)?.into()),
            "misfire" => self.misfire = Some(form::<MisfireSettings, A>(map)?.into()),
            "max_runs" => self.max_runs = Some(map.next_value()?),
            "priority" => self.priority = Some(map.next_value()?),
            "timeout" => self.timeout = Some(period(map)?),
            "retry" => self.retry = Some(form::<RetrySettings, A>(map)?.into()),
            "stop_on_error" => self.stop_on_error = Some(map.next_value()?),
            "history" => self.history = Some(map.next_value()?),
            "local" => self.local = Some(map.next_value()?),
            _ => self.propagate = Some(map.next_value()?),
        }
        Ok(())
    }
}

#[derive(Default)]
struct EverySettings {
    period: Option<Duration>,
    phase: Option<Duration>,
    aligned: bool,
}

impl Settings for EverySettings {
    const WHAT: &'static str = "`every`";
    const EXPECTED: &'static str = "a time like \"5min\", or `period`, `phase` and `aligned`";
    const NAMES: &'static [&'static str] = &["period", "phase", "aligned"];

    fn empty() -> Self {
        Self::default()
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "period" => self.period = Some(period(map)?),
            "phase" => self.phase = Some(period(map)?),
            _ => self.aligned = map.next_value()?,
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let missing = || "`every` needs a `period`".to_owned();
        self.period.map(drop).ok_or_else(missing)
    }

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        Some(Period::parse(text).map(|period| Self {
            period: Some(period),
            ..Self::default()
        }))
    }
}

impl From<EverySettings> for Every {
    fn from(settings: EverySettings) -> Self {
        // There is a period: it was checked.
        let mut every = Self::new(settings.period.unwrap_or_default());
        if let Some(phase) = settings.phase {
            every = every.phase(phase);
        }
        if settings.aligned {
            every = every.aligned();
        }
        every
    }
}

struct JitterSettings {
    jitter: Option<Jitter>,
    at_least: Duration,
    kinds: u32,
}

impl Settings for JitterSettings {
    const WHAT: &'static str = "`jitter`";
    const EXPECTED: &'static str =
        "a time like \"30s\", or one of `full`, `equal` and `stable`, with `at_least`";
    const NAMES: &'static [&'static str] = &["full", "equal", "stable", "at_least"];

    fn empty() -> Self {
        Self {
            jitter: None,
            at_least: Duration::ZERO,
            kinds: 0,
        }
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let time = period(map)?;
        let kind = match name {
            "full" => Jitter::full,
            "equal" => Jitter::equal,
            "stable" => Jitter::stable,
            _ => {
                self.at_least = time;
                return Ok(());
            }
        };
        self.jitter = Some(kind(time));
        self.kinds += 1;
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        one_of("`jitter`", self.kinds, "`full`, `equal` and `stable`")
    }

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        Some(Period::parse(text).map(|most| Self {
            jitter: Some(Jitter::full(most)),
            ..Self::empty()
        }))
    }
}

impl From<JitterSettings> for Jitter {
    fn from(settings: JitterSettings) -> Self {
        // There is one: it was checked.
        let jitter = settings.jitter.unwrap_or(Self::full(Duration::ZERO));
        jitter.at_least(settings.at_least)
    }
}

struct OverlapSettings(Option<Overlap>, u32);

impl Settings for OverlapSettings {
    const WHAT: &'static str = "`overlap`";
    const EXPECTED: &'static str = "the word of a policy, or `buffer_all` or `allow` with a number";
    const NAMES: &'static [&'static str] = &["buffer_all", "allow"];

    fn empty() -> Self {
        Self(None, 0)
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let limit = map.next_value()?;
        self.0 = Some(match name {
            "buffer_all" => Overlap::BufferAll(limit),
            _ => Overlap::Allow(limit),
        });
        self.1 += 1;
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        one_of("`overlap`", self.1, "`buffer_all` and `allow`")
    }

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        let policy = match text {
            "skip" => Overlap::Skip,
            "buffer_one" => Overlap::BufferOne,
            "cancel_previous" => Overlap::CancelPrevious,
            "terminate_previous" => Overlap::TerminatePrevious,
            _ => {
                let words = [
                    "skip",
                    "buffer_one",
                    "cancel_previous",
                    "terminate_previous",
                ];
                return Some(Err(unknown("there is no overlap policy", text, &words)));
            }
        };
        Some(Ok(Self(Some(policy), 1)))
    }
}

impl From<OverlapSettings> for Overlap {
    fn from(settings: OverlapSettings) -> Self {
        settings.0.unwrap_or_default()
    }
}

#[derive(Default)]
struct MisfireSettings {
    skip: bool,
    fire_once: Option<Duration>,
    fire_all: Option<usize>,
    within: Option<Duration>,
}

impl Settings for MisfireSettings {
    const WHAT: &'static str = "`misfire`";
    const EXPECTED: &'static str = "\"skip\", \"fire_once\", `fire_once` with a time, or `fire_all` with a number and `within`";
    const NAMES: &'static [&'static str] = &["fire_once", "fire_all", "within"];

    fn empty() -> Self {
        Self::default()
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "fire_once" => self.fire_once = Some(period(map)?),
            "fire_all" => self.fire_all = Some(map.next_value()?),
            _ => self.within = Some(period(map)?),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let kinds = u32::from(self.fire_once.is_some()) + u32::from(self.fire_all.is_some());
        one_of("`misfire`", kinds, "`fire_once` and `fire_all`")?;
        if self.within.is_some() && self.fire_all.is_none() {
            return Err("`within` belongs to `fire_all`; `fire_once` takes its time itself".into());
        }
        Ok(())
    }

    fn of_text(text: &str) -> Option<Result<Self, String>> {
        Some(match text {
            "skip" => Ok(Self {
                skip: true,
                ..Self::default()
            }),
            "fire_once" => Ok(Self::default()),
            _ => {
                let words = ["skip", "fire_once"];
                Err(unknown("there is no misfire policy", text, &words))
            }
        })
    }
}

impl From<MisfireSettings> for Misfire {
    fn from(settings: MisfireSettings) -> Self {
        if settings.skip {
            return Self::Skip;
        }
        match settings.fire_all {
            Some(limit) => Self::FireAll {
                limit,
                within: settings.within.unwrap_or(Duration::MAX),
            },
            None => Self::FireOnce {
                within: settings.fire_once.unwrap_or(Duration::MAX),
            },
        }
    }
}

#[derive(Default)]
struct RetrySettings {
    first: Option<Duration>,
    constant: bool,
    factor: Option<f64>,
    jitter: Option<fn(Backoff) -> Backoff>,
    max_delay: Option<Duration>,
    max_elapsed: Option<Duration>,
    attempts: Option<u32>,
}

impl Settings for RetrySettings {
    const WHAT: &'static str = "`retry`";
    const EXPECTED: &'static str = "the settings of a backoff, `first` among them";
    const NAMES: &'static [&'static str] = &[
        "first",
        "constant",
        "factor",
        "jitter",
        "max_delay",
        "max_elapsed",
        "attempts",
    ];

    fn empty() -> Self {
        Self::default()
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "first" => self.first = Some(period(map)?),
            "constant" => self.constant = map.next_value()?,
            "factor" => self.factor = Some(map.next_value()?),
            "jitter" => {
                let word = map.next_value::<Cow<'_, str>>()?;
                self.jitter = Some(match &*word {
                    "full" => Backoff::full_jitter,
                    "equal" => Backoff::equal_jitter,
                    "decorrelated" => Backoff::decorrelated_jitter,
                    _ => {
                        let words = ["full", "equal", "decorrelated"];
                        let unknown = unknown("a backoff has no jitter", &word, &words);
                        return Err(A::Error::custom(unknown));
                    }
                });
            }
            "max_delay" => self.max_delay = Some(period(map)?),
            "max_elapsed" => self.max_elapsed = Some(period(map)?),
            _ => self.attempts = Some(map.next_value()?),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let missing = || "`retry` needs a `first` delay".to_owned();
        self.first.map(drop).ok_or_else(missing)
    }
}

impl From<RetrySettings> for Backoff {
    fn from(settings: RetrySettings) -> Self {
        let first = settings.first.unwrap_or_default();
        let mut backoff = if settings.constant {
            Self::constant(first)
        } else {
            Self::exponential(first)
        };
        if let Some(factor) = settings.factor {
            backoff = backoff.factor(factor);
        }
        if let Some(jitter) = settings.jitter {
            backoff = jitter(backoff);
        }
        if let Some(longest) = settings.max_delay {
            backoff = backoff.max_delay(longest);
        }
        if let Some(limit) = settings.max_elapsed {
            backoff = backoff.max_elapsed(limit);
        }
        if let Some(runs) = settings.attempts {
            backoff = backoff.attempts(runs);
        }
        backoff
    }
}

/// The next value, in any of its forms.
fn form<'de, T: Settings, A: MapAccess<'de>>(map: &mut A) -> Result<T, A::Error> {
    struct Seed<T>(Form<T>);

    impl<'de, T: Settings> serde::de::DeserializeSeed<'de> for Seed<T> {
        type Value = T;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
            deserializer.deserialize_any(self.0)
        }
    }

    map.next_value_seed(Seed(Form::new()))
}

fn period<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Duration, A::Error> {
    map.next_value().map(|Period(time)| time)
}

/// A point in time, as RFC 3339 writes it.
fn moment<'de, A: MapAccess<'de>>(map: &mut A) -> Result<SystemTime, A::Error> {
    let text = map.next_value::<Cow<'_, str>>()?;
    let at = DateTime::parse_from_rfc3339(text.trim()).map_err(|_| {
        A::Error::custom(format_args!(
            "{text:?} is no point in time; expected one like \"2026-12-24T18:00:00Z\""
        ))
    })?;
    Ok(at.into())
}

/// Refuses a name, and says which is the nearest.
fn unknown(what: &str, given: &str, names: &[&str]) -> String {
    let given: String = given.chars().take(64).collect();
    let nearest = nearest(&given, names.iter().copied()).unwrap_or_default();
    format!("{what} {given:?}; the nearest is {nearest:?}")
}

fn one_of(what: &str, given: u32, names: &str) -> Result<(), String> {
    if given == 1 {
        return Ok(());
    }
    Err(format!("{what} takes one of {names}; {given} were given"))
}

/// The name that is most like another one.
pub(super) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.min_by_key(|name| distance(given, name))
}
