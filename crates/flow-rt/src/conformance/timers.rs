//! Cases about timers. Lower bounds only: how late a timer fires is the host's affair.

use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use super::lab::{Lab, Verdict, ensure, poll_once};
use super::tools::{Rng, counting_waker, flag_waker};
use crate::handle::Handle;
use crate::instant::Instant;
use crate::timer::BoxTimer;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// So often one timer is moved, on whatever machine: a simulation does the same each time.
const MOVES: usize = 1_000_000;
/// So many timers are dropped long before their time.
const DROPS: usize = 100_000;
/// So many wakers a runtime may keep of either: one that sweeps away what it no longer needs, a
/// thousand or some ten thousand at a time, keeps fewer, and one that never does keeps more.
const KEPT: usize = 65_536;

pub(super) async fn timers_are_never_early(lab: Lab) -> Verdict {
    let spawn = |seed| {
        let rt = Handle::clone(&lab);
        lab.spawn(async move {
            let mut rng = Rng(seed);
            let (mut earliest, mut latest) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..4 {
                let mut at = rt.now() + Duration::from_micros(rng.below(20_000));
                let mut timer = rt.timer(at);
                if rng.below(2) == 0 {
                    let _ = poll_once(&mut timer).await;
                    at = rt.now() + Duration::from_micros(rng.below(20_000));
                    timer.arm(at);
                }
                let fired = timer.await;
                let now = rt.now();
                earliest = earliest.max(at - now);
                latest = latest.max(now - at);
                fired?;
            }
            Ok::<_, crate::Stopped>((earliest, latest))
        })
    };
    let tasks: Vec<_> = (0..250).map(spawn).collect();
    let mut earliest = Duration::ZERO;
    for task in tasks {
        let fired = lab.join("each of 1 000 timers to fire", task).await?;
        let (early, late) = fired.map_err(|why| format!("a timer failed: {why}"))?;
        earliest = earliest.max(early);
        lab.late(late);
    }
    ensure!(
        earliest.is_zero(),
        "of 1 000 timers the worst fired {earliest:?} early"
    );
    Ok(())
}

pub(super) async fn timer_fires_at_once_when_due(lab: Lab) -> Verdict {
    let now = lab.now();
    for at in [now, now - MS, now - HOUR, Instant::ORIGIN] {
        lab.fired("a timer for now or the past", lab.timer(at))
            .await?;
    }
    lab.fired("a sleep of zero", lab.sleep(Duration::ZERO))
        .await?;

    let mut timer = lab.timer(now + HOUR);
    let _ = poll_once(&mut timer).await;
    timer.arm(Instant::ORIGIN);
    lab.fired("a pending timer moved into the past", timer)
        .await
}

