//! The builder of a token bucket.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use flow_rt::{Backoff, BackoffConfigError, Clock, DefaultClock, Handle};

use super::TokenBucket;
use super::core::{Core, Settings, Start};
use super::fairness::Fairness;
use super::snapshot::Snapshot;
use super::warm_up::WarmUp;
use crate::error::ConfigError;
use crate::quota::{IntoQuota, Quota};
use crate::waiting::Rules;

/// Configures a [`TokenBucket`]; everything is checked by [`build`](Self::build).
#[must_use = "a builder does nothing until `build` is called"]
pub struct TokenBucketBuilder<C = DefaultClock> {
    quota: Option<Result<Quota, ConfigError>>,
    burst: Option<u64>,
    initial: Option<u64>,
    snapshot: Option<Snapshot>,
    clock: C,
    is_counted: bool,
    settings: Settings,
}

impl TokenBucketBuilder {
    pub(crate) fn new() -> Self {
        Self {
            quota: None,
            burst: None,
            initial: None,
            snapshot: None,
            clock: DefaultClock::new(),
            is_counted: true,
            settings: Settings {
                waits: Rules::new(),
                fairness: Fairness::Fifo,
                max_reserve: Duration::MAX,
                debt: 0,
                warm_up: None,
                shards: None,
            },
        }
    }
}

impl<C: Clock> TokenBucketBuilder<C> {
    /// How fast tokens come: a [`Rate`](crate::Rate), or a text like `"100/s"`. Required, but for
    /// a snapshot.
    ///
    /// `"5000/1h burst 200"` says the burst too.
    pub fn rate(mut self, rate: impl IntoQuota) -> Self {
        self.quota = Some(rate.into_quota());
        self
    }

    /// How many tokens the bucket holds, and so how many can be taken at once. Required, unless
    /// it stands beside the rate or in a snapshot.
    pub fn burst(mut self, burst: u64) -> Self {
        self.burst = Some(burst);
        self
    }

    /// How many tokens it starts with; it starts full otherwise.
    pub fn initial(mut self, tokens: u64) -> Self {
        self.initial = Some(tokens);
        self
    }

    /// Goes on from a [snapshot](TokenBucket::snapshot) of an earlier bucket: with its tokens,
    /// and those that have come since by its rate and the wall clock, up to its burst.
    ///
    /// Rate and burst are the snapshot's unless others are given; of a smaller burst the rest is
    /// lost. A wall clock that was put back credits nothing, and one that was put forward at the
    /// most a full bucket.
    pub fn restore(mut self, snapshot: &Snapshot) -> Self {
        self.snapshot = Some(*snapshot);
        self
    }

