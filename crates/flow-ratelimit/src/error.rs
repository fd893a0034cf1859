//! Every error of this crate's limiters of rate.

use core::fmt;
use core::time::Duration;

use flow_rt::{BlockOnError, HandleError};

use crate::rate::Rate;

/// Why a limiter cannot be built or changed as asked. A limiter that exists is unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A rate needs a period longer than zero.
    ZeroPeriod,
    /// A text is not a rate.
    InvalidRate {
        /// The text.
        text: Box<str>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The builder was given no rate.
    MissingRate,
    /// The builder was given no burst.
    MissingBurst,
    /// Two bursts were given, and they are not the same.
    TwoBursts {
        /// The burst beside the rate.
        in_text: u64,
        /// The burst given by itself.
        given: u64,
    },
    /// A bucket that holds nothing grants nothing.
    ZeroBurst,
    /// The builder was given no capacity.
    MissingCapacity,
    /// A leaky bucket or a queue that holds nothing.
    ZeroCapacity,
    /// A leaky bucket cannot start fuller than it can be.
    LevelAboveCapacity {
        /// The level to start with.
        given: u64,
        /// The capacity.
        capacity: u64,
    },
    /// The rate does not fit the bucket's word.
    RateTooHigh {
        /// The rate that was given.
        given: Rate,
        /// The highest one possible, in tokens per second.
        max_per_second: u64,
    },
    /// The burst does not fit the bucket's word.
    BurstTooLarge {
        /// The burst that was given.
        given: u64,
        /// The largest one possible.
        max: u64,
    },
    /// A bucket cannot start with more tokens than it holds.
    InitialAboveBurst {
        /// The tokens to start with.
        given: u64,
        /// The burst.
        burst: u64,
    },
    /// Tokens to start with were given twice: by number, and by a snapshot.
    InitialAndSnapshot,
    /// A snapshot is none of a bucket's.
    InvalidSnapshot {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The debt does not fit the bucket's word.
    DebtTooLarge {
        /// The debt that was given.
        given: u64,
        /// The largest one possible beside the burst.
        max: u64,
    },
    /// The jitter is longer than a year.
    JitterTooLong {
        /// The longest delay that was given.
        given: Duration,
    },
    /// The warm-up is longer than a year.
    WarmUpTooLong {
        /// The period that was given.
        given: Duration,
    },
    /// A queue for no waiter: `try_acquire` is the call that never waits.
    ZeroWaiters,
    /// A batch of no credits.
    ZeroBatch,
    /// The batch does not leave half of the burst to all others.
    BatchTooLarge {
        /// The batch that was given.
        given: u64,
        /// The largest one possible beside those that exist.
        max: u64,
    },
    /// A bucket in no shards; one is in one piece if nothing is said.
    ZeroShards,
    /// The burst is too small for so many shards.
    TooManyShards {
        /// The shards that were asked for.
        given: usize,
        /// The most possible with this burst.
        max: usize,
    },
    /// The burst does not leave half of it beside the credits that are set aside.
    BurstBelowCredits {
        /// The burst that was given.
        given: u64,
        /// The smallest one possible: twice the credits.
        min: u64,
    },
    /// Credits of a bucket that may be overdrawn: it offers none.
    CreditsWithDebt {
        /// The debt that it was built with.
        debt: u64,
    },
    /// Credits of a bucket whose newcomers may pass those who wait: it offers none.
    CreditsWithBarging,
    /// Credits of a bucket that warms up: it offers none.
    CreditsWithWarmUp {
        /// The period that it was built with.
        period: Duration,
    },
    /// The builder was given no limit.
    NoLimits,
    /// More limits than one limiter has.
    TooManyLimits {
        /// How many were given.
        given: usize,
        /// The most possible.
        max: usize,
    },
    /// A limit of several was given no burst.
    LimitWithoutBurst {
        /// Its place, from 0.
        index: usize,
    },
    /// A limit of several, read from settings, that cannot be built.
    InvalidLimit {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        reason: Box<Self>,
    },
    /// Not as many snapshots as limits.
    OtherSnapshots {
        /// How many were given.
        given: usize,
        /// How many limits there are.
        limits: usize,
    },
    /// A bucket has no limit at this place.
    NoSuchLimit {
        /// The place that was given, from 0.
        given: usize,
        /// How many limits there are.
        limits: usize,
    },
    /// The builder was given no child.
    NoChildren,
    /// Two children have the same name.
    DuplicateChild {
        /// The name.
        name: Box<str>,
    },
    /// No child has this name.
    UnknownChild {
        /// The name that was asked for.
        given: Box<str>,
        /// Those that there are.
        known: Vec<Box<str>>,
    },
    /// A child without a part of the rate.
    ZeroWeight,
    /// The weights of all children together are too many parts.
    WeightsTooLarge {
        /// How many they are.
        given: u64,
        /// The most possible.
        max: u64,
    },
    /// A child would have less than one token of the burst.
    BurstBelowShares {
        /// The burst that was given.
        given: u64,
        /// The smallest one possible with these weights.
        min: u64,
    },
    /// The builder was given no number of keys.
    MissingMaxKeys,
    /// A limiter of keys that can tell none apart.
    ZeroKeys,
    /// More keys than any table has slots for.
    TooManyKeys {
        /// The keys that were asked for.
        given: usize,
        /// The most possible.
        max: usize,
    },
    /// There is no memory for the slots of so many keys.
    NoMemoryForKeys {
        /// The keys that were asked for.
        given: usize,
        /// How much it would have been.
        bytes: usize,
    },
    /// A limiter that grows to fewer keys than it starts with.
    GrowthBelowKeys {
        /// The keys to grow to.
        given: usize,
        /// The keys it starts with.
        keys: usize,
    },
    /// How far it may grow was said of a limiter that does not.
    GrowthWithoutGrow {
        /// The keys to grow to.
        given: usize,
    },
    /// More classes of keys than can be told apart.
    TooManyClasses {
        /// The classes that were given, the builder's own quota among them.
        given: usize,
        /// The most possible.
        max: usize,
    },
    /// The limiter has no such class of keys.
    NoSuchClass {
        /// The class that was asked for.
        given: usize,
        /// How many there are; they are counted from 0.
        classes: usize,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroPeriod => f.write_str(
                "a rate's period must be longer than zero; `Rate::UNLIMITED` has no limit",
            ),
            Self::InvalidRate { text, reason } => write!(
                f,
                "{text:?} is not a rate: {reason}; write it like \"100/s\", \"60/min\" or \"5000/1h\""
            ),
            Self::MissingRate => f.write_str("no rate was given: call `.rate(..)` on the builder"),
            Self::MissingBurst => f.write_str(MISSING_BURST),
            Self::TwoBursts { in_text, given } => write!(
                f,
                "two bursts were given, {in_text} beside the rate and {given} by `.burst(..)`: \
                 give one"
            ),
            Self::ZeroBurst => {
                f.write_str("the burst must be at least 1: a bucket of 0 would grant nothing")
            }
            Self::MissingCapacity | Self::ZeroCapacity | Self::LevelAboveCapacity { .. } => {
                self.fmt_of_capacity(f)
            }
            Self::RateTooHigh {
                given,
                max_per_second,
            } => write!(
                f,
                "the rate {given} is too high for this bucket: at most {max_per_second}/s, or \
                 `Rate::UNLIMITED`"
            ),
            Self::BurstTooLarge { given, max } => write!(
                f,
                "a burst or capacity of {given} is too large for this bucket: at most {max}"
            ),
            Self::InitialAboveBurst { given, burst } => write!(
                f,
                "{given} tokens to start with do not fit a burst of {burst}"
            ),
            Self::InitialAndSnapshot => f.write_str(
                "a bucket starts with a snapshot's tokens or with a number of them, not with both",
            ),
            Self::InvalidSnapshot { reason } => {
                write!(f, "no bucket was like this snapshot: {reason}")
            }
            Self::DebtTooLarge { given, max } => write!(
                f,
                "the debt of {given} is too large for this bucket: at most {max} beside its burst"
            ),
            Self::JitterTooLong { given } => too_long(f, "jitter of up to", *given),
            Self::WarmUpTooLong { given } => too_long(f, "warm-up of", *given),
            Self::ZeroWaiters => f.write_str(
                "max_waiters must be at least 1; `try_acquire` is the call that never waits",
            ),
            Self::ZeroBatch => {
                f.write_str("a batch must be at least 1; without batches, ask the bucket itself")
            }
            Self::BatchTooLarge { given, max } => write!(
                f,
                "a batch of {given} is too large: at most {max}, so that all batches together are \
                 half of the burst at the most"
            ),
            Self::ZeroShards => f.write_str(
                "a bucket needs at least 1 shard; leave `sharded` out for one without shards",
            ),
            Self::TooManyShards { given, max } => write!(
                f,
                "{given} shards are too many: at most {max} with this burst, since each sets 4 \
                 tokens aside at the least, and all together half of the burst at the most"
            ),
            Self::BurstBelowCredits { given, min } => write!(
                f,
                "the burst {given} is too small for the credits of this bucket: at least {min}, \
                 twice as much as they are"
            ),
            Self::CreditsWithDebt { .. }
            | Self::CreditsWithBarging
            | Self::CreditsWithWarmUp { .. } => self.fmt_of_credits(f),
            Self::NoLimits
            | Self::TooManyLimits { .. }
            | Self::LimitWithoutBurst { .. }
            | Self::InvalidLimit { .. }
            | Self::OtherSnapshots { .. }
            | Self::NoSuchLimit { .. } => self.fmt_of_limits(f),
            Self::NoChildren
            | Self::DuplicateChild { .. }
            | Self::UnknownChild { .. }
            | Self::ZeroWeight
            | Self::WeightsTooLarge { .. }
            | Self::BurstBelowShares { .. } => self.fmt_of_children(f),
            Self::MissingMaxKeys
            | Self::ZeroKeys
            | Self::TooManyKeys { .. }
            | Self::NoMemoryForKeys { .. }
            | Self::GrowthBelowKeys { .. }
            | Self::GrowthWithoutGrow { .. }
            | Self::TooManyClasses { .. }
            | Self::NoSuchClass { .. } => self.fmt_of_keys(f),
        }
    }
}

