//! The queue against a model, with its invariants after each step.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;

use flow_rt::Clock;
use flow_rt::sim::{self, Sim, SimRng};
use flow_sync::sync::atomic::Ordering;

use super::driver::{LINGER, QUANTUM};
use super::queue::{Home, Looks, Queue};
use super::waiter::{Entered, Looked, Waits};
use crate::error::AcquireError;
use crate::granted::Granted;
use crate::limiter::Acquire;
use crate::rate::Rate;
use crate::token_bucket::TokenBucket;
use crate::token_bucket::core::{Core, W};
use crate::waiting::Source;
use crate::wakes::Wakes;

type Wait<'a> = Pin<Box<Acquire<'a, TokenBucket>>>;

/// W, the mirrors and the drivers are as the lock's holder has to leave them.
fn check<C: Clock>(core: &Core<C>) {
    let queue = core.queue.lock();
    let waits = !queue.list.is_empty();
    let word = core.word.load(Ordering::Acquire);
    assert_eq!(word & W != 0, waits || queue.is_shut(), "W");
    assert_eq!(core.waiting.load(Ordering::Acquire), queue.list.len());
    let sum = queue.list.needs().map(u128::from).sum::<u128>();
    assert_eq!(queue.list.sum(), sum);
    assert_eq!(u128::from(core.queued.load(Ordering::Acquire)), sum);
    if waits {
        assert!(!queue.seats.is_empty(), "nobody drives");
    }
}

/// Once everybody has run: the primary looks when the head can go, and the others after it.
fn check_settled<C: Clock>(core: &Core<C>) {
    let now = core.clock.now();
    let queue = core.queue.lock();
    if queue.list.is_empty() {
        // Nobody sleeps longer than that, and leaves then.
        let soon = now + LINGER;
        assert!(queue.seats.iter().all(|seat| match seat.looks {
            Looks::At(at) => at <= soon,
            Looks::ToLeave => true,
        }));
        return;
    }
    let head_at = core.head_at(&queue, now);
    assert!(queue.primary.is_some());
    assert!(queue.fire_at <= head_at.saturating_add(QUANTUM));
    assert!(head_at > now, "the head could go");
    assert!(queue.seats.iter().all(|seat| seat.waker.is_some()));
}

/// What should be, in quarters of a token and steps of a millisecond.
struct Model {
    free: u64,
    burst: u64,
    per_milli: u64,
    queue: VecDeque<(usize, u64)>,
    answers: Vec<Option<Answer>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Granted,
    TooLarge,
    Never,
    Closed,
}

const QUARTERS: u64 = 4;

impl Model {
    fn pump(&mut self) {
        self.free = self.free.min(self.burst);
        while let Some(&(id, need)) = self.queue.front() {
            if need > self.burst {
                self.answers[id] = Some(Answer::TooLarge);
            } else if need <= self.free {
                self.free -= need;
                self.answers[id] = Some(Answer::Granted);
            } else {
                return;
            }
            self.queue.pop_front();
        }
    }

    fn enter(&mut self, need: u64) {
        let id = self.answers.len();
        self.answers.push(if need > self.burst {
            Some(Answer::TooLarge)
        } else if self.queue.is_empty() && need <= self.free {
            self.free -= need;
            Some(Answer::Granted)
        } else if self.per_milli == 0 {
            Some(Answer::Never)
        } else {
            self.queue.push_back((id, need));
            None
        });
    }

    /// A wait is dropped before it was told anything.
    fn leave(&mut self, id: usize, need: u64) {
        if self.answers[id] == Some(Answer::Granted) {
            self.free += need;
        }
        self.queue.retain(|&(waiting, _)| waiting != id);
        self.pump();
    }
}

fn answer(result: Result<Granted, AcquireError>) -> Answer {
    match result {
        Ok(_) => Answer::Granted,
        Err(AcquireError::ExceedsBurst { .. }) => Answer::TooLarge,
        Err(AcquireError::NeverRefills) => Answer::Never,
        Err(AcquireError::Closed) => Answer::Closed,
        Err(other) => panic!("{other:?}"),
    }
}

