//! Between channels and other streams: many into one, one into many, from here to there.
//!
//! Nothing in here spawns a task, and nothing holds room in a channel while it has no item for it.
//! What has to wait keeps its item in itself and not in the future that polls it, so a wait may be
//! given up at any time: by [`Handle::timeout`](flow_rt::Handle::timeout), by
//! [`CancellationToken::run_until_cancelled`](flow_rt::CancellationToken::run_until_cancelled), or
//! in `select!`, each with `&mut` to the future, which then gives back what it has.

mod blocking;
mod fan_out;
mod merge;
mod outgoing;
mod pipe;
mod tee;

pub use fan_out::{FanOut, FanOutFuture};
pub use merge::Merge;
pub use pipe::{Outlet, Pipe, PipeEnd, pipe};
pub use tee::{Tee, TeeFuture};
