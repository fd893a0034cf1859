//! A task as the queue holds it: shared with its handle, or with nobody.

use core::task::Context;
use std::sync::Arc;

use flow_rt::contain;

use super::core::Core;
use super::error::TaskError;
use super::lone::Lone;
use super::stats::Gone;
use super::task::{Begun, Given, Job, Spot};

/// A task that waits for a slot. What it is said to be costs no look into it then.
pub(super) enum Queued {
    /// One that nobody has a handle of. It has one owner at a time, and so no reference count.
    Lone(Box<dyn Lone>),
    /// The same, submitted with nothing.
    Bare(Box<dyn Lone>),
    Shared(Arc<dyn Job>),
    /// The same, submitted with nothing.
    BareShared(Arc<dyn Job>),
    /// One that blocks the thread that polls it.
    Blocking(Arc<dyn Job>),
}

/// One that does not block, out of the queue: a pair of words, which moves in registers where the
/// enum of them moves through memory, at a cost that shows.
pub(super) trait Popped {
    /// What it was submitted with.
    fn given(&self) -> &Given;

    /// Begins: see [`Job::begin`].
    fn begin(
        self,
        spot: &mut Spot,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun;
}

impl Popped for Box<dyn Lone> {
    fn given(&self) -> &Given {
        (**self).given()
    }

    #[inline]
    fn begin(
        self,
        spot: &mut Spot,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun {
        Lone::begin(self, spot, core, cx, plainly)
    }
}

impl Popped for Arc<dyn Job> {
    fn given(&self) -> &Given {
        (**self).given()
    }

    #[inline]
    fn begin(
        self,
        spot: &mut Spot,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun {
        Job::begin(self, spot, core, cx, plainly)
    }
}

impl Queued {
    /// Ends it unrun, unless its handle has.
    pub(super) fn discard(self, core: &Core, how: Gone, why: TaskError) {
        match self {
            Self::Lone(task) | Self::Bare(task) => task.discard(core, how),
            Self::Shared(task) | Self::BareShared(task) | Self::Blocking(task) => {
                task.discard(core, how, why);
                contain(|| drop(task));
            }
        }
    }
}
