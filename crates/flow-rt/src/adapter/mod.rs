//! One file per host: the contract on tokio, smol and async-std, with their edges hidden.
//!
//! Only these files name a host.

#[cfg(any(feature = "smol", feature = "async-std", feature = "fine-timer"))]
mod async_io_timer;
#[cfg(feature = "async-std")]
pub(crate) mod async_std;
#[cfg(any(
    feature = "tokio",
    feature = "smol",
    feature = "async-std",
    feature = "fine-timer"
))]
mod rearmed;
#[cfg(feature = "smol")]
pub(crate) mod smol;
#[cfg(feature = "tokio")]
pub(crate) mod tokio;
