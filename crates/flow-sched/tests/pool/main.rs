//! The worker pool: behaviour on every runtime, random histories in virtual time, hostile code.
#![cfg(all(feature = "pool", not(loom)))]

mod behaviour;
mod hostile;
mod lifecycle;
#[cfg(feature = "metrics")]
mod metrics;
mod random;
mod runtimes;
mod submitting;
mod threads;
