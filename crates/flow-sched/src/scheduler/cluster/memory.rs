//! A store in memory, for the schedulers of one process.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use flow_rt::{Clock, DefaultClock, Instant};

use super::fence::Fence;
use super::store::{Claim, ClaimEnd, JobKey, JobLock, JobStore, StoreFuture};
use crate::sync::Mutex;

/// A [`JobStore`] and [`JobLock`] for the schedulers of one process: for tests, and for processes
/// that run several.
///
/// It remembers the occurrences of each job, [`KEPT`](Self::KEPT) at the most unless told
/// otherwise, and refuses what lies before those it has forgotten: while the job is known, no
/// occurrence that is done is granted again. A job whose occurrences nobody has asked for, renewed
/// or settled for [`KEPT_FOR`](Self::KEPT_FOR) is forgotten, unless one is held under a lease that
/// is not over: what was done of it may be granted anew, and what was abandoned is lost. A grant for
/// good, by [`lock`](JobLock::lock), is no such lease: what was granted of a job that nobody asks for
/// is forgotten too, and may be granted anew. So the store's memory is bounded by the names that are
/// claimed within two times as long. Nothing outlives the process. Clones are the same store.
///
/// Its time is that of where it is made, like a limiter's.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    clock: DefaultClock,
    kept: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Counted for all jobs: those of a job that comes back after it was forgotten grow, too.
    fences: u64,
    jobs: HashMap<Arc<str>, Records>,
    /// When the jobs were last looked through for those to forget.
    swept_at: Option<Instant>,
}

/// The occurrences of a job.
struct Records {
    /// When somebody last asked for one of them, renewed or settled it.
    asked_at: Instant,
    by_time: BTreeMap<SystemTime, Record>,
    /// Nothing without a record up to here is granted.
    forgotten: Option<SystemTime>,
}

#[derive(Clone, Copy)]
struct Record {
    fence: Fence,
    state: RecordState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RecordState {
    HeldUntil(Instant),
    Released,
    Done,
}

impl MemoryStore {
    /// How many occurrences of a job are remembered.
    pub const KEPT: usize = 1_000;

    /// For how long a job is remembered that nobody asks for, with all that was granted or done of
    /// it, at most once too: a day. The jobs are looked through once in that time, by a claim, so it
    /// may be up to twice as long. An instance that is later than this with an occurrence, and whose
    /// [`Misfire`](crate::Misfire) lets it run all the same, may be granted what has run elsewhere.
    pub const KEPT_FOR: Duration = Duration::from_secs(86_400);

    /// An empty store.
    pub fn new() -> Self {
        Self::keeping(Self::KEPT)
    }

    /// An empty store that remembers so many occurrences of each job, one at the least.
    pub fn keeping(occurrences: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock: DefaultClock::new(),
                kept: occurrences.max(1),
                table: Mutex::default(),
            }),
        }
    }

    /// How many occurrences are remembered, of all jobs.
    pub fn len(&self) -> usize {
        let table = self.inner.table.lock();
        table.jobs.values().map(|job| job.by_time.len()).sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn grant(&self, key: &JobKey, until: impl FnOnce(Instant) -> Instant) -> Claim {
        let mut table = self.inner.table.lock();
        let now = self.inner.clock.now();
        table.sweep(now);
        let fence = Fence::new(table.fences + 1);
        let job = table.jobs.entry(key.job().into());
        let job = job.or_insert_with(|| Records::new(now));
        job.asked_at = now;
        let at = key.scheduled_at();
        match job.by_time.get(&at).map(|record| record.state) {
            Some(RecordState::HeldUntil(until)) if now < until => return Claim::Held,
            Some(RecordState::Done) => return Claim::Done,
            None if job.forgotten.is_some_and(|forgotten| at <= forgotten) => return Claim::Done,
            _ => {}
        }
        let state = RecordState::HeldUntil(until(now));
        job.by_time.insert(at, Record { fence, state });
        job.forget(self.inner.kept, at);
        table.fences = fence.get();
        Claim::Granted(fence)
    }

    /// Changes a record that this fence holds; false if it does not.
    fn change(
        &self,
        key: &JobKey,
        fence: Fence,
        state: impl FnOnce(Instant) -> RecordState,
    ) -> bool {
        let mut table = self.inner.table.lock();
        let now = self.inner.clock.now();
        let Some(job) = table.jobs.get_mut(key.job()) else {
            return false;
        };
        job.asked_at = now;
        let record = job.by_time.get_mut(&key.scheduled_at());
        let Some(record) = record.filter(|record| record.fence == fence) else {
            return false;
        };
        if !matches!(record.state, RecordState::HeldUntil(_)) {
            return false;
        }
        record.state = state(now);
        true
    }

    fn left(&self, after: Option<&JobKey>, most: usize) -> Vec<JobKey> {
        let table = self.inner.table.lock();
        let now = self.inner.clock.now();
        let after = after.map(|key| (key.scheduled_at(), key.job()));
        let mut left = Vec::new();
        for (job, records) in &table.jobs {
            let abandoned = records.by_time.iter().filter(|(_, record)| {
                matches!(record.state, RecordState::HeldUntil(until) if until <= now)
                    || record.state == RecordState::Released
            });
            let abandoned = abandoned.filter(|&(&at, _)| after < Some((at, &**job)));
            left.extend(abandoned.map(|(&at, _)| JobKey::new(job.clone(), at)));
        }
        left.sort_unstable_by(|a, b| (a.scheduled_at(), a.job()).cmp(&(b.scheduled_at(), b.job())));
        left.truncate(most);
        left
    }
}

