//! Foreign threads, panics, aborts, late wakers, and hosts that shut down.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use flow_rt::{Handle, JoinError, SteppedRuntime, Stopped, block_on};
use futures_util::FutureExt;

use crate::hosts::{SECOND, on_every_host, tokio_current_thread, tokio_multi_thread};
use crate::keeping_host::KeepingHost;

on_every_host! {
    a_foreign_wake_counts_when_it_comes,
    wakes_from_many_threads_are_not_lost,
    a_wake_inside_the_poll_is_polled_before_settle,
    a_panic_leaves_nothing_counted,
    an_abort_leaves_nothing_counted,
    wakers_outlive_their_tasks,
    a_long_burst_is_not_cut_short,
    timers_end_when_nobody_can_move_time,
}

/// A task that waits to be woken by hand: its waker, and how often it was polled.
#[derive(Clone, Default)]
struct Woken {
    waker: Arc<Mutex<Option<Waker>>>,
    polls: Arc<AtomicUsize>,
}

impl Woken {
    async fn for_ever(self) {
        poll_fn(|cx| {
            self.polls.fetch_add(1, Ordering::AcqRel);
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        })
        .await;
    }

    fn waker(&self) -> Waker {
        self.waker.lock().unwrap().clone().unwrap()
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::Acquire)
    }
}

async fn a_foreign_wake_counts_when_it_comes(rt: SteppedRuntime) {
    let woken = Woken::default();
    rt.spawn_detached(woken.clone().for_ever());
    rt.settle().await;
    for polls in 1..20 {
        assert_eq!(woken.polls(), polls);
        let waker = woken.waker();
        thread::spawn(move || waker.wake()).join().unwrap();
        rt.settle().await;
    }
    // Many wakes before the poll are one.
    let waker = woken.waker();
    let before = woken.polls();
    let quiet = rt.spawn_blocking(move || {
        for _ in 0..100 {
            waker.wake_by_ref();
        }
    });
    quiet.await.unwrap();
    rt.settle().await;
    assert!(woken.polls() > before && woken.polls() <= before + 100);
}

async fn wakes_from_many_threads_are_not_lost(rt: SteppedRuntime) {
    let woken = Woken::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let sent = Arc::new(AtomicUsize::new(0));
    let (task, see, send) = (woken.clone(), seen.clone(), sent.clone());
    rt.spawn_detached(async move {
        poll_fn(|cx| {
            *task.waker.lock().unwrap() = Some(cx.waker().clone());
            see.store(send.load(Ordering::Relaxed), Ordering::Relaxed);
            Poll::<()>::Pending
        })
        .await;
    });
    rt.settle().await;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (waker, sent) = (woken.waker(), sent.clone());
            thread::spawn(move || {
                for _ in 0..500 {
                    sent.fetch_add(1, Ordering::Relaxed);
                    waker.wake_by_ref();
                }
            })
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        rt.advance(SECOND).await;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    rt.settle().await;
    assert_eq!(seen.load(Ordering::Relaxed), 2_000);
}

async fn a_wake_inside_the_poll_is_polled_before_settle(rt: SteppedRuntime) {
    let polls = Arc::new(AtomicUsize::new(0));
    let count = polls.clone();
    rt.spawn_detached(poll_fn(move |cx| {
        if count.fetch_add(1, Ordering::AcqRel) < 99 {
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }));
    rt.settle().await;
    assert_eq!(polls.load(Ordering::Acquire), 100);
}

async fn a_panic_leaves_nothing_counted(rt: SteppedRuntime) {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("planned"));
        }
    }
    for _ in 0..20 {
        rt.spawn_detached(async { std::panic::resume_unwind(Box::new("planned")) });
        let joined = rt.spawn(async { std::panic::resume_unwind(Box::new("planned")) });
        let joined: flow_rt::JoinHandle<()> = joined;
        let job = rt.spawn_blocking(|| std::panic::resume_unwind(Box::new("planned")));
        let job: flow_rt::JoinHandle<()> = job;
        let bomb = rt.spawn(async {
            let _bomb = PanicsOnDrop;
            pending::<()>().await;
        });
        rt.settle().await;
        assert!(joined.await.unwrap_err().is_panic());
        assert!(job.await.unwrap_err().is_panic());
        bomb.abort();
        rt.advance(SECOND).await;
        assert!(bomb.is_finished());
        assert_eq!(rt.live_tasks(), 0);
    }
}

