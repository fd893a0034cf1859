//! When a connection has stood still for too long, in virtual time.

use std::pin::pin;

use flow_rt::sim;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// The seconds after which a connection like this ends, under a limit of 30 s and with a look
/// every 7.5 s.
fn ends_after<Fut>(connection: impl Fn(Handle, Arc<Progress>) -> Fut, seconds: f64)
where
    Fut: Future<Output = ()>,
{
    sim::check(0..10, |rt| {
        let progress = Progress::new(&rt);
        let begun = rt.now();
        let handle: Handle = (*rt).clone();
        let connection = Box::pin(connection(handle.clone(), progress.clone()));
        let watched = Watched::new(connection, progress, LIMIT);
        async move {
            watched.await;
            assert_eq!(handle.now() - begun, Duration::from_secs_f64(seconds));
        }
    });
}

#[test]
fn a_client_that_does_not_ask_has_the_limit() {
    ends_after(|_, _| std::future::pending(), 30.0);
}

#[test]
fn the_time_runs_anew_from_each_answer() {
    let connection = async |rt: Handle, progress: Arc<Progress>| {
        for _ in 0..5 {
            rt.sleep(SECOND * 20).await.unwrap();
            progress.asked();
            progress.answered();
        }
        std::future::pending::<()>().await;
    };
    ends_after(connection, 135.0);
}

#[test]
fn what_the_gateway_itself_takes_counts_for_nothing() {
    let connection = async |rt: Handle, progress: Arc<Progress>| {
        progress.asked();
        rt.sleep(SECOND * 100).await.unwrap();
        progress.answered();
        std::future::pending::<()>().await;
    };
    ends_after(connection, 135.0);
}

#[test]
fn an_upstream_has_the_limit_and_the_connection_goes_on() {
    let connection = async |rt: Handle, progress: Arc<Progress>| {
        rt.sleep(SECOND * 10).await.unwrap();
        for _ in 0..2 {
            let asked = rt.now();
            progress.asked();
            let answer = progress.upstream(pin!(std::future::pending::<()>())).await;
            assert!(matches!(answer, Err(Overdue)));
            let took = rt.now() - asked;
            assert!((LIMIT..=LIMIT + LIMIT / LOOKS).contains(&took), "{took:?}");
            progress.answered();
        }
    };
    ends_after(connection, 82.5);
}

#[test]
fn an_upstream_that_is_still_given_something_is_not_overdue() {
    let connection = async |rt: Handle, progress: Arc<Progress>| {
        progress.asked();
        let (upload, sleeper) = (progress.clone(), rt.clone());
        rt.spawn_detached(async move {
            for _ in 0..5 {
                sleeper.sleep(SECOND * 20).await.unwrap();
                upload.moved();
            }
        });
        let answer = progress.upstream(pin!(rt.sleep(SECOND * 120))).await;
        assert!(answer.is_ok());
    };
    ends_after(connection, 120.0);
}

#[test]
fn an_answer_in_time_is_passed_on() {
    let connection = async |rt: Handle, progress: Arc<Progress>| {
        progress.asked();
        let answer = async {
            rt.sleep(SECOND * 29).await.unwrap();
            7
        };
        assert_eq!(progress.upstream(pin!(answer)).await.unwrap(), 7);
    };
    ends_after(connection, 29.0);
}
