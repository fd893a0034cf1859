//! Waiters on several real runtimes at once, of which one stands still or goes while it keeps the
//! time for all of them, or while permits are on their way to it. Everybody else is served; of real
//! time only what has passed at the least is asserted.
#![cfg(not(loom))]

use std::future::pending;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use flow_ratelimit::{AcquireError, ConcurrencyLimiter, FairShare, Fairness, TokenBucket};
use flow_rt::{CancellationToken, Clock, DefaultClock, Handle, JoinHandle, block_on};

const MS: Duration = Duration::from_millis(1);

/// A runtime with one thread.
struct OneThread {
    rt: Handle,
    kind: Kind,
}

enum Kind {
    Worker(tokio::runtime::Runtime),
    /// Runs on this thread until it is cancelled.
    Current(CancellationToken, thread::JoinHandle<()>),
}

impl OneThread {
    fn worker() -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build();
        let tokio = tokio.expect("a runtime");
        Self {
            rt: Handle::tokio(tokio.handle().clone()).expect("with time"),
            kind: Kind::Worker(tokio),
        }
    }

    fn current() -> Self {
        let (tell, told) = mpsc::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            let tokio = tokio.expect("a runtime");
            let rt = Handle::tokio(tokio.handle().clone()).expect("with time");
            tell.send(rt).expect("it is waited for");
            tokio.block_on(stopped.cancelled());
        });
        Self {
            rt: told.recv().expect("it has begun"),
            kind: Kind::Current(stop, thread),
        }
    }

    fn both() -> [Self; 2] {
        [Self::worker(), Self::current()]
    }

    /// Holds its thread up until what is returned is dropped.
    fn stand_still(&self) -> mpsc::Sender<()> {
        let (stands, is_standing) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let holds_up = async move {
            stands.send(()).expect("it is waited for");
            // Its other end is dropped, which is an error.
            let _ = goes_on.recv();
        };
        self.rt.spawn(holds_up).detach();
        is_standing.recv().expect("it runs");
        go_on
    }

    /// Ends it, and with it all tasks that it has.
    fn end(self) {
        match self.kind {
            Kind::Worker(tokio) => drop(tokio),
            Kind::Current(stop, thread) => {
                stop.cancel();
                thread.join().expect("no panic");
            }
        }
    }
}

/// Who waits beside it.
enum Others {
    Smol,
    AsyncStd,
    Tokio(OneThread),
    Threads,
}

impl Others {
    fn all() -> [Self; 4] {
        let tokio = Self::Tokio(OneThread::worker());
        [Self::Smol, Self::AsyncStd, tokio, Self::Threads]
    }

    fn runtime(&self) -> Option<Handle> {
        match self {
            Self::Smol => Some(Handle::smol()),
            Self::AsyncStd => Some(Handle::async_std()),
            Self::Tokio(tokio) => Some(tokio.rt.clone()),
            Self::Threads => None,
        }
    }

    /// One of them waits for a token.
    fn waits(&self, bucket: &TokenBucket) -> Waits {
        let bucket = bucket.clone();
        match self.runtime() {
            Some(rt) => waits_on(&rt, &bucket),
            None => Waits::Thread(thread::spawn(move || {
                bucket.acquire_blocking().expect("open");
            })),
        }
    }

    /// One of them waits for a permit, and gives it back.
    fn uses(&self, limiter: &ConcurrencyLimiter) -> Waits {
        let limiter = limiter.clone();
        match self.runtime() {
            Some(rt) => uses_on(&rt, &limiter),
            None => Waits::Thread(thread::spawn(move || {
                drop(limiter.acquire_blocking().expect("open"));
            })),
        }
    }
}

/// A wait that is under way.
enum Waits {
    Task(JoinHandle<()>),
    Thread(thread::JoinHandle<()>),
}

impl Waits {
    fn end(self) {
        match self {
            Self::Task(task) => block_on(task).expect("a plain thread").expect("no panic"),
            Self::Thread(thread) => thread.join().expect("no panic"),
        }
    }
}

fn waits_on(rt: &Handle, bucket: &TokenBucket) -> Waits {
    let bucket = bucket.clone();
    Waits::Task(rt.spawn(async move {
        bucket.acquire().await.expect("open");
    }))
}

fn uses_on(rt: &Handle, limiter: &ConcurrencyLimiter) -> Waits {
    let limiter = limiter.clone();
    Waits::Task(rt.spawn(async move {
        drop(limiter.acquire().await.expect("open"));
    }))
}

/// As many wait as are to wait.
fn until(waiting: impl Fn() -> usize, count: usize) {
    while waiting() != count {
        thread::yield_now();
    }
}

/// Without a token, and none comes before the rate is another one.
fn empty() -> TokenBucket {
    let bucket = TokenBucket::builder().rate("1/h").burst(1).initial(0);
    bucket.build().expect("valid")
}

#[test]
fn tokens_go_on_while_the_runtime_that_keeps_the_time_stands_still() {
    for others in Others::all() {
        for driving in OneThread::both() {
            let bucket = empty();
            let first: Vec<_> = (0..2).map(|_| waits_on(&driving.rt, &bucket)).collect();
            until(|| bucket.stats().waiting, 2);
            let stuck = driving.stand_still();
            let behind: Vec<_> = (0..3).map(|_| others.waits(&bucket)).collect();
            until(|| bucket.stats().waiting, 5);
            let start = DefaultClock::machine().now();
            bucket.set_rate("200/s").expect("valid");
            behind.into_iter().for_each(Waits::end);
            // Those before them have theirs too, though they cannot look.
            let took = DefaultClock::machine().now() - start;
            assert!(took >= 24 * MS, "five tokens in {took:?}");
            let stats = bucket.stats();
            assert_eq!((stats.granted, stats.waiting), (3, 0));
            drop(stuck);
            first.into_iter().for_each(Waits::end);
            let stats = bucket.stats();
            assert_eq!((stats.granted, stats.denied, stats.waiting), (5, 0, 0));
            driving.end();
        }
    }
}

