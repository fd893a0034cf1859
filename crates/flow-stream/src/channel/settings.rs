//! A channel's builder in configuration files: each setting by the name of the method that takes
//! it.
//!
//! What is left out keeps the builder's default, and what the builder has no method for is an
//! error that names it. Values are checked where the builder checks them, by `build`.

use flow_rt::OnFull;
use flow_rt::settings::{count_or_word, one_of};
use serde::{Deserialize, Deserializer};

use super::{Channel, ChannelBuilder};

/// From settings named as the methods are.
///
/// `capacity` is a number, `"unbounded"` or `"rendezvous"`; `on_full` is `"wait"`, `"reject"`,
/// `"drop-newest"` or `"drop-oldest"`. Runtime, hooks and what weighs the items are set in code.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_stream::ChannelBuilder;
///
/// let text = r#"{ "name": "events", "capacity": 1024, "on_full": "drop-oldest" }"#;
/// let (tx, _rx) = serde_json::from_str::<ChannelBuilder<String>>(text)?.build()?;
/// assert_eq!(tx.capacity(), 1_024);
/// # Ok(())
/// # }
/// ```
impl<'de, T> Deserialize<'de> for ChannelBuilder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            name: Option<String>,
            capacity: Option<Capacity>,
            on_full: Option<Answer>,
        }
        let settings = Settings::deserialize(deserializer)?;
        let mut builder = Channel::builder();
        if let Some(name) = settings.name {
            builder = builder.name(name);
        }
        builder = match settings.capacity {
            Some(Capacity::Items(items)) => builder.capacity(items),
            Some(Capacity::Rendezvous) => builder.rendezvous(),
            None => builder,
        };
        if let Some(Answer(on_full)) = settings.on_full {
            builder = builder.on_full(on_full);
        }
        Ok(builder)
    }
}

enum Capacity {
    Items(usize),
    Rendezvous,
}

impl<'de> Deserialize<'de> for Capacity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        count_or_word(
            deserializer,
            "a number of items, \"unbounded\" or \"rendezvous\"",
            Self::Items,
            |word| match word {
                "unbounded" => Some(Self::Items(usize::MAX)),
                "rendezvous" => Some(Self::Rendezvous),
                _ => None,
            },
        )
    }
}

/// The answers that a channel can give, by the words of their `Display`.
struct Answer(OnFull);

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let answers = [
            OnFull::Wait,
            OnFull::Reject,
            OnFull::DropNewest,
            OnFull::DropOldest,
        ];
        one_of(deserializer, "answer", answers).map(Self)
    }
}
