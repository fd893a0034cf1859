//! What the errors of broadcast, watch and oneshot say, word for word, and what they give back.

use std::cell::Cell;
use std::error::Error;
use std::time::Duration;

use flow_rt::{BlockOnError, HandleError, Stopped};
use flow_stream::{Rejected, broadcast, oneshot, watch};

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

/// An item that is not `Debug`, as it comes back.
fn rejected() -> Rejected<Cell<u8>> {
    let (tx, rx) = oneshot::channel();
    drop(rx);
    match tx.send(Cell::new(7)) {
        Err(oneshot::SendError::Closed(item)) => item,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_building_a_broadcast() {
    use broadcast::ConfigError as E;
    says(
        &E::CapacityMissing,
        "the broadcast has no capacity: say how many items it holds with `.capacity(n)`",
        None,
    );
    says(
        &E::ZeroCapacity,
        "broadcast capacity is 0; at least 1 is allowed",
        None,
    );
    let too_large = E::CapacityTooLarge {
        given: 9,
        allowed: 8,
    };
    let text = "broadcast capacity is 9; at most 8 is allowed";
    says(&too_large, text, None);
}

const CLOSED: &str = "the broadcast is closed";
const NO_RECEIVER: &str = "the broadcast has no receiver";

#[test]
fn of_sending_to_a_broadcast() {
    use broadcast::{SendError, TrySendError};
    let errors = [
        (SendError::Closed(rejected()), CLOSED, "Closed(..)"),
        (
            SendError::NoReceiver(rejected()),
            NO_RECEIVER,
            "NoReceiver(..)",
        ),
    ];
    for (error, text, debug) in errors {
        says(&error, text, None);
        assert_eq!(format!("{error:?}"), debug);
        assert_eq!(error.into_inner().get(), 7);
    }
    let errors = [
        (TrySendError::Closed(rejected()), CLOSED, "Closed(..)"),
        (
            TrySendError::NoReceiver(rejected()),
            NO_RECEIVER,
            "NoReceiver(..)",
        ),
        (
            TrySendError::Full(rejected()),
            "the broadcast is full",
            "Full(..)",
        ),
    ];
    for (error, text, debug) in errors {
        says(&error, text, None);
        assert_eq!(format!("{error:?}"), debug);
        assert_eq!(error.into_inner().get(), 7);
    }
}

#[test]
fn of_sending_to_a_broadcast_within_a_timeout_and_from_a_thread() {
    use broadcast::{SendBlockingError, SendTimeoutError};
    let (no_runtime, stopped, nested) =
        (HandleError::NotFound, Stopped::new(), BlockOnError::Nested);
    let item = rejected;
    let errors: [(_, &str, &str, Option<&dyn Error>); 5] = [
        (SendTimeoutError::Closed(item()), CLOSED, "Closed(..)", None),
        (
            SendTimeoutError::NoReceiver(item()),
            NO_RECEIVER,
            "NoReceiver(..)",
            None,
        ),
        (
            SendTimeoutError::TimedOut {
                item: item(),
                timeout: SEC,
            },
            "no room in the broadcast within 1s",
            "TimedOut { timeout: 1s, .. }",
            None,
        ),
        (
            SendTimeoutError::NoRuntime {
                item: item(),
                source: no_runtime,
            },
            &no_runtime.to_string(),
            "NoRuntime { source: NotFound, .. }",
            Some(&no_runtime),
        ),
        (
            SendTimeoutError::Stopped {
                item: item(),
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
        assert_eq!(error.into_inner().get(), 7);
    }
    let must_not = format!("the broadcast is full and the send may not wait: {nested}");
    let errors: [(_, &str, &str, Option<&dyn Error>); 3] = [
        (
            SendBlockingError::Closed(item()),
            CLOSED,
            "Closed(..)",
            None,
        ),
        (
            SendBlockingError::NoReceiver(item()),
            NO_RECEIVER,
            "NoReceiver(..)",
            None,
        ),
        (
            SendBlockingError::MustNotBlock {
                item: item(),
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
        assert_eq!(error.into_inner().get(), 7);
    }
}

#[test]
fn of_receiving_from_a_broadcast() {
    use broadcast::{RecvBlockingError, RecvError, RecvTimeoutError, TryRecvError};
    let (closed, lagged, disconnected) = (
        "the broadcast is closed and empty",
        "the receiver lagged and missed 3 items",
        "the receiver lagged, missed 3 items and was disconnected",
    );
    says(&RecvError::Closed, closed, None);
    says(&RecvError::Lagged(3), lagged, None);
    says(&RecvError::Disconnected(3), disconnected, None);
    says(&TryRecvError::Empty, "the broadcast has no new item", None);
    says(&TryRecvError::Closed, closed, None);
    says(&TryRecvError::Lagged(3), lagged, None);
    says(&TryRecvError::Disconnected(3), disconnected, None);

    let (no_runtime, stopped, nested) =
        (HandleError::NotFound, Stopped::new(), BlockOnError::Nested);
    says(&RecvTimeoutError::from(RecvError::Closed), closed, None);
    says(&RecvTimeoutError::from(RecvError::Lagged(3)), lagged, None);
    let error = RecvTimeoutError::from(RecvError::Disconnected(3));
    says(&error, disconnected, None);
    let timed_out = RecvTimeoutError::TimedOut { timeout: SEC };
    says(&timed_out, "no item came within 1s", None);
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

    says(&RecvBlockingError::from(RecvError::Closed), closed, None);
    says(&RecvBlockingError::from(RecvError::Lagged(3)), lagged, None);
    let error = RecvBlockingError::from(RecvError::Disconnected(3));
    says(&error, disconnected, None);
    says(
        &RecvBlockingError::MustNotBlock(nested),
        &format!("the broadcast has no new item and the receive may not wait: {nested}"),
        Some(&nested),
    );
}

#[test]
fn of_a_watch() {
    use watch::{RecvError, SendError};
    let error = SendError::NoReceiver(rejected());
    says(&error, "the value has no receiver", None);
    assert_eq!(format!("{error:?}"), "NoReceiver(..)");
    assert_eq!(error.into_inner().get(), 7);
    let text = "the last sender is gone, and the last value was seen";
    says(&RecvError::Closed, text, None);
}

#[test]
fn of_a_oneshot() {
    use oneshot::{RecvBlockingError, RecvError, RecvTimeoutError, SendError, TryRecvError};
    let error = SendError::Closed(rejected());
    says(&error, "the receiver is gone or has closed", None);
    assert_eq!(format!("{error:?}"), "Closed(..)");
    assert_eq!(error.into_inner().get(), 7);

    let closed = "the channel is closed and has no item";
    says(&RecvError::Closed, closed, None);
    says(&TryRecvError::Closed, closed, None);
    says(&TryRecvError::Empty, "the item was not sent yet", None);
    let (no_runtime, stopped, nested) =
        (HandleError::NotFound, Stopped::new(), BlockOnError::Nested);
    says(&RecvTimeoutError::Closed, closed, None);
    let timed_out = RecvTimeoutError::TimedOut { timeout: SEC };
    says(&timed_out, "the item did not come within 1s", None);
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
    says(&RecvBlockingError::Closed, closed, None);
    says(
        &RecvBlockingError::MustNotBlock(nested),
        &format!("the item was not sent yet and the receive may not wait: {nested}"),
        Some(&nested),
    );
}
