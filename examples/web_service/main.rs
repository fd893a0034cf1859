//! A web service without a network: limits, work in the background, staged work, jobs, metrics.
//!
//! Run with `cargo run --example web_service`. It is the "web service" of goflow, the library in Go
//! that this one began as: its endpoints, their limits and its maintenance, in a shorter queue. Expect
//! an hour of visitors with a rush of twenty minutes, how maintenance kept out of its way, and the
//! counters of `/metrics`, which are checked against what the visitors saw. The hour is virtual: it
//! takes no time. See `gateway` for the same parts behind real sockets.
#![allow(clippy::print_stdout)] // a program for people

mod maintenance;
mod pipeline;
mod service;
mod visitors;

use std::process::ExitCode;
use std::time::Duration;

use flow_rt::sim::Sim;

use maintenance::Maintenance;
use pipeline::Pipeline;
use service::{Request, Service};
use visitors::Seen;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SECOND: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, Failure> {
    let ran = Sim::new(0).run(an_hour);
    ran.map_err(|failure| failure.to_string())?.output
}

async fn an_hour(rt: Sim) -> Result<String, Failure> {
    let (pipeline, stages) = Pipeline::start(&rt)?;
    let service = Service::new(&rt, pipeline)?;
    let jobs = maintenance::start(&rt, &service)?;
    service
        .metrics
        .register(jobs.scheduler.collector())?
        .forget();

    let mut seen = visitors::come(&rt, &service).await?;
    let report = jobs.report(&service);

    // From the front to the back, so that each part is there for as long as another one needs it.
    service.pipeline.close(stages).await?;
    let ended = jobs.scheduler.shutdown(5 * SECOND).await;
    let tasks = service.tasks.shutdown(30 * SECOND).await;

    let metrics = service.answer(Request::get("/metrics")).await;
    seen.count("/metrics", metrics.status);
    check(&service, &jobs, &seen)?;
    Ok(format!(
        "{report}\n{ended}\n{tasks}\n\n{}\n\nevery count agrees",
        counters(&metrics.body)
    ))
}

/// Whether each request, task and record went one way, and the metrics say the same.
fn check(service: &Service, jobs: &Maintenance, seen: &Seen) -> Result<(), Failure> {
    let metrics = service.metrics.collect();
    let counter = |name: &str, labels: &[(&str, &str)]| metrics.counter(name, labels).unwrap_or(0);
    let mut wrong = Vec::new();
    let mut same = |what: &str, one: u64, other: u64| {
        if one != other {
            wrong.push(format!("{what}: {one} and {other}"));
        }
    };
    for (path, status, answers) in seen.iter() {
        let status = status.to_string();
        let labels = [("path", path), ("status", &status)];
        same(path, answers, counter("web_requests_total", &labels));
    }
    for (limiter, paths, status) in [
        ("api", &["/api/users", "/api/data"][..], 429),
        ("uploads", &["/api/upload"], 429),
        ("database", &["/api/db/users"], 503),
        ("processor", &["/api/process"], 503),
    ] {
        let refused = paths.iter().map(|path| seen.of(path, status)).sum();
        let labels = [("limiter", limiter), ("decision", "denied")];
        same(
            limiter,
            refused,
            counter("flow_ratelimit_decisions_total", &labels),
        );
    }
    let pool = service.tasks.stats();
    let given = seen.of("/api/tasks", 202) + jobs.scheduler.stats().runs.completed;
    same("tasks given", given, pool.submitted);
    same("tasks refused", seen.of("/api/tasks", 503), pool.rejected);
    same("tasks ended", given, pool.completed + pool.timed_out);
    let records = service.pipeline.records.lock().expect("nobody panics");
    let stored = records.expired + records.kept.len() as u64;
    same("records", seen.of("/api/data", 200), stored);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// The lines of the counters that count something.
fn counters(metrics: &str) -> String {
    let lines = metrics
        .lines()
        .filter(|line| line.contains("_total{") && !line.ends_with(" 0"));
    lines.collect::<Vec<_>>().join("\n")
}
