//! A hint to the compiler.

/// Tells the compiler that the way on which it is called is not the one to lay out straight: that of
/// a few nanoseconds, where a jump is seen, passes it by.
#[cold]
#[inline]
pub(crate) fn seldom() {}
