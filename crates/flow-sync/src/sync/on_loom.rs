//! The half of the shim that is loom; a normal build has none of it.

pub use crate::__loom_thread_local as thread_local;
#[doc(hidden)]
pub use loom as __loom;
pub use loom::sync::{Arc, atomic};
// Loom models no weak references; std's are enough where a model never races on one.
pub use std::sync::Weak;

/// Loom's macro, which takes no `const` block, behind the form that std's has.
#[doc(hidden)]
#[macro_export]
macro_rules! __loom_thread_local {
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = const $init:block;) => {
        $crate::sync::__loom::thread_local! { $(#[$attr])* $vis static $name: $t = $init; }
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr;) => {
        $crate::sync::__loom::thread_local! { $(#[$attr])* $vis static $name: $t = $init; }
    };
}

/// What a thread needs to wait without a runtime.
pub mod thread {
    use core::time::Duration;

    use loom::sync::Notify;
    use loom::sync::atomic::{AtomicBool, Ordering};

    loom::thread_local! {
        static CURRENT: Thread = Thread::default();
    }

    /// A thread of a model. Loom's own is of no use: to unpark it while it waits for a mutex
    /// ends that wait too.
    #[derive(Clone, Default)]
    pub struct Thread(std::sync::Arc<State>);

    /// Changed by swaps only: loom does not order a store and a swap that are concurrent.
    #[derive(Default)]
    struct State {
        token: AtomicBool,
        time_is_up: AtomicBool,
        changed: Notify,
    }

    impl Thread {
        /// Ends its sleep, or its next one.
        pub fn unpark(&self) {
            self.0.token.swap(true, Ordering::AcqRel);
            self.0.changed.notify();
        }

        /// Ends its sleep, or its next one, if that is one with a timeout.
        pub fn time_is_up(&self) {
            self.0.time_is_up.swap(true, Ordering::AcqRel);
            self.0.changed.notify();
        }
    }

    /// The calling thread.
    pub fn current() -> Thread {
        CURRENT.with(Clone::clone)
    }

    /// Sleeps until it is unparked.
    pub fn park() {
        let Thread(this) = current();
        while !this.token.swap(false, Ordering::AcqRel) {
            this.changed.wait();
        }
    }

    /// Sleeps until it is unparked. Loom has no time: whoever moves a model's clock says when
    /// it is up, so that a model finds out who was not woken. More than a minute is for ever.
    pub fn park_timeout(timeout: Duration) {
        if timeout > Duration::from_secs(60) {
            return park();
        }
        let Thread(this) = current();
        while !this.token.swap(false, Ordering::AcqRel)
            && !this.time_is_up.swap(false, Ordering::AcqRel)
        {
            this.changed.wait();
        }
    }
}

/// Loom's model of an atomic waker behind the interface that the crate's has.
#[derive(Debug, Default)]
pub struct AtomicWaker(loom::future::AtomicWaker);

impl AtomicWaker {
    /// One without a waker.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the waker of the one who waits.
    pub fn register(&self, waker: &core::task::Waker) {
        self.0.register_by_ref(waker);
    }

    /// Wakes who is registered, and forgets the waker.
    pub fn wake(&self) {
        self.0.wake();
    }
}

pub(crate) use loom::cell;
pub(crate) use loom::hint::spin_loop as spin;
pub(crate) use loom::thread::yield_now as thread_yield;

/// Loom takes SeqCst accesses for AcqRel: the fence that they stand for elsewhere.
#[inline]
pub(crate) fn fence_after_rmw() {
    loom::sync::atomic::fence(loom::sync::atomic::Ordering::SeqCst);
}

/// One, so that the models go through the rounds that a full list makes necessary.
pub(crate) const WAKES: usize = 1;

/// One, so that threads of a model meet there.
pub(crate) const SHARDS: usize = 1;

/// Loom's mutex behind the interface that ours has.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// The guard of a [`Mutex`].
pub type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Locks.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("loom mutexes are never poisoned")
    }

    /// Locks: a model has no time to stay awake for.
    pub fn lock_awake(&self) -> MutexGuard<'_, T> {
        self.lock()
    }

    /// Locks if nobody holds the lock now.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }

    /// The value, borrowed without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().expect("loom mutexes are never poisoned")
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.0
            .into_inner()
            .expect("loom mutexes are never poisoned")
    }
}

/// Loom's lock for many readers or one writer behind the interface that ours has.
#[derive(Debug, Default)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

/// The guard of a reader of a [`RwLock`].
pub type RwLockReadGuard<'a, T> = loom::sync::RwLockReadGuard<'a, T>;

/// The guard of the writer of a [`RwLock`].
pub type RwLockWriteGuard<'a, T> = loom::sync::RwLockWriteGuard<'a, T>;

impl<T> RwLock<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    /// Locks for reading.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect("loom locks are never poisoned")
    }

    /// Locks for writing.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect("loom locks are never poisoned")
    }
}
