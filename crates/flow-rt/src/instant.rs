//! A point in monotonic time: nanoseconds in a `u64`.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};
use core::time::Duration;
use std::sync::OnceLock;

/// A point on a runtime's monotonic clock, in nanoseconds since that clock's origin.
///
/// std's `Instant` cannot be constructed, which virtual time needs, and does not fit an atomic,
/// which limiters need; this one is a `u64`. All arithmetic saturates: the far end is
/// [`FAR_FUTURE`](Self::FAR_FUTURE), which timers treat as *never*, about 584 years away.
///
/// Instants of two clocks (two simulations, or a simulation and the machine) are not comparable;
/// real runtimes all share one origin.
///
/// ```
/// use std::time::Duration;
/// use flow_rt::Instant;
///
/// let start = Instant::from_nanos(1_000);
/// assert_eq!(start + Duration::from_nanos(5), Instant::from_nanos(1_005));
/// assert_eq!(start - Instant::from_nanos(2_000), Duration::ZERO); // saturates
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the clock.
    pub const ORIGIN: Self = Self(0);

    /// Never: a timer armed here does not fire.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// The instant `nanos` after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whether this is [`FAR_FUTURE`](Self::FAR_FUTURE).
    pub const fn is_far_future(self) -> bool {
        self.0 == u64::MAX
    }

    /// The machine's monotonic clock, read now.
    ///
    /// Primitives ask their [`Handle`](crate::Handle) or [`Clock`](crate::Clock) instead, so
    /// that they obey virtual time.
    pub fn now_monotonic() -> Self {
        #[allow(clippy::disallowed_methods)] // the one place that reads the machine's clock
        Self::from_std(std::time::Instant::now())
    }

    /// The same point as a std instant; `None` where std cannot represent it.
    pub fn to_std(self) -> Option<std::time::Instant> {
        origin().checked_add(Duration::from_nanos(self.0))
    }

    /// The same point from a std instant; one before the process's origin becomes the origin.
    pub fn from_std(at: std::time::Instant) -> Self {
        Self(nanos(at.saturating_duration_since(origin())))
    }

    /// `self + by`, or `None` past the representable range.
    pub fn checked_add(self, by: Duration) -> Option<Self> {
        let by = u64::try_from(by.as_nanos()).ok()?;
        self.0.checked_add(by).map(Self)
    }

    /// `self + by`, [`FAR_FUTURE`](Self::FAR_FUTURE) at the most.
    pub const fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// `self - by`, the origin at the least.
    pub const fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }

    /// The time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::FAR_FUTURE`].
    fn add(self, by: Duration) -> Self {
        self.saturating_add(by)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at [`Instant::ORIGIN`].
    fn sub(self, by: Duration) -> Self {
        self.saturating_sub(by)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, by: Duration) {
        *self = *self - by;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Saturates at zero.
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_far_future() {
            f.write_str("never")
        } else {
            write!(f, "+{:?}", Duration::from_nanos(self.0))
        }
    }
}

/// Nanoseconds of a duration, saturating: 584 years at the most.
const fn nanos(of: Duration) -> u64 {
    let all = of.as_nanos();
    if all > u64::MAX as u128 {
        u64::MAX
    } else {
        all as u64
    }
}

/// The process's origin: an hour before the first look at the clock, so that instants a little
/// before that look can be represented too.
fn origin() -> std::time::Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        #[allow(clippy::disallowed_methods)] // the origin of the machine's clock
        let now = std::time::Instant::now();
        now.checked_sub(Duration::from_secs(3_600)).unwrap_or(now)
    })
}
