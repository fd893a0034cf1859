//! Several schedulers with one store: who runs what, and what becomes of those that stall or die.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use flow_rt::TestRuntime;
use flow_sched::{
    BoxError, Candidate, CandidateConfigError, Claim, ClaimEnd, Claims, Due, Elector, EndReason,
    Every, Fence, FenceGate, JobBuilder, JobContext, JobHandle, JobKey, JobLock, JobState,
    JobStore, MemoryStore, Misfire, OnStoreError, Outcome, Overlap, RunOutcome, ScheduleError,
    Scheduler, SchedulerConfigError, StoreFuture, Trigger, TriggerContext, WorkerPool,
};

use crate::common::{HOUR, MIN, SEC, ms, secs};

flow_rt::on_every_runtime! {
    seeds 0..20;
    each_occurrence_runs_in_one_of_three_instances,
    a_holder_that_crashes_is_taken_over_at_least_once,
    a_holder_that_crashes_is_not_taken_over_at_most_once,
    a_stalled_holder_is_told_and_refused_by_its_fence,
    what_never_began_is_given_back,
    the_last_occurrence_waits_for_its_holder,
    what_is_abandoned_is_run_however_late,
    what_nobody_knows_does_not_keep_others_from_being_found,
    what_is_newer_follows_a_claimed_run_and_one_by_hand,
    a_claim_that_is_lost_in_the_pools_queue_keeps_its_run_from_beginning,
    a_grant_that_comes_too_late_is_given_back,
    a_time_that_is_not_shared_is_not_claimed,
    a_store_that_fails_skips_or_runs_as_chosen,
    jobs_and_runs_that_ask_nobody,
    only_the_leader_runs_and_a_dead_one_is_replaced,
    a_leader_that_is_cut_off_stops_in_time,
    an_elector_of_ones_own_and_its_panic,
    the_store_in_memory_forgets_and_refuses,
    bad_settings_are_refused,
}

/// A store whose clock is the runtime's.
pub(crate) fn store(rt: &TestRuntime) -> MemoryStore {
    let _entered = rt.enter();
    MemoryStore::new()
}

/// One instance's way to the store, which can be cut, and whose answers can panic.
#[derive(Clone)]
pub(crate) struct Line {
    store: MemoryStore,
    pub(crate) cut: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

impl Line {
    pub(crate) fn to(store: &MemoryStore) -> Self {
        Self {
            store: store.clone(),
            cut: Arc::default(),
            panics: Arc::default(),
        }
    }

    fn ask<'a, T>(&'a self, answer: StoreFuture<'a, T>) -> StoreFuture<'a, T>
    where
        T: Send + 'a,
    {
        Box::pin(async move {
            assert!(!self.panics.load(Relaxed), "on purpose");
            if self.cut.load(Relaxed) {
                return Err("the line is cut".into());
            }
            answer.await
        })
    }
}

impl JobStore for Line {
    fn claim<'a>(&'a self, key: &'a JobKey, lease: Duration) -> StoreFuture<'a, Claim> {
        self.ask(self.store.claim(key, lease))
    }

    fn renew<'a>(
        &'a self,
        key: &'a JobKey,
        fence: Fence,
        lease: Duration,
    ) -> StoreFuture<'a, bool> {
        self.ask(self.store.renew(key, fence, lease))
    }

    fn settle<'a>(&'a self, key: &'a JobKey, fence: Fence, end: ClaimEnd) -> StoreFuture<'a, bool> {
        self.ask(self.store.settle(key, fence, end))
    }

    fn abandoned<'a>(
        &'a self,
        after: Option<&'a JobKey>,
        most: usize,
    ) -> StoreFuture<'a, Vec<JobKey>> {
        self.ask(self.store.abandoned(after, most))
    }
}

impl JobLock for Line {
    fn lock<'a>(&'a self, key: &'a JobKey) -> StoreFuture<'a, Option<Fence>> {
        self.ask(self.store.lock(key))
    }

    fn unlock<'a>(&'a self, key: &'a JobKey, fence: Fence) -> StoreFuture<'a, bool> {
        self.ask(self.store.unlock(key, fence))
    }
}

fn at_least_once(line: &Line) -> Claims {
    Claims::at_least_once(line).lease(secs(30))
}

fn instance(rt: &TestRuntime, claims: Claims) -> Scheduler {
    let builder = Scheduler::builder().runtime(rt).claims(claims);
    builder.build().unwrap()
}

