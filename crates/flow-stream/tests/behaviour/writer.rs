//! The behaviour of the writer, written once, on every runtime, in virtual time. Numbers are those
//! of the cases WR.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::common::{poll, yield_now};
use crate::sink::{Step, TestSink};
use flow_rt::{Handle, OnFull, TestRuntime};
use flow_stream::{AsyncWriter, FlushError, WriteError, WriterBuilder};

flow_rt::on_every_runtime! {
    wr190_new,
    wr191_write_and_flush,
    wr192_writes_join_in_order,
    wr193_a_write_does_not_wait_for_the_sink,
    wr194_without_an_interval_nothing_moves_until_flush,
    wr195_the_interval_writes,
    wr196_full_rejects_or_drops_and_counts,
    wr197_larger_than_the_buffer_waits_its_turn,
    wr198_a_failing_sink_fails_the_flush,
    wr199_a_retry_delivers,
    wr200_stats,
    wr201_shutdown_flushes_and_closes,
    wr202_lines_are_never_interleaved,
    wr203_empty_writes_do_nothing,
    wr204_two_kib_through_one,
    wr205_dropping_the_last_handle_delivers,
    wr206_flush_is_a_barrier,
    wr207_a_failed_flush_keeps_the_data,
    wr208_one_call_at_a_time_in_order,
    wr209_short_writes_and_interruptions,
    a_full_buffer_over_a_failing_sink_tells_who_waits,
    attempts_begin_anew_with_the_interval,
    a_dropped_write_passes_its_room_on,
    shutdown_gives_up_in_time_and_says_so,
    a_shutdown_reports_the_same_again,
    a_sink_that_panics_is_an_error,
    a_dead_driver_leaves_nobody_waiting,
    hooks_may_panic,
    line_writers,
}

/// A builder that writes only when it must, and does not wait between attempts.
fn manual(rt: &Handle) -> WriterBuilder {
    AsyncWriter::builder()
        .runtime(rt)
        .flush_interval(Duration::ZERO)
        .retry_delay(Duration::ZERO)
}

const LONG: Duration = Duration::from_secs(3_600);

async fn wr190_new(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = AsyncWriter::builder()
        .runtime(&rt)
        .build(sink.sink())
        .unwrap();
    assert!(!writer.is_closed());
    assert_eq!(writer.stats().buffered_bytes, 0);
    assert_eq!(writer.stats().capacity, 1 << 20);
}

async fn wr191_write_and_flush(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).build(sink.sink()).unwrap();
    writer.write(b"Hello, World!").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "Hello, World!");
    assert_eq!(sink.flushed(), 13);
}

async fn wr192_writes_join_in_order(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).build(sink.sink()).unwrap();
    for part in ["one ", "two ", "three ", "four"] {
        writer.write(part.as_bytes()).await.unwrap();
    }
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "one two three four");
}

async fn wr193_a_write_does_not_wait_for_the_sink(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).high_water(4).build(sink.sink()).unwrap();
    // Ready at the first poll, though the high-water mark calls for the sink.
    assert!(matches!(
        poll(&mut writer.write(b"1234567")),
        Poll::Ready(Ok(()))
    ));
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "1234567");
}

async fn wr194_without_an_interval_nothing_moves_until_flush(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).build(sink.sink()).unwrap();
    writer.write(b"abc").await.unwrap();
    rt.advance(LONG).await;
    assert_eq!((sink.calls(), writer.stats().buffered_bytes), (0, 3));
    writer.flush().await.unwrap();
    assert_eq!((sink.calls(), writer.stats().buffered_bytes), (1, 0));
}

async fn wr195_the_interval_writes(rt: TestRuntime) {
    let sink = TestSink::default();
    let short = Duration::from_nanos(4_999_999);
    let interval = short + Duration::from_nanos(1);
    let writer = manual(&rt)
        .flush_interval(interval)
        .build(sink.sink())
        .unwrap();
    for round in 1..=3 {
        writer.write(b"abc").await.unwrap();
        rt.advance(short).await;
        assert_eq!(sink.flushed(), (round - 1) * 3);
        rt.advance(Duration::from_nanos(1)).await;
        assert_eq!(sink.flushed(), round * 3);
    }
}

