//! Cron: vectors of five suites, properties against models, and what is said about bad input.
#![cfg(all(feature = "cron", not(loom)))]

mod clocks;
mod common;
mod errors;
mod forms;
mod hostile;
mod properties;
mod vectors;
