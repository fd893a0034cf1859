//! How late runs begin: 10,000 jobs, each once a second.

use core::time::Duration;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use flow_benches::Bench;
use flow_rt::{Handle, Instant};
use flow_sched::{Precision, Scheduler};
use tokio::runtime::Runtime;
use tokio_cron_scheduler::{Job, JobScheduler};

const JOBS: u64 = 10_000;
const SECOND: Duration = Duration::from_secs(1);

/// Lateness in nanoseconds, written by whatever runs.
type Seen = Arc<Mutex<Vec<u64>>>;

/// One way to be woken 10,000 times a second.
struct Way {
    name: &'static str,
    run: Box<dyn Fn(&Seen)>,
    /// Of each round, sorted.
    seen: Vec<Vec<u64>>,
}

impl Way {
    fn new(name: &'static str, run: Box<dyn Fn(&Seen)>) -> Self {
        let seen = Vec::new();
        Self { name, run, seen }
    }

    fn measure(&mut self) {
        let seen = Seen::default();
        (self.run)(&seen);
        let mut seen = core::mem::take(&mut *seen.lock().expect("no panic"));
        seen.sort_unstable();
        assert!(!seen.is_empty(), "{} ran nothing", self.name);
        self.seen.push(seen);
    }

    fn figures(&self, percent: usize) -> Vec<f64> {
        let rounds = self.seen.iter();
        rounds.map(|seen| percentile(seen, percent)).collect()
    }
}

pub(crate) fn late(bench: &mut Bench, runtime: &Runtime) {
    let handle = Handle::tokio(runtime.handle().clone()).expect("it has timers");
    let smol = Handle::smol();
    let rows = [
        (
            "tokio, coarse",
            jobs(&handle, Precision::Coarse),
            "a tokio timer each",
            timers(&handle, false),
        ),
        (
            "tokio, fine",
            jobs(&handle, Precision::Fine),
            "an async-io timer each",
            timers(&handle, true),
        ),
        (
            "smol",
            jobs(&smol, Precision::Coarse),
            "an async-io timer each",
            timers(&smol, true),
        ),
    ];
    for (host, flow, peer, bare) in rows {
        let mut peers = vec![(peer, bare)];
        // It keeps jobs of tokio's, and looks for due ones every half second.
        if host == "tokio, coarse" {
            peers.push(("tokio-cron-scheduler", cron_scheduler(runtime)));
        }
        let row = |percent| format!("lateness at 10000 jobs/s, {host}, p{percent}");
        if !bench.wants(&row(50)) && !bench.wants(&row(99)) {
            continue;
        }
        let mut ways = vec![Way::new("flow", flow)];
        ways.extend(peers.into_iter().map(|(name, run)| Way::new(name, run)));
        for round in 0..bench.rounds() {
            for turn in 0..ways.len() {
                let who = (round + turn) % ways.len();
                ways[who].measure();
            }
        }
        for percent in [50, 99] {
            let mut figures = ways.iter().map(|way| (way.name, way.figures(percent)));
            let (_, flow) = figures.next().expect("the first is flow");
            bench.record(&row(percent), "µs", &flow, &figures.collect::<Vec<_>>());
        }
    }
}

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100] as f64 / 1_000.0
}

/// How long the jobs run, after a second of settling.
const RUN: Duration = Duration::from_secs(2);

fn jobs(handle: &Handle, precision: Precision) -> Box<dyn Fn(&Seen)> {
    let handle = handle.clone();
    Box::new(move |seen| {
        let scheduler = Scheduler::builder()
            .runtime(&handle)
            .precision(precision)
            .build()
            .expect("a valid scheduler");
        let begin = handle.now() + SECOND;
        for i in 0..JOBS {
            let with = (seen.clone(), handle.clone(), begin);
            let job = scheduler.unnamed_with(
                with,
                async |cx: flow_sched::JobContext,
                       (seen, handle, begin): (Seen, Handle, Instant)| {
                    note(&seen, cx.due(), handle.now(), begin);
                },
            );
            let every = flow_sched::Every::new(SECOND).phase(phase(i));
            job.trigger(every)
                .start()
                .expect("it has no name to be taken");
        }
        std::thread::sleep(SECOND + RUN);
        scheduler.close();
    })
}

/// Spread evenly over the second, in no order.
fn phase(i: u64) -> Duration {
    Duration::from_micros(i * 7_919 % JOBS * 100)
}

fn timers(handle: &Handle, fine: bool) -> Box<dyn Fn(&Seen)> {
    let handle = handle.clone();
    Box::new(move |seen| {
        let start = handle.now();
        let begin = start + SECOND;
        for i in 0..JOBS {
            let (seen, handle) = (seen.clone(), handle.clone());
            let clock = handle.clone();
            handle.spawn_detached(async move {
                let mut due = start + phase(i);
                while due < begin + RUN {
                    let at = due.to_std().expect("it is near");
                    if fine {
                        async_io::Timer::at(at).await;
                    } else {
                        tokio::time::sleep_until(at.into()).await;
                    }
                    note(&seen, due, clock.now(), begin);
                    due += SECOND;
                }
            });
        }
        std::thread::sleep(SECOND + RUN + Duration::from_millis(100));
    })
}

/// As many jobs, due at each second by cron: it has no phases, and rounds delays to seconds.
fn cron_scheduler(runtime: &Runtime) -> Box<dyn Fn(&Seen)> {
    let runtime = runtime.handle().clone();
    Box::new(move |seen| {
        runtime.block_on(async {
            let mut scheduler = JobScheduler::new_with_channel_size(2 * JOBS as usize)
                .await
                .expect("it keeps jobs in memory");
            for _ in 0..JOBS {
                let seen = seen.clone();
                let job = Job::new_async("* * * * * *", move |_, _| {
                    let seen = seen.clone();
                    Box::pin(async move {
                        let now = SystemTime::now().duration_since(UNIX_EPOCH);
                        let late = now.expect("after 1970").subsec_nanos();
                        seen.lock().expect("no panic").push(u64::from(late));
                    })
                });
                let job = job.expect("a pattern of six fields");
                scheduler.add(job).await.expect("it takes any number");
            }
            scheduler.start().await.expect("it was not started");
            tokio::time::sleep(SECOND).await;
            seen.lock().expect("no panic").clear();
            tokio::time::sleep(RUN).await;
            let ran = seen.lock().expect("no panic").len() as u64;
            assert!(ran >= JOBS, "{ran} runs in two seconds");
            scheduler.shutdown().await.expect("it was not shut down");
        });
    })
}

fn note(seen: &Seen, due: Instant, now: Instant, begin: Instant) {
    if due >= begin {
        let late = (now - due).as_nanos() as u64;
        seen.lock().expect("no panic").push(late);
    }
}
