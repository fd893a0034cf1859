//! A job's settings in a table.

use core::time::Duration;
use std::time::SystemTime;

use flow_rt::Backoff;

use crate::scheduler::error::ScheduleError;
use crate::scheduler::job::builder::JobBuilder;
use crate::scheduler::job::policy::{Misfire, Overlap};
use crate::scheduler::triggers::Every;
use crate::scheduler::triggers::calendar::Holidays;
use crate::scheduler::triggers::jitter::Jitter;
use crate::scheduler::triggers::window::Window;
use crate::scheduler::work::outcome::Outcome;

/// What a file says about a job; `None` is what it does not say.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) run: Option<String>,
    pub(super) cron: Option<String>,
    pub(super) every: Option<Every>,
    pub(super) after: Option<Duration>,
    pub(super) fixed_delay: Option<Duration>,
    pub(super) once_at: Option<SystemTime>,
    pub(super) time_zone: Option<String>,
    pub(super) immediately: Option<bool>,
    pub(super) window: Option<Window>,
    pub(super) holidays: Option<Holidays>,
    pub(super) not_before: Option<SystemTime>,
    pub(super) not_after: Option<SystemTime>,
    pub(super) jitter: Option<Jitter>,
    pub(super) overlap: Option<Overlap>,
    pub(super) misfire: Option<Misfire>,
    pub(super) max_runs: Option<u64>,
    pub(super) priority: Option<usize>,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Option<Backoff>,
    pub(super) stop_on_error: Option<bool>,
    pub(super) history: Option<usize>,
    pub(super) local: Option<bool>,
    pub(super) propagate: Option<bool>,
}

impl Entry {
    /// Tells a builder what the file says. Two triggers, or none, are the builder's to refuse.
    pub(super) fn apply<O: Outcome>(
        &self,
        mut job: JobBuilder<O>,
    ) -> Result<JobBuilder<O>, ScheduleError> {
        if let Some(pattern) = &self.cron {
            job = job.cron(pattern.clone());
        }
        if let Some(every) = self.every {
            job = job.trigger(every);
        }
        if let Some(delay) = self.after {
            job = job.after(delay);
        }
        if let Some(delay) = self.fixed_delay {
            job = job.fixed_delay(delay);
        }
        if let Some(at) = self.once_at {
            job = job.once_at(at);
        }
        let mut holidays = self.holidays.clone();
        if let Some(zone) = &self.time_zone {
            holidays = holidays
                .map(|days| days.time_zone(zone))
                .transpose()
                .map_err(ScheduleError::UnknownZone)?;
            // A zone without anything that it could mean is the builder's to refuse.
            if self.cron.is_some() || self.window.is_some() || holidays.is_none() {
                job = job.time_zone(zone.clone());
            }
        }
        if let Some(window) = self.window.clone() {
            job = job.window(window);
        }
        if let Some(holidays) = holidays {
            job = job.exclude(holidays);
        }
        if let Some(from) = self.not_before {
            job = job.not_before(from);
        }
        if let Some(to) = self.not_after {
            job = job.not_after(to);
        }
        if self.immediately == Some(true) {
            job = job.immediately();
        }
        if self.stop_on_error == Some(true) {
            job = job.stop_on_error();
        }
        if self.local == Some(true) {
            job = job.local();
        }
        Ok(self.apply_policies(job))
    }

    fn apply_policies<O: Outcome>(&self, mut job: JobBuilder<O>) -> JobBuilder<O> {
        if let Some(jitter) = self.jitter {
            job = job.jitter(jitter);
        }
        if let Some(overlap) = self.overlap {
            job = job.overlap(overlap);
        }
        if let Some(misfire) = self.misfire {
            job = job.misfire(misfire);
        }
        if let Some(runs) = self.max_runs {
            job = job.max_runs(runs);
        }
        if let Some(priority) = self.priority {
            job = job.priority(priority);
        }
        if let Some(timeout) = self.timeout {
            job = job.timeout(timeout);
        }
        if let Some(retry) = self.retry {
            job = job.retry(retry);
        }
        if let Some(runs) = self.history {
            job = job.history(runs);
        }
        if let Some(whether) = self.propagate {
            job = job.propagate(whether);
        }
        job
    }
}
