//! Models of stepped time's count: wake || poll || settle || move.
//!
//! A host thread per task polls it as a real host does, through loom's `block_on`. What a task
//! has done is written and read Relaxed, so that only the count can make it visible. A task says
//! what it found by a flag: its panic would be contained.
#![cfg(loom)]

mod keeping_host;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flow_rt::{BoxTask, Handle, SteppedRuntime};
use flow_sync::model::explore;
use flow_sync::sync::AtomicWaker;
use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::thread::{self, JoinHandle};

use keeping_host::KeepingHost;

struct Model {
    host: Arc<KeepingHost>,
    rt: SteppedRuntime,
}

impl Model {
    fn new() -> Self {
        let host = Arc::new(KeepingHost::default());
        let rt = SteppedRuntime::over(&Handle::from_arc(host.clone()));
        Self { host, rt }
    }

    /// Spawns a task and takes it back from the host.
    fn task(&self, future: impl Future<Output = ()> + Send + 'static) -> BoxTask {
        self.rt.spawn_detached(future);
        self.host.0.lock().unwrap().pop().unwrap()
    }
}

/// Polls a task to its end, as often as it wakes its host.
fn poll_on_a_thread(task: BoxTask) -> JoinHandle<()> {
    thread::spawn(move || block_on(task))
}

/// Polls once, with a waker that does nothing.
fn poll_once(task: &mut BoxTask) -> Poll<()> {
    Pin::new(task).poll(&mut Context::from_waker(Waker::noop()))
}

/// A flag that a task waits for, and what it says when it has seen it.
#[derive(Default)]
struct Signal {
    raised: AtomicBool,
    waiter: AtomicWaker,
    seen: AtomicBool,
}

impl Signal {
    fn raise(&self) {
        self.raised.store(true, Relaxed);
        self.waiter.wake();
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            self.waiter.register(cx.waker());
            if self.raised.load(Relaxed) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        self.seen.store(true, Relaxed);
    }

    fn is_seen(&self) -> bool {
        self.seen.load(Relaxed)
    }
}

#[test]
fn settle_follows_a_wake() {
    explore("stepped: a foreign wake || poll, then settle", 3, || {
        let model = Model::new();
        let signal = Arc::new(Signal::default());
        let waits = signal.clone();
        let host = poll_on_a_thread(model.task(async move { waits.wait().await }));
        let waker = {
            let signal = signal.clone();
            thread::spawn(move || signal.raise())
        };
        waker.join().unwrap();
        block_on(model.rt.settle());
        assert!(signal.is_seen());
        host.join().unwrap();
    });
}

#[test]
fn settle_sees_through_a_chain() {
    explore("stepped: a task wakes another || settle", 2, || {
        let model = Model::new();
        let signal = Arc::new(Signal::default());
        let (waits, raises) = (signal.clone(), signal.clone());
        let first_ended = Arc::new(AtomicBool::new(false));
        let ends = first_ended.clone();
        let first = model.task(async move {
            raises.raise();
            ends.store(true, Relaxed);
        });
        let second = model.task(async move { waits.wait().await });
        let hosts = [poll_on_a_thread(second), poll_on_a_thread(first)];
        block_on(model.rt.settle());
        assert!(signal.is_seen());
        assert!(first_ended.load(Relaxed));
        for host in hosts {
            host.join().unwrap();
        }
    });
}

#[test]
fn two_wakes_at_once_are_both_seen() {
    explore("stepped: wake || wake || poll, then settle", 2, || {
        let model = Model::new();
        let flags = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let (seen, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let mut task = {
            let (flags, seen, kept) = (flags.clone(), seen.clone(), kept.clone());
            model.task(poll_fn(move |cx| {
                *kept.lock().unwrap() = Some(cx.waker().clone());
                if flags.iter().all(|flag| flag.load(Relaxed)) {
                    seen.store(true, Relaxed);
                    return Poll::Ready(());
                }
                Poll::Pending
            }))
        };
        // The first poll is by another waker than the host's later ones, which may come unasked.
        assert!(poll_once(&mut task).is_pending());
        let waker = kept.lock().unwrap().clone().unwrap();
        let host = poll_on_a_thread(task);
        let other = {
            let (flags, waker) = (flags.clone(), waker.clone());
            thread::spawn(move || {
                flags[1].store(true, Relaxed);
                waker.wake();
            })
        };
        flags[0].store(true, Relaxed);
        waker.wake();
        other.join().unwrap();
        block_on(model.rt.settle());
        assert!(seen.load(Relaxed));
        host.join().unwrap();
        drop(kept.lock().unwrap().take());
    });
}

#[test]
fn a_task_may_settle_itself() {
    explore("stepped: settle in a task || poll of another", 2, || {
        let model = Model::new();
        let done = Arc::new(AtomicBool::new(false));
        let other = {
            let done = done.clone();
            model.task(async move { done.store(true, Relaxed) })
        };
        let (rt, in_order) = (model.rt.clone(), Arc::new(AtomicBool::new(false)));
        let settles = {
            let in_order = in_order.clone();
            model.task(async move {
                rt.settle().await;
                in_order.store(done.load(Relaxed), Relaxed);
            })
        };
        let host = poll_on_a_thread(other);
        block_on(settles);
        assert!(in_order.load(Relaxed));
        host.join().unwrap();
    });
}

#[test]
fn a_host_that_drops_its_task_settles() {
    explore(
        "stepped: the host drops a task || wake || settle",
        3,
        || {
            let model = Model::new();
            let signal = Arc::new(Signal::default());
            let waits = signal.clone();
            let mut task = model.task(async move { waits.wait().await });
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = std::pin::Pin::new(&mut task).poll(&mut cx);
            let waker = {
                let signal = signal.clone();
                thread::spawn(move || signal.raise())
            };
            let host = thread::spawn(move || drop(task));
            block_on(model.rt.settle());
            waker.join().unwrap();
            host.join().unwrap();
            block_on(model.rt.settle());
        },
    );
}

#[test]
fn time_moves_when_all_have_parked() {
    explore("stepped: advance || poll of a task", 2, || {
        let model = Model::new();
        let handle = Handle::clone(&model.rt);
        let due = handle.now() + Duration::from_nanos(1);
        let done = Arc::new(AtomicBool::new(false));
        let task = {
            let done = done.clone();
            model.task(async move {
                // Before anything moves, whenever the host comes to poll this.
                let early = handle.now() < due;
                handle.sleep_until(due).await.unwrap();
                done.store(early && handle.now() == due, Relaxed);
            })
        };
        let host = poll_on_a_thread(task);
        block_on(model.rt.advance(Duration::from_nanos(1)));
        assert!(done.load(Relaxed));
        host.join().unwrap();
    });
}

#[test]
fn who_settles_goes_before_time() {
    explore("stepped: settle in a task || advance", 2, || {
        let model = Model::new();
        let (rt, in_order) = (model.rt.clone(), Arc::new(AtomicBool::new(false)));
        let start = rt.now();
        let task = {
            let in_order = in_order.clone();
            model.task(async move {
                rt.settle().await;
                in_order.store(rt.now() == start, Relaxed);
            })
        };
        let host = poll_on_a_thread(task);
        block_on(model.rt.advance(Duration::from_nanos(1)));
        assert!(in_order.load(Relaxed));
        host.join().unwrap();
    });
}
