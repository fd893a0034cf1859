//! What to do when something bounded is full: one answer for pool, channel and writer.

/// What a bounded queue does with a new item when it is full.
///
/// Pool, channel and writer take the same enum; an answer that a primitive cannot give (a
/// channel cannot run an item) is refused when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnFull {
    /// The producer waits for room: back-pressure.
    #[default]
    Wait,
    /// The producer gets the item back in an error.
    Reject,
    /// The new item is dropped and counted.
    DropNewest,
    /// The oldest queued item is dropped and counted; the new one takes its place.
    DropOldest,
    /// The producer runs the task itself.
    CallerRuns,
}

impl core::fmt::Display for OnFull {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Wait => "wait",
            Self::Reject => "reject",
            Self::DropNewest => "drop-newest",
            Self::DropOldest => "drop-oldest",
            Self::CallerRuns => "caller-runs",
        })
    }
}
