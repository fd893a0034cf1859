//! One bounded queue, from one thread or one task, and one that is always full.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use flow_benches::{Bench, on_threads, repeat};
use flow_rt::OnFull;
use flow_stream::Channel;
use tokio::runtime::Runtime;

use crate::host::Host;

const CAPACITY: usize = 1024;

pub(crate) fn rows(bench: &mut Bench, runtime: &Runtime) {
    tried(bench);
    slept(bench);
    awaited(bench, Host::Tokio(runtime), "");
    awaited(bench, Host::smol(0), ", on smol");
    always_full(bench);
}

/// A channel that nobody receives from and whose oldest item gives way.
fn always_full(bench: &mut Bench) {
    let (tx, _rx) = Channel::builder()
        .capacity(CAPACITY)
        .on_full(OnFull::DropOldest)
        .build()
        .expect("valid");
    let (mut peer, _peer_rx) = async_broadcast::broadcast(CAPACITY);
    peer.set_overflow(true);
    let (tokio_tx, _tokio_rx) = tokio::sync::broadcast::channel(CAPACITY);
    for (threads, goflow) in [(1, "drop oldest"), (2, "drop oldest, 2")] {
        bench
            .row(format!("drop oldest when full, {threads} thread(s)"))
            .flow(|n| on_threads(threads, n, |i| drop(tx.try_send(i))))
            .peer("async-broadcast", |n| {
                on_threads(threads, n, |i| peer.try_broadcast(i))
            })
            .peer("tokio broadcast", |n| {
                on_threads(threads, n, |i| drop(tokio_tx.send(i)))
            })
            .goflow(goflow)
            .measure();
    }
}

fn tried(bench: &mut Bench) {
    let (tx, rx) = Channel::bounded(CAPACITY).expect("a valid capacity");
    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(CAPACITY);
    let (async_tx, async_rx) = async_channel::bounded(CAPACITY);
    let (flume_tx, flume_rx) = flume::bounded(CAPACITY);
    let (tachyonix_tx, mut tachyonix_rx) = tachyonix::channel(CAPACITY);
    bench
        .row("try_send and try_recv")
        .instructions(10_000)
        .flow(|n| repeat(n, |i| (tx.try_send(i), rx.try_recv())))
        .peer("tokio", |n| {
            repeat(n, |i| (tokio_tx.try_send(i), tokio_rx.try_recv()))
        })
        .peer("async-channel", |n| {
            repeat(n, |i| (async_tx.try_send(i), async_rx.try_recv()))
        })
        .peer("flume", |n| {
            repeat(n, |i| (flume_tx.try_send(i), flume_rx.try_recv()))
        })
        .peer("tachyonix", |n| {
            repeat(n, |i| (tachyonix_tx.try_send(i), tachyonix_rx.try_recv()))
        })
        .measure();
}

/// A receive that finds nothing, and what wakes it.
fn slept(bench: &mut Bench) {
    let channel = Channel::builder().capacity(CAPACITY);
    let (tx, mut rx) = channel.build_single_consumer().expect("a valid capacity");
    let (many_tx, many_rx) = Channel::bounded(CAPACITY).expect("a valid capacity");
    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(CAPACITY);
    let (async_tx, async_rx) = async_channel::bounded(CAPACITY);
    let (tachyonix_tx, mut tachyonix_rx) = tachyonix::channel(CAPACITY);
    bench
        .row("a receive that waits for its send, single consumer")
        .instructions(10_000)
        .flow(|n| repeat(n, |i| woken(rx.recv(), || tx.try_send(i))))
        .peer("flow, MPMC", |n| {
            repeat(n, |i| woken(many_rx.recv(), || many_tx.try_send(i)))
        })
        .peer("tokio", |n| {
            repeat(n, |i| woken(tokio_rx.recv(), || tokio_tx.try_send(i)))
        })
        .peer("async-channel", |n| {
            repeat(n, |i| woken(async_rx.recv(), || async_tx.try_send(i)))
        })
        .peer("tachyonix", |n| {
            repeat(n, |i| {
                woken(tachyonix_rx.recv(), || tachyonix_tx.try_send(i))
            })
        })
        .measure();
}

fn woken<F: Future, S>(receive: F, send: impl FnOnce() -> S) -> (F::Output, S) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut receive = pin!(receive);
    assert!(receive.as_mut().poll(&mut cx).is_pending(), "it is empty");
    let sent = send();
    match receive.poll(&mut cx) {
        Poll::Ready(received) => (received, sent),
        Poll::Pending => unreachable!("an item was sent"),
    }
}

fn awaited(bench: &mut Bench, host: Host<'_>, on: &str) {
    let (tx, rx) = Channel::bounded(CAPACITY).expect("a valid capacity");
    let (tokio_tx, mut tokio_rx) = tokio::sync::mpsc::channel(CAPACITY);
    let (async_tx, async_rx) = async_channel::bounded(CAPACITY);
    let (flume_tx, flume_rx) = flume::bounded(CAPACITY);
    let (tachyonix_tx, mut tachyonix_rx) = tachyonix::channel(CAPACITY);
    bench
        .row(format!("send and recv, one task{on}"))
        .flow(|n| host.alone(n, async |i| (tx.send(i).await, rx.recv().await)))
        .peer("tokio", |n| {
            host.alone(n, async |i| (tokio_tx.send(i).await, tokio_rx.recv().await))
        })
        .peer("async-channel", |n| {
            host.alone(n, async |i| (async_tx.send(i).await, async_rx.recv().await))
        })
        .peer("flume", |n| {
            host.alone(n, async |i| {
                (flume_tx.send_async(i).await, flume_rx.recv_async().await)
            })
        })
        .peer("tachyonix", |n| {
            host.alone(n, async |i| {
                (tachyonix_tx.send(i).await, tachyonix_rx.recv().await)
            })
        })
        .measure();
}
