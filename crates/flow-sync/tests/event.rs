//! The counted event, on one thread.
#![cfg(not(loom))]

use flow_sync::Event;
use futures_util::FutureExt;

#[test]
fn notifies_in_order_and_counts() {
    let event = Event::new();
    event.notify(1);
    let mut first = event.listen();
    let mut second = event.listen();
    assert_eq!(event.listeners(), 2);
    assert!(
        (&mut first).now_or_never().is_none(),
        "earlier ones do not count"
    );
    event.notify(1);
    assert!((&mut first).now_or_never().is_some());
    assert!((&mut second).now_or_never().is_none());
    drop((first, second));
    assert_eq!(event.listeners(), 0);
}

#[test]
fn notify_is_up_to_n_and_additional_adds() {
    let event = Event::new();
    let mut listeners: Vec<_> = (0..4).map(|_| event.listen()).collect();
    event.notify(1);
    event.notify(1);
    event.notify_additional(1);
    event.notify_additional(1);
    let woken = listeners
        .iter_mut()
        .filter_map(FutureExt::now_or_never)
        .count();
    assert_eq!(woken, 3);
}

#[test]
fn a_dropped_notification_goes_on() {
    let event = Event::new();
    let first = event.listen();
    let second = event.listen();
    event.notify(1);
    drop(first);
    second.wait();
}

#[test]
fn a_thread_waits() {
    let event = Event::new();
    std::thread::scope(|scope| {
        let listener = event.listen();
        scope.spawn(|| event.notify(usize::MAX));
        listener.wait();
    });
}
