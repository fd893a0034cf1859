//! A sink that misbehaves at random, writes dropped half-way: the output is always a prefix of
//! what was accepted, and all of it in the end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::poll_up_to;
use crate::sink::{Step, TestSink};
use flow_rt::sim::{self, SimRng};
use flow_stream::{AsyncWriter, WriteError};

/// The lines that were accepted, in the order of each task.
type Accepted = Arc<Mutex<Vec<String>>>;

async fn stormy_writer(writer: AsyncWriter, who: u32, mut rng: SimRng, accepted: Accepted) {
    for n in 0..30 {
        let padding = "x".repeat(rng.below(12) as usize);
        let line = format!("<{who}:{n}:{padding}>");
        let mut write = writer.write(line.as_bytes());
        let written = match rng.below(3) {
            0 => Some((&mut write).await),
            1 => poll_up_to(&mut write, 2).await,
            _ => Some(writer.try_write(line.as_bytes())),
        };
        match written {
            Some(Ok(())) => accepted.lock().unwrap().push(line.clone()),
            // Refused or dropped: it must not show up.
            Some(Err(WriteError::Closed)) => panic!("closed too early"),
            Some(Err(_)) | None => {}
        }
        match rng.below(8) {
            // A flush that is dropped, one that is awaited, and time for the timer.
            0 => drop(poll_up_to(&mut writer.flush(), 2).await),
            1 => {
                let before: usize = accepted.lock().unwrap().iter().map(String::len).sum();
                if writer.flush().await.is_ok() {
                    assert!(writer.stats().written_bytes >= before as u64);
                }
            }
            2 => writer_pause(rng.below(30)).await,
            _ => {}
        }
    }
}

async fn writer_pause(millis: u64) {
    let rt = flow_rt::Handle::current().unwrap();
    rt.sleep(Duration::from_millis(millis)).await.unwrap();
}

#[test]
fn what_is_accepted_arrives_once_whole_and_in_order() {
    sim::check(0..300, |rt| async move {
        let sink = TestSink::default();
        let mut rng = rt.rng();
        sink.script((0..rng.below(80)).map(|_| match rng.below(6) {
            0 => Step::Fail,
            1 => Step::Interrupt,
            most => Step::Take(most as usize),
        }));
        let capacity = 1 + rng.below(40) as usize;
        let writer = AsyncWriter::builder()
            .capacity(capacity)
            .high_water(1 + rng.below(capacity as u64) as usize)
            .flush_interval(Duration::from_millis(rng.below(20)))
            .attempts(1 + rng.below(3) as u32)
            .retry_delay(Duration::from_millis(rng.below(20)))
            .build(sink.sink())
            .unwrap();
        let accepted = Accepted::default();
        let tasks: Vec<_> = (0..3)
            .map(|who| {
                rt.spawn(stormy_writer(
                    writer.clone(),
                    who,
                    rt.rng(),
                    accepted.clone(),
                ))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        // The sink is well again in the end.
        while writer.flush().await.is_err() {}
        let report = writer.shutdown(Duration::from_secs(3_600)).await;
        assert!(report.is_clean(), "{report}");

        let text = sink.text();
        let mut lines: Vec<&str> = text.split_inclusive('>').collect();
        for who in 0..3 {
            let prefix = format!("<{who}:");
            let number = |line: &&str| -> u32 {
                let rest = line.strip_prefix(&prefix).expect("filtered");
                rest.split(':').next().unwrap().parse().unwrap()
            };
            let own: Vec<_> = lines
                .iter()
                .filter(|line| line.starts_with(&prefix))
                .copied()
                .collect();
            assert!(own.is_sorted_by_key(number), "{own:?}");
        }
        let mut accepted = accepted.lock().unwrap().clone();
        accepted.sort_unstable();
        lines.sort_unstable();
        assert_eq!(lines, accepted);
        assert_eq!(report.written as usize, text.len());
    });
}
