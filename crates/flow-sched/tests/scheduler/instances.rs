//! Instances that stand still, are cut off and come back, in many orders: what a claim and a lead
//! promise all the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flow_rt::TestRuntime;
use flow_rt::sim::{Sim, SimRng, Stall, check};
use flow_sched::{
    Candidate, Claim, ClaimEnd, Claims, Elector, Every, Fence, FenceGate, JobContext, JobHandle,
    JobKey, JobLock, JobStore, MemoryStore, Outcome, Overlap, RunOutcome, Scheduler, WorkerPool,
};

use crate::cluster::{Line, abandon, block, store};
use crate::common::{HOUR, MIN, SEC, ms, secs};
use crate::process::Process;

const LEASE: Duration = Duration::from_secs(30);

flow_rt::on_every_runtime! {
    seeds 0..20;
    a_lead_that_is_lost_in_the_pools_queue_keeps_a_run_without_a_claim_from_beginning,
    a_claimed_run_goes_on_whoever_leads_by_then,
    a_claim_in_the_queue_outlives_the_removal_of_its_job,
    a_run_that_stops_politely_says_whether_its_work_is_done,
    the_store_in_memory_forgets_jobs_that_nobody_asks_for,
}

/// One instance: the machine, its way to the store, its scheduler.
struct Instance {
    process: Process,
    line: Line,
    scheduler: Scheduler,
}

fn instances(rt: &Sim, store: &MemoryStore) -> [Instance; 3] {
    [(); 3].map(|()| {
        let (process, line) = (Process::new(rt), Line::to(store));
        let claims = Claims::at_least_once(&line).lease(LEASE);
        let builder = Scheduler::builder().runtime(&process.handle());
        let scheduler = builder.claims(claims).build().unwrap();
        Instance {
            process,
            line,
            scheduler,
        }
    })
}

fn begin_of_a_minute(rt: &Sim) -> Duration {
    let since = rt.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let (since, minute) = (since.as_nanos() as u64, MIN.as_nanos() as u64);
    Duration::from_nanos(minute - since % minute)
}

#[test]
fn a_keeper_renews_for_as_long_as_the_run_takes() {
    let stalls = Stall::new(6, ms(1)..=secs(3));
    Sim::builder().stall(stalls).check(0..100, |rt| async move {
        let (store, runs) = (MemoryStore::new(), Arc::new(AtomicU64::new(0)));
        let instances = instances(&rt, &store);
        let at = rt.wall() + MIN;
        for one in &instances {
            let state = (rt.clone(), runs.clone());
            let job = one
                .scheduler
                .job_with("job", state, |cx: JobContext, (rt, runs)| {
                    let (rt, runs): (Sim, Arc<AtomicU64>) = (rt, runs);
                    async move {
                        runs.fetch_add(1, Relaxed);
                        rt.sleep(20 * LEASE).await;
                        assert!(!cx.is_cancelled());
                    }
                });
            job.once_at(at).start().unwrap();
        }
        rt.sleep(MIN + 22 * LEASE).await;
        assert_eq!(runs.load(Relaxed), 1);
        let all = instances.each_ref().map(|one| one.scheduler.stats());
        assert_eq!(all.iter().map(|stats| stats.lost_claims).sum::<u64>(), 0);
        assert_eq!(all.iter().map(|stats| stats.runs.completed).sum::<u64>(), 1);
        assert!(store.abandoned(None, 9).await.unwrap().is_empty());
    });
}

