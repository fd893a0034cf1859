//! The jobs of a scheduler: each in a place of its own, those with a name under it too.
//!
//! After a burst those in the last places move to free ones further ahead, and the memory goes back.
//!
//! A job that has ended stays until the driver takes it out, and is none to anybody who looks: it
//! is neither found nor listed, and its name is free.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::job::Job;
use super::text_hash::{self, ByHash};
use crate::scheduler::job::label::Label;

/// Guarded by its scheduler's lock.
#[derive(Default)]
pub(crate) struct Registry {
    places: Vec<Option<Arc<Job>>>,
    /// Some may be beyond the last place by now. There are more places only when none is free.
    free: Vec<u32>,
    /// How many places are taken.
    len: usize,
    /// From a name's hash to a place. A table that grows need not look at the names, each of which
    /// would be a miss.
    names: HashMap<u64, u32, ByHash>,
    /// From a name to a place, if another name of the same hash came first: hardly ever any.
    collided: HashMap<Arc<str>, u32>,
    next_id: u64,
}

/// So many jobs are looked at in a row.
const SLICE: usize = 1_024;

impl Registry {
    /// Takes a job in; false if its name is that of another one that has not ended. Not its last
    /// reference, which is not to be dropped under the lock.
    pub(crate) fn insert(&mut self, job: Arc<Job>) -> bool {
        // 2^32 jobs would need a terabyte.
        let place = self.free_place().unwrap_or(self.places.len() as u32);
        if !job.name.is_empty() && !self.name(&job.name, place) {
            return false;
        }
        // Read and written under the lock only.
        job.place.store(place, Ordering::Relaxed);
        job.id.store(self.next_id, Ordering::Relaxed);
        self.next_id += 1;
        self.len += 1;
        if self.free.pop().is_some() {
            self.places[place as usize] = Some(job);
        } else {
            self.places.push(Some(job));
        }
        true
    }

    /// The last one of the free places that are places still.
    fn free_place(&mut self) -> Option<u32> {
        while let Some(&place) = self.free.last() {
            if (place as usize) < self.places.len() {
                return Some(place);
            }
            self.free.pop();
        }
        None
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
        self.len -= 1;
        if self.len == 0 {
            // The memory of a burst goes back.
            *self = Self {
                next_id: self.next_id,
                ..Self::default()
            };
        }
        Some(removed)
    }

    /// Whether more than half of the places, and a constant, are free.
    pub(crate) fn is_sparse(&self) -> bool {
        self.places.len() > 2 * self.len + SLICE
    }

    /// Gives memory back that is not needed for the jobs that are in, in steps: looks at the last
    /// `most` places, and moves the jobs there to free ones further ahead. True if there is more to
    /// do.
    pub(crate) fn tidy(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if !self.is_sparse() {
                break;
            }
            let Some(last) = self.places.pop() else { break };
            let Some(job) = last else { continue };
            let from = self.places.len() as u32;
            // There are more free places than others.
            let Some(place) = self.free_place() else {
                break;
            };
            self.free.pop();
            if !job.name.is_empty() {
                let name = self.names.get_mut(&text_hash::of(&job.name));
                if let Some(name) = name.filter(|name| **name == from) {
                    *name = place;
                } else if let Some(name) = self.collided.get_mut(&*job.name)
                    && *name == from
                {
                    *name = place;
                }
            }
            job.place.store(place, Ordering::Relaxed);
            self.places[place as usize] = Some(job);
        }
        if self.is_sparse() {
            return true;
        }
        let len = self.places.len();
        if self.places.capacity() > 2 * len + SLICE {
            self.places.shrink_to(len + len / 2);
            self.free.retain(|&place| (place as usize) < len);
            self.free.shrink_to(len);
            // One pass over the names, as when the table has grown.
            if self.names.capacity() > 4 * self.names.len() + SLICE {
                self.names.shrink_to(2 * self.names.len());
            }
        }
        false
    }

    /// Adds the jobs in the last places before `to`, at most `SLICE` of them, those that have ended
    /// too; where to go on, if there are more. It takes no memory if there is room for so many.
    ///
    /// From the end on, since a job that moves goes to a place further ahead: whoever goes on meets
    /// each one that is in all the while, though one that has moved perhaps twice.
    pub(crate) fn slice(&self, to: usize, jobs: &mut Vec<Arc<Job>>) -> Option<usize> {
        let to = self.places.len().min(to);
        let from = to.saturating_sub(SLICE);
        jobs.extend(self.places[from..to].iter().flatten().cloned());
        (from > 0).then_some(from)
    }
}

