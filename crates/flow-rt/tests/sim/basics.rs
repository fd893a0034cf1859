//! Time, order, idleness, the root.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use flow_rt::sim::{self, Sim};
use flow_rt::{Clock, DefaultClock, Handle, Instant};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn time_jumps_to_the_next_timer_and_never_before() {
    let report = Sim::new(1)
        .run(|rt| async move {
            let start = rt.now();
            let clock = DefaultClock::new();
            rt.sleep(HOUR).await;
            assert_eq!(rt.now() - start, HOUR);
            assert_eq!(clock.now(), rt.now());
            assert_eq!(Handle::current().unwrap().name(), "sim");
            assert!(rt.timeout(HOUR, pending::<()>()).await.is_err());
            rt.now() - start
        })
        .unwrap();
    assert_eq!((report.output, report.elapsed), (HOUR * 2, HOUR * 2));
}

#[test]
fn what_outlives_the_root_is_reported_and_dropped_inside() {
    struct SpawnOnDrop(Sim);
    impl Drop for SpawnOnDrop {
        fn drop(&mut self) {
            assert_eq!(Handle::current().unwrap().name(), "sim");
            self.0.spawn_detached(async {});
        }
    }
    let report = Sim::new(0)
        .run(|rt| async move {
            let guard = SpawnOnDrop(rt.clone());
            let left_over = async move {
                let _guard = guard;
                pending::<()>().await;
            };
            rt.spawn_named("left over", left_over).detach();
            rt.run_until_idle().await;
        })
        .unwrap();
    assert_eq!(report.leaked.len(), 1);
    assert_eq!(report.leaked[0].name.as_deref(), Some("left over"));
}

#[test]
fn the_root_need_not_be_send_and_idle_means_that_all_others_wait() {
    sim::check(0..50, |rt| async move {
        let local = Rc::new(RefCell::new(0));
        let steps = Arc::new(AtomicU32::new(0));
        for _ in 0..10 {
            let (steps, inner) = (steps.clone(), rt.clone());
            rt.spawn_detached(async move {
                steps.fetch_add(1, Ordering::SeqCst);
                inner.sleep(Duration::from_millis(5)).await;
                steps.fetch_add(1, Ordering::SeqCst);
            });
        }
        let before = rt.now();
        rt.run_until_idle().await;
        assert_eq!((steps.load(Ordering::SeqCst), rt.now()), (10, before));
        rt.advance(Duration::from_millis(5)).await;
        assert_eq!(steps.load(Ordering::SeqCst), 20);
        *local.borrow_mut() += 1;
    });
}

#[test]
fn timers_re_arm_and_far_future_is_never() {
    sim::check(0..5, |rt| async move {
        let start = rt.now();
        let mut timer = rt.timer(start + HOUR);
        for later in 1..10_000_u32 {
            timer.arm(start + HOUR + Duration::from_secs(later.into()));
            let pending = poll_fn(|cx| Poll::Ready(timer.poll_fired(cx).is_pending())).await;
            assert!(pending);
        }
        timer.await.unwrap();
        assert_eq!(rt.now(), start + HOUR + Duration::from_secs(9_999));
        let never = rt.sleep_until(Instant::FAR_FUTURE);
        assert!(rt.timeout(HOUR, never).await.is_err());
    });
}

#[test]
fn a_failing_seed_keeps_the_panic_and_an_error_is_named() {
    let panic = std::panic::catch_unwind(|| {
        sim::check(3..5, |rt| async move {
            assert!(rt.live_tasks() > 0, "seen by the caller");
        });
    });
    let panic = panic.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"seen by the caller"));
    let error = std::panic::catch_unwind(|| {
        sim::check(0..1, |_| async { Err::<(), _>("refused") });
    });
    let error = error.unwrap_err();
    assert!(error.downcast_ref::<String>().unwrap().contains("refused"));
}