impl ConfigError {
    /// The texts about what a leaky bucket holds.
    fn fmt_of_capacity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroCapacity => {
                f.write_str("the capacity must be at least 1: one of 0 would let nobody go")
            }
            Self::LevelAboveCapacity { given, capacity } => write!(
                f,
                "a level of {given} to start with does not fit a capacity of {capacity}"
            ),
            _ => f.write_str(MISSING_CAPACITY),
        }
    }

    /// The texts about credits that a bucket does not offer.
    fn fmt_of_credits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreditsWithDebt { debt } => {
                let instead = "leave `debt` out, or the credits";
                no_credits(f, format_args!("a debt of {debt}"), instead)
            }
            Self::CreditsWithWarmUp { period } => {
                let instead = "leave `warm_up` out, or the credits";
                no_credits(f, format_args!("a warm-up of {period:?}"), instead)
            }
            _ => {
                let instead = "build it with `Fairness::Fifo`";
                no_credits(f, format_args!("`Fairness::Barging`"), instead)
            }
        }
    }

    /// The texts about the limits of one bucket.
    fn fmt_of_limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyLimits { given, max } => {
                write!(
                    f,
                    "{given} limits are too many for one limiter: at most {max}"
                )
            }
            Self::LimitWithoutBurst { index } => write!(
                f,
                "limit {index} has no burst: write it like \"100/s burst 20\""
            ),
            Self::InvalidLimit { index, reason } => write!(f, "limit {index}: {reason}"),
            Self::OtherSnapshots { given, limits } => write!(
                f,
                "{given} snapshots were given for {limits} limits: give one for each, in their order"
            ),
            Self::NoSuchLimit { given, limits } => write!(
                f,
                "there is no limit {given}: the bucket has {limits}, from 0 on"
            ),
            _ => f.write_str("no limit was given: give the builder one at least"),
        }
    }

    /// The texts about children that share a rate.
    fn fmt_of_children(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateChild { name } => {
                write!(
                    f,
                    "two children are called {name:?}: give each a name of its own"
                )
            }
            Self::UnknownChild { given, known } => {
                write!(f, "there is no child {given:?}, only {known:?}")
            }
            Self::ZeroWeight => {
                f.write_str("the weight of a child must be at least 1: one of 0 would have nothing")
            }
            Self::WeightsTooLarge { given, max } => write!(
                f,
                "the weights of all children are {given} together: at most {max}"
            ),
            Self::BurstBelowShares { given, min } => write!(
                f,
                "the burst {given} is too small for these weights: at least {min}, so that every \
                 child has one token of it"
            ),
            _ => f.write_str("no child was given: call `.child(..)` on the builder"),
        }
    }

    /// The texts about how many keys there may be, and of which classes.
    fn fmt_of_keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyKeys { given, max } => {
                write!(f, "{given} keys are too many for one table: at most {max}")
            }
            Self::NoMemoryForKeys { given, bytes } => write!(
                f,
                "there is no memory for {given} keys: their slots would take {bytes} bytes"
            ),
            Self::ZeroKeys => f.write_str(
                "max_keys must be at least 1: a table of 0 keys would tell none from another",
            ),
            Self::GrowthBelowKeys { given, keys } => write!(
                f,
                "a limiter for {keys} keys cannot grow to {given}: to as many at the least"
            ),
            Self::GrowthWithoutGrow { given } => write!(
                f,
                "a limiter grows to {given} keys only by `WhenFull::Grow`: choose that, or leave \
                 `grow_to` out"
            ),
            Self::TooManyClasses { given, max } => {
                write!(f, "{given} classes of keys are too many: at most {max}")
            }
            Self::NoSuchClass { given, classes } => write!(
                f,
                "there is no class {given}: the limiter has {classes}, counted from 0"
            ),
            _ => f.write_str("no number of keys was given: call `.max_keys(..)` on the builder"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why tokens were not granted now. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// There are not enough tokens yet, or others wait for them already.
    #[non_exhaustive]
    NotYet {
        /// When to come back: a lone caller who waits exactly this long, by the limiter's clock, is
        /// granted. A coarse clock may be behind the machine's by its step: so much longer then.
        ///
        /// Rounded up to a nanosecond; `Duration::MAX` if it is longer than the clock can tell.
        retry_after: Duration,
    },
    /// More was asked for than the bucket ever holds: waiting will not help.
    #[non_exhaustive]
    ExceedsBurst {
        /// The tokens asked for.
        requested: u64,
        /// What can be taken at once: the burst, and the debt if there may be one.
        burst: u64,
    },
    /// The rate is zero and too few tokens are left: only `set_rate` or `refund` can help.
    NeverRefills,
    /// As many callers wait as may.
    #[non_exhaustive]
    QueueFull {
        /// The most that may wait.
        max_waiters: usize,
    },
    /// The limiter was closed.
    Closed,
    /// There was no runtime to wait on.
    NoRuntime,
    /// The decision is made elsewhere, and nobody there could be asked.
    Unavailable,
    /// There is no room for another key that is not full, by
    /// [`WhenFull::Deny`](crate::WhenFull::Deny).
    #[non_exhaustive]
    KeysFull {
        /// When there will be room, if no key there spends anything meanwhile and no other takes
        /// it; `Duration::MAX` if that is never, or longer than the clock can tell.
        retry_after: Duration,
    },
    /// The limit is one for each key, and there was no key: said by layers, never by limiters.
    NoKey,
}

