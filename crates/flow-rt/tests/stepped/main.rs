//! Stepped time over real hosts: what moves, what waits for what, and how it ends.
//!
//! `by_hand` is for the test as a bystander that moves time, `inside` for the test as one of the
//! tasks, `edges` for hosts that shut down, foreign threads and panics.
#![cfg(all(
    feature = "tokio",
    feature = "smol",
    feature = "async-std",
    feature = "sim",
    not(loom)
))]

mod by_hand;
mod edges;
mod hosts;
mod inside;
#[path = "../keeping_host/mod.rs"]
mod keeping_host;
