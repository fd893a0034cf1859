//! The test is one of the tasks, and time moves by itself: the same suite as in the simulation.

use std::time::Duration;

use flow_rt::{Clock, DefaultClock, Handle, SteppedRuntime, TestRuntime, block_on};
use futures_util::StreamExt;
use tokio::sync::Barrier;

use crate::hosts::{Log, SECOND};

flow_rt::on_every_runtime! {
    seeds 0..50;
    time_moves_when_nothing_can_go_on,
    an_hour_of_tasks_ends_at_exact_instants,
    advance_stops_where_it_is_told,
    settle_comes_before_any_move,
    a_case_may_fail_with_an_error,
    primitives_made_inside_obey_it,
}

flow_rt::on_every_runtime! {
    hosts only;
    time_stands_while_a_thread_is_waited_for,
}

async fn time_moves_when_nothing_can_go_on(rt: TestRuntime) {
    let start = rt.now();
    rt.sleep(SECOND).await.unwrap();
    assert_eq!(rt.now() - start, SECOND);
    let late = rt.timeout(SECOND, std::future::pending::<()>()).await;
    assert!(late.is_err());
    assert_eq!(rt.now() - start, SECOND * 2);
    let ticks = rt.interval(SECOND).unwrap().take(3).count().await;
    assert_eq!((ticks, rt.now() - start), (3, SECOND * 5));
}

async fn time_stands_while_a_thread_is_waited_for(rt: TestRuntime) {
    assert!(rt.as_sim().is_none());
    let start = rt.now();
    let answered = flow_rt::CancellationToken::new();
    let answer = answered.clone();
    let outside = std::thread::spawn(move || answer.cancel());
    answered.cancelled().await;
    outside.join().unwrap();
    assert_eq!(rt.now(), start);
    rt.sleep(SECOND).await.unwrap();
    assert_eq!(rt.now() - start, SECOND);
}

async fn an_hour_of_tasks_ends_at_exact_instants(rt: TestRuntime) {
    let start = rt.now();
    let mut group = rt.task_group();
    for n in 0..60 {
        let handle = Handle::clone(&rt);
        group.spawn(async move {
            for _ in 0..60 {
                handle.sleep(SECOND).await.unwrap();
            }
            handle.sleep(Duration::from_millis(n)).await.unwrap();
            (handle.now(), n)
        });
    }
    let mut ended = 0;
    while let Some(result) = group.join_next().await {
        let (at, n) = result.unwrap();
        assert_eq!(at - start, SECOND * 60 + Duration::from_millis(n));
        // One ends per millisecond, and each is seen before the next.
        assert_eq!((n, rt.now()), (ended, at));
        ended += 1;
    }
    rt.settle().await;
    assert_eq!((ended, rt.live_tasks()), (60, 0));
}

async fn advance_stops_where_it_is_told(rt: TestRuntime) {
    let start = rt.now();
    let far = rt.spawn(rt.sleep(SECOND * 100));
    let log = Log::new(&rt);
    for second in [1, 2, 3] {
        let (log, handle) = (log.clone(), Handle::clone(&rt));
        rt.spawn_detached(async move {
            handle.sleep(SECOND * second).await.unwrap();
            log.note(handle.now(), "alarm");
        });
    }
    rt.advance(SECOND * 2).await;
    assert_eq!(rt.now() - start, SECOND * 2);
    assert_eq!(log.take(), [(1, "alarm"), (2, "alarm")]);
    rt.advance(Duration::ZERO).await;
    assert_eq!(rt.now() - start, SECOND * 2);
    assert!(!far.is_finished());
    far.await.unwrap().unwrap();
    assert_eq!(rt.now() - start, SECOND * 100);
    rt.advance(SECOND * 86_400 * 365).await;
    assert_eq!(rt.now() - start, SECOND * (100 + 86_400 * 365));
}

async fn settle_comes_before_any_move(rt: TestRuntime) {
    let start = rt.now();
    for _ in 0..20 {
        let armed = rt.spawn(rt.sleep(SECOND));
        let chain: Vec<_> = (0..5)
            .map(|_| {
                let handle = Handle::clone(&rt);
                rt.spawn(async move { handle.spawn(async {}).await.unwrap() })
            })
            .collect();
        rt.settle().await;
        assert!(chain.iter().all(flow_rt::JoinHandle::is_finished));
        assert!(!armed.is_finished());
        assert_eq!(rt.now(), start);
        armed.abort();
    }
}

async fn a_case_may_fail_with_an_error(rt: TestRuntime) -> Result<(), flow_rt::JoinError> {
    rt.spawn(async {}).await
}

async fn primitives_made_inside_obey_it(rt: TestRuntime) {
    let clock = DefaultClock::new();
    assert_eq!(clock.now(), rt.now());
    assert_eq!(Handle::current().unwrap().id(), rt.id());
    rt.sleep(SECOND).await.unwrap();
    assert_eq!(clock.now(), rt.now());
    let inside = rt.spawn(async { Handle::current().unwrap().id() });
    assert_eq!(inside.await.unwrap(), rt.id());
}

fn planned_panic() {
    std::panic::resume_unwind(Box::new("planned"));
}

/// The message of a panic that a failing case ends with.
fn failure(run: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

#[test]
fn a_failing_case_fails_its_test() {
    let error = failure(|| {
        flow_rt::suite::on("a_case", &Handle::smol(), |_| async {
            Err::<(), _>("no luck")
        });
    });
    assert!(error.contains("no luck"), "{error}");
    let panic = failure(|| {
        flow_rt::suite::on("a_case", &Handle::smol(), |rt| async move {
            rt.sleep(SECOND).await.unwrap();
            planned_panic();
        });
    });
    assert_eq!(panic, "planned");
    // Inside our own `block_on` it is refused, and says so.
    let refused =
        block_on(async { failure(|| flow_rt::suite::on("a_case", &Handle::smol(), |_| async {})) });
    assert!(refused.unwrap().contains("block_on"));
}

#[test]
fn runs_may_be_nested_and_side_by_side() {
    let rt = SteppedRuntime::over(&Handle::smol());
    let (start, both) = (rt.now(), Barrier::new(2));
    let root = |n: u32| {
        let (rt, both) = (rt.clone(), &both);
        async move {
            // Else the first would move time before the second begins.
            both.wait().await;
            rt.sleep(SECOND * n).await.unwrap();
            let (inner, inside) = (rt.clone(), rt.clone());
            let inner = inner.run(async move {
                inside.sleep(SECOND).await.unwrap();
                inside.now()
            });
            assert_eq!(inner.await - start, SECOND * (n + 1));
            rt.advance(SECOND).await;
            rt.now() - start
        }
    };
    let joined = futures_util::future::join(rt.run(root(1)), rt.run(root(5)));
    assert_eq!(block_on(joined).unwrap(), (SECOND * 3, SECOND * 7));
}

#[test]
fn a_root_need_not_be_send_and_its_panic_goes_through() {
    let rt = SteppedRuntime::over(&Handle::smol());
    let local = std::rc::Rc::new(5);
    let got = block_on(rt.run(async {
        rt.sleep(SECOND).await.unwrap();
        *local
    }));
    assert_eq!(got.unwrap(), 5);
    let panicked = failure(|| {
        block_on(rt.run(async { planned_panic() })).unwrap();
    });
    assert_eq!(panicked, "planned");
    // It is counted no more.
    block_on(rt.settle()).unwrap();
}
