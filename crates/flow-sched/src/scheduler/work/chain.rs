//! Steps that run one after the other: what they are, and what follows from each.

use core::fmt;
use core::future::Future;
use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use flow_rt::{Backoff, BackoffConfigError};

use super::chain_run;
use super::outcome::Outcome;
use super::part::{Part, PartError};
use crate::scheduler::job::context::JobContext;

/// Steps that run one after the other, as one run of a job; see
/// [`Scheduler::chain`](crate::Scheduler::chain).
///
/// A step is what a job is: a closure that makes a future of `()` or of a `Result`. The next one
/// begins when it has ended well; what follows from a failure, [`OnError`] says, and a panic is
/// one. All steps share the run's context, its deadline and its cancellation; only
/// [`attempt`](JobContext::attempt) is the step's own.
///
/// A chain is a job's work also inside of a job, or of a step of another chain, by
/// [`run`](Self::run):
///
/// ```
/// # flow_rt::sim::check(0..3, |rt| async move {
/// use std::time::Duration;
/// use flow_rt::Backoff;
/// use flow_sched::{Chain, ChainStep, JobContext, OnError, Scheduler};
///
/// let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
/// let fetch = ChainStep::new("fetch", async |cx: JobContext| {
///     if cx.attempt() < 3 { Err("not yet") } else { Ok(()) }
/// });
/// let retry = Backoff::exponential(Duration::from_millis(100)).attempts(5);
/// let import = Chain::new()
///     .then(fetch.on_error(OnError::Retry(retry)))
///     .step("store", async |_cx| println!("stored"));
/// let all = Chain::new()
///     .step("import", move |cx| import.run(cx))
///     .step("report", async |_cx| println!("done"));
/// let job = scheduler.chain("all", all).after(Duration::from_secs(1)).start().unwrap();
/// rt.sleep(Duration::from_secs(2)).await;
/// assert_eq!(job.stats().last.unwrap().duration, Duration::from_millis(300));
/// # });
/// ```
#[derive(Clone)]
#[must_use = "a chain does nothing until it is a job, or is run in one"]
pub struct Chain {
    pub(in crate::scheduler) steps: Vec<ChainStep>,
    pub(in crate::scheduler) on_error: OnError,
    pub(in crate::scheduler) limit: u32,
}

/// What follows when a step of a chain has failed, by an error or a panic.
///
/// A run that has been told to stop begins nothing again: there the chain fails.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum OnError {
    /// The chain fails with the step's error, and no further step begins.
    #[default]
    Stop,
    /// The next step begins, as if this one had ended well.
    GoOn,
    /// The step runs again after the plan's delay, as often in a row as the plan allows; then the
    /// chain fails. In a pool it gives its slot to others during the delays.
    Retry(Backoff),
    /// The chain begins with its first step again, after the plan's delay, as often in one run as
    /// the plan allows; then it fails.
    Restart(Backoff),
}

/// What follows when a step of a chain has ended well; see
/// [`ChainStep::on_success`].
///
/// A run that has been told to stop begins nothing again: there the chain fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnSuccess {
    /// The next step begins.
    #[default]
    GoOn,
    /// The chain has ended well, and no further step begins.
    Stop,
    /// The step runs again.
    Repeat,
    /// The chain begins with its first step again.
    Restart,
}

/// One step of a [`Chain`], with answers of its own.
#[derive(Clone)]
#[must_use = "a step does nothing until it is part of a chain"]
pub struct ChainStep {
    pub(in crate::scheduler) part: Part,
    pub(in crate::scheduler) on_error: Option<OnError>,
    pub(in crate::scheduler) on_success: Option<Decide>,
}

pub(in crate::scheduler) type Decide = Arc<dyn Fn(&JobContext) -> OnSuccess + Send + Sync>;

impl ChainStep {
    /// A step that calls `run`. Its name is what errors call it by, and unique in its chain.
    pub fn new<F, Fut>(name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        Self {
            part: Part::new(name, run),
            on_error: None,
            on_success: None,
        }
    }

    /// A step whose runs each get a clone of `state`.
    pub fn with<S, F, Fut>(name: impl Into<Cow<'static, str>>, state: S, run: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(JobContext, S) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        Self::new(name, move |cx| run(cx, state.clone()))
    }

    /// What follows if this step fails; the chain's answer unless set.
    pub fn on_error(mut self, answer: OnError) -> Self {
        self.on_error = Some(answer);
        self
    }

    /// What follows if this step ends well: asked each time, with the step's context; the next
    /// step unless set. If it panics, so has the step.
    pub fn on_success(
        mut self,
        decide: impl Fn(&JobContext) -> OnSuccess + Send + Sync + 'static,
    ) -> Self {
        self.on_success = Some(Arc::new(decide));
        self
    }
}

impl Chain {
    /// A chain without a step, which is refused until it has one.
    pub fn new() -> Self {
        Self {
            steps: Vec::new(),
            on_error: OnError::Stop,
            limit: 1_000,
        }
    }

