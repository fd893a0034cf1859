//! The table of cases.

use core::fmt;
use core::future::Future;
use core::pin::Pin;

use super::lab::{Ending, Lab, Verdict};
use super::{blocking, clock, shutdown, tasks, timers, wakes};

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    proves: &'static str,
    pub(super) body: Body,
}

impl Case {
    /// Its name: that of the test which [`conformance!`](crate::conformance!) makes of it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it proves, in a clause.
    pub fn proves(&self) -> &'static str {
        self.proves
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("proves", &self.proves)
            .finish_non_exhaustive()
    }
}

/// Every case, in the order in which [`run`](super::run) runs them.
pub fn cases() -> &'static [Case] {
    CASES
}

pub(super) type Awaiting = Pin<Box<dyn Future<Output = Verdict>>>;

/// How a case runs, which is what it needs of its subject.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// It only awaits, so it runs on any runtime, driven ones too.
    Awaits(fn(Lab) -> Awaiting),
    /// It only awaits, but time must pass while tasks are ready.
    Busy(fn(Lab) -> Awaiting),
    /// It uses threads beside the runtime's.
    Threads(fn(Lab) -> Verdict),
    /// It shuts the runtime down, whether by a call or by dropping the last handle.
    Shutdown(fn(Lab, Ending) -> Verdict),
    /// It shuts the runtime down while it keeps a handle.
    Afterwards(fn(Lab, Ending) -> Verdict),
}

macro_rules! body {
    (awaits $path:path) => {
        Body::Awaits(|lab| Box::pin($path(lab)))
    };
    (busy $path:path) => {
        Body::Busy(|lab| Box::pin($path(lab)))
    };
    (threads $path:path) => {
        Body::Threads(|lab| $path(&lab))
    };
    (shutdown $path:path) => {
        Body::Shutdown($path)
    };
    (afterwards $path:path) => {
        Body::Afterwards($path)
    };
}

macro_rules! table {
    ([] $($kind:ident $group:ident $name:ident: $proves:literal;)+) => {
        const CASES: &[Case] = &[$(
            Case { name: stringify!($name), proves: $proves, body: body!($kind $group::$name) },
        )+];
    };
}

crate::__conformance_cases! { [table] [] }
