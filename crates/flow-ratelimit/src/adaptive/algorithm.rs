//! What finds the limit.

use core::fmt;

use super::{AdaptiveConfigError, Window};

/// Finds a limit from what happened under the last one.
///
/// The limiter calls it once per window, from one thread at a time, under no lock that anybody
/// waits for. It reads no clock and no chance, so that equal windows make equal limits: tests can
/// make up a [`Window`].
///
/// The limiter brings the answer into its range; what came of it stands in the next window. After
/// a limit was lowered, the next windows hold no permit that was taken before that.
///
/// ```
/// use flow_ratelimit::{ConcurrencyLimiter, LimitAlgorithm, Window};
///
/// /// Half for every window with a failure, and one more for every other.
/// #[derive(Debug)]
/// struct Halving;
///
/// impl LimitAlgorithm for Halving {
///     fn on_window(&mut self, window: &Window) -> u32 {
///         match window.failure_count() {
///             0 if window.is_busy() => window.limit() + 1,
///             0 => window.limit(),
///             _ => window.limit() / 2,
///         }
///     }
/// }
///
/// let limiter = ConcurrencyLimiter::adaptive(Halving).range(1..=100).build()?;
/// assert_eq!(limiter.limit(), 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait LimitAlgorithm: fmt::Debug + Send + 'static {
    /// The limit from now on, given what happened under the last.
    ///
    /// If it panics, the panic goes to whoever ended the window's last permit; the limit stays.
    fn on_window(&mut self, window: &Window) -> u32;

    /// Checks the parameters; asked once, when the limiter is built.
    ///
    /// # Errors
    /// [`AdaptiveConfigError::Parameter`] for the first one that is out of its bounds.
    fn check(&self) -> Result<(), AdaptiveConfigError> {
        Ok(())
    }
}
