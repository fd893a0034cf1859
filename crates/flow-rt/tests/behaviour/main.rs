//! What is built on the contract once, on every runtime: join handles, groups, time-outs,
//! intervals, contexts, retries.
//!
//! Each case is written once, for a `TestRuntime`: on real hosts in stepped time, and in the
//! simulation. So it may assert exact instants, and nothing sleeps.
#![cfg(all(
    feature = "tokio",
    feature = "smol",
    feature = "async-std",
    feature = "sim",
    not(loom)
))]

mod by_hand;
mod context;
mod group;
mod interval;
mod join;
mod planned;
mod retry;
mod timeout;
mod timer;
