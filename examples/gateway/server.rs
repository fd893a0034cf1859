//! The gateway's parts, and their life: built, serving, drained.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use flow_metrics::Registry;
use flow_rt::{CancellationToken, Handle, JoinHandle};
use flow_sched::{Scheduler, WorkerPool};
use flow_stream::Sender;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;

use crate::access_log::{AccessLog, Line};
use crate::answer::Peer;
use crate::counters::{Counters, Outcome};
use crate::forward::Forwarder;
use crate::in_flight::InFlight;
use crate::jobs::Jobs;
use crate::limits::Limits;
use crate::net::Listener;
use crate::options::{Options, Upstream};
use crate::progress::{Progress, Watched};
use crate::signature::Key;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A running gateway's parts.
pub(crate) struct Gateway {
    pub(crate) rt: Handle,
    pub(crate) upstream: Forwarder,
    pub(crate) key: Key,
    pub(crate) limits: Limits,
    pub(crate) in_flight: InFlight,
    pub(crate) pool: WorkerPool,
    scheduler: Scheduler,
    pub(crate) counters: Arc<Counters>,
    registry: Registry,
    pub(crate) log: Sender<Line>,
    /// How long a connection may stand still.
    pub(crate) patience: Duration,
    /// How long a stop may take before what is left is dropped.
    drain: Duration,
}

/// How often connections are forgotten that the upstream has closed.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// The same in the self-test, which is to see it happen.
const TIDY_OFTEN: Duration = Duration::from_millis(500);

impl Gateway {
    pub(crate) fn build(
        options: &Options,
        rt: &Handle,
        upstream: Upstream,
        limits: Limits,
        log: &AccessLog,
    ) -> Result<Arc<Self>, Failure> {
        let pool = WorkerPool::builder()
            .name("signatures")
            .slots(1..=4)
            .queue(1_024)
            .runtime(rt)
            .build()?;
        let scheduler = Scheduler::builder()
            .name("housekeeping")
            .runtime(rt)
            .pool(&pool)
            .build()?;
        let in_flight = InFlight::new(options.adaptive)?;
        let counters = Arc::new(Counters::default());
        let registry = Registry::new();
        registry.register(counters.clone())?.forget();
        registry.register(pool.collector())?.forget();
        registry.register(scheduler.collector())?.forget();
        registry.register(in_flight.collector())?.forget();
        registry.register(log.lines.collector())?.forget();
        registry.register(log.writer.clone())?.forget();
        for collector in limits.collectors() {
            registry.register(collector)?.forget();
        }
        let gateway = Arc::new(Self {
            rt: rt.clone(),
            upstream: Forwarder::new(options.net, rt, upstream)?,
            key: options.key.clone().unwrap_or_default(),
            limits,
            in_flight,
            pool,
            scheduler,
            counters,
            registry,
            log: log.lines.clone(),
            patience: options.timeout,
            drain: options.drain,
        });
        let tidy_every = match options.serve {
            Some(_) => TIDY_EVERY,
            None => TIDY_OFTEN,
        };
        gateway.start_jobs(&options.jobs, tidy_every)?;
        Ok(gateway)
    }

    fn start_jobs(self: &Arc<Self>, jobs: &Jobs, tidy_every: Duration) -> Result<(), Failure> {
        let gateway = Arc::downgrade(self);
        let forget = self.scheduler.job_with(
            "forget closed connections",
            gateway.clone(),
            async |_cx, gateway| {
                if let Some(gateway) = gateway.upgrade() {
                    gateway.upstream.forget_closed();
                }
            },
        );
        match &jobs.forget_closed {
            Some(cron) => forget.trigger(cron.clone()).start()?,
            None => forget.every(tidy_every).start()?,
        };
        if let Some(cron) = &jobs.report {
            let report = async |_cx, gateway: Weak<Self>| {
                if let Some(gateway) = gateway.upgrade() {
                    println!(
                        "report: {} admitted, {} limited",
                        gateway.counters.value(Outcome::Admitted),
                        gateway.counters.value(Outcome::Limited)
                    );
                }
            };
            let job = self.scheduler.job_with("report", gateway, report);
            job.trigger(cron.clone()).start()?;
        }
        Ok(())
    }

    /// Serves until `stop`; then every open connection may finish the request it is at. Returns
    /// how many had not when their time was over, and were cut off.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: Listener,
        stop: CancellationToken,
    ) -> usize {
        let mut connections = Vec::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let Ok((connection, addr)) = accepted else {
                // Out of file descriptors, most likely: give the others time to close.
                let _ = self.rt.sleep(Duration::from_millis(10)).await;
                continue;
            };
            connections.retain(|task: &JoinHandle<()>| !task.is_finished());
            let (gateway, stop) = (self.clone(), stop.clone());
            connections.push(self.rt.spawn(async move {
                let progress = Progress::new(&gateway.rt);
                let patience = gateway.patience;
                let peer = Arc::new(Peer {
                    gateway,
                    addr,
                    progress: progress.clone(),
                });
                let service = service_fn(move |request| peer.clone().answer(request));
                let serve = server::Builder::new().serve_connection(connection, service);
                let serve = pin!(serve);
                let mut serve = Watched::new(serve, progress, patience);
                if stop.run_until_cancelled(&mut serve).await.is_none() {
                    serve.connection().as_mut().graceful_shutdown();
                    serve.await;
                }
            }));
        }
        drop(listener);
        self.end(connections).await
    }

    /// Waits for the connections, and cuts off those that outlast the drain.
    async fn end(&self, connections: Vec<JoinHandle<()>>) -> usize {
        let mut over = self.rt.sleep(self.drain);
        let mut is_over = false;
        let mut cut_off = 0;
        for mut connection in connections {
            let ended = poll_fn(|cx| {
                if Pin::new(&mut connection).poll(cx).is_ready() {
                    return Poll::Ready(true);
                }
                is_over = is_over || over.poll_fired(cx).is_ready();
                if is_over {
                    return Poll::Ready(false);
                }
                Poll::Pending
            });
            if !ended.await {
                cut_off += 1;
                connection.abort();
                let _ = connection.await;
            }
        }
        cut_off
    }

    /// Ends the background work; call it when `serve` has returned. Returns what was lost.
    pub(crate) async fn shutdown(&self) -> Vec<String> {
        let mut lost = Vec::new();
        let scheduler = self.scheduler.shutdown(self.drain).await;
        if scheduler.cancelled > 0 {
            lost.push(format!("the scheduler stopped runs: {scheduler}"));
        }
        let pool = self.pool.shutdown(self.drain).await;
        if !pool.is_clean() {
            lost.push(format!("the pool lost tasks: {pool}"));
        }
        lost
    }

    /// The metrics as `/metrics` shows them.
    pub(crate) fn metrics(&self) -> String {
        self.registry.collect().to_prometheus()
    }
}
