//! How channels and writers behave: the cases, the edges, and storms of dropped futures.
#![cfg(all(any(feature = "channel", feature = "writer"), not(loom)))]

mod common;
#[cfg(all(feature = "channel", feature = "writer"))]
mod debug;
#[cfg(all(feature = "channel", feature = "writer"))]
mod errors;

#[cfg(feature = "channel")]
mod broadcast;
#[cfg(feature = "channel")]
mod broadcast_edges;
#[cfg(feature = "serde")]
mod broadcast_settings;
#[cfg(feature = "channel")]
mod broadcast_storm;
#[cfg(feature = "channel")]
mod channel;
#[cfg(feature = "channel")]
mod channel_answers;
#[cfg(feature = "channel")]
mod channel_cancels;
#[cfg(feature = "channel")]
mod channel_edges;
#[cfg(all(feature = "channel", feature = "tracing"))]
mod channel_events;
#[cfg(feature = "channel")]
mod channel_lost;
#[cfg(feature = "channel")]
mod channel_panics;
#[cfg(feature = "channel")]
mod channel_rendezvous;
#[cfg(feature = "channel")]
mod channel_room;
#[cfg(feature = "serde")]
mod channel_settings;
#[cfg(feature = "sink")]
mod channel_sink;
#[cfg(feature = "channel")]
mod channel_storm;
#[cfg(feature = "channel")]
mod channel_wakers;
#[cfg(feature = "channel")]
mod channel_weight;
#[cfg(feature = "channel")]
mod errors_of_many;
#[cfg(feature = "channel")]
mod oneshot;
#[cfg(feature = "channel")]
mod watch;

#[cfg(all(feature = "pipes", feature = "writer"))]
mod select;

#[cfg(feature = "pipes")]
mod pipes;
#[cfg(feature = "writer")]
mod sink;
#[cfg(feature = "writer")]
mod writer;
#[cfg(feature = "writer")]
mod writer_edges;
#[cfg(feature = "writer")]
mod writer_storm;

#[cfg(all(feature = "metrics", feature = "channel", feature = "writer"))]
mod metrics;
#[cfg(all(feature = "metrics", feature = "channel"))]
mod metrics_of_many;
