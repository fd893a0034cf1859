//! Models of the worker pool: the real pool, each of its slots a thread of the model.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p flow-sched --release --features loom --test loom_pool`
//!
//! The queue of a pool that has a bound and one priority is flow-sync's, the real one. The others
//! have a stand-in (`src/sync.rs`), because crossbeam's is invisible to loom; it orders less than the
//! real one. A wake-up, a place or a task that is lost shows as a deadlock, which
//! loom reports. Two preemptions, or one, instead of three where a third thread or a second slot
//! would make the model run for minutes.
#![cfg(loom)]

mod loom_common;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use flow_rt::OnFull;
use flow_sched::{Slots, TaskError, TaskHandle, WorkerPool};
use flow_sync::JoinCell;
use flow_sync::model::explore;
use flow_sync::sync::atomic::AtomicBool;
use loom::future::block_on;
use loom::thread;
use loom_common::Threads;

/// Longer than the model's time, which stands still.
const LONG: Duration = Duration::from_secs(3_600);

fn pool(host: &Threads, slots: impl Into<Slots>, queue: usize) -> WorkerPool {
    let builder = WorkerPool::builder().runtime(&host.handle());
    let builder = builder.slots(slots).queue(queue).idle_timeout(LONG);
    builder.build().unwrap()
}

/// Closes the pool, and expects its slots to leave and its counters to agree.
fn end(host: &Threads, pool: &WorkerPool) {
    pool.close();
    host.join();
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.running, stats.slots), (0, 0, 0));
}

fn submit(pool: &WorkerPool, value: u32) -> TaskHandle<u32> {
    pool.try_submit(async move |_| value).unwrap()
}

/// Waits for room, and then for the task; false if it was refused.
fn run(pool: &WorkerPool) -> bool {
    match block_on(pool.submit(async |_| 7)) {
        Ok(task) => {
            assert_eq!(block_on(task).unwrap(), 7);
            true
        }
        Err(refused) => {
            assert!(refused.is_closed());
            false
        }
    }
}

#[test]
fn a_push_meets_a_slot_that_falls_asleep() {
    explore("pool: push || the slot falls asleep", 3, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        assert_eq!(block_on(submit(&pool, 1)).unwrap(), 1);
        // The place is free, for the slot gave it back before it ran the first task.
        assert_eq!(block_on(submit(&pool, 2)).unwrap(), 2);
        end(&host, &pool);
    });
}

/// A slot that was woken as it looked once more is woken again the next time.
#[test]
fn three_pushes_meet_a_slot_that_falls_asleep() {
    explore("pool: three pushes || the slot falls asleep", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        for value in 0..3 {
            assert_eq!(block_on(submit(&pool, value)).unwrap(), value);
        }
        end(&host, &pool);
    });
}

/// The first task waits for the second one, so both slots must come.
#[test]
fn two_tasks_get_two_slots() {
    explore("pool: push, push || a slot comes || another", 1, || {
        let host = Threads::default();
        let pool = pool(&host, 2, 2);
        let signal = Arc::new(JoinCell::new());
        let heard = signal.clone();
        let first = pool
            .try_submit(async move |_| poll_fn(|cx| heard.poll_take(cx)).await)
            .unwrap();
        let second = pool
            .try_submit(async move |_| signal.complete(7).is_ok())
            .unwrap();
        assert_eq!(block_on(first).unwrap(), 7);
        assert!(block_on(second).unwrap());
        end(&host, &pool);
    });
}

/// The first task waits for the second one, which gets the only slot for as long; and the slot has
/// to come back from another one that is busy, asleep, or about to sleep.
#[test]
fn a_slot_that_is_lent_comes_back() {
    explore(
        "pool: a slot is lent || another comes, and leaves",
        1,
        || {
            let host = Threads::default();
            let pool = pool(&host, 1, 2);
            let signal = Arc::new(JoinCell::new());
            let (heard, lender) = (signal.clone(), pool.clone());
            let first = pool.try_submit(async move |_| {
                let waits = poll_fn(|cx| heard.poll_take(cx));
                lender.release_slot(waits).await
            });
            let second = pool.try_submit(async move |_| signal.complete(7).is_ok());
            assert_eq!(block_on(first.unwrap()).unwrap(), 7);
            assert!(block_on(second.unwrap()).unwrap());
            end(&host, &pool);
        },
    );
}

