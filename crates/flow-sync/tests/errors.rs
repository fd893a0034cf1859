//! What the errors say, word for word, and what `{:?}` tells.
#![cfg(not(loom))]

use flow_sync::{
    AcquireError, CachePadded, Event, JoinCell, PaddedCounter, PermitWait, Permits,
    TryAcquireError, WakeList,
};

#[test]
fn errors_say_what_was_asked_and_what_is_allowed() {
    let too_many = "3 permits are more than the limit of 2";
    let closed = "the permits are closed";
    let at_once = [
        (
            TryAcquireError::Unavailable,
            "not enough permits are free now",
        ),
        (TryAcquireError::TooMany { asked: 3, limit: 2 }, too_many),
        (TryAcquireError::Closed, closed),
    ];
    for (error, text) in at_once {
        assert_eq!(error.to_string(), text);
    }
    let waiting = [
        (AcquireError::TooMany { asked: 3, limit: 2 }, too_many),
        (
            AcquireError::QueueFull { max_waiters: 4 },
            "4 wait already, which is the longest queue allowed",
        ),
        (AcquireError::Closed, closed),
    ];
    for (error, text) in waiting {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn limits_and_releases_that_do_not_fit_are_told_with_their_numbers() {
    let permits = Permits::new(2, 7).unwrap();
    let error = permits.set_limit(u32::MAX).unwrap_err();
    assert_eq!((error.given(), error.max()), (u32::MAX, Permits::MAX_LIMIT));
    assert_eq!(
        error.to_string(),
        format!(
            "a limit of {} permits is larger than {}, the largest allowed",
            u32::MAX,
            Permits::MAX_LIMIT
        )
    );
    assert_eq!((permits.limit(), permits.max_waiters()), (2, 7));
    permits.try_acquire(1).unwrap();
    let error = permits.release(2).unwrap_err();
    assert_eq!((error.given(), error.in_flight()), (2, 1));
    assert_eq!(
        error.to_string(),
        "2 permits were given back, but only 1 are out"
    );
}

#[test]
fn debug_tells_the_state() {
    let event = Event::new();
    let listener = event.listen();
    assert_eq!(format!("{event:?}"), "Event { listeners: 1 }");
    assert_eq!(format!("{listener:?}"), "Listener { notified: false, .. }");
    drop(listener);
    assert_eq!(format!("{event:?}"), "Event { listeners: 0 }");

    let cell = JoinCell::<u8>::default();
    assert!(
        format!("{cell:?}").starts_with("JoinCell { complete: false"),
        "{cell:?}"
    );

    assert_eq!(format!("{:?}", CachePadded::from(3)), "3");
    let counter = PaddedCounter::default();
    assert_eq!(format!("{counter:?}"), "PaddedCounter(0)");
    assert!(format!("{:?}", WakeList::default()).contains("len: 0"));
    assert!(
        format!("{:?}", PermitWait::new()).starts_with("PermitWait { queued: false"),
        "{:?}",
        PermitWait::new()
    );
}
