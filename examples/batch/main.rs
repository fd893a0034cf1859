//! A batch on a worker pool: progress, retries, and a Ctrl-C that loses nothing.
//!
//! Run with: `cargo run -p flow-examples --example batch -- --items 1000 --each 50ms`
//!
//! Expect a line of progress per tenth of the items and a report. Press Ctrl-C, and what runs is
//! finished first, what was not begun is counted, and the exit code is 130; press it again after a
//! second, and the process ends at once. `--help` lists the options.
#![allow(clippy::print_stdout, reason = "progress and report are its output")]

mod options;
#[path = "../gateway/signals.rs"]
mod signals;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use flow_rt::{Backoff, CancellationToken, Handle};
use flow_sched::{Shutdown, WorkerPool};

use options::Options;
use work::Work;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let options = match options::parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match host(|rt| run(rt, options)) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the batch on a tokio of its own. Any other runtime does: the batch only sees the handle.
fn host<F>(main: impl FnOnce(Handle) -> F) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<ExitCode, Failure>>,
{
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()?;
    let handle = Handle::tokio(tokio.handle().clone())?;
    tokio.block_on(main(handle))
}

async fn run(rt: Handle, options: Options) -> Result<ExitCode, Failure> {
    let stop = CancellationToken::new();
    signals::cancel_on_signal(rt.clone(), stop.clone())?;
    let pool = WorkerPool::builder()
        .name("batch")
        .slots(options.slots)
        // As short as may be: what is queued has not begun, and would have to be abandoned.
        .rendezvous()
        .runtime(&rt)
        .build()?;
    let backoff = Backoff::exponential(options.each)
        .max_delay(options.each * 16)
        .full_jitter()
        .attempts(options.attempts);
    backoff.validate()?;
    println!("{} items, {} at a time", options.items, options.slots);
    let work = Arc::new(Work::new(options));

    for item in 0..options.items {
        let (work, rt) = (work.clone(), rt.clone());
        let task = async move |cx: flow_rt::TaskContext| {
            let tries = rt.retry(backoff, || work.clone().attempt(rt.clone(), item));
            // Told to stop between two attempts it does not wait for the next.
            let ended = cx.cancellation().run_until_cancelled(tries).await;
            work.ended(item, ended.map(|tries| tries.is_ok()));
        };
        // Waits for a slot, or for a signal.
        let submit = pool.submit(task).detach();
        match stop.run_until_cancelled(submit).await {
            Some(submitted) => submitted?,
            None => break,
        }
    }

    // What has begun is finished, retries too; what takes too long is told to stop.
    let how = Shutdown::drain(DRAIN).then_cancel(GRACE);
    let report = pool.shutdown(how).await;
    println!("{}", work.report());
    if !report.is_clean() {
        println!("{report}");
    }
    Ok(if stop.is_cancelled() {
        ExitCode::from(130)
    } else if work.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How long what has begun may take after the last item, or after a signal.
const DRAIN: Duration = Duration::from_secs(30);
/// How long it may take once it was told to stop.
const GRACE: Duration = Duration::from_secs(1);
