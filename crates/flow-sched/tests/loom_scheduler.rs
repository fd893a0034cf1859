//! Models of the scheduler's hand-over to its driver: the real scheduler, its driver and its
//! runs threads of the model.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flow-sched --release --features loom --test loom_scheduler`
//!
//! Time stands still: what is due at once fires, everything else is only waited for. News that the
//! driver misses show as a deadlock, which loom reports.
#![cfg(loom)]

mod loom_common;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flow_rt::Instant;
use flow_sched::{Once, Overlap, ScheduleError, Scheduler};
use flow_sync::JoinCell;
use flow_sync::model::explore;
use loom::future::block_on;
use loom::thread;
use loom_common::Threads;

/// Longer than the model's time, which stands still.
const LONG: Duration = Duration::from_secs(3_600);

fn scheduler(host: &Threads) -> Scheduler {
    Scheduler::builder()
        .runtime(&host.handle())
        .build()
        .unwrap()
}

/// Shuts the scheduler down, and expects its driver to end.
///
/// What is shared is kept until then: see [`Threads::join`].
fn end(host: &Threads, scheduler: &Scheduler) {
    block_on(scheduler.shutdown(LONG));
    host.join();
}

#[test]
fn a_job_meets_the_driver_that_falls_asleep() {
    explore("scheduler: start || the driver falls asleep", 2, || {
        let host = Threads::default();
        let scheduler = scheduler(&host);
        let ran = Arc::new(JoinCell::new());
        let runs = ran.clone();
        let job = scheduler.job("now", move |_| {
            let ran = runs.clone();
            async move { assert!(ran.complete(()).is_ok(), "one run") }
        });
        let job = job.once_at(Instant::ORIGIN).start().unwrap();
        block_on(poll_fn(|cx| ran.poll_take(cx)));
        end(&host, &scheduler);
        drop(job);
    });
}

#[test]
fn an_earlier_deadline_meets_the_driver_that_falls_asleep() {
    explore(
        "scheduler: an earlier job || the driver arms its timer",
        3,
        || {
            let host = Threads::default();
            let early = Instant::ORIGIN + Duration::from_secs(5);
            let armed = host.watch(early);
            let scheduler = scheduler(&host);
            let start = |name, at| {
                let job = scheduler.job(name, async |_| ()).once_at(at);
                job.start().unwrap();
            };
            start("late", early + LONG);
            start("early", early);
            block_on(poll_fn(|cx| armed.poll_take(cx)));
            // One by one: a map's order is another in each execution.
            assert!(scheduler.remove("late"));
            assert!(scheduler.remove("early"));
            block_on(scheduler.shutdown(LONG));
            host.join();
        },
    );
}

#[test]
fn an_update_meets_the_driver_that_falls_asleep() {
    explore("scheduler: update || the driver arms its timer", 2, || {
        let host = Threads::default();
        let early = Instant::ORIGIN + Duration::from_secs(5);
        let armed = host.watch(early);
        let scheduler = scheduler(&host);
        let job = scheduler.unnamed(async |_| ()).once_at(early + LONG);
        let job = job.start().unwrap();
        job.update(Once::new(early)).unwrap();
        block_on(poll_fn(|cx| armed.poll_take(cx)));
        end(&host, &scheduler);
        drop(job);
    });
}

#[test]
fn a_shutdown_meets_a_start() {
    explore("scheduler: shutdown || start || the driver", 2, || {
        let host = Threads::default();
        let scheduler = scheduler(&host);
        let starter = {
            let scheduler = scheduler.clone();
            thread::spawn(move || {
                let job = scheduler.job("now", async |_| ());
                match job.once_at(Instant::ORIGIN).start() {
                    Ok(job) => Some(job),
                    Err(ScheduleError::Closed) => None,
                    Err(other) => panic!("{other}"),
                }
            })
        };
        block_on(scheduler.shutdown(LONG));
        let stats = scheduler.stats();
        assert_eq!((stats.jobs, stats.running), (0, 0));
        let runs = stats.runs.started;
        let job = starter.join().unwrap();
        let started = u64::from(job.is_some());
        host.join();
        let stats = scheduler.stats();
        assert_eq!((stats.jobs, stats.scheduled), (0, started));
        assert_eq!(stats.runs.started, runs, "no run begins after the end");
        assert_eq!(
            stats.runs.started,
            stats.runs.completed + stats.runs.dropped
        );
        drop(job);
    });
}

