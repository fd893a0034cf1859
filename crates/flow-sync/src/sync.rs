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

    use crate::backoff::lost_a_race;

    /// What a thread needs to wait without a runtime.
    pub mod thread {
        pub use std::thread::{Thread, current, park, park_timeout};
    }

    /// A cell that its users share by a protocol of their own.
    pub(crate) mod cell {
        /// Std's, behind the form that loom's has.
        pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

        impl<T> UnsafeCell<T> {
            pub(crate) const fn new(value: T) -> Self {
                Self(core::cell::UnsafeCell::new(value))
            }

            /// Calls `f` with the place; what it does there is up to the protocol.
            #[inline]
            pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
                f(self.0.get())
            }
        }
    }

    pub(crate) use core::hint::spin_loop as spin;
    pub(crate) use std::thread::yield_now as thread_yield;

    /// Nothing: a SeqCst RMW followed by a SeqCst load needs no fence between them. Loom takes
    /// them for AcqRel and Acquire, and does.
    #[inline]
    pub(crate) const fn fence_after_rmw() {}

    /// How many wakers a wake list takes.
    pub(crate) const WAKES: usize = 16;

    /// How many values a sharded one is.
    pub(crate) const SHARDS: usize = 8;

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

        /// Locks, where sections mostly take a few instructions: if somebody else is in theirs, it
        /// stays awake for four to twelve microseconds, and looks eight times. Behind a long one
        /// it sleeps, having spun for nothing.
        ///
        /// So whoever holds the lock gets through a run of sections meanwhile, with everything in
        /// its core's cache. To look at every instant, as [`lock`](Self::lock) does before it
        /// sleeps, makes the lock and what is under it change cores for each section; to look
        /// after a few instructions first, and then less and less often, costs up to twice as
        /// much (benches, `stream`: drop oldest when full, 2 threads).
        #[inline]
        pub fn lock_awake(&self) -> MutexGuard<'_, T> {
            match self.try_lock() {
                Some(guard) => guard,
                None => self.lock_in_a_while(),
            }
        }

        #[cold]
        fn lock_in_a_while(&self) -> MutexGuard<'_, T> {
            for _ in 0..8 {
                lost_a_race();
                if let Some(guard) = self.try_lock() {
                    return guard;
                }
            }
            self.lock()
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

    /// A lock for many readers or one writer that ignores poisoning, as [`Mutex`] does.
    #[derive(Debug, Default)]
    pub struct RwLock<T>(std::sync::RwLock<T>);

    /// The guard of a reader of a [`RwLock`].
    pub type RwLockReadGuard<'a, T> = std::sync::RwLockReadGuard<'a, T>;

    /// The guard of the writer of a [`RwLock`].
    pub type RwLockWriteGuard<'a, T> = std::sync::RwLockWriteGuard<'a, T>;

    impl<T> RwLock<T> {
        /// Wraps `value`; usable in a `static`.
        pub const fn new(value: T) -> Self {
            Self(std::sync::RwLock::new(value))
        }

        /// Locks for reading, whether or not a writer panicked before.
        #[inline]
        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// Locks for writing, whether or not a writer panicked before.
        #[inline]
        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

#[cfg(loom)]
mod on_loom;
#[cfg(loom)]
use on_loom as imp;

#[cfg(loom)]
#[doc(hidden)]
pub use imp::__loom;
pub use imp::{
    Arc, AtomicWaker, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak, atomic,
    thread, thread_local,
};
pub(crate) use imp::{SHARDS, WAKES, cell, fence_after_rmw, spin, thread_yield};
