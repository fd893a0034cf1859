//! What the errors say, word for word, what they come from, and what they give back.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use flow_rt::{BlockOnError, HandleError, OnFull, Stopped};
use flow_stream::{
    Channel, ChannelConfigError, DropReason, FlushError, RecvBlockingError, RecvError,
    RecvTimeoutError, Rejected, ReserveError, SendBlockingError, SendError, SendManyError,
    SendTimeoutError, TryRecvError, TrySendError, WriteError, WriterConfigError,
};

const SEC: Duration = Duration::from_secs(1);

/// The error's text, and that of what it comes from.
#[track_caller]
fn says<E: Error>(error: &E, text: &str, source: Option<&dyn Error>) {
    assert_eq!(error.to_string(), text);
    assert_eq!(
        error.source().map(ToString::to_string),
        source.map(ToString::to_string)
    );
}

/// An item that is not `Debug`, as a full channel gives it back.
fn rejected() -> Rejected<Cell<u8>> {
    let (tx, _rx) = Channel::bounded(1).unwrap();
    tx.try_send(Cell::new(0)).unwrap();
    match tx.try_send(Cell::new(7)) {
        Err(TrySendError::Full(item)) => item,
        other => panic!("{other:?}"),
    }
}

/// An item of weight 9 where 5 is allowed.
fn too_heavy() -> TrySendError<Cell<u8>> {
    let builder = Channel::builder().max_weight(5, |_| 9);
    let (tx, _rx) = builder.build().unwrap();
    tx.try_send(Cell::new(7)).unwrap_err()
}

const CLOSED: &str = "the channel is closed";
const FULL: &str = "the channel is full";
const DRAINED: &str = "the channel is closed and empty";

#[test]
fn of_building_a_channel() {
    says(
        &ChannelConfigError::CapacityMissing,
        "the channel has no capacity: say how many items it holds with `.capacity(n)`",
        None,
    );
    says(
        &ChannelConfigError::ZeroCapacity,
        "channel capacity is 0; at least 1 is allowed: a channel that holds nothing is made with \
         `.rendezvous()`",
        None,
    );
    says(
        &ChannelConfigError::UnsupportedOnFull {
            given: OnFull::CallerRuns,
        },
        "a channel cannot answer \"full\" with caller-runs; wait, reject, drop-newest and \
         drop-oldest are allowed",
        None,
    );
    says(
        &ChannelConfigError::ZeroWeight,
        "the channel's limit by weight is 0; at least 1 is allowed",
        None,
    );
    for (capacity, weight, text) in [
        (Some(3), Some(9), "a capacity of 3 was given"),
        (None, Some(9), "a limit by weight of 9 was given"),
        (None, None, "it was given room"),
    ] {
        let error = ChannelConfigError::RendezvousHolds { capacity, weight };
        let text = format!("a rendezvous channel holds nothing, but {text}");
        says(&error, &text, None);
    }
    says(
        &ChannelConfigError::RendezvousDropsOldest,
        "a rendezvous channel holds no item that could give way, so drop-oldest is no answer; \
         wait, reject and drop-newest are allowed",
        None,
    );
}

#[test]
fn of_items_that_are_too_heavy() {
    let text = "an item that weighs 9 will never fit into the channel; 5 is allowed";
    let debug = "TooHeavy { weight: 9, limit: 5, .. }";
    let error = too_heavy();
    says(&error, text, None);
    assert_eq!(format!("{error:?}"), debug);
    assert_eq!(error.into_inner().get(), 7);
    let heavy = || match too_heavy() {
        TrySendError::TooHeavy(heavy) => SendError::TooHeavy(heavy),
        other => panic!("{other:?}"),
    };
    let error = heavy();
    says(&error, text, None);
    assert_eq!(format!("{error:?}"), debug);
    assert_eq!(error.into_inner().get(), 7);
    let error = SendTimeoutError::from(heavy());
    says(&error, text, None);
    assert_eq!(format!("{error:?}"), debug);
    assert_eq!(error.into_inner().get(), 7);
    let error = SendBlockingError::from(heavy());
    says(&error, text, None);
    assert_eq!(format!("{error:?}"), debug);
    assert_eq!(error.into_inner().get(), 7);
    let (weight, limit) = (9, 5);
    says(&SendManyError::TooHeavy { weight, limit }, text, None);
    says(&ReserveError::TooHeavy { weight, limit }, text, None);
    says(
        &ReserveError::Rendezvous,
        "a rendezvous channel holds nothing, so there is no room to take in advance",
        None,
    );
    says(
        &ReserveError::Weighed,
        "what an item will weigh is not known in advance, so a channel with a limit by weight \
         gives no permits",
        None,
    );
    says(
        &ReserveError::Twice,
        "a tee was given a channel twice, and can have each of them only once",
        None,
    );
}

