//! The conformance suite on every runtime there is an adapter for, on runtimes of our own, and
//! on runtimes that are broken on purpose.
#![cfg(all(
    feature = "conformance",
    feature = "tokio",
    feature = "smol",
    feature = "async-std",
    feature = "fine-timer",
    feature = "sim",
    not(loom)
))]

mod broken;
mod executor;
mod faulty;
mod hosts;
mod mailbox;
mod report;
mod stepped;

use flow_rt::Handle;

flow_rt::conformance!(tokio_multi_thread, hosts::tokio_multi_thread);
flow_rt::conformance!(tokio_current_thread, hosts::tokio_current_thread);
flow_rt::conformance!(tokio_with_fine_timers, hosts::tokio_with_fine_timers);
flow_rt::conformance!(smol, Handle::smol);
flow_rt::conformance!(async_std, Handle::async_std);
flow_rt::conformance!(async_executor, executor::MyRuntime::start);
flow_rt::conformance!(local_executor_mailbox, mailbox::subject);
flow_rt::conformance!(without_faults, || faulty::subject(faulty::Fault::None));
flow_rt::conformance!(stepped_time, stepped::as_root);
flow_rt::conformance!(sim, hosts::sim);
