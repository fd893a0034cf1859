//! Data in motion on any async runtime: channels that know what to do when full, and a writer
//! that keeps its word.
#![cfg_attr(
    feature = "channel",
    doc = r"
```
# fn main() -> Result<(), Box<dyn std::error::Error>> {
use flow_rt::{OnFull, block_on};
use flow_stream::Channel;

let (tx, rx) = Channel::<u32>::builder().capacity(1_024).on_full(OnFull::Wait).build()?;
block_on(async {
    tx.send(1).await?; // closed: the item comes back in the error
    drop(tx);
    let mut batch = Vec::new();
    assert_eq!(rx.recv_many(&mut batch, 64).await, 1);
    assert_eq!(rx.recv_many(&mut batch, 64).await, 0); // closed and drained
    Ok(())
})?
# }
```
"
)]
//! | item | for |
//! |---|---|
//! | `Channel` -> `Sender`, `Receiver` | a queue between tasks, lock-free while nobody waits, with an answer to "full" |
//! | `SoleReceiver`, `Permit`, `WeakSender` | its only receiver; room taken in advance; an end that does not count |
//! | `broadcast` | every receiver gets every item; an answer to a slow one |
//! | `oneshot` | one item from one task to another, once |
//! | `watch` | one value that changes, and many who want to know its latest |
//! | `Merge`, `FanOut`, `Tee`, `pipe` | many into one, one into any or all of many, a stream into them |
//! | `AsyncWriter` | bytes to a file or any other blocking sink, in order, flushed when it says so |
//!
//! # Features
//! - `channel` (default): channels of every kind.
//! - `sink`: `Sender::into_sink`, for the trait of `futures-sink`.
//! - `pipes`: `Merge`, `FanOut`, `Tee` and `pipe`, between channels and any other stream.
//! - `writer`: `AsyncWriter`.
//! - `metrics`: `collector()` on a writer and on ends of a channel, a broadcast and a watch, for a
//!   `flow_metrics::Registry`.
//! - `serde`: a channel's or broadcast's builder from settings.
//! - `tracing`: events for the items that a channel drops: the first of a burst, and how many there
//!   were at its end. (Not of a broadcast, whose receivers are told what they miss.)
//! - `loom`: only with `--cfg loom`, for this workspace's models.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "channel")]
pub mod broadcast;
#[cfg(feature = "channel")]
mod channel;
#[cfg(feature = "channel")]
mod closed;
#[cfg(feature = "channel")]
mod limit;
#[cfg(feature = "channel")]
pub mod oneshot;
#[cfg(feature = "pipes")]
mod pipes;
#[cfg(any(feature = "channel", feature = "writer"))]
mod wakers;
#[cfg(feature = "channel")]
pub mod watch;
#[cfg(feature = "writer")]
mod writer;

#[cfg(feature = "sink")]
pub use channel::ChannelSink;
#[cfg(feature = "channel")]
pub use channel::{
    Channel, ChannelBuilder, ChannelConfigError, ChannelStats, DropReason, OwnedPermit, Permit,
    Receiver, RecvBlockingError, RecvError, RecvFuture, RecvManyFuture, RecvTimeoutError,
    RecvTimeoutFuture, Rejected, ReserveError, ReserveFuture, ReserveOwnedFuture,
    SendBlockingError, SendError, SendFuture, SendManyError, SendManyFuture, SendTimeoutError,
    SendTimeoutFuture, Sender, SoleReceiver, TooHeavy, TryRecvError, TrySendError, WeakReceiver,
    WeakSender,
};
#[cfg(feature = "channel")]
pub use closed::ClosedFuture;
#[cfg(feature = "pipes")]
pub use pipes::{FanOut, FanOutFuture, Merge, Outlet, Pipe, PipeEnd, Tee, TeeFuture, pipe};
#[cfg(feature = "writer")]
pub use writer::{
    AsyncWriter, BlockingSink, FlushError, FlushFuture, LineWriter, ShutdownFuture, WriteError,
    WriteFuture, WriterBuilder, WriterConfigError, WriterDriver, WriterReport, WriterStats,
};