/// What ran when, in all instances: how often each occurrence began.
type Runs = Arc<Mutex<BTreeMap<SystemTime, Vec<u64>>>>;

fn note(cx: &JobContext, runs: &Runs) {
    let fence = cx.fence().map_or(0, Fence::get);
    let mut runs = runs.lock().unwrap();
    runs.entry(cx.scheduled_at()).or_default().push(fence);
}

fn noting(scheduler: &Scheduler, runs: &Runs) -> JobBuilder<()> {
    scheduler.job_with("job", runs.clone(), async |cx, runs: Runs| note(&cx, &runs))
}

/// A run that takes so long, and notes when it begins.
fn slow(scheduler: &Scheduler, runs: &Runs, rt: &TestRuntime, time: Duration) -> JobBuilder<()> {
    let state = (runs.clone(), rt.clone());
    scheduler.job_with(
        "job",
        state,
        move |cx, (runs, rt): (Runs, TestRuntime)| async move {
            note(&cx, &runs);
            rt.sleep(time).await.unwrap();
        },
    )
}

fn each_minute<O: Outcome>(job: JobBuilder<O>) -> JobBuilder<O> {
    job.trigger(Every::new(MIN).aligned())
}

fn counts(runs: &Runs) -> Vec<usize> {
    runs.lock().unwrap().values().map(Vec::len).collect()
}

async fn each_occurrence_runs_in_one_of_three_instances(rt: TestRuntime) {
    let (store, runs) = (store(&rt), Runs::default());
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let pooled = Scheduler::builder().runtime(&rt).pool(&pool);
    let pooled = pooled
        .claims(Claims::at_least_once(&store))
        .build()
        .unwrap();
    let instances = [
        instance(&rt, Claims::at_least_once(&store)),
        instance(&rt, Claims::at_most_once(&store)),
        pooled,
    ];
    for one in &instances {
        each_minute(noting(one, &runs)).start().unwrap();
    }
    rt.advance(HOUR + SEC).await;
    assert_eq!(counts(&runs), [1; 60]);
    let fences: Vec<u64> = runs.lock().unwrap().values().map(|run| run[0]).collect();
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
    let all = instances.each_ref().map(Scheduler::stats);
    let sum = |count: fn(&flow_sched::SchedulerStats) -> u64| all.iter().map(count).sum::<u64>();
    assert_eq!(sum(|stats| stats.runs.completed), 60);
    assert_eq!(sum(|stats| stats.runs.elsewhere), 120);
    assert_eq!(sum(|stats| stats.store_errors + stats.lost_claims), 0);
    for one in &instances {
        one.shutdown(SEC).await;
    }
    pool.shutdown(SEC).await;
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 0);
}

/// Cuts an instance off and drops its runs, as a crash would.
async fn crash(line: &Line, scheduler: Scheduler, pool: WorkerPool) {
    line.cut.store(true, Relaxed);
    scheduler.close();
    pool.shutdown(Duration::ZERO).await;
}

async fn crashing(rt: &TestRuntime, claims: impl Fn(&Line) -> Claims) -> (Runs, Scheduler) {
    let (store, runs) = (store(rt), Runs::default());
    let lines = [Line::to(&store), Line::to(&store)];
    let pool = WorkerPool::builder().runtime(rt).slots(1).build().unwrap();
    let first = Scheduler::builder().runtime(rt).pool(&pool);
    let first = first.claims(claims(&lines[0])).build().unwrap();
    each_minute(slow(&first, &runs, rt, HOUR)).start().unwrap();
    rt.advance(MIN).await;
    assert_eq!(counts(&runs), [1], "it has begun here");
    let second = instance(rt, claims(&lines[1]));
    noting(&second, &runs).cron("@yearly").start().unwrap();
    rt.advance(2 * MIN).await;
    assert_eq!(counts(&runs), [1], "its claim holds while it runs");
    crash(&lines[0], first, pool).await;
    rt.advance(3 * MIN).await;
    (runs, second)
}

async fn a_holder_that_crashes_is_taken_over_at_least_once(rt: TestRuntime) {
    let (runs, second) = crashing(&rt, at_least_once).await;
    assert_eq!(counts(&runs), [2]);
    let runs = runs.lock().unwrap();
    let fences = runs.values().next().unwrap();
    assert!(fences[0] < fences[1], "{fences:?}");
    assert_eq!(second.stats().runs.completed, 1);
}

