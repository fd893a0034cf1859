//! Leaky buckets: one that measures how full it is, and one that is a queue.
//!
//! The meter is a token bucket seen from the other side: its level is what is missing there. The
//! queue is a token bucket of one token that forgives no lateness, so that what leaves it is
//! spaced exactly. Both are made of that one mechanism and add no state.
//!
//! # Source
//! J. Turner, "New directions in communications", IEEE Communications Magazine 24(10), 1986, for
//! the meter; the queue is the form of ITU-T I.371 that shapes traffic instead of policing it.

mod level;
mod meter;
mod meter_builder;
mod pacer;
mod pacer_builder;

pub use meter::{LeakyBucket, LeakyBucketStats};
pub use meter_builder::LeakyBucketBuilder;
pub use pacer::{Pacer, PacerStats};
pub use pacer_builder::PacerBuilder;
