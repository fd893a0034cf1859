//! What a job's future may return.

use core::convert::Infallible;

/// An error of any type, as hooks and reports get it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a job may return: `()`, a `Result`, or a type that has no value.
///
/// It is how the scheduler knows that a run failed.
#[diagnostic::on_unimplemented(
    message = "a job returns `()` or a `Result` whose error is an error, not `{Self}`"
)]
pub trait Outcome: Send + 'static {
    /// What a failed run leaves; [`Infallible`] where none fails.
    type Error: Into<BoxError> + 'static;

    /// The error of a failed run.
    #[allow(clippy::missing_errors_doc)] // that is all it does
    fn into_result(self) -> Result<(), Self::Error>;
}

impl Outcome for () {
    type Error = Infallible;

    fn into_result(self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<T, E> Outcome for Result<T, E>
where
    T: Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    type Error = E;

    fn into_result(self) -> Result<(), E> {
        self.map(drop)
    }
}

impl Outcome for Infallible {
    type Error = Self;

    fn into_result(self) -> Result<(), Self> {
        match self {}
    }
}
