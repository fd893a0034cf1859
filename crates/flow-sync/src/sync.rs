//! The loom shim: atomics, locks and cells from std, or from loom under `--cfg loom`.
//!
//! No other file of the workspace's protocols names loom. Under loom four things differ from
//! std and are evened out here: a poisoned mutex (loom has none); [`AtomicWaker`], for which
//! loom's own model stands in, because the `atomic-waker` crate is invisible to loom;
//! [`thread_local`], because one thread of the machine runs all threads of a model; and
//! [`thread`]'s sleeps, as loom has no time.

#[cfg(not(loom))]
mod imp {
    pub use atomic_waker::AtomicWaker;
    pub use std::sync::atomic;
    pub use std::sync::{Arc, Weak};
    pub use std::thread_local;

    /// What a thread needs to wait without a runtime.
    pub mod thread {
        pub use std::thread::{Thread, current, park, park_timeout};
    }

    /// How many wakers a wake list takes.
    pub(crate) const WAKES: usize = 16;

    /// A mutex that ignores poisoning: no protocol here relies on unwinding for its state.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(std::sync::Mutex<T>);

    /// The guard of a [`Mutex`].
    pub type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;

    impl<T> Mutex<T> {
        /// Wraps `value`; usable in a `static`.
        pub const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        /// Locks, whether or not a holder panicked before.
        #[inline]
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// Locks if nobody holds the lock now.
        #[inline]
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(std::sync::TryLockError::WouldBlock) => None,
            }
        }

        /// The value, borrowed without locking: `&mut` proves that nobody else can.
        pub fn get_mut(&mut self) -> &mut T {
            self.0
                .get_mut()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// Unwraps the value.
        pub fn into_inner(self) -> T {
            self.0
                .into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

#[cfg(loom)]
mod imp {
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

    /// One, so that the models go through the rounds that a full list makes necessary.
    pub(crate) const WAKES: usize = 1;

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
}

#[cfg(loom)]
#[doc(hidden)]
pub use imp::__loom;
pub(crate) use imp::WAKES;
pub use imp::{Arc, AtomicWaker, Mutex, MutexGuard, Weak, atomic, thread, thread_local};
