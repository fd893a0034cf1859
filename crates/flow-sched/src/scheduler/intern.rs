//! Jobs with equal patterns share one parsed form.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use flow_sync::HashSeed;
use flow_sync::sync::Mutex;

use crate::cron::{CronError, CronPattern};

type Table = HashMap<Box<str>, Weak<CronPattern>, HashSeed>;

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

/// The parsed form of a pattern: that of a live job with the same text, else a new one.
pub(super) fn intern(text: &str) -> Result<Arc<CronPattern>, CronError> {
    let text = text.trim_ascii();
    {
        let table = TABLE.lock();
        if let Some(pattern) = table.get(text).and_then(Weak::upgrade) {
            return Ok(pattern);
        }
    }
    // Parsed outside of the lock; if two threads meet here, the later form stays in the table.
    let pattern = Arc::new(CronPattern::parse(text)?);
    let mut table = TABLE.lock();
    if table.len() == table.capacity() {
        table.retain(|_, weak| weak.strong_count() > 0);
    }
    table.insert(text.into(), Arc::downgrade(&pattern));
    Ok(pattern)
}
