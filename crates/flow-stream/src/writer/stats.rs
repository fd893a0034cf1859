//! What a writer has seen so far, and what its shutdown reports.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A snapshot of a writer, taken without its lock: each figure is recent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterStats {
    /// Writes that were accepted; empty ones are not counted.
    pub writes: u64,
    /// Bytes that were accepted.
    pub accepted_bytes: u64,
    /// Bytes that the sink took.
    pub written_bytes: u64,
    /// Bytes that are accepted and not taken by the sink yet.
    pub buffered_bytes: u64,
    /// Flushes of the sink that succeeded.
    pub flushes: u64,
    /// Calls of the sink that failed, retries included.
    pub errors: u64,
    /// Writes that found no room and waited; once per write.
    pub blocked_writes: u64,
    /// Writes refused for want of room.
    pub rejected_writes: u64,
    /// Writes dropped for want of room (`OnFull::DropNewest`).
    pub dropped_writes: u64,
    /// Bytes of the dropped writes.
    pub dropped_bytes: u64,
    /// How many bytes the buffer holds.
    pub capacity: usize,
}

/// How a writer ended; what [`shutdown`](super::AsyncWriter::shutdown) returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterReport {
    /// Bytes that are at the sink, flushed.
    pub written: u64,
    /// Bytes that were accepted and are not known to be at the sink.
    pub abandoned: u64,
    /// Calls of the sink that failed, from first to last.
    pub errors: u64,
    /// Writes dropped for want of room, from first to last.
    pub dropped_writes: u64,
    /// Whether the timeout ran out before the writer was done: this shutdown's, or another's.
    pub timed_out: bool,
}

impl WriterReport {
    /// Whether every accepted byte is at the sink.
    pub fn is_clean(&self) -> bool {
        self.abandoned == 0
    }
}

impl fmt::Display for WriterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes written, {} abandoned, {} errors, {} writes dropped{}",
            self.written,
            self.abandoned,
            self.errors,
            self.dropped_writes,
            if self.timed_out { ", timed out" } else { "" }
        )
    }
}

/// The cells behind [`WriterStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: Cell,
    pub(crate) accepted_bytes: Cell,
    pub(crate) written_bytes: Cell,
    pub(crate) flushes: Cell,
    pub(crate) errors: Cell,
    pub(crate) blocked_writes: Cell,
    pub(crate) rejected_writes: Cell,
    pub(crate) dropped_writes: Cell,
    pub(crate) dropped_bytes: Cell,
}

impl Counters {
    pub(crate) fn snapshot(&self, capacity: usize) -> WriterStats {
        // Written first: it follows accepted, so the difference cannot be negative.
        let written_bytes = self.written_bytes.get();
        let accepted_bytes = self.accepted_bytes.get();
        WriterStats {
            writes: self.writes.get(),
            accepted_bytes,
            written_bytes,
            buffered_bytes: accepted_bytes.saturating_sub(written_bytes),
            flushes: self.flushes.get(),
            errors: self.errors.get(),
            blocked_writes: self.blocked_writes.get(),
            rejected_writes: self.rejected_writes.get(),
            dropped_writes: self.dropped_writes.get(),
            dropped_bytes: self.dropped_bytes.get(),
            capacity,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// For cells that have one writer at a time: two plain moves instead of a locked add.
    pub(crate) fn add_exclusive(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }
}
