//! A writer that takes bytes at once and brings them to a blocking sink in the background.

mod builder;
mod driver;
mod error;
mod futures;
mod lines;
#[cfg(feature = "metrics")]
mod metrics;
mod sink;
mod state;
mod stats;

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::path::Path;
use std::sync::Arc;

use flow_rt::{Handle, block_on, contain};

pub use builder::WriterBuilder;
pub use driver::WriterDriver;
pub use error::{FlushError, WriteError, WriterConfigError};
pub use futures::{FlushFuture, ShutdownFuture, WriteFuture};
pub use lines::LineWriter;
pub use sink::BlockingSink;
pub use stats::{WriterReport, WriterStats};

use self::state::Shared;

/// A buffered writer for a sink that may block: a file, a socket, a compressor.
///
/// Clones write to the same sink. What holds:
///
/// 1. One write is one unbroken run of bytes at the sink, and bytes appear in the order in which
///    they were accepted. One call of the sink at a time, ever.
/// 2. A write that is `Ok` is accepted: its bytes are offered to the sink in order until it takes
///    them, the writer gives up at its end, or the process dies.
/// 3. A flush that is `Ok` is a barrier: every byte accepted before it was taken by the sink, and
///    the sink's own flush said `Ok`.
/// 4. An error of the sink loses nothing: it is tried again from the byte after the last one
///    taken, and what is buffered stays when the attempts are used up.
/// 5. Dropping the last handle closes the writer, which then finishes in the background. A
///    process that exits at once loses that: [`shutdown`](Self::shutdown) is how to know.
/// 6. Memory is at most twice the capacity; a write larger than that waits until it can have a
///    buffer to itself.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use flow_stream::AsyncWriter;
///
/// # flow_rt::sim::Sim::new(0).run(|_| async {
/// let log = AsyncWriter::builder().capacity(1 << 20).build(Vec::new())?;
/// log.write(b"GET / 200\n").await?; // accepted
/// log.flush().await?; // at the sink
/// let report = log.shutdown(Duration::from_secs(5)).await;
/// assert_eq!((report.written, report.abandoned), (10, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?.output?;
/// # Ok(())
/// # }
/// ```
pub struct AsyncWriter {
    inner: Arc<Inner>,
    runtime: Handle,
}

/// What the clones of a writer share; the driver has only `shared`.
struct Inner {
    shared: Arc<Shared>,
    policy: Policy,
    on_drop: Option<OnDrop>,
    handles: AtomicUsize,
}

/// The answers to "full" that a writer can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Wait,
    Reject,
    DropNewest,
}

type OnDrop = Box<dyn Fn(&[u8]) + Send + Sync>;

impl AsyncWriter {
    /// What to decide about a writer; everything has a default.
    pub fn builder() -> WriterBuilder {
        WriterBuilder::new()
    }