#[test]
fn a_run_whose_claim_is_lost_is_told_to_stop_and_says_so() {
    check(0..200, |rt| async move {
        let (store, gate) = (MemoryStore::new(), Arc::new(FenceGate::new()));
        let [first, second, third] = instances(&rt, &store);
        let start = |one: &Instance| {
            let state = (rt.clone(), gate.clone());
            let job = one
                .scheduler
                .job_with("job", state, |cx: JobContext, (rt, gate)| {
                    let (rt, gate): (Sim, Arc<FenceGate>) = (rt, gate);
                    async move {
                        let (fence, token) = (cx.fence().unwrap(), cx.cancellation());
                        gate.admit(fence).expect("it is the newest");
                        let work = token.run_until_cancelled(rt.sleep(5 * MIN)).await;
                        let effect = gate.admit(fence);
                        if work.is_some() {
                            effect.expect("it holds its claim");
                            return Ok(());
                        }
                        effect.expect_err("another one has it");
                        Err(token.reason().unwrap().to_string())
                    }
                });
            job.cron("@yearly").start().unwrap()
        };
        let mine = start(&first);
        abandon(&store, "job", rt.wall()).await;
        rt.sleep(LEASE + 2 * SEC).await;
        assert_eq!(mine.stats().running, 1, "nobody else knows the job yet");
        let others = [start(&second), start(&third)];
        first.process.freeze();
        rt.sleep(2 * LEASE + SEC).await;
        let running = others.each_ref().map(|job| job.stats().running);
        assert_eq!(running.iter().sum::<usize>(), 1, "{running:?}");
        // It comes back: by its own clock its claim is over, or good.
        first.process.thaw(rt.rng().chance(1, 2));
        rt.sleep(LEASE).await;
        let said = RunOutcome::Failed("its claim was lost".into());
        assert_eq!(mine.last().unwrap().outcome, said);
        let stats = first.scheduler.stats();
        assert_eq!((stats.lost_claims, stats.running), (1, 0));
        rt.sleep(5 * MIN).await;
        let completed = others.each_ref().map(|job| job.stats().runs.completed);
        assert_eq!(completed.iter().sum::<u64>(), 1, "{completed:?}");
        assert!(store.abandoned(None, 9).await.unwrap().is_empty());
    });
}

/// The runs of one occurrence.
#[derive(Default)]
struct Seen {
    fences: Vec<u64>,
    completed: u32,
    /// Those in progress: whose, and whether they are told to stop.
    running: Vec<(usize, JobContext)>,
}

type Log = Arc<Mutex<BTreeMap<SystemTime, Seen>>>;

/// A run of instance `place`, which stops when it is told to, and sees that it is alone.
async fn observed(
    cx: JobContext,
    place: usize,
    rt: Sim,
    log: Log,
    processes: [Process; 3],
) -> Result<(), String> {
    let at = cx.scheduled_at();
    let fence = cx.fence().expect("each is claimed").get();
    {
        let mut log = log.lock().unwrap();
        let seen = log.entry(at).or_default();
        assert!(
            seen.fences.last() < Some(&fence),
            "{:?} {fence}",
            seen.fences
        );
        seen.fences.push(fence);
        seen.running.push((place, cx.clone()));
    }
    // Whose claim ends at this very moment is told at this very moment.
    rt.sleep(ms(1)).await;
    for (other, cx) in &log.lock().unwrap()[&at].running {
        let counts = *other != place && !processes[*other].is_frozen();
        let both = counts && !cx.is_cancelled() && !processes[place].is_frozen();
        assert!(!both, "{place} and {other} run {at:?}");
    }
    let time = ms(1_000 + rt.rng().below(100_000));
    let done = cx.cancellation().run_until_cancelled(rt.sleep(time)).await;
    let mut log = log.lock().unwrap();
    let seen = log.get_mut(&at).unwrap();
    seen.running
        .retain(|(_, other)| other.fence() != cx.fence());
    seen.completed += u32::from(done.is_some());
    done.ok_or_else(|| "told to stop".to_owned())
}

/// Something happens to one of the first two; the third one is always well.
fn befall(rng: &mut SimRng, instances: &[Instance; 3]) {
    let one = &instances[rng.below(2) as usize];
    match rng.below(5) {
        0 => one.process.freeze(),
        1 => one.line.cut.store(true, Relaxed),
        2 => one.line.cut.store(false, Relaxed),
        _ => one.process.thaw(false),
    }
}

