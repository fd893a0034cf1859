//! Triggers that come with the crate.

mod every;
mod once;

pub use every::{Every, FixedDelay};
pub use once::{After, Once};
