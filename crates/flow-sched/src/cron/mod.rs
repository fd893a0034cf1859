//! Cron patterns: from text to masks, from masks to times, on the clocks of any zone.
//!
//! ```text
//! text ── parser ──► fields (masks) ── search ──► times of a clock ── dst, zone ──► instants
//!         cursor, day                  civil                                        time
//!         dialect, seed
//! ```
//!
//! A pattern may come from a stranger. Whatever passes `parser` occurs: `Fields::occurs` decides
//! that on the masks, before any search. The search then skips whole months and years, so it ends
//! after a bounded number of steps for every pattern; the tests count them.

mod civil;
mod croner;
mod cursor;
mod day;
mod describe;
mod dialect;
mod display;
mod dst;
mod error;
mod fields;
mod item;
mod iter;
mod meaning;
pub(crate) mod name;
mod nickname;
mod parser;
mod pattern;
mod search;
mod seed;
#[cfg(feature = "serde")]
mod text;
mod time;
mod zone;
mod zoned;

#[cfg(all(test, not(loom)))]
mod tests;

pub use dialect::Dialect;
pub use dst::{DstGap, DstOverlap, DstPolicy};
pub use error::{CronError, CronPlace};
pub use iter::{CronAfter, CronBefore};
pub use name::UnknownZone;
pub use pattern::CronPattern;
pub use time::CronTime;
pub use zoned::Cron;
#[cfg(feature = "scheduler")]
pub(crate) use zoned::split_zone;