#[test]
fn instances_that_stand_still_are_taken_over_and_come_back() {
    check(0..150, |rt| async move {
        let (store, log) = (MemoryStore::new(), Log::default());
        let instances = instances(&rt, &store);
        let processes = instances.each_ref().map(|one| one.process.clone());
        rt.sleep(begin_of_a_minute(&rt)).await;
        let jobs = [0, 1, 2].map(|place| {
            let state = (rt.clone(), log.clone(), processes.clone());
            let job = instances[place].scheduler.job_with(
                "job",
                state,
                move |cx, (rt, log, processes)| observed(cx, place, rt, log, processes),
            );
            // However long one takes, or is held up, the next ones are let in.
            let job = job.trigger(Every::new(MIN).aligned());
            job.overlap(Overlap::Allow(99)).start().unwrap()
        });
        let mut rng = rt.rng();
        for _ in 0..60 {
            rt.sleep(ms(1 + rng.below(20_000))).await;
            befall(&mut rng, &instances);
        }
        for one in &instances {
            one.line.cut.store(false, Relaxed);
            one.process.thaw(false);
        }
        rt.sleep(begin_of_a_minute(&rt) + SEC).await;
        for job in &jobs {
            job.pause();
        }
        let abandoned = async || store.abandoned(None, 9).await.unwrap().len();
        // Whoever finds what is abandoned, must go by its timetable to run it.
        jobs[2].resume();
        rt.sleep(5 * MIN).await;
        jobs[2].pause();
        rt.sleep(4 * MIN).await;
        assert_eq!(abandoned().await, 0);
        let log = core::mem::take(&mut *log.lock().unwrap());
        let (first, last) = (log.keys().next().unwrap(), log.keys().last().unwrap());
        let minutes = last.duration_since(*first).unwrap().as_secs() / 60 + 1;
        assert_eq!(log.len() as u64, minutes, "none was left out");
        for (at, seen) in &log {
            assert!(seen.completed > 0 && seen.running.is_empty(), "{at:?}");
            let claim = store.claim(&JobKey::new("job", *at), SEC).await;
            assert!(matches!(claim, Ok(Claim::Done)), "{at:?}: {claim:?}");
        }
    });
}

const TERM: Duration = Duration::from_secs(12);

fn stand(process: &Process, line: &Line) -> Candidate {
    let candidate = Candidate::builder(line, "jobs").lease(TERM);
    candidate.runtime(&process.handle()).build().unwrap()
}

fn leaders<'c>(candidates: impl IntoIterator<Item = &'c Candidate>) -> Vec<Fence> {
    let candidates = candidates.into_iter();
    candidates.filter_map(Candidate::leads).collect()
}

#[test]
fn one_of_three_leads_whatever_befalls_them() {
    let stalls = Stall::new(10, ms(1)..=ms(900));
    Sim::builder().stall(stalls).check(0..150, |rt| async move {
        let store = MemoryStore::new();
        let parts = [(); 3].map(|()| (Process::new(&rt), Line::to(&store)));
        let mut candidates = parts.each_ref().map(|(process, line)| stand(process, line));
        let (mut rng, mut newest) = (rt.rng(), None);
        for _ in 0..150 {
            rt.sleep(ms(1 + rng.below(1_500))).await;
            let leading = leaders(&candidates);
            assert!(leading.len() <= 1, "two lead: {leading:?}");
            if let Some(&fence) = leading.first() {
                assert!(newest <= Some(fence), "{newest:?} {fence}");
                newest = Some(fence);
            }
            let place = rng.below(3) as usize;
            let (process, line) = &parts[place];
            match rng.below(12) {
                0 => process.freeze(),
                1 | 2 => process.thaw(false),
                3 => line.cut.store(true, Relaxed),
                4 | 5 => line.cut.store(false, Relaxed),
                6 => {
                    candidates[place].resign();
                    assert!(candidates[place].leads().is_none());
                    candidates[place] = stand(process, line);
                }
                _ => {}
            }
        }
        for (process, line) in &parts {
            process.thaw(false);
            line.cut.store(false, Relaxed);
        }
        rt.sleep(TERM * 4 / 3 + 3 * SEC).await;
        assert_eq!(leaders(&candidates).len(), 1, "somebody leads");
        assert!(newest <= leaders(&candidates).pop());
    });
}

