//! Occurrences one after the other.

use core::iter::FusedIterator;
use std::time::SystemTime;

use super::zoned::Cron;

/// The occurrences after a time; see [`Cron::iter_after`].
#[derive(Debug, Clone)]
pub struct CronAfter<'a> {
    cron: &'a Cron,
    last: Option<SystemTime>,
}

impl<'a> CronAfter<'a> {
    pub(super) fn new(cron: &'a Cron, after: SystemTime) -> Self {
        Self {
            cron,
            last: Some(after),
        }
    }
}

impl Iterator for CronAfter<'_> {
    type Item = SystemTime;

    fn next(&mut self) -> Option<SystemTime> {
        self.last = self.cron.next_after(self.last?);
        self.last
    }
}

impl FusedIterator for CronAfter<'_> {}

/// The occurrences before a time, backwards; see [`Cron::iter_before`].
#[derive(Debug, Clone)]
pub struct CronBefore<'a> {
    cron: &'a Cron,
    last: Option<SystemTime>,
}

impl<'a> CronBefore<'a> {
    pub(super) fn new(cron: &'a Cron, before: SystemTime) -> Self {
        Self {
            cron,
            last: Some(before),
        }
    }
}

impl Iterator for CronBefore<'_> {
    type Item = SystemTime;

    fn next(&mut self) -> Option<SystemTime> {
        self.last = self.cron.prev_before(self.last?);
        self.last
    }
}

impl FusedIterator for CronBefore<'_> {}
