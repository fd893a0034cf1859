//! A task that nobody has a handle of.
//!
//! It has no result to hand over and no abort to hear of, so its cell is its closure and what it
//! was submitted with: a cache line for most, where that of a task with a handle is two. And it
//! has one owner at a time, the queue or whoever took it out, so its closure comes out without a
//! lock.

use core::pin::Pin;
use std::sync::Arc;

use flow_rt::contain;

use super::core::Core;
use super::error::TaskError;
use super::stats::Gone;
use super::task::{Body, Given, Job, Work, empty_body};
use crate::sync::Mutex;

pub(super) struct LoneCell<W> {
    /// Locked by whoever discards it: the queue's items are shared by type.
    closure: Mutex<Option<W>>,
    given: Given,
}

impl<W: Work> LoneCell<W> {
    /// Of work that does not block: a thread shares such a task with its slot.
    #[inline]
    pub(super) fn new(work: W, given: Given) -> Self {
        const { assert!(!W::BLOCKS) };
        Self {
            closure: Mutex::new(Some(work)),
            given,
        }
    }

    /// The closure, of one that was not discarded.
    #[inline]
    pub(super) fn take(self: Arc<Self>) -> Option<W> {
        Arc::into_inner(self)?.closure.into_inner()
    }
}

impl<W: Work> Job for LoneCell<W> {
    fn body(&self) -> Pin<Box<dyn Body>> {
        empty_body::<W>()
    }

    fn discard(&self, core: &Core, how: Gone, _why: TaskError) -> bool {
        let Some(work) = self.closure.lock().take() else {
            return false;
        };
        contain(|| drop(work));
        core.counters.gone(how);
        self.given.ended();
        true
    }

    fn blocks(&self) -> bool {
        false
    }

    fn is_aborted(&self) -> bool {
        false
    }

    fn end(&self, _why: TaskError) {}

    fn given(&self) -> &Given {
        &self.given
    }
}
