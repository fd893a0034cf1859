//! The edges at which simulations usually go wrong.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;

use flow_rt::sim::{self, Failure, Sim, SimRng};
use flow_rt::{BlockOnError, Handle, Instant};

const HOUR: Duration = Duration::from_secs(3_600);

/// A task that only another thread can wake.
async fn woken_by_a_thread(rt: &Sim) {
    let (tell, told) = mpsc::channel::<Waker>();
    let woken = Arc::new(AtomicBool::new(false));
    let flag = woken.clone();
    let work = move || {
        let waker = told.recv().unwrap();
        flag.store(true, Ordering::SeqCst);
        waker.wake();
    };
    let thread = std::thread::Builder::new()
        .name("reactor".to_owned())
        .spawn(work)
        .unwrap();
    let waiter = poll_fn(move |cx| {
        if woken.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        let _ = tell.send(cx.waker().clone());
        Poll::Pending
    });
    rt.spawn_named("the reader", waiter).await.unwrap();
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
    let failure = refused.unwrap_err();
    let Failure::ForeignWake { thread, task, .. } = &failure else {
        panic!("{failure}");
    };
    assert_eq!(thread.as_deref(), Some("reactor"));
    assert_eq!(task.as_ref().unwrap().name.as_deref(), Some("the reader"));
    assert!(failure.to_string().contains("allow_threads"), "{failure}");
    let allowed = Sim::new(0)
        .allow_threads()
        .run(|rt| async move { woken_by_a_thread(&rt).await });
    assert!(allowed.is_ok(), "{allowed:?}");
}

#[test]
fn threads_that_are_let_in_lose_no_wake() {
    let run = Sim::new(0).allow_threads().run(|rt| async move {
        let mut group = rt.task_group();
        for n in 0..100_u64 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let handle = Handle::clone(&rt);
            let thread = std::thread::spawn(move || {
                let _ = sender.send(n);
                handle.spawn(async move { n })
            });
            group.spawn(async move {
                let sent = receiver.await.unwrap();
                let spawned = thread.join().unwrap();
                sent + spawned.await.unwrap()
            });
        }
        let mut sum = 0;
        while let Some(n) = group.join_next().await {
            sum += n.unwrap();
        }
        sum
    });
    assert_eq!(run.unwrap().output, 9_900);
}

#[test]
fn a_thread_that_sleeps_in_virtual_time_is_waited_for() {
    let run = Sim::new(0).allow_threads().run(|rt| async move {
        for _ in 0..300 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let handle = Handle::clone(&rt);
            let thread = std::thread::spawn(move || {
                // The simulation waits for threads by now, or will soon: nothing else is due.
                flow_rt::block_on(handle.sleep(Duration::from_millis(1)))
                    .unwrap()
                    .unwrap();
                let _ = sender.send(());
            });
            receiver.await.unwrap();
            thread.join().unwrap();
        }
    });
    assert_eq!(run.unwrap().elapsed, Duration::from_millis(300));
}

/// What the clock showed last, and whether it has gone back since.
struct Watch {
    handle: Handle,
    last: Mutex<Instant>,
    went_back: AtomicBool,
}

impl Watch {
    fn look(&self) {
        let mut last = self.last.lock().unwrap();
        let now = self.handle.now();
        if now < *last {
            self.went_back.store(true, Ordering::Relaxed);
        }
        *last = now;
    }
}

impl std::task::Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

#[test]
fn timers_of_other_threads_do_not_turn_the_clock_back() {
    let run = Sim::new(0).run(|rt| async move {
        let watch = Arc::new(Watch {
            handle: Handle::clone(&rt),
            last: Mutex::new(rt.now()),
            went_back: AtomicBool::new(false),
        });
        let is_over = Arc::new(AtomicBool::new(false));
        let (watched, stop) = (watch.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let waker = Waker::from(watched.clone());
            while !stop.load(Ordering::Relaxed) {
                // Armed as the clock moves, some of them are due before the time it moves to.
                let mut timer = watched
                    .handle
                    .timer(watched.handle.now() + Duration::from_nanos(1));
                let _ = timer.poll_fired(&mut std::task::Context::from_waker(&waker));
            }
        });
        for _ in 0..20_000 {
            rt.sleep(Duration::from_millis(1)).await;
            watch.look();
        }
        is_over.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        watch.went_back.load(Ordering::Relaxed)
    });
    let report = run.unwrap();
    assert!(!report.output);
    assert!(report.armed.is_empty(), "{:?}", report.armed);
}

