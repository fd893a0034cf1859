//! How much of something is in use, for what adapts to it.

mod cpu;
mod error;
mod pressure;

use std::sync::Arc;

pub use cpu::CpuLoad;
pub use error::LoadError;
pub use pressure::PressureLoad;

/// How much of something is in use, from 0, which is nothing, to 1, which is all of it.
///
/// | source | tells |
/// |---|---|
/// | [`PoolLoad`](crate::PoolLoad) | how busy a pool is, and its queue |
/// | [`CpuLoad`] | how busy the machine's processors are |
/// | [`PressureLoad`] | how much of the time something has to wait for them (Linux) |
/// | a closure | what you know |
///
/// Whoever asks brings the answer into the range: less than 0 and no number at all are taken for
/// 0, more than 1 for 1.
///
/// ```
/// use flow_sched::LoadSource;
///
/// let half_full = || 0.5;
/// assert_eq!(half_full.load(), 0.5);
/// ```
pub trait LoadSource: Send + Sync {
    /// The load now. It is asked now and then, and must not block.
    fn load(&self) -> f64;
}

impl<F: Fn() -> f64 + Send + Sync> LoadSource for F {
    fn load(&self) -> f64 {
        self()
    }
}

impl<S: LoadSource + ?Sized> LoadSource for Arc<S> {
    fn load(&self) -> f64 {
        (**self).load()
    }
}

/// What a source says, in range.
#[cfg(any(test, feature = "adaptive", feature = "scheduler"))]
pub(crate) fn in_range(load: f64) -> f64 {
    if load.is_nan() {
        return 0.0;
    }
    load.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests;