async fn wr196_full_rejects_or_drops_and_counts(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt)
        .capacity(10)
        .high_water(10)
        .on_full(OnFull::Reject)
        .build(sink.sink())
        .unwrap();
    let too_large = writer.write(&[b'x'; 20]).await.unwrap_err();
    assert!(matches!(
        too_large,
        WriteError::TooLarge {
            len: 20,
            capacity: 10
        }
    ));
    writer.write(b"12345").await.unwrap();
    let full = writer.write(b"123456").await.unwrap_err();
    assert!(matches!(
        full,
        WriteError::Full {
            len: 6,
            capacity: 10
        }
    ));
    assert_eq!(writer.stats().rejected_writes, 2);

    let dropped = Arc::new(Mutex::new(Vec::new()));
    let hook = dropped.clone();
    let writer = manual(&rt)
        .capacity(10)
        .high_water(10)
        .on_full(OnFull::DropNewest)
        .on_drop(move |bytes| hook.lock().unwrap().push(bytes.to_vec()))
        .build(sink.sink())
        .unwrap();
    writer.write(b"12345").await.unwrap();
    writer.write(b"123456").await.unwrap();
    writer.try_write(b"1234567").unwrap();
    let stats = writer.stats();
    assert_eq!((stats.dropped_writes, stats.dropped_bytes), (2, 13));
    assert_eq!(dropped.lock().unwrap().len(), 2);
}

async fn wr197_larger_than_the_buffer_waits_its_turn(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).capacity(10).build(sink.sink()).unwrap();
    assert!(matches!(
        writer.try_write(&[b'x'; 20]),
        Err(WriteError::TooLarge { .. })
    ));
    writer.write(b"before ").await.unwrap();
    writer.write(b"twenty bytes, or so..").await.unwrap();
    writer.write(b" after").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "before twenty bytes, or so.. after");
}

async fn wr198_a_failing_sink_fails_the_flush(rt: TestRuntime) {
    let sink = TestSink::default();
    sink.always(Some(Step::Fail));
    let seen = Arc::new(AtomicUsize::new(0));
    let hook = seen.clone();
    let writer = manual(&rt)
        .attempts(1)
        .on_error(move |error| {
            assert_eq!(error.to_string(), "the disk is full");
            hook.fetch_add(1, SeqCst);
        })
        .build(sink.sink())
        .unwrap();
    writer.write(b"abc").await.unwrap();
    let failed = writer.flush().await.unwrap_err();
    assert!(matches!(failed, FlushError::Sink(_)));
    assert_eq!((writer.stats().errors, seen.load(SeqCst)), (1, 1));
}

async fn wr199_a_retry_delivers(rt: TestRuntime) {
    let sink = TestSink::default();
    sink.script([Step::Fail]);
    let delay = Duration::from_millis(10);
    let writer = manual(&rt)
        .attempts(3)
        .retry_delay(delay)
        .build(sink.sink())
        .unwrap();
    writer.write(b"abc").await.unwrap();
    let start = rt.now();
    writer.flush().await.unwrap();
    assert_eq!(rt.now() - start, delay);
    assert_eq!((sink.text().as_str(), sink.calls()), ("abc", 2));
}

async fn wr200_stats(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).build(sink.sink()).unwrap();
    writer.write(b"Hello, World!").await.unwrap();
    writer.flush().await.unwrap();
    let stats = writer.stats();
    assert_eq!((stats.writes, stats.written_bytes), (1, 13));
    assert_eq!((stats.flushes, stats.errors), (1, 0));
    // There is nothing left to flush.
    writer.flush().await.unwrap();
    assert_eq!(writer.stats().flushes, 1);
}

async fn wr201_shutdown_flushes_and_closes(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).build(sink.sink()).unwrap();
    let other = writer.clone();
    writer.write(b"abc").await.unwrap();
    let report = writer.shutdown(LONG).await;
    assert!(report.is_clean() && !report.timed_out, "{report}");
    assert_eq!((report.written, sink.flushed()), (3, 3));
    assert!(sink.is_dropped());
    assert!(matches!(other.write(b"d").await, Err(WriteError::Closed)));
    assert!(matches!(other.try_write(b"d"), Err(WriteError::Closed)));
    other.flush().await.unwrap();
    other.close();
    assert_eq!(other.shutdown(LONG).await, report);
}