#[test]
fn a_spawn_from_another_thread_is_refused_by_name() {
    let failure = Sim::new(0)
        .run(|rt| async move {
            let handle = Handle::clone(&rt);
            std::thread::spawn(move || handle.spawn_detached(async {}))
                .join()
                .unwrap();
            rt.sleep(HOUR).await;
        })
        .unwrap_err();
    assert!(
        matches!(failure, Failure::ForeignWake { task: None, .. }),
        "{failure}"
    );
}

#[test]
fn nested_simulations_and_block_on_inside_are_errors() {
    let outer = Sim::new(0).run(|rt| async move {
        assert_eq!(flow_rt::block_on(async {}), Err(BlockOnError::InSimulation));
        let inside_job = rt.spawn_blocking(|| flow_rt::block_on(async {}));
        assert_eq!(inside_job.await.unwrap(), Err(BlockOnError::InSimulation));
        Sim::new(1).run(|_| async {}).map(drop)
    });
    let nested = outer.unwrap().output.unwrap_err();
    assert!(matches!(nested, Failure::Nested), "{nested}");
    assert!(
        nested.to_string().contains("one after the other"),
        "{nested}"
    );
    assert!(
        Sim::new(0).run(|_| async {}).is_ok(),
        "the outer one is left cleanly"
    );
}

#[test]
fn a_panic_of_the_root_leaves_the_simulation_too() {
    let text = crate::panic_of(|| {
        let _ = Sim::new(0).run(|rt| async move {
            rt.spawn_detached(pending());
            rt.run_until_idle().await;
            crate::planned_panic("the root's own")
        });
    });
    assert_eq!(text, "the root's own");
    let after = Sim::new(0).run(|rt| async move { rt.live_tasks() });
    assert_eq!(after.unwrap().output, 0);
    assert_eq!(flow_rt::block_on(async { 1 }), Ok(1));
}

#[test]
fn a_real_timer_inside_shows_as_a_deadlock_that_names_who_waits() {
    let failure = Sim::new(0)
        .run(|rt| async move {
            let real = async {
                async_io::Timer::after(HOUR).await;
            };
            rt.spawn_named("the sleeper", real).await
        })
        .unwrap_err();
    let text = failure.to_string();
    assert!(matches!(failure, Failure::Deadlock { .. }), "{text}");
    assert!(
        text.contains("a real timer") && text.contains("the sleeper"),
        "{text}"
    );
    assert!(
        text.contains("Use timers of the simulation's handle (`Handle::sleep`"),
        "{text}"
    );
}

async fn tokio_sleep() {
    #[allow(clippy::disallowed_methods)] // the mistake itself
    tokio::time::sleep(HOUR).await;
}

#[test]
fn a_timer_of_tokio_panics_and_the_report_says_what_to_use() {
    for joined in [false, true] {
        let run = move |rt: Sim| async move {
            let sleeper = rt.spawn_named("the sleeper", tokio_sleep());
            if joined {
                let panic = sleeper.await.unwrap_err();
                assert!(panic.is_panic(), "the joiner's business");
            } else {
                sleeper.detach();
                rt.run_until_idle().await;
            }
        };
        let ran = Sim::new(0).run(run);
        if joined {
            assert!(ran.is_ok(), "{ran:?}");
            continue;
        }
        let failure = ran.unwrap_err();
        let text = failure.to_string();
        assert!(matches!(failure, Failure::TaskPanicked(_)), "{text}");
        assert!(
            text.contains("no reactor running") && text.contains("the sleeper"),
            "{text}"
        );
        assert!(text.contains("use timers of its handle"), "{text}");
    }
}

#[test]
fn a_timer_of_a_tokio_around_the_simulation_shows_as_a_deadlock() {
    let real = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _inside = real.enter();
    let failure = Sim::new(0)
        .run(|rt| async move { rt.spawn_named("the sleeper", tokio_sleep()).await })
        .unwrap_err();
    let text = failure.to_string();
    assert!(matches!(failure, Failure::Deadlock { .. }), "{text}");
    assert!(
        text.contains("the sleeper") && text.contains("Use timers of the simulation's handle"),
        "{text}"
    );
}

