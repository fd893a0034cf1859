//! The facade: its error gathers the others, its prelude stands beside std's.
#![cfg(all(feature = "ratelimit", feature = "stream"))]

use flow::prelude::*;

fn limited() -> Result<(), flow::Error> {
    let bucket = TokenBucket::new(Rate::per_second(10), 1)?;
    bucket.try_acquire()?;
    bucket.try_acquire()?;
    Ok(())
}

#[test]
fn a_denial_says_when_to_come_back() {
    let error = limited().unwrap_err();
    let wait = error.retry_after().expect("a denial that passes");
    assert!(wait <= std::time::Duration::from_millis(100), "{wait:?}");
    assert!(matches!(error.downcast_ref(), Some(Denied::NotYet { .. })));
    assert!(!format!("{error:?}").is_empty());
}

#[test]
fn an_item_that_was_not_sent_is_inside_the_error() {
    let send = || -> Result<(), flow::Error> {
        let (tx, _rx) = Channel::<u32>::builder().capacity(1).build()?;
        tx.try_send(1)?;
        tx.try_send(2)?;
        Ok(())
    };
    let error = send().unwrap_err();
    assert!(
        error
            .downcast_ref::<flow::stream::TrySendError<u32>>()
            .is_some()
    );
}

#[test]
fn a_wrong_configuration_is_an_error_with_a_sentence() {
    let refused = TokenBucket::new(Rate::per_second(10), 0).unwrap_err();
    let sentence = refused.to_string();
    let error = flow::Error::from(refused);
    assert_eq!(
        (error.to_string(), format!("{error:?}")),
        (sentence.clone(), sentence)
    );
    assert!(error.retry_after().is_none());
    assert!(error.to_string().contains("burst"), "{error}");
}

#[test]
fn the_prelude_leaves_the_names_of_std_alone() {
    // Would not compile if the prelude had a `Result` or an `Error` of its own.
    fn parse(text: &str) -> Result<u32, std::num::ParseIntError> {
        text.parse()
    }
    assert_eq!(parse("42"), Ok(42));
    assert!(parse("forty-two").is_err());
}
