//! A timer that is moved while somebody waits for it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use flow_rt::{BoxTimer, Instant, TestRuntime};

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

flow_rt::on_every_runtime! {
    moved_later_then_earlier_it_fires_at_the_last_instant,
    moved_later_many_times_it_fires_at_the_last_instant,
    polled_after_the_instant_it_was_moved_from_it_waits_for_the_new_one,
    moved_but_not_polled_until_its_time_it_has_fired,
    the_waker_of_the_poll_after_the_last_move_is_woken,
    moved_away_for_ever_it_comes_back,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn poll(timer: &mut BoxTimer, woken: &Arc<Woken>) -> bool {
    let waker = Waker::from(woken.clone());
    match timer.poll_fired(&mut Context::from_waker(&waker)) {
        Poll::Ready(fired) => fired.is_ok(),
        Poll::Pending => false,
    }
}

/// Moves it to ever later instants, the last of them `at`, and polls it each time.
fn move_later(timer: &mut BoxTimer, at: Instant, woken: &Arc<Woken>) {
    for back in (0..1_000).rev() {
        timer.arm(at - back * NANO);
        assert!(!poll(timer, woken));
    }
}

async fn fires_at(rt: &TestRuntime, timer: &mut BoxTimer, at: Instant) {
    poll_fn(|cx| Pin::new(&mut *timer).poll(cx)).await.unwrap();
    assert_eq!(rt.now(), at);
}

async fn moved_later_then_earlier_it_fires_at_the_last_instant(rt: TestRuntime) {
    let (start, woken) = (rt.now(), Arc::default());
    let mut timer = rt.timer(start + 10 * SECOND);
    for last in [5, 15, 8] {
        assert!(!poll(&mut timer, &woken));
        move_later(&mut timer, start + 60 * SECOND, &woken);
        timer.arm(start + last * SECOND);
    }
    fires_at(&rt, &mut timer, start + 8 * SECOND).await;
}

async fn moved_later_many_times_it_fires_at_the_last_instant(rt: TestRuntime) {
    let woken = Arc::default();
    let mut timer = rt.sleep(SECOND);
    for _ in 0..3 {
        let at = rt.now() + 10 * SECOND;
        let _ = poll(&mut timer, &woken);
        move_later(&mut timer, at, &woken);
        fires_at(&rt, &mut timer, at).await;
        // Until it is armed anew.
        assert!(poll(&mut timer, &woken));
    }
}

async fn polled_after_the_instant_it_was_moved_from_it_waits_for_the_new_one(rt: TestRuntime) {
    let (start, woken) = (rt.now(), Arc::default());
    let mut timer = rt.timer(start + SECOND);
    assert!(!poll(&mut timer, &woken));
    move_later(&mut timer, start + 10 * SECOND, &woken);
    for _ in 0..9 {
        rt.advance(SECOND).await;
        assert!(!poll(&mut timer, &woken));
    }
    rt.advance(SECOND.saturating_sub(NANO)).await;
    assert!(!poll(&mut timer, &woken));
    let woken_early = woken.times();
    rt.advance(NANO).await;
    // By the registration of the last poll.
    assert_eq!(woken.times(), woken_early + 1);
    assert!(poll(&mut timer, &woken));
}

async fn moved_but_not_polled_until_its_time_it_has_fired(rt: TestRuntime) {
    let (start, woken) = (rt.now(), Arc::default());
    let mut timer = rt.timer(start + SECOND);
    assert!(!poll(&mut timer, &woken));
    move_later(&mut timer, start + 2 * SECOND, &woken);
    timer.arm(start + 3 * SECOND);
    rt.advance(3 * SECOND).await;
    assert!(poll(&mut timer, &woken));
}

async fn the_waker_of_the_poll_after_the_last_move_is_woken(rt: TestRuntime) {
    let (start, before, last) = (rt.now(), Arc::default(), Arc::default());
    let mut timer = rt.timer(start + SECOND);
    assert!(!poll(&mut timer, &before));
    move_later(&mut timer, start + 2 * SECOND, &before);
    assert!(!poll(&mut timer, &last));
    rt.advance(2 * SECOND).await;
    assert_eq!(before.times(), 0);
    assert!(last.times() > 0);
    assert!(poll(&mut timer, &last));
}

async fn moved_away_for_ever_it_comes_back(rt: TestRuntime) {
    let (start, woken) = (rt.now(), Arc::default());
    let mut timer = rt.timer(start + SECOND);
    assert!(!poll(&mut timer, &woken));
    move_later(&mut timer, start + 2 * SECOND, &woken);
    timer.arm(Instant::FAR_FUTURE);
    for _ in 0..3 {
        assert!(!poll(&mut timer, &woken));
        rt.advance(SECOND).await;
    }
    timer.arm(start + 4 * SECOND);
    fires_at(&rt, &mut timer, start + 4 * SECOND).await;
}