/// The same of a slot that has come for as long and retires by itself, instead of as one too many.
#[test]
fn a_slot_that_is_lent_comes_back_from_one_that_retires() {
    explore("pool: a slot is lent || another one retires", 2, || {
        let host = Threads::default();
        let builder = WorkerPool::builder().runtime(&host.handle());
        let builder = builder
            .slots(0..=1)
            .queue(2)
            .idle_timeout(Duration::from_nanos(1));
        let pool = builder.build().unwrap();
        let signal = Arc::new(JoinCell::new());
        let (heard, lender) = (signal.clone(), pool.clone());
        let first = pool.try_submit(async move |_| {
            let waits = poll_fn(|cx| heard.poll_take(cx));
            lender.release_slot(waits).await
        });
        let second = pool.try_submit(async move |_| signal.complete(7).is_ok());
        assert_eq!(block_on(first.unwrap()).unwrap(), 7);
        assert!(block_on(second.unwrap()).unwrap());
        end(&host, &pool);
    });
}

/// The only slot sleeps and may leave at once.
#[test]
fn a_push_meets_a_slot_that_retires() {
    explore("pool: push || the last slot retires", 3, || {
        let host = Threads::default();
        let builder = WorkerPool::builder().runtime(&host.handle());
        let builder = builder
            .slots(0..=1)
            .queue(1)
            .idle_timeout(Duration::from_nanos(1));
        let pool = builder.build().unwrap();
        assert_eq!(block_on(submit(&pool, 1)).unwrap(), 1);
        assert_eq!(block_on(submit(&pool, 2)).unwrap(), 2);
        end(&host, &pool);
    });
}

