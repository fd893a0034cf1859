//! Jobs from a file: a table of when and how, beside the program's table of what.

mod entry;
mod error;
mod read;

use core::fmt;
use core::future::Future;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Scheduler;
use crate::scheduler::job::context::JobContext;
use crate::scheduler::job::handle::JobHandle;
use crate::scheduler::work::guarded::BoxFuture;
use crate::scheduler::work::outcome::{BoxError, Outcome};
use entry::Entry;

pub use error::JobTableError;

/// When and how jobs run, by their names, as a file says it; what they do is bound to the names
/// by the program, with [`JobFunctions`].
///
/// In TOML a table for each job, in JSON an object. Each setting is named as the method of
/// [`JobBuilder`](crate::JobBuilder) that takes it, and what is left out keeps its default. What
/// calls the program is set in code: `when`, `throttle`, `adaptive`, `retry_if`, `on_give_up`, and
/// `trigger` and `exclude` for triggers and calendars of one's own.
///
/// | setting | value |
/// |---|---|
/// | `run` | the name of the function, the job's own unless set |
/// | `cron`, `after`, `fixed_delay`, `once_at`, `every` | the trigger, one of them; `every` is a time, or `{ period, phase, aligned }` |
/// | `time_zone` | the zone of `cron`, `window` and `holidays` |
/// | `window` | text of a [`Window`](crate::Window) |
/// | `holidays` | a list of days, as [`Holidays`](crate::Holidays) takes them |
/// | `not_before`, `not_after` | points in time |
/// | `immediately`, `stop_on_error`, `local`, `propagate` | `true` or `false` |
/// | `jitter` | a time, for one that is full; or `{ full }`, `{ equal }` or `{ stable }`, with `at_least` |
/// | `overlap` | `"skip"`, `"buffer_one"`, `"cancel_previous"`, `"terminate_previous"`, `{ buffer_all = 8 }` or `{ allow = 2 }` |
/// | `misfire` | `"skip"`, `"fire_once"`, `{ fire_once = "1h" }`, or `{ fire_all = 10, within = "1h" }` |
/// | `retry` | `{ first }`, with `constant`, `factor`, `jitter`, `max_delay`, `max_elapsed`, `attempts` |
/// | `timeout` | a time |
/// | `max_runs`, `history`, `priority` | numbers |
///
/// Times are text like `"250ms"`, `"30s"`, `"5min"`, `"1h"` or `"7d"`; points in time are those of
/// RFC 3339, like `"2026-12-24T18:00:00+01:00"`, in quotes. A name that is no setting is refused with
/// the nearest one that is. What is well formed and senseless, like a pattern that no date matches,
/// is refused by [`start`](Self::start).
///
/// ```
/// use std::time::Duration;
/// use flow_sched::{JobFunctions, JobTable, Scheduler};
///
/// let text = r#"{
///     "poll": { "every": "5s", "timeout": "2s", "overlap": "skip" },
///     "report for Berlin": {
///         "run": "report", "cron": "0 9 * * MON-FRI", "time_zone": "Europe/Berlin",
///         "jitter": { "stable": "30s" }, "retry": { "first": "1s", "attempts": 5 }
///     }
/// }"#;
/// let table: JobTable = serde_json::from_str(text)?;
/// let functions = JobFunctions::new()
///     .add("poll", async |_cx| ())
///     .add("report", async |cx| println!("{} is due", cx.job()));
/// flow_rt::sim::check(0..3, move |rt| {
///     let (table, functions) = (table.clone(), functions.clone());
///     async move {
///         let scheduler = Scheduler::builder().runtime(&rt).build().unwrap();
///         let jobs = table.start(&scheduler, &functions).unwrap();
///         rt.sleep(Duration::from_secs(61)).await;
///         assert_eq!((jobs[0].name(), jobs[0].stats().runs.completed), ("poll", 12));
///     }
/// });
///
/// let wrong = serde_json::from_str::<JobTable>(r#"{ "poll": { "evry": "5s" } }"#).unwrap_err();
/// let wrong = wrong.to_string();
/// assert!(wrong.starts_with("a job has no setting \"evry\"; the nearest is \"every\""), "{wrong}");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct JobTable {
    /// In the order of the file, if its format keeps one.
    jobs: Vec<(String, Entry)>,
}

impl JobTable {
    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The names of the jobs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().map(|(name, _)| name.as_str())
    }

    /// Starts all of the jobs, or none.
    ///
    /// # Errors
    /// [`JobTableError`]: it names the job, and why it was refused.
    pub fn start(
        &self,
        scheduler: &Scheduler,
        functions: &JobFunctions,
    ) -> Result<Vec<JobHandle>, JobTableError> {
        let mut jobs = Vec::new();
        for (name, entry) in &self.jobs {
            let function = entry.run.as_deref().unwrap_or(name);
            let run = functions.find(name, function)?;
            let job = scheduler.job(name.clone(), move |cx| run(cx));
            let refused = |error| JobTableError::Job {
                job: name.clone(),
                error,
            };
            jobs.push(entry.apply(job).map_err(refused)?);
        }
        scheduler.start_all(jobs).map_err(|refused| {
            let name = self.jobs.get(refused.index());
            JobTableError::Job {
                job: name.map_or_else(String::new, |(name, _)| name.clone()),
                error: refused.error().clone(),
            }
        })
    }
}

/// A function of a job, erased.
type Function = Arc<dyn Fn(JobContext) -> BoxFuture<Result<(), BoxError>> + Send + Sync>;

/// What jobs do, by the names that a [`JobTable`] calls it.
///
/// Several jobs may call the same function, and a function that no job calls is none the worse for
/// it. Cheap to clone.
#[derive(Clone, Default)]
#[must_use = "functions do nothing until a table is started with them"]
pub struct JobFunctions {
    functions: BTreeMap<Cow<'static, str>, Function>,
}

impl JobFunctions {
    /// No function yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function, in place of one of the same name. It returns a future of `()` or of a
    /// `Result`, as that of [`Scheduler::job`] does.
    pub fn add<F, Fut>(mut self, name: impl Into<Cow<'static, str>>, run: F) -> Self
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        let function: Function = Arc::new(move |cx| {
            let run = run(cx);
            Box::pin(async move { run.await.into_result().map_err(Into::into) })
        });
        self.functions.insert(name.into(), function);
        self
    }

    /// Adds a function whose runs each get a clone of `state`: an `Arc`, a client, a sender.
    pub fn add_with<S, F, Fut>(self, name: impl Into<Cow<'static, str>>, state: S, run: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(JobContext, S) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: Outcome,
    {
        self.add(name, move |cx| run(cx, state.clone()))
    }

    fn find(&self, job: &str, name: &str) -> Result<Function, JobTableError> {
        let found = self.functions.get(name).cloned();
        found.ok_or_else(|| {
            let names = self.functions.keys().map(|name| &**name);
            JobTableError::UnknownFunction {
                job: job.to_owned(),
                given: name.to_owned(),
                nearest: read::nearest(name, names).map(str::to_owned),
            }
        })
    }
}

impl fmt::Debug for JobFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.functions.keys()).finish()
    }
}
