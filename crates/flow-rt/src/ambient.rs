//! The current runtime of a thread, and whether the thread may block.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::marker::PhantomData;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use crate::handle::{DefaultAlreadySet, Handle};
use crate::rng::SplitMix;
#[cfg(feature = "sim")]
use crate::sim::World;

flow_sync::sync::thread_local! {
    static ENTERED: RefCell<Entered> = const { RefCell::new(Entered::nothing()) };
}

flow_sync::sync::thread_local! {
    static BLOCKING: Cell<Blocking> = const { Cell::new(Blocking::Unknown) };
}

static DEFAULT: OnceLock<Handle> = OnceLock::new();

struct Entered {
    simulation: Option<Simulation>,
    scopes: Vec<Scope>,
    next_key: u64,
}

impl Entered {
    const fn nothing() -> Self {
        Self {
            simulation: None,
            scopes: Vec::new(),
            next_key: 0,
        }
    }
}

/// A handle that is current until its guard is dropped.
struct Scope {
    key: u64,
    handle: Handle,
    /// Entered by a task or closure that its stepped runtime counts.
    #[cfg(feature = "sim")]
    counted: bool,
}

/// The simulation a thread runs: its handle, and seeds for what draws random numbers in it.
struct Simulation {
    handle: Handle,
    seeds: SplitMix,
}

/// What this thread is doing, as far as we know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// Nothing that we started.
    Unknown,
    /// A closure of `spawn_blocking`: it may block.
    Allowed,
    /// Our own `block_on`: a second one inside would block what the first one drives.
    Driving,
    /// A task that was spawned by a handle: blocking would stop its runtime's thread.
    Polling,
}

/// The simulation if inside one, else the innermost scope.
pub(crate) fn entered() -> Option<Handle> {
    ENTERED
        .try_with(|entered| {
            let entered = entered.borrow();
            match &entered.simulation {
                Some(simulation) => Some(simulation.handle.clone()),
                None => entered.scopes.last().map(|scope| scope.handle.clone()),
            }
        })
        // The thread is ending: nothing is entered any more.
        .unwrap_or(None)
}

/// Whether this thread runs a simulation now.
pub(crate) fn in_simulation() -> bool {
    ENTERED
        .try_with(|entered| entered.borrow().simulation.is_some())
        .unwrap_or(false)
}

/// The virtual time of the runtime that is current on this thread, if it has one.
pub(crate) fn virtual_time() -> Option<Arc<AtomicU64>> {
    ENTERED
        .try_with(|entered| {
            let entered = entered.borrow();
            match &entered.simulation {
                Some(simulation) => simulation.handle.simulated_time().cloned(),
                None => entered.scopes.last()?.handle.virtual_time().cloned(),
            }
        })
        .unwrap_or(None)
}

/// A random number from the seed of the simulation that this thread runs; `None` outside of one.
///
/// For libraries that draw secrets or jitter by themselves: what they draw from here is the same
/// in each run of the seed. Each call draws another.
///
/// ```
/// assert_eq!(flow_rt::simulated_entropy(), None);
/// # #[cfg(feature = "sim")] {
/// let drawn = |seed| {
///     let run = flow_rt::sim::Sim::new(seed).run(|_| async { flow_rt::simulated_entropy() });
///     run.map(|report| report.output).ok().flatten()
/// };
/// assert!(drawn(1).is_some() && drawn(1) == drawn(1) && drawn(1) != drawn(2));
/// # }
/// ```
///
/// # Cost
/// A look at a thread-local.
pub fn simulated_entropy() -> Option<u64> {
    ENTERED
        .try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let simulation = entered.simulation.as_mut()?;
            Some(simulation.seeds.next_u64())
        })
        .unwrap_or(None)
}

pub(crate) fn process_default() -> Option<Handle> {
    DEFAULT.get().cloned()
}

pub(crate) fn set_process_default(handle: Handle) -> Result<(), DefaultAlreadySet> {
    DEFAULT.set(handle).map_err(|_| DefaultAlreadySet {
        name: DEFAULT.get().map_or("unknown", Handle::name),
    })
}

pub(crate) fn enter(handle: Handle) -> EnterGuard {
    push(Scope {
        key: 0,
        handle,
        #[cfg(feature = "sim")]
        counted: false,
    })
}

