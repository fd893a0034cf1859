//! The atomics of seats and of what is counted there: core's, which are no states of a model and
//! may stand in a `static`; and loom's, for the models of the seats themselves (`model::Seats`).

use core::sync::atomic::Ordering;

/// A bit for each seat.
pub(crate) trait Bits {
    fn look(&self) -> u32;
    /// What is there if it is not `current`, or by chance.
    fn exchange_weak(&self, current: u32, new: u32, order: Ordering) -> Result<u32, u32>;
    fn keep(&self, mask: u32, order: Ordering);
}

/// What was counted.
pub(crate) trait Sum {
    fn look(&self) -> u64;
    fn put(&self, sum: u64);
    fn add(&self, n: u64);
}

macro_rules! words {
    ($($word:ident)::+) => {
        impl Bits for $($word)::+::AtomicU32 {
            #[inline]
            fn look(&self) -> u32 {
                self.load(Ordering::Relaxed)
            }

            #[inline]
            fn exchange_weak(&self, current: u32, new: u32, order: Ordering) -> Result<u32, u32> {
                self.compare_exchange_weak(current, new, order, Ordering::Relaxed)
            }

            #[inline]
            fn keep(&self, mask: u32, order: Ordering) {
                self.fetch_and(mask, order);
            }
        }

        impl Sum for $($word)::+::AtomicU64 {
            #[inline]
            fn look(&self) -> u64 {
                self.load(Ordering::Relaxed)
            }

            #[inline]
            fn put(&self, sum: u64) {
                self.store(sum, Ordering::Relaxed);
            }

            #[inline]
            fn add(&self, n: u64) {
                self.fetch_add(n, Ordering::Relaxed);
            }
        }
    };
}

words!(core::sync::atomic);
#[cfg(loom)]
words!(loom::sync::atomic);