/// What ends a leader's term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fall {
    Resigns,
    IsDropped,
    StandsStill,
    StandsStillWithItsClock,
    IsCutOff,
}

#[test]
fn a_leader_that_falls_is_followed_and_its_fence_refused() {
    let falls = [
        Fall::Resigns,
        Fall::IsDropped,
        Fall::StandsStill,
        Fall::StandsStillWithItsClock,
        Fall::IsCutOff,
    ];
    for fall in falls {
        check(0..60, |rt| async move {
            let (store, gate) = (MemoryStore::new(), FenceGate::new());
            let parts = [(); 3].map(|()| (Process::new(&rt), Line::to(&store)));
            let candidates = parts.each_ref().map(|(process, line)| stand(process, line));
            rt.sleep(ms(5_000 + rt.rng().below(8_000))).await;
            let mut candidates = candidates.map(Some);
            let leads = |one: &Option<Candidate>| one.as_ref().and_then(Elector::leads);
            let place = candidates.iter().position(|one| leads(one).is_some());
            let place = place.expect("one leads");
            let old = leads(&candidates[place]).unwrap();
            gate.admit(old).unwrap();
            let (process, line) = &parts[place];
            match fall {
                Fall::Resigns => candidates[place].as_ref().unwrap().resign(),
                Fall::IsDropped => candidates[place] = None,
                Fall::StandsStill | Fall::StandsStillWithItsClock => process.freeze(),
                Fall::IsCutOff => line.cut.store(true, Relaxed),
            }
            // Who gives its lead up is followed at the next question.
            let gives_up = matches!(fall, Fall::Resigns | Fall::IsDropped);
            let within = if gives_up { TERM / 3 } else { TERM * 4 / 3 };
            rt.advance(within).await;
            let others = candidates.iter().enumerate().filter(|(at, _)| *at != place);
            let new: Vec<_> = others.filter_map(|(_, one)| leads(one)).collect();
            assert!(matches!(new[..], [new] if old < new), "{fall:?} {new:?}");
            gate.admit(new[0]).unwrap();
            // It comes back. Only by a clock that stood still it leads, and its fence tells.
            process.thaw(fall == Fall::StandsStillWithItsClock);
            line.cut.store(false, Relaxed);
            let late = leads(&candidates[place]);
            assert_eq!(late.is_some(), fall == Fall::StandsStillWithItsClock);
            if let Some(late) = late {
                assert_eq!(late, old);
                gate.admit(late).unwrap_err();
            }
            rt.advance(TERM / 3 + SEC).await;
            assert_eq!(leads(&candidates[place]), None, "{fall:?}: it has heard");
            rt.advance(5 * TERM).await;
            let leading = leaders(candidates.iter().flatten());
            assert_eq!(leading, new, "{fall:?}: the new one keeps the lead");
        });
    }
}

/// Leads in a term of that number, and not in 0.
#[derive(Clone, Default)]
struct Term(Arc<AtomicU64>);

impl Elector for Term {
    fn leads(&self) -> Option<Fence> {
        match self.0.load(Relaxed) {
            0 => None,
            term => Some(Fence::new(term)),
        }
    }
}