/// Makes the handle of a stepped runtime current for a poll or a closure that it counts.
#[cfg(feature = "sim")]
pub(crate) fn enter_counted(handle: Handle) -> EnterGuard {
    push(Scope {
        key: 0,
        handle,
        counted: true,
    })
}

/// The stepped runtime that counts what this thread does: the innermost, if any.
#[cfg(feature = "sim")]
pub(crate) fn counted_by() -> Option<Handle> {
    ENTERED
        .try_with(|entered| {
            let entered = entered.borrow();
            let counted = entered.scopes.iter().rfind(|scope| scope.counted);
            counted.map(|scope| scope.handle.clone())
        })
        .unwrap_or(None)
}

/// How much of what `world` counts is this thread's own doing: polls and closures around here.
#[cfg(feature = "sim")]
pub(crate) fn counted_depth(world: usize) -> u32 {
    ENTERED
        .try_with(|entered| {
            let entered = entered.borrow();
            let own = |scope: &&Scope| scope.counted && scope.handle.is_stepped_by(world);
            entered.scopes.iter().filter(own).count() as u32 // nested calls
        })
        .unwrap_or(0)
}

fn push(mut scope: Scope) -> EnterGuard {
    let key = ENTERED.with(|entered| {
        let mut entered = entered.borrow_mut();
        let key = entered.next_key;
        entered.next_key += 1;
        scope.key = key;
        entered.scopes.push(scope);
        key
    });
    EnterGuard {
        key,
        _not_send: PhantomData,
    }
}

/// Keeps a handle current on this thread; see [`Handle::enter`].
#[must_use = "the handle is current only while the guard lives"]
pub struct EnterGuard {
    key: u64,
    _not_send: PhantomData<*const ()>,
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        let left = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let at = entered
                .scopes
                .iter()
                .rposition(|scope| scope.key == self.key)?;
            Some(entered.scopes.remove(at))
        });
        // The handle may be a runtime's last one: its destructor runs outside the borrow.
        drop(left);
    }
}

impl fmt::Debug for EnterGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").finish_non_exhaustive()
    }
}

/// Runs a blocking closure, inside which [`block_on`](crate::block_on) is allowed.
pub(crate) fn allow_blocking(job: impl FnOnce()) {
    let _restore = set_blocking(Blocking::Allowed);
    job();
}

/// What this thread is known to be doing.
pub(crate) fn blocking() -> Blocking {
    BLOCKING.with(Cell::get)
}

/// Changes what this thread is known to be doing, until the guard is dropped.
pub(crate) fn set_blocking(to: Blocking) -> RestoreBlocking {
    RestoreBlocking(BLOCKING.with(|blocking| blocking.replace(to)))
}

pub(crate) struct RestoreBlocking(Blocking);

impl Drop for RestoreBlocking {
    fn drop(&mut self) {
        BLOCKING.with(|blocking| blocking.set(self.0));
    }
}

/// The state of the simulation this thread runs, if any.
#[cfg(feature = "sim")]
pub(crate) fn simulation() -> Option<Arc<World>> {
    ENTERED
        .try_with(|entered| {
            let entered = entered.borrow();
            entered.simulation.as_ref()?.handle.simulated().cloned()
        })
        .unwrap_or(None)
}

/// Makes a simulation the thread's runtime, above every scope.
#[cfg(feature = "sim")]
pub(crate) fn enter_simulation(handle: Handle, seed: u64) -> Option<SimulationGuard> {
    ENTERED.with(|entered| {
        let mut entered = entered.borrow_mut();
        if entered.simulation.is_some() {
            return None;
        }
        entered.simulation = Some(Simulation {
            handle,
            // Streams of its own: drawing here changes no other choice of the run.
            seeds: SplitMix::new(seed.rotate_left(32)),
        });
        Some(SimulationGuard {
            _not_send: PhantomData,
        })
    })
}

/// Leaves the simulation when dropped.
#[cfg(feature = "sim")]
pub(crate) struct SimulationGuard {
    _not_send: PhantomData<*const ()>,
}

#[cfg(feature = "sim")]
impl Drop for SimulationGuard {
    fn drop(&mut self) {
        let left = ENTERED.try_with(|entered| entered.borrow_mut().simulation.take());
        drop(left);
    }
}
