//! Waiting in virtual time: order, conservation, drivers that vanish; over many interleavings.
#![cfg(not(loom))]

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use flow_ratelimit::{AcquireError, Granted, LeakyBucket, Limiter, Rate, TokenBucket, WaitState};
use flow_rt::sim::{self, Policy, Sim};
use flow_rt::{
    BoxBlocking, BoxTask, BoxTimer, Clock, DefaultClock, Handle, Instant, ManualClock, Runtime,
};

const MS: Duration = Duration::from_millis(1);

/// More than comes in any of these runs.
const BURST: u64 = 10_000;

fn bucket(rate: Rate, burst: u64, initial: u64) -> TokenBucket {
    let bucket = TokenBucket::builder()
        .rate(rate)
        .burst(burst)
        .initial(initial);
    bucket.build().expect("a valid bucket")
}

/// A runtime beside the simulation that keeps its tasks until they are polled by hand, and can
/// be shut down. Its timers are the simulation's.
#[derive(Clone)]
struct ByHand(Arc<State>);

struct State {
    sim: Sim,
    tasks: Mutex<Option<Vec<BoxTask>>>,
}

impl ByHand {
    fn new(sim: &Sim) -> Self {
        Self(Arc::new(State {
            sim: sim.clone(),
            tasks: Mutex::new(Some(Vec::new())),
        }))
    }

    fn handle(&self) -> Handle {
        Handle::new(self.clone())
    }

    fn poll_all(&self) {
        let tasks = self.0.tasks.lock().expect("not poisoned").take();
        let mut cx = Context::from_waker(Waker::noop());
        let mut left = tasks.unwrap_or_default();
        left.retain_mut(|task| Pin::new(task).poll(&mut cx).is_pending());
        let mut tasks = self.0.tasks.lock().expect("not poisoned");
        left.extend(tasks.take().unwrap_or_default());
        *tasks = Some(left);
    }

    fn shut_down(&self) {
        let tasks = self.0.tasks.lock().expect("not poisoned").take();
        drop(tasks);
    }

    fn tasks(&self) -> usize {
        let tasks = self.0.tasks.lock().expect("not poisoned");
        tasks.as_ref().map_or(0, Vec::len)
    }
}

impl Runtime for ByHand {
    fn spawn(&self, task: BoxTask) {
        let mut tasks = self.0.tasks.lock().expect("not poisoned");
        if let Some(tasks) = tasks.as_mut() {
            tasks.push(task);
            return;
        }
        // Its destructor may look at the bucket: not under this lock.
        drop(tasks);
        drop(task);
    }

    fn spawn_blocking(&self, _job: BoxBlocking) {}

    fn timer(&self, at: Instant) -> BoxTimer {
        self.0.sim.timer(at)
    }

    fn now(&self) -> Instant {
        self.0.sim.now()
    }
}

