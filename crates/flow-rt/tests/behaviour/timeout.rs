//! Time-outs and sleeps at their extremes.

use std::future::{pending, ready};
use std::pin::pin;
use std::time::Duration;

use flow_rt::{TestRuntime, TimeoutError};
use futures_util::FutureExt;
use futures_util::future::{Either, select};

use crate::planned::SaysDropped;

const MS: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

flow_rt::on_every_runtime! {
    a_ready_future_wins_over_a_limit_of_zero,
    a_limit_of_zero_passes_at_once,
    a_limit_beyond_the_end_of_time_never_passes,
    the_limit_counts_from_the_first_poll,
    a_future_that_is_late_is_dropped_with_its_timeout,
    sleeps_of_zero_end_and_of_ever_do_not,
}

async fn a_ready_future_wins_over_a_limit_of_zero(rt: TestRuntime) {
    assert_eq!(rt.timeout(Duration::ZERO, ready(7)).await, Ok(7));
    assert_eq!(rt.timeout(Duration::MAX, ready(8)).await, Ok(8));
}

async fn a_limit_of_zero_passes_at_once(rt: TestRuntime) {
    let waited = rt.timeout(Duration::ZERO, pending::<()>()).await;
    let limit = Duration::ZERO;
    assert_eq!(waited, Err(TimeoutError::Elapsed { limit }));
    assert_eq!(waited.unwrap_err().to_string(), "not ready within 0ns");
}

async fn a_limit_beyond_the_end_of_time_never_passes(rt: TestRuntime) {
    for limit in [
        Duration::MAX,
        Duration::from_nanos(u64::MAX),
        Duration::from_nanos(u64::MAX - 1),
    ] {
        let mut late = pin!(rt.timeout(limit, pending::<()>()));
        assert!((&mut late).now_or_never().is_none());
        let other = select(late, rt.sleep(YEAR)).await;
        assert!(matches!(other, Either::Right((Ok(()), _))));
    }
}

async fn the_limit_counts_from_the_first_poll(rt: TestRuntime) {
    let timeout = rt.timeout(4 * MS, pending::<()>());
    rt.sleep(4 * MS).await.unwrap();
    let first_poll = rt.now();
    assert!(timeout.await.is_err());
    assert_eq!(rt.now() - first_poll, 4 * MS);
}

async fn a_future_that_is_late_is_dropped_with_its_timeout(rt: TestRuntime) {
    let (guard, dropped) = SaysDropped::new();
    let late = async move {
        let _guard = guard;
        pending::<()>().await;
    };
    assert!(rt.timeout(MS, late).await.is_err());
    assert!(dropped.now_or_never().unwrap().is_ok());

    // Unpolled, it can be had back.
    let inner = rt.timeout(MS, ready(9)).into_inner();
    assert_eq!(inner.await, 9);
}

async fn sleeps_of_zero_end_and_of_ever_do_not(rt: TestRuntime) {
    rt.sleep(Duration::ZERO).await.unwrap();
    let start = rt.now();
    rt.sleep(2 * MS).await.unwrap();
    assert_eq!(rt.now() - start, 2 * MS);
    rt.sleep_until(start).await.unwrap();

    let ever = rt.sleep(Duration::MAX);
    let other = select(ever, rt.sleep(YEAR)).await;
    assert!(matches!(other, Either::Right((Ok(()), _))));
}
