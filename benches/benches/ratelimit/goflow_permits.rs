//! goflow's concurrency limiter in Rust, step by step: what its users leave behind.
//!
//! A mutex over counters and a slice of waiters, which every release scans. A wait with a timeout
//! needs a context with a deadline, which the caller makes on the heap and ends afterwards.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use flow_rt::{Clock, Instant, MonotonicClock};

pub(crate) struct Goflow {
    state: Mutex<State>,
}

struct State {
    capacity: u64,
    available: u64,
    waiters: Vec<Waiter>,
}

struct Waiter {
    n: u64,
    ready: SyncSender<()>,
}

/// What `context.WithTimeout` gives: a deadline, and whether it is over.
struct Deadline {
    at: Instant,
    done: AtomicBool,
}

impl Goflow {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            state: Mutex::new(State {
                capacity,
                available: capacity,
                waiters: Vec::new(),
            }),
        }
    }

    pub(crate) fn acquire(&self) -> bool {
        self.state.lock().expect("no panic under it").take(1)
    }

    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let context = Arc::new(Deadline {
            at: MonotonicClock::new().now() + timeout,
            done: AtomicBool::new(false),
        });
        let waited = self.wait_n(&context, 1);
        context.done.store(true, Ordering::Release);
        waited
    }

    fn wait_n(&self, context: &Deadline, n: u64) -> bool {
        if context.done.load(Ordering::Acquire) {
            return false;
        }
        let woken = {
            let mut state = self.state.lock().expect("no panic under it");
            if state.take(n) {
                return true;
            }
            let (ready, woken) = sync_channel(1);
            state.waiters.push(Waiter { n, ready });
            woken
        };
        let left = context
            .at
            .saturating_duration_since(MonotonicClock::new().now());
        woken.recv_timeout(left).is_ok()
    }

    pub(crate) fn release(&self) {
        let mut state = self.state.lock().expect("no panic under it");
        assert!(state.available < state.capacity, "more than is in use");
        state.available += 1;
        let mut at = 0;
        while at < state.waiters.len() {
            let n = state.waiters[at].n;
            if state.take(n) {
                let _ = state.waiters.remove(at).ready.try_send(());
            } else {
                at += 1;
            }
        }
    }
}

impl State {
    fn take(&mut self, n: u64) -> bool {
        let is_free = self.available >= n;
        if is_free {
            self.available -= n;
        }
        is_free
    }
}
