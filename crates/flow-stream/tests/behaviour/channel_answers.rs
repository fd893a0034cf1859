//! What every way of sending makes of a full channel, by the channel's answer to that: on every
//! runtime.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::common::poll;
use flow_rt::{OnFull, TestRuntime};
use flow_stream::{Channel, ChannelBuilder, DropReason, Receiver, Sender};

flow_rt::on_every_runtime! {
    every_way_of_sending_finds_the_same_answer,
}

/// Sends a 3. Whether it was sent.
type Sending<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

type Send3 = for<'a> fn(&'a Sender<u32>) -> Sending<'a>;

struct Way {
    name: &'static str,
    /// Whether it waits where the channel's answer is to wait.
    waits: bool,
    /// Whether it takes room before there is an item, which then cannot give way.
    reserves: bool,
    /// Whether a channel that weighs its items has it too, in the same form.
    of_weighed: bool,
    send: Send3,
}

const SEC: Duration = Duration::from_secs(1);

fn way(name: &'static str, waits: bool, send: Send3) -> Way {
    Way {
        name,
        waits,
        reserves: false,
        of_weighed: true,
        send,
    }
}

fn reserving(name: &'static str, waits: bool, send: Send3) -> Way {
    Way {
        reserves: true,
        of_weighed: false,
        ..way(name, waits, send)
    }
}

fn ways() -> Vec<Way> {
    let ways = vec![
        way("send", true, |tx| {
            Box::pin(async move { tx.send(3).await.is_ok() })
        }),
        way("try_send", false, |tx| {
            Box::pin(async move { tx.try_send(3).is_ok() })
        }),
        way("send_timeout", true, |tx| {
            Box::pin(async move { tx.send_timeout(3, SEC).await.is_ok() })
        }),
        way("send_timeout of zero", false, |tx| {
            Box::pin(async move { tx.send_timeout(3, Duration::ZERO).await.is_ok() })
        }),
        way("send_many", true, |tx| {
            Box::pin(async move {
                let mut items = VecDeque::from([3]);
                let sent = tx.send_many(&mut items).await.is_ok();
                assert_eq!(items.is_empty(), sent);
                sent
            })
        }),
        way("try_send_many", false, |tx| {
            Box::pin(async move {
                let mut items = VecDeque::from([3]);
                let sent = tx.try_send_many(&mut items).is_ok();
                assert_eq!(items.is_empty(), sent);
                sent
            })
        }),
        reserving("reserve", true, |tx| {
            Box::pin(async move { tx.reserve().await.map(|permit| permit.send(3)).is_ok() })
        }),
        reserving("try_reserve", false, |tx| {
            Box::pin(async move { tx.try_reserve().map(|permit| permit.send(3)).is_ok() })
        }),
        reserving("reserve_owned", true, |tx| {
            Box::pin(async move {
                let permit = tx.reserve_owned().await;
                permit.map(|permit| permit.send(3)).is_ok()
            })
        }),
        reserving("try_reserve_owned", false, |tx| {
            Box::pin(async move {
                let permit = tx.try_reserve_owned();
                permit.map(|permit| permit.send(3)).is_ok()
            })
        }),
    ];
    #[cfg(feature = "sink")]
    let ways = {
        let sink = Way {
            of_weighed: false,
            ..way("sink", true, |tx| {
                Box::pin(async move {
                    let mut sink = tx.clone().into_sink();
                    futures_util::SinkExt::feed(&mut sink, 3).await.is_ok()
                })
            })
        };
        ways.into_iter().chain([sink]).collect()
    };
    ways
}

/// What the hooks of a channel were told.
#[derive(Clone, Default)]
struct Hooks {
    dropped: Arc<Mutex<Vec<(u32, DropReason)>>>,
    blocked: Arc<AtomicU64>,
}

