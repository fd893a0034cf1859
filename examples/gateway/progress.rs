//! Where a connection stands, and the one timer that ends its standing still.
//!
//! HTTP/1 runs in one task per connection: reading a request, answering it, and writing the
//! answer are polled by the same future, one after the other. So what waits for whom can be two
//! words in the connection's own memory, written in passing, and a timer that looks at them a few
//! times within the limit. A request arms no timer and reads no clock for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use flow_rt::{BoxTimer, Handle};
use http_body_util::{Either, Full};
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::alarm::Alarm;
use crate::in_flight::Place;

/// Who has to do something for the connection to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Waits {
    /// The other side: it asks, or it takes or gives the rest of a body.
    Peer,
    /// The gateway: it decides, or writes its log.
    Gateway,
    /// The upstream: it has not begun to answer.
    Upstream,
}

/// Where one connection stands. Its own task writes and reads it; only the parts of an upload
/// are another task's to report.
pub(crate) struct Progress {
    rt: Handle,
    waits: AtomicU8,
    /// Something has happened since the timer last looked.
    has_moved: AtomicBool,
    /// The upstream has had its time.
    is_overdue: AtomicBool,
}

/// The upstream did not begin to answer in time.
#[derive(Debug)]
pub(crate) struct Overdue;

impl Progress {
    pub(crate) fn new(rt: &Handle) -> Arc<Self> {
        Arc::new(Self {
            rt: rt.clone(),
            waits: AtomicU8::new(Waits::Peer as u8),
            has_moved: AtomicBool::new(false),
            is_overdue: AtomicBool::new(false),
        })
    }

    /// A request is there: the time until its answer is the gateway's.
    pub(crate) fn asked(&self) {
        self.wait_for(Waits::Gateway);
    }

    /// The answer is on its way.
    pub(crate) fn answered(&self) {
        self.wait_for(Waits::Peer);
    }

    /// Waits for the upstream, until `Watched` says that it is overdue.
    pub(crate) async fn upstream<F: Future>(
        &self,
        mut answer: Pin<&mut F>,
    ) -> Result<F::Output, Overdue> {
        self.is_overdue.store(false, Ordering::Relaxed);
        self.wait_for(Waits::Upstream);
        let answered = std::future::poll_fn(|cx| {
            if self.is_overdue.load(Ordering::Relaxed) {
                return Poll::Ready(Err(Overdue));
            }
            answer.as_mut().poll(cx).map(Ok)
        });
        let answered = answered.await;
        self.wait_for(Waits::Gateway);
        answered
    }

    /// Part of a body has moved, or its end.
    fn moved(&self) {
        self.has_moved.store(true, Ordering::Relaxed);
    }

    fn wait_for(&self, waits: Waits) {
        self.waits.store(waits as u8, Ordering::Relaxed);
        self.moved();
    }

    fn waits_for(&self, whom: Waits) -> bool {
        self.waits.load(Ordering::Relaxed) == whom as u8
    }
}

/// How often the timer looks within the limit.
const LOOKS: u32 = 4;

/// Drives a connection to its end, or until it has stood still for a time: at least the limit,
/// and a look more at most.
pub(crate) struct Watched<C> {
    connection: C,
    progress: Arc<Progress>,
    timer: BoxTimer,
    /// From one look to the next.
    look: Duration,
    /// Looks, one after the other, that found that nothing had happened.
    still: u32,
    /// What the timer wakes: whoever polls the connection need not ask the timer, too.
    alarm: Alarm,
}

impl<C: Future + Unpin> Watched<C> {
    pub(crate) fn new(connection: C, progress: Arc<Progress>, limit: Duration) -> Self {
        let look = limit / LOOKS;
        Self {
            timer: progress.rt.sleep(look),
            connection,
            progress,
            look,
            still: 0,
            alarm: Alarm::default(),
        }
    }

    pub(crate) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }
}

impl<C: Future + Unpin> Future for Watched<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            // How a connection ends is the client's affair.
            if Pin::new(&mut this.connection).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let timer = &mut this.timer;
            match this.alarm.poll(cx.waker(), |cx| timer.poll_fired(cx)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            this.timer.arm(this.progress.rt.now() + this.look);
            let progress = &this.progress;
            if progress.has_moved.swap(false, Ordering::Relaxed)
                || progress.waits_for(Waits::Gateway)
            {
                this.still = 0;
                continue;
            }
            this.still += 1;
            if this.still == LOOKS {
                if !progress.waits_for(Waits::Upstream) {
                    return Poll::Ready(());
                }
                // The connection is polled again, and with it the request that waits.
                progress.is_overdue.store(true, Ordering::Relaxed);
                this.still = 0;
            }
        }
    }
}

/// An answer's body: the upstream's as it comes, or a text of our own.
pub(crate) struct Answer {
    body: Either<Incoming, Full<Bytes>>,
    /// Of the upstream's body, until its end.
    open: Option<Open>,
}

/// What a body holds while it is not at its end.
struct Open {
    progress: Arc<Progress>,
    place: Option<Place>,
    status: StatusCode,
    /// The upstream has sent all of it.
    is_whole: bool,
}

impl Answer {
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self {
            body: Either::Right(Full::new(text.into())),
            open: None,
        }
    }

    /// The upstream's body, in flight until its end.
    pub(crate) fn passed_on(
        body: Incoming,
        progress: Arc<Progress>,
        place: Place,
        status: StatusCode,
    ) -> Self {
        let is_whole = body.is_end_stream();
        Self {
            body: Either::Left(body),
            open: Some(Open {
                progress,
                place: Some(place),
                status,
                is_whole,
            }),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.body {
            Either::Left(body) => Pin::new(body).poll_frame(cx),
            Either::Right(text) => Pin::new(text)
                .poll_frame(cx)
                .map_err(|never| match never {}),
        };
        let is_whole = self.body.is_end_stream();
        if let (Poll::Ready(frame), Some(open)) = (&frame, &mut self.open) {
            match frame {
                Some(Ok(_)) => {
                    open.progress.moved();
                    open.is_whole = is_whole;
                }
                Some(Err(_)) => open.is_whole = false,
                None => open.is_whole = true,
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // A body that was cut off says nothing about the upstream: its client may have gone.
        if let Some(place) = self.place.take()
            && self.is_whole
        {
            place.answered(self.status);
        }
        self.progress.moved();
    }
}

/// A request's body on its way to the upstream: while parts of it come, nobody is overdue.
pub(crate) struct Upload {
    body: Incoming,
    progress: Arc<Progress>,
}

impl Upload {
    pub(crate) fn new(body: Incoming, progress: Arc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.progress.moved();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "progress/tests.rs"]
mod tests;
