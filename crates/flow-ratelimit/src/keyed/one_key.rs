//! One key of many, as a limiter like any other.

use core::fmt;
use core::task::{Context, Poll};
use std::sync::Arc;

use flow_rt::{Clock, DefaultClock};

use super::hashed::Hashed;
use super::store::{Ask, Finds, Store};
use super::table::Table;
use crate::error::{AcquireError, Denied};
use crate::granted::Granted;
use crate::limiter::Limiter;
use crate::wait_state::WaitState;

/// One key of a [`KeyedLimiter`](crate::KeyedLimiter) as a [`Limiter`]: see
/// [`key`](crate::KeyedLimiter::key).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use flow_ratelimit::{Composite, KeyedLimiter, Limiter, TokenBucket};
///
/// let per_client = KeyedLimiter::<str>::new("60/min", 10, 1_000)?;
/// let all = TokenBucket::new("100/s", 20)?;
///
/// let anna = per_client.key("anna");
/// Composite::new((&anna, &all)).try_acquire_n(3)?;
/// assert_eq!((per_client.available("anna"), all.available()), (7, 17));
/// # Ok(())
/// # }
/// ```
pub struct OneKey<'a, Q: ?Sized, C = DefaultClock, S: Store = Hashed> {
    table: &'a Arc<Table<C, S>>,
    hash: u64,
    key: &'a Q,
}

impl<'a, Q: ?Sized, C, S: Store> OneKey<'a, Q, C, S> {
    pub(super) const fn new(table: &'a Arc<Table<C, S>>, hash: u64, key: &'a Q) -> Self {
        Self { table, hash, key }
    }
}

impl<Q, C, S> Limiter for OneKey<'_, Q, C, S>
where
    Q: Sync + ?Sized,
    C: Clock + 'static,
    S: Finds<Q>,
{
    fn try_acquire_n(&self, n: u64) -> Result<Granted, Denied> {
        self.table.try_take((self.hash, self.key), n)
    }

    fn peek_n(&self, n: u64) -> Result<(), Denied> {
        let peeked = self.table.decide((self.hash, self.key), n, Ask::Peek);
        peeked.map(drop)
    }

    fn refund(&self, n: u64) {
        self.table.give_back((self.hash, self.key), n);
    }

    fn poll_acquire_n(
        &self,
        cx: &mut Context<'_>,
        n: u64,
        state: &mut WaitState,
    ) -> Poll<Result<Granted, AcquireError>> {
        self.table.poll_take(cx, (self.hash, self.key), n, state)
    }
}

impl<Q: ?Sized, C, S: Store> Clone for OneKey<'_, Q, C, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized, C, S: Store> Copy for OneKey<'_, Q, C, S> {}

impl<Q: ?Sized, C, S: Store> fmt::Debug for OneKey<'_, Q, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whose it is may be secret.
        f.debug_struct("OneKey").finish_non_exhaustive()
    }
}
