//! flow-redis
