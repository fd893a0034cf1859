//! Calls through a circuit breaker on every runtime, in virtual time.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flow_ratelimit::{BreakerState, CallError, CallRejected, CircuitBreaker};
use flow_rt::{Backoff, Handle, TestRuntime};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    seeds 0..50;
    a_service_goes_down_and_comes_back,
    a_cancelled_call_is_ignored_and_its_place_free,
    a_call_that_runs_into_a_timeout_fails_if_told_so,
    many_tasks_never_make_more_trials_than_allowed,
    slow_answers_open_it,
    it_stands_in_front_of_retries,
}

#[derive(Debug, PartialEq)]
struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for Down {}

/// Opens for a second once two of four calls have failed.
fn breaker(trials: u32, dropped_fails: bool) -> CircuitBreaker {
    let breaker = CircuitBreaker::builder()
        .window(4)
        .minimum_calls(2)
        .open_for(SECOND)
        .trial_calls(trials)
        .dropped_fails(dropped_fails)
        .slow_call(200 * MS, 0.5);
    breaker.build().expect("valid")
}

async fn a_service_goes_down_and_comes_back(rt: TestRuntime) {
    let breaker = breaker(1, false);
    let ask = async |is_up: bool| {
        let handle: &Handle = &rt;
        let answer = breaker.call(async || {
            handle.sleep(10 * MS).await.expect("time goes on");
            if is_up { Ok(7) } else { Err(Down) }
        });
        answer.await
    };
    assert_eq!(ask(true).await, Ok(7));
    assert_eq!(ask(false).await, Err(CallError::Inner(Down)));
    let open = ask(true).await.expect_err("one of two");
    assert_eq!(open.retry_after(), Some(SECOND));
    rt.sleep(SECOND).await.expect("time goes on");
    assert_eq!(ask(false).await, Err(CallError::Inner(Down)));
    assert_eq!(breaker.state(), BreakerState::Open);
    rt.sleep(SECOND).await.expect("time goes on");
    assert_eq!(ask(true).await, Ok(7));
    assert_eq!(breaker.state(), BreakerState::Closed);
    rt.settle().await;
    assert_eq!(rt.live_tasks(), 0, "a breaker runs nothing");
}

async fn a_cancelled_call_is_ignored_and_its_place_free(rt: TestRuntime) {
    let breaker = breaker(1, false);
    breaker.open();
    rt.sleep(SECOND).await.expect("time goes on");
    let trial = rt.spawn({
        let (breaker, rt) = (breaker.clone(), rt.clone());
        async move {
            breaker
                .call(async || {
                    rt.sleep(SECOND).await.expect("time goes on");
                    Ok::<_, Down>(())
                })
                .await
        }
    });
    rt.settle().await;
    let full = breaker.try_acquire().map(drop);
    assert_eq!(full, Err(CallRejected::TrialsRunning));
    trial.abort();
    let _ = trial.await;
    assert_eq!(breaker.stats().ignored, 1);
    assert_eq!(breaker.call(async || Ok::<_, Down>(7)).await, Ok(7));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

async fn a_call_that_runs_into_a_timeout_fails_if_told_so(rt: TestRuntime) {
    let breaker = breaker(1, true);
    for _ in 0..2 {
        let hangs = breaker.call(async || {
            rt.sleep(60 * SECOND).await.expect("time goes on");
            Ok::<_, Down>(())
        });
        assert!(rt.timeout(100 * MS, hangs).await.is_err());
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.stats().failed, 2);
}

async fn many_tasks_never_make_more_trials_than_allowed(rt: TestRuntime) {
    let breaker = breaker(3, false);
    breaker.open();
    rt.sleep(SECOND).await.expect("time goes on");
    let under_way = Arc::new(AtomicU32::new(0));
    let made = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (breaker, rt) = (breaker.clone(), rt.clone());
            let (under_way, made) = (under_way.clone(), made.clone());
            let runtime = rt.clone();
            runtime.spawn(async move {
                let call = breaker.call(async || {
                    made.fetch_add(1, Ordering::SeqCst);
                    assert!(under_way.fetch_add(1, Ordering::SeqCst) < 3);
                    rt.sleep(10 * MS).await.expect("time goes on");
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, Down>(())
                });
                call.await
            })
        })
        .collect();
    let mut rejected = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.rejected(), Some(CallRejected::TrialsRunning));
                rejected += 1;
            }
        }
    }
    assert_eq!((made.load(Ordering::SeqCst), rejected), (3, 17));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

async fn slow_answers_open_it(rt: TestRuntime) {
    let breaker = breaker(1, false);
    for took in [199, 200] {
        let answer = breaker.call(async || {
            rt.sleep(took * MS).await.expect("time goes on");
            Ok::<_, Down>(took)
        });
        assert_eq!(answer.await, Ok(took));
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.stats().slow, 1);
}

async fn it_stands_in_front_of_retries(rt: TestRuntime) {
    let breaker = breaker(1, false);
    let asked = AtomicU32::new(0);
    // A rejected call is retried too: by the fourth run the breaker lets a trial through.
    let plan = Backoff::constant(400 * MS).attempts(6);
    let answer = rt.retry(plan, async || {
        let call = breaker.call(async || {
            if asked.fetch_add(1, Ordering::SeqCst) < 2 {
                Err(Down)
            } else {
                Ok(7)
            }
        });
        call.await
    });
    assert_eq!(answer.await, Ok(7));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(breaker.stats().rejected, 2);
    assert_eq!(breaker.state(), BreakerState::Closed);
}