async fn a_holder_that_crashes_is_not_taken_over_at_most_once(rt: TestRuntime) {
    let (runs, second) = crashing(&rt, Claims::at_most_once).await;
    assert_eq!(counts(&runs), [1]);
    assert_eq!(second.stats().runs.started, 0);
}

async fn a_stalled_holder_is_told_and_refused_by_its_fence(rt: TestRuntime) {
    let (store, gate) = (store(&rt), Arc::new(FenceGate::new()));
    let refused = Arc::new(AtomicU32::new(0));
    let lines = [Line::to(&store), Line::to(&store)];
    let start = |line: &Line, time: Duration| {
        let scheduler = instance(&rt, at_least_once(line));
        let state = (rt.clone(), gate.clone(), refused.clone());
        let job = scheduler.job_with("job", state, move |cx: JobContext, state| async move {
            let (rt, gate, refused) = state;
            // It does not look whether it is to stop.
            rt.sleep(time).await.unwrap();
            if gate.admit(cx.fence().unwrap()).is_err() {
                assert!(cx.is_cancelled());
                refused.fetch_add(1, Relaxed);
            }
        });
        job.cron("0 * * * *").start().unwrap();
        scheduler
    };
    let first = start(&lines[0], 10 * MIN);
    rt.advance(secs(3_600 - wall_seconds(&rt) % 3_600)).await;
    assert_eq!(first.stats().running, 1);
    let second = start(&lines[1], SEC);
    lines[0].cut.store(true, Relaxed);
    rt.advance(2 * MIN).await;
    assert_eq!(second.stats().runs.completed, 1, "it has taken over");
    assert_eq!((first.stats().running, first.stats().lost_claims), (1, 1));
    assert!(first.stats().store_errors > 0);
    rt.advance(10 * MIN).await;
    assert_eq!((first.stats().running, refused.load(Relaxed)), (0, 1));
    lines[0].cut.store(false, Relaxed);
    rt.advance(10 * MIN).await;
    assert_eq!(second.stats().runs.completed, 1);
}

