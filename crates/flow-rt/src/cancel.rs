//! Cancellation: a tree of tokens whose check is one load.
//!
//! # State
//! Each node: `state: AtomicU8` (bit 0 cancelled, bit 1 somebody waited, bit 2 had a child); an
//! `Event` for its waiters; a cold mutex over the reason and the children (slab of weak
//! references). A child holds its parent strongly, a parent its children weakly.
//!
//! # Invariants
//! 1. CANCELLED is set once and never cleared. A reason is stored, under the node's mutex, before
//!    the CANCELLED it belongs to, in the same critical section.
//! 2. CHILDREN is set under the node's mutex before the first child is added, and never cleared;
//!    a child is added under that mutex, and only if CANCELLED was not set by then: so whoever
//!    cancels finds every child that is not born cancelled.
//! 3. WAITERS is set before a waiter relies on being woken, and never cleared.
//! 4. No waker runs under a mutex.
//! 5. Whoever set CANCELLED empties the slab, so a child of a cancelled node leaves without it.
//!
//! # Steps
//! wait: listen on the event **first**, then `fetch_or(WAITERS)`; CANCELLED in the returned value
//! ends the wait. cancel without a reason: `fetch_or(CANCELLED)`; if the returned value has
//! CHILDREN, lock and take them. With a reason: lock; store it; `fetch_or(CANCELLED)`, and put
//! the old reason back if another canceller was first; take the children; unlock. Then notify if
//! the returned value has WAITERS, and cancel the children, from a work list, never by recursion.
//! child: lock; set CHILDREN unless it is set; CANCELLED seen: born cancelled; else add it.
//!
//! # Ordering
//! All `fetch_or`s are RMWs on one location, so of two one precedes the other. The waiter's
//! first: the canceller's returned value has WAITERS, and the listener was registered before it
//! (its Release pairs with the canceller's Acquire). The canceller's first: the waiter sees
//! CANCELLED. Listening after the `fetch_or` would lose the wake-up; the loom model fails then.
//! The same decides CANCELLED against the first CHILDREN. When CHILDREN is set already, the lock
//! decides: the canceller's section comes after the child's and finds it, or before, and then its
//! CANCELLED, set before the section, is visible in the child's.
//!
//! # Source
//! The tree of tokio-util's `CancellationToken`, with its check made a load and its tree walk
//! made iterative (tokio-util#4639 and #7026 are tests here).

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use std::borrow::Cow;
use std::sync::{Arc, Weak};

use event_listener::{Event, listener};
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicU8, Ordering};

const CANCELLED: u8 = 0b001;
const WAITERS: u8 = 0b010;
const CHILDREN: u8 = 0b100;

/// Tells tasks to stop: one token, any number of clones, a tree of children.
///
/// Cancelling a token cancels its children and theirs, with the same reason; a child's
/// cancellation leaves its parent alone. Clones are the same token.
///
/// # Cost
/// [`is_cancelled`](Self::is_cancelled) is one load; a clone one reference count.
///
/// ```
/// use flow_rt::CancellationToken;
///
/// let service = CancellationToken::new();
/// let request = service.child_token();
/// service.cancel_with("shutting down");
/// assert!(request.is_cancelled());
/// assert_eq!(request.reason().as_deref(), Some("shutting down"));
/// ```
#[derive(Clone)]
pub struct CancellationToken(Arc<Node>);

struct Node {
    state: AtomicU8,
    event: Event,
    parent: Option<Parent>,
    cold: Mutex<Cold>,
}

struct Parent {
    node: Arc<Node>,
    /// This node's place in the parent's slab.
    slot: usize,
}

#[derive(Default)]
struct Cold {
    reason: Option<Cow<'static, str>>,
    children: Slab,
}

impl CancellationToken {
    /// A token of its own, not cancelled.
    pub fn new() -> Self {
        Self(Arc::new(Node::new(0, None, Cold::default())))
    }

