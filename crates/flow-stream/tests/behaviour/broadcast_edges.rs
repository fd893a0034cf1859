//! Broadcasts at their edges: values that are refused, threads, items and wakers that panic or
//! use the broadcast, dropped futures.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::broadcast::lossy;
use crate::channel_edges::orders;
use crate::common::{park, poll};
use flow_rt::{Handle, sim};
use flow_stream::broadcast::{
    self, Builder, ConfigError, OnLag, RecvBlockingError, RecvError, RecvTimeoutError,
    SendBlockingError, SendTimeoutError, Sender, TryRecvError,
};
use futures_util::FutureExt;
use futures_util::future::FusedFuture;

const SEC: Duration = Duration::from_secs(1);

#[test]
fn capacities_are_checked() {
    let refused = |capacity| broadcast::channel::<u8>(capacity).unwrap_err();
    assert_eq!(refused(0), ConfigError::ZeroCapacity);
    assert_eq!(
        refused(usize::MAX),
        ConfigError::CapacityTooLarge {
            given: usize::MAX,
            allowed: Builder::MAX_CAPACITY
        }
    );
    assert_eq!(
        broadcast::builder().build::<u8>().unwrap_err(),
        ConfigError::CapacityMissing
    );
    // What is no power of two is kept to all the same.
    let (tx, mut rx) = broadcast::channel(5).unwrap();
    for item in 0..5 {
        tx.try_send(item).unwrap();
    }
    assert!(tx.try_send(5).is_err());
    assert_eq!((tx.capacity(), rx.capacity(), rx.try_recv()), (5, 5, Ok(0)));
    tx.try_send(5).unwrap();
}

#[test]
fn an_item_is_cloned_for_all_but_the_last_and_dropped_once_all_have_had_it() {
    #[derive(Debug)]
    struct Counted(Arc<AtomicU32>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, SeqCst);
            Self(self.0.clone())
        }
    }
    let clones = Arc::new(AtomicU32::new(0));
    let (tx, mut rx) = broadcast::channel(4).unwrap();
    let (mut second, third) = (rx.clone(), rx.clone());
    tx.try_send(Counted(clones.clone())).unwrap();
    drop((rx.try_recv().unwrap(), second.try_recv().unwrap()));
    assert_eq!((clones.load(SeqCst), Arc::strong_count(&clones)), (2, 2));
    drop(third);
    assert_eq!((clones.load(SeqCst), Arc::strong_count(&clones)), (2, 1));
    tx.try_send(Counted(clones.clone())).unwrap();
    drop((rx.try_recv().unwrap(), second.try_recv().unwrap()));
    assert_eq!((clones.load(SeqCst), Arc::strong_count(&clones)), (3, 1));
    // What nobody has had goes with the last receiver, and with the broadcast.
    tx.try_send(Counted(clones.clone())).unwrap();
    drop((rx, second));
    assert_eq!(Arc::strong_count(&clones), 1);
}

#[test]
fn an_item_whose_clone_panics_counts_as_received() {
    #[derive(Debug)]
    struct Bad(bool);
    impl Clone for Bad {
        fn clone(&self) -> Self {
            assert!(!self.0, "a clone that panics");
            Self(false)
        }
    }
    let (tx, mut rx) = broadcast::channel(4).unwrap();
    let mut other = rx.clone();
    tx.try_send(Bad(true)).unwrap();
    tx.try_send(Bad(false)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| rx.try_recv())).is_err());
    assert!(!rx.try_recv().unwrap().0);
    // The last one needs no clone.
    assert!(other.try_recv().unwrap().0);
    assert!(!other.try_recv().unwrap().0);
    assert!(tx.is_empty());
}

#[test]
fn an_item_may_use_the_broadcast_as_it_goes() {
    #[derive(Clone)]
    struct Last(Arc<OnceLock<Sender<Last>>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(tx) = self.0.get() {
                let _ = tx.try_send(Last(Arc::default()));
                tx.close();
            }
        }
    }
    let (tx, rx) = lossy(1, OnLag::DropOldest);
    let cell = Arc::new(OnceLock::new());
    tx.try_send(Last(cell.clone())).unwrap();
    assert!(cell.set(tx.clone()).is_ok());
    tx.try_send(Last(Arc::default())).unwrap();
    assert!(rx.is_closed() && rx.len() == 1);
    assert_eq!(tx.stats().evicted, 2);
}

#[test]
fn a_destructor_that_panics_is_not_the_senders_trouble() {
    #[derive(Clone)]
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "a destructor that panics");
        }
    }
    let (tx, rx) = lossy(1, OnLag::DropOldest);
    for _ in 0..3 {
        tx.try_send(Bomb).unwrap();
    }
    drop(rx);
    assert_eq!((tx.stats().evicted, tx.len()), (2, 0));
}