fn wall_seconds(rt: &TestRuntime) -> u64 {
    let since = rt.wall().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

async fn what_never_began_is_given_back(rt: TestRuntime) {
    for leased in [true, false] {
        let (store, runs) = (store(&rt), Runs::default());
        let claims = |line: &Line| {
            if leased {
                at_least_once(line)
            } else {
                Claims::at_most_once(line)
            }
        };
        let line = Line::to(&store);
        let pool = WorkerPool::builder().runtime(&rt).slots(1).queue(1);
        let pool = pool.build().unwrap();
        let forever = async |_cx| std::future::pending::<()>().await;
        pool.submit(forever).await.unwrap().detach();
        let first = Scheduler::builder().runtime(&rt).pool(&pool);
        let first = first.claims(claims(&line)).build().unwrap();
        each_minute(noting(&first, &runs)).start().unwrap();
        rt.advance(MIN).await;
        assert_eq!(store.len(), 1, "claimed, and it waits for a slot");
        first.close();
        pool.shutdown(Duration::ZERO).await;
        let left = first.shutdown(MIN).await.cancelled;
        assert_eq!((left, first.stats().runs.dropped), (0, 1));
        let left = store.abandoned(None, 9).await.unwrap();
        assert_eq!(left.len(), 1, "given back at once");
        let key = left[0].clone();
        let granted = if leased {
            matches!(store.claim(&key, SEC).await, Ok(Claim::Granted(_)))
        } else {
            store.lock(&key).await.unwrap().is_some()
        };
        assert!(granted);
    }
}

async fn the_last_occurrence_waits_for_its_holder(rt: TestRuntime) {
    let (store, runs) = (store(&rt), Runs::default());
    let at = rt.wall() + MIN;
    let lines = [Line::to(&store), Line::to(&store)];
    let pool = WorkerPool::builder().runtime(&rt).slots(1).build().unwrap();
    let first = Scheduler::builder().runtime(&rt).pool(&pool);
    let first = first.claims(at_least_once(&lines[0])).build().unwrap();
    let once = slow(&first, &runs, &rt, HOUR).once_at(at);
    once.start().unwrap();
    rt.advance(MIN).await;
    assert_eq!(counts(&runs), [1]);
    let second = instance(&rt, at_least_once(&lines[1]));
    let late = noting(&second, &runs).once_at(at).start().unwrap();
    rt.advance(MIN).await;
    assert_eq!(
        late.stats().running,
        1,
        "it waits for what becomes of the other"
    );
    crash(&lines[0], first, pool).await;
    rt.advance(2 * MIN).await;
    assert_eq!(counts(&runs), [2]);
    assert_eq!(late.state(), JobState::Ended(EndReason::Finished));
    let third = instance(&rt, at_least_once(&lines[1]));
    let done = noting(&third, &runs).once_at(at).start().unwrap();
    rt.advance(SEC).await;
    assert_eq!(done.stats().last.unwrap().outcome, RunOutcome::Elsewhere);
}

/// Leaves an occurrence as a holder does that crashes.
pub(crate) async fn abandon(store: &MemoryStore, job: &str, at: SystemTime) {
    let claim = store.claim(&JobKey::new(job, at), SEC).await;
    assert!(matches!(claim, Ok(Claim::Granted(_))));
}

async fn what_is_abandoned_is_run_however_late(rt: TestRuntime) {
    let (store, runs, leads) = (store(&rt), Runs::default(), Own(Arc::default()));
    abandon(&store, "job", rt.wall()).await;
    let one = Scheduler::builder().runtime(&rt).elector(&leads);
    let one = one.claims(at_least_once(&Line::to(&store)));
    let one = one.build().unwrap();
    // It was in time when it was claimed.
    let job = noting(&one, &runs).cron("@yearly").misfire(Misfire::Skip);
    let job = job.max_runs(1).start().unwrap();
    rt.advance(5 * MIN).await;
    assert_eq!(one.stats().runs.started, 0, "it does not lead");
    leads.0.store(1, Relaxed);
    assert!(job.pause());
    rt.advance(5 * MIN).await;
    assert_eq!(one.stats().runs.started, 0, "it is paused");
    assert!(job.resume());
    rt.advance(MIN).await;
    let counts = one.stats().runs;
    assert_eq!((counts.started, counts.completed, counts.missed), (1, 1, 0));
    assert!(store.abandoned(None, 9).await.unwrap().is_empty());
}

async fn what_nobody_knows_does_not_keep_others_from_being_found(rt: TestRuntime) {
    let (store, runs) = (store(&rt), Runs::default());
    let start = rt.wall();
    for n in 0..600 {
        abandon(&store, "gone", start + ms(n)).await;
    }
    abandon(&store, "job", start + SEC).await;
    let one = instance(&rt, at_least_once(&Line::to(&store)));
    noting(&one, &runs).cron("@yearly").start().unwrap();
    rt.advance(MIN).await;
    assert_eq!(counts(&runs), [1]);
    assert_eq!(store.abandoned(None, 900).await.unwrap().len(), 600);
}

/// Takes up a slot for so long.
pub(crate) async fn block(pool: &WorkerPool, rt: &TestRuntime, time: Duration) {
    let clock = rt.clone();
    let task = move |_cx| async move { clock.sleep(time).await.unwrap() };
    pool.submit(task).await.unwrap().detach();
}

/// A scheduler on a pool with one slot, whose job comes due each minute; just after a minute.
async fn pooled(rt: &TestRuntime, line: &Line, runs: &Runs) -> (WorkerPool, Scheduler, JobHandle) {
    rt.advance(secs(60 - wall_seconds(rt) % 60)).await;
    let pool = WorkerPool::builder().runtime(rt).slots(1).build().unwrap();
    let one = Scheduler::builder().runtime(rt).pool(&pool);
    let one = one.claims(at_least_once(line)).build().unwrap();
    let job = each_minute(noting(&one, runs)).overlap(Overlap::TerminatePrevious);
    let job = job.start().unwrap();
    (pool, one, job)
}

async fn what_is_newer_follows_a_claimed_run_and_one_by_hand(rt: TestRuntime) {
    let (store, runs) = (store(&rt), Runs::default());
    let (pool, one, job) = pooled(&rt, &Line::to(&store), &runs).await;
    let claimed = || -> Vec<bool> {
        runs.lock()
            .unwrap()
            .values()
            .map(|run| run[0] > 0)
            .collect()
    };
    // The first minute waits for a slot, the third has taken the second one's place.
    block(&pool, &rt, secs(210)).await;
    rt.advance(secs(220)).await;
    assert_eq!((claimed(), job.stats().runs.skipped), (vec![true; 2], 1));
    {
        let runs = runs.lock().unwrap();
        let mut times = runs.keys().copied();
        let first = times.next().unwrap();
        assert_eq!(times.next().unwrap(), first + 2 * MIN);
    }
    // One by hand waits, the fourth minute gives way to the fifth, which claims for itself.
    block(&pool, &rt, secs(90)).await;
    job.trigger_now().await.unwrap();
    rt.advance(secs(120)).await;
    assert_eq!(claimed(), [true, true, false, true]);
    // The sixth waits, and then one by hand, to which the seventh and the eighth give way.
    block(&pool, &rt, secs(180)).await;
    rt.advance(secs(30)).await;
    job.trigger_now().await.unwrap();
    rt.advance(secs(160)).await;
    assert_eq!(claimed(), [true, true, false, true, true, false]);
    assert_eq!(job.stats().runs.skipped, 4);
    assert_eq!(counts(&runs), [1; 6]);
    assert_eq!(one.stats().lost_claims, 0);
}

async fn a_claim_that_is_lost_in_the_pools_queue_keeps_its_run_from_beginning(rt: TestRuntime) {
    let (store, runs) = (store(&rt), Runs::default());
    let line = Line::to(&store);
    let (pool, one, job) = pooled(&rt, &line, &runs).await;
    block(&pool, &rt, secs(150)).await;
    rt.advance(secs(62)).await;
    assert_eq!((store.len(), job.stats().running), (1, 1));
    line.cut.store(true, Relaxed);
    rt.advance(secs(31)).await;
    assert_eq!(one.stats().lost_claims, 1, "no later than its lease");
    line.cut.store(false, Relaxed);
    rt.advance(secs(70)).await;
    assert_eq!((job.stats().runs.dropped, one.stats().lost_claims), (1, 1));
    let runs = runs.lock().unwrap();
    // The next one has followed; the one that was lost may have been found, and claimed anew.
    assert!(!runs.is_empty(), "{runs:?}");
    assert!(runs.values().flatten().all(|&fence| fence > 1), "{runs:?}");
}

/// Grants after a second.
#[derive(Clone)]
struct Late(MemoryStore, TestRuntime);

impl JobLock for Late {
    fn lock<'a>(&'a self, key: &'a JobKey) -> StoreFuture<'a, Option<Fence>> {
        Box::pin(async move {
            self.1.sleep(SEC).await?;
            self.0.lock(key).await
        })
    }

    fn unlock<'a>(&'a self, key: &'a JobKey, fence: Fence) -> StoreFuture<'a, bool> {
        self.0.unlock(key, fence)
    }
}

async fn a_grant_that_comes_too_late_is_given_back(rt: TestRuntime) {
    for (policy, left) in [(OnStoreError::Skip, 1), (OnStoreError::Run, 0)] {
        let store = store(&rt);
        let claims = Claims::at_most_once(&Late(store.clone(), rt.clone()));
        let one = instance(&rt, claims.timeout(ms(500)).on_error(policy));
        let job = one.job("job", async |_cx| ()).once_at(rt.wall());
        job.start().unwrap();
        rt.advance(2 * SEC).await;
        assert_eq!((store.len(), one.stats().store_errors), (1, 1));
        let free = store.abandoned(None, 9).await.unwrap().len();
        assert_eq!(free, left, "{policy:?}");
    }
    let store = store(&rt);
    let one = instance(&rt, Claims::at_most_once(&Late(store.clone(), rt.clone())));
    let job = one.job("job", async |_cx| ()).once_at(rt.wall());
    let job = job.start().unwrap();
    rt.advance(ms(500)).await;
    job.remove().await;
    rt.advance(SEC).await;
    assert_eq!(
        store.abandoned(None, 9).await.unwrap().len(),
        1,
        "removed meanwhile"
    );
}

/// A time of day first, and then what counts from there.
struct Mixed(SystemTime);

impl Trigger for Mixed {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        if cx.wall() < self.0 {
            return Some(Due::Wall(self.0));
        }
        Some(Due::At(cx.now() + SEC))
    }
}

