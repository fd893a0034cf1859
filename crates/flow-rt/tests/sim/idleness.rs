//! Waiting until nothing else can run: with any waker, given up, and from other threads.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use flow_rt::sim::{self, Sim};

const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Default)]
struct Woken(AtomicU32);

impl Woken {
    fn times(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn is_pending(future: Pin<&mut impl Future>, waker: &Waker) -> bool {
    future.poll(&mut Context::from_waker(waker)).is_pending()
}

#[test]
fn who_is_polled_by_another_waker_waits_on() {
    sim::check(0..20, |rt| async move {
        let mut idle = pin!(rt.run_until_idle());
        assert!(is_pending(idle.as_mut(), Waker::noop()));
        let ran = Arc::new(AtomicBool::new(false));
        let runs = ran.clone();
        rt.spawn_detached(async move {
            crate::yield_now().await;
            runs.store(true, Ordering::SeqCst);
        });
        idle.await;
        assert!(ran.load(Ordering::SeqCst));
    });
}

#[test]
fn the_waker_of_the_last_poll_is_woken_and_no_other() {
    sim::check(0..5, |rt| async move {
        let wakers = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let mut idle = pin!(rt.run_until_idle());
        for woken in &wakers {
            let waker = Waker::from(woken.clone());
            // The second time by the same one.
            assert!(is_pending(idle.as_mut(), &waker) && is_pending(idle.as_mut(), &waker));
        }
        rt.sleep(HOUR).await;
        assert_eq!([wakers[0].times(), wakers[1].times()], [0, 1]);
        assert!(!is_pending(idle.as_mut(), Waker::noop()));
    });
}

#[test]
fn who_gives_up_is_not_waited_for() {
    let report = Sim::new(0).run(|rt| async move {
        let given_up = Arc::new(Woken::default());
        let waker = Waker::from(given_up.clone());
        {
            let idle = pin!(rt.run_until_idle());
            assert!(is_pending(idle, &waker));
        }
        assert_eq!(Arc::strong_count(&given_up), 2, "the list has let go of it");
        rt.sleep(HOUR).await;
        rt.run_until_idle().await;
        given_up.times()
    });
    assert_eq!(report.unwrap().output, 0);
}

#[test]
fn a_thread_may_wait_for_idleness() {
    let run = Sim::new(0).allow_threads().run(|rt| async move {
        for _ in 0..300 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let inner = rt.clone();
            // The simulation waits for threads by now, or will soon.
            let thread = thread::spawn(move || {
                flow_rt::block_on(inner.run_until_idle()).unwrap();
                flow_rt::block_on(inner.advance(Duration::from_millis(1))).unwrap();
                let _ = sender.send(());
            });
            receiver.await.unwrap();
            thread.join().unwrap();
        }
    });
    assert_eq!(run.unwrap().elapsed, Duration::from_millis(300));
}

#[test]
fn threads_that_wait_hear_of_the_end() {
    let (tell, told) = mpsc::channel();
    let threads = Sim::new(0).run(|rt| async move {
        let (idle, asleep) = (rt.clone(), rt.clone());
        let threads = [
            waits(
                move || Box::pin(async move { idle.run_until_idle().await }),
                &tell,
            ),
            waits(
                move || Box::pin(async move { asleep.sleep(HOUR).await }),
                &tell,
            ),
        ];
        // Both have come to wait by then.
        assert!(told.iter().take(2).all(|pending| pending));
        threads
    });
    for thread in threads.unwrap().output {
        thread.join().unwrap();
    }
}

#[test]
fn who_comes_after_the_end_is_not_kept_waiting() {
    let rt = Sim::new(0).run(|rt| async move { rt }).unwrap().output;
    assert_eq!(flow_rt::block_on(rt.run_until_idle()), Ok(()));
    assert_eq!(flow_rt::block_on(rt.sleep(HOUR)), Ok(()));
    assert_eq!(flow_rt::block_on(rt.advance(HOUR)), Ok(()));
}

/// A thread that waits for what it makes, and tells when it has begun to.
fn waits<F, Fut>(make: F, tell: &mpsc::Sender<bool>) -> thread::JoinHandle<()>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Unpin,
{
    let tell = tell.clone();
    thread::spawn(move || {
        let mut waiting = make();
        let mut told = false;
        let wait = std::future::poll_fn(move |cx| {
            let polled = Pin::new(&mut waiting).poll(cx);
            if !std::mem::replace(&mut told, true) {
                tell.send(polled.is_pending()).unwrap();
            }
            polled
        });
        flow_rt::block_on(wait).unwrap();
    })
}