async fn a_lead_that_is_lost_in_the_pools_queue_keeps_a_run_without_a_claim_from_beginning(
    rt: TestRuntime,
) {
    for claimed in [false, true] {
        let (term, store) = (Term::default(), store(&rt));
        let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
        let builder = Scheduler::builder().runtime(&rt).pool(&pool).elector(&term);
        let builder = if claimed {
            builder.claims(Claims::at_least_once(&store))
        } else {
            builder
        };
        let scheduler = builder.build().unwrap();
        let fences = Arc::new(Mutex::new(Vec::new()));
        let lost = if claimed {
            RunOutcome::Completed
        } else {
            RunOutcome::Elsewhere
        };
        for (then, outcome) in [
            (0, lost),
            (8, RunOutcome::Completed),
            (7, RunOutcome::Completed),
        ] {
            term.0.store(7, Relaxed);
            block(&pool, &rt, 2 * SEC).await;
            let once = scheduler.job_with("job", fences.clone(), async |cx, fences| {
                let (cx, fences): (JobContext, Arc<Mutex<Vec<_>>>) = (cx, fences);
                fences.lock().unwrap().push(cx.fence().unwrap().get());
            });
            let once = once.once_at(rt.wall() + SEC).start().unwrap();
            rt.advance(SEC + ms(500)).await;
            assert_eq!(once.stats().running, 1, "it waits for a slot");
            term.0.store(then, Relaxed);
            rt.advance(SEC).await;
            assert_eq!(once.last().unwrap().outcome, outcome);
            assert!(store.abandoned(None, 9).await.unwrap().is_empty());
        }
        let fences = fences.lock().unwrap();
        // The term's that it begins in; with a claim, the claim's.
        let expected: &[u64] = if claimed { &[1, 2, 3] } else { &[8, 7] };
        assert_eq!(*fences, expected);
    }
}

/// Whoever removes it waits until the claim was given back.
async fn a_claim_in_the_queue_outlives_the_removal_of_its_job(rt: TestRuntime) {
    let store = store(&rt);
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let builder = Scheduler::builder().runtime(&rt).pool(&pool);
    let builder = builder.claims(Claims::at_least_once(&store));
    let scheduler = builder.build().unwrap();
    block(&pool, &rt, 2 * SEC).await;
    let job = scheduler.job("job", async |_cx| ());
    let job = job.once_at(rt.wall() + SEC).start().unwrap();
    rt.advance(SEC + ms(500)).await;
    assert_eq!(job.stats().running, 1, "it waits for a slot");
    let removed = rt.spawn(job.remove());
    rt.settle().await;
    assert_eq!(job.stats().running, 1, "it has a claim");
    assert!(!removed.is_finished());
    rt.advance(SEC).await;
    assert!(removed.await.unwrap());
    let stats = job.stats();
    assert_eq!((stats.running, stats.runs.dropped), (0, 1));
    // Given back: others need not wait until its lease ends.
    let abandoned = store.abandoned(None, 9).await.unwrap();
    assert_eq!(abandoned.len(), 1);
}

async fn a_claimed_run_goes_on_whoever_leads_by_then(rt: TestRuntime) {
    let (store, runs) = (store(&rt), Arc::new(Mutex::new(Vec::new())));
    let at = rt.wall() + SEC;
    let instance = |place: usize| {
        let term = Term::default();
        let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
        let builder = Scheduler::builder().runtime(&rt).pool(&pool).elector(&term);
        let claims = Claims::at_least_once(&store).lease(LEASE);
        let scheduler = builder.claims(claims).build().unwrap();
        let job = scheduler.job_with("job", runs.clone(), move |cx, runs| {
            let (cx, runs): (JobContext, Arc<Mutex<Vec<_>>>) = (cx, runs);
            async move {
                let fence = cx.fence().unwrap().get();
                runs.lock().unwrap().push((place, fence));
            }
        });
        let job = job.once_at(at).start().unwrap();
        (term, pool, scheduler, job)
    };
    let (first, second) = (instance(0), instance(1));
    first.0.0.store(7, Relaxed);
    block(&first.1, &rt, 10 * SEC).await;
    rt.advance(5 * SEC).await;
    assert_eq!((store.len(), first.3.stats().running), (1, 1), "it waits");
    assert_eq!(second.3.last().unwrap().outcome, RunOutcome::Elsewhere);
    // The new leader has left it to this one, and knows the job no more.
    first.0.0.store(0, Relaxed);
    second.0.0.store(8, Relaxed);
    rt.advance(5 * LEASE).await;
    assert_eq!(*runs.lock().unwrap(), [(0, 1)], "once, under its claim");
    assert_eq!(first.3.last().unwrap().outcome, RunOutcome::Completed);
    let claim = store.claim(&JobKey::new("job", at), SEC).await;
    assert!(matches!(claim, Ok(Claim::Done)), "{claim:?}");
    assert_eq!(first.2.stats().lost_claims, 0);
}

