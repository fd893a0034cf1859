//! Cron: vectors of five suites, properties against models, and what is said about bad input.
#![cfg(all(feature = "cron", not(loom)))]

mod allocations;
mod clocks;
mod common;
mod croner;
mod errors;
mod forms;
mod grammar;
mod hostile;
mod properties;
mod seeded;
mod times;
mod vectors;