impl Denied {
    /// "Not yet", of a limiter of your own.
    pub const fn not_yet(retry_after: Duration) -> Self {
        Self::NotYet { retry_after }
    }

    /// "Never so many at once", of a limiter of your own.
    pub const fn exceeds_burst(requested: u64, burst: u64) -> Self {
        Self::ExceedsBurst { requested, burst }
    }

    /// "Too many wait already", of a limiter of your own.
    pub const fn queue_full(max_waiters: usize) -> Self {
        Self::QueueFull { max_waiters }
    }

    /// When to come back, if waiting helps at all.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotYet { retry_after } | Self::KeysFull { retry_after } => Some(*retry_after),
            _ => None,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet { retry_after } => {
                write!(f, "not enough tokens yet; retry after {retry_after:?}")
            }
            Self::ExceedsBurst { requested, burst } => exceeds_burst(f, *requested, *burst),
            Self::NeverRefills => f.write_str(NEVER_REFILLS),
            Self::QueueFull { max_waiters } => queue_full(f, *max_waiters),
            Self::Closed => f.write_str(CLOSED),
            Self::NoRuntime => f.write_str("there is no async runtime to wait on"),
            Self::Unavailable => f.write_str("whoever decides could not be asked"),
            Self::KeysFull { retry_after } => {
                write!(f, "no room for another key; retry after {retry_after:?}")
            }
            Self::NoKey => f.write_str("nothing says whose limit it is"),
        }
    }
}

