//! Behaviour on a real redis-server, which each test starts for itself.

mod cluster;
mod decide;
mod errors;
mod faults;
mod limiter;
#[cfg(feature = "metrics")]
mod metrics;
mod script;
mod server;
mod support;
mod thread;
