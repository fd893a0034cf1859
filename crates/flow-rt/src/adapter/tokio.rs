//! tokio, multi-thread and current-thread.
//!
//! The edges that stay in here: a `Sleep` must be made inside the runtime's context, panics when
//! its runtime has no timers, and panics when polled after shutdown; a task spawned after
//! shutdown is dropped silently (the join cell then says so).

use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use tokio::runtime::{Handle as Host, Id};
use tokio::time::{Instant as HostInstant, Sleep};

use crate::handle::HandleError;
use crate::instant::Instant;
use crate::panics;
use crate::runtime::{BoxBlocking, BoxTask, Runtime};
use crate::timer::{BoxTimer, Stopped, Timer};

/// A tokio runtime that is known to have timers.
#[derive(Clone)]
pub(crate) struct Tokio(Host);

impl Tokio {
    pub(crate) fn new(host: Host) -> Result<Self, HandleError> {
        thread_local! {
            // The runtime this thread found timers in last: the probe costs an allocation.
            static PROBED: Cell<Option<Id>> = const { Cell::new(None) };
        }
        let id = host.id();
        if PROBED.get() != Some(id) {
            let this = Self(host.clone());
            // Without timers tokio panics here, and says so in no other way.
            panics::catch(|| drop(this.sleep(Instant::ORIGIN)))
                .map_err(|_| HandleError::TimeDisabled)?;
            PROBED.set(Some(id));
        }
        Ok(Self(host))
    }

    /// The runtime this thread is inside of, if any.
    pub(crate) fn current() -> Option<Result<Self, HandleError>> {
        Host::try_current().ok().map(Self::new)
    }

    pub(crate) fn id(&self) -> Id {
        self.0.id()
    }

    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(task));
    }

    fn sleep(&self, at: Instant) -> Sleep {
        let _context = self.0.enter();
        tokio::time::sleep_until(deadline(at))
    }
}

impl Runtime for Tokio {
    fn spawn(&self, task: BoxTask) {
        self.start(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        drop(self.0.spawn_blocking(job));
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::new(TokioTimer {
            sleep: self.sleep(at),
            never: at.is_far_future(),
            stopped: false,
        })
    }

    /// tokio's own clock, so that a test which pauses it finds both in step.
    fn now(&self) -> Instant {
        Instant::from_std(HostInstant::now().into_std())
    }

    fn name(&self) -> &'static str {
        "tokio"
    }
}

pin_project_lite::pin_project! {
    struct TokioTimer {
        #[pin]
        sleep: Sleep,
        never: bool,
        stopped: bool,
    }
}

impl Timer for TokioTimer {
    fn arm(self: Pin<&mut Self>, at: Instant) {
        let this = self.project();
        *this.never = at.is_far_future();
        if !*this.stopped {
            this.sleep.reset(deadline(at));
        }
    }

    fn poll_fired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        let this = self.project();
        if *this.stopped {
            return Poll::Ready(Err(Stopped::new()));
        }
        // Polled after its runtime was shut down, a `Sleep` panics.
        match panics::catch(|| this.sleep.poll(cx)) {
            Ok(Poll::Ready(())) if *this.never => Poll::Pending,
            Ok(fired) => fired.map(Ok),
            Err(_) => {
                *this.stopped = true;
                Poll::Ready(Err(Stopped::new()))
            }
        }
    }
}

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
