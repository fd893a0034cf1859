//! Tokens of tasks that are on the roll, and no longer: others use them again.

use std::sync::Arc;

use flow_rt::{CancellationToken, Instant};

use super::{Origin, Roll};

#[test]
fn an_entry_keeps_the_token_of_a_task_until_it_ends() {
    let roll = Arc::new(Roll::new());
    let (waits, runs) = (CancellationToken::new(), CancellationToken::new());
    let submitter = Some(waits.clone());
    let enrolled = roll.enrol(Origin::default(), Some(0), Instant::ORIGIN, submitter);
    assert_eq!((waits.is_unique(), roll.entries().len()), (false, 1));
    enrolled.runs(Instant::ORIGIN, Some(0), Some(runs.clone()));
    assert_eq!((waits.is_unique(), runs.is_unique()), (true, false));
    enrolled.strike();
    assert!(runs.is_unique());
    assert!(roll.entries().is_empty());
}

/// A slot comes to a task that was aborted in the queue.
#[test]
fn an_entry_that_was_struck_off_takes_no_token() {
    let roll = Arc::new(Roll::new());
    let enrolled = roll.enrol(Origin::default(), Some(0), Instant::ORIGIN, None);
    enrolled.strike();
    let token = CancellationToken::new();
    enrolled.runs(Instant::ORIGIN, Some(0), Some(token.clone()));
    assert!(token.is_unique());
    assert!(roll.entries().is_empty());
}