    /// Adds a step with the chain's own answers; see [`ChainStep::new`].
    pub fn step<F, Fut>(self, name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.then(ChainStep::new(name, run))
    }

    /// Adds a step whose runs each get a clone of `state`.
    pub fn step_with<S, F, Fut>(self, name: impl Into<Cow<'static, str>>, state: S, run: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(JobContext, S) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.then(ChainStep::with(name, state, run))
    }

    /// Adds a step with answers of its own.
    pub fn then(mut self, step: ChainStep) -> Self {
        self.steps.push(step);
        self
    }

    /// What follows if a step fails that has no answer of its own; [`OnError::Stop`] unless set.
    pub fn on_error(mut self, answer: OnError) -> Self {
        self.on_error = answer;
        self
    }

    /// How many steps one run of the chain may take in all, those that run again among them; 1,000
    /// unless set. A run that needs more fails: no answer keeps a chain going for ever.
    pub fn limit(mut self, steps: u32) -> Self {
        self.limit = steps;
        self
    }

    /// Runs the steps as part of a job's run.
    ///
    /// # Errors
    /// [`ChainError`], with the step that has failed for good.
    ///
    /// # Cancel safety
    /// Dropping the future drops the step that runs.
    pub fn run(
        &self,
        cx: JobContext,
    ) -> impl Future<Output = Result<(), ChainError>> + Send + use<> {
        let chain = self.clone();
        async move {
            chain.check().map_err(ChainError::Refused)?;
            chain_run::run(&chain, &cx).await
        }
    }

    pub(in crate::scheduler) fn check(&self) -> Result<(), ChainConfigError> {
        if self.steps.is_empty() {
            return Err(ChainConfigError::Empty);
        }
        if self.limit == 0 {
            return Err(ChainConfigError::ZeroLimit);
        }
        for (place, step) in self.steps.iter().enumerate() {
            let name = &step.part.name;
            if name.is_empty() {
                return Err(ChainConfigError::EmptyName);
            }
            let mut before = self.steps[..place].iter();
            if before.any(|other| other.part.name == *name) {
                let name = name.as_ref().into();
                return Err(ChainConfigError::NameTaken { name });
            }
            let answer = step.on_error.unwrap_or(self.on_error);
            if let OnError::Retry(plan) | OnError::Restart(plan) = answer {
                plan.validate().map_err(|error| ChainConfigError::Plan {
                    step: name.as_ref().into(),
                    error,
                })?;
            }
        }
        Ok(())
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ChainStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainStep")
            .field("name", &self.part.name)
            .field("on_error", &self.on_error)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("steps", &self.steps)
            .field("on_error", &self.on_error)
            .field("limit", &self.limit)
            .finish()
    }
}

/// Why a chain was refused.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ChainConfigError {
    /// It has no step.
    Empty,
    /// A step's name is empty.
    EmptyName,
    /// Two steps have the same name.
    NameTaken {
        /// The name.
        name: String,
    },
    /// The plan by which a step, or the chain, is to run again is refused.
    Plan {
        /// The step.
        step: String,
        /// What is wrong with the plan.
        error: BackoffConfigError,
    },
    /// The limit of steps is zero: not even the first could run.
    ZeroLimit,
}

impl fmt::Display for ChainConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a chain needs a step at the least"),
            Self::EmptyName => f.write_str("the name of a chain's step must not be empty"),
            Self::NameTaken { name } => {
                write!(
                    f,
                    "two steps of the chain are named {name:?}; names are unique"
                )
            }
            Self::Plan { step, error } => {
                write!(
                    f,
                    "what follows a failure of the chain's step {step:?}: {error}"
                )
            }
            Self::ZeroLimit => {
                f.write_str("a chain's limit of 0 steps lets none run; allowed are 1 and more")
            }
        }
    }
}

/// The texts of what is inside are part of its own.
impl Error for ChainConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Plan { error, .. } => error.source(),
            _ => None,
        }
    }
}

/// Why a chain has failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChainError {
    /// A step has failed for good.
    Step(PartError),
    /// The run has taken as many steps as the chain allows, and would take another one.
    Limit {
        /// So many are allowed.
        limit: u32,
    },
    /// The run was told to stop, and would have begun something again that had ended well.
    Cancelled,
    /// The chain is none that could run; [`Chain::run`] alone comes to that.
    Refused(ChainConfigError),
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(error) => write!(f, "step {:?} of the chain {error}", error.part()),
            Self::Limit { limit } => {
                write!(
                    f,
                    "the chain has taken {limit} steps, as many as it may, and has not ended"
                )
            }
            Self::Cancelled => f.write_str("the chain was told to stop, and has not ended"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

/// The texts of what is inside are part of its own.
impl Error for ChainError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Step(error) => error.source(),
            Self::Refused(error) => error.source(),
            Self::Limit { .. } | Self::Cancelled => None,
        }
    }
}