async fn a_time_that_is_not_shared_is_not_claimed(rt: TestRuntime) {
    let (store, runs) = (store(&rt), Runs::default());
    let one = instance(&rt, at_least_once(&Line::to(&store)));
    let job = noting(&one, &runs).trigger(Mixed(rt.wall() + SEC));
    let job = job.start().unwrap();
    rt.advance(ms(2_500)).await;
    assert_eq!(counts(&runs), [1]);
    let RunOutcome::Unclaimed(message) = job.stats().last.unwrap().outcome else {
        panic!("it was claimed");
    };
    assert!(message.starts_with("no shared time"), "{message}");
}

async fn a_store_that_fails_skips_or_runs_as_chosen(rt: TestRuntime) {
    let store = store(&rt);
    for policy in [OnStoreError::Skip, OnStoreError::Run] {
        let (line, runs) = (Line::to(&store), Runs::default());
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        let builder = Scheduler::builder().runtime(&rt).on_event(move |event| {
            if let flow_sched::JobEventKind::StoreFailed { message, .. } = event.kind {
                seen.lock().unwrap().push(message.to_owned());
            }
        });
        let claims = Claims::at_most_once(&line).on_error(policy);
        let one = builder.claims(claims).build().unwrap();
        let job = each_minute(noting(&one, &runs)).start().unwrap();
        line.cut.store(true, Relaxed);
        rt.advance(MIN).await;
        line.cut.store(false, Relaxed);
        line.panics.store(true, Relaxed);
        rt.advance(MIN).await;
        let messages = ["the line is cut", "it panicked: on purpose"];
        assert_eq!(*events.lock().unwrap(), messages);
        assert_eq!(one.stats().store_errors, 2);
        let last = job.stats().last.unwrap().outcome;
        if policy == OnStoreError::Skip {
            assert_eq!((counts(&runs).len(), one.stats().runs.unclaimed), (0, 2));
            assert_eq!(last, RunOutcome::Unclaimed(messages[1].into()));
            assert!(!last.is_failure());
        } else {
            assert_eq!(last, RunOutcome::Completed);
            let runs = runs.lock().unwrap();
            assert!(runs.values().all(|run| run == &[0]), "no fence: {runs:?}");
        }
        job.remove().await;
    }
    let slow = instance(&rt, Claims::at_most_once(&Silent).timeout(ms(500)));
    let job = slow.job("slow", async |_cx| ()).once_at(rt.wall());
    let job = job.start().unwrap();
    rt.advance(SEC).await;
    let said = RunOutcome::Unclaimed("no answer within 500ms".into());
    assert_eq!(job.stats().last.unwrap().outcome, said);
    // Nor is the fence of a term one of a claim.
    let (leads, line) = (Own(Arc::new(AtomicU32::new(1))), Line::to(&store));
    line.cut.store(true, Relaxed);
    let claims = Claims::at_most_once(&line).on_error(OnStoreError::Run);
    let both = Scheduler::builder().runtime(&rt).elector(&leads);
    let both = both.claims(claims).build().unwrap();
    let runs = Runs::default();
    noting(&both, &runs).once_at(rt.wall()).start().unwrap();
    rt.advance(SEC).await;
    assert_eq!(runs.lock().unwrap().values().next(), Some(&vec![0]));
}

