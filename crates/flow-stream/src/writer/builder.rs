//! Building a writer.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use flow_rt::{Handle, OnFull};

use super::driver::{OnError, Plan, WriterDriver};
use super::error::WriterConfigError;
use super::sink::BlockingSink;
use super::state::{Settings, Shared};
use super::{AsyncWriter, OnDrop, Policy};

/// Builds an [`AsyncWriter`].
#[must_use = "a builder does nothing until `build(sink)`"]
pub struct WriterBuilder {
    name: Cow<'static, str>,
    capacity: usize,
    high_water: Option<usize>,
    on_full: OnFull,
    on_drop: Option<OnDrop>,
    on_error: Option<OnError>,
    flush_interval: Duration,
    attempts: u32,
    retry_delay: Duration,
    runtime: Option<Handle>,
}

impl WriterBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: Cow::Borrowed("writer"),
            capacity: 1 << 20,
            high_water: None,
            on_full: OnFull::Wait,
            on_drop: None,
            on_error: None,
            flush_interval: Duration::from_secs(1),
            attempts: 3,
            retry_delay: Duration::from_millis(100),
            runtime: None,
        }
    }

    /// What the writer is called in `Debug` and metrics; `writer` unless said.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How many bytes the buffer holds; at least 1, 1 MiB unless said.
    ///
    /// There are two such buffers: one is filled while the other is written.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// How many bytes in the buffer start writing at once; 64 KiB or half of the capacity,
    /// whichever is less, unless said.
    pub fn high_water(mut self, bytes: usize) -> Self {
        self.high_water = Some(bytes);
        self
    }

    /// What happens to a write that finds no room; [`OnFull::Wait`] unless said.
    ///
    /// `Reject` gives an error, `DropNewest` drops the write whole and counts it.
    pub fn on_full(mut self, answer: OnFull) -> Self {
        self.on_full = answer;
        self
    }

    /// Who is shown the writes that [`OnFull::DropNewest`] drops.
    ///
    /// It runs in the writing task, outside of every lock. Its panic is contained.
    pub fn on_drop(mut self, hook: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        self.on_drop = Some(Box::new(hook));
        self
    }

    /// Who is shown every failed call of the sink, those that are tried again too.
    ///
    /// It runs in the background, outside of every lock. Its panic is contained.
    pub fn on_error(mut self, hook: impl Fn(&std::io::Error) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Box::new(hook));
        self
    }

    /// How long bytes wait in the buffer before they are written and flushed; 1 s unless said.
    ///
    /// Zero sets no time: they go at the high-water mark, with a flush and at the close.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// How often the sink is tried without any progress before those who wait are told; at
    /// least 1, 3 unless said.
    ///
    /// The bytes are kept even then, and tried again with the next flush, when a write needs the
    /// room, and when the flush interval (or the retry delay, if that is longer) has passed.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long to wait between two attempts; 100 ms unless said.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    /// The runtime to write on; [`Handle::current`] unless said.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Builds the writer and starts its driver on the runtime.
    ///
    /// # Errors
    /// A value out of its range, each named with what is allowed; no runtime.
    pub fn build(self, sink: impl BlockingSink) -> Result<AsyncWriter, WriterConfigError> {
        let (writer, driver) = self.build_with_driver(sink)?;
        writer.runtime.spawn_detached(driver);
        Ok(writer)
    }

    /// Builds the writer and leaves its driver to the caller, who must poll it.
    ///
    /// The runtime is still asked for timers and to run the blocking sink.
    ///
    /// # Errors
    /// Those of [`build`](Self::build).
    pub fn build_with_driver(
        self,
        sink: impl BlockingSink,
    ) -> Result<(AsyncWriter, WriterDriver), WriterConfigError> {
        let capacity = self.capacity;
        if capacity == 0 {
            return Err(WriterConfigError::ZeroCapacity);
        }
        let high_water = match self.high_water {
            None => (64 << 10).min(capacity.div_ceil(2)),
            Some(given) if (1..=capacity).contains(&given) => given,
            Some(given) => return Err(WriterConfigError::HighWater { given, capacity }),
        };
        if self.attempts == 0 {
            return Err(WriterConfigError::ZeroAttempts);
        }
        let policy = match self.on_full {
            OnFull::Wait => Policy::Wait,
            OnFull::Reject => Policy::Reject,
            OnFull::DropNewest => Policy::DropNewest,
            given => return Err(WriterConfigError::UnsupportedOnFull { given }),
        };
        let runtime = self
            .runtime
            .map_or_else(Handle::current, Ok)
            .map_err(WriterConfigError::NoRuntime)?;
        let shared = Arc::new(Shared::new(Settings {
            name: self.name,
            capacity,
            high_water,
            timed: !self.flush_interval.is_zero(),
        }));
        let plan = Plan {
            runtime: runtime.clone(),
            flush_interval: self.flush_interval,
            attempts: self.attempts,
            retry_delay: self.retry_delay,
            on_error: self.on_error,
        };
        let driver = WriterDriver::new(shared.clone(), Box::new(sink), plan);
        Ok((
            AsyncWriter::new(shared, policy, self.on_drop, runtime),
            driver,
        ))
    }

    /// Builds a writer that appends to a file, which is created if it is not there.
    ///
    /// Opening blocks the calling thread for as long as the file system takes.
    ///
    /// # Errors
    /// Those of [`build`](Self::build); the file cannot be opened.
    pub fn open(self, path: impl AsRef<Path>) -> Result<AsyncWriter, WriterConfigError> {
        let path = path.as_ref();
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|source| WriterConfigError::Open {
            path: path.to_owned(),
            source,
        })?;
        self.build(file)
    }
}

impl fmt::Debug for WriterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterBuilder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("high_water", &self.high_water)
            .field("on_full", &self.on_full)
            .field("flush_interval", &self.flush_interval)
            .field("attempts", &self.attempts)
            .field("retry_delay", &self.retry_delay)
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}
