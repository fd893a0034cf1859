//! The futures of writing, flushing and shutting down.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use flow_rt::BoxTimer;
use flow_sync::Ticket;
use futures_core::future::FusedFuture;

use super::error::{FlushError, WriteError};
use super::state::Shared;
use super::stats::WriterReport;
use super::{AsyncWriter, Policy};

/// The future of [`AsyncWriter::write`]. Once it was ready it stays pending.
///
/// # Cancel safety
/// Dropped before it was ready it has written nothing; its place goes to the next.
#[must_use = "futures do nothing unless polled"]
pub struct WriteFuture<'a> {
    writer: &'a AsyncWriter,
    bytes: Option<&'a [u8]>,
    place: Option<Ticket>,
}

impl<'a> WriteFuture<'a> {
    pub(super) fn new(writer: &'a AsyncWriter, bytes: &'a [u8]) -> Self {
        Self {
            writer,
            bytes: Some(bytes),
            place: None,
        }
    }
}

impl Future for WriteFuture<'_> {
    type Output = Result<(), WriteError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(bytes) = this.bytes else {
            return Poll::Pending;
        };
        let written = if this.writer.inner.policy == Policy::Wait {
            let shared = this.writer.shared();
            ready!(shared.poll_write(cx, &mut this.place, bytes))
        } else {
            this.writer.try_write(bytes)
        };
        this.bytes = None;
        Poll::Ready(written)
    }
}

impl FusedFuture for WriteFuture<'_> {
    fn is_terminated(&self) -> bool {
        self.bytes.is_none()
    }
}

impl Drop for WriteFuture<'_> {
    fn drop(&mut self) {
        self.writer.shared().leave_write(&mut self.place);
    }
}

impl fmt::Debug for WriteFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteFuture")
            .field("len", &self.bytes.map(<[u8]>::len))
            .field("parked", &self.place.is_some())
            .finish_non_exhaustive()
    }
}

/// The future of [`AsyncWriter::flush`]. Once it was ready it stays pending.
///
/// # Cancel safety
/// Dropped before its first poll it has asked for nothing. Later its drop stops the waiting, not
/// the flush.
#[must_use = "futures do nothing unless polled"]
pub struct FlushFuture<'a> {
    shared: &'a Shared,
    /// Where the bytes accepted before the call end.
    position: u64,
    place: Option<Ticket>,
    done: bool,
}

impl<'a> FlushFuture<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            position: shared.accepted(),
            place: None,
            done: false,
        }
    }
}

impl Future for FlushFuture<'_> {
    type Output = Result<(), FlushError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        let flushed = ready!(this.shared.poll_flush(cx, &mut this.place, this.position));
        this.done = true;
        Poll::Ready(flushed)
    }
}

impl FusedFuture for FlushFuture<'_> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl Drop for FlushFuture<'_> {
    fn drop(&mut self) {
        self.shared.leave_flush(&mut self.place);
    }
}

impl fmt::Debug for FlushFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlushFuture")
            .field("position", &self.position)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// The future of [`AsyncWriter::shutdown`]. Once it was ready it stays pending.
///
/// # Cancel safety
/// Dropped before its first poll it has done nothing. Later the writer is closed and finishes in
/// the background, for as long as that takes: the timeout goes with the future.
#[must_use = "futures do nothing unless polled; `close` closes without waiting"]
pub struct ShutdownFuture<'a> {
    writer: &'a AsyncWriter,
    timeout: Duration,
    timer: Option<BoxTimer>,
    place: Option<Ticket>,
    done: bool,
}

impl<'a> ShutdownFuture<'a> {
    pub(super) fn new(writer: &'a AsyncWriter, timeout: Duration) -> Self {
        Self {
            writer,
            timeout,
            timer: None,
            place: None,
            done: false,
        }
    }
}

impl Future for ShutdownFuture<'_> {
    type Output = WriterReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WriterReport> {
        let this = &mut *self;
        if this.done {
            return Poll::Pending;
        }
        let shared = this.writer.shared();
        shared.close();
        if shared.poll_ended(cx, &mut this.place).is_pending() {
            let runtime = &this.writer.runtime;
            let timeout = this.timeout;
            let timer = this.timer.get_or_insert_with(|| runtime.sleep(timeout));
            // A runtime that is gone ends the driver with it, and the wait in either way.
            let _ = ready!(timer.poll_fired(cx));
            shared.give_up();
        }
        this.done = true;
        Poll::Ready(shared.report())
    }
}

impl FusedFuture for ShutdownFuture<'_> {
    fn is_terminated(&self) -> bool {
        self.done
    }
}

impl Drop for ShutdownFuture<'_> {
    fn drop(&mut self) {
        self.writer.shared().leave_ended(&mut self.place);
    }
}

impl fmt::Debug for ShutdownFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownFuture")
            .field("timeout", &self.timeout)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
