//! The ring against a plain queue with two lines of people: random steps on one thread, after
//! each of which everything that can be seen is compared.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use flow_sync::{PopError, PushError, Ring, Turn};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Push,
    PushMany(usize),
    Pop,
    PopMany(usize),
    Promise,
    UsePromise,
    Withdraw,
    ParkSender,
    ParkPromise,
    ParkReceiver,
    PollSender(usize),
    PollReceiver(usize),
    PollReceiverMany(usize, usize),
    LeaveSender(usize),
    LeaveReceiver(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Push),
        2 => (0_usize..5).prop_map(Step::PushMany),
        6 => Just(Step::Pop),
        2 => (0_usize..5).prop_map(Step::PopMany),
        2 => Just(Step::Promise),
        1 => Just(Step::UsePromise),
        1 => Just(Step::Withdraw),
        5 => Just(Step::ParkSender),
        2 => Just(Step::ParkPromise),
        5 => Just(Step::ParkReceiver),
        5 => any::<usize>().prop_map(Step::PollSender),
        5 => any::<usize>().prop_map(Step::PollReceiver),
        3 => (any::<usize>(), 1_usize..5).prop_map(|(who, max)| Step::PollReceiverMany(who, max)),
        2 => any::<usize>().prop_map(Step::LeaveSender),
        2 => any::<usize>().prop_map(Step::LeaveReceiver),
        1 => Just(Step::Close),
    ]
}

/// The rules, without any cleverness.
#[derive(Default)]
struct Model {
    capacity: usize,
    /// There is one receiver at most, everything is its own, and it is woken instead of granted.
    sole: bool,
    items: VecDeque<u32>,
    promises: usize,
    closed: bool,
    /// In the order of parking; true once granted.
    senders: Vec<bool>,
    receivers: Vec<bool>,
}

impl Model {
    fn granted(line: &[bool]) -> usize {
        line.iter().filter(|&&granted| granted).count()
    }

    fn waits(line: &[bool]) -> bool {
        line.contains(&false)
    }

    fn room(&self) -> usize {
        self.capacity - self.items.len() - self.promises - Self::granted(&self.senders)
    }

    fn is_drained(&self) -> bool {
        self.closed && self.items.is_empty() && self.promises == 0
    }

    fn admits(&self) -> Result<(), PushError> {
        if self.closed {
            Err(PushError::Closed)
        } else if Self::waits(&self.senders) || self.room() == 0 {
            Err(PushError::Full)
        } else {
            Ok(())
        }
    }

    fn available(&self) -> Result<usize, PopError> {
        let beyond = self
            .items
            .len()
            .saturating_sub(Self::granted(&self.receivers));
        match beyond {
            _ if self.is_drained() => Err(PopError::Closed),
            0 => Err(PopError::Empty),
            _ if Self::waits(&self.receivers) && !self.sole => Err(PopError::Empty),
            n => Ok(n),
        }
    }

    /// Whether the poll of a receiver that waits is ready.
    fn serves(&self, which: usize) -> bool {
        if self.sole {
            self.available() != Err(PopError::Empty)
        } else {
            self.receivers[which]
        }
    }

    fn grant(&mut self) {
        while !self.closed && self.room() > 0 {
            match self.senders.iter_mut().find(|granted| !**granted) {
                Some(granted) => *granted = true,
                None => break,
            }
        }
        while !self.sole && (self.items.len() > Self::granted(&self.receivers) || self.is_drained())
        {
            match self.receivers.iter_mut().find(|granted| !**granted) {
                Some(granted) => *granted = true,
                None => break,
            }
        }
    }
}

/// Whether it was woken since it was last asked.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Run {
    ring: Ring<u32>,
    /// Who receives.
    woken: Arc<Woken>,
    model: Model,
    /// With an item to send, or none if it is a promise that is waited for.
    senders: Vec<(Turn, Option<u32>)>,
    receivers: Vec<Turn>,
    next: u32,
}

