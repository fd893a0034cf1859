//! Models of the abort of a task: request || poll.
//!
//! A host thread polls the task as a real host does, through loom's `block_on`: the task ends only
//! when it has seen the request, and an abort that is lost is a deadlock of the model.
#![cfg(loom)]

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use flow_rt::{BoxBlocking, BoxTask, BoxTimer, Handle, Instant, JoinError, JoinHandle, Runtime};
use flow_sync::model::explore;
use loom::future::block_on;
use loom::thread;

/// A host that keeps its tasks for the model to poll.
#[derive(Default)]
struct Host(Mutex<Vec<BoxTask>>);

impl Runtime for Host {
    fn spawn(&self, task: BoxTask) {
        self.0.lock().unwrap().push(task);
    }

    fn spawn_blocking(&self, job: BoxBlocking) {
        drop(job);
    }

    fn timer(&self, at: Instant) -> BoxTimer {
        BoxTimer::from_sleep(at, |_| pending())
    }
}

/// A task that never ends by itself, as its host has it, and its handle.
fn endless() -> (BoxTask, JoinHandle<()>) {
    let host = Arc::new(Host::default());
    let handle = Handle::from_arc(host.clone()).spawn(pending::<()>());
    let task = host.0.lock().unwrap().pop().unwrap();
    (task, handle)
}

fn is_cancelled(handle: JoinHandle<()>) -> bool {
    matches!(block_on(handle), Err(JoinError::Cancelled))
}

#[test]
fn abort_meets_poll() {
    explore("join: abort || poll", 3, || {
        let (task, handle) = endless();
        let host = thread::spawn(move || block_on(task));
        handle.abort();
        assert!(is_cancelled(handle));
        host.join().unwrap();
    });
}

#[test]
fn abort_meets_a_poll_by_another_waker() {
    explore("join: abort || poll by another waker", 3, || {
        let (mut task, handle) = endless();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut task).poll(&mut cx).is_pending());
        let host = thread::spawn(move || block_on(task));
        handle.abort();
        assert!(is_cancelled(handle));
        host.join().unwrap();
    });
}

#[test]
fn two_abort() {
    explore("join: abort || abort || poll", 2, || {
        let (task, handle) = endless();
        let other = handle.abort_handle();
        let host = thread::spawn(move || block_on(task));
        let aborter = thread::spawn(move || other.abort());
        handle.abort();
        assert!(is_cancelled(handle));
        aborter.join().unwrap();
        host.join().unwrap();
    });
}