/// Never answers.
#[derive(Clone)]
struct Silent;

impl JobLock for Silent {
    fn lock<'a>(&'a self, _key: &'a JobKey) -> StoreFuture<'a, Option<Fence>> {
        Box::pin(std::future::pending())
    }

    fn unlock<'a>(&'a self, _key: &'a JobKey, _fence: Fence) -> StoreFuture<'a, bool> {
        Box::pin(async { Err(BoxError::from("never locked")) })
    }
}

async fn jobs_and_runs_that_ask_nobody(rt: TestRuntime) {
    let (line, runs) = (Line::to(&store(&rt)), Runs::default());
    line.cut.store(true, Relaxed);
    let one = instance(&rt, at_least_once(&line));
    let each = |job: JobBuilder<()>| job.every(SEC).max_runs(2);
    let local = each(noting(&one, &runs)).local().start().unwrap();
    let unnamed = each(one.unnamed(async |cx: JobContext| assert_eq!(cx.fence(), None)));
    let unnamed = unnamed.start().unwrap();
    let by_hand = one.job("by hand", async |cx: JobContext| {
        assert!(cx.fence().is_none());
    });
    let by_hand = by_hand.cron("@yearly").start().unwrap();
    by_hand.trigger_now().await.unwrap();
    rt.advance(2 * SEC).await;
    for job in [local, unnamed, by_hand] {
        let runs = job.stats().runs;
        assert!(
            runs.completed > 0 && runs.completed == runs.started,
            "{job:?}"
        );
    }
}