#[test]
fn a_shutdown_meets_the_end_of_a_run() {
    explore("scheduler: shutdown || a run ends", 2, || {
        let host = Threads::default();
        let scheduler = scheduler(&host);
        let job = scheduler
            .job("by hand", async |_| ())
            .once_at(Instant::ORIGIN + LONG);
        let job = job.start().unwrap();
        block_on(job.trigger_now()).unwrap();
        let report = block_on(scheduler.shutdown(LONG));
        assert_eq!(report.cancelled, 0);
        assert_eq!(scheduler.stats().running, 0);
        host.join();
        drop(job);
    });
}

/// The step that finds the run failed is the one that ends the job: nobody is let in after it.
#[test]
fn the_first_error_meets_another_request() {
    explore("scheduler: a run fails || one is asked for", 2, || {
        let host = Threads::default();
        let scheduler = scheduler(&host);
        let job = scheduler
            .job("by hand", async |_| Err::<(), _>("no luck"))
            .once_at(Instant::ORIGIN + LONG);
        let job = job.stop_on_error().start().unwrap();
        block_on(job.trigger_now()).unwrap();
        assert!(block_on(job.trigger_now()).is_err(), "a run is let in");
        end(&host, &scheduler);
        assert_eq!(job.stats().runs.failed, 1);
        drop(job);
    });
}

/// The end of the first run starts the second, and while it does so that one may end: of the two
/// one starts the third.
#[test]
fn a_run_ends_while_it_is_started() {
    explore("scheduler: a run ends || the one after it ends", 1, || {
        let host = Threads::default();
        let scheduler = scheduler(&host);
        let (count, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(JoinCell::new()));
        let runs = (count, last.clone());
        let job = scheduler.job("by hand", move |_| {
            let (count, last) = runs.clone();
            async move {
                if count.fetch_add(1, Ordering::Relaxed) == 2 {
                    assert!(last.complete(()).is_ok(), "three runs");
                }
            }
        });
        let job = job
            .once_at(Instant::ORIGIN + LONG)
            .overlap(Overlap::BufferAll(2));
        let job = job.start().unwrap();
        for _ in 0..3 {
            block_on(job.trigger_now()).unwrap();
        }
        block_on(poll_fn(|cx| last.poll_take(cx)));
        end(&host, &scheduler);
        drop(job);
    });
}

#[test]
fn a_start_meets_the_driver_that_stands_still() {
    explore("scheduler: start || the driver stands still", 2, || {
        let host = Threads::default();
        let scheduler = scheduler(&host);
        assert!(scheduler.stop());
        let ran = Arc::new(JoinCell::new());
        let runs = ran.clone();
        let job = scheduler.unnamed(move |_| {
            let ran = runs.clone();
            async move { assert!(ran.complete(()).is_ok(), "one run") }
        });
        let job = job.once_at(Instant::ORIGIN).start().unwrap();
        assert!(scheduler.start());
        block_on(poll_fn(|cx| ran.poll_take(cx)));
        end(&host, &scheduler);
        drop(job);
    });
}

#[test]
fn a_listener_meets_the_close() {
    explore("scheduler: close || a listener waits", 2, || {
        let host = Threads::default();
        let scheduler = scheduler(&host);
        let mut events = scheduler.events(std::num::NonZeroUsize::MIN);
        let follower = thread::spawn(move || {
            assert_eq!(block_on(events.next()), None);
            events
        });
        block_on(scheduler.shutdown(LONG));
        let events = follower.join().unwrap();
        host.join();
        drop(events);
    });
}
