//! tokio, multi-thread and current-thread.
//!
//! The edges that stay in here: a `Sleep` must be made inside the runtime's context, panics when
//! its runtime has no timers, and panics when polled after shutdown; a task spawned after
//! shutdown is dropped silently (the join cell then says so).

use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
#[cfg(feature = "sim")]
use core::pin::pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use tokio::runtime::{Handle as Host, Id, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio::time::{Instant as HostInstant, Sleep};

#[cfg(feature = "fine-timer")]
use super::async_io_timer;
use super::rearmed::{self, HostTimer};
use crate::handle::HandleError;
use crate::instant::Instant;
use crate::join::{Guarded, JoinError};
use crate::panics::{self, Panic};
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::{BoxTimer, Stopped};

thread_local! {
    /// The runtime this thread found timers in last: the probe costs an allocation.
    static PROBED: Cell<Option<Id>> = const { Cell::new(None) };
}

/// A tokio runtime that is known to have timers.
#[derive(Clone)]
pub(crate) struct Tokio(Host);

/// The same, with async-io's timers, on the thread of its reactor, in place of tokio's.
#[cfg(feature = "fine-timer")]
#[derive(Clone)]
pub(crate) struct Fine(pub(crate) Tokio);

/// Whether this thread is inside of a tokio runtime, or has entered one, whatever it does there.
pub(crate) fn is_inside() -> bool {
    Host::try_current().is_ok()
}

impl Tokio {
    #[inline]
    pub(crate) fn new(host: Host) -> Result<Self, HandleError> {
        let this = Self(host);
        if PROBED.get() == Some(this.id()) {
            Ok(this)
        } else {
            this.probed()
        }
    }

    /// The runtime this thread is inside of, if any.
    #[inline]
    pub(crate) fn current() -> Option<Result<Self, HandleError>> {
        Host::try_current().ok().map(Self::new)
    }

    /// Tells by a panic, caught, which aborts where panics do.
    #[cold]
    fn probed(self) -> Result<Self, HandleError> {
        // Without timers tokio panics here, and says so in no other way.
        panics::catch(|| drop(self.sleep(Instant::ORIGIN)))
            .map_err(|_| HandleError::TimeDisabled)?;
        PROBED.set(Some(self.id()));
        Ok(self)
    }

    pub(crate) fn id(&self) -> Id {
        self.0.id()
    }

    pub(crate) fn start_joined<F>(&self, task: Guarded<F>) -> Joined<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Joined(self.0.spawn(task))
    }

    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(task));
    }

    fn sleep(&self, at: Instant) -> Sleep {
        let _context = self.0.enter();
        tokio::time::sleep_until(deadline(at))
    }
}

/// A task that tokio's own handle joins.
pub(crate) struct Joined<T>(JoinHandle<Result<T, Panic>>);

pub(crate) use tokio::task::AbortHandle as Abort;

impl<T> Joined<T> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let result = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(match result {
            Ok(output) => output.map_err(JoinError::Panicked),
            // The task contains its own panics, so what is left is an abort or a shutdown.
            Err(error) => Err(match error.try_into_panic() {
                Ok(payload) => JoinError::Panicked(Panic::new(payload)),
                Err(_) => JoinError::Cancelled,
            }),
        })
    }

    pub(crate) fn abort(&self) {
        self.0.abort();
    }

    pub(crate) fn abort_handle(&self) -> Abort {
        self.0.abort_handle()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// Polls without tokio's budget.
///
/// A task whose budget is spent returns `Pending` and is woken only when its worker has run the
/// others: until then nobody could tell it from one that waits.
#[cfg(feature = "sim")]
pub(crate) fn poll_unconstrained<F: Future>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    pin!(tokio::task::unconstrained(future)).poll(cx)
}

impl Runtime for Tokio {
    fn spawn(&self, task: BoxTask) {
        self.start(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        drop(self.0.spawn_blocking(job));
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        let sleep = self.sleep(at);
        let stopped = false;
        rearmed::timer(at, TokioTimer { sleep, stopped })
    }

    /// The clock this runtime's timers go by, whoever asks: a test may have paused it.
    ///
    /// Only current-thread runtimes can be paused, and tokio reads the clock of the one it is
    /// inside of: 20 ns more for them.
    fn now(&self) -> Instant {
        if self.0.runtime_flavor() != RuntimeFlavor::CurrentThread {
            return Instant::now_monotonic();
        }
        let _context = self.0.enter();
        Instant::from_std(HostInstant::now().into_std())
    }

    fn name(&self) -> &'static str {
        "tokio"
    }
}

#[cfg(feature = "fine-timer")]
impl Runtime for Fine {
    fn spawn(&self, task: BoxTask) {
        self.0.spawn(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        self.0.spawn_blocking(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        async_io_timer::timer(at)
    }

    // `now` is CLOCK_MONOTONIC, which async-io goes by, whether tokio's clock is paused or not.

    fn name(&self) -> &'static str {
        self.0.name()
    }
}

pin_project_lite::pin_project! {
    struct TokioTimer {
        #[pin]
        sleep: Sleep,
        stopped: bool,
    }
}

impl HostTimer for TokioTimer {
    #[inline]
    fn set(self: Pin<&mut Self>, set: Instant, at: Instant) {
        let sleep = self.project().sleep;
        let host = match moved(sleep.deadline(), set, at) {
            Some(host) => host,
            None => deadline(at),
        };
        sleep.reset(host);
    }

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let this = self.project();
        if *this.stopped {
            return Poll::Ready(Err(Stopped::new()));
        }
        // Polled after its runtime was shut down, a `Sleep` panics.
        if let Ok(fired) = panics::catch(|| this.sleep.poll(cx)) {
            return fired.map(Ok);
        }
        *this.stopped = true;
        Poll::Ready(Err(Stopped::new()))
    }
}

/// The host's instant for `at`, when `before` is `host` there and less than a second earlier.
///
/// Most timers move by less than that, and an addition is cheaper than the division by which
/// [`deadline`] finds the seconds of an instant. From never, or to it, the sum is as far away.
#[inline]
fn moved(host: HostInstant, before: Instant, at: Instant) -> Option<HostInstant> {
    const SECOND: u64 = 1_000_000_000;
    let by = at.as_nanos().checked_sub(before.as_nanos())?;
    (by < SECOND).then(|| host + Duration::new(0, by as u32))
}

#[inline(never)]
fn deadline(at: Instant) -> HostInstant {
    let at = if at.is_far_future() {
        None
    } else {
        at.to_std()
    };
    at.map_or_else(
        // tokio's own idea of never: about 30 years.
        || HostInstant::now() + Duration::from_secs(86_400 * 365 * 30),
        HostInstant::from_std,
    )
}
