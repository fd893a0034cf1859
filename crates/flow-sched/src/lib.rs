//! flow-sched
