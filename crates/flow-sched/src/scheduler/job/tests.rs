use std::sync::{Arc, Mutex, OnceLock};

use super::*;
use crate::{Misfire, Overlap, RunOutcome, Scheduler, TriggerNowError};

type Fire = Box<dyn Fn() -> Effects + Send + Sync>;

/// Does not move on, and has another step ask meanwhile.
struct Stuck {
    fire: Arc<OnceLock<Fire>>,
    asked: Arc<Mutex<Vec<Effects>>>,
}

impl Trigger for Stuck {
    fn next(&self, cx: &TriggerContext) -> Option<Due> {
        if let (Some(fire), Ok(mut asked)) = (self.fire.get(), self.asked.try_lock()) {
            asked.push(fire());
        }
        Some(cx.previous().unwrap_or(Due::At(cx.started())))
    }
}

#[test]
fn no_run_is_let_in_after_the_first_that_fails() {
    flow_rt::sim::check(0..1, |rt| async move {
        let built = Scheduler::builder().runtime(&rt).build_with_driver();
        let (scheduler, _driver) = built.unwrap();
        let job = scheduler.job("fails", async |_cx| Err::<(), _>("no luck"));
        let job = job.every(Duration::from_secs(1)).stop_on_error();
        let handle = job.overlap(Overlap::Allow(9)).start().unwrap();
        rt.sleep(Duration::from_secs(1)).await;
        let shared = scheduler.shared();
        let job = shared.find("fails").unwrap();
        let fire = || {
            let look = Look::new(shared.handle.now(), shared.handle.wall());
            job.fire(&shared.running, shared.drawn, false, &look)
        };
        let run = fire().start.unwrap().run;
        rt.sleep(Duration::from_secs(1)).await;
        let report = RunReport {
            run,
            scheduled_at: rt.wall(),
            duration: Duration::ZERO,
            attempts: 1,
            outcome: RunOutcome::Failed("no luck".into()),
        };
        let effects = job.finish(report, &shared.running, rt.now());
        // Before what follows from that.
        assert!(fire().start.is_none());
        assert_eq!(handle.trigger_now().await, Err(TriggerNowError::Ended));
        shared.apply(&job, effects, None);
        assert_eq!(handle.state(), JobState::Ended(EndReason::RunFailed));
        assert_eq!(scheduler.stats().jobs, 0);
    });
}

#[test]
fn a_trigger_that_fails_lets_one_run_in_however_many_ask() {
    flow_rt::sim::check(0..1, |rt| async move {
        let built = Scheduler::builder().runtime(&rt).build_with_driver();
        let (scheduler, _driver) = built.unwrap();
        let (fire, asked) = <(Arc<OnceLock<Fire>>, Arc<Mutex<Vec<_>>>)>::default();
        let trigger = Stuck {
            fire: fire.clone(),
            asked: asked.clone(),
        };
        let job = scheduler.job("stuck", async |_cx| ()).trigger(trigger);
        job.overlap(Overlap::Allow(9)).start().unwrap();
        let shared = scheduler.shared().clone();
        let job = Arc::downgrade(&shared.find("stuck").unwrap());
        let step: Fire = Box::new(move || {
            let look = Look::new(shared.handle.now(), shared.handle.wall());
            let job = job.upgrade().unwrap();
            job.fire(&shared.running, shared.drawn, false, &look)
        });
        let step = fire.get_or_init(|| step);
        let mut steps = vec![step(), step()];
        steps.append(&mut asked.lock().unwrap());
        assert!(steps.len() > 2);
        let started = steps.iter().filter(|step| step.start.is_some());
        assert_eq!(started.count(), 1);
    });
}

#[test]
fn very_many_are_made_up_out_of_the_drivers_way() {
    flow_rt::sim::check(0..1, |rt| async move {
        let built = Scheduler::builder().runtime(&rt).build_with_driver();
        let (scheduler, _driver) = built.unwrap();
        let second = Duration::from_secs(1);
        for (limit, late, elsewhere) in [
            (1_000_000, 100 * second, true),
            // On time, as ever.
            (1_000_000, Duration::ZERO, false),
            (1_000, 100 * second, false),
        ] {
            let within = Duration::MAX;
            let job = scheduler.job("often", async |_cx| ()).every(second);
            let job = job.misfire(Misfire::FireAll { limit, within });
            let handle = job.start().unwrap();
            rt.sleep(second + late).await;
            let shared = scheduler.shared();
            let job = shared.find("often").unwrap();
            let fire = |by_driver| {
                let look = Look::new(shared.handle.now(), shared.handle.wall());
                job.fire(&shared.running, shared.drawn, by_driver, &look)
            };
            let effects = fire(true);
            assert_eq!(effects.elsewhere, elsewhere, "{limit} {late:?}");
            assert_eq!(effects.start.is_none(), elsewhere);
            let asked = if elsewhere { fire(false) } else { effects };
            assert!(asked.start.is_some() && asked.missed == 0);
            drop(handle.remove());
        }
    });
}