#[test]
fn of_sending() {
    let errors = [
        (SendError::Closed(rejected()), CLOSED, "Closed(..)"),
        (SendError::Full(rejected()), FULL, "Full(..)"),
    ];
    for (error, text, debug) in errors {
        says(&error, text, None);
        assert_eq!(format!("{error:?}"), debug);
        assert_eq!(error.is_closed(), text == CLOSED);
        assert_eq!(error.into_inner().get(), 7);
    }
}

#[test]
fn of_trying_to_send() {
    let errors = [
        (TrySendError::Closed(rejected()), CLOSED, "Closed(..)"),
        (TrySendError::Full(rejected()), FULL, "Full(..)"),
    ];
    for (error, text, debug) in errors {
        says(&error, text, None);
        assert_eq!(format!("{error:?}"), debug);
        assert_eq!(error.is_closed(), text == CLOSED);
        assert_eq!(error.into_inner().get(), 7);
    }
    assert_eq!(format!("{:?}", rejected()), "Rejected { .. }");
}

#[test]
fn of_sending_within_a_timeout() {
    let no_runtime = HandleError::NotFound;
    let stopped = Stopped::new();
    let errors: [(_, &str, &str, Option<&dyn Error>); 5] = [
        (
            SendTimeoutError::Closed(rejected()),
            CLOSED,
            "Closed(..)",
            None,
        ),
        (SendTimeoutError::Full(rejected()), FULL, "Full(..)", None),
        (
            SendTimeoutError::TimedOut {
                item: rejected(),
                timeout: SEC,
            },
            "no room in the channel within 1s",
            "TimedOut { timeout: 1s, .. }",
            None,
        ),
        (
            SendTimeoutError::NoRuntime {
                item: rejected(),
                source: no_runtime,
            },
            &no_runtime.to_string(),
            "NoRuntime { source: NotFound, .. }",
            Some(&no_runtime),
        ),
        (
            SendTimeoutError::Stopped {
                item: rejected(),
                source: stopped,
            },
            &stopped.to_string(),
            "Stopped { .. }",
            Some(&stopped),
        ),
    ];
    for (error, text, debug, source) in errors {
        says(&error, text, source);
        assert_eq!(format!("{error:?}"), debug);
        assert_eq!(error.is_closed(), text == CLOSED);
        assert_eq!(error.into_inner().get(), 7);
    }
}

#[test]
fn of_sending_from_a_thread() {
    let nested = BlockOnError::Nested;
    let must_not = format!("the channel is full and the send may not wait: {nested}");
    let errors: [(_, &str, &str, Option<&dyn Error>); 3] = [
        (
            SendBlockingError::Closed(rejected()),
            CLOSED,
            "Closed(..)",
            None,
        ),
        (SendBlockingError::Full(rejected()), FULL, "Full(..)", None),
        (
            SendBlockingError::MustNotBlock {
                item: rejected(),
                source: nested,
            },
            &must_not,
            "MustNotBlock { source: Nested, .. }",
            Some(&nested),
        ),
    ];
    for (error, text, debug, source) in errors {
        says(&error, text, source);
        assert_eq!(format!("{error:?}"), debug);
        assert_eq!(error.is_closed(), text == CLOSED);
        assert_eq!(error.into_inner().get(), 7);
    }
}

#[test]
fn of_reserving_and_of_sending_many() {
    says(&ReserveError::Closed, CLOSED, None);
    says(&ReserveError::Full, FULL, None);
    says(&SendManyError::Closed, CLOSED, None);
    says(&SendManyError::Full, FULL, None);
}

