//! How busy a pool is.

use std::sync::{Arc, Weak};

use super::core::Core;
use crate::load::LoadSource;

/// How busy a pool is: the share of its slots that have tasks to run; see
/// [`WorkerPool::load`](super::WorkerPool::load).
///
/// `(running + queued) / slots that may live`, so it is 1 from when every slot has a task. 0 of a
/// pool that is gone.
///
/// ```
/// # flow_rt::sim::check(0..1, |rt| async move {
/// use flow_sched::{LoadSource, WorkerPool};
///
/// let pool = WorkerPool::new(4, 10)?;
/// let load = pool.load();
/// pool.submit(async |_cx| ()).detach().await?;
/// assert_eq!(load.load(), 0.25);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # });
/// ```
#[derive(Clone)]
pub struct PoolLoad(Weak<Core>);

impl PoolLoad {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(Arc::downgrade(core))
    }
}

impl LoadSource for PoolLoad {
    fn load(&self) -> f64 {
        let Some(core) = self.0.upgrade() else {
            return 0.0;
        };
        let stats = core.stats();
        let tasks = (stats.running + stats.queued) as f64;
        (tasks / stats.max_slots.max(1) as f64).min(1.0)
    }
}

impl core::fmt::Debug for PoolLoad {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("PoolLoad").field(&self.load()).finish()
    }
}