async fn wr202_lines_are_never_interleaved(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).capacity(64).build(sink.sink()).unwrap();
    let tasks: Vec<_> = (0..10)
        .map(|task| {
            let writer = writer.clone();
            rt.spawn(async move {
                for line in 0..100 {
                    let line = format!("task {task} line {line}\n");
                    writer.write(line.as_bytes()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(writer.shutdown(LONG).await.is_clean());
    let text = sink.text();
    assert_eq!(text.lines().count(), 1_000);
    for task in 0..10 {
        let prefix = format!("task {task} line ");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        assert!(lines.map(|n| n.parse::<u32>().unwrap()).eq(0..100));
    }
}

async fn wr203_empty_writes_do_nothing(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).build(sink.sink()).unwrap();
    writer.write(b"").await.unwrap();
    writer.try_write(b"").unwrap();
    writer.flush().await.unwrap();
    assert_eq!((writer.stats().writes, sink.calls()), (0, 0));
}

async fn wr204_two_kib_through_one(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).capacity(1_024).build(sink.sink()).unwrap();
    writer.write(&[b'x'; 2_048]).await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(sink.bytes(), [b'x'; 2_048]);
}

async fn wr205_dropping_the_last_handle_delivers(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = manual(&rt).capacity(50).build(sink.sink()).unwrap();
    for n in 0..90 {
        writer.write(format!("{n:02}\n").as_bytes()).await.unwrap();
    }
    drop(writer);
    rt.settle().await;
    assert!(sink.is_dropped());
    assert_eq!(sink.text().lines().count(), 90);
    assert_eq!(sink.flushed(), 270);
}

async fn wr206_flush_is_a_barrier(rt: TestRuntime) {
    let sink = TestSink::default();
    let writer = AsyncWriter::builder()
        .runtime(&rt)
        .capacity(32)
        .build(sink.sink())
        .unwrap();
    let noise = rt.spawn({
        let writer = writer.clone();
        async move {
            for _ in 0..100 {
                writer.write(b"noise").await.unwrap();
                yield_now().await;
            }
        }
    });
    for n in 0..100 {
        let mark = format!("<{n}>");
        writer.write(mark.as_bytes()).await.unwrap();
        writer.flush().await.unwrap();
        // Looked at in this order: the noise goes on meanwhile.
        let flushed = sink.flushed();
        let flushed = String::from_utf8(sink.bytes()[..flushed].to_vec()).unwrap();
        assert!(flushed.contains(&mark), "{mark} is not in {flushed}");
    }
    noise.await.unwrap();
}

async fn wr207_a_failed_flush_keeps_the_data(rt: TestRuntime) {
    let sink = TestSink::default();
    sink.script([Step::Take(2), Step::Fail, Step::Fail]);
    let writer = manual(&rt).attempts(2).build(sink.sink()).unwrap();
    writer.write(b"hello").await.unwrap();
    assert!(writer.flush().await.is_err());
    assert_eq!(sink.text(), "he");
    assert_eq!(writer.stats().buffered_bytes, 3);
    writer.write(b" world").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "hello world");
    assert_eq!(writer.stats().errors, 2);
}

async fn wr208_one_call_at_a_time_in_order(rt: TestRuntime) {
    // The sink panics if called twice at once; timer, high water and flushes all ask for it.
    let sink = TestSink::default();
    let writer = manual(&rt)
        .capacity(40)
        .high_water(10)
        .flush_interval(Duration::from_millis(1))
        .build(sink.sink())
        .unwrap();
    for n in 0..400_u32 {
        writer.write(format!("{n:04}\n").as_bytes()).await.unwrap();
        if n % 50 == 0 {
            writer.flush().await.unwrap();
        }
        if n % 97 == 0 {
            rt.sleep(Duration::from_millis(1)).await.unwrap();
        }
    }
    writer.flush().await.unwrap();
    let numbers: Vec<u32> = sink.text().lines().map(|n| n.parse().unwrap()).collect();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
    assert_eq!(writer.stats().errors, 0);
}

async fn wr209_short_writes_and_interruptions(rt: TestRuntime) {
    let sink = TestSink::default();
    sink.script([Step::Interrupt, Step::Take(1), Step::Interrupt]);
    sink.always(Some(Step::Take(1)));
    let writer = manual(&rt)
        .capacity(16)
        .attempts(1)
        .build(sink.sink())
        .unwrap();
    writer.write(b"one byte at a time").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "one byte at a time");
    // A sink that takes nothing is an error, not an endless loop.
    sink.always(Some(Step::Take(0)));
    writer.write(b"!").await.unwrap();
    let stuck = writer.flush().await.unwrap_err();
    assert!(
        matches!(stuck, FlushError::Sink(error) if error.kind() == std::io::ErrorKind::WriteZero)
    );
}

async fn a_full_buffer_over_a_failing_sink_tells_who_waits(rt: TestRuntime) {
    let sink = TestSink::default();
    sink.always(Some(Step::Fail));
    let writer = manual(&rt).capacity(8).build(sink.sink()).unwrap();
    // Two buffers' worth is taken; then the write that needs room learns why there is none.
    writer.write(b"12345678").await.unwrap();
    let _ = writer.flush().await;
    writer.write(b"abcdefgh").await.unwrap();
    assert!(matches!(writer.write(b"!").await, Err(WriteError::Sink(_))));
    // The disk comes back: nothing was lost, the order is kept.
    sink.always(None);
    writer.write(b"!").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "12345678abcdefgh!");
    assert!(writer.shutdown(LONG).await.is_clean());
}

