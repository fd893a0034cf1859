//! Overlap policies by their formulas, whatever the clocks do and however the driver stalls: who
//! starts when, for which time, and who does not.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flow_rt::Instant;
use flow_rt::sim::{Sim, Stall, Step};
use flow_sched::{Every, JobContext, JobHandle, Misfire, Overlap, Scheduler};

use crate::common::{HOUR, MIN, SEC, ms, secs};

/// When a request came, or a run started, and the time that it is for.
type Times = Arc<Mutex<Vec<(Instant, SystemTime)>>>;

/// How long the run takes that starts as the nth: with some nanoseconds, so that none ends as
/// another one is due.
fn takes(nth: usize, period: Duration) -> Duration {
    let part = (nth as u32 * 7 + 3) % 29;
    period * part / 10 + Duration::from_nanos(nth as u64 + 1)
}

/// What an overlap policy makes of requests: the starts, how many were skipped, and how many runs
/// were ended before their time.
fn model(
    policy: Overlap,
    requests: &[(Instant, SystemTime)],
    period: Duration,
) -> (Vec<(Instant, SystemTime)>, u64, u64) {
    let (mut starts, mut skipped, mut cut) = (Vec::new(), 0, 0);
    let mut running: Vec<Instant> = Vec::new();
    let mut waiting: VecDeque<SystemTime> = VecDeque::new();
    let mut start = |running: &mut Vec<Instant>, at, time| {
        running.push(at + takes(starts.len(), period));
        starts.push((at, time));
    };
    for &(at, time) in requests {
        while let Some(&end) = running.iter().min().filter(|&&end| end <= at) {
            running.retain(|&other| other != end);
            if let Some(time) = waiting.pop_front() {
                start(&mut running, end, time);
            }
        }
        match policy {
            Overlap::Allow(most) if running.len() < most => start(&mut running, at, time),
            _ if running.is_empty() => start(&mut running, at, time),
            Overlap::BufferOne => {
                skipped += waiting.len() as u64;
                waiting = VecDeque::from([time]);
            }
            Overlap::BufferAll(most) if waiting.len() < most => waiting.push_back(time),
            Overlap::CancelPrevious | Overlap::TerminatePrevious => {
                cut += 1;
                running.clear();
                start(&mut running, at, time);
            }
            _ => skipped += 1,
        }
    }
    for time in waiting {
        let end = running.pop().expect("one is waited for");
        start(&mut running, end, time);
    }
    (starts, skipped, cut)
}

const POLICIES: [Overlap; 7] = [
    Overlap::Skip,
    Overlap::BufferOne,
    Overlap::BufferAll(1),
    Overlap::BufferAll(4),
    Overlap::CancelPrevious,
    Overlap::TerminatePrevious,
    Overlap::Allow(2),
];

/// A job that notes when it starts, and takes its time unless it is told to stop.
fn start(
    scheduler: &Scheduler,
    rt: &Sim,
    (name, policy): (String, Overlap),
    rate: Every,
    (period, misfire): (Duration, Misfire),
) -> (JobHandle, Times) {
    let seen = Times::default();
    let state = (rt.clone(), seen.clone());
    let job = scheduler.job_with(name, state, move |cx: JobContext, state| async move {
        let (rt, seen): (Sim, Times) = state;
        let nth = {
            let mut seen = seen.lock().unwrap();
            seen.push((rt.now(), cx.scheduled_at()));
            seen.len() - 1
        };
        let sleep = rt.sleep(takes(nth, period));
        cx.cancellation().run_until_cancelled(sleep).await;
    });
    let job = job.trigger(rate).overlap(policy).misfire(misfire);
    (job.start().unwrap(), seen)
}

#[test]
fn runs_start_by_the_formulas_of_their_policies_under_clock_chaos() {
    let stall = Stall::new(20, ms(1)..=secs(10)).of("flow scheduler");
    Sim::builder().stall(stall).check(0..8, |rt| async move {
        let mut rng = rt.rng();
        let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
        let mut jobs = Vec::new();
        for on_wall in [false, true] {
            for misfire in [Misfire::default(), Misfire::Skip] {
                let period = if on_wall { MIN } else { SEC };
                let rate = Every::new(period);
                let rate = if on_wall { rate.aligned() } else { rate };
                // One whose runs take no time hears of every request, as it comes.
                let requests = Times::default();
                let with = (rt.clone(), requests.clone());
                let name = |policy: &str| format!("{policy} {on_wall} {misfire:?}");
                let every = scheduler.job_with(
                    name("requests"),
                    with,
                    async |cx: JobContext, (rt, requests): (Sim, Times)| {
                        requests.lock().unwrap().push((rt.now(), cx.scheduled_at()));
                    },
                );
                let every = every.trigger(rate).overlap(Overlap::Allow(usize::MAX));
                let every = every.misfire(misfire).start().unwrap();
                let others = POLICIES.map(|policy| {
                    let named = (name(&format!("{policy:?}")), policy);
                    let (job, seen) = start(&scheduler, &rt, named, rate, (period, misfire));
                    (policy, job, seen)
                });
                jobs.push((period, every, requests, others));
            }
        }
        let start = rt.now();
        while rt.now() < start + secs(1_200) {
            rt.sleep(ms(rng.below(20_000))).await;
            match rng.below(12) {
                0 => rt.step_wall(HOUR, Step::Forward),
                1 => rt.step_wall(HOUR, Step::Backward),
                2 => rt.suspend(8 * HOUR),
                _ => {}
            }
        }
        for (_, every, _, others) in &jobs {
            every.pause();
            // What waits for its turn is to come all the same.
            for (_, job, _) in others {
                job.update(Every::new(1_000 * HOUR)).unwrap();
            }
        }
        rt.sleep(HOUR).await;
        for (period, every, requests, others) in jobs {
            let requests = requests.lock().unwrap().clone();
            assert!(requests.len() >= 5, "{every:?}");
            for (policy, job, seen) in others {
                let (starts, skipped, cut) = model(policy, &requests, period);
                assert_eq!(*seen.lock().unwrap(), starts, "{job:?}");
                let runs = job.stats().runs;
                assert_eq!(
                    (runs.started, runs.skipped),
                    (starts.len() as u64, skipped),
                    "{job:?}"
                );
                assert_eq!(runs.missed, every.stats().runs.missed, "{job:?}");
                let ends = if policy == Overlap::TerminatePrevious {
                    cut
                } else {
                    0
                };
                assert_eq!(
                    (runs.terminated, runs.completed + ends),
                    (ends, runs.started),
                    "{job:?}"
                );
            }
        }
    });
}