/// Two candidates, each with a line of its own and a scheduler whose job notes its runs.
fn candidates(rt: &TestRuntime, runs: &Runs) -> [(Line, Candidate, Scheduler); 2] {
    let store = store(rt);
    [(); 2].map(|()| {
        let line = Line::to(&store);
        let candidate = Candidate::builder(&line, "jobs").lease(secs(12));
        let candidate = candidate.runtime(rt).build().unwrap();
        let scheduler = Scheduler::builder().runtime(rt).elector(&candidate);
        let scheduler = scheduler.build().unwrap();
        noting(&scheduler, runs)
            .trigger(Every::new(SEC).aligned())
            .start()
            .unwrap();
        (line, candidate, scheduler)
    })
}

async fn only_the_leader_runs_and_a_dead_one_is_replaced(rt: TestRuntime) {
    let runs = Runs::default();
    let mut both = Vec::from(candidates(&rt, &runs));
    rt.advance(10 * SEC + ms(1)).await;
    let leads = |one: &(Line, Candidate, Scheduler)| one.1.leads().is_some();
    assert_eq!(both.iter().filter(|one| leads(one)).count(), 1);
    assert!(counts(&runs).len() >= 9 && counts(&runs).iter().all(|&n| n == 1));
    let place = both.iter().position(leads).unwrap();
    let (line, candidate, scheduler) = both.remove(place);
    let first = candidate.leads().unwrap();
    // It dies: nothing is settled, nobody resigns.
    line.cut.store(true, Relaxed);
    drop((candidate, scheduler));
    rt.advance(16 * SEC).await;
    let second = both[0]
        .1
        .leads()
        .expect("four thirds of the lease are over");
    assert!(first < second);
    let before = counts(&runs).len();
    rt.advance(10 * SEC).await;
    assert_eq!(counts(&runs).len(), before + 10);
    let fences = runs.lock().unwrap().values().map(|run| run[0]).max();
    assert_eq!(fences, Some(second.get()));
    assert_eq!(both[0].1.stats().terms, 1);
    // Who resigns is replaced at the next question.
    let next = Candidate::builder(&both[0].0, "jobs").lease(secs(12));
    let next = next.runtime(&rt).build().unwrap();
    rt.advance(SEC).await;
    assert!(next.leads().is_none());
    both[0].1.resign();
    assert!(both[0].1.leads().is_none(), "at once");
    rt.advance(4 * SEC).await;
    assert!(next.leads().is_some() && both[0].1.leads().is_none());
}

async fn a_leader_that_is_cut_off_stops_in_time(rt: TestRuntime) {
    let runs = Runs::default();
    let both = candidates(&rt, &runs);
    rt.advance(2 * SEC).await;
    let leader = usize::from(both[1].1.leads().is_some());
    both[leader].0.cut.store(true, Relaxed);
    for _ in 0..200 {
        rt.advance(ms(100)).await;
        let leading = both.iter().filter(|one| one.1.leads().is_some()).count();
        assert!(leading <= 1, "two lead");
    }
    assert!(both[1 - leader].1.leads().is_some());
    let stats = both[leader].1.stats();
    assert!(!stats.leads && stats.store_errors > 0, "{stats:?}");
    both[leader].0.cut.store(false, Relaxed);
    rt.advance(MIN).await;
    assert!(both[1 - leader].1.leads().is_some(), "it keeps the lead");
    assert!(counts(&runs).iter().all(|&n| n == 1));
}

/// Leads or not, or panics.
#[derive(Clone)]
struct Own(Arc<AtomicU32>);

impl Elector for Own {
    fn leads(&self) -> Option<Fence> {
        match self.0.load(Relaxed) {
            0 => None,
            1 => Some(Fence::new(7)),
            _ => panic!("nobody knows"),
        }
    }
}

async fn an_elector_of_ones_own_and_its_panic(rt: TestRuntime) {
    let own = Own(Arc::default());
    let scheduler = Scheduler::builder().runtime(&rt).elector(&own);
    let scheduler = scheduler.build().unwrap();
    let job = scheduler.job("job", async |cx: JobContext| {
        assert_eq!(cx.fence(), Some(Fence::new(7)));
    });
    let job = job.every(SEC).start().unwrap();
    for (answer, outcome) in [
        (0, RunOutcome::Elsewhere),
        (1, RunOutcome::Completed),
        (2, RunOutcome::Panicked("nobody knows".into())),
    ] {
        own.0.store(answer, Relaxed);
        rt.advance(SEC).await;
        assert_eq!(job.stats().last.unwrap().outcome, outcome);
    }
}

