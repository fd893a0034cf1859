//! A task as the queue holds it: shared with its handle, or with nobody.

use core::pin::Pin;
use core::task::Context;
use std::sync::Arc;

use flow_rt::{TaskContext, contain};

use super::core::Core;
use super::error::TaskError;
use super::lone::Lone;
use super::place::Stand;
use super::stats::Gone;
use super::task::{Begun, Body, Given, Job};

/// A task that waits for a slot.
pub(super) enum Queued {
    /// One that nobody has a handle of. It has one owner at a time, and so no reference count.
    Lone(Box<dyn Lone>),
    Shared(Arc<dyn Job>),
}

/// Either of them, out of the queue: a pair of words, which moves in registers where the enum of
/// both moves through memory, at a cost that shows.
pub(super) trait Popped: Sized {
    /// What it was submitted with.
    fn given(&self) -> &Given;

    /// A body that tasks of this type can begin in.
    fn body(&self) -> Pin<Box<dyn Body>>;

    /// Begins in a body, if it is one of its type: see [`Body`].
    fn begin(
        self,
        body: Pin<&mut dyn Body>,
        on: Stand,
        own: TaskContext,
        core: &Core,
        cx: Option<&mut Context<'_>>,
    ) -> Begun<Self>;
}

impl Popped for Box<dyn Lone> {
    fn given(&self) -> &Given {
        (**self).given()
    }

    fn body(&self) -> Pin<Box<dyn Body>> {
        (**self).body()
    }

    fn begin(
        self,
        body: Pin<&mut dyn Body>,
        on: Stand,
        own: TaskContext,
        core: &Core,
        cx: Option<&mut Context<'_>>,
    ) -> Begun<Self> {
        body.begin_lone(self, on, own, core, cx)
    }
}

impl Popped for Arc<dyn Job> {
    fn given(&self) -> &Given {
        (**self).given()
    }

    fn body(&self) -> Pin<Box<dyn Body>> {
        (**self).body()
    }

    fn begin(
        self,
        body: Pin<&mut dyn Body>,
        on: Stand,
        own: TaskContext,
        core: &Core,
        cx: Option<&mut Context<'_>>,
    ) -> Begun<Self> {
        body.begin_shared(self, on, own, core, cx)
    }
}

impl Queued {
    /// Ends it unrun, unless its handle has.
    pub(super) fn discard(self, core: &Core, how: Gone, why: TaskError) {
        match self {
            Self::Lone(task) => task.discard(core, how),
            Self::Shared(task) => {
                task.discard(core, how, why);
                contain(|| drop(task));
            }
        }
    }
}