/// Counts its wake-ups.
#[derive(Default)]
struct Counted(std::sync::atomic::AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Counted {
    fn wakes(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Random needs, cancels, refunds and changes of the rate: those who are left are served in the
/// order in which they came, and nothing is minted or lost.
#[test]
fn served_in_order_with_random_cancels() {
    sim::check(0..200, |rt| async move {
        let mut rng = rt.rng();
        // It never runs over, so that every token is somewhere.
        let bucket = bucket(Rate::per_second(1_000), BURST, 0);
        let start = rt.now();
        let served = Arc::new(Mutex::new(Vec::new()));
        let mut waiters = Vec::new();
        let mut cancelled = Vec::new();
        let mut refunded = 0;
        for place in 0..40_u64 {
            let need = 1 + rng.below(10);
            let task = rt.spawn({
                let (rt, bucket, served) = (rt.clone(), bucket.clone(), served.clone());
                async move {
                    bucket.acquire_n(need).await.expect("open");
                    let served = &mut served.lock().expect("not poisoned");
                    served.push((place, rt.now(), need));
                }
            });
            // In the queue before the next one comes.
            rt.run_until_idle().await;
            waiters.push((place, task));
            match rng.below(8) {
                0 | 1 => {
                    let victim = rng.below(waiters.len() as u64) as usize;
                    let (place, task) = waiters.swap_remove(victim);
                    task.abort();
                    cancelled.push((place, task));
                }
                2 => rt.sleep(MS * rng.below(30) as u32).await,
                3 => {
                    bucket.refund(1);
                    refunded += 1;
                }
                4 => bucket.set_burst(BURST).expect("valid"),
                _ => {}
            }
        }
        for (_, task) in waiters {
            task.await.expect("served");
        }
        for (_, task) in cancelled {
            // Aborted, unless it was served first.
            drop(task.await);
        }
        let taken = rt.now() - start;
        let mut served = served.lock().expect("not poisoned").clone();
        // Those granted at one instant run in any order, which is the executor's.
        served.sort_unstable();
        assert!(served.is_sorted_by_key(|(_, at, _)| *at), "{served:?}");
        let spent: u64 = served.iter().map(|(_, _, need)| need).sum();
        let supplied = taken.as_millis() as u64 + refunded;
        assert!(spent <= supplied, "{spent} of {supplied}");
        assert_eq!(bucket.stats().waiting, 0);
        // Whatever was cancelled took nothing with it.
        assert_eq!(bucket.available(), supplied - spent);
        rt.advance(200 * MS).await;
        assert_eq!(rt.live_tasks(), 0, "a driver stays");
    });
}

/// Served exactly when the tokens come, each a millisecond after the other.
#[test]
fn served_when_the_tokens_come() {
    sim::check(0..50, |rt| async move {
        let bucket = bucket(Rate::per_second(100), 1, 1);
        let start = rt.now();
        let mut at = Vec::new();
        for _ in 0..5 {
            bucket.acquire().await.expect("open");
            at.push((rt.now() - start).as_millis());
        }
        assert_eq!(at, [0, 10, 20, 30, 40]);
    });
}

/// A driver's quantum does not lower the rate: what came meanwhile is granted together.
#[test]
fn a_high_rate_is_kept() {
    sim::check(0..10, |rt| async move {
        let bucket = bucket(Rate::per_second(100_000), 1, 0);
        let start = rt.now();
        let tasks: Vec<_> = (0..1_000)
            .map(|_| {
                let bucket = bucket.clone();
                rt.spawn(async move {
                    for _ in 0..10 {
                        bucket.acquire().await.expect("open");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("served");
        }
        let taken = rt.now() - start;
        assert!(taken >= 100 * MS && taken <= 102 * MS, "{taken:?}");
    });
}

/// A driver that is as late as can be grants what comes in the time it may be late, and not more.
#[test]
fn a_late_driver_grants_what_is_kept_for_it() {
    sim::check(0..3, |rt| async move {
        for (late, granted) in [(None, 400), (Some(Duration::ZERO), 1), (Some(MS), 100)] {
            let clock = ManualClock::new();
            let bucket = TokenBucket::builder().rate("100000/s").burst(1).initial(0);
            let leaky = LeakyBucket::builder().rate("100000/s").capacity(1);
            let (bucket, leaky) = match late {
                Some(late) => (bucket.catch_up(late), leaky.catch_up(late)),
                None => (bucket, leaky),
            };
            let bucket = bucket.clock(clock.clone()).build().expect("valid");
            let leaky = leaky.initial_level(1).clock(clock.clone());
            let leaky = leaky.build().expect("valid");
            let mut cx = Context::from_waker(Waker::noop());
            let mut waits: Vec<_> = (0..1_000)
                .map(|_| (Box::pin(bucket.acquire()), Box::pin(leaky.acquire())))
                .collect();
            for (wait, pours) in &mut waits {
                assert!(wait.as_mut().poll(&mut cx).is_pending());
                assert!(pours.as_mut().poll(&mut cx).is_pending());
            }
            clock.advance(50 * MS);
            // The simulation's time moves on, and the buckets' does not.
            rt.advance(2 * MS).await;
            assert_eq!(bucket.stats().waiting, 1_000 - granted);
            assert_eq!(leaky.stats().waiting, 1_000 - granted);
        }
    });
}

/// Tokens granted to a wait that is dropped before it looks come back exactly.
#[test]
fn a_grant_that_nobody_takes_comes_back() {
    sim::check(0..50, |rt| async move {
        let bucket = bucket(Rate::per_second(100), 4, 0);
        let behind = bucket.clone();
        {
            let mut granted = pin!(bucket.acquire_n(3));
            let counted = Arc::new(Counted::default());
            let waker = Waker::from(counted.clone());
            assert!(
                granted
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            rt.advance(30 * MS).await;
            assert_eq!(counted.wakes(), 1);
            assert_eq!((bucket.available(), bucket.stats().waiting), (0, 0));
        }
        assert_eq!(bucket.available(), 3);
        behind.try_acquire_n(3).expect("they came back");
        assert!(behind.try_acquire().is_err());
    });
}

/// A large need at the head that goes away lets smaller ones go at once.
#[test]
fn a_head_that_leaves_frees_those_behind() {
    sim::check(0..50, |rt| async move {
        let bucket = bucket(Rate::per_second(10), 10, 2);
        let mut large = Box::pin(bucket.acquire_n(10));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(large.as_mut().poll(&mut cx).is_pending());
        let behind = bucket.clone();
        let behind = rt.spawn(async move { behind.acquire_n(2).await });
        rt.run_until_idle().await;
        let start = rt.now();
        drop(large);
        behind.await.expect("no panic").expect("open");
        assert_eq!(rt.now(), start);
    });
}

/// A burst that shrinks ends the waits that it makes hopeless, and only those.
#[test]
fn a_smaller_burst_ends_hopeless_waits() {
    sim::check(0..50, |rt| async move {
        let bucket = bucket(Rate::per_second(10), 10, 0);
        let wait = |n| {
            let bucket = bucket.clone();
            rt.spawn(async move { bucket.acquire_n(n).await })
        };
        let hopeless = wait(8);
        rt.run_until_idle().await;
        let fine = wait(5);
        rt.run_until_idle().await;
        bucket.set_burst(5).expect("valid");
        assert!(matches!(
            hopeless.await.expect("no panic"),
            Err(AcquireError::ExceedsBurst {
                requested: 8,
                burst: 5,
                ..
            })
        ));
        fine.await.expect("no panic").expect("open");
        assert_eq!(bucket.stats().waiting, 0);
    });
}

/// The runtime that was to drive goes away with its seat: those who wait are told.
#[test]
fn a_runtime_that_goes_away_strands_nobody() {
    sim::check(0..100, |rt| async move {
        let other = ByHand::new(&rt);
        let driven = TokenBucket::builder()
            .rate(Rate::per_second(100))
            .burst(1)
            .initial(0)
            .runtime(&other.handle())
            .build()
            .expect("valid");
        let waits = driven.clone();
        let waiter = rt.spawn(async move { waits.acquire().await });
        rt.run_until_idle().await;
        assert_eq!(other.tasks(), 1);
        other.poll_all();
        other.shut_down();
        // It is woken, finds that no driver starts there any more, and says so.
        assert_eq!(waiter.await.expect("no panic"), Err(AcquireError::Stopped));
        assert_eq!(driven.stats().waiting, 0);
        assert_eq!(driven.acquire().await, Err(AcquireError::Stopped));
    });
}

/// A driver that is not polled any more (its runtime stands still) is replaced by the standby.
#[test]
fn a_standby_takes_over_from_a_driver_that_stands_still() {
    let other = std::thread::spawn(|| {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let tokio = tokio.expect("a runtime");
        let bucket = bucket(Rate::per_second(100), 1, 0);
        let mut held = Box::pin(bucket.acquire());
        // Its driver lives on a runtime that is never polled again.
        tokio.block_on(async {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(held.as_mut().poll(&mut cx).is_pending());
        });
        let smol = Handle::smol();
        let _inside = smol.enter();
        flow_rt::block_on(bucket.acquire())
            .expect("a plain thread")
            .expect("open");
        flow_rt::block_on(held)
            .expect("a plain thread")
            .expect("open");
        drop(tokio);
        bucket.stats().granted
    });
    assert_eq!(other.join().expect("no panic"), 2);
}

/// The runtime of the primary is dropped while others wait: the standby goes on.
#[test]
fn the_primary_is_dropped_with_its_runtime() {
    let bucket = bucket(Rate::per_second(100), 1, 0);
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build();
    let tokio = tokio.expect("a runtime");
    let rt = Handle::tokio(tokio.handle().clone()).expect("with time");
    let waits = bucket.clone();
    let lost = rt.spawn(async move {
        waits
            .acquire_n(1)
            .await
            .map(|_| std::future::pending::<()>())
    });
    while bucket.stats().waiting == 0 && bucket.stats().granted == 0 {
        std::thread::yield_now();
    }
    let smol = Handle::smol();
    let waits = bucket.clone();
    let kept = {
        let _inside = smol.enter();
        smol.spawn(async move { waits.acquire().await })
    };
    tokio.shutdown_background();
    flow_rt::block_on(kept)
        .expect("a plain thread")
        .expect("no panic")
        .expect("open");
    drop(lost);
    assert_eq!(bucket.stats().waiting, 0);
}

/// A run that ends while a driver lingers leaves nothing behind: its bucket goes with it.
#[test]
fn a_run_may_end_during_the_linger() {
    for seed in 0..50 {
        let run = Sim::builder().seed(seed).leaks(Policy::Fail);
        let report = run.run(|rt| async move {
            let bucket = bucket(Rate::per_second(100), 1, 0);
            bucket.acquire().await.expect("open");
            rt.run_until_idle().await;
            assert_eq!(rt.live_tasks(), 1, "the driver lingers");
        });
        let report = report.expect("no leak");
        assert!(report.leaked.is_empty() && report.armed.is_empty());
    }
}

/// A bucket that outlives a run in which its driver lingered has no driver, and gets another one.
#[test]
fn a_bucket_outlives_the_run_in_which_its_driver_lingered() {
    let clock = DefaultClock::machine();
    let bucket = TokenBucket::builder()
        .rate(Rate::per_second(1_000))
        .burst(1)
        .initial(0)
        .clock(clock)
        .build()
        .expect("valid");
    for seed in 0..5 {
        let waits = bucket.clone();
        let run = Sim::new(seed).run(|_| async move { waits.acquire().await });
        // The simulation's time runs ahead, so the driver looks until the machine's has come.
        run.expect("no failure").output.expect("open");
        bucket.acquire_blocking().expect("open");
    }
    assert_eq!(bucket.stats().waiting, 0);
}

/// A paused bucket (rate zero) keeps its queue, and goes on when the rate is raised.
#[test]
fn rate_zero_pauses_those_who_wait() {
    sim::check(0..50, |rt| async move {
        let bucket = bucket(Rate::per_second(10), 1, 0);
        let waits = bucket.clone();
        let waiter = rt.spawn(async move { waits.acquire().await });
        rt.advance(50 * MS).await;
        bucket.set_rate(Rate::ZERO).expect("valid");
        rt.advance(Duration::from_secs(3_600)).await;
        assert_eq!(bucket.stats().waiting, 1);
        bucket.set_rate(Rate::per_second(10)).expect("valid");
        let start = rt.now();
        waiter.await.expect("no panic").expect("open");
        // Half of it was there already.
        assert_eq!(rt.now() - start, 50 * MS);
    });
}

/// A wait that goes on at another limiter gives up its place at the first.
#[test]
fn a_place_in_two_buckets_is_given_up() {
    sim::check(0..10, |_rt| async move {
        let (one, two) = (
            bucket(Rate::per_second(1), 1, 0),
            bucket(Rate::per_second(1), 1, 0),
        );
        let mut state = flow_ratelimit::WaitState::new();
        std::future::poll_fn(|cx| {
            use flow_ratelimit::Limiter;
            assert!(one.poll_acquire_n(cx, 1, &mut state).is_pending());
            assert_eq!((one.stats().waiting, two.stats().waiting), (1, 0));
            assert!(two.poll_acquire_n(cx, 1, &mut state).is_pending());
            assert_eq!((one.stats().waiting, two.stats().waiting), (0, 1));
            Poll::Ready(())
        })
        .await;
        drop(state);
        assert_eq!(two.stats().waiting, 0);
        assert!(two.acquire_timeout(MS).await.is_err());
    });
}

/// A driver looks once in a millisecond at most, and grants all that came since together.
#[test]
fn a_high_rate_is_served_by_the_quantum() {
    let (seconds, rate) = (1, 100_000);
    let report = Sim::new(1).run(|rt| async move {
        let bucket = bucket(Rate::per_second(rate), 1, 0);
        let instants = Arc::new(Mutex::new(BTreeSet::new()));
        let start = rt.now();
        let mut group = rt.task_group();
        for _ in 0..1_000 {
            let (bucket, instants, rt) = (bucket.clone(), instants.clone(), rt.clone());
            group.spawn(async move {
                while rt.now() < start + Duration::from_secs(seconds) {
                    bucket.acquire().await.expect("open");
                    instants.lock().expect("not poisoned").insert(rt.now());
                }
            });
        }
        while group.join_next().await.is_some() {}
        let instants = instants.lock().expect("not poisoned");
        (instants.len(), bucket.stats().granted)
    });
    let (instants, granted) = report.expect("it ends").output;
    assert!(granted >= rate * seconds, "{granted} grants");
    assert!(instants <= 1_000 + 12, "{instants} instants");
}

/// A driver that lingers sleeps on for long: who reserves has somebody to serve, and so have those
/// behind.
#[test]
fn a_lingering_driver_serves_reservations_in_time() {
    sim::check(0..20, |rt| async move {
        let bucket = bucket(Rate::per_second(100), 1, 1);
        let start = rt.now();
        bucket.acquire().await.expect("open");
        bucket.acquire().await.expect("open");
        assert_eq!(rt.now() - start, 10 * MS);
        rt.sleep(MS).await;
        let reserved = bucket.reserve().expect("open");
        assert_eq!(reserved.delay(), 9 * MS);
        reserved.await.expect("open");
        assert_eq!(rt.now() - start, 20 * MS);
        rt.sleep(MS).await;
        let held = bucket.reserve().expect("open");
        bucket.acquire().await.expect("open");
        assert_eq!(rt.now() - start, 40 * MS, "behind one that is held");
        drop(held);
    });
}

/// A clock that stands, and goes on by 100 ms just before one of the times that it is read.
#[derive(Clone)]
struct Jumps {
    clock: ManualClock,
    /// How many reads from now on; 0 for none.
    at: Arc<AtomicU64>,
}

impl Clock for Jumps {
    fn now(&self) -> Instant {
        let at = self.at.load(Ordering::Relaxed);
        self.at.store(at.saturating_sub(1), Ordering::Relaxed);
        if at == 1 {
            self.clock.advance(100 * MS);
        }
        self.clock.now()
    }
}

/// Serves those who can go, and comes for more than is left then.
struct Greedy {
    bucket: TokenBucket<Jumps>,
    state: Mutex<WaitState>,
}

impl Greedy {
    fn poll(&self) -> Poll<Result<Granted, AcquireError>> {
        let mut state = self.state.lock().expect("not poisoned");
        let mut cx = Context::from_waker(Waker::noop());
        self.bucket.poll_acquire_n(&mut cx, 80, &mut state)
    }
}

impl Wake for Greedy {
    fn wake(self: Arc<Self>) {
        self.bucket.peek_n(1).expect("more came than they need");
        assert!(self.poll().is_pending());
    }
}

/// One without time, whose tokens come just after it found none, and who stands behind more than are
/// granted in one step. It keeps what it is granted in its turn.
#[test]
fn who_has_no_time_keeps_what_came_in_its_turn() {
    let run = |sim: Sim| async move {
        let by_hand = ByHand::new(&sim);
        let clock = Jumps {
            clock: ManualClock::starting_at(Instant::ORIGIN + MS),
            at: Arc::default(),
        };
        let builder = TokenBucket::builder().rate("1000/s").burst(100).initial(0);
        let builder = builder.runtime(&by_hand.handle()).clock(clock.clone());
        let bucket = builder.build().expect("valid");
        let greedy = Arc::new(Greedy {
            bucket: bucket.clone(),
            state: Mutex::default(),
        });
        let first = Waker::from(greedy.clone());
        let mut cx = Context::from_waker(Waker::noop());
        let mut states: Vec<_> = (0..20).map(|_| WaitState::new()).collect();
        for (number, state) in states.iter_mut().enumerate() {
            let waker = if number == 0 { &first } else { Waker::noop() };
            let polled = bucket.poll_acquire_n(&mut Context::from_waker(waker), 1, state);
            assert!(polled.is_pending());
        }
        // It finds none, which takes two reads while others wait; they come before it stands in line.
        clock.at.store(3, Ordering::Relaxed);
        let mut state = WaitState::with_limit(Duration::ZERO);
        let polled = bucket.poll_acquire_n(&mut cx, 1, &mut state);
        assert!(matches!(polled, Poll::Ready(Ok(_))), "{polled:?}");
        assert!(greedy.poll().is_pending(), "it had what was granted");
        for state in &mut states {
            let polled = bucket.poll_acquire_n(&mut cx, 1, state);
            assert!(matches!(polled, Poll::Ready(Ok(_))));
        }
        assert_eq!(bucket.stats().waiting, 1);
    };
    Sim::new(0).run(run).expect("no deadlock");
}
