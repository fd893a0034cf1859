//! Cancellation: a tree of tokens whose check is one load.
//!
//! # State
//! Each node: `state: AtomicU8` (bit 0 cancelled, bit 1 somebody waited, bit 2 had a child), and a
//! cold mutex over the reason, the wakers of those who wait and the children (slabs of wakers and
//! of weak references). A child holds its parent strongly, a parent its children weakly.
//!
//! # Invariants
//! 1. CANCELLED is set once and never cleared. A reason is stored, under the node's mutex, before
//!    the CANCELLED it belongs to, in the same critical section.
//! 2. CHILDREN is set under the node's mutex before the first child is added, WAITERS before the
//!    first waker; neither is cleared. Child and waker are added under that mutex, and only if
//!    CANCELLED was not set by then: so whoever cancels finds every child that is not born
//!    cancelled, and every waiter that does not see CANCELLED itself.
//! 3. Whoever set CANCELLED empties both slabs, so waiters and children of a cancelled node leave
//!    without them.
//! 4. No waker is cloned, woken or dropped under a mutex.
//! 5. When the first waiter is woken the whole tree is cancelled.
//!
//! # Steps
//! wait: lock; set WAITERS unless it is set; CANCELLED seen: done; else leave the waker. cancel
//! without a reason: `fetch_or(CANCELLED)`; if the returned value has CHILDREN or WAITERS, lock and
//! take them. With a reason: lock; store it; `fetch_or(CANCELLED)`, and take the reason back if
//! another canceller was first; take children and waiters; unlock. Then the children, from a work
//! list, never by recursion; at last wake everybody. child: lock; set CHILDREN unless it is set;
//! CANCELLED seen: born cancelled; else add it.
//!
//! # Ordering
//! All `fetch_or`s are RMWs on one location, so of two one precedes the other: a canceller sees the
//! first CHILDREN or WAITERS in what its own returns, or whoever set it sees CANCELLED. When the
//! bit is set already, the lock decides: the canceller's section comes after that of the child or
//! waiter and finds it, or before, and then its CANCELLED, set before the section, is visible in
//! theirs. The Release of `fetch_or(CANCELLED)` pairs with the Acquire of every look.
//!
//! # Source
//! The tree of tokio-util's `CancellationToken`, with its check made a load and its tree walk
//! made iterative (tokio-util#4639 and #7026 are tests here).

mod lazy;
mod slab;
mod wait;

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Poll, Waker};
use std::borrow::Cow;
use std::sync::{Arc, Weak};

use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicU8, Ordering, fence};

pub(crate) use lazy::LazyToken;
use slab::Slab;
pub use wait::Cancelled;

