//! Permits in classes against one `VecDeque` for each class and plain sums.
#![cfg(not(loom))]

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use common::Count;
use flow_sync::{AcquireError, ClassedPermits, ClassedWait, ClassesError, TryAcquireError};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Class, modulo their number, and need; likewise below.
    Try(usize, u32),
    Wait(usize, u32),
    /// Of the permits held, modulo their number; likewise below.
    Release(usize),
    /// Polls a waiter that has been woken, or one that has not.
    Poll(usize),
    Cancel(usize),
    SetLimit(u32),
    SetShare(usize, u32),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let class = any::<usize>();
    prop_oneof![
        10 => (class, 0..6_u32).prop_map(|(class, n)| Step::Try(class, n)),
        20 => (class, 0..6_u32).prop_map(|(class, n)| Step::Wait(class, n)),
        20 => any::<usize>().prop_map(Step::Release),
        10 => any::<usize>().prop_map(Step::Poll),
        10 => any::<usize>().prop_map(Step::Cancel),
        4 => (0..16_u32).prop_map(Step::SetLimit),
        4 => (class, 0..8_u32).prop_map(|(class, n)| Step::SetShare(class, n)),
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
    class: usize,
    n: u32,
    wait: ClassedWait,
    count: Arc<Count>,
    expect: Expect,
}

#[derive(Default)]
struct Class {
    share: u32,
    in_flight: u32,
    queue: VecDeque<(u64, u32)>,
}

struct Model {
    permits: Arc<ClassedPermits>,
    limit: u32,
    closed: bool,
    classes: Vec<Class>,
    /// Class and number.
    held: Vec<(usize, u32)>,
    waiters: Vec<Waiter>,
    next_id: u64,
}

impl Model {
    fn new(shares: &[u32]) -> Self {
        Self {
            permits: Arc::new(ClassedPermits::new(8, shares, usize::MAX).unwrap()),
            limit: 8,
            closed: false,
            classes: shares
                .iter()
                .map(|&share| Class {
                    share,
                    ..Class::default()
                })
                .collect(),
            held: Vec::new(),
            waiters: Vec::new(),
            next_id: 0,
        }
    }

    fn in_flight(&self) -> u32 {
        self.classes.iter().map(|class| class.in_flight).sum()
    }

    fn shares(&self) -> u32 {
        self.classes.iter().map(|class| class.share).sum()
    }

    fn fits(&self, n: u32) -> bool {
        n <= self.limit.saturating_sub(self.in_flight())
    }

    fn is_within_share(&self, class: usize, n: u32) -> bool {
        self.classes[class].in_flight + n <= self.classes[class].share
    }

    /// Whose turn it is, said in words: the highest class whose first asks within its share, else
    /// the highest class.
    fn next(&self) -> Option<usize> {
        let waits = |&class: &usize| !self.classes[class].queue.is_empty();
        let within = |&class: &usize| {
            let first = self.classes[class].queue.front();
            first.is_some_and(|&(_, n)| self.is_within_share(class, n))
        };
        let all = 0..self.classes.len();
        all.clone().find(within).or_else(|| all.clone().find(waits))
    }

