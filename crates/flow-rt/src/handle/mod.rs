//! The handle: a runtime held by value, with everything that is built on the contract once.

mod error;
mod tasks;

use core::fmt;
use core::future::Future;
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

pub use error::{DefaultAlreadySet, HandleError};

#[cfg(any(feature = "tokio", feature = "smol", feature = "async-std"))]
use crate::adapter;
use crate::ambient::{self, EnterGuard};
use crate::instant::Instant;
use crate::interval::{Interval, ZeroPeriod};
use crate::runtime::Runtime;
#[cfg(feature = "sim")]
use crate::sim::{SimRuntime, World};
#[cfg(feature = "sim")]
use crate::stepped::Stepped;
use crate::timeout::Timeout;
use crate::timer::BoxTimer;

/// A runtime, cheap to clone: what primitives hold instead of a generic parameter.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use flow_rt::Handle;
///
/// let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
/// let handle = Handle::tokio(rt.handle().clone())?;
///
/// let task = handle.spawn(async { 6 * 7 });
/// assert_eq!(flow_rt::block_on(task)??, 42);
///
/// let slow = handle.timeout(Duration::from_millis(1), std::future::pending::<()>());
/// assert!(flow_rt::block_on(slow)?.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle(Kind);

#[derive(Clone)]
enum Kind {
    #[cfg(feature = "tokio")]
    Tokio(adapter::tokio::Tokio),
    #[cfg(feature = "fine-timer")]
    FineTokio(adapter::tokio::Fine),
    #[cfg(feature = "smol")]
    Smol,
    #[cfg(feature = "async-std")]
    AsyncStd,
    #[cfg(feature = "sim")]
    Sim(SimRuntime),
    #[cfg(feature = "sim")]
    Stepped(Stepped),
    Custom(Arc<dyn Runtime>),
}

/// Constructors.
impl Handle {
    /// A handle to a runtime of your own; an `Arc` of one goes in as it is.
    pub fn new(runtime: impl Runtime) -> Self {
        Self(Kind::Custom(Arc::new(runtime)))
    }

    /// A handle that shares a runtime others hold too.
    pub fn from_arc(runtime: Arc<dyn Runtime>) -> Self {
        Self(Kind::Custom(runtime))
    }

    /// A handle to a tokio runtime, multi-thread or current-thread.
    ///
    /// Usable on any thread. The tasks and timers of a current-thread runtime make progress
    /// only while somebody is in its `block_on`.
    ///
    /// # Errors
    /// [`HandleError::TimeDisabled`] if the runtime was built without `enable_time`. tokio says
    /// so only by a panic, which is caught here and printed by the panic hook. In a program built
    /// with `panic = "abort"` it cannot be caught: the program aborts.
    #[cfg(feature = "tokio")]
    pub fn tokio(handle: tokio::runtime::Handle) -> Result<Self, HandleError> {
        adapter::tokio::Tokio::new(handle).map(|tokio| Self(Kind::Tokio(tokio)))
    }

    /// The same runtime with timers of async-io's precision, if it is tokio's.
    ///
    /// tokio rounds a timer up to its next millisecond, and wakes 1.1 ms late in the median;
    /// async-io's are 0.04 ms late. They are kept by a thread that all fine handles of the
    /// process share (smol's and async-std's timers too), so a wake-up comes from a foreign
    /// thread, and to move one costs 180 ns where tokio's timer costs 35.
    ///
    /// Fine timers fire whether or not the tokio runtime runs, and after its shutdown too. They
    /// and [`now`](Self::now) do not heed tokio's paused time. The handle stands for the same
    /// runtime otherwise, [`id`](Self::id) included. Handles to other runtimes, a custom one or a
    /// simulation, stay as they are: they have the timers they have.
    #[cfg(feature = "fine-timer")]
    pub fn with_fine_timers(self) -> Self {
        match self.0 {
            Kind::Tokio(tokio) => Self(Kind::FineTokio(adapter::tokio::Fine(tokio))),
            _ => self,
        }
    }

    /// A handle to smol's global executor, which runs without being entered.
    ///
    /// It starts its threads at the first spawn: one, or as many as `SMOL_THREADS` says.
    #[cfg(feature = "smol")]
    pub fn smol() -> Self {
        Self(Kind::Smol)
    }

