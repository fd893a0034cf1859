//! Tasks on a bounded number of slots.
