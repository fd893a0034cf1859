//! Events of `tracing`, as a subscriber sees them.

#[path = "../../../flow-ratelimit/tests/support/notebook.rs"]
mod notebook;

use std::sync::atomic::Ordering::Relaxed;

use flow_rt::sim::Step;
use flow_rt::{Backoff, TestRuntime, sim};
use flow_sched::{Claims, Due, Every, Misfire, Scheduler, Trigger, TriggerContext};

use crate::cluster::{Line, store};
use crate::common::{HOUR, MIN, SEC, ms, secs};

#[test]
fn what_is_rare_is_told_and_misses_not_one_by_one() {
    let notes = notebook::told("flow_sched", || {
        sim::check(0..1, |rt| async move {
            let scheduler = Scheduler::builder().runtime(&rt).name("s").build().unwrap();
            let panics = scheduler.job("panics", async |_cx| -> () { panic!("on purpose") });
            panics.after(SEC).start().unwrap();
            let slow = scheduler.job("slow", async |_cx| std::future::pending::<()>().await);
            slow.after(secs(2)).timeout(SEC).start().unwrap();
            let fails = scheduler.job("fails", async |_cx| Err::<(), _>("no"));
            let plan = Backoff::constant(ms(1)).attempts(2);
            fails
                .after(secs(4))
                .retry(plan)
                .stop_on_error()
                .start()
                .unwrap();
            rt.advance(secs(5)).await;
            for name in ["a", "b", "c"] {
                let job = scheduler.job(name, async |_cx| ()).cron("0 * * * *");
                job.misfire(Misfire::Skip).start().unwrap();
            }
            rt.suspend(8 * HOUR + 10 * SEC);
            rt.advance(61 * SEC).await;
            rt.suspend(HOUR + 10 * SEC);
            rt.advance(61 * SEC).await;
            rt.step_wall(4 * HOUR, Step::Backward);
            rt.advance(61 * SEC).await;
        });
    });
    let starts = [
        "WARN message=a run has panicked scheduler=\"s\" job=\"panics\" run=1 panic=\"on purpose\"",
        "WARN message=a run took too long and was dropped scheduler=\"s\" job=\"slow\" run=1",
        "WARN message=a run has failed for good scheduler=\"s\" job=\"fails\" run=1 attempts=2",
        "ERROR message=a job will not run any more scheduler=\"s\" job=\"fails\" reason=a run failed",
        "WARN message=a job has missed times that are not made up scheduler=\"s\" job=\"a\" \
         missed=8 passed_over=0",
        "WARN message=a job has missed times that are not made up scheduler=\"s\" job=\"a\" \
         missed=1 passed_over=16",
        "WARN message=the wall clock was set back, and the jobs that go by it are asked anew \
         scheduler=\"s\" by=14400s",
    ];
    assert_eq!(notes.len(), starts.len(), "{notes:#?}");
    for (note, start) in notes.iter().zip(starts) {
        assert!(note.starts_with(start), "{note}\nis not {start}");
    }
}

/// Panics at the second question.
struct Ends;

impl Trigger for Ends {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        assert!(cx.previous().is_none(), "out of ideas");
        Some(Due::Wall(cx.wall() + SEC))
    }
}

#[test]
fn what_fails_among_instances_and_of_triggers_is_told() {
    let notes = notebook::told("flow_sched", || {
        sim::check(0..1, |rt| async move {
            let rt = TestRuntime::from(rt);
            let line = Line::to(&store(&rt));
            let claims = Claims::at_least_once(&line).lease(secs(30));
            let builder = Scheduler::builder().runtime(&rt).name("s");
            let scheduler = builder.claims(claims).build().unwrap();
            let ends = scheduler.job("ends", async |_cx| ()).trigger(Ends);
            ends.start().unwrap();
            rt.advance(secs(2)).await;
            let held = scheduler.job_with("held", rt.clone(), async |_cx, rt: TestRuntime| {
                rt.sleep(5 * MIN).await.unwrap();
            });
            let held = held.trigger(Every::new(MIN).aligned()).max_runs(1);
            held.start().unwrap();
            rt.advance(MIN).await;
            line.cut.store(true, Relaxed);
            rt.advance(MIN).await;
        });
    });
    let ends = "ERROR message=a job will not run any more scheduler=\"s\" job=\"ends\" \
                reason=its trigger failed";
    assert!(notes[0].starts_with(ends), "{notes:#?}");
    let fails = "WARN message=the store of the claims did not answer scheduler=\"s\" job=\"held\" \
                 run=1 error=\"the line is cut\" passed_over=0";
    let lost = "WARN message=the claim of a run was lost, and the run was told to stop \
                scheduler=\"s\" job=\"held\" run=1";
    let starts = |note: &String, with: &str| note.starts_with(with);
    assert!(starts(&notes[1], fails), "{notes:#?}");
    assert_eq!(
        notes.iter().filter(|note| starts(note, lost)).count(),
        1,
        "{notes:#?}"
    );
}
