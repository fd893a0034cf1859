//! Serde: a pattern as its text where the text says all, else with what the text leaves out.

use std::borrow::Cow;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::dialect::Dialect;
use super::dst::DstPolicy;
use super::pattern::CronPattern;
use super::zoned::Cron;

/// What is written if the text alone would be read as another pattern.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Full<'a> {
    pattern: Cow<'a, str>,
    #[serde(default)]
    dialect: Dialect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dst: Option<DstPolicy>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Either<'a> {
    Text(Cow<'a, str>),
    Full(Full<'a>),
}

impl<'a> Either<'a> {
    fn full(self) -> Full<'a> {
        match self {
            Self::Full(full) => full,
            Self::Text(pattern) => Full {
                pattern,
                dialect: Dialect::Flow,
                dst: None,
            },
        }
    }
}

fn serialize<S: Serializer>(
    pattern: String,
    dialect: Dialect,
    dst: Option<DstPolicy>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if dialect == Dialect::Flow && dst.is_none() {
        return serializer.serialize_str(&pattern);
    }
    let pattern = Cow::Owned(pattern);
    Full {
        pattern,
        dialect,
        dst,
    }
    .serialize(serializer)
}

/// As its text; in another dialect than `Flow`, as a map of `pattern` and `dialect`.
impl Serialize for CronPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self.to_string(), self.dialect, None, serializer)
    }
}

impl<'de> Deserialize<'de> for CronPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let full = Either::deserialize(deserializer)?.full();
        if full.dst.is_some() {
            return Err(D::Error::unknown_field("dst", &["pattern", "dialect"]));
        }
        Self::parse_as(&full.pattern, full.dialect).map_err(D::Error::custom)
    }
}

/// As its text, zone included; in another dialect than `Flow` or with a policy of its own, as a
/// map of `pattern`, `dialect` and `dst`.
impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = (self.dst() != self.pattern().dst()).then(|| self.dst());
        serialize(self.to_string(), self.pattern().dialect(), own, serializer)
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let full = Either::deserialize(deserializer)?.full();
        let cron = Self::parse_as(&full.pattern, full.dialect).map_err(D::Error::custom)?;
        Ok(match full.dst {
            Some(dst) => cron.dst_policy(dst),
            None => cron,
        })
    }
}
