//! Wakers that panic: those of whoever listens, and of whatever polls the driver.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use flow_rt::{TestRuntime, sim};
use flow_sched::{EndReason, JobEvents, JobNewsKind, JobState, Scheduler};
use futures_util::Stream;
use futures_util::future::join;

use crate::common::{Log, SEC, ms, noting, scheduler, slow};

flow_rt::on_every_runtime! {
    seeds 0..20;
    a_listener_whose_waker_panics_costs_nobody_an_event,
}

struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics");
    }
}

fn rude() -> Waker {
    Waker::from(Arc::new(Rude))
}

/// Listens until there is nothing more, and leaves a waker that panics.
fn listens(events: &mut JobEvents) {
    let waker = rude();
    let mut cx = Context::from_waker(&waker);
    while Pin::new(&mut *events).poll_next(&mut cx).is_ready() {}
}

async fn a_listener_whose_waker_panics_costs_nobody_an_event(rt: TestRuntime) {
    let scheduler = scheduler(&rt);
    let log = Log::new(&rt);
    let some = NonZeroUsize::new(16).unwrap();
    let (mut first, mut second) = (scheduler.events(some), scheduler.events(some));
    listens(&mut first);
    let job = slow(&scheduler, "slow", &log, SEC).after(SEC);
    let job = job.start().unwrap();
    for _ in 0..3 {
        listens(&mut first);
        rt.advance(ms(900)).await;
    }
    assert_eq!(job.state(), JobState::Ended(EndReason::Finished));
    let runs = scheduler.stats().runs;
    assert_eq!((runs.started, runs.completed, runs.dropped), (1, 1, 0));
    let heard: Vec<_> = std::iter::from_fn(|| second.try_next())
        .map(|news| news.kind)
        .collect();
    let report = job.last().unwrap();
    assert_eq!(
        heard,
        [
            JobNewsKind::Scheduled,
            JobNewsKind::RunBegins(1),
            JobNewsKind::RunEnded(report),
            JobNewsKind::Ended(EndReason::Finished),
        ]
    );
    listens(&mut first);
    scheduler.shutdown(SEC).await;
    assert_eq!(second.next().await, None);
}

#[test]
fn a_driver_whose_waker_panics_takes_jobs_in_all_the_same() {
    sim::check(0..3, |rt| async move {
        let builder = Scheduler::builder().runtime(&rt);
        let (scheduler, driver) = builder.build_with_driver().unwrap();
        let log = Log::new(&rt.clone().into());
        let mut driver = Box::pin(driver);
        let waker = rude();
        let mut cx = Context::from_waker(&waker);
        assert!(driver.as_mut().poll(&mut cx).is_pending());
        let job = noting(&scheduler, "job", &log).after(SEC).start().unwrap();
        assert!(driver.as_mut().poll(&mut cx).is_pending());
        assert!(scheduler.stop());
        assert!(driver.as_mut().poll(&mut cx).is_pending());
        assert!(scheduler.start());
        let looks = async {
            rt.sleep(2 * SEC).await;
            assert_eq!(job.stats().runs.completed, 1);
            scheduler.close();
        };
        join(driver, looks).await;
    });
}
