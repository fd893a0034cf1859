//! Equal patterns share one parsed form.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use flow_sync::sync::Mutex;

use super::guard::{self, CronError};

type Table = HashMap<Arc<str>, Weak<croner::Cron>>;

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

/// The parsed form of a pattern: that of a live job with the same text, else a new one.
pub(super) fn intern(text: &str) -> Result<(Arc<croner::Cron>, Arc<str>), CronError> {
    let text = text.trim();
    {
        let table = TABLE.lock();
        let known = table.get_key_value(text);
        if let Some((text, weak)) = known
            && let Some(pattern) = weak.upgrade()
        {
            return Ok((pattern, text.clone()));
        }
    }
    // Parsed outside of the lock; if two threads meet here, the later form stays in the table.
    let pattern = Arc::new(guard::parse(text)?);
    let text: Arc<str> = text.into();
    let mut table = TABLE.lock();
    if table.len() == table.capacity() {
        table.retain(|_, weak| weak.strong_count() > 0);
    }
    table.insert(text.clone(), Arc::downgrade(&pattern));
    Ok((pattern, text))
}
