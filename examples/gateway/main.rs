//! A small HTTP gateway made of flow's parts, which drives and checks itself.
//!
//! Run with `cargo run --release --example gateway`; `-- --help` lists the options. Expect ten
//! seconds of load, a table per client, and `every count agrees`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for people

mod access_log;
mod alarm;
mod answer;
mod counters;
mod forward;
mod in_flight;
mod jobs;
mod limits;
mod load;
mod net;
mod options;
mod progress;
mod report;
mod server;
mod signals;
mod signature;
mod told;
mod upstream;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use flow_rt::{CancellationToken, Handle};

use access_log::AccessLog;
use counters::Outcome;
use limits::Limits;
use options::{Command, Options, Upstream, WrongOption};
use report::Counts;
use server::Gateway;
use upstream::Origin;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => *options,
        Ok(Command::Help) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            return fail(&wrong);
        }
    };
    let net = options.net;
    match net.run(|rt| run(rt, options)) {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(error)) => fail(&*error),
        Err(error) => fail(&*error),
    }
}

/// One sentence, in one line whatever was typed; an option that turned out wrong only when it was
/// used is as wrong as others.
fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("gateway: {}", error.to_string().replace('\n', " "));
    ExitCode::from(if error.is::<WrongOption>() { 2 } else { 1 })
}

/// Runs the gateway; false if the counts disagree.
async fn run(rt: Handle, options: Options) -> Result<bool, Failure> {
    let stop = CancellationToken::new();
    signals::cancel_on_signal(rt.clone(), stop.clone())?;
    match options.serve {
        Some(addr) => serve(&rt, &options, addr, stop).await.map(|()| true),
        None => check_itself(&rt, &options, stop).await,
    }
}

/// Stays up until a signal, then drains.
async fn serve(
    rt: &Handle,
    options: &Options,
    addr: SocketAddr,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let behind = CancellationToken::new();
    let upstream = match &options.upstream {
        Some(upstream) => upstream.clone(),
        None => own_upstream(&Origin::start(options.net, rt, &behind).await?),
    };
    // The log last: opening it empties it.
    let limits = Limits::open(options).await?;
    let listener = options.net.bind(addr).await.map_err(|error| {
        WrongOption(format!(
            "--serve is {addr}, which cannot be listened on: {error}"
        ))
    })?;
    let log = AccessLog::open(rt, options.access_log.as_deref())?;
    if options.key.is_none() {
        eprintln!(
            "gateway: {} is not set: clients sign with the key of the demonstration, which is \
             no secret",
            options::KEY
        );
    }
    let gateway = Gateway::build(options, rt, upstream, limits, &log)?;
    println!(
        "listening on http://{} on {}, access log {}",
        listener.local_addr()?,
        rt.name(),
        log.path.display()
    );
    let draining = async {
        stop.cancelled().await;
        println!("draining");
    };
    let serving = gateway.clone().serve(listener, stop.clone());
    let (cut_off, ()) = futures_util::join!(serving, draining);
    let lost = gateway.shutdown().await;
    let lines = log.close().await?;
    behind.cancel();
    if !lost.is_empty() {
        return Err(lost.join("; ").into());
    }
    let cut_off = match cut_off {
        0 => String::new(),
        n => format!(
            "; {n} connections did not end within {:?} and were cut off",
            options.drain
        ),
    };
    println!("stopped; {lines} requests logged{cut_off}");
    Ok(())
}

/// Drives load over real sockets and compares what every part counted.
async fn check_itself(
    rt: &Handle,
    options: &Options,
    interrupted: CancellationToken,
) -> Result<bool, Failure> {
    let behind = CancellationToken::new();
    let origin = Origin::start(options.net, rt, &behind).await?;
    let limits = Limits::open(options).await?;
    let log = AccessLog::open(rt, options.access_log.as_deref())?;
    let path = log.path.clone();
    let gateway = Gateway::build(options, rt, own_upstream(&origin), limits, &log)?;
    let listener = options
        .net
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await?;
    let authority = listener.local_addr()?.to_string();
    println!(
        "{} clients against http://{authority} on {} for {:?}, {}/s and a burst of {} each",
        options.clients,
        rt.name(),
        options.duration,
        options.rate,
        options.burst
    );
    // Apart from the interruption: the clients stop first, then the server.
    let stop = CancellationToken::new();
    let serving = rt.spawn(gateway.clone().serve(listener, stop.clone()));
    let seen = drive(rt, options, &authority, &gateway, &interrupted).await?;
    let metrics = load::get(options.net, rt, &authority, "/metrics").await?;

    // Nothing is in flight by now: what is lost here had been answered. That a stop waits for
    // answers is for the tests to show, in `tests/gateway/draining.rs`.
    stop.cancel();
    let cut_off = serving.await?;
    let mut lost = gateway.shutdown().await;
    if cut_off > 0 {
        lost.push(format!("{cut_off} connections had to be cut off"));
    }
    lost.extend(log.close().await.err());
    behind.cancel();

    if interrupted.is_cancelled() {
        println!("interrupted; drained");
    }
    println!("\n{}", report::table(&seen));
    let counted = &gateway.counters;
    let lines = std::fs::read_to_string(&path)?;
    let counts = Counts {
        seen,
        decided: gateway.limits.counts(),
        server: (
            counted.value(Outcome::Admitted),
            counted.value(Outcome::Limited),
            counted.total(),
        ),
        metrics,
        parts: gateway.metrics(),
        log_lines: lines.lines().count() as u64,
        log_bytes: lines.len() as u64,
        upstream: origin.received(),
        lost,
        was_interrupted: interrupted.is_cancelled(),
    };
    let mismatches = report::mismatches(&counts, options);
    if options.access_log.is_none() {
        std::fs::remove_file(&path)?;
    }
    if mismatches.is_empty() {
        println!(
            "every count agrees: {} requests, {} forwarded, {} limited, {} lines logged",
            counts.server.2, counts.server.0, counts.server.1, counts.log_lines
        );
    }
    for mismatch in &mismatches {
        eprintln!("mismatch: {mismatch}");
    }
    Ok(mismatches.is_empty())
}

/// Runs every client to its end, and says each second how it goes.
async fn drive(
    rt: &Handle,
    options: &Options,
    authority: &str,
    gateway: &Gateway,
    interrupted: &CancellationToken,
) -> Result<Vec<load::Seen>, Failure> {
    let key = options.key.clone().unwrap_or_default();
    let until = rt.now() + options.duration;
    let mut clients = Vec::new();
    for plan in load::plans(options.clients, options.rate, options.burst) {
        let client = load::drive(
            options.net,
            rt.clone(),
            authority.to_owned(),
            key.clone(),
            plan,
            until,
            interrupted.clone(),
        );
        clients.push(rt.spawn(client));
    }
    let mut ticks = rt.interval(Duration::from_secs(1))?;
    let progress = async {
        loop {
            if ticks.tick().await.is_err() {
                std::future::pending::<()>().await;
            }
            println!(
                "{:>8} admitted {:>8} limited",
                gateway.counters.value(Outcome::Admitted),
                gateway.counters.value(Outcome::Limited)
            );
        }
    };
    let finished = CancellationToken::new();
    let all = async {
        let _done = finished.clone().drop_guard();
        let mut seen = Vec::new();
        for client in clients {
            seen.push(client.await??);
        }
        Ok(seen)
    };
    let (seen, _) = futures_util::join!(all, finished.run_until_cancelled(progress));
    seen
}

fn own_upstream(origin: &Origin) -> Upstream {
    Upstream {
        authority: origin.addr.to_string(),
        prefix: String::new(),
    }
}
