//! What all handles of a limiter share: its keys, their quotas, and those who wait.
//!
//! # State
//! `attention` is twice the number of those who wait for any key, and one more once closed: while it
//! is 0, nobody looks at `waiters`.
//!
//! # Steps
//! - try: attention? No: the store decides. Yes: see `waiting`.
//! - refund, or a new quota: to the store or the quotas; fence; attention? See `waiting`.

use core::hash::Hash;
use std::borrow::Cow;

use flow_rt::{Clock, Handle, Instant};
use flow_sync::HashSeed;
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicUsize, Ordering};

use super::quotas::{Quotas, forgetting};
use super::store::{Ask, Finds, Store};
use super::waiting::Waiting;
use crate::decisions::Decisions;
use crate::error::{ConfigError, Denied};
use crate::granted::Granted;
use crate::rate::Rate;

/// What all handles of a limiter share.
pub(super) struct Table<C, S: Store> {
    pub(super) quotas: Quotas,
    pub(super) attention: AtomicUsize,
    pub(super) seed: HashSeed,
    pub(super) clock: C,
    pub(super) store: S,
    decisions: Decisions,
    pub(super) waiters: Mutex<Waiting<S::Tag>>,
    pub(super) max_waiters: usize,
    pub(super) runtime: Option<Handle>,
    pub(super) name: Option<Cow<'static, str>>,
}

/// What is fixed when the limiter is built.
pub(super) struct Settings {
    pub(super) max_waiters: usize,
    pub(super) seed: HashSeed,
    pub(super) is_counted: bool,
    pub(super) runtime: Option<Handle>,
    pub(super) name: Option<Cow<'static, str>>,
}

impl<C: Clock, S: Store> Table<C, S> {
    pub(super) fn new(quotas: Quotas, clock: C, store: S, settings: Settings) -> Self {
        Self {
            quotas,
            attention: AtomicUsize::new(0),
            seed: settings.seed,
            clock,
            store,
            decisions: Decisions::new(settings.is_counted),
            waiters: Mutex::new(Waiting::new()),
            max_waiters: settings.max_waiters,
            runtime: settings.runtime,
            name: settings.name,
        }
    }

    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q, class: u8) -> u64 {
        self.quotas.hash(self.seed, key, class)
    }

    /// Takes `n` tokens of a key, or says why not.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory"
    )]
    pub(super) fn try_take<Q: ?Sized>(&self, at: (u64, &Q), n: u64) -> Result<Granted, Denied>
    where
        S: Finds<Q>,
    {
        let now = self.clock.now();
        // While it is not known yet what the time is.
        let here = self.decisions.here();
        let granted = self
            .decide_now(at, n, Ask::Take, now)
            .inspect_err(|_| self.count(false))?;
        here.granted();
        Ok(granted)
    }

    /// What is asked about a key, behind those who wait for it.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory"
    )]
    pub(super) fn decide<Q: ?Sized>(
        &self,
        at: (u64, &Q),
        n: u64,
        ask: Ask,
    ) -> Result<Granted, Denied>
    where
        S: Finds<Q>,
    {
        self.decide_now(at, n, ask, self.clock.now())
    }

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "out of line an answer of five words goes through memory"
    )]
    fn decide_now<Q: ?Sized>(
        &self,
        at: (u64, &Q),
        n: u64,
        ask: Ask,
        now: Instant,
    ) -> Result<Granted, Denied>
    where
        S: Finds<Q>,
    {
        if self.attention.load(Ordering::Acquire) > 0 {
            // By its parts: as a whole it would be where the callee put it, all answers in memory.
            let granted = self.decide_behind(at, n, ask, now)?;
            return Ok(granted);
        }
        self.store.decide(&self.quotas, at, n, ask, now)
    }

    #[inline]
    pub(super) fn count(&self, granted: bool) {
        self.decisions.count(granted);
    }

    /// Puts a rate, a burst or both in force for a class from now on.
    pub(super) fn set_quota(
        &self,
        class: u8,
        rate: Option<Rate>,
        burst: Option<u64>,
    ) -> Result<(), ConfigError> {
        let now = self.clock.now();
        let hash = u64::from(class);
        let of = self.quotas.of(hash);
        let mut gone = S::Gone::default();
        let forget = forgetting(&self.store, &self.quotas, hash, now, &mut gone);
        match (rate, burst) {
            (Some(rate), Some(burst)) => of.set_quota(rate, burst, now, forget)?,
            (Some(rate), None) => of.set_rate(rate, now, forget)?,
            (None, Some(burst)) => of.set_burst(burst, now, forget)?,
            (None, None) => return Ok(()),
        }
        #[cfg(feature = "tracing")]
        {
            let name = self.name.as_deref();
            if let Some(rate) = rate {
                crate::events::changed(name, "rate", &rate);
            }
            if let Some(burst) = burst {
                crate::events::changed(name, "burst", &burst);
            }
        }
        self.quota_changed(hash);
        Ok(())
    }

    /// How many keys are not full now.
    pub(super) fn len(&self) -> usize {
        let lacks = self.quotas.lacks(self.clock.now());
        let mut count = 0;
        self.store
            .for_each(&mut |hash, used| count += usize::from(lacks(hash, used) > 0));
        count
    }

    /// Grants and denials so far, if they are counted.
    pub(super) fn counted(&self) -> Option<(u64, u64)> {
        self.decisions.so_far()
    }

    /// How many wait, for any key.
    pub(super) fn waiting(&self) -> usize {
        self.attention.load(Ordering::Acquire) >> 1
    }

    pub(super) fn is_closed(&self) -> bool {
        self.attention.load(Ordering::Acquire) & 1 != 0
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }
}
