//! A writer as `std::io::Write`, for callers that cannot await: loggers above all.

use std::io;

use super::AsyncWriter;
use super::error::{FlushError, WriteError};

/// An [`AsyncWriter`] behind `std::io::Write`; made by [`AsyncWriter::make_writer`].
///
/// `write` takes the whole slice or fails, so lines are never interleaved. `flush` is a barrier,
/// which waits: on a thread of a runtime it fails with `WouldBlock`, and goes on in the
/// background.
#[derive(Debug, Clone)]
pub struct LineWriter {
    writer: AsyncWriter,
}

impl LineWriter {
    pub(super) fn new(writer: AsyncWriter) -> Self {
        Self { writer }
    }
}

impl io::Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.writer.write_blocking(line) {
            Ok(()) => Ok(line.len()),
            Err(error) => Err(io::Error::new(kind(&error), error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush_blocking().map_err(|error| {
            let kind = match &error {
                FlushError::Sink(source) => source.kind(),
                FlushError::Ended { .. } => io::ErrorKind::BrokenPipe,
                FlushError::MustNotBlock(_) => io::ErrorKind::WouldBlock,
            };
            io::Error::new(kind, error)
        })
    }
}

fn kind(error: &WriteError) -> io::ErrorKind {
    match error {
        WriteError::Closed => io::ErrorKind::BrokenPipe,
        WriteError::TooLarge { .. } => io::ErrorKind::InvalidInput,
        WriteError::Sink(source) => source.kind(),
        WriteError::Full { .. } | WriteError::MustNotBlock(_) => io::ErrorKind::WouldBlock,
    }
}