async fn an_abort_leaves_nothing_counted(rt: SteppedRuntime) {
    for _ in 0..20 {
        let parked = rt.spawn(rt.sleep(SECOND * 10));
        rt.settle().await;
        let unpolled = rt.spawn(pending::<()>());
        parked.abort();
        unpolled.abort();
        let job = rt.spawn_blocking(|| ());
        job.abort();
        rt.advance(SECOND).await;
        assert!(parked.is_finished() && unpolled.is_finished() && job.is_finished());
        assert_eq!(rt.live_tasks(), 0);
        let _ = job.await;
    }
}

async fn wakers_outlive_their_tasks(rt: SteppedRuntime) {
    let woken = Woken::default();
    let task = rt.spawn(woken.clone().for_ever());
    rt.settle().await;
    let waker = woken.waker();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let polls = woken.polls();
    for _ in 0..10 {
        waker.wake_by_ref();
        rt.settle().await;
        rt.advance(SECOND).await;
    }
    let clone = waker.clone();
    thread::spawn(move || clone.wake()).join().unwrap();
    rt.settle().await;
    assert_eq!(woken.polls(), polls);
    drop(rt);
    waker.wake();
}

async fn a_long_burst_is_not_cut_short(rt: SteppedRuntime) {
    for _ in 0..20 {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let received = Arc::new(AtomicUsize::new(0));
        let count = received.clone();
        rt.spawn_detached(async move {
            while receiver.recv().await.is_some() {
                count.fetch_add(1, Ordering::AcqRel);
            }
        });
        for n in 0..10_000 {
            sender.send(n).unwrap();
        }
        rt.settle().await;
        assert_eq!(received.load(Ordering::Acquire), 10_000);
    }
}

async fn timers_end_when_nobody_can_move_time(rt: SteppedRuntime) {
    let handle = Handle::clone(&rt);
    let asleep = handle.spawn(handle.sleep(SECOND));
    let for_ever = handle.spawn(handle.sleep(std::time::Duration::MAX));
    let mut due = handle.sleep(std::time::Duration::ZERO);
    rt.settle().await;
    let second = rt.clone();
    drop(rt);
    assert!(!asleep.is_finished());
    second.settle().await;
    drop(second);
    assert_eq!(asleep.await.unwrap(), Err(Stopped::new()));
    assert_eq!(for_ever.await.unwrap(), Err(Stopped::new()));
    assert_eq!((&mut due).await, Ok(()));
    due.arm(handle.now() + SECOND);
    assert_eq!(due.await, Err(Stopped::new()));
    // Tasks are the host's and run on.
    assert_eq!(handle.spawn(async { 7 }).await.unwrap(), 7);
}

#[test]
fn a_host_that_shuts_down_settles() {
    for _ in 0..10 {
        let (tokio, rt) = tokio_multi_thread();
        let (started, running) = mpsc::channel();
        let busy = rt.spawn(async move {
            started.send(()).unwrap();
            loop {
                // Never waits for anything.
                let mut yielded = false;
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    if std::mem::replace(&mut yielded, true) {
                        return Poll::Ready(());
                    }
                    Poll::Pending
                })
                .await;
            }
        });
        let asleep = rt.spawn(rt.sleep(SECOND));
        running.recv().unwrap();
        let settling = thread::spawn({
            let rt = rt.clone();
            move || block_on(rt.settle())
        });
        let advancing = thread::spawn({
            let rt = rt.clone();
            move || block_on(rt.advance(SECOND))
        });
        drop(tokio);
        settling.join().unwrap().unwrap();
        advancing.join().unwrap().unwrap();
        let busy: Result<(), JoinError> = block_on(busy).unwrap();
        assert!(busy.unwrap_err().is_cancelled());
        assert!(block_on(asleep).unwrap().unwrap_err().is_cancelled());

        // Afterwards too: nothing starts, nothing counts, time moves on.
        let late = rt.spawn(async {});
        let job = rt.spawn_blocking(|| ());
        block_on(rt.advance(SECOND)).unwrap();
        assert!(block_on(late).unwrap().unwrap_err().is_cancelled());
        let _ = block_on(job).unwrap();
        assert_eq!(rt.live_tasks(), 0);
        block_on(rt.run(rt.sleep(SECOND))).unwrap().unwrap();
    }
}

#[test]
fn a_host_that_is_dropped_unstarted_settles() {
    let (tokio, rt) = tokio_current_thread();
    let unpolled = rt.spawn(async {});
    let job = rt.spawn_blocking(|| ());
    assert!(rt.settle().now_or_never().is_none());
    drop(tokio);
    block_on(rt.settle()).unwrap();
    assert!(block_on(unpolled).unwrap().unwrap_err().is_cancelled());
    let _ = block_on(job).unwrap();
}

