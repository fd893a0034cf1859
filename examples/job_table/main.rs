//! Jobs from a file: when and how they run stands there, what they do in the program.
//!
//! Run with `cargo run --example job_table`, or with a table of your own:
//! `cargo run --example job_table -- my.toml`; its jobs may `run` "cleanup", "report" and "poll".
//! Expect a line for each job, with what it did in one week. The week is one of virtual time, so it
//! takes no time and is the same each time. What is wrong with a table is said, with what is meant
//! perhaps: try `evry = "1h"`.
#![allow(clippy::print_stdout)] // a program for people

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use flow_rt::sim::Sim;
use flow_sched::{JobContext, JobFunctions, JobTable, Scheduler};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn main() -> ExitCode {
    match run(std::env::args().nth(1)) {
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

fn run(path: Option<String>) -> Result<String, Failure> {
    let text = match path {
        Some(path) => std::fs::read_to_string(path)?,
        None => include_str!("jobs.toml").to_owned(),
    };
    let table: JobTable = toml::from_str(&text)?;
    // The first Monday of 2026.
    let monday = UNIX_EPOCH + Duration::from_secs(1_767_571_200);
    let week = Sim::new(0).wall_clock(monday);
    let ran = week.run(move |rt| a_week(rt, table));
    ran.map_err(|failure| failure.to_string())?.output
}

/// What the program can do, by the names that the table calls it.
fn functions() -> JobFunctions {
    JobFunctions::new()
        .add("cleanup", async |_cx| ())
        .add("poll", async |_cx| ())
        .add("report", async |cx: JobContext| {
            // The mail server is down now and then.
            if cx.attempt() < 3 {
                Err("no connection")
            } else {
                Ok(())
            }
        })
}

async fn a_week(rt: Sim, table: JobTable) -> Result<String, Failure> {
    let scheduler = Scheduler::builder().runtime(&rt).build()?;
    let jobs = table.start(&scheduler, &functions())?;
    rt.sleep(WEEK).await;
    let mut report = Vec::new();
    for job in &jobs {
        let stats = job.stats();
        let attempts = stats.last.map_or(0, |last| last.attempts);
        report.push(format!(
            "{:<12}{:>4} runs, {} failed; the last one took {attempts} attempts",
            job.name(),
            stats.runs.completed,
            stats.runs.failed,
        ));
    }
    scheduler.shutdown(Duration::from_secs(1)).await;
    Ok(report.join("\n"))
}
