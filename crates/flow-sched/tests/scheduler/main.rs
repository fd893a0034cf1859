//! The scheduler: in virtual time to the nanosecond and in every interleaving, and on every
//! runtime. Numbers are those of the behaviour catalogue's cases.
#![cfg(all(feature = "scheduler", not(loom)))]

mod behaviour;
mod common;
mod cron;
mod faults;
mod lifecycle;
#[cfg(feature = "metrics")]
mod metrics;
mod policies;
mod pooled;
mod runtimes;
mod timing;