    /// A handle to async-std's global executor, which runs without being entered.
    #[cfg(feature = "async-std")]
    pub fn async_std() -> Self {
        Self(Kind::AsyncStd)
    }

    /// The runtime of the calling thread, in this fixed order:
    ///
    /// 1. the simulation, inside one (feature `sim`);
    /// 2. the innermost [`enter`](Self::enter) of this thread;
    /// 3. tokio, inside a tokio runtime (feature `tokio`);
    /// 4. the process's default, if [`set_default`](Self::set_default) named one;
    /// 5. smol's global executor (feature `smol`);
    /// 6. async-std's global executor (feature `async-std`).
    ///
    /// # Errors
    /// [`HandleError::NotFound`] if none of these is there;
    /// [`HandleError::TimeDisabled`] inside a tokio runtime without timers, which aborts a program
    /// built with `panic = "abort"`, as `Handle::tokio` does.
    ///
    /// # Cost
    /// One thread-local look and one reference count; no allocation.
    pub fn current() -> Result<Self, HandleError> {
        if let Some(handle) = ambient::entered() {
            return Ok(handle);
        }
        #[cfg(feature = "tokio")]
        if let Some(tokio) = adapter::tokio::Tokio::current() {
            return tokio.map(|tokio| Self(Kind::Tokio(tokio)));
        }
        if let Some(handle) = ambient::process_default() {
            return Ok(handle);
        }
        #[cfg(feature = "smol")]
        return Ok(Self::smol());
        #[cfg(all(feature = "async-std", not(feature = "smol")))]
        return Ok(Self::async_std());
        #[cfg(not(any(feature = "smol", feature = "async-std")))]
        Err(HandleError::NotFound)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn of_simulation(sim: SimRuntime) -> Self {
        Self(Kind::Sim(sim))
    }

    #[cfg(feature = "sim")]
    pub(crate) fn stepped(stepped: Stepped) -> Self {
        Self(Kind::Stepped(stepped))
    }

    /// Makes this handle the calling thread's current one until the guard is dropped.
    ///
    /// That of a stepped runtime (feature `sim`) also gives its time to clocks made meanwhile.
    ///
    /// Scopes nest, and guards may be dropped in any order. The guard belongs to the thread, so
    /// a task must not hold one across an await.
    pub fn enter(&self) -> EnterGuard {
        ambient::enter(self.clone())
    }

    /// Makes this handle the process's default, once.
    ///
    /// # Errors
    /// [`DefaultAlreadySet`] with the name of the default in force, which stays.
    pub fn set_default(&self) -> Result<(), DefaultAlreadySet> {
        ambient::set_process_default(self.clone())
    }
}

/// Time.
impl Handle {
    /// The runtime's monotonic time.
    pub fn now(&self) -> Instant {
        self.runtime().now()
    }

    /// The runtime's wall clock.
    pub fn wall(&self) -> SystemTime {
        self.runtime().wall()
    }

    /// A re-armable timer, armed for `at`.
    pub fn timer(&self, at: Instant) -> BoxTimer {
        self.runtime().timer(at)
    }

    /// A timer that fires after `delay`, counted from this call; saturates to *never*.
    pub fn sleep(&self, delay: Duration) -> BoxTimer {
        self.timer(self.now() + delay)
    }

    /// A timer that fires at `at`.
    pub fn sleep_until(&self, at: Instant) -> BoxTimer {
        self.timer(at)
    }

    /// Bounds a future by `limit`, counted from its **first poll**.
    ///
    /// The future is polled before anything else, so one that is ready costs neither a clock
    /// read nor a timer, and wins over a limit of zero.
    ///
    /// # Cancel safety
    /// That of the inner future, which is dropped with this one.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<'_, F> {
        Timeout::new(self, limit, future)
    }

    /// An interval of ticks `period` apart, the first one `period` from now.
    ///
    /// # Errors
    /// [`ZeroPeriod`] if `period` is zero.
    pub fn interval(&self, period: Duration) -> Result<Interval, ZeroPeriod> {
        Interval::new(self.clone(), self.now() + period, period)
    }

    /// An interval of ticks `period` apart, the first one at `start`.
    ///
    /// # Errors
    /// [`ZeroPeriod`] if `period` is zero.
    pub fn interval_at(&self, start: Instant, period: Duration) -> Result<Interval, ZeroPeriod> {
        Interval::new(self.clone(), start, period)
    }
}

