//! Running something again when it fails.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use crate::backoff::{Backoff, BackoffConfigError, Delays, GiveUp};
use crate::context::TaskContext;
use crate::handle::Handle;
use crate::instant::Instant;
use crate::retry_budget::RetryBudget;
use crate::timer::BoxTimer;

/// Retries.
impl Handle {
    /// Runs `run` until it succeeds or `backoff` gives up, sleeping in between.
    ///
    /// Every run is a new call of `run`. The first one always happens, unless the plan is
    /// refused. The context of the task (see [`TaskContext::current`]) ends it: when it is
    /// cancelled no further run begins and the sleep is cut short, and it gives up at once if the
    /// deadline would pass before the next run. A run under way is left alone; to bound one, run
    /// it by [`timeout`](Self::timeout) or [`TaskContext::run`].
    ///
    /// # Errors
    /// [`RetryError`] with the last run's error.
    ///
    /// # Cancel safety
    /// Dropping the future drops the run under way, and there are no further ones.
    ///
    /// # Cost
    /// A run that succeeds at once costs neither a clock read nor an allocation.
    ///
    /// ```
    /// # flow_rt::sim::check(0..20, |rt| async move {
    /// use std::cell::Cell;
    /// use std::time::Duration;
    /// use flow_rt::Backoff;
    ///
    /// # #[derive(Debug)]
    /// # struct NotYet;
    /// # async fn fetch(url: &str, tries: &Cell<u32>) -> Result<String, NotYet> {
    /// #     tries.set(tries.get() + 1);
    /// #     if tries.get() < 3 { Err(NotYet) } else { Ok(format!("the page at {url}")) }
    /// # }
    /// # let (handle, url, tries) = (&rt, "/", &Cell::new(0));
    /// let backoff = Backoff::exponential(Duration::from_millis(50)).full_jitter().attempts(4);
    /// let page = handle.retry(backoff, async || fetch(url, tries).await).await;
    /// assert_eq!(page.unwrap(), "the page at /");
    /// assert_eq!(tries.get(), 3);
    /// # });
    /// ```
    #[inline]
    pub fn retry<F, Fut, T, E>(&self, backoff: Backoff, run: F) -> Retry<'_, F, Fut, E>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Retry {
            state: State::Between,
            run,
            plan: Plan {
                handle: self,
                backoff,
                retry_if: None,
                retry_after: None,
                budget: None,
                runs: 0,
                began: None,
                failed: None,
            },
        }
    }
}

pin_project_lite::pin_project! {
    /// The future of [`Handle::retry`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Retry<'h, F, Fut, E> {
        #[pin]
        state: State<Fut>,
        run: F,
        plan: Plan<'h, E>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateView]
    enum State<Fut> {
        /// A run is to begin.
        Between,
        Running { #[pin] run: Fut },
        Sleeping { sleep: Sleep },
        Ended,
    }
}

impl<'h, F, Fut, E> Retry<'h, F, Fut, E> {
    /// Tries again only for errors that `is_transient` says yes to.
    pub fn retry_if(mut self, is_transient: impl FnMut(&E) -> bool + Send + 'h) -> Self {
        self.plan.retry_if = Some(Box::new(is_transient));
        self
    }

    /// Sleeps at least as long as the error says, as a server's `Retry-After` does.
    ///
    /// The plan's longest delay does not shorten this, since coming back sooner would be in
    /// vain; `max_elapsed` and the deadline hold as ever.
    pub fn retry_after(
        mut self,
        not_before: impl FnMut(&E) -> Option<Duration> + Send + 'h,
    ) -> Self {
        self.plan.retry_after = Some(Box::new(not_before));
        self
    }

    /// Shares a budget of retries with other callers: pays in for the first run, and gives up
    /// when it is spent.
    pub fn budget(mut self, budget: &RetryBudget) -> Self {
        self.plan.budget = Some(budget.clone());
        self
    }
}

impl<F, Fut, T, E> Future for Retry<'_, F, Fut, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Output = Result<T, RetryError<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let plan = this.plan;
        loop {
            let outcome = match this.state.as_mut().project() {
                StateView::Between => {
                    if let Err(invalid) = plan.begin_run() {
                        Err(RetryError::Invalid(invalid))
                    } else {
                        let run = (this.run)();
                        this.state.set(State::Running { run });
                        continue;
                    }
                }
                StateView::Running { run } => match run.poll(cx) {
                    Poll::Pending => {
                        plan.note_begin();
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(value)) => Ok(value),
                    Poll::Ready(Err(error)) => match plan.after(error) {
                        Ok(sleep) => {
                            this.state.set(State::Sleeping { sleep });
                            continue;
                        }
                        Err(gave_up) => Err(gave_up),
                    },
                },
                StateView::Sleeping { sleep } => match ready!(sleep.poll(cx)) {
                    None => {
                        this.state.set(State::Between);
                        continue;
                    }
                    Some(why) => match plan.give_up(why) {
                        Some(gave_up) => Err(gave_up),
                        // Sleeping comes after an error, which is kept.
                        None => return Poll::Pending,
                    },
                },
                StateView::Ended => return Poll::Pending,
            };
            this.state.set(State::Ended);
            return Poll::Ready(outcome);
        }
    }
}

