//! Panics as values.

use core::any::Any;
use core::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "sim")]
use crate::{ambient, sim::Unheard};

/// What a task or a blocking closure panicked with.
///
/// It holds the message as text and gives the payload to whoever wants to resume it. Unlike the
/// bare payload it is `Sync`, so errors that carry it are too.
pub struct Panic(Box<Caught>);

/// Boxed, so that results which may hold a panic stay small.
struct Caught {
    message: String,
    payload: Mutex<Box<dyn Any + Send>>,
    /// Tells the simulation, if nobody takes the panic out of the join.
    #[cfg(feature = "sim")]
    unheard: Option<Unheard>,
}

impl Panic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&'static str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "a payload that is not text".to_owned()
        };
        Self(Box::new(Caught {
            message,
            payload: Mutex::new(payload),
            #[cfg(feature = "sim")]
            unheard: None,
        }))
    }

    /// The panic of a task, on its way to who joins it. In a simulation, one that does not
    /// arrive fails the run.
    #[cfg_attr(
        not(feature = "sim"),
        expect(unused_mut, reason = "only simulations mark it")
    )]
    pub(crate) fn on_its_way(mut self) -> Self {
        #[cfg(feature = "sim")]
        if let Some(world) = ambient::simulation() {
            self.0.unheard = Some(Unheard::new(world, &self.0.message));
        }
        self
    }

    /// The panic has arrived at who joins its task.
    #[cfg_attr(
        not(feature = "sim"),
        expect(unused_mut, reason = "only simulations mark it")
    )]
    pub(crate) fn arrived(mut self) -> Self {
        #[cfg(feature = "sim")]
        if let Some(unheard) = self.0.unheard.take() {
            unheard.heard();
        }
        self
    }

    /// The panic's message; a fixed phrase if the payload is not text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The payload, as `std::panic::resume_unwind` takes it.
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.0
            .payload
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.0.message).finish()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// Runs `f` and returns its panic as a value.
///
/// The state that `f` touched must stay sound if it stops half-way; callers drop it or leave it
/// to its own guards. A payload whose destructor panics in turn is the caller's to contain.
///
/// # Errors
/// The panic of `f`.
#[inline]
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(f)).map_err(Panic::new)
}

/// Runs a hook, a destructor or a waker, and lets no panic out: neither that of `f` nor that of
/// the payload's destructor.
///
/// For callbacks between which something of one's own must still happen. The panic hook has
/// printed the panic by then.
pub fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        // Its destructor panics too: leak it rather than try again for ever.
        core::mem::forget(second);
    }
}
