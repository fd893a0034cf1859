//! flow-metrics
