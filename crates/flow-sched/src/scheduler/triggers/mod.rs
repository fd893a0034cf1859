//! When: the trait `Trigger`, those that come with the crate, and what bounds, shifts and shares
//! them.

pub(super) mod adaptive;
pub(super) mod calendar;
mod combine;
pub(super) mod draw;
mod every;
mod filter;
pub(super) mod intern;
pub(super) mod jitter;
mod once;
pub(super) mod plan;
mod random;
pub(super) mod timetable;
pub(super) mod trigger;
pub(super) mod wall;
pub(super) mod window;

pub use combine::{Intersection, Union};
pub use every::{Every, FixedDelay};
pub use filter::{Between, Excluding, Within};
pub use once::{After, Once};
pub use random::RandomInterval;
