//! Permits against a `VecDeque` and plain arithmetic.
#![cfg(not(loom))]

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use common::Count;
use flow_sync::{AcquireError, PermitWait, Permits, TryAcquireError};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Try(u32),
    Wait(u32),
    /// Of the permits held, modulo their number; likewise below.
    Release(usize),
    /// Polls a waiter that has been woken, or one that has not.
    Poll(usize),
    Cancel(usize),
    SetLimit(u32),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..6_u32).prop_map(Step::Try),
        20 => (0..6_u32).prop_map(Step::Wait),
        20 => any::<usize>().prop_map(Step::Release),
        10 => any::<usize>().prop_map(Step::Poll),
        10 => any::<usize>().prop_map(Step::Cancel),
        4 => (0..12_u32).prop_map(Step::SetLimit),
        1 => Just(Step::Close),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    Waiting,
    Granted,
    SentAway,
}

struct Waiter {
    id: u64,
    n: u32,
    wait: PermitWait,
    count: Arc<Count>,
    expect: Expect,
}

struct Model {
    permits: Arc<Permits>,
    limit: u32,
    /// What one may take when nothing is out.
    alone: u32,
    in_flight: u32,
    closed: bool,
    held: Vec<u32>,
    queue: VecDeque<(u64, u32)>,
    waiters: Vec<Waiter>,
    next_id: u64,
}

impl Model {
    fn new(alone: u32) -> Self {
        let permits = Permits::new(4, usize::MAX).unwrap();
        Self {
            permits: Arc::new(permits.alone_up_to(alone).unwrap()),
            limit: 4,
            alone,
            in_flight: 0,
            closed: false,
            held: Vec::new(),
            queue: VecDeque::new(),
            waiters: Vec::new(),
            next_id: 0,
        }
    }

    fn fits(&self, n: u32) -> bool {
        n <= self.limit.saturating_sub(self.in_flight) || n <= self.alone && self.in_flight == 0
    }

    /// What a taker that does not wait must be told.
    fn answer(&self, n: u32) -> Result<(), TryAcquireError> {
        let limit = self.limit.max(self.alone);
        if self.closed {
            Err(TryAcquireError::Closed)
        } else if n == 0 || self.queue.is_empty() && self.fits(n) {
            Ok(())
        } else if n > limit {
            Err(TryAcquireError::TooMany { asked: n, limit })
        } else {
            Err(TryAcquireError::Unavailable)
        }
    }

    fn set(&mut self, id: u64, expect: Expect) {
        let waiter = self.waiters.iter_mut().find(|waiter| waiter.id == id);
        waiter.expect("every queued waiter is kept").expect = expect;
    }

    /// Grants as the permits must.
    fn serve(&mut self) {
        while let Some(&(id, n)) = self.queue.front() {
            if self.fits(n) {
                self.in_flight += n;
                self.set(id, Expect::Granted);
            } else if n > self.limit.max(self.alone) {
                self.set(id, Expect::SentAway);
            } else {
                return;
            }
            self.queue.pop_front();
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Try(n) => {
                let answer = self.answer(n);
                assert_eq!(self.permits.try_acquire(n), answer);
                if answer.is_ok() {
                    self.in_flight += n;
                    self.held.push(n);
                }
            }
            Step::Wait(n) => self.wait(n),
            Step::Release(at) if !self.held.is_empty() => {
                let n = self.held.swap_remove(at % self.held.len());
                self.permits.release(n).unwrap();
                self.in_flight -= n;
                self.serve();
            }
            Step::Poll(at) if !self.waiters.is_empty() => self.poll(at % self.waiters.len()),
            Step::Cancel(at) if !self.waiters.is_empty() => {
                let waiter = self.waiters.swap_remove(at % self.waiters.len());
                self.queue.retain(|queued| queued.0 != waiter.id);
                if waiter.expect == Expect::Granted {
                    self.in_flight -= waiter.n;
                }
                drop(waiter);
                self.serve();
            }
            Step::SetLimit(limit) => {
                assert_eq!(self.permits.set_limit(limit), Ok(self.limit));
                self.limit = limit;
                self.serve();
            }
            Step::Close => {
                self.permits.close();
                self.closed = true;
                for (id, _) in std::mem::take(&mut self.queue) {
                    self.set(id, Expect::SentAway);
                }
            }
            Step::Release(_) | Step::Poll(_) | Step::Cancel(_) => {}
        }
    }

    fn wait(&mut self, n: u32) {
        let answer = self.answer(n);
        let mut waiter = Waiter {
            id: self.next_id,
            n,
            wait: PermitWait::new(),
            count: Count::new(),
            expect: Expect::Waiting,
        };
        self.next_id += 1;
        let waker = waiter.count.waker();
        let mut cx = Context::from_waker(&waker);
        match (
            self.permits.poll_acquire(&mut cx, n, &mut waiter.wait),
            answer,
        ) {
            (Poll::Ready(Ok(())), Ok(())) => {
                self.in_flight += n;
                self.held.push(n);
            }
            (Poll::Pending, Err(TryAcquireError::Unavailable)) => {
                self.queue.push_back((waiter.id, n));
                self.waiters.push(waiter);
            }
            (
                Poll::Ready(Err(AcquireError::TooMany { .. })),
                Err(TryAcquireError::TooMany { .. }),
            )
            | (Poll::Ready(Err(AcquireError::Closed)), Err(TryAcquireError::Closed)) => {}
            other => panic!("the permits and the model differ: {other:?}"),
        }
    }

    fn poll(&mut self, at: usize) {
        let waiter = &mut self.waiters[at];
        let waker = waiter.count.waker();
        let mut cx = Context::from_waker(&waker);
        let polled = self
            .permits
            .poll_acquire(&mut cx, waiter.n, &mut waiter.wait);
        match (polled, waiter.expect) {
            (Poll::Pending, Expect::Waiting) => return,
            (Poll::Ready(Ok(())), Expect::Granted) => self.held.push(waiter.n),
            (Poll::Ready(Err(_)), Expect::SentAway) => {}
            other => panic!("the permits and the model differ: {other:?}"),
        }
        self.waiters.swap_remove(at);
    }

    fn check(&self) {
        assert_eq!(self.permits.in_flight(), self.in_flight);
        assert_eq!(self.permits.limit(), self.limit);
        assert_eq!(self.permits.waiting(), self.queue.len());
        assert_eq!(self.permits.is_closed(), self.closed);
        for waiter in &self.waiters {
            let told = usize::from(waiter.expect != Expect::Waiting);
            assert_eq!(waiter.count.get(), told, "woken once, when it was served");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn behave_like_a_deque(
        alone in prop_oneof![Just(0), 0..7_u32],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut model = Model::new(alone);
        for step in steps {
            model.run(step);
            model.check();
        }
        // Everything comes back.
        model.waiters.clear();
        for n in std::mem::take(&mut model.held) {
            model.permits.release(n).unwrap();
        }
        prop_assert_eq!(model.permits.in_flight(), 0);
        prop_assert_eq!(model.permits.waiting(), 0);
    }
}
