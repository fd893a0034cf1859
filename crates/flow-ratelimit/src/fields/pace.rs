//! A client that keeps to what a server says.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use flow_rt::{Clock, DefaultClock, Handle, Instant};
use http::HeaderMap;

use super::client::{quota_policies, retry_after, service_limits};
use crate::error::{AcquireError, Denied};

/// When a client may send its next request, by what the server has said in its responses. Clones are
/// the same.
///
/// `Retry-After` is obeyed before all else. Without it, `RateLimit` is: as many requests as are left
/// in its window, and then none until that ends; of several limits the one that leaves the least.
/// What a response says replaces what the one before did, and a response that says nothing changes
/// nothing: so it is exact for one request after the other, and with several under way at once the
/// server has the last word.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # flow_rt::sim::Sim::new(0).run(|rt| async move {
/// use flow_ratelimit::fields::Pace;
/// # use http::{HeaderMap, HeaderValue};
/// # let mut headers = HeaderMap::new();
/// # headers.insert("retry-after", HeaderValue::from(2));
/// # async fn send() {}
///
/// let pace = Pace::new();
/// pace.start().await?; // at once: nothing is known
/// send().await;
/// pace.observe(&headers); // `Retry-After: 2`
/// let then = rt.now();
/// pace.start().await?;
/// assert_eq!(rt.now() - then, std::time::Duration::from_secs(2));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?.output
/// # }
/// ```
pub struct Pace<C = DefaultClock> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    clock: C,
    longest: Duration,
    told: Mutex<Told>,
}

/// What the server has said last.
#[derive(Default)]
struct Told {
    /// Nothing before this.
    not_before: Option<Instant>,
    /// So many more requests, until this.
    left: Option<(u64, Instant)>,
}

impl Pace {
    /// Nothing is known yet. Waits of more than an hour are refused.
    pub fn new() -> Self {
        Self::with_clock(DefaultClock::new(), LONGEST)
    }

    /// The longest wait that a server may ask for; [`start`](Self::start) fails at once if it is
    /// told to wait longer.
    pub fn up_to(longest: Duration) -> Self {
        Self::with_clock(DefaultClock::new(), longest)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> Pace<C> {
    /// By a clock of your own, with the longest wait that a server may ask for.
    pub fn with_clock(clock: C, longest: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                longest,
                told: Mutex::default(),
            }),
        }
    }

    /// Whether a request may be sent now; counts it if so.
    ///
    /// # Errors
    /// [`Denied::NotYet`] with the time until the next may.
    pub fn try_start(&self) -> Result<(), Denied> {
        let now = self.shared.clock.now();
        let mut told = self.told();
        if let Some(at) = told.not_before {
            if now < at {
                return Err(Denied::not_yet(at - now));
            }
            told.not_before = None;
        }
        match &mut told.left {
            Some((_, until)) if now >= *until => told.left = None,
            Some((0, until)) => return Err(Denied::not_yet(*until - now)),
            Some((left, _)) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    /// Waits until a request may be sent, and counts it.
    ///
    /// # Errors
    /// [`AcquireError::Timeout`], at once, if the server asks for a longer wait than it may;
    /// [`AcquireError::NoRuntime`] and [`AcquireError::Stopped`] if there is nothing to wait on.
    ///
    /// # Cancel safety
    /// Dropping the future counts nothing.
    pub async fn start(&self) -> Result<(), AcquireError> {
        while let Err(denied) = self.try_start() {
            let would_wait = denied.retry_after().unwrap_or_default();
            if would_wait > self.shared.longest {
                return Err(AcquireError::Timeout { would_wait });
            }
            let runtime = Handle::current().map_err(AcquireError::NoRuntime)?;
            let slept = runtime.sleep(would_wait).await;
            slept.map_err(|_| AcquireError::Stopped)?;
        }
        Ok(())
    }

    /// Takes note of what a response says. Malformed and enormous fields are ignored.
    pub fn observe(&self, headers: &HeaderMap) {
        if let Some(wait) = retry_after(headers, wall()) {
            let at = self.shared.clock.now() + wait;
            *self.told() = Told {
                not_before: Some(at),
                left: None,
            };
            return;
        }
        let mut limits = service_limits(headers);
        if limits.is_empty() {
            return;
        }
        let policies = quota_policies(headers);
        // What is left of other things than requests cannot be counted here; that nothing is left can.
        limits.retain(|limit| {
            let policy = policies.iter().find(|policy| policy.name == limit.policy);
            let unit = policy.and_then(|policy| policy.unit.as_deref());
            limit.available == 0 || unit.is_none_or(|unit| unit == "requests")
        });
        // Of two that leave as much, the one for longer.
        let least = limits
            .iter()
            .filter_map(|limit| Some((limit.available, limit.window?)))
            .min_by_key(|(available, window)| (*available, core::cmp::Reverse(*window)));
        let now = self.shared.clock.now();
        *self.told() = Told {
            not_before: None,
            left: least.map(|(available, window)| (available, now + window)),
        };
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        let told = self.shared.told.lock();
        told.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock: of the current runtime, else the machine's.
fn wall() -> SystemTime {
    match Handle::current() {
        Ok(runtime) => runtime.wall(),
        #[allow(clippy::disallowed_methods, reason = "there is no runtime to ask")]
        Err(_) => SystemTime::now(),
    }
}

impl<C> Clone for Pace<C> {
    /// Another handle to the same pace.
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<C: Clock> fmt::Debug for Pace<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.told();
        f.debug_struct("Pace")
            .field("not_before", &told.not_before)
            .field("left", &told.left)
            .field("longest", &self.shared.longest)
            .finish()
    }
}

/// A server that asks for more is answered with an error: it may have been told so by mistake, or be
/// up to no good.
const LONGEST: Duration = Duration::from_secs(3_600);