/// All jobs that have not ended, in the order in which they were started, from what
/// [`Registry::slice`] gives.
///
/// To look at each of many jobs is a miss: not under the lock, but between one slice and the next,
/// so that others get it.
pub(crate) fn list(
    mut slice: impl FnMut(usize, &mut Vec<Arc<Job>>) -> Option<usize>,
) -> Vec<Arc<Job>> {
    let (mut jobs, mut some) = (Vec::new(), Vec::with_capacity(SLICE));
    let mut to = Some(usize::MAX);
    while let Some(place) = to {
        to = slice(place, &mut some);
        jobs.extend(some.drain(..).filter(|job| !job.has_ended()));
    }
    jobs.sort_unstable_by_key(|job| job.id());
    jobs.dedup_by_key(|job| job.id());
    jobs
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::{ScheduleError, Scheduler};

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

    #[test]
    fn who_lists_jobs_looks_at_them_without_the_lock() {
        flow_rt::sim::check(0..1, |rt| async move {
            let built = Scheduler::builder().runtime(&rt).build_with_driver();
            let (scheduler, _driver) = built.unwrap();
            let start = |name: &'static str| {
                let job = scheduler.job(name, async |_cx| ());
                drop(job.after(Duration::from_secs(3_600)).start().unwrap());
            };
            start("first");
            let job = scheduler.shared().find("first").unwrap();
            let held = Arc::strong_count(&job);
            let state = job.state.lock();
            std::thread::scope(|threads| {
                let list = threads.spawn(|| scheduler.shared().list().len());
                let has_it = (0..10_000_000).any(|_| {
                    std::thread::yield_now();
                    Arc::strong_count(&job) > held
                });
                assert!(has_it, "it waits for the job with the lock");
                start("second");
                drop(state);
                assert!((1..=2).contains(&list.join().unwrap()));
            });
        });
    }

    #[test]
    fn many_jobs_are_listed_in_their_order_whatever_places_they_have() {
        flow_rt::sim::check(0..1, |rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
            let many = 3 * SLICE;
            let start = |names: core::ops::Range<usize>| {
                let job = |n: usize| scheduler.job(format!("{n}"), async |_cx| ());
                let jobs = names.map(|n| job(n).after(Duration::from_secs(3_600)));
                drop(scheduler.start_all(jobs).unwrap());
            };
            let listed = || {
                let jobs = scheduler.list();
                let names = jobs.iter().map(|job| job.name.parse::<usize>().unwrap());
                names.collect::<Vec<_>>()
            };
            start(0..many);
            assert!(listed().into_iter().eq(0..many));
            for gone in (0..many).filter(|n| n % 3 != 0) {
                assert!(scheduler.remove(&gone.to_string()));
            }
            assert!(listed().into_iter().eq((0..many).step_by(3)));
            // The driver frees their places, for others.
            rt.sleep(Duration::from_secs(1)).await;
            start(many..many + SLICE);
            let expected = (0..many).step_by(3).chain(many..many + SLICE);
            assert!(listed().into_iter().eq(expected));
            assert_eq!(scheduler.cancel_all(), 2 * SLICE);
            assert!(listed().is_empty());
        });
    }

    #[test]
    fn the_room_of_a_burst_goes_back_while_a_few_jobs_live_on() {
        flow_rt::sim::check(0..3, |rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
            let names = text_hash::collision();
            let hour = Duration::from_secs(3_600);
            let start = |name: String| {
                let job = scheduler.job(name, async |_cx| ());
                job.every(hour).start().unwrap()
            };
            for n in 0..20_000 {
                // By name and without, and two of one hash, among the last.
                let short = match n {
                    19_998 => scheduler.job(names[0].clone(), async |_cx| ()),
                    19_999 => scheduler.job(names[1].clone(), async |_cx| ()),
                    n if n % 2 == 0 => scheduler.job(format!("{n}"), async |_cx| ()),
                    _ => scheduler.unnamed(async |_cx| ()),
                };
                let short = match n {
                    19_990.. => short.every(hour),
                    _ => short.after(Duration::from_secs(1)),
                };
                short.start().unwrap();
            }
            let long = start("long".to_owned());
            let room = || {
                scheduler.shared().with_registry(|registry| {
                    let names = registry.names.capacity() * 16;
                    registry.places.capacity() * 8 + registry.free.capacity() * 4 + names
                })
            };
            let before = room();
            assert!(before > 200_000, "{before}");
            rt.sleep(Duration::from_secs(4)).await;
            assert!(room() < 40_000, "{} of {before}", room());
            let left = scheduler.list();
            assert_eq!(left.len(), 11);
            assert_eq!(&*left[8].name, names[0]);
            assert_eq!(&*left[10].name, "long");
            // Each is found by its name, and leaves its place.
            for name in &names {
                assert!(scheduler.find(name).is_some());
                assert!(scheduler.remove(name));
                assert!(scheduler.find(name).is_none());
            }
            rt.sleep(2 * hour).await;
            assert_eq!(long.stats().runs.completed, 2);
            assert_eq!(scheduler.list().len(), 9);
            assert_eq!(scheduler.cancel_all(), 9);
        });
    }

    #[test]
    fn who_lists_jobs_while_they_move_meets_each_of_them_once() {
        flow_rt::sim::check(0..1, |rt| async move {
            let built = Scheduler::builder().runtime(&rt).build_with_driver();
            let (scheduler, _driver) = built.unwrap();
            let mut registry = Registry::default();
            let start = |name: usize| {
                let job = scheduler.job(format!("{name}"), async |_cx| ());
                job.after(Duration::from_secs(3_600)).start().unwrap();
                scheduler.shared().find(&format!("{name}")).unwrap()
            };
            let jobs: Vec<_> = (0..8 * SLICE).map(start).collect();
            for job in &jobs {
                assert!(registry.insert(job.clone()));
            }
            // What is left lies in the last slice, and in others.
            for (n, job) in jobs.iter().enumerate() {
                if n % 8 != 0 && n < 7 * SLICE {
                    drop(registry.remove(job));
                }
            }
            let ids: Vec<_> = (0..8 * SLICE)
                .filter(|n| n % 8 == 0 || *n >= 7 * SLICE)
                .map(|n| jobs[n].id())
                .collect();
            let mut slices = 0;
            let listed = list(|to, some| {
                slices += 1;
                registry.tidy(2 * SLICE);
                registry.slice(to, some)
            });
            assert!(slices > 2, "{slices}");
            assert!(listed.iter().map(|job| job.id()).eq(ids));
        });
    }
}