/// When the attempts are used up it is the interval's turn, or that of the delay if it is longer.
async fn attempts_begin_anew_with_the_interval(rt: TestRuntime) {
    let ms = Duration::from_millis;
    for (interval, delay, expected) in [
        (1_000, 100, [1_000, 1_100, 2_100, 2_200, 3_200, 3_300]),
        (100, 300, [100, 400, 700, 1_000, 1_300, 1_600]),
        (1_000, 0, [1_000, 1_000, 2_000, 2_000, 3_000, 3_000]),
    ] {
        let sink = TestSink::default();
        sink.always(Some(Step::Fail));
        let tried = Arc::new(Mutex::new(Vec::new()));
        let (start, seen, clock) = (rt.now(), tried.clone(), Handle::clone(&rt));
        let writer = manual(&rt)
            .flush_interval(ms(interval))
            .retry_delay(ms(delay))
            .attempts(2)
            .on_error(move |_| {
                let at = (clock.now() - start).as_millis();
                seen.lock().unwrap().push(at);
            })
            .build(sink.sink())
            .unwrap();
        writer.write(b"abc").await.unwrap();
        for _ in 0..34 {
            rt.advance(ms(100)).await;
        }
        assert_eq!(tried.lock().unwrap()[..6], expected);
        sink.always(None);
        assert!(writer.shutdown(LONG).await.is_clean());
        assert_eq!(sink.text(), "abc");
    }
}

async fn a_dropped_write_passes_its_room_on(rt: TestRuntime) {
    let sink = TestSink::default();
    let (writer, driver) = manual(&rt)
        .capacity(8)
        .build_with_driver(sink.sink())
        .unwrap();
    writer.write(b"12345678").await.unwrap();
    let mut large = writer.write(b"abcdefgh");
    let mut small = writer.write(b"xy");
    assert!(poll(&mut large).is_pending() && poll(&mut small).is_pending());
    rt.spawn_detached(driver);
    rt.settle().await;
    assert_eq!(
        (sink.text().as_str(), writer.stats().flushes),
        ("12345678", 1)
    );
    // The first one has the room now and does not use it; nobody overtakes it meanwhile.
    assert!(writer.try_write(b"z").is_err());
    drop(large);
    small.await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "12345678xy");
    assert_eq!(writer.stats().blocked_writes, 2);
}

/// A writer that holds three bytes and tries its failing sink again, a minute apart, for ever.
async fn never_gives_up(rt: &Handle) -> (AsyncWriter, TestSink) {
    let sink = TestSink::default();
    sink.always(Some(Step::Fail));
    let writer = manual(rt)
        .attempts(u32::MAX)
        .retry_delay(Duration::from_secs(60))
        .build(sink.sink())
        .unwrap();
    writer.write(b"abc").await.unwrap();
    (writer, sink)
}

async fn shutdown_gives_up_in_time_and_says_so(rt: TestRuntime) {
    let (writer, sink) = never_gives_up(&rt).await;
    let mut flush = writer.flush();
    let start = rt.now();
    let report = writer.shutdown(Duration::from_millis(5)).await;
    assert!(report.timed_out);
    assert_eq!(rt.now() - start, Duration::from_millis(5));
    assert_eq!((report.written, report.abandoned), (0, 3));
    assert!(matches!(
        (&mut flush).await,
        Err(FlushError::Ended { abandoned: 3 })
    ));
    rt.settle().await;
    assert!(sink.is_dropped());

    // With its attempts used up it does not wait for the timeout.
    let sink = TestSink::default();
    sink.always(Some(Step::Fail));
    let writer = manual(&rt).attempts(2).build(sink.sink()).unwrap();
    writer.write(b"abc").await.unwrap();
    let report = writer.shutdown(LONG).await;
    assert_eq!(
        (report.abandoned, report.errors, report.timed_out),
        (3, 2, false)
    );
}

