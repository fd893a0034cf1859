//! One seed is one run: all that a scheduler draws, and the order in which it does things.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::sim::{Sim, Stall, Step};
use flow_rt::{Backoff, TestRuntime};
use flow_sched::{
    Candidate, Claims, Jitter, JobContext, MemoryStore, Misfire, Overlap, RandomInterval,
    Scheduler, WorkerPool,
};
use futures_util::future::BoxFuture;

use crate::common::{HOUR, MIN, SEC, ms, secs};

/// What happened, and when.
type Story = Arc<Mutex<Vec<(Duration, String)>>>;

fn told(rt: &Sim, story: &Story, of: &'static str) -> flow_sched::SchedulerBuilder {
    let (start, rt_too, story) = (rt.now(), rt.clone(), story.clone());
    Scheduler::builder().name(of).on_event(move |event| {
        let at = rt_too.now() - start;
        let line = format!("{of} {} {:?}", event.job, event.kind);
        story.lock().unwrap().push((at, line));
    })
}

/// Takes some time, and fails now and then.
fn body(
    rt: &Sim,
    most: u64,
) -> impl Fn(JobContext) -> BoxFuture<'static, Result<(), &'static str>> + Send + Sync + 'static {
    let (rt, draws) = (rt.clone(), Mutex::new(rt.rng()));
    move |_cx| {
        let (takes, fails) = {
            let mut draws = draws.lock().unwrap();
            (ms(draws.below(most)), draws.below(4) == 0)
        };
        let rt = rt.clone();
        Box::pin(async move {
            rt.sleep(takes).await;
            if fails { Err("no") } else { Ok(()) }
        })
    }
}

/// Forty jobs of all kinds.
fn start_many(pooled: &Scheduler, rt: &Sim) {
    for n in 0..40_u64 {
        let policies = [
            Overlap::Skip,
            Overlap::BufferOne,
            Overlap::BufferAll(3),
            Overlap::CancelPrevious,
            Overlap::TerminatePrevious,
            Overlap::Allow(2),
        ];
        let job = pooled.job(format!("job {n}"), body(rt, 60_000));
        let job = match n % 4 {
            0 => job.every(secs(10 + n)).jitter(Jitter::equal(secs(5))),
            1 => job.trigger(RandomInterval::new(SEC..=MIN)),
            2 => job.cron("*/2 * * * *").jitter(Jitter::stable(SEC)),
            _ => job.fixed_delay(secs(5)).misfire(Misfire::Skip),
        };
        let backoff = Backoff::exponential(ms(100)).attempts(3);
        let job = job.retry(backoff).timeout(secs(40));
        let job = job.overlap(policies[n as usize % policies.len()]);
        job.start().unwrap();
    }
}

/// A bit of everything that draws lots, hashes, waits in lines and is woken together.
async fn much(rt: Sim) -> Vec<(Duration, String)> {
    let story = Story::default();
    let pool = WorkerPool::builder()
        .runtime(&rt)
        .slots(2)
        .queue(4)
        .build()
        .unwrap();
    let pooled = told(&rt, &story, "pooled").pool(&pool).build().unwrap();
    let store = {
        let rt = TestRuntime::from(rt.clone());
        let _entered = rt.enter();
        MemoryStore::new()
    };
    let instances: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|of| {
            let candidate = Candidate::builder(&store, "led")
                .runtime(&rt)
                .build()
                .unwrap();
            let builder = told(&rt, &story, of).runtime(&rt);
            let claims = Claims::at_least_once(&store).lease(secs(30));
            let shared = builder.claims(claims).build().unwrap();
            let led = told(&rt, &story, "led").runtime(&rt);
            (shared, led.elector(&candidate).build().unwrap())
        })
        .collect();
    for (n, scheduler) in instances
        .iter()
        .flat_map(|(one, two)| [one, two])
        .enumerate()
    {
        let job = scheduler.job("hourly", body(&rt, 90_000)).cron("0 * * * *");
        job.jitter(Jitter::full(MIN)).start().unwrap();
        let job = scheduler
            .job("often", body(&rt, 400))
            .every(secs(7 + n as u64));
        job.local()
            .overlap(Overlap::CancelPrevious)
            .start()
            .unwrap();
    }
    start_many(&pooled, &rt);
    let mut rng = rt.rng();
    for _ in 0..40 {
        rt.sleep(ms(rng.below(60_000))).await;
        match rng.below(8) {
            0 => rt.step_wall(HOUR, Step::Forward),
            1 => rt.step_wall(4 * HOUR, Step::Backward),
            2 => rt.suspend(HOUR),
            3 => drop(pooled.remove(&format!("job {}", rng.below(40)))),
            _ => {}
        }
    }
    let report = pooled.shutdown(secs(20)).await;
    story
        .lock()
        .unwrap()
        .push((rt.now() - rt.now(), report.to_string()));
    for (one, two) in instances {
        one.shutdown(secs(20)).await;
        two.shutdown(secs(20)).await;
    }
    story.lock().unwrap().clone()
}

#[test]
fn one_seed_is_one_run() {
    let sim = |seed| {
        let stall = Stall::new(30, ms(1)..=secs(10)).of("flow scheduler");
        Sim::new(seed).stall(stall)
    };
    let run = |seed| {
        let run = sim(seed).run_twice(much);
        run.unwrap_or_else(|failure| panic!("{failure}")).output
    };
    let first = run(1);
    assert!(first.len() > 1_000, "{}", first.len());
    // What users see is the same, too, and another seed draws other lots.
    assert!(sim(1).run(much).unwrap().output == first);
    assert!(run(2) != first);
}
