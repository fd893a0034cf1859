//! Random steps against plain sums, until a million of them were cancels, resizes or forgets:
//! permits are neither lost nor made, and in flight rises only as far as the limit in force. So it
//! is never more than the largest limit in force when each permit that is out was taken.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread::ScopedJoinHandle;

use flow_ratelimit::{AcquireOwnedPermit, ConcurrencyLimiter, Fairness, OwnedPermit, PermitError};

const TELLING_STEPS: u32 = 1_000_000;

/// xorshift64*: the same steps on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }
}

struct Model {
    limiter: ConcurrencyLimiter,
    limit: u32,
    held: Vec<OwnedPermit>,
    waits: Vec<Pin<Box<AcquireOwnedPermit>>>,
    forgotten: u32,
    /// Cancels, resizes and forgets.
    telling: u32,
}

impl Model {
    fn new(fairness: Fairness) -> Self {
        let builder = ConcurrencyLimiter::builder().limit(8).fairness(fairness);
        Self {
            limiter: builder.build().expect("valid"),
            limit: 8,
            held: Vec::new(),
            waits: Vec::new(),
            forgotten: 0,
            telling: 0,
        }
    }

    fn held(&self) -> u32 {
        self.held.iter().map(OwnedPermit::count).sum::<u32>() + self.forgotten
    }

    fn step(&mut self, dice: &mut Dice) {
        let n = dice.below(5) as u32;
        match dice.below(20) {
            0..=3 => self.held.extend(self.limiter.try_acquire_owned_n(n)),
            4..=8 if self.waits.len() < 40 => {
                let wait = Box::pin(self.limiter.acquire_owned_n(n));
                self.waits.push(wait);
                let last = self.waits.len() - 1;
                self.poll(last);
            }
            9..=10 if !self.waits.is_empty() => self.poll(dice.below(self.waits.len())),
            11..=12 if !self.waits.is_empty() => {
                self.telling += 1;
                drop(self.waits.swap_remove(dice.below(self.waits.len())));
            }
            13 => {
                self.telling += 1;
                self.limit = self.forgotten + dice.below(13) as u32;
                self.limiter.set_limit(self.limit).expect("a small limit");
            }
            14 if !self.held.is_empty() => {
                let at = dice.below(self.held.len());
                let part = self.held[at].split(n);
                self.held.extend(part);
            }
            15 if self.held.len() > 1 => {
                let permit = self.held.swap_remove(dice.below(self.held.len()));
                let into = dice.below(self.held.len());
                self.held[into].merge(permit).expect("of one limiter");
            }
            16 if dice.below(1_000) == 0 && !self.held.is_empty() => {
                self.telling += 1;
                let permit = self.held.swap_remove(dice.below(self.held.len()));
                self.forgotten += permit.count();
                permit.forget();
            }
            _ if !self.held.is_empty() => {
                drop(self.held.swap_remove(dice.below(self.held.len())));
            }
            _ => {}
        }
    }

    fn poll(&mut self, at: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        match self.waits[at].as_mut().poll(&mut cx) {
            Poll::Pending => return,
            Poll::Ready(Ok(permit)) => self.held.push(permit),
            Poll::Ready(Err(PermitError::ExceedsLimit { requested, .. })) => {
                assert!(requested > 0, "nothing is always there");
            }
            Poll::Ready(Err(error)) => panic!("{error}"),
        }
        drop(self.waits.swap_remove(at));
    }
}

fn run(fairness: Fairness, seed: u64) {
    let mut model = Model::new(fairness);
    let mut dice = Dice(seed);
    let mut before = 0;
    for step in 0.. {
        if model.telling == TELLING_STEPS {
            break;
        }
        model.step(&mut dice);
        let in_flight = model.limiter.in_flight();
        assert!(
            in_flight <= before.max(model.limit),
            "step {step}: {in_flight} in flight after {before} at a limit of {}",
            model.limit
        );
        // What is handed to one who has not looked is out as well, if anything is handed over.
        let held = model.held();
        assert!(in_flight >= held, "step {step}: {held} are held");
        if fairness == Fairness::Barging {
            assert_eq!(in_flight, held, "step {step}");
        }
        before = in_flight;
    }
    model.waits.clear();
    assert_eq!(model.limiter.in_flight(), model.held());
    model.held.clear();
    let stats = model.limiter.stats();
    assert_eq!((stats.in_flight, stats.waiting), (model.forgotten, 0));
    let room = model.forgotten + 5;
    model.limiter.set_limit(room).expect("a small limit");
    let all = model.limiter.try_acquire_n(5).expect("the queue is gone");
    assert_eq!(all.count(), 5);
}

#[test]
fn in_order() {
    run(Fairness::Fifo, 0x9E37_79B9_7F4A_7C15);
}

#[test]
fn barging() {
    run(Fairness::Barging, 0xD1B5_4A32_D192_ED03);
}

#[test]
fn two_threads_and_a_moving_limit() {
    for fairness in [Fairness::Fifo, Fairness::Barging] {
        let model = Model::new(fairness);
        // The two of them ask for up to six, and the limit is never above four.
        model.limiter.set_limit(4).expect("a small limit");
        std::thread::scope(|scope| {
            let workers = [(), ()].map(|()| {
                scope.spawn(|| {
                    for step in 0..20_000_u32 {
                        // A limit below the need refuses; everything else comes.
                        match model.limiter.acquire_n_blocking(1 + step % 3) {
                            Ok(permit) => {
                                if step % 64 == 0 {
                                    // Held while the others run, on one core too.
                                    std::thread::yield_now();
                                }
                                let in_flight = model.limiter.in_flight();
                                assert!(in_flight <= 4, "{in_flight} at a limit of 4 at the most");
                                drop(permit);
                            }
                            Err(PermitError::ExceedsLimit { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            });
            // All the while; none waits for ever, as the limit comes back to what each needs.
            let mut limits = (0..5).cycle();
            while !workers.iter().all(ScopedJoinHandle::is_finished) {
                let limit = limits.next().expect("without end");
                model.limiter.set_limit(limit).expect("a small limit");
            }
            model.limiter.set_limit(4).expect("a small limit");
        });
        let stats = model.limiter.stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0));
    }
}
