//! Helpers to write contenders with.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long `work` takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

/// How long `n` operations take, one after the other. Each is told its number.
#[inline]
pub fn repeat<T>(n: u64, mut operation: impl FnMut(u64) -> T) -> Duration {
    timed(|| {
        for i in 0..n {
            black_box(operation(black_box(i)));
        }
    })
}

/// How long `n` operations take on each of `threads` threads at once: the slowest thread counts.
pub fn on_threads<T>(threads: usize, n: u64, operation: impl Fn(u64) -> T + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let one = || {
        barrier.wait();
        repeat(n, &operation)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a contender panicked"))
            .max()
            .unwrap_or_default()
    })
}

/// What `measure` measures while another thread does `act` again and again, from before it begins.
pub fn beside<T>(mut act: impl FnMut() + Send, measure: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let (runs, over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            runs.store(true, Ordering::Relaxed);
            while !over.load(Ordering::Relaxed) {
                act();
            }
        });
        // Also if `measure` panics: the scope waits for the thread.
        let _over = Over(&over);
        while !runs.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        measure()
    })
}