#[test]
fn tokens_go_on_when_the_runtime_that_keeps_the_time_goes() {
    for others in Others::all() {
        for (driving, rate) in OneThread::both().into_iter().zip(["1/h", "50/s"]) {
            let bucket = empty();
            let lost: Vec<_> = (0..2).map(|_| waits_on(&driving.rt, &bucket)).collect();
            until(|| bucket.stats().waiting, 2);
            let behind: Vec<_> = (0..3).map(|_| others.waits(&bucket)).collect();
            until(|| bucket.stats().waiting, 5);
            let start = DefaultClock::machine().now();
            // Either nobody can go yet, or tokens are on their way.
            bucket.set_rate(rate).expect("valid");
            driving.end();
            if rate == "1/h" {
                until(|| bucket.stats().waiting, 3);
                bucket.set_rate("50/s").expect("valid");
            }
            behind.into_iter().for_each(Waits::end);
            let took = DefaultClock::machine().now() - start;
            assert!(took >= 59 * MS, "three tokens in {took:?}");
            assert_eq!(bucket.stats().waiting, 0);
            drop(lost);
        }
    }
}

/// Nobody drives any more, and nobody can: those who wait hear of it, in whichever line they stand.
#[test]
fn waits_end_when_the_only_runtime_that_keeps_the_time_goes() {
    for driving in OneThread::both() {
        let builder = FairShare::builder()
            .rate("1/h burst 3")
            .runtime(&driving.rt);
        let builder = builder.child("idle", 1).child("a", 1).child("b", 1);
        let share = builder.build().expect("valid");
        let elsewhere = Handle::smol();
        let waits: Vec<_> = (share.children().skip(1))
            .map(|child| {
                child.try_acquire().expect("it starts full");
                elsewhere.spawn(async move { child.acquire().await.map(drop) })
            })
            .collect();
        until(|| share.stats().waiting, 2);
        driving.end();
        for wait in waits {
            let ended = block_on(wait).expect("a plain thread").expect("no panic");
            assert_eq!(ended, Err(AcquireError::Stopped));
        }
        assert_eq!(share.stats().waiting, 0);
    }
}

#[test]
fn permits_go_on_while_a_runtime_that_waits_for_one_stands_still() {
    for others in Others::all() {
        for waiting in OneThread::both() {
            let limiter = ConcurrencyLimiter::new(2).expect("valid");
            let held = limiter.try_acquire_n(2).expect("free");
            let first = uses_on(&waiting.rt, &limiter);
            until(|| limiter.stats().waiting, 1);
            let stuck = waiting.stand_still();
            let behind: Vec<_> = (0..5).map(|_| others.uses(&limiter)).collect();
            until(|| limiter.stats().waiting, 6);
            drop(held);
            // One is handed to it, and stays in its hand; the other one goes round.
            behind.into_iter().for_each(Waits::end);
            assert_eq!((limiter.in_flight(), limiter.stats().waiting), (1, 0));
            drop(stuck);
            first.end();
            assert_eq!((limiter.in_flight(), limiter.stats().granted), (0, 7));
            waiting.end();
        }
    }
}

#[test]
fn newcomers_pass_a_runtime_that_stands_still_if_they_may() {
    for others in Others::all() {
        for waiting in OneThread::both() {
            let limiter = ConcurrencyLimiter::builder()
                .limit(1)
                .fairness(Fairness::Barging);
            let limiter = limiter.build().expect("valid");
            let held = limiter.try_acquire().expect("free");
            let first = uses_on(&waiting.rt, &limiter);
            until(|| limiter.stats().waiting, 1);
            let stuck = waiting.stand_still();
            drop(held);
            // It was told, and holds nothing.
            for _ in 0..5 {
                others.uses(&limiter).end();
            }
            assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 1));
            drop(stuck);
            first.end();
            assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 0));
            waiting.end();
        }
    }
}

#[test]
fn permits_of_a_runtime_that_goes_come_to_the_others() {
    for others in Others::all() {
        for (going, is_granted) in OneThread::both().into_iter().zip([false, true]) {
            let limiter = ConcurrencyLimiter::new(1).expect("valid");
            let held = limiter.try_acquire().expect("free");
            let keeps = limiter.clone();
            let lost = going.rt.spawn(async move {
                let _kept = keeps.acquire().await.expect("open");
                pending::<()>().await;
            });
            until(|| limiter.stats().waiting, 1);
            let behind: Vec<_> = (0..5).map(|_| others.uses(&limiter)).collect();
            until(|| limiter.stats().waiting, 6);
            if is_granted {
                // It has the permit and keeps it, for as long as it is there.
                drop(held);
                until(|| limiter.stats().waiting, 5);
                going.end();
            } else {
                going.end();
                until(|| limiter.stats().waiting, 5);
                drop(held);
            }
            behind.into_iter().for_each(Waits::end);
            assert_eq!((limiter.in_flight(), limiter.stats().waiting), (0, 0));
            drop(lost);
        }
    }
}
