//! Triggers that come with the crate.

mod combine;
mod every;
mod filter;
mod once;
mod random;

pub use combine::{Intersection, Union};
pub use every::{Every, FixedDelay};
pub use filter::{Between, Excluding, Within};
pub use once::{After, Once};
pub use random::RandomInterval;
