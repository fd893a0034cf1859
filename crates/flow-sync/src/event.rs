//! An event that costs its notifier one fence and one load while nobody listens.
//!
//! # State
//! `listeners: AtomicUsize`, those who listen or are about to; `list`, a [`WaitList`] of them under
//! a mutex, in the order in which they began to listen. A listener that was notified stands there
//! as granted until its owner has seen it.
//!
//! # Invariants
//! 1. `listeners` is raised before its listener enters the list and lowered after it left.
//! 2. Whoever waits for a condition listens **first** and looks at the condition afterwards.
//! 3. Whoever makes the condition true does so **before** it notifies.
//! 4. No waker is cloned, woken or dropped under the lock.
//! 5. A notification that its listener never saw goes on to the next one.
//!
//! # Steps
//! listen: raise `listeners`; lock, push, unlock; fence. notify: fence; `listeners` zero? done. Lock,
//! grant the head (or up to as many as listened at first), take the wakers; unlock; wake.
//! poll: lock; granted? leave the list. Else leave a waker, cloned outside of the lock.
//! drop: lock, leave the list; granted and not seen? grant the head in its place; unlock; wake.
//!
//! # Ordering
//! Two locations, the condition and `listeners`, each written by one side and read by the other:
//! a store may pass a later load (Dekker), so there is a SeqCst fence on both sides: in `listen`
//! after the registration, in `notify` before the load. Of two fences one comes first: the
//! listener's, then the notifier reads `listeners` raised and, behind the lock, finds the listener
//! in the list or waits for whoever puts it there to unlock; or the notifier's, then the
//! listener's look at the condition, after its fence, finds it true. The loom models fail without
//! either fence, and when a waiter looks before it listens.
//!
//! # Fairness
//! Listeners are notified in the order in which they began to listen.
//!
//! # Source
//! The counter before the list is async-lock's habit with event-listener, whose `notify` costs some
//! 20 ns with an empty list. event-listener itself (5.4.2) wakes under its own mutex: a wake that
//! drops its task, whose listener then locks that mutex, never returns, and one that panics
//! leaves the others asleep. Both are tests here.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::wait_list::{Standing, Ticket, WaitList};
use crate::wake_list::{WakeList, discard, wake};

/// Something that tasks wait for, and others notify of.
///
/// The one right order is: listen, look, wait; [`wait_until`](Self::wait_until) keeps to it.
///
/// ```
/// use flow_sync::Event;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// static READY: AtomicBool = AtomicBool::new(false);
/// static CHANGED: Event = Event::new();
///
/// async fn ready() {
///     CHANGED.wait_until(|| READY.load(Ordering::Acquire).then_some(())).await;
/// }
///
/// fn set_ready() {
///     READY.store(true, Ordering::Release);
///     CHANGED.notify_all();
/// }
/// # std::thread::scope(|scope| {
/// #     scope.spawn(set_ready);
/// #     futures_util::future::FutureExt::now_or_never(ready());
/// # });
/// ```
pub struct Event {
    listeners: AtomicUsize,
    list: Mutex<WaitList>,
}

impl Event {
    /// An event that nobody listens to; usable in a `static`.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            listeners: AtomicUsize::new(0),
            list: Mutex::new(WaitList::new()),
        }
    }

    /// An event that nobody listens to.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            listeners: AtomicUsize::new(0),
            list: Mutex::new(WaitList::new()),
        }
    }

    /// Starts to listen: every notification from now on counts for the listener.
    ///
    /// Look at the condition **after** this call and before waiting.
    ///
    /// # Cost
    /// One short lock. Allocates only when more listen than ever did.
    pub fn listen(&self) -> Listener<'_> {
        self.listeners.fetch_add(1, Ordering::Relaxed);
        let ticket = self.list.lock().push(0, None);
        // Orders the registration before the caller's look at its condition.
        fence(Ordering::SeqCst);
        Listener {
            event: self,
            ticket: Some(ticket),
        }
    }

    /// Waits until `look` finds something, and gives that.
    ///
    /// It looks before it listens, once, and after every notification.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind; a notification that it had got goes on to the
    /// next listener.
    ///
    /// # Cost
    /// That of `look` if it finds something at first.
    pub async fn wait_until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        if let Some(found) = look() {
            return found;
        }
        loop {
            let listener = self.listen();
            if let Some(found) = look() {
                return found;
            }
            listener.await;
        }
    }

    /// Notifies the one that has listened longest and was not notified yet.
    ///
    /// One call per item handed out wakes one listener per item.
    ///
    /// # Cost
    /// While nobody listens: one fence and one load.
    #[inline]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Notifies everybody who listens now.
    ///
    /// # Cost
    /// While nobody listens: one fence and one load.
    #[inline]
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    #[inline]
    fn notify(&self, most: usize) {
        // Orders the caller's change before the load: see the header.
        fence(Ordering::SeqCst);
        if self.listeners.load(Ordering::Relaxed) != 0 {
            self.grant(most);
        }
    }

    #[cold]
    fn grant(&self, most: usize) {
        let mut list = self.list.lock();
        // Those who come while others are woken have missed this one.
        let mut left = most.min(list.len());
        let mut wakes = WakeList::new();
        loop {
            while left > 0 && wakes.room() > 0 {
                left -= 1;
                if let Some(waker) = list.grant_head() {
                    // There is room: looked at just above.
                    let _ = wakes.push(waker);
                }
            }
            drop(list);
            wakes.wake();
            if left == 0 {
                return;
            }
            list = self.list.lock();
            left = left.min(list.len());
        }
    }

    /// Listeners now, those included that were notified and have not woken yet.
    pub fn listeners(&self) -> usize {
        self.listeners.load(Ordering::Relaxed)
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("listeners", &self.listeners())
            .finish()
    }
}

/// Completes when its [`Event`] notifies it; stays complete then.
///
/// # Cancel safety
/// Dropped after it was notified and before it was polled, it hands the notification to the next
/// listener.
#[must_use = "a listener waits when it is awaited"]
pub struct Listener<'a> {
    event: &'a Event,
    /// `None` once the notification was seen.
    ticket: Option<Ticket>,
}

impl Future for Listener<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ticket) = self.ticket else {
            return Poll::Ready(());
        };
        let mut fresh: Option<Waker> = None;
        loop {
            let mut list = self.event.list.lock();
            if list.standing(ticket) == Standing::Granted {
                let left = list.cancel(ticket);
                drop(list);
                self.ticket = None;
                self.event.listeners.fetch_sub(1, Ordering::Relaxed);
                discard(left.waker);
                discard(fresh);
                return Poll::Ready(());
            }
            if list.will_wake(ticket, cx.waker()) {
                return Poll::Pending;
            }
            if let Some(waker) = fresh.take() {
                let replaced = list.update_waker(ticket, waker);
                drop(list);
                drop(replaced);
                return Poll::Pending;
            }
            drop(list);
            fresh = Some(cx.waker().clone());
        }
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        let mut list = self.event.list.lock();
        let left = list.cancel(ticket);
        // It was notified and never saw it (invariant 5).
        let next = if left.standing == Standing::Granted {
            list.grant_head()
        } else {
            None
        };
        drop(list);
        self.event.listeners.fetch_sub(1, Ordering::Relaxed);
        wake(next);
        discard(left.waker);
    }
}

impl fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("notified", &self.ticket.is_none())
            .finish_non_exhaustive()
    }
}
