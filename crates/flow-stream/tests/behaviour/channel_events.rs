//! Events of `tracing`, as a subscriber sees them.

#[path = "../../../flow-ratelimit/tests/support/notebook.rs"]
mod notebook;

use flow_rt::OnFull;
use flow_stream::{Channel, ChannelBuilder};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What is told while `act` runs on this thread.
fn told(act: impl FnOnce()) -> Vec<String> {
    notebook::told("flow_stream", act)
}

fn named(answer: OnFull) -> ChannelBuilder<u64> {
    Channel::builder().name("events").on_full(answer)
}

#[test]
fn a_burst_is_told_at_its_first_drop_and_at_its_end() {
    for (answer, why) in [
        (OnFull::DropNewest, "the new item gave way"),
        (OnFull::DropOldest, "the oldest item gave way"),
    ] {
        let events = told(|| {
            let (tx, rx) = named(answer).capacity(4).build().unwrap();
            for item in 0..10 {
                tx.try_send(item).unwrap();
            }
            // It hovers about its limit: the same burst.
            rx.try_recv().unwrap();
            tx.try_send(10).unwrap();
            tx.try_send(11).unwrap();
            rx.drain(&mut Vec::new(), 64);
            tx.try_send(12).unwrap();
            tx.try_send(13).unwrap();
            // And another one, that the close ends.
            for item in 14..20 {
                tx.try_send(item).unwrap();
            }
            tx.close();
            tx.close();
            rx.drain(&mut Vec::new(), 64);
        });
        let [first, end, second, close] = &events[..] else {
            panic!("{events:#?}");
        };
        for first in [first, second] {
            assert!(first.starts_with("WARN"), "{first}");
            assert!(first.contains("channel=\"events\" capacity=4"), "{first}");
            assert!(first.contains(why), "{first}");
        }
        assert!(end.starts_with("INFO") && end.contains("lost=7"), "{end}");
        assert!(
            close.starts_with("INFO") && close.contains("lost=4"),
            "{close}"
        );
    }
}

#[test]
fn a_channel_of_one_has_bursts_too() {
    for answer in [OnFull::DropNewest, OnFull::DropOldest] {
        let events = told(|| {
            let (tx, rx) = named(answer).capacity(1).build().unwrap();
            for item in 0..3 {
                tx.try_send(item).unwrap();
            }
            rx.try_recv().unwrap();
            tx.try_send(3).unwrap();
            tx.try_send(4).unwrap();
            rx.try_recv().unwrap();
        });
        let [first, end, second, close] = &events[..] else {
            panic!("{events:#?}");
        };
        assert!(first.starts_with("WARN") && end.contains("lost=2"), "{end}");
        assert!(second.starts_with("WARN") && close.contains("lost=1"));
    }
}

#[test]
fn weights_and_batches_have_bursts_too() {
    let events = told(|| {
        let weighed = named(OnFull::DropNewest).max_weight(10, |item| *item);
        let (tx, rx) = weighed.build().unwrap();
        let mut items = [6, 6, 6].into();
        tx.try_send_many(&mut items).unwrap();
        tx.try_send(1).unwrap();
        rx.drain(&mut Vec::new(), 64);
        tx.try_send_many(&mut [2, 2].into()).unwrap();
    });
    let [first, end, left] = &events[..] else {
        panic!("{events:#?}");
    };
    assert!(first.starts_with("WARN") && end.contains("lost=2"), "{end}");
    assert!(left.contains("items=2"), "{left}");
}

#[test]
fn channels_that_wait_tell_nothing_but_what_is_left_behind() {
    let events = told(|| {
        for answer in [OnFull::Wait, OnFull::Reject] {
            let (tx, rx) = named(answer).capacity(1).build().unwrap();
            tx.try_send(1).unwrap();
            assert!(tx.try_send(2).is_err());
            drop((rx.recv(), tx));
            rx.drain(&mut Vec::new(), 1);
        }
        let (tx, rx) = named(OnFull::Wait).capacity(3).build().unwrap();
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        drop(rx);
    });
    assert_eq!(events.len(), 1, "{events:#?}");
    assert!(events[0].starts_with("WARN") && events[0].contains("items=2"));
}

#[test]
fn a_subscriber_that_panics_harms_no_item() {
    struct Panicking;
    impl Subscriber for Panicking {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {
            panic!("quiet: a subscriber may");
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }
    tracing::subscriber::with_default(Panicking, || {
        let (tx, rx) = named(OnFull::DropOldest).capacity(1).build().unwrap();
        for item in 0..3 {
            tx.try_send(item).unwrap();
        }
        tx.close();
        assert_eq!((rx.try_recv(), tx.stats().dropped_oldest), (Ok(2), 2));
    });
}