/// A run that works for a minute, and stops when it is told to; it says whether it has worked.
fn polite<O: Outcome>(one: &Scheduler, rt: &TestRuntime, say: fn(bool) -> O) -> JobHandle {
    let job = one.job_with(
        "job",
        rt.clone(),
        move |cx: JobContext, rt: TestRuntime| async move {
            let work = cx.cancellation().run_until_cancelled(rt.sleep(MIN)).await;
            say(work.is_some())
        },
    );
    job.cron("@yearly").start().unwrap()
}

async fn a_run_that_stops_politely_says_whether_its_work_is_done(rt: TestRuntime) {
    for says_so in [false, true] {
        let store = store(&rt);
        let (at, line) = (rt.wall(), Line::to(&store));
        let claims = Claims::at_least_once(&line).lease(LEASE);
        let one = Scheduler::builder().runtime(&rt).claims(claims);
        let one = one.build().unwrap();
        let job = if says_so {
            polite(&one, &rt, |worked| worked.then_some(()).ok_or("half-way"))
        } else {
            polite(&one, &rt, |_worked| ())
        };
        abandon(&store, "job", at).await;
        rt.advance(LEASE + SEC).await;
        assert_eq!(job.stats().running, 1);
        line.cut.store(true, Relaxed);
        rt.advance(LEASE).await;
        assert_eq!(one.stats().lost_claims, 1, "its lease is over");
        line.cut.store(false, Relaxed);
        rt.advance(5 * LEASE).await;
        let runs = job.stats().runs;
        // A body of `()` has completed, and is not run again.
        let expected = if says_so { (2, 1, 1) } else { (1, 0, 1) };
        assert_eq!((runs.started, runs.failed, runs.completed), expected);
        let claim = store.claim(&JobKey::new("job", at), SEC).await;
        assert!(matches!(claim, Ok(Claim::Done)), "{claim:?}");
    }
}

async fn the_store_in_memory_forgets_jobs_that_nobody_asks_for(rt: TestRuntime) {
    let store = store(&rt);
    let start = rt.wall();
    let claim = async |job: &str, lease| {
        store
            .claim(&JobKey::new(job.to_owned(), start), lease)
            .await
    };
    let granted = async |job: &str, lease| match claim(job, lease).await {
        Ok(Claim::Granted(fence)) => fence,
        other => panic!("{job}: {other:?}"),
    };
    let done = ClaimEnd::Done;
    for n in 0..100 {
        let name = format!("job {n}");
        let fence = granted(&name, MIN).await;
        let key = JobKey::new(name, start);
        assert!(store.settle(&key, fence, done).await.unwrap());
    }
    let renewed = granted("renewed", HOUR).await;
    let long = granted("long", 3 * MemoryStore::KEPT_FOR).await;
    let locked = store.lock(&JobKey::new("locked", start)).await;
    let locked = locked.unwrap().unwrap();
    assert_eq!(store.len(), 103);
    rt.advance(23 * HOUR).await;
    let key = JobKey::new("renewed", start);
    assert!(store.renew(&key, renewed, HOUR).await.unwrap());
    assert!(matches!(claim("job 7", MIN).await, Ok(Claim::Done)));
    rt.advance(HOUR).await;
    assert_eq!(store.len(), 103, "a claim looks");
    let last = granted("another", MIN).await;
    // What is left: that one, what was asked for, and what is held.
    assert_eq!(store.len(), 4);
    assert!(matches!(claim("job 7", MIN).await, Ok(Claim::Done)));
    assert!(matches!(claim("long", MIN).await, Ok(Claim::Held)));
    let again = granted("locked", MIN).await;
    assert!(locked < last && last < again && long < again);
    let key = JobKey::new("locked", start);
    assert!(!store.settle(&key, locked, done).await.unwrap());
}