    /// What a taker that does not wait must be told.
    fn answer(&self, class: usize, n: u32) -> Result<(), TryAcquireError> {
        let limit = self.limit;
        if self.closed {
            return Err(TryAcquireError::Closed);
        }
        if n > limit {
            return Err(TryAcquireError::TooMany { asked: n, limit });
        }
        let would_be_next = match self.next() {
            None => true,
            Some(next) => {
                let first = self.classes[next].queue.front().expect("it waits").1;
                let (mine, theirs) = (
                    self.is_within_share(class, n),
                    self.is_within_share(next, first),
                );
                self.classes[class].queue.is_empty()
                    && (mine && !theirs || mine == theirs && class < next)
            }
        };
        if n == 0 || would_be_next && self.fits(n) {
            Ok(())
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
        while let Some(class) = self.next() {
            let &(id, n) = self.classes[class].queue.front().expect("it waits");
            if n > self.limit {
                self.set(id, Expect::SentAway);
            } else if self.fits(n) {
                self.classes[class].in_flight += n;
                self.set(id, Expect::Granted);
            } else {
                return;
            }
            self.classes[class].queue.pop_front();
        }
    }

    fn run(&mut self, step: Step) {
        let classes = self.classes.len();
        match step {
            Step::Try(class, n) => {
                let class = class % classes;
                let answer = self.answer(class, n);
                assert_eq!(self.permits.try_acquire(class, n), answer);
                if answer.is_ok() {
                    self.classes[class].in_flight += n;
                    self.held.push((class, n));
                }
            }
            Step::Wait(class, n) => self.wait(class % classes, n),
            Step::Release(at) if !self.held.is_empty() => {
                let (class, n) = self.held.swap_remove(at % self.held.len());
                self.permits.release(class, n).unwrap();
                self.classes[class].in_flight -= n;
                self.serve();
            }
            Step::Poll(at) if !self.waiters.is_empty() => self.poll(at % self.waiters.len()),
            Step::Cancel(at) if !self.waiters.is_empty() => {
                let waiter = self.waiters.swap_remove(at % self.waiters.len());
                let class = &mut self.classes[waiter.class];
                class.queue.retain(|queued| queued.0 != waiter.id);
                if waiter.expect == Expect::Granted {
                    class.in_flight -= waiter.n;
                }
                drop(waiter);
                self.serve();
            }
            Step::SetLimit(limit) => {
                let shares = self.shares();
                let answer = if shares > limit {
                    let shares = u64::from(shares);
                    Err(ClassesError::SharesAboveLimit { shares, limit })
                } else {
                    Ok(std::mem::replace(&mut self.limit, limit))
                };
                assert_eq!(self.permits.set_limit(limit), answer);
                self.serve();
            }
            Step::SetShare(class, share) => {
                let (class, limit) = (class % classes, self.limit);
                let shares = self.shares() - self.classes[class].share + share;
                let answer = if shares > limit {
                    let shares = u64::from(shares);
                    Err(ClassesError::SharesAboveLimit { shares, limit })
                } else {
                    Ok(std::mem::replace(&mut self.classes[class].share, share))
                };
                assert_eq!(self.permits.set_share(class, share), answer);
                self.serve();
            }
            Step::Close => {
                self.permits.close();
                self.closed = true;
                for class in 0..classes {
                    for (id, _) in std::mem::take(&mut self.classes[class].queue) {
                        self.set(id, Expect::SentAway);
                    }
                }
            }
            Step::Release(_) | Step::Poll(_) | Step::Cancel(_) => {}
        }
    }

    fn wait(&mut self, class: usize, n: u32) {
        let answer = self.answer(class, n);
        let mut waiter = Waiter {
            id: self.next_id,
            class,
            n,
            wait: ClassedWait::new(),
            count: Count::new(),
            expect: Expect::Waiting,
        };
        self.next_id += 1;
        let waker = waiter.count.waker();
        let mut cx = Context::from_waker(&waker);
        let polled = self
            .permits
            .poll_acquire(&mut cx, class, n, &mut waiter.wait);
        match (polled, answer) {
            (Poll::Ready(Ok(())), Ok(())) => {
                self.classes[class].in_flight += n;
                self.held.push((class, n));
            }
            (Poll::Pending, Err(TryAcquireError::Unavailable)) => {
                self.classes[class].queue.push_back((waiter.id, n));
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
        let (class, n) = (waiter.class, waiter.n);
        let waker = waiter.count.waker();
        let mut cx = Context::from_waker(&waker);
        let polled = self
            .permits
            .poll_acquire(&mut cx, class, n, &mut waiter.wait);
        match (polled, waiter.expect) {
            (Poll::Pending, Expect::Waiting) => return,
            (Poll::Ready(Ok(())), Expect::Granted) => self.held.push((class, n)),
            (Poll::Ready(Err(_)), Expect::SentAway) => {}
            other => panic!("the permits and the model differ: {other:?}"),
        }
        self.waiters.swap_remove(at);
    }

    fn check(&self) {
        let permits = &self.permits;
        assert_eq!(permits.in_flight(), self.in_flight());
        assert_eq!(permits.limit(), self.limit);
        assert_eq!(permits.is_closed(), self.closed);
        let mut lent = 0;
        let mut waits_within_share = false;
        for (at, class) in self.classes.iter().enumerate() {
            assert_eq!(permits.in_flight_of(at), class.in_flight);
            assert_eq!(permits.share(at), class.share);
            assert_eq!(permits.waiting_of(at), class.queue.len());
            lent += class.in_flight.saturating_sub(class.share);
            let first = class.queue.front();
            waits_within_share |= first.is_some_and(|&(_, n)| self.is_within_share(at, n));
        }
        let waiting: usize = self.classes.iter().map(|class| class.queue.len()).sum();
        assert_eq!(permits.waiting(), waiting);
        assert!(
            !waits_within_share || lent > 0,
            "only what is lent keeps one from its share"
        );
        for waiter in &self.waiters {
            let told = usize::from(waiter.expect != Expect::Waiting);
            assert_eq!(waiter.count.get(), told, "woken once, when it was served");
        }
    }
}

/// One to five classes, whose shares are 8 at the most.
fn shares() -> impl Strategy<Value = Vec<u32>> {
    let any = prop::collection::vec(0..5_u32, 1..=5);
    any.prop_filter("more than the limit", |shares| {
        shares.iter().sum::<u32>() <= 8
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn behave_like_a_deque_for_each_class(
        shares in shares(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut model = Model::new(&shares);
        for step in steps {
            model.run(step);
            model.check();
        }
        // Everything comes back.
        model.waiters.clear();
        for (class, n) in std::mem::take(&mut model.held) {
            model.permits.release(class, n).unwrap();
        }
        prop_assert_eq!(model.permits.in_flight(), 0);
        prop_assert_eq!(model.permits.waiting(), 0);
    }

    /// Each field of the word, up to its edges, for each number of classes.
    #[test]
    fn no_field_of_the_word_runs_into_another(
        classes in 1..=ClassedPermits::MAX_CLASSES,
        parts in prop::collection::vec(any::<u32>(), ClassedPermits::MAX_CLASSES),
    ) {
        let limit = ClassedPermits::max_limit(classes);
        let permits = ClassedPermits::new(limit, &vec![0; classes], usize::MAX).unwrap();
        let mut out = vec![0; classes];
        for (class, part) in parts.into_iter().enumerate().take(classes) {
            let n = part % (permits.available() + 1);
            permits.try_acquire(class, n).unwrap();
            out[class] = n;
        }
        // The last takes the rest.
        let rest = permits.available();
        permits.try_acquire(classes - 1, rest).unwrap();
        out[classes - 1] += rest;
        prop_assert_eq!(permits.in_flight(), limit);
        for (class, &n) in out.iter().enumerate() {
            prop_assert_eq!(permits.in_flight_of(class), n);
            prop_assert!(permits.release(class, n + 1).is_err());
        }
        for (class, n) in out.into_iter().enumerate() {
            permits.release(class, n).unwrap();
        }
        prop_assert_eq!((permits.in_flight(), permits.limit()), (0, limit));
    }
}
