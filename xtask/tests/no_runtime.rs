//! Without any runtime, flow says so and says what to do: an error, not a panic and not a hang.
//!
//! It stands here because this is the one package whose tests enable no runtime: the crates' own
//! are built together with tests that enable all of them.

use std::time::Duration;

use flow_rt::{Handle, HandleError};
use flow_sched::{PoolConfigError, Scheduler, SchedulerConfigError, WorkerPool};

/// The way out that the sentence must name: the features, and the builder's method.
fn names_the_way_out(sentence: &str) {
    for part in ["`tokio`", "`smol`", "`async-std`", "`.runtime(&handle)`"] {
        assert!(sentence.contains(part), "no {part} in: {sentence}");
    }
}

#[test]
fn there_is_no_current_handle() {
    let error = Handle::current().unwrap_err();
    assert_eq!(error, HandleError::NotFound);
    names_the_way_out(&error.to_string());
}

#[test]
fn a_future_polled_by_nobody_in_particular_finds_none_either() {
    let error = flow_rt::block_on(async { Handle::current().unwrap_err() }).unwrap();
    assert_eq!(error, HandleError::NotFound);
}

#[test]
fn a_pool_is_not_built() {
    let error = WorkerPool::builder().build().unwrap_err();
    let no_runtime = PoolConfigError::Runtime(HandleError::NotFound);
    assert_eq!(error, no_runtime);
    names_the_way_out(&error.to_string());
}

#[test]
fn a_scheduler_is_not_built() {
    let error = Scheduler::builder().build().unwrap_err();
    let SchedulerConfigError::Runtime(cause) = &error else {
        panic!("{error}");
    };
    assert_eq!(*cause, HandleError::NotFound);
    names_the_way_out(&format!("{error}: {cause}"));
}

#[test]
fn a_limiter_decides_without_one_and_cannot_wait() {
    use flow_ratelimit::{AcquireError, Rate, TokenBucket};

    let bucket = TokenBucket::new(Rate::per_second(1), 1).unwrap();
    assert!(bucket.try_acquire().is_ok());
    let waited = flow_rt::block_on(bucket.acquire_timeout(Duration::from_secs(3_600))).unwrap();
    let Err(AcquireError::NoRuntime(cause)) = waited else {
        panic!("{waited:?}");
    };
    assert_eq!(cause, HandleError::NotFound);
}

#[test]
fn a_writer_is_not_built() {
    use flow_stream::{AsyncWriter, WriterConfigError};

    let error = AsyncWriter::builder().build(Vec::new()).unwrap_err();
    let WriterConfigError::NoRuntime(cause) = &error else {
        panic!("{error}");
    };
    assert_eq!(*cause, HandleError::NotFound);
    names_the_way_out(&error.to_string());
}

#[test]
fn a_channel_sends_and_receives_without_one_and_cannot_keep_time() {
    use flow_stream::{Channel, RecvTimeoutError, SendTimeoutError};

    const HOUR: Duration = Duration::from_secs(3_600);
    let (tx, rx) = Channel::bounded(1).unwrap();
    flow_rt::block_on(async {
        assert!(tx.send_timeout(1, HOUR).await.is_ok(), "there is room");
        let error = tx.send_timeout(2, HOUR).await.unwrap_err();
        let SendTimeoutError::NoRuntime { source, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*source, HandleError::NotFound);
        names_the_way_out(&error.to_string());
        assert_eq!(error.into_inner(), 2);

        assert_eq!(rx.recv().await.ok(), Some(1));
        let error = rx.recv_timeout(HOUR).await.unwrap_err();
        assert_eq!(error, RecvTimeoutError::NoRuntime(HandleError::NotFound));
    })
    .unwrap();
}
