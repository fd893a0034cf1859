//! flow-stream
