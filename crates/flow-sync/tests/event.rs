//! The counted event, on one thread.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use flow_sync::Event;
use futures_util::FutureExt;

#[test]
fn notifies_in_order_and_counts() {
    let event = Event::new();
    event.notify_one();
    let mut first = event.listen();
    let mut second = event.listen();
    assert_eq!(event.listeners(), 2);
    assert!(
        (&mut first).now_or_never().is_none(),
        "earlier ones do not count"
    );
    event.notify_one();
    assert!((&mut first).now_or_never().is_some());
    assert!((&mut first).now_or_never().is_some(), "it stays notified");
    assert!((&mut second).now_or_never().is_none());
    drop((first, second));
    assert_eq!(event.listeners(), 0);
}

#[test]
fn one_notification_per_call() {
    let event = Event::new();
    let mut listeners: Vec<_> = (0..40).map(|_| event.listen()).collect();
    event.notify_one();
    event.notify_one();
    let woken = |listeners: &mut Vec<_>| {
        listeners
            .iter_mut()
            .filter_map(FutureExt::now_or_never)
            .count()
    };
    assert_eq!(woken(&mut listeners), 2);
    event.notify_all();
    assert_eq!(woken(&mut listeners), 40);
}

#[test]
fn a_dropped_notification_goes_on() {
    let event = Event::new();
    let first = event.listen();
    let second = event.listen();
    event.notify_one();
    drop(first);
    assert!(second.now_or_never().is_some());
}

#[test]
fn a_wake_may_drop_the_task_that_listens() {
    // What an executor does whose queue is gone: its wake drops the task, and with it the listener.
    struct Gone(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);
    impl Wake for Gone {
        fn wake(self: Arc<Self>) {
            let task = self.0.lock().unwrap().take();
            drop(task);
        }
    }

    static EVENT: Event = Event::new();
    let task = Arc::new(Gone(Mutex::new(Some(Box::pin(EVENT.listen())))));
    let waker = Waker::from(task.clone());
    let mut listener = task.0.lock().unwrap().take().unwrap();
    assert!(
        listener
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    *task.0.lock().unwrap() = Some(listener);
    EVENT.notify_all();
    assert_eq!(EVENT.listeners(), 0);
}

/// A waker whose last copy panics when it is dropped.
struct Explosive;

impl Wake for Explosive {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Explosive {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("planned"));
    }
}

#[test]
fn a_waker_that_panics_when_dropped_harms_no_other_listener() {
    let event = Event::new();
    let (mut first, second) = (event.listen(), event.listen());
    let waker = Waker::from(Arc::new(Explosive));
    let polled = Pin::new(&mut first).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    // The listener's copy is the last one now.
    drop(waker);
    drop(first);
    event.notify_one();
    assert!(second.now_or_never().is_some());
}

#[test]
fn a_waker_that_panics_harms_no_other_listener() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("planned"));
        }
    }
    #[derive(Default)]
    struct Counts(AtomicUsize);
    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let event = Event::new();
    let counts = Arc::new(Counts::default());
    let wakers = [Waker::from(Arc::new(Panics)), Waker::from(counts.clone())];
    let mut listeners = wakers.map(|waker| {
        let mut listener = event.listen();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut listener).poll(&mut cx).is_pending());
        listener
    });
    event.notify_all();
    assert_eq!(counts.0.load(Ordering::Relaxed), 1);
    assert!(
        listeners
            .iter_mut()
            .all(|listener| listener.now_or_never().is_some())
    );
}
