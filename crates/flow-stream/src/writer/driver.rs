//! The one who writes: takes what was accepted to the sink, again after an error, in order.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use flow_rt::{BoxTimer, Handle, catch, contain};
use futures_core::future::FusedFuture;

use super::sink::BlockingSink;
use super::state::{Next, Shared};

/// The background half of a writer, as a future to be polled by its owner.
///
/// It ends when the writer was closed and everything is written or given up. Dropping it earlier
/// ends the writer: what is buffered is abandoned, and whoever waits is told. Once it was ready it
/// stays pending.
#[must_use = "nothing is written unless the driver is polled"]
pub struct WriterDriver(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Future for WriterDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.0 else {
            return Poll::Pending;
        };
        ready!(running.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(())
    }
}

impl FusedFuture for WriterDriver {
    fn is_terminated(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for WriterDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterDriver").finish_non_exhaustive()
    }
}

/// How the driver goes about its work.
pub(crate) struct Plan {
    pub(crate) runtime: Handle,
    /// How long bytes may wait in the buffer; zero for as long as it takes.
    pub(crate) flush_interval: Duration,
    /// How often a busy period tries without any progress; at least 1.
    pub(crate) attempts: u32,
    pub(crate) retry_delay: Duration,
    pub(crate) on_error: Option<OnError>,
}

pub(crate) type OnError = Box<dyn Fn(&io::Error) + Send + Sync>;

impl WriterDriver {
    pub(crate) fn new(shared: Arc<Shared>, sink: Box<dyn BlockingSink>, plan: Plan) -> Self {
        // Made before the first poll, so that a driver that is never polled ends the writer too.
        let ending = Ending(shared.clone());
        let mut driver = Driver {
            shared,
            plan,
            drain: Some(Drain {
                sink,
                chunk: Vec::new(),
                offset: 0,
            }),
            timer: None,
            timer_runs: false,
        };
        Self(Some(Box::pin(async move {
            let _ending = ending;
            driver.run().await;
        })))
    }
}

/// Tells everybody when the driver is gone, however that comes.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended();
    }
}

struct Driver {
    shared: Arc<Shared>,
    plan: Plan,
    /// Out on loan while a blocking job runs; gone for good if the runtime dropped the job.
    drain: Option<Drain>,
    /// One timer for the flush interval and the delays between attempts.
    timer: Option<BoxTimer>,
    timer_runs: bool,
}

impl Driver {
    async fn run(&mut self) {
        loop {
            // What the busy period may have left is the timer of its last pause, which has fired.
            self.timer_runs = false;
            poll_fn(|cx| self.poll_idle(cx)).await;
            self.shared.begin();
            if self.busy().await.is_err() {
                return;
            }
            if self.shared.is_done() {
                self.close_sink().await;
                return;
            }
        }
    }

    /// Waits for a reason to write: somebody who waits, much to write, a close, or the time.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (work, unflushed) = self.shared.poll_work(cx);
        if work.is_ready() {
            return Poll::Ready(());
        }
        let period = if self.shared.is_failing() {
            self.plan.flush_interval.max(self.plan.retry_delay)
        } else {
            self.plan.flush_interval
        };
        if !unflushed || period.is_zero() {
            self.timer_runs = false;
            return Poll::Pending;
        }
        if !self.timer_runs {
            self.arm(period);
        }
        self.poll_timer(cx)
    }

    /// Writes until nothing is left, with as many attempts as are allowed.
    async fn busy(&mut self) -> Result<(), RuntimeGone> {
        let mut attempt = 1;
        loop {
            let mut drain = self.drain.take().ok_or(RuntimeGone)?;
            let shared = self.shared.clone();
            let job = self.plan.runtime.spawn_blocking(move || {
                let outcome = drain.run(&shared);
                (drain, outcome)
            });
            let (drain, outcome) = job.await.map_err(|_| RuntimeGone)?;
            self.drain = Some(drain);
            let Err(failure) = outcome else {
                return Ok(());
            };
            self.shared.counters.errors.add_exclusive(1);
            if let Some(hook) = &self.plan.on_error {
                contain(|| hook(&failure.error));
            }
            // Progress makes it a new trouble.
            attempt = if failure.progress { 1 } else { attempt };
            if attempt >= self.plan.attempts {
                self.shared.failed(Arc::new(failure.error));
                return Ok(());
            }
            if self.pause().await {
                return Ok(());
            }
            attempt += 1;
        }
    }

    /// Waits between two attempts; true if the writer is to end instead.
    async fn pause(&mut self) -> bool {
        self.arm(self.plan.retry_delay);
        poll_fn(|cx| {
            if self.shared.poll_give_up(cx) {
                return Poll::Ready(true);
            }
            self.poll_timer(cx).map(|()| false)
        })
        .await
    }

    /// Drops the sink where that may block.
    async fn close_sink(&mut self) {
        let drain = self.drain.take();
        let closing = self
            .plan
            .runtime
            .spawn_blocking(move || contain(|| drop(drain)));
        // If the runtime drops the job, the sink goes with it.
        drop(closing.await);
    }

    fn arm(&mut self, delay: Duration) {
        let runtime = &self.plan.runtime;
        let at = runtime.now() + delay;
        match &mut self.timer {
            Some(timer) => timer.arm(at),
            None => self.timer = Some(runtime.timer(at)),
        }
        self.timer_runs = true;
    }

    /// Ready when the time has come, and when there is nobody to say so: then the next blocking
    /// job fails too, which ends the driver.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.poll_fired(cx).map(drop),
            None => Poll::Pending,
        }
    }
}

/// The runtime dropped a blocking job, and the sink with it.
struct RuntimeGone;

/// The sink with the bytes it is to take: moved into each blocking job and back.
struct Drain {
    sink: Box<dyn BlockingSink>,
    chunk: Vec<u8>,
    /// How much of `chunk` the sink has taken: where to go on after an error.
    offset: usize,
}

struct Failure {
    error: io::Error,
    /// Whether any byte was taken, or any flush done, before it.
    progress: bool,
}

impl Drain {
    /// Writes and flushes until nothing is left to do.
    fn run(&mut self, shared: &Shared) -> Result<(), Failure> {
        let mut progress = false;
        loop {
            while self.offset < self.chunk.len() {
                match self.write_some() {
                    Ok(taken) => {
                        self.offset += taken;
                        shared.counters.written_bytes.add_exclusive(taken as u64);
                        progress = true;
                    }
                    Err(error) => return Err(Failure { error, progress }),
                }
            }
            self.offset = 0;
            if self.chunk.capacity() > shared.settings.capacity {
                // A write larger than the buffer had it to itself; its memory does not stay.
                self.chunk = Vec::new();
            }
            self.chunk.clear();
            match shared.next(&mut self.chunk) {
                Next::Write => {}
                Next::Flush(position) => match retry_interrupted(|| self.sink.flush()) {
                    Ok(()) => {
                        shared.flushed(position);
                        progress = true;
                    }
                    Err(error) => return Err(Failure { error, progress }),
                },
                Next::Rest => return Ok(()),
            }
        }
    }

    fn write_some(&mut self) -> io::Result<usize> {
        let rest = &self.chunk[self.offset..];
        let taken = retry_interrupted(|| self.sink.write(rest))?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if taken > rest.len() {
            return Err(io::Error::other(format!(
                "the sink says it took {taken} bytes of {}",
                rest.len()
            )));
        }
        Ok(taken)
    }
}

/// Calls the sink; its panic is an error like any other.
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match catch(&mut call) {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(done) => return done,
            Err(panic) => return Err(io::Error::other(format!("the sink panicked: {panic}"))),
        }
    }
}