impl<F, Fut, E> fmt::Debug for Retry<'_, F, Fut, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("backoff", &self.plan.backoff)
            .field("runs", &self.plan.runs)
            .finish_non_exhaustive()
    }
}

/// Why something that was retried did not succeed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RetryError<E> {
    /// The plan was refused; nothing was run.
    Invalid(BackoffConfigError),
    /// There is no further run.
    GaveUp {
        /// Why not.
        why: GiveUp,
        /// How many runs there were.
        attempts: u32,
        /// The time from the begin of the first one.
        elapsed: Duration,
        /// The last one's error.
        last: E,
    },
}

impl<E> RetryError<E> {
    /// The error of the last run; `None` if nothing was run.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Invalid(_) => None,
            Self::GaveUp { last, .. } => Some(last),
        }
    }

    /// The error of the last run; `None` if nothing was run.
    pub fn last(&self) -> Option<&E> {
        match self {
            Self::Invalid(_) => None,
            Self::GaveUp { last, .. } => Some(last),
        }
    }

    /// Why there is no further run; `None` if nothing was run.
    pub fn why(&self) -> Option<&GiveUp> {
        match self {
            Self::Invalid(_) => None,
            Self::GaveUp { why, .. } => Some(why),
        }
    }
}

impl<E> fmt::Display for RetryError<E> {
    /// Without the last run's error, which is the [`source`](std::error::Error::source).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(why) => write!(f, "the backoff was refused: {why}"),
            Self::GaveUp {
                why,
                attempts,
                elapsed,
                ..
            } => {
                let s = if *attempts == 1 { "" } else { "s" };
                write!(f, "{attempts} attempt{s} in {elapsed:?} failed: {why}")
            }
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for RetryError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(_) => None,
            Self::GaveUp { last, .. } => Some(last),
        }
    }
}

/// A question about an error. Boxing a closure that captures nothing allocates nothing.
type Ask<'h, E, A> = Box<dyn FnMut(&E) -> A + Send + 'h>;

/// What decides about the next run.
struct Plan<'h, E> {
    handle: &'h Handle,
    backoff: Backoff,
    retry_if: Option<Ask<'h, E, bool>>,
    retry_after: Option<Ask<'h, E, Option<Duration>>>,
    budget: Option<RetryBudget>,
    runs: u32,
    /// When the first run began; read late, see `note_begin`.
    began: Option<Instant>,
    /// From the first failure on; apart, so that what succeeds at once is small.
    failed: Option<Box<Failed<E>>>,
}

/// What is needed once a run has failed.
struct Failed<E> {
    delays: Delays,
    /// The task's.
    context: Option<TaskContext>,
    /// The last run's error, while sleeping.
    last: Option<E>,
}