    /// A token that is cancelled with this one, and can be cancelled alone.
    ///
    /// A child of a cancelled token is born cancelled.
    pub fn child_token(&self) -> Self {
        let mut cold = self.0.cold.lock();
        let mut state = self.0.state.load(Ordering::Acquire);
        if state & CHILDREN == 0 {
            state = self.0.state.fetch_or(CHILDREN, Ordering::AcqRel);
        }
        if state & CANCELLED != 0 {
            let cold = Cold {
                reason: cold.reason.clone(),
                children: Slab::default(),
            };
            return Self(Arc::new(Node::new(CANCELLED, None, cold)));
        }
        let slot = cold.children.reserve();
        let parent = Parent {
            node: self.0.clone(),
            slot,
        };
        let child = Arc::new(Node::new(0, Some(parent), Cold::default()));
        cold.children.fill(slot, Arc::downgrade(&child));
        Self(child)
    }

    /// Cancels this token and its descendants. Later calls change nothing.
    pub fn cancel(&self) {
        self.cancel_for(None);
    }

    /// Cancels like [`cancel`](Self::cancel), and says why.
    ///
    /// The first cancellation's reason stays.
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) {
        self.cancel_for(Some(&reason.into()));
    }

    fn cancel_for(&self, reason: Option<&Cow<'static, str>>) {
        let mut work = Vec::new();
        self.0.cancel(reason, &mut work);
        while let Some(child) = work.pop() {
            if let Some(child) = child.upgrade() {
                child.cancel(reason, &mut work);
            }
        }
    }

    /// Whether this token was cancelled, by itself or with an ancestor.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.0.state.load(Ordering::Acquire) & CANCELLED != 0
    }

    /// The reason given to [`cancel_with`](Self::cancel_with); `None` before, or if none was given.
    pub fn reason(&self) -> Option<Cow<'static, str>> {
        if !self.is_cancelled() {
            return None;
        }
        self.0.cold.lock().reason.clone()
    }

    /// Waits until this token is cancelled.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn cancelled(&self) {
        if self.is_cancelled() {
            return;
        }
        listener!(self.0.event => cancelled);
        // After listening (invariant 3): a cancel from here on notifies the listener.
        if self.0.state.fetch_or(WAITERS, Ordering::AcqRel) & CANCELLED == 0 {
            cancelled.await;
        }
    }

    /// Waits like [`cancelled`](Self::cancelled), in a future that borrows nothing.
    pub async fn cancelled_owned(self) {
        self.cancelled().await;
    }

    /// Runs `future` until this token is cancelled; `None` if that comes first.
    ///
    /// The future is polled before the token, so one that is ready wins.
    ///
    /// # Cancel safety
    /// That of `future`, which is dropped when the token is cancelled.
    pub async fn run_until_cancelled<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut cancelled = pin!(self.cancelled());
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            cancelled.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// A guard that cancels this token when it is dropped.
    pub fn drop_guard(self) -> DropGuard {
        DropGuard(Some(self))
    }

    /// Children alive, for reports and tests of leaks.
    pub fn child_count(&self) -> usize {
        self.0.cold.lock().children.len()
    }
}

impl Default for CancellationToken {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for CancellationToken {
    /// Whether both are the same token.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CancellationToken {}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancellationToken")
            .field("cancelled", &self.is_cancelled())
            .field("reason", &self.reason())
            .finish()
    }
}

/// Cancels its token when dropped; see [`CancellationToken::drop_guard`].
#[must_use = "the token is cancelled as soon as the guard is dropped"]
#[derive(Debug)]
pub struct DropGuard(Option<CancellationToken>);

impl DropGuard {
    /// Gives the token back without cancelling it.
    pub fn disarm(mut self) -> CancellationToken {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = self.0.take() {
            token.cancel();
        }
    }
}

impl Node {
    fn new(state: u8, parent: Option<Parent>, cold: Cold) -> Self {
        Self {
            state: AtomicU8::new(state),
            event: Event::new(),
            parent,
            cold: Mutex::new(cold),
        }
    }

