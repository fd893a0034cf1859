//! Permits: what is held while one runs.

use core::fmt;

use super::ConcurrencyLimiter;

macro_rules! permit {
    ($(#[$doc:meta])* $name:ident $(<$life:lifetime>)?, $limiter:ty) => {
        $(#[$doc])*
        #[must_use = "the permit goes back as soon as it is dropped"]
        pub struct $name $(<$life>)? {
            limiter: $limiter,
            n: u32,
        }

        impl $(<$life>)? $name $(<$life>)? {
            pub(super) fn new(limiter: $limiter, n: u32) -> Self {
                Self { limiter, n }
            }

            /// How many permits this holds.
            pub fn count(&self) -> u32 {
                self.n
            }

            /// Takes `n` permits out of this one into a permit of their own; `None` if it holds
            /// fewer.
            pub fn split(&mut self, n: u32) -> Option<Self> {
                self.n = self.n.checked_sub(n)?;
                Some(Self::new(Clone::clone(&self.limiter), n))
            }

            /// Keeps the permits in flight for ever: the limiter has so many fewer.
            pub fn forget(mut self) {
                self.n = 0;
            }
        }

        impl $(<$life>)? Drop for $name $(<$life>)? {
            fn drop(&mut self) {
                if self.n > 0 {
                    self.limiter.0.permits.release(self.n);
                }
            }
        }

        impl $(<$life>)? fmt::Debug for $name $(<$life>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("count", &self.n)
                    .field("limiter", &self.limiter)
                    .finish()
            }
        }
    };
}

permit! {
    /// Permits held, given back on drop.
    Permit<'a>, &'a ConcurrencyLimiter
}

permit! {
    /// Permits held without borrowing the limiter, for tasks; given back on drop.
    OwnedPermit, ConcurrencyLimiter
}
