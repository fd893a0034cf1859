//! What a task is handed: cancellation and deadline, the earlier of its own and its parent's.
#![cfg(not(loom))]

use std::time::Duration;

use flow_rt::{CancellationToken, Instant, TaskContext};

const SECOND: Duration = Duration::from_secs(1);
const START: Instant = Instant::from_nanos(1_000_000_000);

#[test]
fn a_context_has_no_deadline_unless_it_is_given_one() {
    let context = TaskContext::default();
    assert_eq!(context.deadline(), None);
    assert_eq!(context.remaining(START), None);
    assert!(!context.is_cancelled());
    assert_eq!(context.child().deadline(), None);
    assert_eq!(context.with_deadline(Instant::FAR_FUTURE).deadline(), None);
}

#[test]
fn the_earlier_deadline_holds() {
    let parent = TaskContext::new().with_deadline(START + 5 * SECOND);
    assert_eq!(parent.child().deadline(), Some(START + 5 * SECOND));
    let later = parent.child().with_deadline(START + 9 * SECOND);
    assert_eq!(later.deadline(), Some(START + 5 * SECOND));
    let earlier = parent.child().with_deadline(START + 2 * SECOND);
    assert_eq!(earlier.remaining(START), Some(2 * SECOND));
    assert_eq!(earlier.remaining(START + 3 * SECOND), Some(Duration::ZERO));
    // The parent's is its own.
    assert_eq!(parent.deadline(), Some(START + 5 * SECOND));
}

#[test]
fn a_clone_with_another_deadline_is_the_same_work() {
    let first = TaskContext::new();
    let second = first.clone().with_deadline(START);
    assert_eq!((first.deadline(), second.deadline()), (None, Some(START)));
    second.cancellation().cancel();
    assert!(first.is_cancelled());
}

#[test]
fn cancelling_goes_down() {
    let token = CancellationToken::new();
    let context = TaskContext::from_token(token.clone());
    let child = context.child();
    child.child().cancellation().cancel_with("a part");
    assert!(!child.is_cancelled());
    token.cancel_with("all of it");
    assert!(context.is_cancelled() && child.is_cancelled());
    assert_eq!(child.cancellation().reason().as_deref(), Some("all of it"));
    assert!(format!("{child:?}").contains("all of it"));
}
