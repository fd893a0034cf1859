//! Why there is no backend, and why a server did not answer.

use core::fmt;
use core::time::Duration;
use std::error::Error;
use std::io;

/// Why a backend cannot be made. No error of this kind depends on whether a server is there.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none. It is not repeated here: it may hold a password.
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The address asks for TLS, and the feature `tls` is off.
    TlsDisabled,
    /// The timeout is zero: no command could ever be answered.
    ZeroTimeout,
    /// The driver's thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { reason } => write!(
                f,
                "the address of the server cannot be used: {reason}; write it like redis://host:6379"
            ),
            Self::TlsDisabled => {
                f.write_str("the address asks for TLS; enable flow-redis's feature `tls`")
            }
            Self::ZeroTimeout => f.write_str("the timeout is 0; it must be longer"),
            Self::Thread(_) => f.write_str("the driver's thread could not be started"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a server did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisError {
    /// There is no connection now, or none that takes more; nothing was sent. The backend keeps
    /// trying to connect.
    NotConnected {
        /// What the last attempt failed with, if there was one, or why no more is taken.
        reason: Option<Box<str>>,
    },
    /// No answer came in time. The server may have done what it was asked.
    Timeout {
        /// How long an answer may take.
        after: Duration,
    },
    /// The connection broke while the answer was awaited. The server may have done what it was
    /// asked; it is not asked again.
    ConnectionLost {
        /// What the connection broke with.
        reason: Box<str>,
    },
    /// The server answered with an error, and did nothing.
    Refused {
        /// The server's words.
        reply: Box<str>,
    },
    /// The cluster is moving the key to another node: twice the one that was asked named
    /// another. Nothing was done.
    Redirected,
    /// The driver ended before there was an answer, with the last handle on it. The server may
    /// have done what it was asked.
    Stopped,
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected { reason: None } => f.write_str("not connected to the server"),
            Self::NotConnected {
                reason: Some(reason),
            } => write!(f, "not connected to the server: {reason}"),
            Self::Timeout { after } => write!(f, "no answer from the server within {after:?}"),
            Self::ConnectionLost { reason } => {
                write!(f, "the connection to the server broke: {reason}")
            }
            Self::Refused { reply } => write!(f, "the server refused: {reply}"),
            Self::Redirected => f.write_str("the cluster is moving the key to another node"),
            Self::Stopped => f.write_str("the driver ended before the server answered"),
        }
    }
}

impl Error for RedisError {}