/// A new slot has a number that no other has, whatever that one still has to tell.
#[test]
fn a_slot_tells_of_its_end_before_the_next_of_its_number() {
    explore("pool: push || a slot that retires tells of it", 2, || {
        let host = Threads::default();
        // Loom's flags, so that it explores who is first.
        let lives: [_; 2] = std::array::from_fn(|_| Arc::new(AtomicBool::new(false)));
        let mistakes = Arc::new(AtomicUsize::new(0));
        let tells = |starts| {
            let (lives, mistakes) = (lives.clone(), mistakes.clone());
            move |slot: usize| {
                if lives[slot].swap(starts, Ordering::AcqRel) == starts {
                    mistakes.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let builder = WorkerPool::builder().runtime(&host.handle());
        let builder = builder
            .slots(0..=1)
            .queue(1)
            .idle_timeout(Duration::from_nanos(1))
            .on_slot_start(tells(true))
            .on_slot_stop(tells(false));
        let pool = builder.build().unwrap();
        assert_eq!(block_on(submit(&pool, 1)).unwrap(), 1);
        assert_eq!(block_on(submit(&pool, 2)).unwrap(), 2);
        end(&host, &pool);
        assert_eq!(mistakes.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_shutdown_meets_a_slot_that_retires() {
    explore("pool: shutdown || the last slot retires", 3, || {
        let host = Threads::default();
        let builder = WorkerPool::builder().runtime(&host.handle());
        let builder = builder
            .slots(0..=1)
            .queue(1)
            .idle_timeout(Duration::from_nanos(1));
        let pool = builder.build().unwrap();
        let task = submit(&pool, 1);
        assert!(block_on(pool.shutdown(LONG)).is_clean());
        assert_eq!(block_on(task).unwrap(), 1);
        end(&host, &pool);
    });
}

#[test]
fn a_pop_meets_a_submitter_that_waits() {
    explore("pool: pop || submit waits for room", 3, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        let first = submit(&pool, 1);
        assert!(run(&pool));
        assert_eq!(block_on(first).unwrap(), 1);
        assert_eq!(pool.stats().waiting, 0);
        end(&host, &pool);
    });
}

#[test]
fn a_granted_submitter_gives_up() {
    explore(
        "pool: pop || a submitter gives up || another waits",
        1,
        || {
            let host = Threads::default();
            let pool = pool(&host, 1, 1);
            let first = submit(&pool, 1);
            let other = {
                let pool = pool.clone();
                thread::spawn(move || assert!(run(&pool)))
            };
            let given_up = {
                let mut submit = pin!(pool.submit(async |_| 2));
                block_on(poll_fn(|cx| Poll::Ready(submit.as_mut().poll(cx))))
            };
            other.join().unwrap();
            if let Poll::Ready(task) = given_up {
                assert_eq!(block_on(task.unwrap()).unwrap(), 2);
            }
            assert_eq!(block_on(first).unwrap(), 1);
            // The line is empty, and its mark gone.
            assert_eq!(block_on(submit(&pool, 3)).unwrap(), 3);
            end(&host, &pool);
        },
    );
}

#[test]
fn a_close_meets_a_submitter_that_waits() {
    explore("pool: close || pop || submit waits", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        let first = submit(&pool, 1);
        let submitter = {
            let pool = pool.clone();
            thread::spawn(move || run(&pool))
        };
        pool.close();
        let accepted = submitter.join().unwrap();
        assert_eq!(block_on(first).unwrap(), 1);
        end(&host, &pool);
        assert_eq!(pool.stats().completed, 1 + u64::from(accepted));
    });
}

#[test]
fn a_close_meets_a_push() {
    explore("pool: close || push", 3, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        let submitter = {
            let pool = pool.clone();
            thread::spawn(move || run(&pool))
        };
        assert!(block_on(pool.shutdown(LONG)).is_clean());
        assert_eq!(pool.stats().slots, 0);
        let accepted = submitter.join().unwrap();
        end(&host, &pool);
        assert_eq!(pool.stats().completed, u64::from(accepted));
    });
}

/// One slot is busy and the other asleep when the pool closes: the end of the queue is news for
/// the one that sleeps.
#[test]
fn the_last_task_of_a_closed_pool_lets_all_slots_go() {
    explore("pool: close, the last pop || a slot asleep", 1, || {
        let host = Threads::default();
        let pool = pool(&host, 2, 2);
        let tasks = [submit(&pool, 1), submit(&pool, 2)];
        pool.close();
        for task in tasks {
            block_on(task).unwrap();
        }
        end(&host, &pool);
    });
}

/// No slot starts once somebody could be told that the pool has ended.
///
/// The first task closes the pool, and the slot's thread asks for the end once the slot has left.
#[test]
fn an_end_meets_a_push_whose_task_is_done() {
    explore("pool: the end is told || push starts a slot", 1, || {
        let host = Threads::default();
        let pool = pool(&host, 1..=2, 2);
        let (asked, told) = (pool.clone(), host.clone());
        host.after_a_task(move || {
            let mut shutdown = pin!(asked.shutdown(LONG));
            if block_on(poll_fn(|cx| Poll::Ready(shutdown.as_mut().poll(cx)))).is_ready() {
                told.forbid();
            }
        });
        let closed = pool.clone();
        let first = pool.try_submit(async move |_| closed.close()).unwrap();
        if let Ok(second) = pool.try_submit(async |_| 2) {
            assert_eq!(block_on(second).unwrap(), 2);
        }
        block_on(first).unwrap();
        end(&host, &pool);
    });
}

/// The second push relies on the slot of the first, which leaves as the pool stops.
#[test]
fn a_stop_meets_a_push() {
    explore("pool: stop || push, push", 1, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 2);
        let first = submit(&pool, 1);
        let stopper = {
            let pool = pool.clone();
            thread::spawn(move || drop(block_on(pool.shutdown(Duration::ZERO))))
        };
        let second = pool.try_submit(async |_| 2);
        for task in [Some(first), second.ok()].into_iter().flatten() {
            assert!(matches!(block_on(task), Ok(_) | Err(TaskError::Closed)));
        }
        stopper.join().unwrap();
        end(&host, &pool);
    });
}

/// What a stop finds queued is gone by the time that somebody is told of the end, whoever drops it:
/// the submitter here, who was late.
#[test]
fn a_stop_meets_a_submitter_that_drops_its_task() {
    explore("pool: the end is told || a late push", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        // Loom's, so that it explores whether the task is gone: the counters are invisible to it.
        let is_there = Arc::new(AtomicBool::new(true));
        let stopper = {
            let (pool, is_there) = (pool.clone(), is_there.clone());
            thread::spawn(move || {
                block_on(pool.shutdown(Duration::ZERO));
                let stats = pool.stats();
                assert_eq!((stats.queued, stats.running, stats.slots), (0, 0, 0));
                assert!(stats.submitted == 0 || !is_there.load(Ordering::Relaxed));
            })
        };
        let there = There(is_there);
        let task = pool.submit(async move |_| drop(there)).detach();
        let accepted = task.try_now().is_ok();
        stopper.join().unwrap();
        end(&host, &pool);
        assert_eq!(pool.stats().submitted, u64::from(accepted));
    });
}

/// Says when it is dropped.
struct There(Arc<AtomicBool>);

impl Drop for There {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Nobody hears of its end but the counters.
#[test]
fn a_stop_meets_a_task_without_a_handle() {
    explore("pool: stop || push without a handle", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let task = pool.submit(async move |_| counted.fetch_add(1, Ordering::Relaxed));
        task.detach().try_now().unwrap();
        block_on(pool.shutdown(Duration::ZERO));
        end(&host, &pool);
        let (stats, runs) = (pool.stats(), runs.load(Ordering::Relaxed) as u64);
        assert_eq!((stats.completed, stats.cancelled), (runs, 1 - runs));
    });
}

/// A task that runs hears of the stop, and has a poll to react.
#[test]
fn a_stop_meets_a_running_task() {
    explore("pool: stop || a task goes to sleep", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        let task = pool.try_submit(async |cx| cx.cancellation().cancelled().await);
        block_on(pool.shutdown(Duration::ZERO));
        assert!(matches!(
            block_on(task.unwrap()),
            Ok(()) | Err(TaskError::Closed)
        ));
        end(&host, &pool);
    });
}

