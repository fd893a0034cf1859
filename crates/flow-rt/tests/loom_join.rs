//! Models of the abort of a task: request || poll.
//!
//! A host thread polls the task as a real host does, through loom's `block_on`: the task ends only
//! when it has seen the request, and an abort that is lost is a deadlock of the model.
#![cfg(loom)]

mod keeping_host;

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use flow_rt::{BoxTask, Handle, JoinError, JoinHandle};
use flow_sync::model::explore;
use loom::future::block_on;
use loom::thread;

use keeping_host::KeepingHost;

/// A task that never ends by itself, as its host has it, and its handle.
fn endless() -> (BoxTask, JoinHandle<()>) {
    let host = Arc::new(KeepingHost::default());
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
