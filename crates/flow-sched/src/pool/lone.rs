//! A task that nobody has a handle of.
//!
//! It has no result to hand over and no abort to hear of, so its cell is its closure and what it
//! was submitted with, which for most tasks is nothing: so the cell of those is the closure alone,
//! and takes no memory at all if that captures nothing. A task has one owner at a time, the queue
//! or whoever took it out, so the cell is a box, without a reference count, and the closure comes
//! out without a lock.

use core::task::Context;
use std::sync::Arc;

use flow_rt::contain;

use super::core::Core;
use super::queued::Queued;
use super::stats::Gone;
use super::task::{Begun, Given, Spot, Work};

/// A task without a handle, as the queue holds it.
pub(super) trait Lone: Send {
    /// Begins: see [`Job::begin`](super::task::Job::begin).
    fn begin(
        self: Box<Self>,
        spot: &mut Spot,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun;

    /// What it was submitted with.
    fn given(&self) -> &Given;

    /// Ends it unrun.
    fn discard(self: Box<Self>, core: &Core, how: Gone);
}

/// A task for the queue, of work that does not block: a thread shares such a task with its slot.
#[inline]
pub(super) fn new<W: Work>(work: W, given: Given) -> Queued {
    const { assert!(!W::BLOCKS) };
    if given.is_nothing() {
        bare(work)
    } else {
        Queued::Lone(Box::new(LoneCell { work, given }))
    }
}

/// The same of work that was submitted with nothing.
#[inline]
pub(super) fn bare<W: Work>(work: W) -> Queued {
    const { assert!(!W::BLOCKS) };
    Queued::Bare(Box::new(BareCell(work)))
}

/// A closure, and what it was submitted with.
struct LoneCell<W> {
    work: W,
    given: Given,
}

/// A closure that was submitted with nothing.
struct BareCell<W>(W);

impl<W: Work> Lone for LoneCell<W> {
    fn begin(
        self: Box<Self>,
        spot: &mut Spot,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun {
        spot.begin((self.work, None), core, cx, plainly)
    }

    fn given(&self) -> &Given {
        &self.given
    }

    fn discard(self: Box<Self>, core: &Core, how: Gone) {
        let Self { work, given } = *self;
        contain(|| drop(work));
        core.counters.gone(how);
        given.ended();
    }
}

impl<W: Work> Lone for BareCell<W> {
    fn begin(
        self: Box<Self>,
        spot: &mut Spot,
        core: &Arc<Core>,
        cx: Option<&mut Context<'_>>,
        plainly: bool,
    ) -> Begun {
        spot.begin((self.0, None), core, cx, plainly)
    }

    fn given(&self) -> &Given {
        &Given::NOTHING
    }

    fn discard(self: Box<Self>, core: &Core, how: Gone) {
        let Self(work) = *self;
        contain(|| drop(work));
        core.counters.gone(how);
    }
}
