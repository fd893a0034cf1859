//! The writer at the edges: bad input, files, runtimes that go away.

use std::time::Duration;

use crate::sink::TestSink;
use flow_rt::{Handle, OnFull, block_on, sim};
use flow_stream::{AsyncWriter, FlushError, WriteError, WriterConfigError};

#[test]
fn what_cannot_be_built_says_why() {
    sim::check(0..1, |_| async {
        let refused = |builder: flow_stream::WriterBuilder| builder.build(Vec::new()).unwrap_err();
        let builder = AsyncWriter::builder;
        let cases = [
            (builder().capacity(0), "at least 1"),
            (builder().attempts(0), "at least 1"),
            (builder().high_water(0), "1 to 1048576"),
            (builder().capacity(8).high_water(9), "is 9 bytes; 1 to 8"),
            (builder().on_full(OnFull::DropOldest), "drop-oldest; wait"),
            (builder().on_full(OnFull::CallerRuns), "caller-runs; wait"),
        ];
        for (builder, text) in cases {
            let error = refused(builder);
            assert!(error.to_string().contains(text), "{error}");
        }
        let missing = AsyncWriter::open("/no/such/folder/file.log").unwrap_err();
        assert!(matches!(missing, WriterConfigError::Open { .. }));
        assert!(missing.to_string().contains("/no/such/folder/file.log"));
        AsyncWriter::builder()
            .capacity(1)
            .build(Vec::new())
            .unwrap();
    });
}

#[test]
fn a_file_is_created_and_appended_to() {
    let folder = std::env::temp_dir().join(format!("flow-stream-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("access.log");
    let runtime = Handle::smol();
    block_on(async {
        for line in ["one\n", "two\n"] {
            let log = AsyncWriter::builder()
                .runtime(&runtime)
                .open(&path)
                .unwrap();
            log.write(line.as_bytes()).await.unwrap();
            let report = log.shutdown(Duration::from_secs(3_600)).await;
            assert_eq!((report.written, report.abandoned), (4, 0));
        }
    })
    .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_runtime_that_goes_away_leaves_nobody_waiting() {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    let sink = TestSink::default();
    let writer = AsyncWriter::builder()
        .runtime(&handle)
        .capacity(4)
        .build(sink.sink())
        .unwrap();
    writer.try_write(b"abc").unwrap();
    drop(rt);
    assert!(matches!(writer.try_write(b"d"), Err(WriteError::Closed)));
    assert!(matches!(
        writer.flush_blocking(),
        Err(FlushError::Ended { abandoned: 3 })
    ));
    let report = block_on(writer.shutdown(Duration::from_secs(3_600))).unwrap();
    assert_eq!((report.abandoned, report.timed_out), (3, false));
    assert!(sink.is_dropped());
}

#[test]
fn a_writer_built_on_a_runtime_that_is_gone_is_closed() {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let handle = Handle::tokio(rt.handle().clone()).unwrap();
    drop(rt);
    let writer = AsyncWriter::builder()
        .runtime(&handle)
        .build(Vec::new())
        .unwrap();
    assert!(writer.is_closed());
    assert!(matches!(
        writer.write_blocking(b"x"),
        Err(WriteError::Closed)
    ));
    assert!(writer.flush_blocking().is_ok(), "nothing was accepted");
}