    /// Cancels this node alone and appends its children to `work`.
    fn cancel(&self, reason: Option<&Cow<'static, str>>, work: &mut Vec<Weak<Self>>) {
        let before = match reason {
            None => self.cancel_silently(work),
            Some(reason) => self.cancel_saying(reason.clone(), work),
        };
        if before & (CANCELLED | WAITERS) == WAITERS {
            self.event.notify(usize::MAX);
        }
    }

    /// Sets CANCELLED; returns the state before. A leaf is cancelled without its lock.
    fn cancel_silently(&self, work: &mut Vec<Weak<Self>>) -> u8 {
        let before = self.state.fetch_or(CANCELLED, Ordering::AcqRel);
        if before & (CANCELLED | CHILDREN) == CHILDREN {
            self.cold.lock().children.drain_into(work);
        }
        before
    }

    /// Sets CANCELLED after its reason; returns the state before.
    fn cancel_saying(&self, reason: Cow<'static, str>, work: &mut Vec<Weak<Self>>) -> u8 {
        let mut cold = self.cold.lock();
        let before = self.state.load(Ordering::Relaxed);
        if before & CANCELLED != 0 {
            return before;
        }
        cold.reason = Some(reason);
        let before = self.state.fetch_or(CANCELLED, Ordering::AcqRel);
        if before & CANCELLED == 0 {
            cold.children.drain_into(work);
        } else {
            // A cancellation without a reason came in between, and empties the slab.
            cold.reason = None;
        }
        before
    }
}

impl Drop for Node {
    /// Leaves the parent's slab; goes up a chain of last references in a loop, because a chain
    /// of a million tokens would overflow the stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(Parent { node, slot }) = parent {
            if node.state.load(Ordering::Acquire) & CANCELLED == 0 {
                node.cold.lock().children.release(slot);
            }
            parent = Arc::into_inner(node).and_then(|mut node| node.parent.take());
        }
    }
}

/// Weak references by slot, with a free list through the empty slots.
struct Slab {
    slots: Vec<Slot>,
    /// The first empty slot, or `NIL`.
    free: usize,
    len: usize,
}

enum Slot {
    Free { next: usize },
    Used(Weak<Node>),
}

const NIL: usize = usize::MAX;

/// With its two counts a node is 120 bytes: more, and glibc's malloc leaves its fast path, which
/// makes a child that lives among many a third more expensive (benches, `rt`).
#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = assert!(size_of::<Node>() + 2 * size_of::<usize>() <= 120);

impl Default for Slab {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            len: 0,
        }
    }
}

impl Slab {
    fn len(&self) -> usize {
        self.len
    }

    /// Takes a slot, to be filled before the lock is released.
    fn reserve(&mut self) -> usize {
        self.len += 1;
        let slot = self.free;
        if let Some(&Slot::Free { next }) = self.slots.get(slot) {
            self.free = next;
            return slot;
        }
        self.slots.push(Slot::Free { next: NIL });
        self.slots.len() - 1
    }

    fn fill(&mut self, slot: usize, child: Weak<Node>) {
        self.slots[slot] = Slot::Used(child);
    }

    /// Frees a slot; nothing to do after `drain_into`.
    fn release(&mut self, slot: usize) {
        let Some(used @ Slot::Used(_)) = self.slots.get_mut(slot) else {
            return;
        };
        *used = Slot::Free { next: self.free };
        self.free = slot;
        self.len -= 1;
        if self.len == 0 {
            // Give the memory of a burst of children back.
            *self = Self {
                slots: core::mem::take(&mut self.slots),
                ..Self::default()
            };
            self.slots.clear();
            self.slots.shrink_to(64);
        }
    }

    fn drain_into(&mut self, work: &mut Vec<Weak<Node>>) {
        work.reserve(self.len);
        for slot in core::mem::take(self).slots {
            if let Slot::Used(child) = slot {
                work.push(child);
            }
        }
    }
}