async fn the_store_in_memory_forgets_and_refuses(rt: TestRuntime) {
    let store = {
        let _entered = rt.enter();
        MemoryStore::keeping(2)
    };
    let start = rt.wall();
    let key = |n: u64| JobKey::new("job", start + secs(n));
    let granted = |claim| match claim {
        Ok(Claim::Granted(fence)) => Some(fence),
        _ => None,
    };
    let first = granted(store.claim(&key(1), MIN).await).unwrap();
    assert!(matches!(store.claim(&key(1), MIN).await, Ok(Claim::Held)));
    let second = granted(store.claim(&key(2), MIN).await).unwrap();
    assert!(first < second);
    assert!(store.settle(&key(2), second, ClaimEnd::Done).await.unwrap());
    assert!(!store.settle(&key(2), second, ClaimEnd::Done).await.unwrap());
    granted(store.claim(&key(3), MIN).await).unwrap();
    assert_eq!(store.len(), 2, "what is done goes first");
    let earlier = JobKey::new("earlier", start);
    let page = store.abandoned(None, 9).await.unwrap();
    assert!(page.is_empty(), "{page:?}");
    for n in [5, 6, 4] {
        let key = JobKey::new("earlier", start + secs(n));
        let fence = granted(store.claim(&key, MIN).await).unwrap();
        let held = store.renew(&key, fence, MIN).await;
        assert!(held.unwrap(), "what was just granted stays");
    }
    assert!(matches!(store.claim(&earlier, MIN).await, Ok(Claim::Done)));
    assert!(store.renew(&key(1), first, MIN).await.unwrap());
    for forgotten in [key(2), key(0)] {
        let claim = store.claim(&forgotten, MIN).await;
        assert!(matches!(claim, Ok(Claim::Done)), "{forgotten}");
    }
    rt.advance(MIN).await;
    let left = store.abandoned(None, 1).await.unwrap();
    assert_eq!(left, [key(1)]);
    assert!(
        store.renew(&key(1), first, MIN).await.unwrap(),
        "nobody took it"
    );
    rt.advance(MIN).await;
    let taken = granted(store.claim(&key(1), MIN).await).unwrap();
    assert!(second < taken);
    assert!(!store.renew(&key(1), first, MIN).await.unwrap());
    assert!(!store.settle(&key(1), first, ClaimEnd::Done).await.unwrap());
}

async fn bad_settings_are_refused(rt: TestRuntime) {
    let store = store(&rt);
    let build = |claims| Scheduler::builder().runtime(&rt).claims(claims).build();
    let lease = Claims::at_least_once(&store).lease(secs(14));
    let error = build(lease).unwrap_err();
    let (lease, timeout) = (secs(14), secs(5));
    assert_eq!(error, SchedulerConfigError::Lease { lease, timeout });
    assert_eq!(
        error.to_string(),
        "claims with a lease of 14s and a timeout of 5s; the timeout must be more than zero, and \
         no more than a third of the lease, which must be at least 3ms"
    );
    assert!(build(Claims::at_most_once(&store).timeout(Duration::ZERO)).is_err());
    assert!(build(Claims::at_most_once(&store).lease(Duration::ZERO)).is_ok());
    let one = instance(&rt, Claims::at_most_once(&store));
    let job = || one.job("job", async |_cx| ());
    for refused in [job().every(SEC), job().cron("@daily").immediately()] {
        let error = refused.start().unwrap_err();
        assert_eq!(error, ScheduleError::NoSharedTime);
    }
    let job = job().cron("@daily").start().unwrap();
    assert_eq!(
        job.update(Every::new(SEC)).unwrap_err(),
        ScheduleError::NoSharedTime
    );
    job.update(Every::new(SEC).aligned()).unwrap();
    let candidate = |name: &'static str, lease| {
        let builder = Candidate::builder(&store, name).lease(lease);
        builder.runtime(&rt).build().map(drop)
    };
    assert_eq!(candidate("", SEC), Err(CandidateConfigError::EmptyName));
    let short = candidate("jobs", ms(2)).unwrap_err();
    assert_eq!(
        short.to_string(),
        "a lease of 2ms cannot be renewed in time; it must be at least 3ms"
    );
    assert!(candidate("jobs", ms(3)).is_ok());
}
