//! What runs when and where, on any async runtime: a bounded worker pool and a scheduler.
//!
//! # Features
//! - **`pool`**: the worker pool.
//! - **`scheduler`**: jobs by time; runs them on a pool, so it includes `pool`.
//! - `metrics`: catalogue entries and collectors for `flow-metrics`.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "pool")]
mod pool;
#[cfg(feature = "scheduler")]
mod scheduler;
