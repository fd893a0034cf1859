//! A clock in memory, which a task moves.

use core::fmt;
use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::Clock;
use crate::ambient;
use crate::handle::{Handle, HandleError};
use crate::instant::Instant;

/// A clock that is read from memory: the cheapest there is, and a little behind.
///
/// A task of a runtime moves it every `resolution`, so a reading is behind the runtime's time by
/// up to `resolution` and what the runtime's timers are late: on tokio 1 to 2 ms (0.2 ms with the
/// feature `fine-timer`), on smol and async-std 0.2 ms. While the runtime's threads are all busy
/// it stands, longer than that. It is never ahead, and never goes back on any thread.
///
/// A limiter on such a clock sees what it earned late and all at once; over any longer time it
/// admits the same. Choose a resolution well below `burst / rate`.
///
/// Inside a simulation, on the simulation's handle, there is no task: readings are exact.
///
/// The task ends by itself, within a `resolution` after the last clone is gone. When the runtime
/// shuts down first, the clock asks the runtime for its time from then on, and does not stand
/// still.
///
/// # Cost
/// A load; half a nanosecond. The task wakes up once per `resolution`, idle or not.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use flow_rt::{Clock, CoarseClock, Handle};
///
/// # let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
/// # let handle = Handle::tokio(rt.handle().clone())?;
/// let clock = CoarseClock::on(&handle, Duration::from_millis(1))?;
/// assert!(clock.now() <= handle.now());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CoarseClock {
    /// Nanoseconds, or `STOPPED`.
    time: Arc<AtomicU64>,
    runtime: Handle,
}

impl CoarseClock {
    /// A clock moved by the [current](Handle::current) runtime.
    ///
    /// # Errors
    /// [`CoarseClockError::Runtime`] if there is none; otherwise those of [`on`](Self::on).
    #[track_caller]
    pub fn new(resolution: Duration) -> Result<Self, CoarseClockError> {
        let runtime = Handle::current().map_err(CoarseClockError::Runtime)?;
        Self::on(&runtime, resolution)
    }

    /// A clock moved by `runtime` every `resolution`.
    ///
    /// # Errors
    /// [`CoarseClockError::ZeroResolution`] if `resolution` is zero.
    #[track_caller]
    pub fn on(runtime: &Handle, resolution: Duration) -> Result<Self, CoarseClockError> {
        if resolution.is_zero() {
            return Err(CoarseClockError::ZeroResolution);
        }
        let runtime = runtime.clone();
        if let Some(time) = virtual_time_of(&runtime) {
            return Ok(Self { time, runtime });
        }
        let now = runtime.now();
        let time = Arc::new(AtomicU64::new(readable(now)));
        // Made out here: a task that is never polled is dropped all the same.
        let face = Face(Arc::downgrade(&time));
        let of = runtime.clone();
        runtime.spawn_detached(async move { face.keep_moving(of, now, resolution).await });
        Ok(Self { time, runtime })
    }

    #[cold]
    fn ask(&self) -> Instant {
        self.runtime.now()
    }
}

impl Clock for CoarseClock {
    #[inline]
    fn now(&self) -> Instant {
        match self.time.load(Ordering::Acquire) {
            STOPPED => self.ask(),
            nanos => Instant::from_nanos(nanos),
        }
    }
}

impl fmt::Debug for CoarseClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoarseClock")
            .field("now", &self.now())
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

/// Why there is no coarse clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoarseClockError {
    /// The resolution was zero.
    ZeroResolution,
    /// There is no runtime to move it.
    Runtime(HandleError),
}

impl fmt::Display for CoarseClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroResolution => {
                f.write_str("the resolution of a coarse clock is 0 s; it must be more")
            }
            Self::Runtime(error) => write!(f, "nothing to move a coarse clock: {error}"),
        }
    }
}

impl std::error::Error for CoarseClockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ZeroResolution => None,
            Self::Runtime(error) => Some(error),
        }
    }
}

/// The task's side: the clock's time as long as a clock is left.
struct Face(Weak<AtomicU64>);

impl Face {
    async fn keep_moving(self, runtime: Handle, start: Instant, resolution: Duration) {
        let mut now = start;
        let mut timer = runtime.timer(now + resolution);
        loop {
            if (&mut timer).await.is_err() {
                return;
            }
            let Some(time) = self.0.upgrade() else {
                return;
            };
            // One writer, but a runtime of somebody's own might go back.
            now = now.max(runtime.now());
            time.store(readable(now), Ordering::Release);
            timer.arm(now + resolution);
        }
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        if let Some(time) = self.0.upgrade() {
            time.store(STOPPED, Ordering::Release);
        }
    }
}

/// The virtual time of `runtime`, if that is the one this thread is in.
fn virtual_time_of(runtime: &Handle) -> Option<Arc<AtomicU64>> {
    let time = ambient::virtual_time()?;
    let current = ambient::entered()?;
    (current.id() == runtime.id()).then_some(time)
}

/// What stands for `now` in the clock's memory.
fn readable(now: Instant) -> u64 {
    now.as_nanos().min(STOPPED - 1)
}

/// Nobody moves the clock any more.
const STOPPED: u64 = u64::MAX;
