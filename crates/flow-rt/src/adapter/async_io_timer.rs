//! The timer of smol and async-std, and tokio's fine one: async-io's, on timerfd, with nanosecond
//! precision.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

#[cfg(not(feature = "smol"))]
use async_io::Timer as Host;
#[cfg(feature = "smol")]
use smol::Timer as Host;

use super::rearmed::{self, HostTimer};
use crate::instant::Instant;
use crate::timer::{BoxTimer, Stopped};

struct AsyncIoTimer {
    host: Host,
    /// async-io's timer is pending again after it has fired; ours stays ready.
    fired: bool,
}

pub(crate) fn timer(at: Instant) -> BoxTimer {
    let host = match deadline(at) {
        Some(at) => Host::at(at),
        None => Host::never(),
    };
    let fired = false;
    rearmed::timer(at, AsyncIoTimer { host, fired })
}

impl HostTimer for AsyncIoTimer {
    fn set(mut self: Pin<&mut Self>, _: Instant, at: Instant) {
        self.fired = false;
        match deadline(at) {
            Some(at) => self.host.set_at(at),
            None => self.host = Host::never(),
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        if !self.fired {
            core::task::ready!(Pin::new(&mut self.host).poll(cx));
            self.fired = true;
        }
        Poll::Ready(Ok(()))
    }
}

fn deadline(at: Instant) -> Option<std::time::Instant> {
    if at.is_far_future() {
        None
    } else {
        at.to_std()
    }
}
