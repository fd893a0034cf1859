//! The items, and what became of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flow_rt::Handle;

use crate::options::Options;

/// What the tasks of a batch share.
pub(crate) struct Work {
    options: Options,
    ended: AtomicU64,
    done: AtomicU64,
    given_up: AtomicU64,
    /// Told to stop before they were done.
    stopped: AtomicU64,
    attempts: AtomicU64,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) struct Busy;

impl Work {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            ended: AtomicU64::new(0),
            done: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
        }
    }

    /// One attempt at an item: it takes a while, and may fail.
    pub(crate) async fn attempt(self: Arc<Self>, rt: Handle, item: u64) -> Result<(), Busy> {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        // The runtime's end would end the task too.
        let _ = rt.sleep(self.options.each).await;
        let is_hopeless = item.checked_rem(self.options.hopeless) == Some(0);
        // Every seventh attempt of all finds its server busy.
        if is_hopeless || number % 7 == 6 {
            return Err(Busy);
        }
        Ok(())
    }

    /// Counts an item that has ended: well, badly, or not at all.
    pub(crate) fn ended(&self, item: u64, is_done: Option<bool>) {
        let counter = match is_done {
            Some(true) => &self.done,
            Some(false) => {
                println!("item {item} was given up");
                &self.given_up
            }
            None => &self.stopped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        let items = self.options.items;
        let step = (items / 10).max(1);
        if ended.is_multiple_of(step) {
            println!("{ended} of {items} items, {} %", ended * 100 / items);
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.done.load(Ordering::Relaxed) == self.options.items
    }

    pub(crate) fn report(&self) -> Report {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Report {
            done: count(&self.done),
            given_up: count(&self.given_up),
            stopped: count(&self.stopped),
            not_begun: self.options.items - count(&self.ended),
            attempts: count(&self.attempts),
            each: self.options.each,
        }
    }
}

/// What became of a batch.
pub(crate) struct Report {
    done: u64,
    given_up: u64,
    stopped: u64,
    not_begun: u64,
    attempts: u64,
    each: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} done, {} given up, {} stopped, {} not begun; {} attempts of {:?}",
            self.done, self.given_up, self.stopped, self.not_begun, self.attempts, self.each
        )
    }
}