async fn a_shutdown_reports_the_same_again(rt: TestRuntime) {
    let (writer, _sink) = never_gives_up(&rt).await;
    let patient = rt.spawn({
        let writer = writer.clone();
        async move { writer.shutdown(LONG).await }
    });
    let report = writer.shutdown(Duration::from_millis(5)).await;
    assert_eq!((report.abandoned, report.timed_out), (3, true));
    // One that waits for longer is told that another has given up.
    assert_eq!(patient.await.unwrap(), report);
    assert_eq!(writer.shutdown(LONG).await, report);

    let writer = manual(&rt).build(Vec::new()).unwrap();
    writer.write(b"abc").await.unwrap();
    let report = writer.shutdown(LONG).await;
    assert!(report.is_clean() && !report.timed_out);
    assert_eq!(writer.shutdown(Duration::ZERO).await, report);
}

async fn a_sink_that_panics_is_an_error(rt: TestRuntime) {
    let sink = TestSink::default();
    sink.script([Step::Panic]);
    let writer = manual(&rt).attempts(1).build(sink.sink()).unwrap();
    writer.write(b"abc").await.unwrap();
    let failed = writer.flush().await.unwrap_err();
    assert!(
        failed.to_string().contains("a sink that panics"),
        "{failed}"
    );
    writer.flush().await.unwrap();
    assert_eq!(sink.text(), "abc");
}

async fn a_dead_driver_leaves_nobody_waiting(rt: TestRuntime) {
    let sink = TestSink::default();
    let (writer, driver) = manual(&rt)
        .capacity(4)
        .build_with_driver(sink.sink())
        .unwrap();
    writer.write(b"1234").await.unwrap();
    let mut write = writer.write(b"5");
    let mut flush = writer.flush();
    assert!(poll(&mut write).is_pending() && poll(&mut flush).is_pending());
    drop(driver);
    assert!(matches!(write.await, Err(WriteError::Closed)));
    assert!(matches!(
        flush.await,
        Err(FlushError::Ended { abandoned: 4 })
    ));
    let report = writer.shutdown(LONG).await;
    assert_eq!((report.abandoned, report.timed_out), (4, false));
    assert!(sink.is_dropped());
}

async fn hooks_may_panic(rt: TestRuntime) {
    let sink = TestSink::default();
    sink.script([Step::Fail]);
    let writer = manual(&rt)
        .capacity(4)
        .high_water(4)
        .on_full(OnFull::DropNewest)
        .on_drop(|_| panic!("a hook that panics"))
        .on_error(|_| panic!("another hook that panics"))
        .build(sink.sink())
        .unwrap();
    writer.write(b"abc").await.unwrap();
    writer.write(b"def").await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(
        (sink.text().as_str(), writer.stats().dropped_writes),
        ("abc", 1)
    );
}

async fn line_writers(rt: TestRuntime) {
    let sink = TestSink::default();
    // Nothing is driven yet, so the buffer stays full.
    let (writer, driver) = manual(&rt)
        .capacity(8)
        .high_water(8)
        .build_with_driver(sink.sink())
        .unwrap();
    let make = writer.make_writer();
    make().write_all(b"12345678").unwrap();
    // This thread drives the case: refused and counted, never blocked.
    let full = make().write(b"9").unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(writer.stats().rejected_writes, 1);
    let flush = make().flush().unwrap_err();
    assert_eq!(flush.kind(), std::io::ErrorKind::WouldBlock);
    // The flush goes on in the background.
    rt.spawn_detached(driver);
    rt.settle().await;
    assert_eq!(sink.flushed(), 8);
    // The simulation has one thread, and even its blocking closures may not wait.
    if rt.as_sim().is_none() {
        let job = rt.spawn_blocking(move || {
            let mut lines = make();
            for _ in 0..10 {
                lines.write_all(b"<line>").unwrap();
            }
            lines.flush().unwrap();
        });
        job.await.unwrap();
        assert_eq!(sink.text(), format!("12345678{}", "<line>".repeat(10)));
    }
}
