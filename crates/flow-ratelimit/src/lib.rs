//! flow-ratelimit