#[test]
fn ends_may_be_dropped_in_any_order() {
    for order in orders(4) {
        let item = Arc::new(());
        let (tx, rx) = broadcast::channel(4).unwrap();
        tx.try_send(item.clone()).unwrap();
        tx.try_send(item.clone()).unwrap();
        let (mut weak, mut receivers) = (Some(tx.downgrade()), [Some(rx.clone()), Some(rx)]);
        let mut sender = Some(tx);
        for which in &order {
            match which {
                0 => sender = None,
                1 => weak = None,
                n => receivers[n - 2] = None,
            }
            let left = receivers.iter().flatten().count();
            let held = if left > 0 { 2 } else { 0 };
            assert_eq!(Arc::strong_count(&item), 1 + held, "{order:?}");
            if let Some(tx) = &sender {
                assert_eq!((tx.receiver_count(), tx.len()), (left, held), "{order:?}");
            }
            if let Some(weak) = &weak {
                assert_eq!(weak.upgrade().is_some(), sender.is_some(), "{order:?}");
            }
            for rx in receivers.iter().flatten() {
                assert_eq!(
                    (rx.len(), rx.is_closed()),
                    (2, sender.is_none()),
                    "{order:?}"
                );
            }
        }
    }
}

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    struct Rude;
    impl Wake for Rude {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
        fn wake_by_ref(self: &Arc<Self>) {}
    }
    let (tx, mut first) = broadcast::channel(1).unwrap();
    let mut second = first.clone();
    let (rude, count) = (Waker::from(Arc::new(Rude)), Arc::new(Count::default()));
    let polite = Waker::from(count.clone());
    let (mut first, mut second) = (first.recv(), second.recv());
    for _ in 0..2 {
        let mut cx = Context::from_waker(&rude);
        assert!(first.poll_unpin(&mut cx).is_pending());
        let mut cx = Context::from_waker(&polite);
        assert!(second.poll_unpin(&mut cx).is_pending());
    }
    let yielded = count.0.load(SeqCst);
    tx.try_send(1).unwrap();
    assert_eq!(count.0.load(SeqCst), yielded + 1);
    assert_eq!(poll(&mut first), Poll::Ready(Ok(1)));
    assert_eq!(poll(&mut second), Poll::Ready(Ok(1)));
}

#[test]
fn more_receivers_than_a_list_takes_are_woken_by_one_item() {
    let (tx, rx) = broadcast::channel(1).unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut receivers = vec![rx; 50];
    let mut waits: Vec<_> = receivers.iter_mut().map(|rx| rx.recv()).collect();
    for wait in &mut waits {
        for _ in 0..3 {
            let mut cx = Context::from_waker(&waker);
            assert!(wait.poll_unpin(&mut cx).is_pending());
        }
    }
    let yielded = count.0.load(SeqCst);
    assert_eq!(yielded, 50);
    tx.try_send(1).unwrap();
    assert_eq!(count.0.load(SeqCst), yielded + 50);
    for wait in &mut waits {
        assert_eq!(poll(wait), Poll::Ready(Ok(1)));
    }
    drop(waits);
    assert_eq!(Arc::strong_count(&count), 2, "no waker stays behind");
}

#[test]
fn a_receiver_that_never_waits_lets_others_run_now_and_then() {
    let (tx, mut rx) = broadcast::channel(256).unwrap();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    for item in 0..200 {
        tx.try_send(item).unwrap();
        // A future that is dropped as it gives way has taken nothing, and is not made to again.
        let mut received = rx.recv().poll_unpin(&mut cx);
        if received.is_pending() {
            received = rx.recv().poll_unpin(&mut cx);
        }
        assert_eq!(received, Poll::Ready(Ok(item)));
    }
    assert_eq!(count.0.load(SeqCst), 3, "once for 64 items");
    // There is no runtime, and none is asked for.
    for item in 0..200 {
        tx.try_send(item).unwrap();
        let received = rx.recv_timeout(SEC).poll_unpin(&mut cx);
        assert_eq!(received, Poll::Ready(Ok(item)));
    }
    // What it has seen it takes at a stretch.
    for item in 0..200 {
        tx.try_send(item).unwrap();
    }
    let items: Vec<_> = (0..200).map(|_| rx.recv().poll_unpin(&mut cx)).collect();
    let ready = items.iter().filter(|item| item.is_ready()).count();
    assert!(ready >= 199, "{ready}");
}

