//! Jobs by time.