/// The host drops its slot: what was accepted is cancelled, not forgotten.
#[test]
fn the_end_of_the_host_meets_a_push() {
    explore("pool: the host drops the slot || push", 3, || {
        let host = Threads::that_die();
        let pool = pool(&host, 1, 2);
        let tasks = [1, 2].map(|value| pool.try_submit(async move |_| value));
        for task in tasks.into_iter().flatten() {
            assert!(matches!(block_on(task), Ok(_) | Err(TaskError::Cancelled)));
        }
        end(&host, &pool);
    });
}

#[test]
fn an_abort_meets_the_run() {
    explore("pool: abort || run", 3, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let task = pool.try_submit(async move |_| counted.fetch_add(1, Ordering::Relaxed));
        let task = task.unwrap();
        task.abort();
        let completed = match block_on(task) {
            Ok(before) => {
                assert_eq!(before, 0);
                1
            }
            Err(TaskError::Cancelled) => 0,
            Err(other) => panic!("{other}"),
        };
        end(&host, &pool);
        let stats = pool.stats();
        assert_eq!(
            (stats.completed, stats.cancelled),
            (completed, 1 - completed)
        );
        let runs = runs.load(Ordering::Relaxed) as u64;
        assert!(runs == 1 || runs == completed);
    });
}

/// The slot has run a task before, and has been woken since: it is known by no waker.
#[test]
fn an_abort_meets_a_task_that_goes_to_sleep() {
    explore("pool: abort || a task goes to sleep", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        block_on(pool.try_submit(async |_| ()).unwrap()).unwrap();
        let task = pool
            .try_submit(async |_| std::future::pending::<()>().await)
            .unwrap();
        task.abort();
        assert!(matches!(block_on(task), Err(TaskError::Cancelled)));
        end(&host, &pool);
    });
}

/// Whoever ends the closure, its thread or its slot, the other one does not.
#[test]
fn an_abort_meets_a_closure_that_returns() {
    explore("pool: abort || a blocking closure returns", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        let task = pool.submit_blocking(|_| 7).try_now().unwrap();
        task.abort();
        let has_run = match block_on(task) {
            Ok(value) => value == 7,
            Err(error) => !error.is_cancelled(),
        };
        end(&host, &pool);
        let stats = pool.stats();
        let expected = (u64::from(has_run), u64::from(!has_run));
        assert_eq!((stats.completed, stats.cancelled), expected);
    });
}

