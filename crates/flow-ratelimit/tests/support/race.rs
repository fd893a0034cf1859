//! A wait that is dropped as its permit comes, from another thread.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{TryRecvError, channel};
use std::task::{Context, Waker};

use flow_ratelimit::ConcurrencyLimiter;

/// So many times another thread gives back the only permit as this one drops the wait for it; it is
/// there again each time.
pub(crate) fn cancels_meet_grants(limiter: &ConcurrencyLimiter, tries: u32) {
    let came_back = &AtomicU32::new(0);
    let came_back_to = |times| {
        while came_back.load(Ordering::Acquire) < times {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let (give, given) = channel();
        scope.spawn(move || {
            loop {
                match given.try_recv() {
                    Ok(permit) => {
                        drop(permit);
                        came_back.fetch_add(1, Ordering::Release);
                    }
                    // Awake, or it would come too late each time.
                    Err(TryRecvError::Empty) => std::thread::yield_now(),
                    Err(TryRecvError::Disconnected) => break,
                }
            }
        });
        for attempt in 0..tries {
            came_back_to(attempt);
            let held = limiter.try_acquire();
            let held = held.unwrap_or_else(|error| panic!("lost at {attempt}: {error}"));
            {
                let mut wait = pin!(limiter.acquire());
                let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending(), "the permit is out");
                give.send(held).expect("it listens");
                // The wait goes as the grant comes, and each fourth time after it for certain.
                for _ in 0..attempt % 256 {
                    std::hint::spin_loop();
                }
                if attempt % 4 == 0 {
                    came_back_to(attempt + 1);
                }
            }
        }
    });
    let stats = limiter.stats();
    assert_eq!((stats.in_flight, stats.waiting), (0, 0));
    drop(limiter.try_acquire().expect("nothing is lost"));
}
