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

#[cfg(feature = "sim")]
#[test]
fn a_retry_that_gave_up_says_why_and_the_last_error() {
    use std::time::Duration;
    flow::rt::sim::check(0..3, |rt| async move {
        let plan = Backoff::exponential(Duration::from_millis(50)).attempts(2);
        let parse = || std::future::ready("x".parse::<u32>());
        let failed = rt.retry(plan, parse).await.unwrap_err();
        let error = flow::Error::from(failed);
        let text = format!("{error:?}");
        assert_eq!(
            text,
            "2 attempts in 50ms failed: that was the last one allowed\n\
             caused by: invalid digit found in string"
        );
    });
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