    /// A writer with the defaults that appends to a file, which is created if it is not there.
    ///
    /// # Errors
    /// No runtime; the file cannot be opened. See [`WriterBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WriterConfigError> {
        Self::builder().open(path)
    }

    fn new(shared: Arc<Shared>, policy: Policy, on_drop: Option<OnDrop>, runtime: Handle) -> Self {
        let inner = Inner {
            shared,
            policy,
            on_drop,
            handles: AtomicUsize::new(1),
        };
        Self {
            inner: Arc::new(inner),
            runtime,
        }
    }

    /// Writes all of `bytes`; with [`OnFull::Wait`](flow_rt::OnFull::Wait) it waits its turn for
    /// room. Nothing to write is done at once.
    ///
    /// # Errors
    /// None of the bytes was accepted: the writer is closed; it is full and its answer to that is
    /// `Reject`; or waiting is no use because the sink fails.
    ///
    /// # Cancel safety
    /// A future dropped before it was ready has written nothing.
    ///
    /// # Cost
    /// One short lock and one copy; no allocation once the buffers have grown.
    pub fn write<'a>(&'a self, bytes: &'a [u8]) -> WriteFuture<'a> {
        WriteFuture::new(self, bytes)
    }

    /// Writes all of `bytes` without waiting, or nothing.
    ///
    /// # Errors
    /// No room now, and the answer to that is `Wait` or `Reject`; more than the buffer ever holds;
    /// closed.
    pub fn try_write(&self, bytes: &[u8]) -> Result<(), WriteError> {
        let refused = match self.shared().try_write(bytes) {
            Err(refused @ (WriteError::Full { .. } | WriteError::TooLarge { .. })) => refused,
            written => return written,
        };
        let counters = &self.shared().counters;
        if self.inner.policy == Policy::DropNewest && matches!(refused, WriteError::Full { .. }) {
            counters.dropped_writes.add(1);
            counters.dropped_bytes.add(bytes.len() as u64);
            if let Some(hook) = &self.inner.on_drop {
                contain(|| hook(bytes));
            }
            return Ok(());
        }
        counters.rejected_writes.add(1);
        Err(refused)
    }

    /// Writes all of `bytes` from a plain thread, which waits for room.
    ///
    /// # Errors
    /// Those of [`write`](Self::write); [`WriteError::MustNotBlock`] where the write has to wait
    /// and the thread belongs to a runtime.
    pub fn write_blocking(&self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.inner.policy != Policy::Wait {
            return self.try_write(bytes);
        }
        match self.shared().try_write(bytes) {
            Err(WriteError::Full { .. } | WriteError::TooLarge { .. }) => {
                block_on(self.write(bytes)).unwrap_or_else(|refused| {
                    self.shared().counters.rejected_writes.add(1);
                    Err(WriteError::MustNotBlock(refused))
                })
            }
            written => written,
        }
    }

    /// Waits until every byte accepted before this call is at the sink, flushed.
    ///
    /// # Errors
    /// [`FlushError::Sink`] when the attempts are used up; nothing is lost, and the next flush
    /// goes on where this one stopped. [`FlushError::Ended`] if the writer ended before.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, not the flush; before its first poll it has asked
    /// for none.
    pub fn flush(&self) -> FlushFuture<'_> {
        FlushFuture::new(self.shared())
    }

    /// [`flush`](Self::flush) on a plain thread.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush); [`FlushError::MustNotBlock`] where it has to wait and the
    /// thread belongs to a runtime.
    pub fn flush_blocking(&self) -> Result<(), FlushError> {
        block_on(self.flush()).unwrap_or_else(|refused| {
            self.shared().request_flush();
            Err(FlushError::MustNotBlock(refused))
        })
    }

    /// Stops intake, for all handles. Idempotent.
    ///
    /// What was accepted is written in the background, as far as the attempts go.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Whether intake has stopped.
    pub fn is_closed(&self) -> bool {
        self.shared().is_closed()
    }

    /// Closes the writer and waits until it has ended, `timeout` at the most.
    ///
    /// Everything accepted is written and flushed, and the sink is dropped; when the attempts
    /// are used up or the timeout has passed, the rest is abandoned and counted.
    ///
    /// It may be called again, and reports the same once the writer has ended; that it was given
    /// up, too, whichever call did that. After a timeout that is when the call of the sink that was
    /// under way has returned, and what that has flushed still counts as written.
    ///
    /// # Cancel safety
    /// Dropping the future before its first poll does nothing. Later the writer is closed and
    /// finishes in the background, for as long as that takes: the timeout goes with the future.
    pub fn shutdown(&self, timeout: Duration) -> ShutdownFuture<'_> {
        ShutdownFuture::new(self, timeout)
    }

    /// What the writer has seen so far. No lock.
    pub fn stats(&self) -> WriterStats {
        let shared = self.shared();
        shared.counters.snapshot(shared.settings.capacity)
    }

    /// A collector of the writer's metrics, under its name; it keeps the writer open for nobody.
    #[cfg(feature = "metrics")]
    pub fn collector(&self) -> Arc<dyn flow_metrics::Collect> {
        Arc::new(metrics::WriterCollector(self.inner.shared.clone()))
    }

    /// A function that makes `std::io::Write` handles, as `tracing_subscriber` takes it.
    ///
    /// Each write is accepted whole or not at all, by the writer's answer to "full". With `Wait`
    /// a thread of a runtime must not block: there a write that finds no room is refused with
    /// `WouldBlock` and counted. The function keeps the writer open; `shutdown` closes it.
    pub fn make_writer(&self) -> impl Fn() -> LineWriter + Clone + Send + Sync + 'static + use<> {
        let writer = self.clone();
        move || LineWriter::new(writer.clone())
    }

    fn shared(&self) -> &Shared {
        &self.inner.shared
    }
}

impl Clone for AsyncWriter {
    fn clone(&self) -> Self {
        self.inner.handles.fetch_add(1, Ordering::Relaxed);
        Self {
            inner: self.inner.clone(),
            runtime: self.runtime.clone(),
        }
    }
}

impl Drop for AsyncWriter {
    fn drop(&mut self) {
        // AcqRel: the last one closes after everything the others did.
        if self.inner.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared().close();
        }
    }
}

impl fmt::Debug for AsyncWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncWriter")
            .field("name", &self.shared().settings.name)
            .field("stats", &self.stats())
            .field("on_full", &self.inner.policy)
            .field("closed", &self.is_closed())
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}