impl std::error::Error for Denied {}

/// Why waiting for tokens ended without them. Nothing was taken, and nobody behind is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireError {
    /// The tokens cannot be there in time: found out at once, not by waiting, unless the rate fell
    /// meanwhile, or others took what was reckoned with; then at the limit.
    #[non_exhaustive]
    Timeout {
        /// How long the tokens would take from now on, by the rate and the queue of now;
        /// `Duration::MAX` if it is longer than the clock can tell. The limit itself, of a limiter
        /// that waits all the same when it is asked once more and there is no time left.
        would_wait: Duration,
    },
    /// More was asked for than the bucket ever holds.
    #[non_exhaustive]
    ExceedsBurst {
        /// The tokens asked for.
        requested: u64,
        /// What the bucket holds at the most.
        burst: u64,
    },
    /// The rate is zero and too few tokens are left.
    NeverRefills,
    /// As many callers wait as may.
    #[non_exhaustive]
    QueueFull {
        /// The most that may wait.
        max_waiters: usize,
    },
    /// The limiter was closed, before or during the wait.
    Closed,
    /// There is no runtime to wait on, and none was given to the builder.
    NoRuntime(HandleError),
    /// The runtime to wait on has been shut down.
    Stopped,
}

impl AcquireError {
    /// Of a bucket's decision that no wait can change.
    pub(crate) fn at_once(denied: Denied) -> Self {
        match denied {
            Denied::ExceedsBurst { requested, burst } => Self::ExceedsBurst { requested, burst },
            Denied::NeverRefills => Self::NeverRefills,
            // The bucket's own decisions have no other reason.
            _ => Self::Closed,
        }
    }