/// A primitive that blocks a thread asks before it sleeps for real time.
#[test]
fn only_a_stepped_handle_is_stepped() {
    let (tokio, rt) = tokio_current_thread();
    assert!(rt.is_stepped());
    assert!(!Handle::tokio(tokio.handle().clone()).unwrap().is_stepped());
    assert!(!Handle::smol().is_stepped());
}

#[test]
fn a_plain_thread_may_wait_for_time() {
    let (_tokio, rt) = tokio_multi_thread();
    let handle = Handle::clone(&rt);
    let waiting = thread::spawn(move || {
        block_on(handle.sleep(SECOND)).unwrap().unwrap();
        handle.now()
    });
    // Time moves by itself, and the thread is no task that it could wait for.
    let end = block_on(rt.run(async {
        while !waiting.is_finished() {
            rt.sleep(SECOND).await.unwrap();
        }
        waiting.join().unwrap()
    }));
    assert!(end.unwrap() - rt.now() == std::time::Duration::ZERO);
}

#[test]
fn a_run_waits_for_a_timer_that_a_plain_thread_arms() {
    let (_tokio, rt) = tokio_multi_thread();
    let (done, is_done) = tokio::sync::oneshot::channel();
    let handle = Handle::clone(&rt);
    let go = Arc::new(AtomicBool::new(false));
    let waiting = thread::spawn({
        let go = go.clone();
        move || {
            while !go.load(Ordering::Acquire) {
                thread::yield_now();
            }
            block_on(handle.sleep(SECOND)).unwrap().unwrap();
            done.send(()).unwrap();
        }
    });
    block_on(rt.run(async move {
        go.store(true, Ordering::Release);
        is_done.await.unwrap();
    }))
    .unwrap();
    waiting.join().unwrap();
}

#[test]
fn a_poll_that_nobody_asked_for_polls_nothing() {
    let host = Arc::new(KeepingHost::default());
    let rt = SteppedRuntime::over(&Handle::from_arc(host.clone()));
    assert_eq!(rt.name(), "stepped");
    let woken = Woken::default();
    rt.spawn_detached(woken.clone().for_ever());
    assert!(rt.settle().now_or_never().is_none());
    let mut task = host.0.lock().unwrap().pop().unwrap();
    let mut poll = || Pin::new(&mut task).poll_unpin(&mut Context::from_waker(Waker::noop()));
    for _ in 0..3 {
        assert!(poll().is_pending());
        assert_eq!(woken.polls(), 1);
        assert!(rt.settle().now_or_never().is_some());
    }
    woken.waker().wake();
    assert!(rt.settle().now_or_never().is_none());
    assert!(poll().is_pending());
    assert_eq!(woken.polls(), 2);
    woken.waker().wake();
    drop(task);
    assert!(rt.settle().now_or_never().is_some());
    assert_eq!(rt.live_tasks(), 0);

    let refused = rt.spawn_blocking(|| ());
    assert!(rt.settle().now_or_never().is_some());
    assert!(refused.now_or_never().unwrap().unwrap_err().is_cancelled());
}

#[test]
fn who_waits_for_the_others_is_not_woken_in_vain() {
    struct Wakes(AtomicUsize);
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    let host = Arc::new(KeepingHost::default());
    let rt = SteppedRuntime::over(&Handle::from_arc(host.clone()));
    rt.spawn_detached(pending());
    let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    let mut waits = std::pin::pin!(futures_util::future::join3(
        rt.settle(),
        rt.advance(SECOND),
        rt.run(rt.sleep(SECOND)),
    ));
    // The first polls arm timers, which who moves time has to hear of.
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    let before = wakes.0.load(Ordering::Acquire);
    for _ in 0..10 {
        assert!(waits.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(wakes.0.load(Ordering::Acquire), before);
    drop(host.0.lock().unwrap().pop());
    assert!(wakes.0.load(Ordering::Acquire) > before);
    block_on(waits).unwrap().2.unwrap();
}

#[test]
fn tasks_keep_their_names_and_places() {
    let host = Arc::new(KeepingHost::default());
    let rt = SteppedRuntime::over(&Handle::from_arc(host.clone()));
    rt.spawn_named("cleaner", async {}).detach();
    let task = host.0.lock().unwrap().pop().unwrap();
    assert_eq!(task.name(), Some("cleaner"));
    assert!(task.spawned_at().file().ends_with("edges.rs"));
}