#[test]
fn of_receiving() {
    says(&RecvError::Closed, DRAINED, None);
    says(&TryRecvError::Empty, "the channel is empty", None);
    says(&TryRecvError::Closed, DRAINED, None);

    let (no_runtime, stopped) = (HandleError::TimeDisabled, Stopped::new());
    says(&RecvTimeoutError::Closed, DRAINED, None);
    says(
        &RecvTimeoutError::TimedOut { timeout: SEC },
        "no item came within 1s",
        None,
    );
    says(
        &RecvTimeoutError::NoRuntime(no_runtime),
        &no_runtime.to_string(),
        Some(&no_runtime),
    );
    says(
        &RecvTimeoutError::Stopped(stopped),
        &stopped.to_string(),
        Some(&stopped),
    );

    let inside = BlockOnError::InsideTask;
    says(&RecvBlockingError::Closed, DRAINED, None);
    says(
        &RecvBlockingError::MustNotBlock(inside),
        &format!("the channel is empty and the receive may not wait: {inside}"),
        Some(&inside),
    );
}

/// What an error carries is out of reach until it is taken out: a panic leaves it whole.
#[test]
fn of_items_that_no_panic_spoils() {
    fn is_unwind_safe<E: UnwindSafe + RefUnwindSafe>() {}
    is_unwind_safe::<SendError<Box<dyn FnOnce() + Send>>>();
    is_unwind_safe::<TrySendError<Cell<u8>>>();
    is_unwind_safe::<flow_stream::oneshot::SendError<Box<dyn FnOnce() + Send>>>();
}

#[test]
fn of_items_that_give_way() {
    let reasons = [
        (
            DropReason::Newest,
            "the channel was full, and the new item gave way",
        ),
        (
            DropReason::Oldest,
            "the channel was full, and the oldest item gave way",
        ),
        (DropReason::NoReceiver, "the last receiver went away"),
    ];
    for (reason, text) in reasons {
        assert_eq!(reason.to_string(), text);
    }
}

#[test]
fn of_building_a_writer() {
    says(
        &WriterConfigError::ZeroCapacity,
        "writer capacity is 0 bytes; at least 1 is allowed, 1 MiB is usual",
        None,
    );
    says(
        &WriterConfigError::HighWater {
            given: 9,
            capacity: 8,
        },
        "high-water mark is 9 bytes; 1 to 8, the capacity, are allowed",
        None,
    );
    says(
        &WriterConfigError::ZeroAttempts,
        "0 attempts at the sink; at least 1 is allowed, which means no retry",
        None,
    );
    says(
        &WriterConfigError::UnsupportedOnFull {
            given: OnFull::DropOldest,
        },
        "a writer cannot answer \"full\" with drop-oldest; wait, reject and drop-newest are \
         allowed, since accepted bytes are never taken back",
        None,
    );
    let no_runtime = HandleError::NotFound;
    says(
        &WriterConfigError::NoRuntime(no_runtime),
        &no_runtime.to_string(),
        Some(&no_runtime),
    );
    says(
        &WriterConfigError::Open {
            path: "/var/log/app".into(),
            source: io::Error::other("no such folder"),
        },
        "cannot open /var/log/app: no such folder",
        Some(&io::Error::other("no such folder")),
    );
}

#[test]
fn of_writing_and_flushing() {
    let disk = Arc::new(io::Error::other("disk full"));
    let inside = BlockOnError::InsideRuntime { name: "tokio" };
    says(&WriteError::Closed, "the writer is closed", None);
    says(
        &WriteError::Full {
            len: 3,
            capacity: 8,
        },
        "no room for 3 bytes in the writer's buffer of 8",
        None,
    );
    says(
        &WriteError::TooLarge {
            len: 9,
            capacity: 8,
        },
        "9 bytes will never fit into the writer's buffer; 8 at once are allowed without waiting",
        None,
    );
    says(
        &WriteError::Sink(disk.clone()),
        "the writer's buffer is full because its sink fails: disk full",
        Some(&disk),
    );
    says(
        &WriteError::MustNotBlock(inside),
        &format!("the writer's buffer is full and the write may not wait: {inside}"),
        Some(&inside),
    );

    says(
        &FlushError::Sink(disk.clone()),
        "the sink did not take all bytes: disk full",
        Some(&disk),
    );
    says(
        &FlushError::Ended { abandoned: 3 },
        "the writer has ended and gave up 3 bytes",
        None,
    );
    says(
        &FlushError::MustNotBlock(inside),
        &format!("the flush may not wait: {inside}"),
        Some(&inside),
    );
}
