//! How tasks wait for one another: the protocols under every flow primitive.
//!
//! Everything here is about *waiting*, never about time or tasks: no crate below `flow-rt`
//! knows a runtime. Each protocol opens, in the file of its type, with its state layout, numbered
//! invariants and ordering argument, and has loom models in `tests/`. Wait list, wake list, padding
//! and hashes are plain data and have none of their own.
//!
//! ```
//! let permits = flow_sync::Permits::new(2, usize::MAX)?; // for two at once, and any number waits
//! permits.try_acquire(2)?;
//! assert!(permits.try_acquire(1).is_err());
//! permits.release(2)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | item | for |
//! |---|---|
//! | [`Permits`] | a number of permits, lock-free while nobody waits, FIFO when somebody does |
//! | [`ClassedPermits`] | the same for several classes, each with a share that is kept for it |
//! | [`WaitList`] | the queue under it: a FIFO of waiters with a need each, used under a lock |
//! | [`WakeList`] | wakers collected under a lock, woken after it |
//! | [`Event`] | listen, look, wait; next to nothing to notify while nobody listens |
//! | [`Ring`] | a bounded queue that can be closed, lock-free while nobody waits, FIFO when somebody does |
//! | [`BareRing`] | the queue under it, for whoever keeps count of room and of who waits |
//! | [`JoinCell`] | one value from a task that ends to the one that waits for it |
//! | [`Exclusive`] | a value that only its owner reaches, and that may be shared for that |
//! | [`CachePadded`], [`Sharded`] | what many cores write |
//! | [`PaddedCounter`], [`PaddedCounters`] | what many threads count |
//! | [`lost_a_race`] | how to leave the winner of a race alone |
//! | [`HashSeed`], [`FoldedHash`] | a seeded hash for keys that strangers choose |
//! | [`sync`] | std's or loom's atomics, locks and wakers, behind one name |
//!
//! # Features
//! `loom`: for the models of this workspace; used only together with `--cfg loom`.
// One file may: `ring/raw.rs`.
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
mod classed;
mod counter;
mod error;
mod event;
mod hash_seed;
mod join_cell;
#[cfg(loom)]
pub mod model;
mod padded;
mod permits;
mod ring;
mod seat;
mod seat_word;
pub mod sync;
mod wait_list;
mod wake_list;

pub use backoff::lost_a_race;
pub use classed::{ClassedPermits, ClassedWait};
pub use counter::{Here, PaddedCounter, PaddedCounters};
pub use error::{AcquireError, ClassesError, LimitTooLarge, ReleaseTooMany, TryAcquireError};
pub use event::{Event, Listener};
pub use hash_seed::{FoldedHash, HashSeed};
pub use join_cell::JoinCell;
pub use padded::{CachePadded, Sharded};
pub use permits::{PermitWait, Permits};
pub use ring::{BareRing, Exclusive, PopError, PushError, Ring, Turn};
pub use wait_list::{Cancelled, Standing, Ticket, WaitList};
pub use wake_list::WakeList;
