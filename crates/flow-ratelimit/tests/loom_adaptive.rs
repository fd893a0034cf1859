//! Models of the windows of an adaptive limiter: who closes one, and where a sample goes.
#![cfg(loom)]

mod loom_common;

use std::sync::Arc;

use flow_ratelimit::{AdaptiveLimiter, ConcurrencyLimiter, LimitAlgorithm, Window};
use flow_sync::sync::Mutex;
use flow_sync::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use loom_common::{Time, explore};

/// What the windows held: successes and failures, window by window.
type Seen = Arc<Mutex<Vec<(u64, u64)>>>;

/// Notes the windows, and answers always the same.
#[derive(Debug)]
struct Notes {
    seen: Seen,
    answer: u32,
    /// Somebody is in `on_window`.
    inside: Arc<AtomicU64>,
}

impl LimitAlgorithm for Notes {
    fn on_window(&mut self, window: &Window) -> u32 {
        assert_eq!(
            self.inside.fetch_add(1, Ordering::Relaxed),
            0,
            "two closers"
        );
        let latency = window.mean_latency().map_or(0, |it| it.as_millis() as u64);
        if window.success_count() > 0 {
            assert_eq!(latency, 100, "a latency without its count");
        }
        let counts = (window.success_count(), window.failure_count());
        self.seen.lock().push(counts);
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.answer
    }
}

fn limiter(time: &Arc<Time>, answer: u32, samples: u32) -> (AdaptiveLimiter<Arc<Time>>, Seen) {
    let seen = Seen::default();
    let notes = Notes {
        seen: seen.clone(),
        answer,
        inside: Arc::default(),
    };
    let limiter = ConcurrencyLimiter::adaptive(notes)
        .range(1..=4)
        .initial(3)
        .min_samples(samples)
        .counted(false)
        .clock(time.clone())
        .build()
        .unwrap();
    (limiter, seen)
}

/// Both end at the end of the window: one closes it, and each sample is in one window or in the
/// next.
#[test]
fn two_close_a_window() {
    explore("adaptive: success || failure, at the end", 3, || {
        let time = Time::new();
        let (limiter, seen) = limiter(&time, 3, 1);
        let (one, other) = (limiter.try_acquire_owned(), limiter.try_acquire_owned());
        time.set(100);
        let thread = thread::spawn(move || one.unwrap().success());
        other.unwrap().failure();
        thread.join().unwrap();
        let before = seen.lock().len();
        assert!(before >= 1, "nobody closed it");
        // What is left comes with the next.
        time.set(300);
        let last = limiter.try_acquire().unwrap();
        time.set(400);
        last.success();
        let seen = seen.lock().clone();
        assert_eq!(seen.len(), 2, "{seen:?}");
        let all = seen
            .iter()
            .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        assert_eq!(all, (2, 1), "{seen:?}");
        assert_eq!(limiter.in_flight(), 0);
    });
}

/// The limit is lowered while a permit is taken; what was taken before teaches nothing, however
/// late it ends.
#[test]
fn a_decrease_meets_a_permit() {
    explore("adaptive: decrease || permit", 3, || {
        let time = Time::new();
        let (limiter, seen) = limiter(&time, 2, 1);
        let (first, second) = (limiter.try_acquire_owned(), limiter.try_acquire_owned());
        time.set(100);
        let closer = thread::spawn(move || first.unwrap().success());
        // Before or after the decrease.
        let late = limiter.try_acquire_owned();
        closer.join().unwrap();
        assert_eq!(*seen.lock(), [(1, 0)]);
        assert_eq!(limiter.limit(), 2);
        drop(late);
        // The end of the window that is thrown away.
        time.set(300);
        limiter.try_acquire().unwrap().success();
        assert_eq!(*seen.lock(), [(1, 0)], "it was shown");
        second.unwrap().failure();
        let permit = limiter.try_acquire().unwrap();
        time.set(400);
        permit.success();
        assert_eq!(*seen.lock(), [(1, 0), (1, 0)]);
    });
}
