//! Why there is no handle, or no new default.

use core::fmt;

/// Why there is no handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// No runtime is current on this thread, and none is the process's default.
    NotFound,
    /// The tokio runtime was built without timers.
    TimeDisabled,
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => {
                "no async runtime found on this thread: enable one of flow-rt's features `tokio` \
                 (and call from inside a tokio runtime), `smol` or `async-std`; or name a runtime \
                 with the builder's `.runtime(&handle)`, `Handle::enter` or `Handle::set_default`"
            }
            Self::TimeDisabled => {
                "the tokio runtime has no timers: build it with `enable_time()` or `enable_all()`"
            }
        })
    }
}

impl std::error::Error for HandleError {}

/// The process's default was set before and stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultAlreadySet {
    pub(crate) name: &'static str,
}

impl fmt::Display for DefaultAlreadySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the process's default runtime is {} already; it can be set once",
            self.name
        )
    }
}

impl std::error::Error for DefaultAlreadySet {}