impl Run {
    fn new(capacity: usize, sole: bool) -> Self {
        let ring = if sole {
            Ring::with_one_receiver(capacity)
        } else {
            Ring::new(capacity)
        };
        Self {
            ring: ring.unwrap(),
            woken: Arc::default(),
            model: Model {
                capacity,
                sole,
                ..Model::default()
            },
            senders: Vec::new(),
            receivers: Vec::new(),
            next: 0,
        }
    }

    fn item(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    #[allow(clippy::too_many_lines)] // one arm per step
    fn step(&mut self, step: &Step) {
        let mut cx = Context::from_waker(Waker::noop());
        let receiver = Waker::from(self.woken.clone());
        let mut receiving = Context::from_waker(&receiver);
        match *step {
            Step::Push => {
                let item = self.item();
                let expected = self.model.admits();
                assert_eq!(
                    self.ring.try_push(item),
                    expected.map_err(|why| (item, why))
                );
                if expected.is_ok() {
                    self.model.items.push_back(item);
                }
            }
            Step::PushMany(n) => {
                let mut items: VecDeque<_> = (0..n).map(|_| self.item()).collect();
                let expected = if n == 0 {
                    Ok(0)
                } else {
                    self.model.admits().map(|()| n.min(self.model.room()))
                };
                for &item in items.iter().take(expected.unwrap_or(0)) {
                    self.model.items.push_back(item);
                }
                assert_eq!(self.ring.try_push_many(&mut items), expected);
                assert_eq!(items.len(), n - expected.unwrap_or(0));
            }
            Step::Pop => {
                let expected = self.model.available();
                let expected = expected.map(|_| self.model.items.pop_front().unwrap());
                assert_eq!(self.ring.try_pop(), expected);
            }
            Step::PopMany(max) => {
                let mut batch = Vec::new();
                let expected = if max == 0 {
                    Ok(0)
                } else {
                    self.model.available().map(|n| n.min(max))
                };
                assert_eq!(self.ring.try_pop_many(&mut batch, max), expected);
                let items = self.model.items.drain(..expected.unwrap_or(0));
                assert!(items.eq(batch));
            }
            Step::Promise => {
                let expected = self.model.admits();
                assert_eq!(self.ring.try_promise(), expected);
                self.model.promises += usize::from(expected.is_ok());
            }
            Step::UsePromise if self.model.promises > 0 => {
                let item = self.item();
                assert_eq!(self.ring.push_promised(item), Ok(()));
                self.model.promises -= 1;
                self.model.items.push_back(item);
            }
            Step::Withdraw if self.model.promises > 0 => {
                self.ring.withdraw();
                self.model.promises -= 1;
            }
            Step::ParkSender if self.model.admits() == Err(PushError::Full) => {
                let mut sender = (Turn::New, Some(self.item()));
                for _ in 0..2 {
                    let polled = self.ring.poll_push(&mut cx, &mut sender.0, &mut sender.1);
                    assert!(polled.is_pending());
                }
                self.senders.push(sender);
                self.model.senders.push(false);
            }
            Step::ParkPromise if self.model.admits() == Err(PushError::Full) => {
                let mut turn = Turn::New;
                for _ in 0..2 {
                    assert!(self.ring.poll_promise(&mut cx, &mut turn).is_pending());
                }
                self.senders.push((turn, None));
                self.model.senders.push(false);
            }
            Step::ParkReceiver if self.model.sole && !self.receivers.is_empty() => {}
            Step::ParkReceiver if self.model.available() == Err(PopError::Empty) => {
                let mut turn = Turn::New;
                self.woken.0.store(false, Ordering::Relaxed);
                let polled = self.ring.poll_pop(&mut receiving, &mut turn, false);
                assert!(polled.is_pending());
                self.receivers.push(turn);
                self.model.receivers.push(false);
            }
            Step::PollSender(which) if !self.senders.is_empty() => {
                let which = which % self.senders.len();
                let (turn, slot) = &mut self.senders[which];
                let item = *slot;
                let polled = match item {
                    Some(_) => self.ring.poll_push(&mut cx, turn, slot),
                    None => self.ring.poll_promise(&mut cx, turn),
                };
                if self.model.closed {
                    assert_eq!(polled, Poll::Ready(Err(PushError::Closed)));
                    assert_eq!(*slot, item);
                } else if self.model.senders[which] {
                    assert_eq!(polled, Poll::Ready(Ok(())));
                    self.model.items.extend(item);
                    self.model.promises += usize::from(item.is_none());
                } else {
                    assert!(polled.is_pending());
                    return;
                }
                self.senders.remove(which);
                self.model.senders.remove(which);
            }
            Step::PollReceiver(which) if !self.receivers.is_empty() => {
                let which = which % self.receivers.len();
                self.woken.0.store(false, Ordering::Relaxed);
                let polled = self
                    .ring
                    .poll_pop(&mut receiving, &mut self.receivers[which], true);
                if !self.model.serves(which) {
                    assert!(polled.is_pending());
                    return;
                }
                // The grant is good for an item, or for the news that there will be none.
                assert_eq!(polled, Poll::Ready(self.model.items.pop_front()));
                self.receivers.remove(which);
                self.model.receivers.remove(which);
            }
            Step::PollReceiverMany(which, max) if !self.receivers.is_empty() => {
                let which = which % self.receivers.len();
                let (turn, mut batch) = (&mut self.receivers[which], Vec::new());
                self.woken.0.store(false, Ordering::Relaxed);
                let polled = (self.ring).poll_pop_many(&mut receiving, turn, true, &mut batch, max);
                if !self.model.serves(which) {
                    assert!(polled.is_pending());
                    return;
                }
                self.receivers.remove(which);
                self.model.receivers.remove(which);
                // Its own, and those that are set aside for nobody else.
                let others = Model::granted(&self.model.receivers);
                let items = self.model.items.len();
                let popped = items.saturating_sub(others).max(1).min(max).min(items);
                assert_eq!(polled, Poll::Ready((popped > 0).then_some(popped)));
                assert!(self.model.items.drain(..popped).eq(batch));
            }
            Step::LeaveSender(which) if !self.senders.is_empty() => {
                let which = which % self.senders.len();
                self.ring.leave_push(&mut self.senders.remove(which).0);
                self.model.senders.remove(which);
            }
            Step::LeaveReceiver(which) if !self.receivers.is_empty() => {
                let which = which % self.receivers.len();
                self.ring.leave_pop(&mut self.receivers.remove(which));
                self.model.receivers.remove(which);
            }
            Step::Close => {
                assert_eq!(self.ring.close(), !self.model.closed);
                self.model.closed = true;
                // Room that was granted and not come for is taken back.
                self.model.senders.fill(false);
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        self.model.grant();
        if self.model.sole && !self.receivers.is_empty() && self.model.serves(0) {
            assert!(
                self.woken.0.load(Ordering::Relaxed),
                "asleep beside an item"
            );
        }
        assert_eq!(self.ring.len(), self.model.items.len());
        assert_eq!(self.ring.is_closed(), self.model.closed);
        assert_eq!(self.ring.is_drained(), self.model.is_drained());
        assert_eq!(
            self.ring.pushes() - self.ring.pops(),
            self.ring.len() as u64
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_queue_with_two_lines(capacity in 1_usize..6, steps in vec(step(), 1..120)) {
        let mut run = Run::new(capacity, false);
        for step in &steps {
            run.step(step);
            run.check();
        }
    }

    #[test]
    fn it_is_a_queue_with_one_line_and_a_sleeper(
        capacity in 1_usize..6,
        steps in vec(step(), 1..120),
    ) {
        let mut run = Run::new(capacity, true);
        for step in &steps {
            run.step(step);
            run.check();
        }
    }
}
