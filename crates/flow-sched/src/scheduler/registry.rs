//! The jobs of a scheduler: each in a place of its own, those with a name under it too.
//!
//! A job that has ended stays until the driver takes it out, and is none to anybody who looks: it
//! is neither found nor listed, and its name is free.
//!
//! # What becomes of its memory
//! The driver does not free it. Allocators guard the memory of one thread by a lock against others
//! that free it: whoever starts jobs meanwhile would wake the driver from that lock, by a system
//! call, at nearly each of them. So the job is kept here, [`SPARE`] of them at the most, and who
//! starts the next ones frees it, and gets its memory for them without a lock. None of it is the
//! user's, and none has grown with its runs: see [`Job::is_plain`].

use core::time::Duration;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use flow_rt::Instant;

use super::job::Job;
use super::text_hash::{self, ByHash};
use crate::scheduler::job::label::Label;

/// Both clocks, read one after the other: the monotonic one first.
pub(crate) type Clocks = (Instant, SystemTime);

/// Guarded by its scheduler's lock.
#[derive(Default)]
pub(crate) struct Registry {
    places: Vec<Option<Arc<Job>>>,
    free: Vec<u32>,
    /// From a name's hash to a place. A table that grows need not look at the names, each of which
    /// would be a miss.
    names: HashMap<u64, u32, ByHash>,
    /// From a name to a place, if another name of the same hash came first: hardly ever any.
    collided: HashMap<Arc<str>, u32>,
    /// Jobs that have ended, for those who start others to free.
    spare: Vec<Arc<Job>>,
    next_id: u64,
    /// Both clocks, as they were read last.
    clocks: Option<Clocks>,
}

/// So many jobs are kept that have ended: as many as the driver takes up at a time.
const SPARE: usize = 1_024;

/// So long after both clocks were read, one of them tells the other's time.
const FRESH: Duration = Duration::from_millis(1);

impl Registry {
    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a job in; false if its name is that of another one that has not ended.
    pub(crate) fn insert(&mut self, job: &Arc<Job>) -> bool {
        let place = self.free.last().copied();
        // 2^32 jobs would need a terabyte.
        let place = place.unwrap_or(self.places.len() as u32);
        if !job.name.is_empty() && !self.name(&job.name, place) {
            return false;
        }
        // Read and written under the lock only.
        job.place.store(place, Ordering::Relaxed);
        job.id.store(self.next_id, Ordering::Relaxed);
        self.next_id += 1;
        if self.free.pop().is_some() {
            self.places[place as usize] = Some(job.clone());
        } else {
            self.places.push(Some(job.clone()));
        }
        true
    }

    /// Both clocks at the moment at which the wall clock has shown `wall`; `None` if they are to be
    /// read for that, outside of the lock.
    ///
    /// To read one more clock for each of many jobs that are started in a row is a tenth of what a
    /// start takes, and it is for the decision alone whether to wake the driver. If the wall clock was
    /// set since, and yet seems to have gone on for less than `FRESH`, that is decided too early, or
    /// too late by less than that.
    pub(crate) fn clocks(&self, wall: SystemTime) -> Option<Clocks> {
        let (now, before) = self.clocks?;
        let since = wall.duration_since(before).ok()?;
        (since < FRESH).then(|| (now + since, wall))
    }

    /// Notes what both clocks have shown just now.
    pub(crate) fn note_clocks(&mut self, clocks: Clocks) {
        self.clocks = Some(clocks);
    }