/// The closure waits until its abort has been heeded: one that is overlooked is a deadlock.
#[test]
fn an_abort_meets_a_closure_that_blocks() {
    explore("pool: abort || a blocking closure blocks", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 1);
        let signal = Arc::new(JoinCell::new());
        let heard = signal.clone();
        let closure = move |_| block_on(poll_fn(|cx| heard.poll_take(cx)));
        let task = pool.submit_blocking(closure).try_now().unwrap();
        task.abort();
        assert!(block_on(task).is_err_and(|error| error.is_cancelled()));
        signal.complete(()).unwrap();
        end(&host, &pool);
        assert_eq!(pool.stats().cancelled, 1);
    });
}

/// The slot is asleep when the thread hands back, or about to be.
#[test]
fn a_closure_hands_back_to_a_slot_that_falls_asleep() {
    explore("pool: a thread hands back || the slot waits", 2, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 2);
        let first = pool.submit_blocking(|_| 1).try_now().unwrap();
        let second = submit(&pool, 2);
        assert_eq!(block_on(first).unwrap(), 1);
        assert_eq!(block_on(second).unwrap(), 2);
        end(&host, &pool);
    });
}

fn hand_off(host: &Threads, slots: usize) -> WorkerPool {
    let builder = WorkerPool::builder().runtime(&host.handle()).slots(slots);
    builder.rendezvous().idle_timeout(LONG).build().unwrap()
}

#[test]
fn the_end_of_a_task_meets_a_submitter_to_a_hand_off() {
    explore("pool: a slot is free || submit to a hand-off", 2, || {
        let host = Threads::default();
        let pool = hand_off(&host, 1);
        let first = submit(&pool, 1);
        assert!(run(&pool));
        assert_eq!(block_on(first).unwrap(), 1);
        end(&host, &pool);
    });
}

/// The first task waits for the second one, as in `two_tasks_get_two_slots`. The place that a pop
/// gives back there has a fence of the model's, which no slot has here before its task is done.
#[test]
fn two_tasks_get_two_slots_of_a_hand_off() {
    explore("pool: push, push || a hand-off's slot comes", 1, || {
        let host = Threads::default();
        let pool = hand_off(&host, 2);
        let signal = Arc::new(JoinCell::new());
        let heard = signal.clone();
        let first = pool
            .try_submit(async move |_| poll_fn(|cx| heard.poll_take(cx)).await)
            .unwrap();
        let second = pool
            .try_submit(async move |_| signal.complete(7).is_ok())
            .unwrap();
        assert_eq!(block_on(first).unwrap(), 7);
        assert!(block_on(second).unwrap());
        end(&host, &pool);
    });
}

/// The first task waits for the second one, which waits for the place that is lent.
#[test]
fn a_slot_of_a_hand_off_is_lent_with_its_place() {
    explore("pool: a hand-off's slot is lent || submit waits", 1, || {
        let host = Threads::default();
        let pool = hand_off(&host, 1);
        let signal = Arc::new(JoinCell::new());
        let (heard, lender) = (signal.clone(), pool.clone());
        let first = pool.try_submit(async move |_| {
            let waits = poll_fn(|cx| heard.poll_take(cx));
            lender.release_slot(waits).await
        });
        let second = block_on(pool.submit(async move |_| signal.complete(7).is_ok()));
        assert_eq!(block_on(first.unwrap()).unwrap(), 7);
        assert!(block_on(second.unwrap()).unwrap());
        end(&host, &pool);
    });
}

/// The first task waits for the second one, which gets the slot that is one more.
#[test]
fn a_resize_meets_a_push() {
    explore("pool: resize || push", 1, || {
        let host = Threads::default();
        let pool = pool(&host, 1, 2);
        let signal = Arc::new(JoinCell::new());
        let heard = signal.clone();
        let first = pool
            .try_submit(async move |_| poll_fn(|cx| heard.poll_take(cx)).await)
            .unwrap();
        let resizer = {
            let pool = pool.clone();
            thread::spawn(move || pool.resize(2).unwrap())
        };
        let second = pool
            .try_submit(async move |_| signal.complete(7).is_ok())
            .unwrap();
        assert_eq!(block_on(first).unwrap(), 7);
        assert!(block_on(second).unwrap());
        resizer.join().unwrap();
        end(&host, &pool);
    });
}