    /// Of a bucket's decision about one who has no time to wait.
    pub(crate) fn of_no_wait(denied: Denied) -> Self {
        match denied {
            Denied::NotYet { retry_after } => Self::Timeout {
                would_wait: retry_after,
            },
            denied => Self::at_once(denied),
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { would_wait } => write!(
                f,
                "the tokens would come {would_wait:?} from now, later than the timeout allows"
            ),
            Self::ExceedsBurst { requested, burst } => exceeds_burst(f, *requested, *burst),
            Self::NeverRefills => f.write_str(NEVER_REFILLS),
            Self::QueueFull { max_waiters } => queue_full(f, *max_waiters),
            Self::Closed => f.write_str(CLOSED),
            Self::NoRuntime(_) => f.write_str("there is no async runtime to wait on"),
            Self::Stopped => f.write_str("the runtime to wait on has been shut down"),
        }
    }
}

impl std::error::Error for AcquireError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoRuntime(source) => Some(source),
            _ => None,
        }
    }
}

/// Why [`acquire_blocking`](crate::TokenBucket::acquire_blocking) has no tokens. Nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireBlockingError {
    /// The wait ended without them.
    NotGranted(AcquireError),
    /// They were not there at once, and the thread must not wait.
    MustNotBlock(BlockOnError),
}

impl fmt::Display for AcquireBlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted(why) => why.fmt(f),
            Self::MustNotBlock(why) => write!(
                f,
                "not enough tokens yet, and the call may not wait for them: {why}"
            ),
        }
    }
}

impl std::error::Error for AcquireBlockingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its text is that of the whole.
            Self::NotGranted(why) => why.source(),
            Self::MustNotBlock(_) => None,
        }
    }
}

/// For those who only ask who may go: the reasons that a wait alone has are folded.
impl From<AcquireError> for Denied {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Timeout { would_wait } => Self::NotYet {
                retry_after: would_wait,
            },
            AcquireError::ExceedsBurst { requested, burst } => {
                Self::ExceedsBurst { requested, burst }
            }
            AcquireError::NeverRefills => Self::NeverRefills,
            AcquireError::QueueFull { max_waiters } => Self::QueueFull { max_waiters },
            AcquireError::Closed => Self::Closed,
            AcquireError::NoRuntime(_) | AcquireError::Stopped => Self::NoRuntime,
        }
    }
}

fn too_long(f: &mut fmt::Formatter<'_>, what: &str, given: Duration) -> fmt::Result {
    write!(f, "a {what} {given:?} is too long: at most 365 days")
}

fn no_credits(f: &mut fmt::Formatter<'_>, with: fmt::Arguments<'_>, instead: &str) -> fmt::Result {
    write!(
        f,
        "a bucket with {with} offers no credits, neither local ones nor in shards: {instead}"
    )
}

fn exceeds_burst(f: &mut fmt::Formatter<'_>, requested: u64, burst: u64) -> fmt::Result {
    write!(
        f,
        "{requested} tokens were asked for, but the bucket never holds more than its burst of {burst}"
    )
}

pub(crate) fn queue_full(f: &mut fmt::Formatter<'_>, max_waiters: usize) -> fmt::Result {
    write!(f, "as many callers wait already as may: {max_waiters}")
}

const MISSING_BURST: &str = "no burst was given: call `.burst(..)` on the builder";
const MISSING_CAPACITY: &str = "no capacity was given: call `.capacity(..)` on the builder";
const NEVER_REFILLS: &str = "too few tokens are left and the rate is zero, so none will come";
const CLOSED: &str = "the limiter is closed";
