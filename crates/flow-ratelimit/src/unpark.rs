//! The waker of a thread that is parked.

use core::task::Waker;
use std::sync::Arc;
use std::task::Wake;

use flow_sync::sync::thread::{self, Thread};

/// Ends the sleep of a thread; outlives the race between its last look and the sleep.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker that unparks the calling thread.
pub(crate) fn this_thread() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}
