//! Virtual time: what the simulation promises.
#![cfg(all(feature = "sim", not(loom)))]

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;

use flow_rt::sim::{self, Failure, Order, Sim, Step};
use flow_rt::{BlockOnError, Clock, DefaultClock, Handle, Instant};

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

fn order_of_six(seed: u64, order: Order) -> (Vec<u32>, u64) {
    let report = Sim::new(seed)
        .order(order)
        .run(|rt| async move {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let mut group = rt.task_group();
            for n in 0..6 {
                let seen = seen.clone();
                group.spawn(async move { seen.lock().unwrap().push(n) });
            }
            while group.join_next().await.is_some() {}
            seen.lock().unwrap().clone()
        })
        .unwrap();
    (report.output, report.trace)
}

#[test]
fn a_seed_is_one_interleaving_and_seeds_reach_different_ones() {
    let mut orders = HashSet::new();
    for seed in 0..1_000 {
        let run = order_of_six(seed, Order::Random);
        assert_eq!(order_of_six(seed, Order::Random), run);
        orders.insert(run.0);
    }
    assert!(orders.len() >= 500, "{} of 720 orders", orders.len());
    assert_eq!(order_of_six(7, Order::Fifo).0, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_deadlock_is_reported_with_names_and_places() {
    let failure = Sim::new(0)
        .run(|rt| async move {
            rt.spawn_named("the stuck one", pending::<()>()).detach();
            pending::<()>().await;
        })
        .unwrap_err();
    let text = failure.to_string();
    assert!(matches!(failure, Failure::Deadlock { .. }), "{text}");
    assert!(
        text.contains("the stuck one") && text.contains("sim.rs"),
        "{text}"
    );
}

#[test]
fn a_livelock_is_reported_with_the_busiest_task() {
    let spin = poll_fn::<(), _>(|cx| {
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    let failure = Sim::new(0)
        .livelock_polls(10_000)
        .run(|rt| async move { rt.spawn_named("spinner", spin).await })
        .unwrap_err();
    match failure {
        Failure::Livelock { busiest, .. } => {
            assert_eq!(busiest[0].name.as_deref(), Some("spinner"));
        }
        other => panic!("{other}"),
    }
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
fn the_wall_clock_steps_and_suspends_while_monotonic_time_does_not() {
    sim::check(0..1, |rt| async move {
        let (wall, now) = (rt.wall(), rt.now());
        rt.step_wall(HOUR, Step::Backward);
        assert_eq!(rt.wall(), wall - HOUR);
        rt.suspend(HOUR * 8);
        assert_eq!((rt.wall(), rt.now()), (wall + HOUR * 7, now));
        rt.sleep(HOUR).await;
        assert_eq!(rt.wall(), wall + HOUR * 8);
    });
}

/// A task that only another thread can wake.
async fn woken_by_a_thread(rt: &Sim) {
    let (tell, told) = mpsc::channel::<Waker>();
    let woken = Arc::new(AtomicBool::new(false));
    let flag = woken.clone();
    let thread = std::thread::spawn(move || {
        let waker = told.recv().unwrap();
        flag.store(true, Ordering::SeqCst);
        waker.wake();
    });
    let waiter = poll_fn(move |cx| {
        if woken.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        let _ = tell.send(cx.waker().clone());
        Poll::Pending
    });
    rt.spawn(waiter).await.unwrap();
    thread.join().unwrap();
}

#[test]
fn a_wake_from_another_thread_fails_the_run_unless_allowed() {
    let refused = Sim::new(0).run(|rt| async move {
        let inner = rt.clone();
        // Timers keep the run from ending as a deadlock before the thread gets to run.
        rt.spawn_detached(async move {
            loop {
                std::thread::yield_now();
                inner.sleep(Duration::from_millis(1)).await;
            }
        });
        woken_by_a_thread(&rt).await;
    });
    assert!(matches!(refused, Err(Failure::ForeignWake)), "{refused:?}");
    let allowed = Sim::new(0)
        .allow_threads()
        .run(|rt| async move { woken_by_a_thread(&rt).await });
    assert!(allowed.is_ok(), "{allowed:?}");
}

#[test]
fn simulations_do_not_nest_and_block_on_inside_is_an_error() {
    let outer = Sim::new(0).run(|_| async {
        assert_eq!(flow_rt::block_on(async {}), Err(BlockOnError::InSimulation));
        Sim::new(1).run(|_| async {}).map(drop)
    });
    assert!(matches!(outer.unwrap().output, Err(Failure::Nested)));
    assert!(
        Sim::new(0).run(|_| async {}).is_ok(),
        "the outer one is left cleanly"
    );
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
