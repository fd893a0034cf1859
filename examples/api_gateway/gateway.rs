//! What happens to a request: limits, then the work on one pool, and its analysis on another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_ratelimit::{KeyedLimiter, TokenBucket};
use flow_rt::TaskContext;
use flow_rt::sim::Sim;
use flow_sched::{ShutdownReport, WorkerPool};

use crate::Failure;

pub(crate) struct Request {
    number: u64,
    user: u64,
    path: &'static str,
}

impl Request {
    /// One of a few users asks for one of a few paths; the first user asks more often than all others.
    pub(crate) fn sample(number: u64) -> Self {
        let paths = ["/api/users", "/api/orders", "/api/products", "/health"];
        Self {
            number,
            user: if number.is_multiple_of(2) {
                0
            } else {
                number % 10
            },
            path: paths[number as usize % paths.len()],
        }
    }
}

/// Shared by cloning, as its parts are.
#[derive(Clone)]
pub(crate) struct Gateway {
    rt: Sim,
    all: TokenBucket,
    per_user: KeyedLimiter<u64>,
    pub(crate) requests: WorkerPool,
    pub(crate) analytics: WorkerPool,
    answers: Arc<Mutex<Answers>>,
}

/// How many answers of each status, and the time they took together.
#[derive(Default)]
pub(crate) struct Answers {
    by_status: BTreeMap<u16, u32>,
    took: Duration,
}

impl Gateway {
    pub(crate) fn new(rt: &Sim) -> Result<Self, Failure> {
        Ok(Self {
            rt: rt.clone(),
            all: TokenBucket::builder()
                .rate("1000/s")
                .burst(10_000)
                .build()?,
            per_user: KeyedLimiter::builder()
                .rate("2/s")
                .burst(4)
                .max_keys(1_000)
                .build()?,
            requests: WorkerPool::builder()
                .runtime(rt)
                .name("requests")
                .slots(1..=50)
                .build()?,
            analytics: WorkerPool::builder()
                .runtime(rt)
                .name("analytics")
                .slots(1..=10)
                .build()?,
            answers: Arc::default(),
        })
    }

    pub(crate) async fn answer(&self, request: Request) -> Result<(), Failure> {
        let start = self.rt.now();
        let allowed =
            self.all.try_acquire().is_ok() && self.per_user.try_acquire(&request.user).is_ok();
        let status = if allowed {
            // Whoever works for the request knows whose it is.
            let context = TaskContext::new().with_baggage("user", request.user.to_string())?;
            let (rt, path, number) = (self.rt.clone(), request.path, request.number);
            let work = async move |cx: TaskContext| {
                rt.sleep(Duration::from_millis(50 + number)).await;
                match path {
                    _ if cx.baggage("user").is_none() => 500,
                    "/api/users" | "/api/orders" | "/api/products" => 200,
                    _ => 404,
                }
            };
            context.scope(self.requests.run(work)).await?
        } else {
            429
        };
        let (answers, took) = (self.answers.clone(), self.rt.now() - start);
        let analysis = async move |_cx| {
            let mut answers = answers.lock().expect("nobody panics");
            *answers.by_status.entry(status).or_default() += 1;
            answers.took += took;
        };
        self.analytics.submit(analysis).detach().await?;
        Ok(())
    }

    /// Ends the pools, that of the analysis last, and tells what was answered.
    pub(crate) async fn shutdown(self, grace: Duration) -> String {
        let pools: [ShutdownReport; 2] = [
            self.requests.shutdown(grace).await,
            self.analytics.shutdown(grace).await,
        ];
        let answers = self.answers.lock().expect("nobody panics");
        format!("{answers}{}\n{}", pools[0], pools[1])
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (status, count) in &self.by_status {
            writeln!(f, "{status} {count:>4} answers")?;
        }
        let count = self.by_status.values().sum::<u32>().max(1);
        writeln!(f, "mean {:?}", self.took / count)
    }
}
