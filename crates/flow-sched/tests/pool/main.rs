//! The worker pool: behaviour on every runtime, random histories in the simulation, hostile
//! code.
#![cfg(all(feature = "pool", not(loom)))]

mod allocations;
mod behaviour;
mod blocking;
mod common;
mod conformance;
mod dump;
mod errors;
#[cfg(feature = "tracing")]
mod events;
mod full;
mod hostile;
mod lifecycle;
#[cfg(feature = "metrics")]
mod metrics;
mod mixed;
mod nested;
mod priorities;
mod random;
#[cfg(feature = "serde")]
mod settings;
#[cfg(feature = "adaptive")]
mod sizing;
mod sub_pools;
mod submitting;
mod threads;
