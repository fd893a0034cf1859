//! Models of what other threads do to a simulation that lets them in: wake, spawn, wait.
//!
//! What a thread has done before is written and read Relaxed, so that only the wake can make it
//! visible. A wake that is lost leaves the simulation parked: a deadlock of the model.
#![cfg(loom)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use flow_rt::sim::{Failure, Report, Sim};
use flow_sync::model::explore;
use flow_sync::sync::AtomicWaker;
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::thread::{self, JoinHandle};

fn with_threads<F, Fut>(root: F) -> Result<Report<Fut::Output>, Failure>
where
    F: FnOnce(Sim) -> Fut,
    Fut: Future,
{
    Sim::new(0).allow_threads().run(root)
}

/// A flag that one waits for.
struct Signal {
    flag: AtomicBool,
    waiter: AtomicWaker,
}

impl Signal {
    fn new() -> Self {
        Self {
            flag: AtomicBool::new(false),
            waiter: AtomicWaker::new(),
        }
    }

    fn raise(&self) {
        self.flag.store(true, Relaxed);
        self.waiter.wake();
    }

    async fn raised(&self) {
        poll_fn(|cx| {
            self.waiter.register(cx.waker());
            when(self.flag.load(Relaxed))
        })
        .await;
    }
}

fn when(is_ready: bool) -> Poll<()> {
    if is_ready {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}

/// The caller's waker.
async fn own_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// Raises its flag on another thread, and wakes.
fn raise(flags: &Arc<[AtomicBool; 2]>, at: usize, waker: Waker) -> JoinHandle<()> {
    let flags = flags.clone();
    thread::spawn(move || {
        flags[at].store(true, Relaxed);
        waker.wake();
    })
}

#[test]
fn a_wake_meets_the_executor() {
    explore("sim: wake || poll, park", 3, || {
        let woken = with_threads(|_| async {
            let signal = Arc::new(Signal::new());
            let thread = {
                let signal = signal.clone();
                thread::spawn(move || signal.raise())
            };
            signal.raised().await;
            thread.join().unwrap();
        });
        assert!(woken.is_ok());
    });
}

#[test]
fn two_wakes_at_once_are_both_seen() {
    explore("sim: wake || wake || poll", 2, || {
        let woken = with_threads(|_| async {
            let flags = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
            let waker = own_waker().await;
            let threads = [raise(&flags, 0, waker.clone()), raise(&flags, 1, waker)];
            poll_fn(|_| when(flags.iter().all(|flag| flag.load(Relaxed)))).await;
            for thread in threads {
                thread.join().unwrap();
            }
        });
        assert!(woken.is_ok());
    });
}

#[test]
fn a_thread_spawns() {
    explore("sim: spawn || poll, park", 3, || {
        let spawned = with_threads(|rt| async move {
            let signal = Arc::new(Signal::new());
            let (raises, inner) = (signal.clone(), rt.clone());
            let thread = thread::spawn(move || {
                inner.spawn_detached(async move { raises.raise() });
            });
            signal.raised().await;
            thread.join().unwrap();
        });
        assert!(spawned.is_ok());
    });
}

#[test]
fn a_thread_waits_for_idleness() {
    explore("sim: wait for idleness || poll, park || wake", 2, || {
        let waited = with_threads(|rt| async move {
            let flags = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
            let (waker, raised) = (own_waker().await, flags.clone());
            let thread = thread::spawn(move || {
                block_on(rt.run_until_idle());
                raised[0].store(true, Relaxed);
                waker.wake();
            });
            poll_fn(|_| when(flags[0].load(Relaxed))).await;
            thread.join().unwrap();
        });
        assert!(waited.is_ok());
    });
}

#[test]
fn a_thread_waits_as_the_run_ends() {
    explore("sim: wait for idleness || the end of the run", 3, || {
        let thread = with_threads(|rt| async move {
            thread::spawn(move || {
                let mut idle = pin!(rt.run_until_idle());
                block_on(idle.as_mut());
            })
        });
        thread.unwrap().output.join().unwrap();
    });
}

#[test]
fn a_thread_sleeps_as_the_run_ends() {
    explore("sim: sleep || the end of the run", 3, || {
        let thread = with_threads(|rt| async move {
            thread::spawn(move || block_on(rt.sleep(std::time::Duration::from_secs(1))))
        });
        thread.unwrap().output.join().unwrap();
    });
}
