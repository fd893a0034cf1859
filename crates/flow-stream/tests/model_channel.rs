//! Channels under a lock against a plain queue with two lines of people: random steps on one
//! thread, after each of which everything that can be seen is compared. (Those over a ring are
//! compared in flow-sync, and with threads and drops at any point in the storms.)
#![cfg(all(feature = "channel", not(loom)))]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use flow_rt::OnFull;
use flow_stream::{
    Channel, DropReason, OwnedPermit, Receiver, SendManyError, Sender, TryRecvError, TrySendError,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Its number, and what it weighs.
type Item = (u32, u64);

#[derive(Clone, Debug)]
enum Step {
    Send(u64),
    SendMany(Vec<u64>),
    Recv,
    Drain(usize),
    Permit,
    UsePermit,
    DropPermit,
    ParkSender(u64),
    ParkReceiver(usize),
    PollSender(usize),
    PollReceiver(usize),
    LeaveSender(usize),
    LeaveReceiver(usize),
    CloneEnds,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let weight = 0_u64..5;
    prop_oneof![
        6 => weight.clone().prop_map(Step::Send),
        2 => vec(weight.clone(), 0..5).prop_map(Step::SendMany),
        5 => Just(Step::Recv),
        2 => (0_usize..5).prop_map(Step::Drain),
        1 => Just(Step::Permit),
        1 => Just(Step::UsePermit),
        1 => Just(Step::DropPermit),
        5 => weight.prop_map(Step::ParkSender),
        5 => (1_usize..4).prop_map(Step::ParkReceiver),
        5 => any::<usize>().prop_map(Step::PollSender),
        6 => any::<usize>().prop_map(Step::PollReceiver),
        2 => any::<usize>().prop_map(Step::LeaveSender),
        2 => any::<usize>().prop_map(Step::LeaveReceiver),
        1 => Just(Step::CloneEnds),
        1 => Just(Step::Close),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Full,
    TooHeavy,
    Closed,
}

/// The rules, without any cleverness.
struct Model {
    capacity: usize,
    /// What the items may weigh together, if they are weighed.
    limit: Option<u64>,
    answer: OnFull,
    items: VecDeque<Item>,
    dropped: Vec<(Item, DropReason)>,
    closed: bool,
    /// In the order of parking: what each is to send, and whether it was granted its room.
    senders: Vec<(Item, bool)>,
    /// How many each takes at the most, and whether it was granted its item.
    receivers: Vec<(usize, bool)>,
}

impl Model {
    fn weight(&self) -> u64 {
        let weights = self.items.iter().map(|item| item.1);
        self.limit.map_or(0, |_| weights.sum())
    }

    fn granted(&self) -> usize {
        self.receivers
            .iter()
            .filter(|(_, granted)| *granted)
            .count()
    }

    /// Whether there is room beside what was promised to senders.
    fn has_room(&self, weight: u64) -> bool {
        let promised = self.senders.iter().filter(|(_, granted)| *granted);
        let heavy: u64 = promised.clone().map(|(item, _)| item.1).sum();
        let fits = |limit| self.weight() + heavy + weight <= limit;
        self.items.len() + promised.count() < self.capacity && self.limit.is_none_or(fits)
    }

    fn admits(&self, weight: u64) -> Result<(), Refused> {
        if self.closed {
            Err(Refused::Closed)
        } else if self.limit.is_some_and(|limit| weight > limit) {
            Err(Refused::TooHeavy)
        } else if self.senders.iter().any(|(_, granted)| !granted) || !self.has_room(weight) {
            Err(Refused::Full)
        } else {
            Ok(())
        }
    }

    /// Sends without waiting.
    fn send(&mut self, item: Item) -> Result<(), Refused> {
        match (self.admits(item.1), self.answer) {
            (Err(Refused::Full), OnFull::DropNewest) => {
                self.dropped.push((item, DropReason::Newest));
                return Ok(());
            }
            (Err(Refused::Full), OnFull::DropOldest) => {
                while !self.has_room(item.1) {
                    let oldest = self.items.pop_front().expect("one that gives way");
                    self.dropped.push((oldest, DropReason::Oldest));
                }
            }
            (admitted, _) => admitted?,
        }
        self.items.push_back(item);
        Ok(())
    }

    fn is_drained(&self) -> bool {
        self.closed && self.items.is_empty()
    }

    fn available(&self) -> Result<usize, TryRecvError> {
        match self.items.len().saturating_sub(self.granted()) {
            _ if self.is_drained() => Err(TryRecvError::Closed),
            0 => Err(TryRecvError::Empty),
            n => Ok(n),
        }
    }

    fn grant(&mut self) {
        while !self.closed
            && let Some(at) = self.senders.iter().position(|(_, granted)| !granted)
            && self.has_room(self.senders[at].0.1)
        {
            self.senders[at].1 = true;
        }
        while (self.items.len() > self.granted() || self.is_drained())
            && let Some(at) = self.receivers.iter().position(|(_, granted)| !granted)
        {
            self.receivers[at].1 = true;
        }
    }
}

type Sending = Pin<Box<dyn Future<Output = Result<(), Item>>>>;
type Receiving = Pin<Box<dyn Future<Output = Vec<Item>>>>;

struct Run {
    tx: Sender<Item>,
    rx: Receiver<Item>,
    model: Model,
    dropped: Arc<Mutex<Vec<(Item, DropReason)>>>,
    senders: Vec<Sending>,
    receivers: Vec<Receiving>,
    permits: Vec<OwnedPermit<Item>>,
    next: u32,
}

fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T>>>) -> Poll<T> {
    let mut cx = Context::from_waker(Waker::noop());
    future.as_mut().poll(&mut cx)
}

impl Run {
    fn new(capacity: usize, limit: Option<u64>, answer: OnFull) -> Self {
        let dropped = Arc::new(Mutex::new(Vec::new()));
        let hook = dropped.clone();
        let channel = Channel::builder().capacity(capacity).on_full(answer);
        let channel = match limit {
            Some(limit) => channel.max_weight(limit, |item: &Item| item.1),
            None => channel,
        };
        let channel = channel.on_drop(move |item, why| hook.lock().unwrap().push((item, why)));
        let (tx, rx) = channel.build().unwrap();
        Self {
            tx,
            rx,
            model: Model {
                capacity,
                limit,
                answer,
                items: VecDeque::new(),
                dropped: Vec::new(),
                closed: false,
                senders: Vec::new(),
                receivers: Vec::new(),
            },
            dropped,
            senders: Vec::new(),
            receivers: Vec::new(),
            permits: Vec::new(),
            next: 0,
        }
    }

    fn item(&mut self, weight: u64) -> Item {
        self.next += 1;
        (self.next, weight)
    }

    #[allow(clippy::too_many_lines)] // one arm per step
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send(weight) => {
                let item = self.item(weight);
                let sent = self.tx.try_send(item).map_err(|refused| {
                    let why = match &refused {
                        TrySendError::Closed(_) => Refused::Closed,
                        TrySendError::Full(_) => Refused::Full,
                        TrySendError::TooHeavy(_) => Refused::TooHeavy,
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(refused.into_inner(), item);
                    why
                });
                assert_eq!(sent, self.model.send(item));
            }
            Step::SendMany(ref weights) => {
                let all: Vec<_> = weights.iter().map(|weight| self.item(*weight)).collect();
                let mut items: VecDeque<_> = all.iter().copied().collect();
                let sent = self.tx.try_send_many(&mut items).map_err(|why| match why {
                    SendManyError::Closed => Refused::Closed,
                    SendManyError::Full => Refused::Full,
                    SendManyError::TooHeavy { .. } => Refused::TooHeavy,
                    other => panic!("{other:?}"),
                });
                let mut left = all.into_iter().peekable();
                let mut expected = Ok(());
                while let (Ok(()), Some(&item)) = (expected, left.peek()) {
                    expected = self.model.send(item);
                    if expected.is_ok() {
                        left.next();
                    }
                }
                assert_eq!(sent, expected);
                assert!(left.eq(items), "what was not sent is there still");
            }
            Step::Recv => {
                let expected = self.model.available();
                let expected = expected.map(|_| self.model.items.pop_front().unwrap());
                assert_eq!(self.rx.try_recv(), expected);
            }
            Step::Drain(max) => {
                let mut batch = Vec::new();
                let expected = self.model.available().unwrap_or(0).min(max);
                assert_eq!(self.rx.drain(&mut batch, max), expected);
                assert!(self.model.items.drain(..expected).eq(batch));
            }
            Step::Permit => {
                let permit = self.tx.try_reserve_owned();
                let gives = self.model.limit.is_none() && !self.model.closed;
                assert_eq!(permit.is_ok(), gives);
                self.permits.extend(permit.ok());
            }
            Step::UsePermit => {
                let item = self.item(0);
                if let Some(permit) = self.permits.pop() {
                    permit.send(item);
                    // Nothing was promised, so a channel that was closed since drops it.
                    if self.model.send(item).is_err() {
                        self.model.dropped.push((item, DropReason::Closed));
                    }
                }
            }
            Step::DropPermit => drop(self.permits.pop()),
            Step::ParkSender(weight)
                if self.model.answer == OnFull::Wait
                    && self.model.admits(weight) == Err(Refused::Full) =>
            {
                let (tx, item) = (self.tx.clone(), self.item(weight));
                let mut sending: Sending = Box::pin(async move {
                    let sent = tx.send(item).await;
                    sent.map_err(flow_stream::SendError::into_inner)
                });
                assert!(poll(&mut sending).is_pending() && poll(&mut sending).is_pending());
                self.senders.push(sending);
                self.model.senders.push((item, false));
            }
            Step::ParkReceiver(max) if self.model.available() == Err(TryRecvError::Empty) => {
                let rx = self.rx.clone();
                let mut receiving: Receiving = Box::pin(async move {
                    let mut batch = Vec::new();
                    if max == 1 {
                        batch.extend(rx.recv().await);
                    } else {
                        rx.recv_many(&mut batch, max).await;
                    }
                    batch
                });
                assert!(poll(&mut receiving).is_pending() && poll(&mut receiving).is_pending());
                self.receivers.push(receiving);
                self.model.receivers.push((max, false));
            }
            Step::PollSender(which) if !self.senders.is_empty() => {
                let which = which % self.senders.len();
                let polled = poll(&mut self.senders[which]);
                let (item, granted) = self.model.senders[which];
                if self.model.closed {
                    assert_eq!(polled, Poll::Ready(Err(item)));
                } else if granted {
                    assert_eq!(polled, Poll::Ready(Ok(())));
                    self.model.items.push_back(item);
                } else {
                    assert!(polled.is_pending());
                    return;
                }
                self.model.senders.remove(which);
                drop(self.senders.remove(which));
            }
            Step::PollReceiver(which) if !self.receivers.is_empty() => {
                let which = which % self.receivers.len();
                let polled = poll(&mut self.receivers[which]);
                let (max, granted) = self.model.receivers[which];
                if !granted {
                    assert!(polled.is_pending());
                    return;
                }
                self.model.receivers.remove(which);
                drop(self.receivers.remove(which));
                // Its own, and those that are set aside for nobody else; nothing at the end.
                let items = self.model.items.len();
                let others = items.saturating_sub(self.model.granted());
                let popped = self.model.items.drain(..others.max(1).min(max).min(items));
                assert_eq!(polled, Poll::Ready(popped.collect()));
            }
            Step::LeaveSender(which) if !self.senders.is_empty() => {
                let which = which % self.senders.len();
                drop(self.senders.remove(which));
                self.model.senders.remove(which);
            }
            Step::LeaveReceiver(which) if !self.receivers.is_empty() => {
                let which = which % self.receivers.len();
                drop(self.receivers.remove(which));
                self.model.receivers.remove(which);
            }
            Step::CloneEnds => {
                self.tx = self.tx.downgrade().upgrade().expect("one is here");
                self.rx = self.rx.clone();
            }
            Step::Close => {
                self.tx.close();
                self.model.closed = true;
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        self.model.grant();
        let (stats, model) = (self.tx.stats(), &self.model);
        assert_eq!(
            (stats.len, stats.weight),
            (model.items.len(), model.weight())
        );
        assert_eq!(stats.closed, model.closed);
        assert_eq!(*self.dropped.lock().unwrap(), model.dropped);
        let gone = stats.received + stats.dropped_oldest;
        assert_eq!(stats.sent - gone, stats.len as u64);
    }

    /// The last ends go, and what is in the channel goes to the hook.
    fn end(mut self) {
        self.receivers.clear();
        self.senders.clear();
        self.permits.clear();
        drop(self.tx);
        assert!(self.rx.is_closed());
        drop(self.rx);
        let left = self.model.items.into_iter();
        self.model
            .dropped
            .extend(left.map(|item| (item, DropReason::NoReceiver)));
        assert_eq!(*self.dropped.lock().unwrap(), self.model.dropped);
    }
}

fn run(mut run: Run, steps: &[Step]) {
    for step in steps {
        run.step(step);
        run.check();
    }
    run.end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whose_oldest_items_give_way(capacity in 1_usize..6, steps in vec(step(), 1..120)) {
        run(Run::new(capacity, None, OnFull::DropOldest), &steps);
    }

    #[test]
    fn whose_items_are_weighed(
        capacity in 1_usize..6,
        limit in 1_u64..9,
        answer in prop_oneof![
            3 => Just(OnFull::Wait),
            1 => Just(OnFull::Reject),
            1 => Just(OnFull::DropNewest),
        ],
        steps in vec(step(), 1..120),
    ) {
        run(Run::new(capacity, Some(limit), answer), &steps);
    }
}