impl Table {
    /// Forgets the jobs that nobody has asked for in a long time; looks once in that time.
    fn sweep(&mut self, now: Instant) {
        let swept_at = *self.swept_at.get_or_insert(now);
        if now - swept_at < MemoryStore::KEPT_FOR {
            return;
        }
        self.swept_at = Some(now);
        self.jobs
            .retain(|_, job| now - job.asked_at < MemoryStore::KEPT_FOR || job.is_leased(now));
        self.jobs.shrink_to_fit();
    }
}

impl Records {
    fn new(now: Instant) -> Self {
        Self {
            asked_at: now,
            by_time: BTreeMap::new(),
            forgotten: None,
        }
    }

    /// Whether one of them is held for a time that is not over; for good is no such time.
    fn is_leased(&self, now: Instant) -> bool {
        self.by_time.values().any(|record| {
            matches!(record.state, RecordState::HeldUntil(until)
                if now < until && !until.is_far_future())
        })
    }

    /// Forgets the earliest of those that are done, or of all but the one that was just granted,
    /// while there are more than so many.
    fn forget(&mut self, kept: usize, granted: SystemTime) {
        while self.by_time.len() > kept {
            let mut records = self.by_time.iter();
            let done = records.find(|(_, record)| record.state == RecordState::Done);
            let first = self.by_time.keys().find(|&&at| at != granted);
            let Some(at) = done.map(|(&at, _)| at).or(first.copied()) else {
                return;
            };
            self.by_time.remove(&at);
            self.forgotten = self.forgotten.max(Some(at));
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("kept", &self.inner.kept)
            .field("remembered", &self.len())
            .finish_non_exhaustive()
    }
}

impl JobLock for MemoryStore {
    fn lock<'a>(&'a self, key: &'a JobKey) -> StoreFuture<'a, Option<Fence>> {
        Box::pin(async move {
            Ok(match self.grant(key, |_| Instant::FAR_FUTURE) {
                Claim::Granted(fence) => Some(fence),
                Claim::Held | Claim::Done => None,
            })
        })
    }

    fn unlock<'a>(&'a self, key: &'a JobKey, fence: Fence) -> StoreFuture<'a, bool> {
        Box::pin(async move { Ok(self.change(key, fence, |_| RecordState::Released)) })
    }
}

impl JobStore for MemoryStore {
    fn claim<'a>(&'a self, key: &'a JobKey, lease: Duration) -> StoreFuture<'a, Claim> {
        Box::pin(async move { Ok(self.grant(key, |now| now + lease)) })
    }

    fn renew<'a>(
        &'a self,
        key: &'a JobKey,
        fence: Fence,
        lease: Duration,
    ) -> StoreFuture<'a, bool> {
        Box::pin(
            async move { Ok(self.change(key, fence, |now| RecordState::HeldUntil(now + lease))) },
        )
    }

    fn settle<'a>(&'a self, key: &'a JobKey, fence: Fence, end: ClaimEnd) -> StoreFuture<'a, bool> {
        let state = match end {
            ClaimEnd::Done => RecordState::Done,
            ClaimEnd::Released => RecordState::Released,
        };
        Box::pin(async move { Ok(self.change(key, fence, |_| state)) })
    }

    fn abandoned<'a>(
        &'a self,
        after: Option<&'a JobKey>,
        most: usize,
    ) -> StoreFuture<'a, Vec<JobKey>> {
        Box::pin(async move { Ok(self.left(after, most)) })
    }
}