    /// What to call it in reports and metrics.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.settings.waits.name = Some(name.into());
        self
    }

    /// How many callers may wait at once; any number otherwise.
    pub fn max_waiters(mut self, max: usize) -> Self {
        self.settings.waits.max_waiters = max;
        self
    }

    /// Whether newcomers may pass those who wait; [`Fairness::Fifo`] otherwise: they may not.
    pub fn fairness(mut self, fairness: Fairness) -> Self {
        self.settings.fairness = fairness;
        self
    }

    /// How late a timer may be without those who wait losing by it; 4 ms otherwise.
    ///
    /// What is supplied in this time is kept for them beyond the burst, since a host's timers
    /// are late by up to 2 ms and a rate could not be kept otherwise. It is for those who wait
    /// only, and while they wait. Zero keeps to the burst, at the price of the rate.
    ///
    /// A runtime that stands still is later than that: another one's driver, or a thread, takes
    /// over after 20 ms. What is supplied until then beyond the larger of burst and `late` is lost:
    /// up to 16 ms of supply by default.
    pub fn catch_up(mut self, late: Duration) -> Self {
        self.settings.waits.catch_up = late;
        self
    }

    /// How far ahead may be reserved; any time otherwise.
    ///
    /// A [reservation](TokenBucket::reserve_n) that would be ready later than that is refused
    /// with the time after which it will not be.
    pub fn max_reserve(mut self, ahead: Duration) -> Self {
        self.settings.max_reserve = ahead;
        self
    }

    /// How many tokens can be taken before they have come; none otherwise.
    ///
    /// `try_acquire` then takes up to so many more than there are, and up to burst and debt at
    /// once, and so does a [`Decide`](crate::Decide) that is given no time; whoever comes next finds
    /// that many fewer until the debt is paid by the rate. Those who wait and those who reserve make
    /// no debt, whatever their timeout: they go when the bucket has paid what was owed and supplied
    /// what they need, which may be more than its burst.
    ///
    /// It cannot be taken ahead as credits: not together with [`sharded`](Self::sharded), and
    /// [`local`](TokenBucket::local) refuses.
    ///
    /// So over any time `t` at most `burst + debt + rate × t` tokens are granted; if somebody
    /// waits or reserves for more than the burst, that much more.
    pub fn debt(mut self, tokens: u64) -> Self {
        self.settings.debt = tokens;
        self
    }

    /// Lets those who have waited return later by a random time of up to `most`, reckoned from
    /// their first poll after the grant; at once otherwise.
    ///
    /// Callers that are granted together then do not act together. Their tokens are taken when
    /// their turn comes, so nobody else waits longer and the rate stays what it is. A wait with
    /// a timeout returns in time all the same, and whoever need not wait is never held up; threads
    /// that block return at once, since the system's scheduler scatters them. Each time it takes
    /// two allocations: for the grant that is put off, and for its timer.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.settings.waits.jitter =
            (!most.is_zero()).then(|| Backoff::constant(most).full_jitter().attempts(2));
        self
    }

    /// Lets what it protects warm up: after a pause, and at the start, tokens come at a third of
    /// the rate, and faster from step to step until they come at the rate when `period` is over.
    /// At the rate at once if it is zero, or never called.
    ///
    /// A pause is at least so long as `period`; there was a token in it, and nobody came or waited.
    /// The next request ends it, if it is for no more than the burst: from then on tokens come in
    /// 32 steps that are never above the straight way from a third to the whole rate, and at the
    /// most a 48th of the rate below it; two thirds of what the rate gives, nearly, in all. Whoever
    /// keeps asking makes no pause, however low the rate.
    ///
    /// What is in the bucket can be taken at once all the same, so a burst of 1 is best, or a
    /// [`Pacer`](crate::Pacer). Over any time it grants no more than without a warm-up, and `t`
    /// after it began no more than the burst and what has come until then.
    ///
    /// - [`retry_after`](crate::Denied::retry_after), waits and reservations know the steps to
    ///   come, so they are as exact as ever. Only
    ///   [`reset_after`](crate::Granted::reset_after) reckons by the step in force: at most so
    ///   long.
    /// - [`rate`](TokenBucket::rate) is the rate at the end. A new one is warmed up to in the time
    ///   that is left; [`set_burst`](TokenBucket::set_burst) and refunds change nothing about it.
    ///   With [`Rate::UNLIMITED`](crate::Rate::UNLIMITED) and
    ///   [`Rate::ZERO`](crate::Rate::ZERO) there is nothing to warm up to, but the time goes on.
    /// - A [snapshot](TokenBucket::snapshot) has no warm-up in it: the bucket restored from it
    ///   begins as after a pause.
    /// - A clock that goes back stops it; one that jumps ahead looks like a pause.
    ///
    /// Each decision takes the bucket's lock, and the one that ends a pause, or a change of rate or
    /// burst meanwhile, reckons the steps to come. There are no credits beside it: not together
    /// with [`sharded`](Self::sharded), and [`local`](TokenBucket::local) refuses.
    /// [`build`](Self::build) refuses more than 365 days.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use flow_ratelimit::TokenBucket;
    /// use flow_rt::ManualClock;
    ///
    /// let clock = ManualClock::new();
    /// let bucket = TokenBucket::builder().rate("100/s").burst(1);
    /// let bucket = bucket.warm_up(Duration::from_secs(8)).clock(clock.clone()).build()?;
    /// let wait = || bucket.try_acquire().map_err(|denied| denied.retry_after());
    ///
    /// assert!(wait().is_ok());
    /// assert_eq!(wait(), Err(Some(Duration::from_millis(30)))); // three times as long
    ///
    /// clock.advance(Duration::from_secs(8));
    /// assert!(wait().is_ok());
    /// assert_eq!(wait(), Err(Some(Duration::from_millis(10))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn warm_up(mut self, period: Duration) -> Self {
        self.settings.warm_up = (!period.is_zero()).then_some(period);
        self
    }

    /// Where those who wait are driven; otherwise on the runtimes that poll them.
    pub fn runtime(mut self, runtime: &Handle) -> Self {
        self.settings.waits.runtime = Some(runtime.clone());
        self
    }

    /// Lets threads take tokens by the batch, into `shards` shards that they spend from side by
    /// side, without looking at the clock. One per thread that often asks is best.
    ///
    /// The burst stays exact: a batch per shard is set aside from it (up to 32 tokens each, half
    /// of the burst in all), so what is granted *at once* from a bucket that fills up while
    /// nobody asks is the burst less that; [`Granted::limit`](crate::Granted::limit) says how
    /// much. Nothing is stranded: near the end a shard takes nothing ahead, and before anybody is
    /// denied or waits the shards give back what is missing. A grant paid by a shard tells how the
    /// bucket stood when the shard last took a batch.
    ///
    /// [`build`](Self::build) refuses no shards at all, more than the burst has tokens for (8 for
    /// each) or more than 1024, and shards together with [`debt`](Self::debt),
    /// [`warm_up`](Self::warm_up) or [`Fairness::Barging`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use flow_ratelimit::{ConfigError, TokenBucket};
    ///
    /// let builder = TokenBucket::builder().rate("1000000/s").burst(1_000);
    /// let bucket = builder.sharded(2).build()?;
    /// let granted = bucket.try_acquire()?; // 1 token, and 32 credits for this thread's shard
    /// assert_eq!(granted.limit(), 1_000 - 2 * 32);
    /// bucket.try_acquire()?; // a credit
    ///
    /// let small = TokenBucket::builder().rate("10/s").burst(10).sharded(2);
    /// let refused = small.build().unwrap_err();
    /// assert_eq!(refused, ConfigError::TooManyShards { given: 2, max: 1 });
    /// # Ok(())
    /// # }
    /// ```
    pub fn sharded(mut self, shards: usize) -> Self {
        self.settings.shards = Some(shards);
        self
    }

    /// Whether decisions are counted; they are otherwise. It is about a nanosecond; the
    /// cells for them, 3 KiB, are there in any case.
    pub fn counted(mut self, counted: bool) -> Self {
        self.is_counted = counted;
        self
    }

    /// The clock it runs on; otherwise that of the simulation in which `builder()` was called, or
    /// else the machine's. Changes the type.
    pub fn clock<D: Clock>(self, clock: D) -> TokenBucketBuilder<D> {
        TokenBucketBuilder {
            quota: self.quota,
            burst: self.burst,
            initial: self.initial,
            snapshot: self.snapshot,
            clock,
            is_counted: self.is_counted,
            settings: self.settings,
        }
    }

    /// Builds the bucket.
    ///
    /// # Errors
    /// [`ConfigError`] if rate or burst is missing or out of range, or another value is wrong.
    pub fn build(self) -> Result<TokenBucket<C>, ConfigError> {
        let snapshot = self.snapshot;
        let quota = match self.quota {
            Some(quota) => quota?,
            None => snapshot.ok_or(ConfigError::MissingRate)?.rate.into(),
        };
        let burst = match (self.burst, quota.burst) {
            (None, None) => snapshot.map(|it| it.burst),
            (given, _) => given,
        };
        let (rate, burst) = quota.complete(burst)?;
        if self.settings.waits.max_waiters == 0 {
            return Err(ConfigError::ZeroWaiters);
        }
        if self.settings.shards.is_some() {
            self.settings.allow_credits()?;
        }
        self.settings.warm_up.map_or(Ok(()), WarmUp::check)?;
        if let Some(Err(BackoffConfigError::Delay { given })) =
            self.settings.waits.jitter.as_ref().map(Backoff::validate)
        {
            return Err(ConfigError::JitterTooLong { given });
        }
        let start = match (self.initial, snapshot) {
            (Some(_), Some(_)) => return Err(ConfigError::InitialAndSnapshot),
            (None, Some(snapshot)) => {
                snapshot.check()?;
                let elapsed = snapshot.elapsed(self.settings.waits.runtime.as_ref());
                Start::From(snapshot, elapsed)
            }
            (initial, None) => Start::With(initial.unwrap_or(burst)),
        };
        let core = Core::new(
            rate,
            burst,
            start,
            self.clock,
            self.is_counted,
            self.settings,
        )?;
        Ok(TokenBucket {
            core: Arc::new(core),
        })
    }
}

impl<C> fmt::Debug for TokenBucketBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBucketBuilder")
            .field("rate", &self.quota)
            .field("burst", &self.burst)
            .field("initial", &self.initial)
            .field("snapshot", &self.snapshot)
            .field("name", &self.settings.waits.name)
            .field("max_waiters", &self.settings.waits.max_waiters)
            .field("fairness", &self.settings.fairness)
            .field("catch_up", &self.settings.waits.catch_up)
            .field("max_reserve", &self.settings.max_reserve)
            .field("debt", &self.settings.debt)
            .field("jitter", &self.settings.waits.jitter)
            .field("warm_up", &self.settings.warm_up)
            .field("sharded", &self.settings.shards)
            .field("runtime", &self.settings.waits.runtime)
            .field("counted", &self.is_counted)
            .finish_non_exhaustive()
    }
}
