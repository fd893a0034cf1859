//! Moving time: one mover at a time, from timer to timer, whenever nothing else can go on.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flow_sync::Event;

use super::task::Counted;
use super::world::{NEVER, World};
use crate::ambient;
use crate::instant::Instant;
use crate::panics;

/// Runs `root` counted, and moves time to the next timer whenever nothing can go on without.
pub(super) async fn run<F: Future>(world: &Arc<World>, root: F) -> F::Output {
    let root = pin!(Counted::new(world, root));
    let mover = pin!(async {
        let _seated = world.seat.take().await;
        move_time(world, NEVER).await;
        // Never is never reached.
        core::future::pending().await
    });
    first_of(root, mover).await
}

/// Lets time come to `target`, with everything that comes due up to it and follows from that.
pub(super) async fn advance_to(world: &Arc<World>, target: Instant) {
    let target = target.as_nanos().min(LAST);
    {
        // Whoever moves time, this ends when it has come to the target.
        let arrival = world.handle().sleep_until(Instant::from_nanos(target));
        let arrival = pin!(async {
            // Fails only when nobody is left who could move time.
            let _ = arrival.await;
        });
        let mover = pin!(async {
            let _seated = world.seat.take().await;
            move_time(world, target).await;
        });
        first_of(arrival, mover).await;
    }
    world.busy.settled().await;
}

/// Moves time up to `until`, from timer to timer.
async fn move_time(world: &World, until: u64) {
    let quiet = world.busy.quiet();
    loop {
        match quiet.wait_until(|| step(world, until)).await {
            Step::Moved => {}
            Step::Arrived => return,
        }
    }
}

enum Step {
    /// To a timer's instant, and what was due has been woken.
    Moved,
    /// To the end; nothing is due up to there.
    Arrived,
}

/// Moves time to the next instant at which something is due; `None` if it must stand.
fn step(world: &World, until: u64) -> Option<Step> {
    let mut due = Vec::new();
    let firing = {
        let mut alarms = world.alarms.lock();
        if !world.busy.is_quiet(ambient::counted_depth(world.id())) {
            return None;
        }
        let next = alarms.timers.next_due().filter(|next| *next <= until);
        let to = match next {
            Some(NEVER) => return None,
            Some(next) => next,
            None if until == NEVER => return None,
            None => until,
        };
        // Another advance may have gone further.
        if to > world.time.now() {
            world.time.set(to);
        }
        if next.is_none() {
            return Some(Step::Arrived);
        }
        let firing = world.busy.hold();
        while let Some((_, waker)) = alarms.timers.pop_due(to) {
            due.push(waker);
        }
        firing
    };
    for waker in due {
        panics::contain(|| waker.wake());
    }
    drop(firing);
    Some(Step::Moved)
}

/// The seat of the one who moves time.
#[derive(Default)]
pub(super) struct Seat {
    taken: AtomicBool,
    free: Event,
}

impl Seat {
    async fn take(&self) -> Seated<'_> {
        let look = || (!self.taken.swap(true, Ordering::AcqRel)).then_some(());
        self.free.wait_until(look).await;
        Seated(self)
    }
}

struct Seated<'a>(&'a Seat);

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
        self.0.free.notify_one();
    }
}

/// The result of the first of two futures that has one; the other is left as it is.
async fn first_of<T>(
    mut one: Pin<&mut impl Future<Output = T>>,
    mut other: Pin<&mut impl Future<Output = T>>,
) -> T {
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Pending => other.as_mut().poll(cx),
        ready @ Poll::Ready(_) => ready,
    })
    .await
}

/// The last instant that time can come to.
const LAST: u64 = NEVER - 1;
