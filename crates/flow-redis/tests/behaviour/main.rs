//! Behaviour on a real redis-server, which each test starts for itself.

mod faults;
mod limiter;
mod script;
mod support;
mod thread;
