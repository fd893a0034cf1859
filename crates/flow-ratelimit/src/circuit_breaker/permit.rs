//! The right to make one call.

use core::fmt;
use core::mem;
use std::sync::Arc;
use std::thread;

use flow_rt::{Clock, DefaultClock, Instant};

use super::error::CallRejected;
use super::state::Core;

/// What a breaker is told of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "callers make them; there is no fourth"
)]
pub enum Verdict {
    /// It went well, unless it was slow.
    Success,
    /// It failed.
    Failure,
    /// It says nothing about the other side: it counts as not made.
    Ignored,
}

/// The right to make one call, and the duty to say how it went.
///
/// Dropped without a word, it counts as [ignored](Self::ignore), or as a failure if the breaker
/// was built [so](crate::CircuitBreakerBuilder::dropped_fails) or the thread panics. Either way a
/// trial does not leave the breaker half-open.
#[must_use = "a call that is dropped is ignored"]
pub struct CallPermit<'a, C: Clock = DefaultClock> {
    core: &'a Core<C>,
    /// The breaker's word by which it was let through.
    word: u64,
    began: Instant,
}

impl<'a, C: Clock> CallPermit<'a, C> {
    #[inline]
    pub(super) fn new(core: &'a Core<C>) -> Result<Self, CallRejected> {
        let word = core.enter()?;
        let began = core.began();
        Ok(Self { core, word, began })
    }

    /// The call went well. If it took too long it counts as slow.
    ///
    /// # Cost
    /// A load, and a counter, while the breaker is closed: a load and a store for 16 threads of the
    /// process at a time, each in a cell of its own, an atomic addition for all others, who share 8
    /// cells. With slow calls or a time window, a look at the clock.
    #[inline]
    pub fn success(self) {
        self.end(false);
    }

    /// The call failed.
    ///
    /// # Cost
    /// A look at the clock and a short lock, under which the 24 cells of the counter are summed.
    #[inline]
    pub fn failure(self) {
        self.end(true);
    }

    /// The call says nothing about the other side. A trial's place is free again.
    pub fn ignore(self) {
        self.core.abandon(self.word);
        mem::forget(self);
    }

    /// Says how the call went.
    #[inline]
    pub fn finish(self, verdict: Verdict) {
        match verdict {
            Verdict::Success => self.success(),
            Verdict::Failure => self.failure(),
            Verdict::Ignored => self.ignore(),
        }
    }

    #[inline]
    fn end(self, failed: bool) {
        let (core, word, began) = (self.core, self.word, self.began);
        // It holds nothing that has to be dropped.
        mem::forget(self);
        core.finish(word, began, failed);
    }
}

impl<C: Clock> Drop for CallPermit<'_, C> {
    fn drop(&mut self) {
        dropped(self.core, self.word, self.began);
    }
}

impl<C: Clock> fmt::Debug for CallPermit<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPermit")
            .field("breaker", &self.core.settings.name)
            .finish_non_exhaustive()
    }
}

/// The right to make one call, without a borrow, for a task or a response that is still read.
///
/// Dropped without a word it counts as [`CallPermit`] does.
#[must_use = "a call that is dropped is ignored"]
pub struct OwnedCallPermit<C: Clock = DefaultClock> {
    core: Arc<Core<C>>,
    word: u64,
    began: Instant,
    /// Nothing is left to say when it is dropped.
    is_ended: bool,
}

impl<C: Clock> OwnedCallPermit<C> {
    pub(super) fn new(core: &Arc<Core<C>>) -> Result<Self, CallRejected> {
        let word = core.enter()?;
        let began = core.began();
        Ok(Self {
            core: core.clone(),
            word,
            began,
            is_ended: false,
        })
    }

    /// The call went well; see [`CallPermit::success`].
    pub fn success(self) {
        self.finish(Verdict::Success);
    }

    /// The call failed; see [`CallPermit::failure`].
    pub fn failure(self) {
        self.finish(Verdict::Failure);
    }

    /// The call says nothing about the other side. A trial's place is free again.
    pub fn ignore(self) {
        self.finish(Verdict::Ignored);
    }

    /// Says how the call went.
    pub fn finish(mut self, verdict: Verdict) {
        self.is_ended = true;
        match verdict {
            Verdict::Success => self.core.finish(self.word, self.began, false),
            Verdict::Failure => self.core.finish(self.word, self.began, true),
            Verdict::Ignored => self.core.abandon(self.word),
        }
    }
}

impl<C: Clock> Drop for OwnedCallPermit<C> {
    fn drop(&mut self) {
        if !self.is_ended {
            dropped(&self.core, self.word, self.began);
        }
    }
}

impl<C: Clock> fmt::Debug for OwnedCallPermit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedCallPermit")
            .field("breaker", &self.core.settings.name)
            .finish_non_exhaustive()
    }
}

/// A call has no outcome: nobody will say how it went.
fn dropped<C: Clock>(core: &Core<C>, word: u64, began: Instant) {
    if core.settings.dropped_fails || thread::panicking() {
        core.finish(word, began, true);
    } else {
        core.abandon(word);
    }
}
