//! Jobs that have ended, to be made into others.
//!
//! The driver does not free them. Allocators guard the memory of one thread by a lock against
//! others that free it: whoever starts jobs meanwhile would wake the driver from that lock, by a
//! system call, at nearly each of them. So they are kept here, and who starts the next ones makes
//! them of these, without the allocator.
//!
//! # Invariants
//! 1. There are [`MOST`] of them at the most, for as long as the scheduler is not closed; a close,
//!    and the end of the driver, which keeps no more from then on, free them.
//! 2. Nothing of theirs is the user's, and none has grown with its runs ([`Job::is_plain`]): what
//!    is kept is what the jobs took when they were started, their names included.
//! 3. Only what nobody else refers to is made into another job ([`Arc::get_mut`]): a handle, a
//!    timer, a run or a hand-over that still has the job that ended has it to itself, and whoever
//!    is last frees it. So there are no generations to compare.

use std::sync::Arc;
// A count that is looked at before the lock is taken, and orders nothing: core's, under loom too.
use core::sync::atomic::{AtomicUsize, Ordering};

use super::job::Job;
use crate::sync::Mutex;

#[derive(Default)]
pub(crate) struct Spare {
    jobs: Mutex<Vec<Arc<Job>>>,
    /// As many as there are, or were a moment ago.
    count: AtomicUsize,
}

/// So many jobs are kept that have ended: as many as the driver takes up at a time.
const MOST: usize = 1_024;

impl Spare {
    /// Makes a job, of one that has ended if there is one that nobody holds any more.
    #[inline]
    pub(crate) fn make(&self, job: impl FnOnce() -> Job) -> Arc<Job> {
        if self.count.load(Ordering::Relaxed) != 0
            && let Some(mut spare) = self.take()
            && let Some(place) = Arc::get_mut(&mut spare)
        {
            *place = job();
            return spare;
        }
        Arc::new(job())
    }

    fn take(&self) -> Option<Arc<Job>> {
        let mut jobs = self.jobs.lock();
        let spare = jobs.pop();
        self.count.store(jobs.len(), Ordering::Relaxed);
        spare
    }

    /// Keeps jobs that have ended, for the driver, which has taken them out of the registry. It is
    /// left with those that are not kept, to be dropped outside of any lock: each may be the last
    /// reference, and drops the user's trigger then.
    pub(crate) fn keep(&self, ended: &mut [Option<Arc<Job>>]) {
        if self.count.load(Ordering::Relaxed) >= MOST {
            // There is room for none.
            return;
        }
        // What is not the user's, before the lock is taken.
        let mut plain = [const { None }; super::shared::SOME];
        for (plain, ended) in plain.iter_mut().zip(&mut *ended) {
            *plain = ended.take_if(|job| job.is_plain());
        }
        let mut jobs = self.jobs.lock();
        for (plain, ended) in plain.iter_mut().zip(ended) {
            match plain.take() {
                Some(job) if jobs.len() < MOST => jobs.push(job),
                Some(job) => *ended = Some(job),
                None => {}
            }
        }
        self.count.store(jobs.len(), Ordering::Relaxed);
    }

    /// Takes all out, to be dropped.
    pub(crate) fn clear(&self) -> Vec<Arc<Job>> {
        let mut jobs = self.jobs.lock();
        self.count.store(0, Ordering::Relaxed);
        core::mem::take(&mut jobs)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::{Overlap, Scheduler};

    #[test]
    fn who_starts_jobs_takes_those_that_have_ended() {
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
            // One each, which is freed here, since this test holds on to it.
            for started in 1..=11_usize {
                start(format!("another {started}"));
                assert_eq!(left(), 10_usize.saturating_sub(started));
            }
        });
    }

    #[test]
    fn who_starts_many_jobs_takes_as_many_as_if_one_by_one() {
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
            assert_eq!(left(), 7);
            drop(start(13..21));
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
}
