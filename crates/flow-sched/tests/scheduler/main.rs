//! The scheduler: to the nanosecond and in many interleavings in the simulation, and on every
//! runtime in stepped time. Numbers are those of the behaviour catalogue's cases.
#![cfg(all(feature = "scheduler", not(loom)))]

mod adaptive;
mod allocations;
mod batches;
mod behaviour;
mod bounds;
mod carrying;
mod chains;
mod chaos;
mod cluster;
mod common;
mod control;
mod cron;
mod drawn;
mod errors;
mod faults;
mod gates;
mod instances;
mod lifecycle;
#[cfg(feature = "metrics")]
mod metrics;
mod overlaps;
mod policies;
mod pooled;
#[cfg(feature = "fine-timer")]
mod precision;
mod process;
mod refused;
mod retries;
#[cfg(feature = "serde")]
mod table;
mod timing;
mod triggers;
mod turns;
mod twice;
mod unions;
mod wakers;
#[cfg(feature = "tracing")]
mod warnings;