#[test]
fn a_task_woken_twice_is_polled_once_and_a_wake_during_its_poll_counts() {
    sim::check(0..50, |rt| async move {
        let polls = Arc::new(AtomicU32::new(0));
        let slot = Arc::new(Mutex::new(None::<Waker>));
        let (counted, kept) = (polls.clone(), slot.clone());
        let task = poll_fn(move |cx| {
            *kept.lock().unwrap() = Some(cx.waker().clone());
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        rt.spawn_detached(task);
        rt.run_until_idle().await;
        assert_eq!(polls.load(Ordering::SeqCst), 2, "woken by itself");
        let waker = slot.lock().unwrap().clone().unwrap();
        for _ in 0..10 {
            waker.wake_by_ref();
        }
        rt.run_until_idle().await;
        assert_eq!(polls.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn a_stale_waker_changes_nothing() {
    let run = |wake_stale: bool| {
        Sim::new(9).run(move |rt| async move {
            let slot = Arc::new(Mutex::new(None::<Waker>));
            let kept = slot.clone();
            let first = rt.spawn(poll_fn(move |cx| {
                *kept.lock().unwrap() = Some(cx.waker().clone());
                Poll::Ready(())
            }));
            first.await.unwrap();
            // These live where the first one did.
            let polls = Arc::new(AtomicU32::new(0));
            for _ in 0..5 {
                let polls = polls.clone();
                rt.spawn_detached(poll_fn(move |_| {
                    polls.fetch_add(1, Ordering::SeqCst);
                    Poll::Pending
                }));
            }
            rt.run_until_idle().await;
            let stale = slot.lock().unwrap().take().unwrap();
            if wake_stale {
                stale.wake();
            }
            rt.run_until_idle().await;
            assert_eq!(polls.load(Ordering::SeqCst), 5);
        })
    };
    assert_eq!(run(true).unwrap().trace, run(false).unwrap().trace);
}

#[test]
fn a_waker_that_outlives_its_run_wakes_nobody_in_the_next() {
    let run = |wake_stale: bool| {
        let kept = Arc::new(Mutex::new(Vec::<Waker>::new()));
        let keep = kept.clone();
        let first = Sim::new(0).run(|rt| async move {
            for _ in 0..3 {
                let keep = keep.clone();
                let ends = rt.spawn(poll_fn(move |cx| {
                    keep.lock().unwrap().push(cx.waker().clone());
                    Poll::Ready(())
                }));
                ends.await.unwrap();
            }
        });
        first.unwrap();
        let stale = core::mem::take(&mut *kept.lock().unwrap());
        Sim::new(1).run(|rt| async move {
            // These live where those of the first run did.
            let polls = Arc::new(AtomicU32::new(0));
            for _ in 0..5 {
                let polls = polls.clone();
                rt.spawn_detached(poll_fn(move |_| {
                    polls.fetch_add(1, Ordering::SeqCst);
                    Poll::Pending
                }));
            }
            rt.run_until_idle().await;
            if wake_stale {
                stale.iter().for_each(Waker::wake_by_ref);
                // Nor is it this run's business if another thread wakes them.
                let wake = move || stale.into_iter().for_each(Waker::wake);
                std::thread::spawn(wake).join().unwrap();
            }
            rt.run_until_idle().await;
            assert_eq!(polls.load(Ordering::SeqCst), 5);
        })
    };
    assert_eq!(run(true).unwrap().trace, run(false).unwrap().trace);
}

#[test]
fn a_task_that_wakes_itself_and_ends_leaves_nothing_in_the_queue() {
    sim::check(0..50, |rt| async move {
        for _ in 0..10 {
            let ends = rt.spawn(poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::Ready(())
            }));
            ends.await.unwrap();
        }
        // In the same slots; polled once, so they end at the second poll only if woken.
        let polls = Arc::new(AtomicU32::new(0));
        for _ in 0..10 {
            let polls = polls.clone();
            rt.spawn_detached(poll_fn(move |_| {
                polls.fetch_add(1, Ordering::SeqCst);
                Poll::Pending
            }));
        }
        rt.run_until_idle().await;
        assert_eq!(polls.load(Ordering::SeqCst), 10);
    });
}

#[test]
fn timers_moved_a_million_times_fire_once_and_when_they_should() {
    let report = Sim::new(0).run(|rt| async move {
        let start = rt.now();
        let mut timers: Vec<_> = (0..10).map(|_| rt.timer(start + HOUR)).collect();
        for round in 0..100_000_u64 {
            for timer in &mut timers {
                timer.arm(start + HOUR + Duration::from_nanos(round));
                let pending = poll_fn(|cx| Poll::Ready(timer.poll_fired(cx).is_pending())).await;
                assert!(pending);
            }
        }
        timers.truncate(1);
        timers.remove(0).await.unwrap();
        assert_eq!(rt.now() - start, HOUR + Duration::from_nanos(99_999));
    });
    assert!(report.unwrap().armed.is_empty());
}

#[test]
#[allow(clippy::async_yields_async)] // the timer itself is handed back
fn a_timer_fires_for_its_last_waker_and_again_after_it_was_moved() {
    sim::check(0..20, |rt| async move {
        let mut timer = rt.timer(rt.now() + HOUR);
        for _ in 0..3 {
            timer = rt
                .spawn(async move {
                    (&mut timer).await.unwrap();
                    (&mut timer).await.unwrap();
                    timer
                })
                .await
                .unwrap();
            timer.arm(rt.now() + HOUR);
        }
        timer.arm(Instant::ORIGIN);
        timer.await.unwrap();
    });
}

#[test]
fn the_generator_is_part_of_what_a_seed_means() {
    let mut rng = SimRng::new(0);
    // The reference values of splitmix64.
    assert_eq!(rng.next_u64(), 0xE220_A839_7B1D_CDAF);
    assert_eq!(rng.next_u64(), 0x6E78_9E6A_A1B9_65F4);
    assert_eq!((rng.below(0), rng.below(1)), (0, 0));
}

#[test]
fn a_timer_that_another_thread_drops_moves_no_clock() {
    let run = |ending: Duration| {
        Sim::new(0).run(move |rt| async move {
            let mut timer = rt.timer(rt.now() + HOUR);
            let first = poll_fn(|cx| Poll::Ready(timer.poll_fired(cx).is_pending())).await;
            assert!(first, "an hour has not passed");
            std::thread::spawn(move || drop(timer)).join().unwrap();
            rt.sleep(ending).await;
        })
    };
    let report = run(2 * HOUR).unwrap();
    assert_eq!(report.elapsed, 2 * HOUR);
    assert_eq!(report.polls, 2, "nobody was woken at the first hour");
    let report = run(HOUR / 2).unwrap();
    assert!(report.armed.is_empty(), "{:?}", report.armed);
}

#[test]
fn a_timer_that_another_thread_polls_first_fires_for_the_last_waker() {
    let report = Sim::new(0).run(|rt| async move {
        let mut timer = rt.timer(rt.now() + HOUR);
        let elsewhere = move || {
            let mut cx = std::task::Context::from_waker(Waker::noop());
            assert!(timer.poll_fired(&mut cx).is_pending());
            timer
        };
        let timer = std::thread::spawn(elsewhere).join().unwrap();
        timer.await.unwrap();
    });
    let report = report.unwrap();
    assert_eq!((report.elapsed, report.polls), (HOUR, 2));
    assert!(report.armed.is_empty(), "{:?}", report.armed);
}

#[test]
fn a_timer_that_only_another_thread_polls_wakes_its_task() {
    let report = Sim::new(0).run(|rt| async move {
        let mut timer = rt.timer(rt.now() + HOUR);
        let mut polled = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            std::thread::scope(|scope| {
                let poll = || {
                    let mut cx = std::task::Context::from_waker(&waker);
                    assert!(timer.poll_fired(&mut cx).is_pending());
                };
                scope.spawn(poll).join().unwrap();
            });
            Poll::Pending
        })
        .await;
    });
    assert_eq!(report.unwrap().elapsed, HOUR);
}
