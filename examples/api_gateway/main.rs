//! An API gateway without a network: limits, two pools, and maintenance by the clock, over two days.
//!
//! Run with `cargo run --example api_gateway`. Expect a table of the answers to fifty requests, and
//! one of what the maintenance jobs did. It is the "enterprise integration" of goflow, the library
//! in Go that this one began as: the same parts, of which some did nothing there (its periodic jobs
//! ran once, its windows were over after a day). The two days are virtual: they take no time.
#![allow(clippy::print_stdout)] // a program for people

mod gateway;
mod maintenance;

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use flow_rt::sim::Sim;

use gateway::{Gateway, Request};

type Failure = Box<dyn std::error::Error + Send + Sync>;

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
    // A Monday, at midnight.
    let monday = UNIX_EPOCH + Duration::from_secs(1_767_571_200);
    let ran = Sim::new(0).wall_clock(monday).run(two_days);
    ran.map_err(|failure| failure.to_string())?.output
}

async fn two_days(rt: Sim) -> Result<String, Failure> {
    let gateway = Gateway::new(&rt)?;
    let scheduler = maintenance::start(&rt, &gateway)?;
    let requests = (0..50).map(|number| {
        let (rt, gateway) = (rt.clone(), gateway.clone());
        async move {
            // They come in bursts of ten.
            rt.sleep(Duration::from_secs(number / 10)).await;
            gateway.answer(Request::sample(number)).await
        }
    });
    let mut tasks = rt.task_group();
    for request in requests {
        tasks.spawn(request);
    }
    while let Some(answered) = tasks.join_next().await {
        answered??;
    }
    rt.sleep(Duration::from_secs(2 * 86_400)).await;
    let jobs = maintenance::report(&scheduler);
    let grace = Duration::from_secs(5);
    let scheduler = scheduler.shutdown(grace).await;
    let answers = gateway.shutdown(grace).await;
    Ok(format!("{answers}\n{jobs}\n{scheduler}"))
}
