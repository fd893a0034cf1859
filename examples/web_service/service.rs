//! The endpoints, each behind the limit that protects what it uses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow_metrics::{Collect, Desc, Registry, Sink};
use flow_ratelimit::{ConcurrencyLimiter, TokenBucket};
use flow_rt::sim::Sim;
use flow_sched::WorkerPool;

use crate::pipeline::{Invalid, Pipeline, Posted};
use crate::{Failure, SECOND};

const MS: Duration = Duration::from_millis(1);

pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// What it is about, if it says so.
    pub(crate) id: Option<u64>,
}

impl Request {
    pub(crate) fn get(path: &'static str) -> Self {
        let (method, id) = ("GET", None);
        Self { method, path, id }
    }

    pub(crate) fn post(path: &'static str, id: impl Into<Option<u64>>) -> Self {
        let (method, id) = ("POST", id.into());
        Self { method, path, id }
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    fn ok(body: String) -> Self {
        Self { status: 200, body }
    }
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        let body = String::new();
        Self { status, body }
    }
}

/// Shared by cloning, as its parts are.
#[derive(Clone)]
pub(crate) struct Service {
    rt: Sim,
    api: TokenBucket,
    uploads: TokenBucket,
    database: ConcurrencyLimiter,
    processor: ConcurrencyLimiter,
    pub(crate) tasks: WorkerPool,
    pub(crate) pipeline: Pipeline,
    requests: Arc<Requests>,
    pub(crate) metrics: Registry,
}

impl Service {
    pub(crate) fn new(rt: &Sim, pipeline: Pipeline) -> Result<Self, Failure> {
        let bucket = |name, rate, burst| TokenBucket::builder().name(name).rate(rate).burst(burst);
        let at_once = |name, limit| ConcurrencyLimiter::builder().name(name).limit(limit);
        let service = Self {
            rt: rt.clone(),
            api: bucket("api", "100/s", 200).build()?,
            uploads: bucket("uploads", "10/s", 50).build()?,
            database: at_once("database", 20).build()?,
            processor: at_once("processor", 4).build()?,
            // Maintenance runs in it too, and some of that before all that is queued.
            tasks: WorkerPool::builder()
                .runtime(rt)
                .name("tasks")
                .slots(10)
                .queue(100)
                .priorities(2)
                .task_timeout(30 * SECOND)
                .build()?,
            pipeline,
            requests: Arc::default(),
            metrics: Registry::new(),
        };
        let metrics = &service.metrics;
        metrics.register(service.requests.clone())?.forget();
        metrics.register(service.api.collector())?.forget();
        metrics.register(service.uploads.collector())?.forget();
        metrics.register(service.database.collector())?.forget();
        metrics.register(service.processor.collector())?.forget();
        metrics.register(service.tasks.collector())?.forget();
        for channel in &*service.pipeline.collectors {
            metrics.register(channel.clone())?.forget();
        }
        Ok(service)
    }

    pub(crate) async fn answer(&self, request: Request) -> Answer {
        let path = request.path;
        let answer = self.route(request).await;
        self.requests.count(path, answer.status);
        answer
    }

    async fn route(&self, request: Request) -> Answer {
        let Request { method, path, id } = request;
        match (method, path) {
            ("GET", "/api/users") => at_rate(&self.api, async { 200 }).await,
            ("POST", "/api/users") => at_rate(&self.api, async { 201 }).await,
            ("POST", "/api/data") => at_rate(&self.api, self.store(Posted { id })).await,
            ("POST", "/api/upload") => at_rate(&self.uploads, self.work(100 * MS)).await,
            ("GET", "/api/db/users") => beside_few(&self.database, self.work(50 * MS)).await,
            ("POST", "/api/process") => beside_few(&self.processor, self.work(200 * MS)).await,
            ("POST", "/api/tasks") => self.begin_task(id).into(),
            ("GET", "/health") => Answer::ok(self.health()),
            ("GET", "/metrics") => Answer::ok(self.metrics.collect().to_prometheus()),
            (_, "/api/data" | "/api/upload" | "/api/process" | "/api/tasks") => 405.into(),
            _ => 404.into(),
        }
    }

    async fn work(&self, time: Duration) -> u16 {
        self.rt.sleep(time).await;
        200
    }

    /// Once it is through all stages, or has been in them for too long.
    async fn store(&self, posted: Posted) -> Answer {
        match self
            .rt
            .timeout(10 * SECOND, self.pipeline.run(posted))
            .await
        {
            Ok(Some(Ok(record))) => Answer::ok(format!("{}, {}", record.tier, record.country)),
            Ok(Some(Err(Invalid))) => 422.into(),
            Ok(None) => 503.into(),
            Err(_elapsed) => 504.into(),
        }
    }

    /// Its client does not wait: neither for its end, nor for room in the queue.
    fn begin_task(&self, id: Option<u64>) -> u16 {
        let rt = self.rt.clone();
        // One in a hundred would go on for a minute, and is stopped after half of it.
        let seconds = match id.unwrap_or(0) {
            number if number % 100 == 42 => 60,
            number => 8 + number % 5,
        };
        let time = Duration::from_secs(seconds);
        let task = async move |_cx| rt.sleep(time).await;
        match self.tasks.submit(task).detach().try_now() {
            Ok(()) => 202,
            Err(_full) => 503,
        }
    }

    fn health(&self) -> String {
        let pool = self.tasks.stats();
        format!(
            "{} tasks run, {} wait; {} tokens, {} for uploads; {} queries and {} processes more",
            pool.running,
            pool.queued,
            self.api.available(),
            self.uploads.available(),
            self.database.available(),
            self.processor.available(),
        )
    }
}

async fn at_rate<A: Into<Answer>>(
    limiter: &TokenBucket,
    handler: impl Future<Output = A>,
) -> Answer {
    match limiter.try_acquire() {
        Ok(_granted) => handler.await.into(),
        Err(_denied) => 429.into(),
    }
}

async fn beside_few<A: Into<Answer>>(
    limiter: &ConcurrencyLimiter,
    handler: impl Future<Output = A>,
) -> Answer {
    match limiter.try_acquire() {
        // Held until there is an answer, or nobody waits for one.
        Ok(_permit) => handler.await.into(),
        Err(_full) => 503.into(),
    }
}

/// Answers by path and status, as the service counts them.
#[derive(Default)]
struct Requests(Mutex<BTreeMap<(&'static str, u16), u64>>);

static CATALOGUE: &[Desc] = &[Desc::counter(
    "web_requests_total",
    "Requests that were answered.",
    &["path", "status"],
)];

impl Requests {
    fn count(&self, path: &'static str, status: u16) {
        let mut answers = self.0.lock().expect("nobody panics");
        *answers.entry((path, status)).or_default() += 1;
    }
}

impl Collect for Requests {
    fn descriptions(&self) -> &'static [Desc] {
        CATALOGUE
    }

    fn collect(&self, out: &mut dyn Sink) {
        for ((path, status), answers) in self.0.lock().expect("nobody panics").iter() {
            let status = status.to_string();
            let labels = [("path", *path), ("status", &status)];
            out.counter(&CATALOGUE[0], &labels, *answers);
        }
    }
}