#[test]
fn dropped_futures_take_nothing_and_pass_on() {
    let (tx, mut rx) = broadcast::channel(1).unwrap();
    {
        let mut recv = rx.recv();
        park(&mut recv);
        tx.try_send(1).unwrap();
    }
    let mut second = tx.send(2);
    park(&mut second);
    let mut third = tx.send(3);
    park(&mut third);
    assert_eq!(rx.try_recv(), Ok(1));
    // Granted and dropped: the room goes to the next.
    assert_eq!(second.into_inner(), Some(2));
    assert!(matches!(poll(&mut third), Poll::Ready(Ok(()))));
    assert!(third.is_terminated() && poll(&mut third).is_pending());
    let mut fourth = tx.send(4);
    park(&mut fourth);
    drop(fourth);
    let mut recv = rx.recv();
    assert_eq!(poll(&mut recv), Poll::Ready(Ok(3)));
    assert!(recv.is_terminated() && poll(&mut recv).is_pending());
    drop(recv);
    tx.try_send(5).unwrap();
    assert_eq!(rx.try_recv(), Ok(5));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn threads_wait_and_runtime_threads_do_not() {
    let (tx, mut rx) = broadcast::channel(1).unwrap();
    let mut other = rx.clone();
    let receiver = std::thread::spawn(move || {
        let mut got = Vec::new();
        loop {
            match other.recv_blocking() {
                Ok(item) => got.push(item),
                Err(error) => return (got, error),
            }
        }
    });
    let sender = std::thread::spawn(move || {
        for item in 0..20 {
            tx.send_blocking(item).unwrap();
        }
        tx.close();
        let refused = tx.send_blocking(20).unwrap_err();
        assert!(matches!(refused, SendBlockingError::Closed(_)));
        assert_eq!(refused.into_inner(), 20);
    });
    for item in 0..20 {
        assert_eq!(rx.recv_blocking(), Ok(item));
    }
    sender.join().unwrap();
    let (got, error) = receiver.join().unwrap();
    assert!(got.into_iter().eq(0..20));
    assert_eq!(error, RecvBlockingError::Closed);

    sim::check(0..1, |_| async {
        let (tx, mut rx) = broadcast::channel(1).unwrap();
        let refused = rx.recv_blocking().unwrap_err();
        assert!(matches!(refused, RecvBlockingError::MustNotBlock(_)));
        tx.send_blocking(1).unwrap();
        let refused = tx.send_blocking(2).unwrap_err();
        assert!(matches!(refused, SendBlockingError::MustNotBlock { .. }));
        assert_eq!((refused.into_inner(), rx.recv_blocking()), (2, Ok(1)));
        drop(rx);
        let refused = tx.send_blocking(3).unwrap_err();
        assert!(matches!(refused, SendBlockingError::NoReceiver(_)));
    });
}

#[test]
fn a_limit_whose_runtime_is_gone_says_so() {
    let host = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(host.handle().clone()).unwrap();
    let builder = broadcast::builder().capacity(1).runtime(&handle);
    let (tx, mut rx) = builder.build().unwrap();
    let mut recv = rx.recv_timeout(SEC);
    park(&mut recv);
    tx.try_send(1).unwrap();
    let mut send = tx.send_timeout(2, SEC);
    park(&mut send);
    let mut other = tx.subscribe();
    let mut second = other.recv_timeout(SEC);
    park(&mut second);
    drop(host);
    // The item is there: nobody asks the runtime.
    assert_eq!(poll(&mut recv), Poll::Ready(Ok(1)));
    assert!(matches!(
        poll(&mut second),
        Poll::Ready(Err(RecvTimeoutError::Stopped(_)))
    ));
    drop(recv);
    assert_eq!(poll(&mut send).map(|sent| sent.is_ok()), Poll::Ready(true));
    let mut send = tx.send_timeout(3, SEC);
    assert!(poll(&mut send).is_pending());
    match poll(&mut send) {
        Poll::Ready(Err(SendTimeoutError::Stopped { item, .. })) => {
            assert_eq!(item.into_inner(), 3);
        }
        other => panic!("{other:?}"),
    }
}

fn is_sync<T: Send + Sync>(_: &T) {}
fn is_send<T: Send>(_: &T) {}

#[test]
fn ends_and_futures_show_how_they_stand() {
    let builder = broadcast::builder()
        .name("prices")
        .capacity(2)
        .on_lag(OnLag::Disconnect);
    let text = format!("{builder:?}");
    assert!(
        text.contains("\"prices\"") && text.contains("Disconnect"),
        "{text}"
    );
    let (tx, mut rx) = builder.build::<Cell<u8>>().unwrap();
    for text in [
        format!("{tx:?}"),
        format!("{rx:?}"),
        format!("{:?}", tx.downgrade()),
    ] {
        for part in [
            "prices",
            "len: 0",
            "capacity: 2",
            "on_lag: Disconnect",
            "receivers: 1",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    assert_eq!(OnLag::default().to_string(), "wait");
    assert_eq!(OnLag::DropOldest.to_string(), "drop-oldest");
    assert_eq!(OnLag::Disconnect.to_string(), "disconnect");

    let recv = rx.recv();
    assert_eq!(
        format!("{recv:?}"),
        "RecvFuture { parked: false, done: false, .. }"
    );
    drop(recv);
    let recv = rx.recv_timeout(SEC);
    assert!(format!("{recv:?}").contains("timeout: 1s"));
    drop(recv);
    let send = tx.send(Cell::new(1));
    assert_eq!(
        format!("{send:?}"),
        "SendFuture { parked: false, done: false, .. }"
    );
    assert!(format!("{:?}", tx.send_timeout(Cell::new(1), SEC)).contains("timeout: 1s"));

    is_sync(&tx);
    is_sync(&rx);
    is_send(&send);
    is_send(&rx.recv());
    tx.close();
    assert_eq!(poll(&mut rx.recv()), Poll::Ready(Err(RecvError::Closed)));
}
