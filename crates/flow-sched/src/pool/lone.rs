//! A task that nobody has a handle of.
//!
//! It has no result to hand over and no abort to hear of, so its cell is its closure and what it
//! was submitted with, which for most tasks is nothing: so the cell of those is the closure alone,
//! and takes no memory at all if that captures nothing. A task has one owner at a time, the queue
//! or whoever took it out, so the cell is a box, without a reference count, and the closure comes
//! out without a lock.

use core::any::{Any, TypeId};
use core::pin::Pin;

use flow_rt::contain;

use super::core::Core;
use super::stats::Gone;
use super::task::{Body, Given, Work, empty_body};

/// A task without a handle, as the queue holds it.
pub(super) trait Lone: Any + Send {
    /// A body that tasks of this type can begin in.
    fn body(&self) -> Pin<Box<dyn Body>>;

    /// What it was submitted with.
    fn given(&self) -> &Given;

    /// Ends it unrun.
    fn discard(self: Box<Self>, core: &Core, how: Gone);
}

/// A task for the queue, of work that does not block: a thread shares such a task with its slot.
#[inline]
pub(super) fn new<W: Work>(work: W, given: Given) -> Box<dyn Lone> {
    const { assert!(!W::BLOCKS) };
    if given.is_nothing() {
        Box::new(BareCell(work))
    } else {
        Box::new(LoneCell { work, given })
    }
}

/// The same of work that was submitted with nothing.
#[inline]
pub(super) fn bare<W: Work>(work: W) -> Box<dyn Lone> {
    const { assert!(!W::BLOCKS) };
    Box::new(BareCell(work))
}

/// The closure, for a slot to call, which is always there; a task of another type comes back.
#[inline]
pub(super) fn take<W: Work>(task: Box<dyn Lone>) -> Result<Option<W>, Box<dyn Lone>> {
    let any: &dyn Any = &*task;
    let kind = any.type_id();
    let is_bare = kind == TypeId::of::<BareCell<W>>();
    if !is_bare && kind != TypeId::of::<LoneCell<W>>() {
        return Err(task);
    }
    let any: Box<dyn Any> = task;
    let work = if is_bare {
        any.downcast().map(|cell: Box<BareCell<W>>| cell.0)
    } else {
        any.downcast().map(|cell: Box<LoneCell<W>>| cell.work)
    };
    Ok(work.ok())
}

/// A closure, and what it was submitted with.
struct LoneCell<W> {
    work: W,
    given: Given,
}

/// A closure that was submitted with nothing.
struct BareCell<W>(W);

impl<W: Work> Lone for LoneCell<W> {
    fn body(&self) -> Pin<Box<dyn Body>> {
        empty_body::<W>()
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
    fn body(&self) -> Pin<Box<dyn Body>> {
        empty_body::<W>()
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