use crate::panics;

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
    children: Slab<Weak<Node>>,
    /// Boxed at the first wait: most tokens are only looked at.
    waiters: Option<Box<Slab<Waker>>>,
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
                ..Cold::default()
            };
            return Self(Arc::new(Node::new(CANCELLED, None, cold)));
        }
        let parent = Parent {
            node: self.0.clone(),
            slot: cold.children.next_slot(),
        };
        let child = Arc::new(Node::new(0, Some(parent), Cold::default()));
        cold.children.insert(Arc::downgrade(&child));
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
        let mut found = Found::default();
        self.0.cancel(reason, &mut found);
        while let Some(child) = found.children.pop() {
            if let Some(child) = child.upgrade() {
                child.cancel(reason, &mut found);
            }
        }
        for waiter in found.waiters {
            // A waker that panics has had its turn; the others must have theirs.
            panics::contain(|| waiter.wake());
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
    ///
    /// # Cost
    /// A look if it is cancelled; else two short locks, and an allocation for the first to wait.
    pub fn cancelled(&self) -> Cancelled<'_> {
        Cancelled {
            token: self,
            slot: None,
        }
    }

    /// Waits like [`cancelled`](Self::cancelled), in a future that borrows nothing.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn cancelled_owned(self) {
        self.cancelled().await;
    }

    /// Runs `future` until this token is cancelled; `None` if that comes first.
    ///
    /// Of a token that is cancelled already the future is never polled. Afterwards it is polled
    /// before the token, so that what is ready is not thrown away.
    ///
    /// # Cancel safety
    /// That of `future`, which is dropped when the token is cancelled.
    ///
    /// # Cost
    /// One load per poll; a lock only when it begins to wait, or waits with another waker.
    pub async fn run_until_cancelled<F: Future>(&self, future: F) -> Option<F::Output> {
        if self.is_cancelled() {
            return None;
        }
        let mut future = pin!(future);
        let mut cancelled = pin!(self.cancelled());
        let mut waiting: Option<Waker> = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            // A cancel after this load finds the waker that is there, and it is the right one:
            // nothing to do, where polling the wait would take the node's lock.
            let waker = cx.waker();
            if !self.is_cancelled() && waiting.as_ref().is_some_and(|old| old.will_wake(waker)) {
                return Poll::Pending;
            }
            waiting = Some(waker.clone());
            cancelled.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// A guard that cancels this token when it is dropped.
    pub fn drop_guard(self) -> DropGuard {
        DropGuard(Some(self))
    }

    /// Whether nobody else holds this token: no clone of it is alive, and no child.
    ///
    /// Such a token, if it is not cancelled, is as good as a new child of its parent, and saves
    /// making one.
    pub fn is_unique(&self) -> bool {
        let unique = Arc::strong_count(&self.0) == 1;
        // Pairs with the Release of the last other reference's drop: what was done through it,
        // a cancel say, is seen from here on.
        fence(Ordering::Acquire);
        unique
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

/// What a cancellation has to do yet.
#[derive(Default)]
struct Found {
    children: Vec<Weak<Node>>,
    waiters: Vec<Waker>,
}

impl Cold {
    fn drain_into(&mut self, found: &mut Found) {
        self.children.drain_into(&mut found.children);
        if let Some(mut waiters) = self.waiters.take() {
            waiters.drain_into(&mut found.waiters);
        }
    }

    /// Whether the waker that waits in `slot` wakes the same task.
    fn wakes(&self, slot: usize, waker: &Waker) -> bool {
        let waiting = self.waiters.as_ref().and_then(|all| all.get(slot));
        waiting.is_some_and(|waiting| waiting.will_wake(waker))
    }
}

impl Node {
    fn new(state: u8, parent: Option<Parent>, cold: Cold) -> Self {
        Self {
            state: AtomicU8::new(state),
            parent,
            cold: Mutex::new(cold),
        }
    }

    /// Leaves a waker, in `slot` if there is one; `None` if the token is cancelled. The waker that
    /// is not needed is in `waker` afterwards.
    fn wait(&self, slot: Option<usize>, waker: &mut Option<Waker>) -> Option<usize> {
        let mut cold = self.cold.lock();
        let mut state = self.state.load(Ordering::Acquire);
        if state & WAITERS == 0 {
            state = self.state.fetch_or(WAITERS, Ordering::AcqRel);
        }
        if state & CANCELLED != 0 {
            return None;
        }
        let waiters = cold.waiters.get_or_insert_default();
        match slot.and_then(|slot| Some((slot, waiters.get_mut(slot)?))) {
            Some((slot, waiting)) => {
                *waker = waker.take().map(|new| core::mem::replace(waiting, new));
                Some(slot)
            }
            None => waker.take().map(|waker| waiters.insert(waker)),
        }
    }

    /// Cancels this node alone and appends what it finds to `found`.
    fn cancel(&self, reason: Option<&Cow<'static, str>>, found: &mut Found) {
        match reason {
            None => self.cancel_silently(found),
            Some(reason) => self.cancel_saying(reason.clone(), found),
        }
    }

    /// Cancels without a reason. A token that nobody waits for and that has no children is
    /// cancelled without its lock.
    fn cancel_silently(&self, found: &mut Found) {
        let before = self.state.fetch_or(CANCELLED, Ordering::AcqRel);
        if before & CANCELLED == 0 && before & (CHILDREN | WAITERS) != 0 {
            self.cold.lock().drain_into(found);
        }
    }

    fn cancel_saying(&self, reason: Cow<'static, str>, found: &mut Found) {
        let mut cold = self.cold.lock();
        if self.state.load(Ordering::Relaxed) & CANCELLED != 0 {
            return;
        }
        cold.reason = Some(reason);
        if self.state.fetch_or(CANCELLED, Ordering::AcqRel) & CANCELLED == 0 {
            cold.drain_into(found);
        } else {
            // A cancellation without a reason came in between, and empties the slabs.
            cold.reason = None;
        }
    }
}

impl Drop for Node {
    /// Leaves the parent's slab; goes up a chain of last references in a loop, because a chain
    /// of a million tokens would overflow the stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(Parent { node, slot }) = parent {
            if node.state.load(Ordering::Acquire) & CANCELLED == 0 {
                node.cold.lock().children.remove(slot);
            }
            parent = Arc::into_inner(node).and_then(|mut node| node.parent.take());
        }
    }
}

/// With its two counts a node is 120 bytes: more, and glibc's malloc leaves its fast path, which
/// makes a child that lives among many a third more expensive (benches, `rt`).
#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = assert!(size_of::<Node>() + 2 * size_of::<usize>() <= 120);
