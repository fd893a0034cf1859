//! The loom shim: flow-sync's, and what only this crate needs: queues and thread-locals.
//!
//! crossbeam's queue is invisible to loom. Under `--cfg loom` a stand-in takes its place: Vyukov's
//! array, on loom's atomics. It orders a push before the pop of its item and nothing else; the looks
//! at a queue (is it empty, is it full, how many) are weaker than crossbeam's. So what the protocols
//! need must come from their own fences.

#[cfg(not(loom))]
mod imp {
    pub(crate) use core::hint::spin_loop;
    pub(crate) use crossbeam_queue::SegQueue;
    pub(crate) use std::thread_local;

    /// Nothing: the accesses around it are SeqCst.
    #[inline(always)]
    pub(crate) fn loom_fence() {}
}

#[cfg(loom)]
mod imp {
    use std::sync::Mutex;

    use flow_sync::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread::yield_now;
    /// Loom's threads do not run at once: whoever waits for another one lets it run.
    pub(crate) use loom::thread::yield_now as spin_loop;

    /// Loom's threads share one of the system's, and so would share std's thread-locals.
    macro_rules! per_thread {
        ($(#[$attr:meta])* static $name:ident: $type:ty = const { $init:expr };) => {
            loom::thread_local! { $(#[$attr])* static $name: $type = $init; }
        };
    }
    pub(crate) use per_thread as thread_local;

    struct ArrayQueue<T> {
        /// The number of the next item to be popped, and to be pushed.
        head: AtomicUsize,
        tail: AtomicUsize,
        cells: Box<[Cell<T>]>,
    }

    struct Cell<T> {
        /// `2 n` while the cell waits for item `n`, `2 n + 1` while it holds it.
        stamp: AtomicUsize,
        /// Guarded by the stamp: never contended, and invisible to loom.
        item: Mutex<Option<T>>,
    }

    impl<T> ArrayQueue<T> {
        fn new(capacity: usize) -> Self {
            let cell = |number| Cell {
                stamp: AtomicUsize::new(2 * number),
                item: Mutex::new(None),
            };
            Self {
                head: AtomicUsize::new(0),
                tail: AtomicUsize::new(0),
                cells: (0..capacity).map(cell).collect(),
            }
        }

        fn push(&self, item: T) -> Result<(), T> {
            let mut tail = self.tail.load(Ordering::Relaxed);
            loop {
                let cell = &self.cells[tail % self.cells.len()];
                let stamp = cell.stamp.load(Ordering::Acquire);
                if stamp == 2 * tail {
                    match advance(&self.tail, tail) {
                        Ok(_) => {
                            *cell.item.lock().unwrap() = Some(item);
                            cell.stamp.store(2 * tail + 1, Ordering::Release);
                            return Ok(());
                        }
                        Err(now) => tail = now,
                    }
                } else if stamp < 2 * tail {
                    return Err(item);
                } else {
                    tail = self.tail.load(Ordering::Relaxed);
                }
            }
        }

        fn pop(&self) -> Option<T> {
            let mut head = self.head.load(Ordering::Relaxed);
            loop {
                let cell = &self.cells[head % self.cells.len()];
                let stamp = cell.stamp.load(Ordering::Acquire);
                if stamp == 2 * head + 1 {
                    match advance(&self.head, head) {
                        Ok(_) => {
                            let item = cell.item.lock().unwrap().take();
                            let next = head + self.cells.len();
                            cell.stamp.store(2 * next, Ordering::Release);
                            return item;
                        }
                        Err(now) => head = now,
                    }
                } else if stamp <= 2 * head {
                    if self.tail.load(Ordering::Relaxed) == head {
                        return None;
                    }
                    // A push has its number and not yet its item in place.
                    yield_now();
                    head = self.head.load(Ordering::Relaxed);
                } else {
                    head = self.head.load(Ordering::Relaxed);
                }
            }
        }

        fn len(&self) -> usize {
            let tail = self.tail.load(Ordering::Relaxed);
            tail.saturating_sub(self.head.load(Ordering::Relaxed))
        }

        fn is_empty(&self) -> bool {
            self.len() == 0
        }
    }

    fn advance(number: &AtomicUsize, from: usize) -> Result<usize, usize> {
        number.compare_exchange(from, from + 1, Ordering::Relaxed, Ordering::Relaxed)
    }

    pub(crate) struct SegQueue<T>(ArrayQueue<T>);

    impl<T> SegQueue<T> {
        pub(crate) fn new() -> Self {
            // More than a model pushes.
            Self(ArrayQueue::new(8))
        }

        pub(crate) fn push(&self, item: T) {
            let pushed = self.0.push(item).is_ok();
            assert!(pushed, "the real queue has no bound");
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.pop()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }
    }

    /// Loom treats SeqCst accesses as acquiring and releasing; between two of them that rely on
    /// their single order stands a fence.
    pub(crate) fn loom_fence() {
        flow_sync::sync::atomic::fence(Ordering::SeqCst);
    }
}

pub(crate) use flow_sync::sync::{AtomicWaker, Mutex, atomic};
pub(crate) use imp::*;
