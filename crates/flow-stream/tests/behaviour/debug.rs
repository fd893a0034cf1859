//! What `{:?}` tells of channels, writers and their futures, and that a future which is done
//! stays pending.

use std::time::Duration;

use crate::common::{park, poll};
use flow_rt::{Handle, OnFull, TestRuntime, block_on};
use flow_stream::{
    AsyncWriter, Channel, RecvTimeoutError, SendBlockingError, SendTimeoutError, TrySendError,
};
use futures_util::Stream;
use futures_util::future::FusedFuture;

const SEC: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    a_wait_with_a_limit_ends_at_it,
    a_writer_shows_its_state,
}

#[test]
fn a_channel_shows_its_state() {
    let builder = Channel::<u8>::builder()
        .name("jobs")
        .capacity(2)
        .on_full(OnFull::DropNewest)
        .on_drop(|_, _| {});
    let text = format!("{builder:?}");
    for part in [
        "\"jobs\"",
        "capacity: Some(2)",
        "DropNewest",
        "on_drop: true",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let (tx, rx) = builder.build().unwrap();
    assert!(format!("{tx:?}").starts_with("Sender"), "{tx:?}");
    assert!(format!("{rx:?}").starts_with("Receiver"), "{rx:?}");
    assert!(tx.is_empty() && rx.is_empty());
    tx.try_send(1).unwrap();
    assert!(!tx.is_empty() && !rx.is_empty());
    assert_eq!((rx.len(), rx.capacity()), (1, 2));
    assert_eq!(Stream::size_hint(&rx), (0, None));
}

#[test]
fn futures_of_a_channel_show_whether_they_wait() {
    let (tx, rx) = Channel::<u8>::bounded(1).unwrap();
    let mut recv = rx.recv();
    assert_eq!(
        format!("{recv:?}"),
        "RecvFuture { parked: false, done: false, .. }"
    );
    park(&mut recv);
    assert_eq!(
        format!("{recv:?}"),
        "RecvFuture { parked: true, done: false, .. }"
    );
    drop(recv);

    let mut batch = Vec::new();
    let mut many = rx.recv_many(&mut batch, 5);
    park(&mut many);
    assert_eq!(
        format!("{many:?}"),
        "RecvManyFuture { max: 5, parked: true, done: false, .. }"
    );
    tx.try_send(1).unwrap();
    assert!(poll(&mut many).is_ready());
    assert!(many.is_terminated());
    assert!(poll(&mut many).is_pending(), "it was ready before");
    drop(many);
    assert_eq!(batch, [1]);

    tx.try_send(1).unwrap();
    let mut send = tx.send(2);
    park(&mut send);
    assert_eq!(
        format!("{send:?}"),
        "SendFuture { parked: true, done: false, .. }"
    );
    rx.try_recv().unwrap();
    assert!(poll(&mut send).is_ready());
    assert!(send.is_terminated());
    assert!(poll(&mut send).is_pending(), "it was ready before");
}

async fn a_wait_with_a_limit_ends_at_it(rt: TestRuntime) {
    let (tx, rx) = Channel::builder().capacity(1).runtime(&rt).build().unwrap();
    let start = rt.now();
    let mut recv = rx.recv_timeout(SEC);
    assert!(format!("{recv:?}").contains("timeout: 1s"), "{recv:?}");
    let ended = (&mut recv).await;
    assert_eq!(ended, Err(RecvTimeoutError::TimedOut { timeout: SEC }));
    assert!(recv.is_terminated());
    assert!(poll(&mut recv).is_pending(), "it was ready before");

    tx.try_send(1).unwrap();
    let mut send = tx.send_timeout(2, SEC);
    assert!(format!("{send:?}").contains("timeout: 1s"), "{send:?}");
    let Err(SendTimeoutError::TimedOut { item, timeout }) = (&mut send).await else {
        panic!("there was no room");
    };
    assert_eq!((item.into_inner(), timeout), (2, SEC));
    assert!(send.is_terminated());
    assert!(poll(&mut send).is_pending(), "it was ready before");
    assert!(rt.now() - start >= 2 * SEC);
    assert_eq!(send.into_inner(), None);
    assert_eq!(tx.send_timeout(3, SEC).into_inner(), Some(3));
}

#[test]
fn a_runtime_that_is_gone_gives_the_item_back() {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    let (tx, _rx) = Channel::builder()
        .capacity(1)
        .runtime(&handle)
        .build()
        .unwrap();
    tx.try_send(1).unwrap();
    let mut send = tx.send_timeout(2, Duration::from_secs(3_600));
    park(&mut send);
    drop(rt);
    match poll(&mut send) {
        std::task::Poll::Ready(Err(SendTimeoutError::Stopped { item, .. })) => {
            assert_eq!(item.into_inner(), 2);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_thread_may_not_send_comes_back() {
    let (tx, rx) = Channel::builder()
        .capacity(1)
        .on_full(OnFull::Reject)
        .build()
        .unwrap();
    tx.send_blocking(1).unwrap();
    let full = tx.send_blocking(2).unwrap_err();
    assert!(matches!(full, SendBlockingError::Full(_)), "{full:?}");
    assert_eq!(full.into_inner(), 2);
    rx.close();
    let closed = tx.send_blocking(3).unwrap_err();
    assert!(closed.is_closed(), "{closed:?}");
    assert_eq!(closed.into_inner(), 3);
    let closed = tx.try_send(4).unwrap_err();
    assert!(matches!(closed, TrySendError::Closed(_)), "{closed:?}");
    assert_eq!(rx.recv_blocking(), Ok(1));
}

#[test]
fn a_thread_that_waits_for_room_is_told_of_the_end() {
    let (tx, rx) = Channel::bounded(1).unwrap();
    tx.try_send(1).unwrap();
    let blocked = std::thread::spawn(move || tx.send_blocking(2));
    // Whether it waits already or comes later, the answer is the same.
    rx.close();
    assert_eq!(blocked.join().unwrap().unwrap_err().into_inner(), 2);
    assert_eq!(rx.recv_blocking(), Ok(1));
}

async fn a_writer_shows_its_state(rt: TestRuntime) {
    let builder = AsyncWriter::builder().name("log").capacity(64).runtime(&rt);
    let text = format!("{builder:?}");
    assert!(
        text.starts_with("WriterBuilder { name: \"log\"") && text.contains("capacity: 64"),
        "{text}"
    );
    let writer = builder.build(std::io::sink()).unwrap();
    let text = format!("{writer:?}");
    assert!(
        text.starts_with("AsyncWriter { name: \"log\"") && text.contains("closed: false"),
        "{text}"
    );

    let mut write = writer.write(b"abc");
    assert_eq!(
        format!("{write:?}"),
        "WriteFuture { len: Some(3), parked: false, .. }"
    );
    (&mut write).await.unwrap();
    assert!(poll(&mut write).is_pending(), "it was ready before");

    let mut flush = writer.flush();
    assert_eq!(
        format!("{flush:?}"),
        "FlushFuture { position: 3, done: false, .. }"
    );
    (&mut flush).await.unwrap();
    assert!(poll(&mut flush).is_pending(), "it was ready before");

    let mut shutdown = writer.shutdown(SEC);
    assert_eq!(
        format!("{shutdown:?}"),
        "ShutdownFuture { timeout: 1s, done: false, .. }"
    );
    assert!((&mut shutdown).await.is_clean());
    assert!(poll(&mut shutdown).is_pending(), "it was ready before");
    assert!(writer.is_closed());
}

#[test]
fn a_writer_that_rejects_answers_a_thread_at_once() {
    let handle = Handle::smol();
    let (writer, driver) = AsyncWriter::builder()
        .capacity(4)
        .on_full(OnFull::Reject)
        .runtime(&handle)
        .build_with_driver(std::io::sink())
        .unwrap();
    assert!(format!("{driver:?}").starts_with("WriterDriver"));
    writer.write_blocking(b"abcd").unwrap();
    let full = writer.write_blocking(b"e").unwrap_err();
    assert_eq!(
        full.to_string(),
        "no room for 1 bytes in the writer's buffer of 4"
    );
    let full = block_on(writer.write(b"e")).unwrap().unwrap_err();
    assert_eq!(
        full.to_string(),
        "no room for 1 bytes in the writer's buffer of 4"
    );
}
