//! A pool's builder in configuration files: each setting by the name of the method that takes it.
//!
//! What is left out keeps the builder's default, and what the builder has no method for is an
//! error that names it. Values are checked where the builder checks them, by `build`.

#[cfg(feature = "adaptive")]
use core::fmt;
use core::time::Duration;
use std::borrow::Cow;

use flow_rt::OnFull;
use flow_rt::settings::{count_or_word, one_of};
use serde::de::Error;
#[cfg(feature = "adaptive")]
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use super::builder::{Slots, WorkerPoolBuilder};
#[cfg(feature = "adaptive")]
use super::sizing::Sizing;
use super::worker_pool::WorkerPool;

/// From settings named as the methods are.
///
/// `slots` is a number or a range like `"1..=64"`; `queue` a number, `"unbounded"` or
/// `"rendezvous"`; `on_full` is `"wait"`, `"reject"`, `"drop-oldest"` or `"caller-runs"`; times
/// are text like `"250ms"`. `adaptive` is a `Sizing` (feature `adaptive`). Runtime and hooks are set
/// in code.
///
/// ```
/// # flow_rt::sim::check(0..1, |rt| async move {
/// use flow_sched::WorkerPoolBuilder;
///
/// let text = r#"{ "name": "io", "slots": "1..=8", "queue": 100, "task_timeout": "5s" }"#;
/// let pool = serde_json::from_str::<WorkerPoolBuilder>(text)?.build()?;
/// assert_eq!((pool.slots(), pool.capacity()), (1..=8, Some(100)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # });
/// ```
impl<'de> Deserialize<'de> for WorkerPoolBuilder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            name: Option<String>,
            slots: Option<Slots>,
            queue: Option<Queue>,
            priorities: Option<usize>,
            ageing: Option<u32>,
            on_full: Option<Answer>,
            task_timeout: Option<Period>,
            idle_timeout: Option<Period>,
            track_tasks: Option<bool>,
            #[cfg(feature = "adaptive")]
            adaptive: Option<Sizing>,
        }
        let settings = Settings::deserialize(deserializer)?;
        let mut builder = WorkerPool::builder();
        if let Some(name) = settings.name {
            builder = builder.name(name);
        }
        if let Some(slots) = settings.slots {
            builder = builder.slots(slots);
        }
        builder = match settings.queue {
            Some(Queue::Tasks(tasks)) => builder.queue(tasks),
            Some(Queue::Unbounded) => builder.unbounded(),
            Some(Queue::Rendezvous) => builder.rendezvous(),
            None => builder,
        };
        if let Some(priorities) = settings.priorities {
            builder = builder.priorities(priorities);
        }
        if let Some(turns) = settings.ageing {
            builder = builder.ageing(turns);
        }
        if let Some(Answer(on_full)) = settings.on_full {
            builder = builder.on_full(on_full);
        }
        if let Some(Period(limit)) = settings.task_timeout {
            builder = builder.task_timeout(limit);
        }
        if let Some(Period(stay)) = settings.idle_timeout {
            builder = builder.idle_timeout(stay);
        }
        if let Some(tracks) = settings.track_tasks {
            builder = builder.track_tasks(tracks);
        }
        #[cfg(feature = "adaptive")]
        if let Some(sizing) = settings.adaptive {
            builder = builder.adaptive(sizing);
        }
        Ok(builder)
    }
}

/// From settings named as the methods are: `algorithm` is `"aimd"`, `"vegas"` or `"gradient2"`, or a
/// table of parameters under that name, and `"aimd"` unless set. Loads are set in code.
///
/// ```
/// # flow_rt::sim::check(0..1, |rt| async move {
/// use flow_sched::WorkerPoolBuilder;
///
/// let text = r#"{
///     "slots": "2..=64",
///     "adaptive": { "algorithm": { "vegas": { "beta": 0.1 } }, "target_wait": "5ms" }
/// }"#;
/// let pool = serde_json::from_str::<WorkerPoolBuilder>(text)?.build()?;
/// assert_eq!(pool.sizing().map(|now| now.limit), Some(2));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # });
/// ```
#[cfg(feature = "adaptive")]
impl<'de> Deserialize<'de> for Sizing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            algorithm: Option<Algorithm>,
            target_wait: Option<Period>,
            window: Option<Period>,
        }
        let settings = Settings::deserialize(deserializer)?;
        let mut sizing = settings
            .algorithm
            .map_or_else(Self::default, |Algorithm(sizing)| sizing);
        if let Some(Period(wait)) = settings.target_wait {
            sizing = sizing.target_wait(wait);
        }
        if let Some(Period(window)) = settings.window {
            sizing = sizing.window(window);
        }
        Ok(sizing)
    }
}

