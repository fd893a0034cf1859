//! The scheduler: in virtual time to the nanosecond and in every interleaving, and on every
//! runtime. Numbers are those of the behaviour catalogue's cases.
#![cfg(feature = "scheduler")]

mod common;
mod faults;
mod lifecycle;
mod policies;
mod pooled;
mod timing;
