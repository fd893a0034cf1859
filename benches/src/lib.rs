//! The driver of the benches: flow beside its peers, in one run, in interleaved rounds.
//!
//! ```no_run
//! use flow_benches::{repeat, run};
//!
//! fn main() -> std::process::ExitCode {
//!     run("example", "How long adding takes.", &["serde_json"], |bench| {
//!         bench
//!             .row("add")
//!             .flow(|n| repeat(n, |i| i + 1))
//!             .peer("checked", |n| repeat(n, |i| i.checked_add(1)))
//!             .measure();
//!     })
//! }
//! ```
//!
//! A row has one workload and several contenders: flow's and its peers'. Each round runs all of
//! them, so that a neighbour on the machine disturbs them alike; the ratio is the median of the
//! rounds' ratios. *Cost* is flow's time divided by the peer's, *gain* the other way round.
//! Targets are data (`targets.toml`), results are data (`target/bench/`), and the report
//! (`RESULTS.md` and the plots) is drawn from them.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // programs for a terminal
#![allow(clippy::disallowed_methods)] // they measure real time

mod args;
mod bench;
mod curves;
mod goflow;
mod instructions;
mod machine;
mod measured;
mod plot;
pub mod process;
mod report;
mod row;
mod table;
mod targets;
mod workload;

pub use bench::{Bench, run};
pub use curves::Curve;
pub use row::Row;
pub use workload::{beside, on_threads, repeat, timed};