impl Hooks {
    /// A channel with room for two, which holds a 1 and a 2.
    fn full(&self, channel: ChannelBuilder<u32>) -> (Sender<u32>, Receiver<u32>) {
        let (dropped, blocked) = (self.dropped.clone(), self.blocked.clone());
        let (tx, rx) = channel
            .on_drop(move |item, why| dropped.lock().unwrap().push((item, why)))
            .on_block(move || {
                blocked.fetch_add(1, Relaxed);
            })
            .build()
            .unwrap();
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        (tx, rx)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Waits,
    Refused,
    Dropped(u32, DropReason),
}

impl Way {
    fn expected(&self, answer: OnFull) -> Answer {
        match answer {
            OnFull::Wait if self.waits => Answer::Waits,
            OnFull::DropOldest => Answer::Dropped(1, DropReason::Oldest),
            OnFull::DropNewest if !self.reserves => Answer::Dropped(3, DropReason::Newest),
            _ => Answer::Refused,
        }
    }
}

async fn every_way_of_sending_finds_the_same_answer(rt: TestRuntime) {
    let answers = [
        OnFull::Wait,
        OnFull::Reject,
        OnFull::DropNewest,
        OnFull::DropOldest,
    ];
    for way in ways() {
        for (answer, weighed) in answers.into_iter().flat_map(|a| [(a, false), (a, true)]) {
            if weighed && !way.of_weighed {
                continue;
            }
            let channel = if weighed {
                Channel::builder().max_weight(2, |_| 1)
            } else {
                Channel::builder().capacity(2)
            };
            let hooks = Hooks::default();
            let (tx, rx) = hooks.full(channel.on_full(answer).runtime(&rt));
            let expected = way.expected(answer);
            let case = format!("{}, {answer:?}, weighed: {weighed}", way.name);

            let mut sending = (way.send)(&tx);
            // The second poll parks one that waits.
            let sent = match poll(&mut sending) {
                Poll::Pending => poll(&mut sending),
                sent @ Poll::Ready(_) => sent,
            };
            let waits = expected == Answer::Waits;
            let blocked = hooks.blocked.load(Relaxed);
            assert_eq!(blocked, u64::from(waits), "{case}");
            assert_eq!(tx.stats().blocked_sends, blocked, "{case}");
            let (sent, held) = match expected {
                Answer::Waits => {
                    assert_eq!(sent, Poll::Pending, "{case}");
                    assert_eq!(rx.try_recv(), Ok(1), "{case}");
                    (Poll::Ready(sending.await), [2, 3])
                }
                Answer::Refused => {
                    assert_eq!(sent, Poll::Ready(false), "{case}");
                    (Poll::Ready(true), [1, 2])
                }
                Answer::Dropped(1, _) => (sent, [2, 3]),
                Answer::Dropped(..) => (sent, [1, 2]),
            };
            assert_eq!(sent, Poll::Ready(true), "{case}");
            let mut batch = Vec::new();
            rx.drain(&mut batch, 4);
            assert_eq!(batch, held, "{case}");
            let gone: Vec<_> = match expected {
                Answer::Dropped(item, why) => vec![(item, why)],
                _ => Vec::new(),
            };
            assert_eq!(*hooks.dropped.lock().unwrap(), gone, "{case}");
            assert_eq!(tx.stats().dropped(), gone.len() as u64, "{case}");
            assert_eq!(hooks.blocked.load(Relaxed), blocked, "told once: {case}");
        }
    }
}

/// A thread that blocks finds the answers of `send`.
#[test]
fn a_blocking_send_finds_the_same_answer() {
    for answer in [OnFull::Reject, OnFull::DropNewest, OnFull::DropOldest] {
        let hooks = Hooks::default();
        let (tx, rx) = hooks.full(Channel::builder().capacity(2).on_full(answer));
        let sent = tx.send_blocking(3).is_ok();
        assert_eq!(sent, answer != OnFull::Reject);
        let first = rx.try_recv();
        assert_eq!(first, Ok(if answer == OnFull::DropOldest { 2 } else { 1 }));
        let gone = match answer {
            OnFull::DropNewest => vec![(3, DropReason::Newest)],
            OnFull::DropOldest => vec![(1, DropReason::Oldest)],
            _ => Vec::new(),
        };
        assert_eq!(*hooks.dropped.lock().unwrap(), gone);
        assert_eq!(hooks.blocked.load(Relaxed), 0);
    }
    let hooks = Hooks::default();
    let (tx, rx) = hooks.full(Channel::builder().capacity(2));
    let sender = std::thread::spawn({
        let tx = tx.clone();
        move || tx.send_blocking(3).is_ok()
    });
    while hooks.blocked.load(Relaxed) == 0 {
        std::thread::yield_now();
    }
    for item in 1..4 {
        assert_eq!(rx.recv_blocking(), Ok(item));
    }
    assert!(sender.join().unwrap());
    assert_eq!(
        (hooks.blocked.load(Relaxed), tx.stats().blocked_sends),
        (1, 1)
    );
    assert!(hooks.dropped.lock().unwrap().is_empty());
}