impl<E> Plan<'_, E> {
    fn begin_run(&mut self) -> Result<(), BackoffConfigError> {
        if self.runs == 0 {
            self.backoff.validate()?;
            if let Some(budget) = &self.budget {
                let now = self.handle.now();
                budget.deposit(now);
                self.began = Some(now);
            }
        }
        self.runs = self.runs.saturating_add(1);
        Ok(())
    }

    /// Reads the clock once: after the first poll of the first run rather than before it, so that
    /// success at once costs no clock read.
    fn note_begin(&mut self) -> Instant {
        *self.began.get_or_insert_with(|| self.handle.now())
    }

    /// How long to sleep after a run that failed.
    fn after(&mut self, error: E) -> Result<Sleep, RetryError<E>> {
        match self.next(&error) {
            Ok(sleep) => {
                if let Some(failed) = &mut self.failed {
                    failed.last = Some(error);
                }
                Ok(sleep)
            }
            Err(Refused::Plan(invalid)) => Err(RetryError::Invalid(invalid)),
            Err(Refused::Run(why)) => Err(self.gave_up(why, error)),
        }
    }

    fn next(&mut self, error: &E) -> Result<Sleep, Refused> {
        if let Some(retry_if) = &mut self.retry_if
            && !retry_if(error)
        {
            return Err(Refused::Run(GiveUp::NotRetryable));
        }
        let now = self.handle.now();
        let elapsed = now - *self.began.get_or_insert(now);
        let failed = match &mut self.failed {
            Some(failed) => failed,
            none => none.insert(Box::new(Failed {
                delays: self.backoff.delays().map_err(Refused::Plan)?,
                context: TaskContext::current(),
                last: None,
            })),
        };
        let context = failed.context.as_ref();
        if context.is_some_and(TaskContext::is_cancelled) {
            return Err(Refused::Run(GiveUp::Cancelled));
        }
        let mut delay = failed.delays.next_within(elapsed)?;
        let hint = self.retry_after.as_mut().and_then(|hint| hint(error));
        if let Some(hint) = hint.filter(|hint| *hint > delay) {
            let begins = elapsed.saturating_add(hint);
            failed.delays.check_elapsed(begins)?;
            delay = hint;
        }
        let until = now + delay;
        if context.is_some_and(|context| context.deadline().is_passed(until)) {
            return Err(Refused::Run(GiveUp::Deadline));
        }
        // Last, so that nothing is taken for a run that does not come.
        if let Some(budget) = &self.budget
            && !budget.try_withdraw(now)
        {
            return Err(Refused::Run(GiveUp::Budget));
        }
        Ok(Sleep::new(self.handle, until, context))
    }

    fn give_up(&mut self, why: GiveUp) -> Option<RetryError<E>> {
        let last = self.failed.as_mut()?.last.take()?;
        Some(self.gave_up(why, last))
    }

    fn gave_up(&mut self, why: GiveUp, last: E) -> RetryError<E> {
        RetryError::GaveUp {
            why,
            attempts: self.runs,
            elapsed: self.handle.now() - self.note_begin(),
            last,
        }
    }
}

enum Refused {
    Plan(BackoffConfigError),
    Run(GiveUp),
}

impl From<GiveUp> for Refused {
    fn from(why: GiveUp) -> Self {
        Self::Run(why)
    }
}

/// The time between two runs, cut short by the task's cancellation.
struct Sleep {
    timer: BoxTimer,
    cancelled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Sleep {
    fn new(handle: &Handle, until: Instant, context: Option<&TaskContext>) -> Self {
        Self {
            timer: handle.timer(until),
            cancelled: context.map(|context| {
                let token = context.cancellation().clone();
                Box::pin(token.cancelled_owned()) as Pin<Box<_>>
            }),
        }
    }

    /// Ready when the sleep is over; with a reason if there is no run after it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<GiveUp>> {
        if let Some(cancelled) = &mut self.cancelled
            && cancelled.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(GiveUp::Cancelled));
        }
        self.timer
            .poll_fired(cx)
            .map(|fired| fired.err().map(|_| GiveUp::Stopped))
    }
}
