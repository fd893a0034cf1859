//! Serde: a pattern as its text where the text says all, else with what the text leaves out.

use core::fmt;
use std::borrow::Cow;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
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

/// Reads either form; what is wrong with one is said of that one.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Full<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cron pattern, or a map of `pattern` and `dialect`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Full<'de>, E> {
        Ok(Full {
            pattern: Cow::Owned(text.to_owned()),
            dialect: Dialect::Flow,
            dst: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Full<'de>, A::Error> {
        Full::deserialize(MapAccessDeserializer::new(map))
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
        let full = deserializer.deserialize_any(Either)?;
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
        let full = deserializer.deserialize_any(Either)?;
        let cron = Self::parse_as(&full.pattern, full.dialect).map_err(D::Error::custom)?;
        Ok(match full.dst {
            Some(dst) => cron.dst_policy(dst),
            None => cron,
        })
    }
}