pub(super) async fn timer_never_fires_at_far_future(lab: Lab) -> Verdict {
    let nearly_never = Instant::from_nanos(u64::MAX - 1);
    let mut moved_away = lab.sleep(3 * MS);
    let _ = poll_once(&mut moved_away).await;
    moved_away.arm(Instant::FAR_FUTURE);
    let mut timers = [
        lab.timer(Instant::FAR_FUTURE),
        lab.timer(nearly_never),
        lab.sleep(Duration::MAX),
        moved_away,
    ];
    for timer in &mut timers {
        let fired = poll_once(timer).await;
        ensure!(
            fired.is_pending(),
            "a timer for the end of time said {fired:?} at once"
        );
    }
    lab.fired(
        "a sleep beside timers for the end of time",
        lab.sleep(6 * MS),
    )
    .await?;
    for mut timer in timers {
        let fired = poll_once(&mut timer).await;
        ensure!(
            fired.is_pending(),
            "a timer for the end of time said {fired:?} after 6 ms"
        );
        fires_at(
            &lab,
            &mut timer,
            lab.now() + MS,
            "a timer moved back from the end of time",
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn timer_rearms_later(lab: Lab) -> Verdict {
    for _ in 0..10 {
        let mut timer = lab.sleep(2 * MS);
        let _ = poll_once(&mut timer).await;
        fires_at(&lab, &mut timer, lab.now() + 12 * MS, "a timer moved later").await?;
    }
    Ok(())
}

/// A runtime may leave a timer where it is that is moved again and again, as long as the last move
/// counts in the end.
pub(super) async fn timer_rearms_later_often(lab: Lab) -> Verdict {
    for _ in 0..3 {
        let mut timer = lab.sleep(2 * MS);
        let (_, another) = counting_waker();
        let mut cx = Context::from_waker(&another);
        let _ = timer.poll_fired(&mut cx);
        let mut at = lab.now();
        for moves in 0..300 {
            at = lab.now() + 8 * MS + Duration::from_micros(100 * moves);
            timer.arm(at);
            let _ = timer.poll_fired(&mut cx);
        }
        let what = "a timer moved later again and again";
        lab.fired(what, &mut timer).await?;
        let now = lab.now();
        ensure!(now >= at, "{what} fired {:?} early", at - now);
    }
    Ok(())
}

pub(super) async fn timer_rearms_earlier(lab: Lab) -> Verdict {
    for _ in 0..10 {
        let mut timer = lab.sleep(HOUR);
        let _ = poll_once(&mut timer).await;
        fires_at(
            &lab,
            &mut timer,
            lab.now() + 2 * MS,
            "a timer moved from an hour to 2 ms",
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn timer_rearms_after_firing(lab: Lab) -> Verdict {
    let mut timer = lab.sleep(MS);
    for _ in 0..10 {
        fires_at(
            &lab,
            &mut timer,
            lab.now() + MS,
            "a timer armed again after it fired",
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn timer_rearms_unpolled(lab: Lab) -> Verdict {
    let mut timer = lab.sleep(HOUR);
    for step in 0..100 {
        timer.arm(lab.now() + HOUR * (100 - step));
    }
    fires_at(
        &lab,
        &mut timer,
        lab.now() + MS,
        "a timer moved often before its first poll",
    )
    .await?;

    let mut timer = lab.sleep(MS);
    timer.arm(Instant::FAR_FUTURE);
    fires_at(
        &lab,
        &mut timer,
        lab.now() + 4 * MS,
        "a timer moved later before its first poll",
    )
    .await
}

pub(super) async fn timer_stays_fired(lab: Lab) -> Verdict {
    let mut timer = lab.sleep(MS);
    lab.fired("a timer of 1 ms", &mut timer).await?;
    for _ in 0..3 {
        let again = poll_once(&mut timer).await;
        ensure!(
            again.is_ready(),
            "a timer that had fired was pending when polled again"
        );
    }
    timer.arm(lab.now() + HOUR);
    let armed = poll_once(&mut timer).await;
    ensure!(
        armed.is_pending(),
        "a timer armed anew for an hour said {armed:?}"
    );
    Ok(())
}

/// Few enough that a runtime whose timers cannot be moved, which makes one for each move, is done in
/// a moment.
pub(super) async fn timer_survives_many_rearms(lab: Lab) -> Verdict {
    let mut timer = lab.sleep(HOUR);
    let (wakes, waker) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    let at = lab.now() + HOUR;
    for moves in 1..=MOVES {
        if moves % 10_000 == 1 {
            lab.step("a million moves of one timer");
        }
        timer.arm(at + Duration::from_micros(moves as u64));
        let moved = timer.poll_fired(&mut cx);
        ensure!(
            moved.is_pending(),
            "move {moves}, to an hour from now, said {moved:?}"
        );
        // With ours.
        let kept = Arc::strong_count(&wakes);
        ensure!(
            kept <= KEPT,
            "after {moves} moves of one timer its runtime keeps {kept} wakers, of {KEPT} allowed"
        );
    }
    fires_at(
        &lab,
        &mut timer,
        lab.now() + MS,
        "a timer moved a million times",
    )
    .await
}

pub(super) async fn dropped_timer_wakes_nobody(lab: Lab) -> Verdict {
    let mut proved = 0;
    for _ in 0..20 {
        let (wakes, waker) = counting_waker();
        let at = lab.now() + 5 * MS;
        let mut timer = lab.timer(at);
        let _ = timer.poll_fired(&mut Context::from_waker(&waker));
        drop(timer);
        // Only a drop that was surely before the time proves anything.
        if lab.now() + MS < at {
            lab.fired("a sleep beside a dropped timer", lab.timer(at + MS))
                .await?;
            let wakes = wakes.get();
            ensure!(
                wakes == 0,
                "a timer dropped before its time woke its waker {wakes} times"
            );
            proved += 1;
        }
        if proved == 3 {
            return Ok(());
        }
    }
    // A machine so slow that 20 drops all came late proves nothing against the runtime.
    Ok(())
}

pub(super) async fn dropped_timers_are_let_go(lab: Lab) -> Verdict {
    let (wakes, waker) = counting_waker();
    let mut cx = Context::from_waker(&waker);
    for drops in 1..=DROPS {
        if drops % 10_000 == 1 {
            lab.step("a hundred thousand timers dropped an hour early");
        }
        let mut timer = lab.sleep(HOUR);
        let armed = timer.poll_fired(&mut cx);
        ensure!(
            armed.is_pending(),
            "a timer for an hour from now said {armed:?}"
        );
        drop(timer);
        // With ours.
        let kept = Arc::strong_count(&wakes);
        ensure!(
            kept <= KEPT,
            "after {drops} timers were dropped their runtime keeps {kept} wakers, of {KEPT} allowed"
        );
    }
    let wakes = wakes.get();
    ensure!(
        wakes == 0,
        "{DROPS} timers dropped before their time woke their waker {wakes} times"
    );
    Ok(())
}

/// Longer and longer, so that even a slow machine polls the last ones twice in time.
pub(super) async fn last_waker_wins(lab: Lab) -> Verdict {
    for ms in [3, 6, 12, 24, 48] {
        let mut timer = lab.sleep(ms * MS);
        let (_, stale) = counting_waker();
        let _ = timer.poll_fired(&mut Context::from_waker(&stale));
        let (woken, last) = flag_waker();
        if timer
            .poll_fired(&mut Context::from_waker(&last))
            .is_pending()
        {
            lab.step("the waker of a timer's last poll to be woken");
            woken.wait().await;
        }
        let fired = timer.poll_fired(&mut Context::from_waker(&last));
        ensure!(
            fired.is_ready(),
            "a timer woke its waker, and was pending when polled then"
        );
    }
    Ok(())
}

pub(super) fn timer_moves_between_threads(lab: &Lab) -> Verdict {
    let at = lab.now() + 8 * MS;
    let mut timer = lab.timer(at);
    let _ = lab.block_on("a first poll on the case's thread", poll_once(&mut timer))?;
    let in_a_task = lab.spawn(async move {
        let _ = poll_once(&mut timer).await;
        // In a tuple: the timer itself is a future too, and is not to be awaited here.
        (timer,)
    });
    let (timer,) = lab
        .block_on("a task that polls a timer made elsewhere", in_a_task)?
        .map_err(|why| format!("a task that polled a timer made elsewhere: {why}"))?;
    lab.step("a timer to fire on a thread that did not make it");
    let awaited = std::thread::spawn(move || crate::block_on(timer));
    let fired = awaited
        .join()
        .map_err(|_| "awaiting a timer on a plain thread panicked".to_owned())?;
    ensure!(
        fired == Ok(Ok(())),
        "a timer on its third thread said {fired:?}"
    );
    ensure!(lab.now() >= at, "a timer on its third thread fired early");
    Ok(())
}

pub(super) fn timer_works_outside_the_runtime(lab: &Lab) -> Verdict {
    let rt = Handle::clone(lab);
    lab.step("a timer to fire on a plain thread");
    let plain = std::thread::spawn(move || {
        let mut timer = rt.sleep(HOUR);
        let _ = crate::block_on(poll_once(&mut timer));
        let at = rt.now() + 2 * MS;
        timer.arm(at);
        let fired = crate::block_on(&mut timer);
        let early = rt.now() < at;
        timer.arm(rt.now() + HOUR);
        let _ = crate::block_on(poll_once(&mut timer));
        (fired, early, timer)
    });
    let (fired, early, timer) = plain
        .join()
        .map_err(|_| "a timer on a plain thread panicked".to_owned())?;
    drop(timer);
    ensure!(
        fired == Ok(Ok(())),
        "a timer on a plain thread said {fired:?}"
    );
    ensure!(!early, "a timer on a plain thread fired early");
    Ok(())
}

pub(super) async fn equal_deadlines_all_fire(lab: Lab) -> Verdict {
    for ms in [4, 16, 64, 256] {
        let at = lab.now() + ms * MS;
        let wait = |_| {
            let (woken, waker) = flag_waker();
            let mut timer = lab.timer(at);
            let fired = timer.poll_fired(&mut Context::from_waker(&waker));
            (timer, fired.is_ready(), woken)
        };
        let timers: Vec<_> = (0..200).map(wait).collect();
        // They prove most if all were armed in time: else once more, with more time.
        let in_time = lab.now() < at;
        for (mut timer, ready, woken) in timers {
            lab.step("each of 200 timers for one instant");
            if !ready {
                woken.wait().await;
            }
            lab.fired("each of 200 timers for one instant", &mut timer)
                .await?;
        }
        if in_time {
            break;
        }
    }
    Ok(())
}

pub(super) async fn timers_fire_in_order(lab: Lab) -> Verdict {
    let start = lab.now();
    // Made and polled in mixed order, 3 ms apart. Those that have fired are taken out.
    let mut timers: [Option<BoxTimer>; 8] = Default::default();
    for place in [3, 0, 7, 5, 1, 6, 2, 4_u32] {
        let mut timer = lab.timer(start + MS * (3 * (place + 1)));
        let _ = poll_once(&mut timer).await;
        timers[place as usize] = Some(timer);
    }
    lab.step("each of eight timers 3 ms apart");
    poll_fn(|cx| {
        for place in 0..timers.len() {
            if !has_fired(&mut timers[place], cx)? {
                continue;
            }
            // The earlier ones are asked again after it, whatever they have said before.
            for (earlier, timer) in timers[..place].iter_mut().enumerate() {
                if !has_fired(timer, cx)? {
                    return Poll::Ready(Err(format!(
                        "timer {place} had fired, and timer {earlier}, due {} ms before it, was \
                         pending",
                        3 * (place - earlier)
                    )));
                }
            }
        }
        if timers.iter().all(Option::is_none) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Whether this timer has fired, now or before.
fn has_fired(timer: &mut Option<BoxTimer>, cx: &mut Context<'_>) -> Verdict<bool> {
    let Some(pending) = timer else {
        return Ok(true);
    };
    let fired = match pending.poll_fired(cx) {
        Poll::Pending => return Ok(false),
        Poll::Ready(fired) => fired,
    };
    *timer = None;
    fired
        .map(|()| true)
        .map_err(|why| format!("one of timers 3 ms apart: {why}"))
}

/// Arms the timer and waits: it must fire, and not before `at`.
async fn fires_at(lab: &Lab, timer: &mut BoxTimer, at: Instant, what: &'static str) -> Verdict {
    timer.arm(at);
    lab.fired(what, &mut *timer).await?;
    let now = lab.now();
    ensure!(now >= at, "{what} fired {:?} early", at - now);
    Ok(())
}