#[test]
fn an_eviction_meets_a_pop() {
    explore("pool: an eviction || pop", 2, || {
        let host = Threads::default();
        let builder = WorkerPool::builder().runtime(&host.handle()).slots(1);
        let builder = builder.queue(1).idle_timeout(LONG);
        let pool = builder.on_full(OnFull::DropOldest).build().unwrap();
        let first = submit(&pool, 1);
        // Refused between a pop and the return of its place.
        let second = pool.try_submit(async |_| 2).ok();
        let accepted = 1 + u64::from(second.is_some());
        if let Some(second) = second {
            assert_eq!(block_on(second).unwrap(), 2);
        }
        let evicted = match block_on(first) {
            Ok(value) => u64::from(value != 1),
            Err(TaskError::Evicted) => 1,
            Err(other) => panic!("{other}"),
        };
        end(&host, &pool);
        let stats = pool.stats();
        assert_eq!(stats.evicted, evicted);
        assert_eq!(stats.completed, accepted - evicted);
    });
}

/// Each of the two finds the queue full while the other one's task is on its way into it, or out.
#[test]
fn an_eviction_meets_another_submitter() {
    explore("pool: an eviction || a submitter || pop", 2, || {
        let host = Threads::default();
        let builder = WorkerPool::builder().runtime(&host.handle()).slots(1);
        let builder = builder.queue(1).idle_timeout(LONG);
        let pool = builder.on_full(OnFull::DropOldest).build().unwrap();
        let other = {
            let pool = pool.clone();
            thread::spawn(move || drop(block_on(pool.submit(async |_| 1)).unwrap()))
        };
        drop(block_on(pool.submit(async |_| 2)).unwrap());
        other.join().unwrap();
        end(&host, &pool);
        let stats = pool.stats();
        assert_eq!(stats.completed + stats.evicted, 2);
    });
}

/// No submitter runs its task once somebody was told that the pool has ended.
#[test]
fn a_close_meets_a_submitter_that_runs_its_task() {
    explore(
        "pool: the end is told || a submitter runs its task",
        2,
        || {
            let host = Threads::default();
            let builder = WorkerPool::builder().runtime(&host.handle()).slots(1);
            let builder = builder.rendezvous().idle_timeout(LONG);
            let pool = builder.on_full(OnFull::CallerRuns).build().unwrap();
            let first = submit(&pool, 1);
            let has_ended = Arc::new(AtomicBool::new(false));
            let submitter = {
                let (pool, has_ended) = (pool.clone(), has_ended.clone());
                thread::spawn(move || {
                    let task = pool.submit(async move |_| has_ended.load(Ordering::Relaxed));
                    block_on(task).is_ok_and(|task| {
                        assert!(!block_on(task).unwrap());
                        true
                    })
                })
            };
            assert!(block_on(pool.shutdown(LONG)).is_clean());
            has_ended.store(true, Ordering::Relaxed);
            let accepted = submitter.join().unwrap();
            assert_eq!(block_on(first).unwrap(), 1);
            end(&host, &pool);
            assert_eq!(pool.stats().completed, 1 + u64::from(accepted));
        },
    );
}

/// The slot of the sub-pool is one more task of the pool above, however late it comes.
#[test]
fn a_close_above_meets_a_push_to_a_sub_pool() {
    explore("pool: close || push to a sub-pool", 1, || {
        let host = Threads::default();
        let above = pool(&host, 1, 1);
        let sub = above.sub_pool().slots(1).queue(1).build().unwrap();
        let first = submit(&sub, 1);
        let submitter = {
            let sub = sub.clone();
            thread::spawn(move || sub.try_submit(async |_| 2).ok())
        };
        assert!(block_on(above.shutdown(LONG)).is_clean());
        assert_eq!(block_on(first).unwrap(), 1);
        if let Some(task) = submitter.join().unwrap() {
            assert_eq!(block_on(task).unwrap(), 2);
        }
        end(&host, &above);
        assert_eq!((sub.stats().queued, sub.stats().slots), (0, 0));
    });
}
