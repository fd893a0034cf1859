//! A ball between two tasks, over each thing that tasks wait at, in ten thousand orders: one wake-up
//! that is lost, and the run stands still, which the simulation reports.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flow_rt::CancellationToken;
use flow_rt::sim::{Sim, check};
use flow_sync::{Event, JoinCell, PermitWait, Permits, Ring, Turn};

const SEEDS: u64 = 10_000;
const ROUNDS: usize = 3;

/// Two sides, each of which waits for the ball and plays it to the other: so often each. How it is
/// done says the table, the side and the round.
async fn play<W, F, G>(
    rt: Sim,
    table: W,
    wait: fn(Arc<W>, usize, usize) -> F,
    throw: fn(Arc<W>, usize, usize) -> G,
) where
    W: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    let table = Arc::new(table);
    let sides = [1, 0].map(|mine| {
        let table = table.clone();
        rt.spawn(async move {
            for round in 0..ROUNDS {
                wait(table.clone(), mine, round).await;
                // After its own throw of a round, the other side's comes: of the next one for 0.
                throw(table.clone(), 1 - mine, round + mine).await;
            }
        })
    });
    throw(table, 0, 0).await;
    for side in sides {
        side.await.unwrap();
    }
}

#[test]
fn over_an_event() {
    check(0..SEEDS, |rt| {
        play(
            rt,
            (AtomicUsize::new(2), Event::new()),
            |table, mine, _| async move {
                let (turn, changed) = &*table;
                let look = || (turn.load(Ordering::Relaxed) == mine).then_some(());
                changed.wait_until(look).await;
            },
            |table, other, _| async move {
                let (turn, changed) = &*table;
                turn.store(other, Ordering::Relaxed);
                changed.notify_all();
            },
        )
    });
}

#[test]
fn over_permits() {
    check(0..SEEDS, |rt| {
        let none_free = || {
            let permits = Permits::new(9, 9).unwrap();
            permits.try_acquire(9).unwrap();
            permits
        };
        play(
            rt,
            [none_free(), none_free()],
            |table, mine, _| async move {
                let mut wait = PermitWait::borrowed();
                let acquired = poll_fn(|cx| table[mine].poll_wait(cx, 1, &mut wait));
                acquired.await.unwrap();
            },
            |table, other, _| async move { table[other].release(1).unwrap() },
        )
    });
}

#[test]
fn over_a_ring() {
    check(0..SEEDS, |rt| {
        let ring = || Ring::new(1).unwrap();
        play(
            rt,
            [ring(), ring()],
            |table, mine, round| async move {
                let mut turn = Turn::default();
                let ball = poll_fn(|cx| table[mine].poll_pop(cx, &mut turn, false));
                assert_eq!(ball.await, Some(round));
            },
            |table, other, round| async move {
                let (mut turn, mut ball) = (Turn::default(), Some(round));
                let sent = poll_fn(|cx| table[other].poll_push(cx, &mut turn, &mut ball));
                assert!(sent.await.is_ok());
            },
        )
    });
}

/// What happens once: one of each for each side and round; the last throw is one more.
fn each<T>(new: fn() -> T) -> Vec<[T; 2]> {
    (0..=ROUNDS).map(|_| [new(), new()]).collect()
}

#[test]
fn over_join_cells() {
    check(0..SEEDS, |rt| {
        play(
            rt,
            each(JoinCell::new),
            |table, mine, round| async move {
                let ball = poll_fn(|cx| table[round][mine].poll_take(cx)).await;
                assert_eq!(ball, round);
            },
            |table, other, round| async move { table[round][other].complete(round).unwrap() },
        )
    });
}

#[test]
fn over_cancellations() {
    check(0..SEEDS, |rt| {
        play(
            rt,
            each(CancellationToken::new),
            |table, mine, round| async move { table[round][mine].cancelled().await },
            |table, other, round| async move { table[round][other].cancel() },
        )
    });
}

#[test]
fn over_joins() {
    check(0..SEEDS, |rt| async move {
        let mut ball = 0;
        for round in 0..ROUNDS {
            ball = rt.spawn(async move { ball + 1 }).await.unwrap();
            assert_eq!(ball, round + 1);
        }
    });
}