/// A sizing by an algorithm, from its name or a table of parameters under it.
#[cfg(feature = "adaptive")]
struct Algorithm(Sizing);

#[cfg(feature = "adaptive")]
impl<'de> Deserialize<'de> for Algorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use flow_ratelimit::{Aimd, Gradient2, Vegas};
        use serde::de::MapAccess;
        use serde::de::value::StrDeserializer;

        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Name {
            Aimd,
            Vegas,
            Gradient2,
        }

        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = Algorithm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an algorithm, or a table of parameters under it")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Algorithm, E> {
                Ok(Algorithm(
                    match Name::deserialize(StrDeserializer::new(text))? {
                        Name::Aimd => Sizing::new(Aimd::default()),
                        Name::Vegas => Sizing::new(Vegas::default()),
                        Name::Gradient2 => Sizing::new(Gradient2::default()),
                    },
                ))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Algorithm, A::Error> {
                let Some(name) = table.next_key()? else {
                    return Err(A::Error::custom("a table without an algorithm"));
                };
                let sizing = match name {
                    Name::Aimd => Sizing::new(table.next_value::<Aimd>()?),
                    Name::Vegas => Sizing::new(table.next_value::<Vegas>()?),
                    Name::Gradient2 => Sizing::new(table.next_value::<Gradient2>()?),
                };
                if table.next_key::<Name>()?.is_some() {
                    return Err(A::Error::custom("a pool goes by one algorithm"));
                }
                Ok(Algorithm(sizing))
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

/// From a number, or the text of a range with both ends: `"1..=64"`.
impl<'de> Deserialize<'de> for Slots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        count_or_word(
            deserializer,
            "a number of slots, or a range like \"1..=64\"",
            Self::from,
            |text| {
                let (min, max) = text.split_once("..=")?;
                let end = |text: &str| text.trim().parse::<usize>().ok();
                Some(Self::from(end(min)?..=end(max)?))
            },
        )
    }
}

enum Queue {
    Tasks(usize),
    Unbounded,
    Rendezvous,
}

impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        count_or_word(
            deserializer,
            "a number of tasks, \"unbounded\" or \"rendezvous\"",
            Self::Tasks,
            |word| match word {
                "unbounded" => Some(Self::Unbounded),
                "rendezvous" => Some(Self::Rendezvous),
                _ => None,
            },
        )
    }
}

/// The answers that a pool can give, by the words of their `Display`.
struct Answer(OnFull);

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let answers = [
            OnFull::Wait,
            OnFull::Reject,
            OnFull::DropOldest,
            OnFull::CallerRuns,
        ];
        one_of(deserializer, "answer", answers).map(Self)
    }
}

/// A time as text: a whole number and a unit.
pub(crate) struct Period(pub(crate) Duration);

impl Period {
    /// Reads the text of a time, or says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Duration, String> {
        parse_period(text.trim()).ok_or_else(|| {
            format!(
                "`{text}` is no time: a whole number below 2^64 and `ns`, `us`, `ms`, `s`, `min`, `h` or `d`"
            )
        })
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

fn parse_period(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let count = count.parse::<u64>().ok()?;
    let seconds = |each| count.checked_mul(each).map(Duration::from_secs);
    match unit.trim() {
        "ns" => Some(Duration::from_nanos(count)),
        "us" | "µs" => Some(Duration::from_micros(count)),
        "ms" => Some(Duration::from_millis(count)),
        "s" | "sec" => seconds(1),
        "m" | "min" => seconds(60),
        "h" => seconds(3_600),
        "d" => seconds(86_400),
        _ => None,
    }
}