    /// The job of that name, unless it has ended.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Job>> {
        let job = self.named(self.place(name, text_hash::of(name))?)?;
        (!job.has_ended()).then(|| job.clone())
    }

    /// Gives a name to a place; false if it is that of another job that has not ended.
    fn name(&mut self, name: &Label, place: u32) -> bool {
        let hash = text_hash::of(name);
        if self.collided.is_empty()
            && let Entry::Vacant(vacant) = self.names.entry(hash)
        {
            // Nearly always: one look-up.
            vacant.insert(place);
            return true;
        }
        let before = self.place(name, hash);
        let holder = before.and_then(|before| self.named(before));
        if holder.is_some_and(|holder| !holder.has_ended()) {
            return false;
        }
        let first = self.names.get(&hash).copied();
        if first == before {
            self.names.insert(hash, place);
        } else {
            self.collided.insert(name.to_shared(), place);
        }
        true
    }

    /// The place that a name was given to.
    fn place(&self, name: &str, hash: u64) -> Option<u32> {
        let is_its = |place| self.named(place).is_some_and(|job| *job.name == *name);
        let first = self.names.get(&hash).copied();
        first
            .filter(|&first| is_its(first))
            .or_else(|| self.collided.get(name).copied())
    }

    fn named(&self, place: u32) -> Option<&Arc<Job>> {
        self.places[place as usize].as_ref()
    }

    /// Takes out a job that has ended, for the driver, which gives its own reference away. What comes
    /// back is not to be dropped under the lock: it may be the last reference, and drops the user's
    /// trigger then.
    pub(crate) fn forget(&mut self, job: Arc<Job>) -> Option<Arc<Job>> {
        let Some(removed) = self.remove(&job) else {
            return Some(job);
        };
        if self.spare.len() == SPARE || !removed.is_plain() {
            return Some(removed);
        }
        // Not the last one before those who free it have theirs.
        drop(job);
        self.spare.push(removed);
        None
    }

    /// Jobs to free, outside of the lock: two for each that is started, so that they become fewer.
    pub(crate) fn spare(&mut self) -> [Option<Arc<Job>>; 2] {
        [self.spare.pop(), self.spare.pop()]
    }

    /// Like [`spare`](Self::spare), for so many that are started at once.
    pub(crate) fn spare_for(&mut self, started: usize) -> Vec<Arc<Job>> {
        let left = self.spare.len().saturating_sub(2 * started);
        self.spare.drain(left..).collect()
    }

    /// Takes a job out; `None` if it is not in. What is returned is not to be dropped under the
    /// lock, if it is the last reference: that drops the user's trigger.
    pub(crate) fn remove(&mut self, job: &Arc<Job>) -> Option<Arc<Job>> {
        let place = job.place.load(Ordering::Relaxed);
        let found = self.places.get_mut(place as usize)?;
        // The place may belong to a later job by now.
        let removed = found.take_if(|found| Arc::ptr_eq(found, job))?;
        if !job.name.is_empty() {
            // A later job may have its name by now.
            let hash = text_hash::of(&job.name);
            if self.names.get(&hash) == Some(&place) {
                self.names.remove(&hash);
            } else if self.collided.get(&*job.name) == Some(&place) {
                self.collided.remove(&*job.name);
            }
        }
        self.free.push(place);
        if self.len() == 0 {
            // The memory of a burst goes back.
            *self = Self {
                spare: core::mem::take(&mut self.spare),
                next_id: self.next_id,
                ..Self::default()
            };
        }
        Some(removed)
    }

    /// All jobs that have not ended, in the order in which they were started.
    pub(crate) fn list(&self) -> Vec<Arc<Job>> {
        let jobs = self.places.iter().flatten();
        let mut jobs: Vec<_> = jobs.filter(|job| !job.has_ended()).cloned().collect();
        jobs.sort_unstable_by_key(|job| job.id());
        jobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Overlap, ScheduleError, Scheduler};

    #[test]
    fn both_clocks_are_read_again_when_the_wall_clock_has_moved() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let boot = Instant::ORIGIN + Duration::from_secs(7);
        let micros = Duration::from_micros;
        let mut jobs = Registry::default();
        let mut ask = |wall, really| {
            if let Some(known) = jobs.clocks(wall) {
                return (known, false);
            }
            jobs.note_clocks(really);
            (really, true)
        };
        let first = (boot, start);
        assert_eq!(ask(start, first), (first, true));
        assert_eq!(ask(start, first), (first, false));
        let later = (boot + micros(999), start + micros(999));
        assert_eq!(ask(later.1, later), (later, false));
        let stale = (boot + micros(1_000), start + micros(1_000));
        assert_eq!(ask(stale.1, stale), (stale, true));
        // Set back, and forward.
        for wall in [start, start + Duration::from_secs(60)] {
            let set = (boot + micros(1_001), wall);
            assert_eq!(ask(wall, set), (set, true));
        }
    }

    #[test]
    fn who_starts_jobs_frees_those_that_have_ended() {
        flow_rt::sim::check(0..3, |rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
            let hour = Duration::from_secs(3_600);
            let start = |name: String| {
                let job = scheduler.job(name, async |_cx| ()).after(hour);
                drop(job.start().unwrap());
            };
            let weak = |name: &str| Arc::downgrade(&scheduler.shared().find(name).unwrap());
            let names: Vec<String> = (0..10).map(|n| format!("job {n}")).collect();
            names.iter().cloned().for_each(start);
            let own = scheduler.job("own", async |_cx| ());
            drop(own.trigger(crate::After::new(hour)).start().unwrap());
            let (jobs, own) = (names.iter().map(|name| weak(name)), weak("own"));
            let jobs: Vec<_> = jobs.collect();
            let left = || jobs.iter().filter(|job| job.strong_count() > 0).count();
            for name in names.iter().map(String::as_str).chain(["own"]) {
                assert!(scheduler.remove(name));
            }
            // Until the driver has looked.
            rt.sleep(2 * hour).await;
            assert_eq!(left(), 10);
            // What a user wrote goes at once.
            assert_eq!(own.strong_count(), 0);
            for started in 1..=6_usize {
                start(format!("another {started}"));
                assert_eq!(left(), 10_usize.saturating_sub(2 * started));
            }
        });
    }

    #[test]
    fn who_starts_many_jobs_frees_as_many_as_if_one_by_one() {
        flow_rt::sim::check(0..3, |rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
            let hour = Duration::from_secs(3_600);
            let job = |name: String| scheduler.job(name, async |_cx| ()).after(hour);
            let start = |names: core::ops::Range<u32>| {
                scheduler
                    .start_all(names.map(|n| job(format!("job {n}"))))
                    .unwrap()
            };
            let ended = start(0..10).into_iter().map(|job| {
                let weak = Arc::downgrade(&scheduler.shared().find(job.name()).unwrap());
                assert!(scheduler.remove(job.name()));
                weak
            });
            let ended: Vec<_> = ended.collect();
            let left = || ended.iter().filter(|job| job.strong_count() > 0).count();
            rt.sleep(2 * hour).await;
            assert_eq!(left(), 10);
            drop(start(10..13));
            assert_eq!(left(), 4);
            drop(start(13..16));
            assert_eq!(left(), 0);
        });
    }

    #[test]
    fn what_has_grown_with_its_runs_goes_at_once() {
        flow_rt::sim::check(0..3, |rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
            let [second, hour] = [1, 3_600].map(Duration::from_secs);
            let slow = |name: &'static str, runs: u32| {
                let rt = rt.clone();
                let job = scheduler.job(name, move |_cx| {
                    let rt = rt.clone();
                    async move { rt.sleep(runs * second).await }
                });
                job.every(2 * second)
            };
            let quick = scheduler.job("quick", async |_cx| ()).every(2 * second);
            let failing = async |_cx| Err::<(), _>(std::io::Error::other("it fails"));
            drop([
                quick.overlap(Overlap::CancelPrevious).start().unwrap(),
                slow("buffering", 5)
                    .overlap(Overlap::BufferAll(10_000))
                    .start()
                    .unwrap(),
                slow("beside", 5)
                    .overlap(Overlap::Allow(2))
                    .start()
                    .unwrap(),
                // In progress when the driver looks, and for a while after.
                slow("running", 61).start().unwrap(),
                scheduler
                    .job("failing", failing)
                    .every(2 * second)
                    .start()
                    .unwrap(),
            ]);
            // Between two times that are due.
            rt.sleep(hour + second / 2).await;
            let is_kept = |name: &str| {
                let job = Arc::downgrade(&scheduler.shared().find(name).unwrap());
                assert!(scheduler.remove(name));
                let rt = rt.clone();
                async move {
                    rt.sleep(hour).await;
                    job.strong_count() > 0
                }
            };
            // Its runs have left their count behind, and nothing that grows.
            assert!(is_kept("quick").await);
            for name in ["buffering", "beside", "running", "failing"] {
                assert!(!is_kept(name).await, "{name}");
            }
        });
    }

    #[test]
    fn names_of_the_same_hash_are_two() {
        flow_rt::sim::check(0..3, |rt| async move {
            let names = text_hash::collision();
            assert_eq!(text_hash::of(&names[0]), text_hash::of(&names[1]));
            assert_ne!(names[0], names[1]);
            let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
            let start = |name: &String| {
                let job = scheduler.job(name.clone(), async |_cx| ());
                job.after(Duration::from_secs(3_600)).start()
            };
            // Either may go first, and come again.
            for (gone, stays) in [(0, 1), (1, 0)] {
                for name in &names {
                    start(name).unwrap();
                }
                for look in [false, true] {
                    if look {
                        assert!(scheduler.remove(&names[gone]));
                        rt.sleep(Duration::from_secs(1)).await;
                        assert!(scheduler.find(&names[gone]).is_none());
                        start(&names[gone]).unwrap();
                    }
                    for name in &names {
                        assert_eq!(scheduler.find(name).unwrap().name(), name);
                        let taken = start(name).unwrap_err();
                        assert!(matches!(taken, ScheduleError::NameTaken { .. }));
                    }
                }
                assert!(scheduler.remove(&names[gone]));
                assert!(scheduler.find(&names[stays]).is_some());
                assert!(scheduler.remove(&names[stays]));
            }
        });
    }
}
