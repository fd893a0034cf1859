//! The errors of building a writer, writing and flushing.

use core::fmt;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use flow_rt::{BlockOnError, HandleError, OnFull};

/// Why a writer was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriterConfigError {
    /// The capacity is 0.
    ZeroCapacity,
    /// The high-water mark is 0 or above the capacity.
    HighWater {
        /// The mark that was given.
        given: usize,
        /// The writer's capacity.
        capacity: usize,
    },
    /// No attempt is allowed.
    ZeroAttempts,
    /// A writer cannot give this answer to "full".
    UnsupportedOnFull {
        /// The answer that was given.
        given: OnFull,
    },
    /// There is no runtime to write in the background.
    NoRuntime(HandleError),
    /// The file could not be opened.
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for WriterConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroCapacity => {
                f.write_str("writer capacity is 0 bytes; at least 1 is allowed, 1 MiB is usual")
            }
            Self::HighWater { given, capacity } => write!(
                f,
                "high-water mark is {given} bytes; 1 to {capacity}, the capacity, are allowed"
            ),
            Self::ZeroAttempts => {
                f.write_str("0 attempts at the sink; at least 1 is allowed, which means no retry")
            }
            Self::UnsupportedOnFull { given } => write!(
                f,
                "a writer cannot answer \"full\" with {given}; wait, reject and drop-newest are \
                 allowed, since accepted bytes are never taken back"
            ),
            Self::NoRuntime(source) => source.fmt(f),
            Self::Open { path, source } => write!(f, "cannot open {}: {source}", path.display()),
        }
    }
}

impl Error for WriterConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoRuntime(source) => Some(source),
            Self::Open { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a write was not accepted. None of its bytes was.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WriteError {
    /// The writer is closed.
    Closed,
    /// There is no room now.
    Full {
        /// How many bytes were to be written.
        len: usize,
        /// How many bytes the buffer holds at the most.
        capacity: usize,
    },
    /// The write is larger than the buffer, and does not wait: it will never fit.
    TooLarge {
        /// How many bytes were to be written.
        len: usize,
        /// How many bytes the buffer holds at the most.
        capacity: usize,
    },
    /// There was no room, and the attempts to make some by writing to the sink have failed.
    /// What was accepted before is kept and will be tried again.
    Sink(Arc<io::Error>),
    /// There is no room, and the thread must not block until there is.
    MustNotBlock(BlockOnError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the writer is closed"),
            Self::Full { len, capacity } => write!(
                f,
                "no room for {len} bytes in the writer's buffer of {capacity}"
            ),
            Self::TooLarge { len, capacity } => write!(
                f,
                "{len} bytes will never fit into the writer's buffer; {capacity} at once are \
                 allowed without waiting"
            ),
            Self::Sink(source) => write!(
                f,
                "the writer's buffer is full because its sink fails: {source}"
            ),
            Self::MustNotBlock(source) => {
                write!(
                    f,
                    "the writer's buffer is full and the write may not wait: {source}"
                )
            }
        }
    }
}

impl Error for WriteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Sink(source) => Some(source),
            Self::MustNotBlock(source) => Some(source),
            _ => None,
        }
    }
}

/// Why a flush failed: some byte accepted before it is not at the sink.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FlushError {
    /// The attempts at the sink have failed. Every byte it did not take is kept; the next flush
    /// goes on with the byte after the last one taken.
    Sink(Arc<io::Error>),
    /// The writer has ended, by its shutdown or its runtime's, and gave these bytes up.
    Ended {
        /// How many bytes are not known to be at the sink.
        abandoned: u64,
    },
    /// The flush had to wait, on a thread that must not block. It goes on in the background.
    MustNotBlock(BlockOnError),
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sink(source) => write!(f, "the sink did not take all bytes: {source}"),
            Self::Ended { abandoned } => {
                write!(f, "the writer has ended and gave up {abandoned} bytes")
            }
            Self::MustNotBlock(source) => write!(f, "the flush may not wait: {source}"),
        }
    }
}

impl Error for FlushError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Sink(source) => Some(source),
            Self::MustNotBlock(source) => Some(source),
            Self::Ended { .. } => None,
        }
    }
}
