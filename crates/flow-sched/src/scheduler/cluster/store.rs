//! Where the instances of a service agree who runs what: two traits to implement.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use super::fence::Fence;
use crate::scheduler::triggers::wall;
use crate::scheduler::work::outcome::BoxError;

/// What a store answers, later. It may be dropped before: then the store may have done what it was
/// asked for, or not.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// One occurrence of one job: what is claimed.
///
/// Its `Display` is a text for the keys of a database: the job's name, and the scheduled time in
/// nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    job: Arc<str>,
    scheduled_at: SystemTime,
}

impl JobKey {
    /// The occurrence of a job at a time.
    pub fn new(job: impl Into<Arc<str>>, scheduled_at: SystemTime) -> Self {
        Self {
            job: job.into(),
            scheduled_at,
        }
    }

    /// The job's name.
    pub fn job(&self) -> &str {
        &self.job
    }

    /// When the run is due by the job's timetable: without jitter, and however late it is.
    pub fn scheduled_at(&self) -> SystemTime {
        self.scheduled_at
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.job, wall::nanos(self.scheduled_at))
    }
}

/// Grants each occurrence once, for good: what [`Claims::at_most_once`](crate::Claims::at_most_once)
/// asks.
///
/// All instances of a service, and no other service, are to use the same locks. What was granted is
/// to be remembered for longer than the instances' clocks may differ, and than a run may be late by
/// its job's [`Misfire`](crate::Misfire): a grant that is forgotten may be given again.
///
/// A panic in a method, or in its future, is an error like those that it returns.
pub trait JobLock: Send + Sync + 'static {
    /// Grants an occurrence to the first who asks; `None` to all others, for as long as the lock
    /// remembers it. A lock that forgets, as [`MemoryStore`](crate::MemoryStore) does with jobs that
    /// nobody asks for, may grant it again.
    ///
    /// The fence is to be greater than all that were given for the same job.
    fn lock<'a>(&'a self, key: &'a JobKey) -> StoreFuture<'a, Option<Fence>>;

    /// Takes a grant back whose run never began, so that it may be given again; false if that fence
    /// does not hold it.
    fn unlock<'a>(&'a self, key: &'a JobKey, fence: Fence) -> StoreFuture<'a, bool>;
}

/// Grants each occurrence for a time, and remembers what has become of it: what
/// [`Claims::at_least_once`](crate::Claims::at_least_once) and [`Candidate`](crate::Candidate) ask.
///
/// Leases are to be measured by the store's own clock: those of the instances do not agree. All
/// instances of a service, and no other service, are to use the same store. As with [`JobLock`],
/// what is done is to be remembered for long enough.
///
/// A panic in a method, or in its future, is an error like those that it returns.
pub trait JobStore: Send + Sync + 'static {
    /// Grants an occurrence for so long if nobody holds it and it is not done.
    ///
    /// The fence is to be greater than all that were given for the same job.
    fn claim<'a>(&'a self, key: &'a JobKey, lease: Duration) -> StoreFuture<'a, Claim>;

    /// Lets a lease begin anew; false if that fence does not hold the occurrence any more.
    ///
    /// A lease that is over may be renewed as long as nobody else was granted the occurrence.
    fn renew<'a>(&'a self, key: &'a JobKey, fence: Fence, lease: Duration)
    -> StoreFuture<'a, bool>;

    /// Ends a claim; false if that fence does not hold the occurrence any more.
    fn settle<'a>(&'a self, key: &'a JobKey, fence: Fence, end: ClaimEnd) -> StoreFuture<'a, bool>;

    /// Occurrences that were claimed, and that nobody holds although they are not done: so many at
    /// the most, the earliest first, and those of one time by their jobs' names. Only those that
    /// come after one in that order, if it is given: so all are seen, page by page, though nobody may
    /// be left who knows the earliest ones.
    fn abandoned<'a>(
        &'a self,
        after: Option<&'a JobKey>,
        most: usize,
    ) -> StoreFuture<'a, Vec<JobKey>>;
}

/// What a store says to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// It is the caller's, with this fence, until its lease is over.
    Granted(Fence),
    /// Another one holds it.
    Held,
    /// It is done.
    Done,
}

/// How a claim ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimEnd {
    /// Its run has ended, however: nobody is to run it again.
    Done,
    /// Its run never began, was dropped half-way, or did not complete after it was told that its
    /// claim was lost: another instance may run it.
    Released,
}

impl<L: JobLock + ?Sized> JobLock for Arc<L> {
    fn lock<'a>(&'a self, key: &'a JobKey) -> StoreFuture<'a, Option<Fence>> {
        (**self).lock(key)
    }

    fn unlock<'a>(&'a self, key: &'a JobKey, fence: Fence) -> StoreFuture<'a, bool> {
        (**self).unlock(key, fence)
    }
}

impl<S: JobStore + ?Sized> JobStore for Arc<S> {
    fn claim<'a>(&'a self, key: &'a JobKey, lease: Duration) -> StoreFuture<'a, Claim> {
        (**self).claim(key, lease)
    }

    fn renew<'a>(
        &'a self,
        key: &'a JobKey,
        fence: Fence,
        lease: Duration,
    ) -> StoreFuture<'a, bool> {
        (**self).renew(key, fence, lease)
    }

    fn settle<'a>(&'a self, key: &'a JobKey, fence: Fence, end: ClaimEnd) -> StoreFuture<'a, bool> {
        (**self).settle(key, fence, end)
    }

    fn abandoned<'a>(
        &'a self,
        after: Option<&'a JobKey>,
        most: usize,
    ) -> StoreFuture<'a, Vec<JobKey>> {
        (**self).abandoned(after, most)
    }
}
