//! The answers, and what becomes of ten events with each.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_rt::OnFull;
use flow_rt::sim::Sim;
use flow_stream::{Channel, ChannelBuilder};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

const MS: Duration = Duration::from_millis(1);
const EVENTS: u64 = 10;

/// What the channel is to do with an event that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its sender waits: nothing is lost, and the source is slowed down to its consumer.
    Wait,
    /// Its sender is told at once, and gets it back.
    Reject,
    /// It goes: what is in the channel is worth more than what is new.
    DropNewest,
    /// The oldest goes: what is new is worth more.
    DropOldest,
    /// Its sender waits until a consumer has taken it: nothing lies about in between.
    Rendezvous,
    /// As `Wait`, by weight: the third event weighs as much as three.
    ByWeight,
}

impl Answer {
    pub(crate) const ALL: [Self; 6] = [
        Self::Wait,
        Self::Reject,
        Self::DropNewest,
        Self::DropOldest,
        Self::Rendezvous,
        Self::ByWeight,
    ];

    fn builder(self) -> ChannelBuilder<u64> {
        let builder = Channel::builder();
        match self {
            Self::Wait => builder.capacity(3),
            Self::Reject => builder.capacity(3).on_full(OnFull::Reject),
            Self::DropNewest => builder.capacity(3).on_full(OnFull::DropNewest),
            Self::DropOldest => builder.capacity(3).on_full(OnFull::DropOldest),
            Self::Rendezvous => builder.rendezvous(),
            Self::ByWeight => builder.max_weight(3, |event| if *event == 3 { 3 } else { 1 }),
        }
    }
}

/// Where the events went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) answer: Answer,
    pub(crate) received: Vec<u64>,
    /// The channel dropped them, and told its hook.
    pub(crate) dropped: Vec<u64>,
    /// They came back to their sender.
    pub(crate) returned: Vec<u64>,
    /// Sends that had to wait.
    pub(crate) waited: u64,
    pub(crate) sender_took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.answer)?;
        writeln!(f, "  received  {:?}", self.received)?;
        writeln!(f, "  dropped   {:?}", self.dropped)?;
        writeln!(f, "  returned  {:?}", self.returned)?;
        let (waited, took) = (self.waited, self.sender_took);
        write!(f, "  the sender waited {waited} times, and took {took:?}")
    }
}

/// Sends ten events into a channel with this answer, in virtual time.
pub(crate) fn show(answer: Answer) -> Result<Report, Failure> {
    let ran = Sim::new(0).run(move |rt| run(rt, answer));
    ran.map_err(|failure| failure.to_string())?.output
}

async fn run(rt: Sim, answer: Answer) -> Result<Report, Failure> {
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let hook = dropped.clone();
    let (tx, rx) = answer
        .builder()
        .on_drop(move |event, _why| hook.lock().expect("nobody panics").push(event))
        .build()?;

    let consumer = rt.spawn({
        let rt = rt.clone();
        async move {
            let mut received = Vec::new();
            while let Ok(event) = rx.recv().await {
                rt.sleep(3 * MS).await;
                received.push(event);
            }
            Ok::<_, Failure>(received)
        }
    });

    let (start, mut returned) = (rt.now(), Vec::new());
    for event in 1..=EVENTS {
        rt.sleep(MS).await;
        if let Err(refused) = tx.send(event).await {
            // What to do with it is up to the sender now.
            returned.push(refused.into_inner());
        }
    }
    let sender_took = rt.now() - start;
    let waited = tx.stats().blocked_sends;
    drop(tx); // the consumer gets what is in the channel, and then its end
    let received = consumer.await??;
    let dropped = dropped.lock().expect("nobody panics").clone();
    Ok(Report {
        answer,
        received,
        dropped,
        returned,
        waited,
        sender_took,
    })
}
