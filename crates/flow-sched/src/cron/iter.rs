//! Occurrences one after the other.

use core::iter::FusedIterator;
use std::time::SystemTime;

use super::time::CronTime;
use super::zoned::Cron;

/// The occurrences after a time; see [`Cron::iter_after`].
#[derive(Debug, Clone)]
pub struct CronAfter<'a, T = SystemTime> {
    cron: &'a Cron,
    last: Option<T>,
}

/// The occurrences before a time, backwards; see [`Cron::iter_before`].
#[derive(Debug, Clone)]
pub struct CronBefore<'a, T = SystemTime> {
    cron: &'a Cron,
    last: Option<T>,
}

impl<'a, T> CronAfter<'a, T> {
    pub(super) fn new(cron: &'a Cron, after: T) -> Self {
        let last = Some(after);
        Self { cron, last }
    }
}

impl<'a, T> CronBefore<'a, T> {
    pub(super) fn new(cron: &'a Cron, before: T) -> Self {
        let last = Some(before);
        Self { cron, last }
    }
}

impl<T: CronTime + Clone> Iterator for CronAfter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.last = self.cron.next_after(self.last.take()?);
        self.last.clone()
    }
}

impl<T: CronTime + Clone> Iterator for CronBefore<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.last = self.cron.prev_before(self.last.take()?);
        self.last.clone()
    }
}

impl<T: CronTime + Clone> FusedIterator for CronAfter<'_, T> {}
impl<T: CronTime + Clone> FusedIterator for CronBefore<'_, T> {}