fn poll(wait: &mut Wait<'_>) -> Option<Answer> {
    let mut cx = Context::from_waker(Waker::noop());
    match wait.as_mut().poll(&mut cx) {
        Poll::Ready(result) => Some(answer(result)),
        Poll::Pending => None,
    }
}

/// Random waits, cancels, refunds and changes: who is granted, in which order and when, and every
/// token, are the model's.
#[test]
fn follows_the_model() {
    sim::check(0..300, |rt| async move {
        let mut rng = rt.rng();
        let bucket = TokenBucket::builder()
            .rate(Rate::per_second(1_000))
            .burst(8)
            .initial(0)
            .build()
            .expect("valid");
        let mut model = Model {
            free: 0,
            burst: 8 * QUARTERS,
            per_milli: QUARTERS,
            queue: VecDeque::new(),
            answers: Vec::new(),
        };
        let mut waits: Vec<(usize, u64, Wait<'_>)> = Vec::new();
        for _ in 0..150 {
            match rng.below(12) {
                0..4 => {
                    let n = 1 + rng.below(9);
                    let id = model.answers.len();
                    model.enter(n * QUARTERS);
                    let mut wait = Box::pin(bucket.acquire_n(n));
                    let told = poll(&mut wait);
                    assert_eq!(told, model.answers[id]);
                    if told.is_none() {
                        waits.push((id, n * QUARTERS, wait));
                    }
                }
                4 | 5 => {
                    if let Some((id, need, wait)) = take_one(&mut waits, &mut rng) {
                        drop(wait);
                        model.leave(id, need);
                    }
                }
                6 => {
                    if let Some((id, need, mut wait)) = take_one(&mut waits, &mut rng) {
                        let told = poll(&mut wait);
                        assert_eq!(told, model.answers[id]);
                        if told.is_none() {
                            waits.push((id, need, wait));
                        }
                    }
                }
                7 => {
                    let n = 1 + rng.below(3);
                    bucket.refund(n);
                    model.free += n * QUARTERS;
                    model.pump();
                }
                // At whole tokens, so that all come due at whole milliseconds.
                8 if model.free.is_multiple_of(QUARTERS) => {
                    let per_milli = [0, 1, 2, QUARTERS][rng.below(4) as usize];
                    let rate = Rate::per_second(per_milli * 250);
                    bucket.set_rate(rate).expect("valid");
                    model.per_milli = per_milli;
                }
                9 => {
                    // More than what is kept for a late driver.
                    let burst = 5 + rng.below(5);
                    bucket.set_burst(burst).expect("valid");
                    model.burst = burst * QUARTERS;
                    model.pump();
                }
                _ => {
                    for _ in 0..rng.below(6) {
                        rt.advance(Duration::from_millis(1)).await;
                        model.free += model.per_milli;
                        model.pump();
                    }
                }
            }
            check(&bucket.core);
            rt.run_until_idle().await;
            check(&bucket.core);
            check_settled(&bucket.core);
            assert_eq!(bucket.stats().waiting, model.queue.len());
            assert_eq!(bucket.available(), model.free / QUARTERS);
        }
        if rng.below(2) == 0 {
            bucket.close();
            for (id, ..) in &waits {
                // Too large as well, perhaps: one reason is told.
                if model.answers[*id] != Some(Answer::Granted) {
                    model.answers[*id] = Some(Answer::Closed);
                }
            }
            check(&bucket.core);
        }
        for (id, _, wait) in &mut waits {
            assert_eq!(poll(wait), model.answers[*id]);
        }
    });
}

fn take_one<T>(from: &mut Vec<T>, rng: &mut SimRng) -> Option<T> {
    let at = rng.below(from.len().max(1) as u64) as usize;
    (!from.is_empty()).then(|| from.swap_remove(at))
}

/// Threads that come and go beside the one that has the seat leave nothing behind that grows, and
/// the seat goes to the first who waits.
#[test]
fn threads_that_have_gone_are_forgotten() {
    let mut queue = Queue::new(());
    let enter = |queue: &mut Queue<()>| {
        let ticket = queue.list.push(1, Some(Waker::noop().clone()));
        (ticket, queue.seat_for(Home::Threads, (0, ticket), false))
    };
    let (_, seat) = enter(&mut queue);
    let seat = seat.expect("it is free");
    let stay: Vec<_> = (0..10).map(|_| enter(&mut queue).0).collect();
    for _ in 0..10_000 {
        let (goes, none) = enter(&mut queue);
        assert_eq!(none, None);
        queue.list.cancel(goes);
    }
    assert!(
        queue.threads.len() <= 64,
        "{} stand by",
        queue.threads.len()
    );
    queue.list.cancel(stay[0]);
    queue.remove_seat(seat);
    let mut wakes = Wakes::new();
    queue.hand_over(false, &mut wakes);
    assert!(queue.list.take_waker(stay[1]).is_none(), "it is woken");
    assert!(queue.list.take_waker(stay[2]).is_some());
}

/// A thread that was told to take the seat and finds a newcomer in it stands by again.
#[test]
fn a_thread_that_is_late_for_the_seat_stands_by_again() {
    let bucket = TokenBucket::builder().rate("1/h").burst(1).initial(0);
    let core = bucket.build().expect("valid").core;
    let waker = || Some(Waker::noop().clone());
    let enter = || {
        let mut wakes = Wakes::new();
        match core.enter(Some(Home::Threads), &mut waker(), 1, None, &mut wakes) {
            Ok(Entered::Waits { ticket, seat }) => (ticket, seat),
            _ => panic!("it does not wait"),
        }
    };
    let leave = |seat: Option<u64>| {
        let mut queue = core.queue.lock();
        queue.remove_seat(seat.expect("it was free"));
        queue.hand_over(true, &mut Wakes::new());
    };
    let is_told = |ticket| core.queue.lock().list.take_waker(ticket).is_none();
    let (_, first) = enter();
    let (second, none) = enter();
    assert_eq!(none, None);
    leave(first);
    let (_, third) = enter();
    let mut wakes = Wakes::new();
    let looked = core.look(Some(Home::Threads), &mut waker(), second, 1, &mut wakes);
    assert!(matches!(looked, Looked::Waits { seat: None }));
    leave(third);
    assert!(is_told(second));
}

/// A million waits are given up, waiting or granted, and every token is there in the end.
#[test]
fn a_million_cancels_conserve_every_token() {
    const TOKENS: u64 = 32;
    let run = Sim::new(0).run(|rt| async move {
        let mut rng = rt.rng();
        let bucket = TokenBucket::builder()
            .rate(Rate::per(1, Duration::from_secs(1 << 30)).expect("not zero"))
            .burst(TOKENS)
            .build()
            .expect("valid");
        let mut waits: Vec<Option<(u64, Wait<'_>)>> = (0..64).map(|_| None).collect();
        let mut taken = VecDeque::new();
        let mut held = 0;
        let mut cancels = 0;
        while cancels < 1_000_000 {
            let place = &mut waits[rng.below(64) as usize];
            cancels += u32::from(place.take().is_some());
            let n = 1 + rng.below(8);
            let mut wait = Box::pin(bucket.acquire_n(n));
            if poll(&mut wait).is_none() {
                *place = Some((n, wait));
            } else {
                held += n;
                taken.push_back(n);
            }
            if rng.below(3) == 0
                && let Some((n, wait)) = place
                && poll(wait).is_some()
            {
                held += *n;
                taken.push_back(*n);
                *place = None;
            }
            if held > TOKENS / 2 || rng.below(4) == 0 {
                let back = taken.pop_front().unwrap_or(0);
                held -= back;
                bucket.refund(back);
            }
            assert!(held + bucket.available() <= TOKENS);
            if cancels % 64 == 0 {
                check(&bucket.core);
            }
        }
        drop(waits);
        check(&bucket.core);
        assert_eq!(bucket.available(), TOKENS - held);
        bucket.refund(held);
        bucket.try_acquire_n(TOKENS).expect("every token is there");
    });
    run.expect("no failure");
}
