//! Why there is no such source.

use core::fmt;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why a load cannot be read on this system.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read: another system than Linux, or one without this part of it.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file does not say what is looked for.
    Unexpected {
        /// The file.
        path: PathBuf,
        /// The line that is looked for, in words.
        expected: &'static str,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, .. } => {
                write!(f, "cannot read the load from `{}`", path.display())
            }
            Self::Unexpected { path, expected } => {
                write!(f, "`{}` has no line {expected}", path.display())
            }
        }
    }
}

impl Error for LoadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::Unexpected { .. } => None,
        }
    }
}
