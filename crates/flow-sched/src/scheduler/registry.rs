//! The jobs of a scheduler that have not ended: each in a place of its own, those with a name
//! under it too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::job::Job;

/// Guarded by its scheduler's lock.
#[derive(Default)]
pub(crate) struct Registry {
    places: Vec<Option<Arc<Job>>>,
    free: Vec<u32>,
    /// From a name to a place.
    names: HashMap<Arc<str>, u32>,
}

impl Registry {
    /// How many jobs there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a job in; false if its name is taken.
    pub(crate) fn insert(&mut self, job: &Arc<Job>) -> bool {
        let place = self.free.last().copied();
        // 2^32 jobs would need a terabyte.
        let place = place.unwrap_or(self.places.len() as u32);
        if !job.name.is_empty() {
            if self.names.contains_key(&job.name) {
                return false;
            }
            self.names.insert(job.name.clone(), place);
        }
        // Read and written under the lock only.
        job.place.store(place, Ordering::Relaxed);
        if self.free.pop().is_some() {
            self.places[place as usize] = Some(job.clone());
        } else {
            self.places.push(Some(job.clone()));
        }
        true
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Job>> {
        let place = *self.names.get(name)?;
        self.places[place as usize].clone()
    }

    /// Takes a job out; `None` if it is not in. What is returned is not to be dropped under the
    /// lock: a job's last reference drops the user's trigger.
    pub(crate) fn remove(&mut self, job: &Arc<Job>) -> Option<Arc<Job>> {
        let place = job.place.load(Ordering::Relaxed);
        let found = self.places.get_mut(place as usize)?;
        // The place may belong to a later job by now.
        let removed = found.take_if(|found| Arc::ptr_eq(found, job))?;
        if !job.name.is_empty() {
            self.names.remove(&job.name);
        }
        self.free.push(place);
        if self.len() == 0 {
            // The memory of a burst goes back.
            *self = Self::default();
        }
        Some(removed)
    }

    /// All jobs, in the order in which they were started.
    pub(crate) fn list(&self) -> Vec<Arc<Job>> {
        let mut jobs: Vec<_> = self.places.iter().flatten().cloned().collect();
        jobs.sort_unstable_by_key(|job| job.id);
        jobs
    }
}
