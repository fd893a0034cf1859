//! Random steps against plain sums, until a million of them were cancels, resizes or forgets:
//! permits of no class are lost or made, in flight rises only as far as the limit in force, and
//! only what is lent keeps a class from its share.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use flow_ratelimit::{ClassPermit, ClassedLimiter, OwnedClassPermit, PermitClass, PermitError};

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

type Wait = Pin<Box<dyn Future<Output = Result<OwnedClassPermit, PermitError>>>>;

/// Permits of one class.
#[derive(Default)]
struct Side {
    held: Vec<OwnedClassPermit>,
    /// With what each asks for, in the order of asking.
    waits: Vec<(u32, Wait)>,
    forgotten: u32,
}

impl Side {
    fn held(&self) -> u32 {
        self.held.iter().map(OwnedClassPermit::count).sum::<u32>() + self.forgotten
    }
}

struct Model {
    limiter: ClassedLimiter,
    classes: Vec<PermitClass>,
    sides: [Side; 3],
    telling: u32,
}

impl Model {
    fn new() -> Self {
        let builder = ClassedLimiter::builder().limit(8).counted(false);
        let builder = builder.class("a", 3).class("b", 2).class("c", 0);
        let limiter = builder.build().expect("valid");
        Self {
            classes: limiter.classes().collect(),
            limiter,
            sides: Default::default(),
            telling: 0,
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        let n = dice.below(5) as u32;
        let at = dice.below(3);
        let (class, side) = (self.classes[at].clone(), &mut self.sides[at]);
        match dice.below(20) {
            0..=2 => {
                let taken = class.try_acquire_n(n).map(ClassPermit::into_owned);
                side.held.extend(taken);
            }
            3..=7 if side.waits.len() < 12 => {
                let wait = async move { Ok(class.acquire_n(n).await?.into_owned()) };
                side.waits.push((n, Box::pin(wait)));
                let last = side.waits.len() - 1;
                poll(side, last);
            }
            8..=9 if !side.waits.is_empty() => {
                let which = dice.below(side.waits.len());
                poll(side, which);
            }
            10..=12 if !side.waits.is_empty() => {
                self.telling += 1;
                drop(side.waits.remove(dice.below(side.waits.len())));
            }
            13 => {
                self.telling += 1;
                let forgotten: u32 = self.sides.iter().map(|side| side.forgotten).sum();
                // Refused if it is below the shares.
                let _ = self.limiter.set_limit(forgotten + dice.below(13) as u32);
            }
            14 => {
                self.telling += 1;
                // Refused if all are above the limit. What is forgotten counts for its class.
                let _ = class.set_share(side.forgotten + n);
            }
            15 if side.held.len() > 1 => {
                let mut permit = side.held.swap_remove(dice.below(side.held.len()));
                let part = permit.split(n / 2);
                let into = dice.below(side.held.len());
                side.held[into].merge(permit).expect("of one class");
                side.held.extend(part);
            }
            16 if dice.below(500) == 0 && !side.held.is_empty() => {
                self.telling += 1;
                let permit = side.held.swap_remove(dice.below(side.held.len()));
                side.forgotten += permit.count();
                permit.forget();
            }
            _ if !side.held.is_empty() => {
                drop(side.held.swap_remove(dice.below(side.held.len())));
            }
            _ => {}
        }
    }

    /// Counted anew from what is held; what was handed to those who have not looked is out as well.
    fn check(&self, before: u32) -> u32 {
        let in_flight = self.limiter.in_flight();
        assert!(in_flight <= before.max(self.limiter.limit()));
        let mut sum = 0;
        for (class, side) in self.classes.iter().zip(&self.sides) {
            assert!(class.in_flight() >= side.held());
            sum += class.in_flight();
        }
        assert_eq!(in_flight, sum);
        in_flight
    }

    fn check_shares(&self) {
        let lent: u32 = self.classes.iter().map(|class| class.stats().lent).sum();
        for (class, side) in self.classes.iter().zip(&self.sides) {
            // Those who wait still are the last of those who were not polled to an end.
            let queued = class.stats().waiting;
            let first = side.waits.len() - queued.min(side.waits.len());
            if let Some(&(n, _)) = side.waits.get(first).filter(|_| queued > 0) {
                let within = class.in_flight() + n <= class.share();
                assert!(!within || lent > 0, "only what is lent keeps one out");
            }
        }
    }
}

fn poll(side: &mut Side, at: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    match side.waits[at].1.as_mut().poll(&mut cx) {
        Poll::Pending => return,
        Poll::Ready(Ok(permit)) => side.held.push(permit),
        Poll::Ready(Err(PermitError::ExceedsLimit { requested, .. })) => {
            assert!(requested > 0, "nothing is always there");
        }
        Poll::Ready(Err(error)) => panic!("{error}"),
    }
    drop(side.waits.remove(at));
}

#[test]
fn cancels_resizes_and_forgets() {
    let mut model = Model::new();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut before = 0;
    while model.telling < TELLING_STEPS {
        model.step(&mut dice);
        before = model.check(before);
        if model.telling.is_multiple_of(16) {
            model.check_shares();
        }
    }
    for (class, side) in model.classes.iter().zip(&mut model.sides) {
        side.waits.clear();
        side.held.clear();
        // What others wait for may still have been handed over.
        assert!(class.in_flight() >= side.forgotten);
    }
    for (class, side) in model.classes.iter().zip(&model.sides) {
        assert_eq!(class.in_flight(), side.forgotten);
        assert_eq!(class.stats().waiting, 0);
    }
    for class in &model.classes {
        class.set_share(0).expect("less is always possible");
    }
    let forgotten = model.limiter.in_flight();
    model
        .limiter
        .set_limit(forgotten + 5)
        .expect("a small limit");
    let all = model.classes[2].try_acquire_n(5);
    assert_eq!(all.expect("the queue is gone").count(), 5);
}
