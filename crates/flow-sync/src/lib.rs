//! How tasks wait for one another: the protocols under every flow primitive.
//!
//! Everything here is about *waiting*, never about time or tasks: no crate below `flow-rt`
//! knows a runtime. Each module opens with its state layout, numbered invariants and ordering
//! argument, and has a loom model in `tests/`.
//!
//! | item | for |
//! |---|---|
//! | [`JoinCell`] | one value from a task that ends to the one that waits for it |
//! | [`WaitList`] | a FIFO of waiters with a need each, used under a lock |
//! | [`sync`] | std's or loom's atomics, locks and wakers, behind one name |
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod join_cell;
pub mod sync;
mod wait_list;

pub use join_cell::JoinCell;
pub use wait_list::{Cancelled, Standing, Ticket, WaitList};
