//! An event that costs its notifier one fence and one load while nobody listens.
//!
//! # State
//! `listeners: AtomicUsize`, those who listen or are about to; `event`, event-listener's list.
//!
//! # Invariants
//! 1. `listeners` is raised before its listener enters the list and lowered after it left.
//! 2. Whoever waits for a condition listens **first** and looks at the condition afterwards.
//! 3. Whoever makes the condition true does so **before** it notifies.
//!
//! # Ordering
//! Two locations, the condition and `listeners`, each written by one side and read by the other:
//! a store may pass a later load (Dekker), so there is a SeqCst fence on both sides: in `listen`
//! after the registration, in `notify` before the load. Of two fences one comes first: the
//! listener's, then the notifier reads `listeners` raised and finds the listener in the list; or
//! the notifier's, then the listener's look at the condition, after its fence, finds it true.
//! The loom models fail without either fence, and when a waiter looks before it listens.
//! (event-listener documents a fence in its own `listen`; 5.4 has none, its list's lock does for
//! it. The counter before that lock needs one.)
//!
//! # Fairness
//! Listeners are notified in the order they listened. A listener that was notified and is dropped
//! before it was polled passes the notification on (event-listener does).
//!
//! # Source
//! async-lock and concurrent queues put a counter of their own before event-listener: its
//! `notify` costs some 20 ns with an empty list.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use event_listener::{EventListener, IntoNotification};

use crate::sync::atomic::{AtomicUsize, Ordering, fence};

/// Something that tasks and threads wait for, and others notify of.
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
///     CHANGED.notify(usize::MAX);
/// }
/// # std::thread::scope(|scope| {
/// #     scope.spawn(set_ready);
/// #     futures_util::future::FutureExt::now_or_never(ready());
/// # });
/// ```
pub struct Event {
    listeners: AtomicUsize,
    event: event_listener::Event,
}

impl Event {
    /// An event that nobody listens to; usable in a `static`.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            listeners: AtomicUsize::new(0),
            event: event_listener::Event::new(),
        }
    }

    /// An event that nobody listens to.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            listeners: AtomicUsize::new(0),
            event: event_listener::Event::new(),
        }
    }

    /// Starts to listen: every [`notify`](Self::notify) from now on counts for the listener.
    ///
    /// Look at the condition **after** this call and before waiting. Allocates.
    pub fn listen(&self) -> Listener<'_> {
        self.listeners.fetch_add(1, Ordering::Relaxed);
        let count = Count(&self.listeners);
        let inner = self.event.listen();
        // Orders the registration before the caller's look at its condition.
        fence(Ordering::SeqCst);
        Listener {
            inner,
            _count: count,
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
    /// That of `look` if it finds something at first, else an allocation per wait.
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

    /// Sees to it that at least `n` listeners are notified, those included that were and have not
    /// woken yet; `usize::MAX` for all.
    ///
    /// # Cost
    /// While nobody listens: one fence and one load.
    #[inline]
    pub fn notify(&self, n: usize) {
        // Orders the caller's change before the load: see the header.
        fence(Ordering::SeqCst);
        if self.listeners.load(Ordering::Relaxed) != 0 {
            // Relaxed: the fence above is the one that event-listener would add.
            self.event.notify(n.relaxed());
        }
    }

    /// Notifies `n` more listeners than were notified so far.
    ///
    /// One call per item handed out wakes one listener per item.
    ///
    /// # Cost
    /// That of [`notify`](Self::notify).
    #[inline]
    pub fn notify_additional(&self, n: usize) {
        fence(Ordering::SeqCst);
        if self.listeners.load(Ordering::Relaxed) != 0 {
            self.event.notify(n.additional().relaxed());
        }
    }

    /// Listeners now, notified ones that have not woken yet included.
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

/// Completes when its [`Event`] notifies it.
///
/// # Cancel safety
/// Dropped after it was notified and before it was polled, it hands the notification to the next
/// listener.
#[must_use = "a listener waits when it is awaited"]
pub struct Listener<'a> {
    // Dropped in this order: invariant 1.
    inner: EventListener,
    _count: Count<'a>,
}

struct Count<'a>(&'a AtomicUsize);

impl Listener<'_> {
    /// Waits on this thread.
    #[cfg(not(loom))]
    pub fn wait(self) {
        event_listener::Listener::wait(self.inner);
    }
}

impl Future for Listener<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

impl fmt::Debug for Listener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