/// Identity.
impl Handle {
    /// The runtime's name, as reports print it.
    pub fn name(&self) -> &'static str {
        self.runtime().name()
    }

    /// Which runtime this is: equal for two handles to the same one.
    pub fn id(&self) -> RuntimeId {
        RuntimeId(match &self.0 {
            #[cfg(feature = "tokio")]
            Kind::Tokio(tokio) => Id::Tokio(tokio.id()),
            #[cfg(feature = "fine-timer")]
            Kind::FineTokio(tokio) => Id::Tokio(tokio.0.id()),
            #[cfg(feature = "smol")]
            Kind::Smol => Id::Smol,
            #[cfg(feature = "async-std")]
            Kind::AsyncStd => Id::AsyncStd,
            #[cfg(feature = "sim")]
            Kind::Sim(sim) => Id::Custom(sim.id()),
            #[cfg(feature = "sim")]
            Kind::Stepped(stepped) => Id::Custom(stepped.id()),
            Kind::Custom(runtime) => Id::Custom(Arc::as_ptr(runtime).cast::<()>() as usize),
        })
    }

    /// Whether this is a `SteppedRuntime` (feature `sim`), whose time is virtual.
    ///
    /// Its time moves when all that it runs waits for time or for one another. A thread of its
    /// own that sleeps for real time keeps it from moving.
    pub fn is_stepped(&self) -> bool {
        self.virtual_time().is_some()
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Kind::Tokio(tokio) => tokio,
            #[cfg(feature = "fine-timer")]
            Kind::FineTokio(tokio) => tokio,
            #[cfg(feature = "smol")]
            Kind::Smol => &adapter::smol::Smol,
            #[cfg(feature = "async-std")]
            Kind::AsyncStd => &adapter::async_std::AsyncStd,
            #[cfg(feature = "sim")]
            Kind::Sim(sim) => sim,
            #[cfg(feature = "sim")]
            Kind::Stepped(stepped) => stepped,
            Kind::Custom(runtime) => &**runtime,
        }
    }

    /// The time of its own that the runtime runs in, if clocks may share it.
    #[allow(clippy::match_wildcard_for_single_variants)] // one is left if there is no adapter
    pub(crate) fn virtual_time(&self) -> Option<&Arc<AtomicU64>> {
        match &self.0 {
            #[cfg(feature = "sim")]
            Kind::Stepped(stepped) => Some(stepped.time().nanos()),
            _ => None,
        }
    }

    /// The time of the simulation that this is a handle to, for clocks made inside.
    #[allow(clippy::match_wildcard_for_single_variants)] // one is left if there is no adapter
    pub(crate) fn simulated_time(&self) -> Option<&Arc<AtomicU64>> {
        match &self.0 {
            #[cfg(feature = "sim")]
            Kind::Sim(sim) => Some(sim.world().time()),
            _ => None,
        }
    }

    /// The simulation that this is a handle to.
    #[cfg(feature = "sim")]
    #[inline]
    pub(crate) fn simulated(&self) -> Option<&Arc<World>> {
        if let Kind::Sim(sim) = &self.0 {
            Some(sim.world())
        } else {
            None
        }
    }

    /// Whether this is a stepped runtime's, of that identity.
    #[cfg(feature = "sim")]
    pub(crate) fn is_stepped_by(&self, world: usize) -> bool {
        matches!(&self.0, Kind::Stepped(stepped) if stepped.id() == world)
    }

    /// The stepped runtime that this is a handle to.
    #[cfg(feature = "sim")]
    pub(crate) fn as_stepped(&self) -> Option<&Stepped> {
        if let Kind::Stepped(stepped) = &self.0 {
            Some(stepped)
        } else {
            None
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.name()).finish()
    }
}

/// The identity of a runtime; see [`Handle::id`].
///
/// A custom runtime's is the address it lives at: unique among those alive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RuntimeId(Id);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Id {
    #[cfg(feature = "tokio")]
    Tokio(tokio::runtime::Id),
    #[cfg(feature = "smol")]
    Smol,
    #[cfg(feature = "async-std")]
    AsyncStd,
    Custom(usize),
}
