//! A broadcast's builder in configuration files: each setting by the name of the method that takes
//! it.
//!
//! What is left out keeps the builder's default, and what the builder has no method for is an
//! error that names it. Values are checked where the builder checks them, by `build`.

use flow_rt::settings::one_of;
use serde::{Deserialize, Deserializer};

use super::{Builder, OnLag, builder};

/// From settings named as the methods are.
///
/// `capacity` is a number; `on_lag` is `"wait"`, `"drop-oldest"` or `"disconnect"`. The runtime is
/// set in code.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_stream::broadcast::Builder;
///
/// let text = r#"{ "name": "prices", "capacity": 64, "on_lag": "drop-oldest" }"#;
/// let (tx, _rx) = serde_json::from_str::<Builder>(text)?.build::<u64>()?;
/// assert_eq!(tx.capacity(), 64);
/// # Ok(())
/// # }
/// ```
impl<'de> Deserialize<'de> for Builder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            name: Option<String>,
            capacity: Option<usize>,
            on_lag: Option<OnLag>,
        }
        let settings = Settings::deserialize(deserializer)?;
        let mut broadcast = builder();
        if let Some(name) = settings.name {
            broadcast = broadcast.name(name);
        }
        if let Some(capacity) = settings.capacity {
            broadcast = broadcast.capacity(capacity);
        }
        if let Some(on_lag) = settings.on_lag {
            broadcast = broadcast.on_lag(on_lag);
        }
        Ok(broadcast)
    }
}

/// By the words of its `Display`.
impl<'de> Deserialize<'de> for OnLag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let policies = [Self::Wait, Self::DropOldest, Self::Disconnect];
        one_of(deserializer, "answer to lag", policies)
    }
}
