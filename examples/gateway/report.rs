//! The table at the end, and the check that every count agrees.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use crate::load::Seen;
use crate::options::Options;

/// What the parts counted, to be compared.
pub(crate) struct Counts {
    /// What each client saw.
    pub(crate) seen: Vec<Seen>,
    /// What the server decided for each client: admitted, limited.
    pub(crate) decided: HashMap<String, (u64, u64)>,
    /// The server's counters: admitted, limited, all.
    pub(crate) server: (u64, u64, u64),
    /// The text of `/metrics` after the load.
    pub(crate) metrics: String,
    /// The same after the shutdown: what goes on behind the answers has ended.
    pub(crate) parts: String,
    /// Lines in the access log.
    pub(crate) log_lines: u64,
    /// Its length.
    pub(crate) log_bytes: u64,
    /// Requests that the upstream received.
    pub(crate) upstream: u64,
    /// What the shutdown lost, in words.
    pub(crate) lost: Vec<String>,
    /// The load was ended early: what it could not show is no fault.
    pub(crate) was_interrupted: bool,
}

/// The table, for people.
pub(crate) fn table(seen: &[Seen]) -> String {
    let mut text = format!(
        "{:<14}{:>9}{:>10}{:>9}{:>11}{:>11}\n",
        "client", "sent", "admitted", "limited", "p50", "p99"
    );
    for client in seen {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<14}{:>9}{:>10}{:>9}{:>11}{:>11}",
            client.plan.name,
            client.sent,
            client.admitted,
            client.limited,
            millis(client.p50),
            millis(client.p99)
        );
    }
    text
}

/// What does not agree, a line each; empty if all does.
pub(crate) fn mismatches(counts: &Counts, options: &Options) -> Vec<String> {
    let mut wrong: Vec<String> = counts
        .lost
        .iter()
        .map(|lost| format!("the shutdown lost something: {lost}"))
        .collect();
    let sum = |of: fn(&Seen) -> u64| counts.seen.iter().map(of).sum::<u64>();
    let (sent, admitted, limited) = (sum(|c| c.sent), sum(|c| c.admitted), sum(|c| c.limited));
    let mut equal = |what: &str, saw: u64, other: &str, counted: Option<u64>| {
        if counted != Some(saw) {
            let counted = counted.map_or("nothing".to_owned(), |counted| counted.to_string());
            wrong.push(format!("clients saw {saw} {what}, {other} {counted}"));
        }
    };
    let (by_outcome, lines) = (&counts.server, Some(counts.log_lines));
    equal(
        "admitted",
        admitted,
        "the server counted",
        Some(by_outcome.0),
    );
    equal("limited", limited, "the server counted", Some(by_outcome.1));
    equal("answers", sent, "the server counted", Some(by_outcome.2));
    equal(
        "admitted",
        admitted,
        "the upstream received",
        Some(counts.upstream),
    );
    equal("answers", sent, "the access log has lines:", lines);
    for (outcome, saw) in [("admitted", admitted), ("limited", limited)] {
        let series = format!("flow_gateway_requests_total{{outcome=\"{outcome}\"}}");
        let said = value(&counts.metrics, &series);
        equal(outcome, saw, "/metrics says", said);
    }
    // What flow's parts counted for themselves. Every request of the load is signed.
    for (what, saw, part, series) in [
        (
            "admitted",
            admitted,
            "the concurrency limiter granted",
            GRANTED,
        ),
        ("answers", sent, "the log's channel received", LOG_RECEIVED),
    ] {
        equal(what, saw, part, value(&counts.parts, series));
    }
    // The scheduler's runs are the pool's other tasks.
    let checked = value(&counts.parts, POOL_COMPLETED)
        .zip(value(&counts.parts, RUNS))
        .and_then(|(tasks, runs)| tasks.checked_sub(runs));
    equal(
        "answers",
        sent,
        "signatures that the pool checked:",
        checked,
    );
    let (granted, denied) = if options.redis.is_some() {
        (REDIS_GRANTED, REDIS_DENIED)
    } else {
        (CLIENTS_GRANTED, CLIENTS_DENIED)
    };
    for (what, saw, part, series) in [
        (
            "admitted",
            admitted,
            "the clients' limiter granted",
            granted,
        ),
        ("limited", limited, "the clients' limiter denied", denied),
    ] {
        equal(what, saw, part, value(&counts.parts, series));
    }
    let written = value(&counts.parts, LOG_WRITTEN);
    if written != Some(counts.log_bytes) {
        let written = written.unwrap_or_default();
        let bytes = counts.log_bytes;
        wrong.push(format!(
            "the access log has {bytes} bytes, its writer wrote {written}"
        ));
    }
    for client in &counts.seen {
        wrong.extend(client_mismatches(client, counts, options));
    }
    wrong
}

pub(crate) const POOL_COMPLETED: &str =
    "flow_sched_pool_ended_total{pool=\"signatures\",outcome=\"completed\"}";
pub(crate) const RUNS: &str =
    "flow_sched_runs_total{scheduler=\"housekeeping\",outcome=\"completed\"}";
pub(crate) const GRANTED: &str =
    "flow_ratelimit_decisions_total{limiter=\"in-flight\",decision=\"granted\"}";
pub(crate) const CLIENTS_GRANTED: &str =
    "flow_ratelimit_decisions_total{limiter=\"clients\",decision=\"granted\"}";
pub(crate) const CLIENTS_DENIED: &str =
    "flow_ratelimit_decisions_total{limiter=\"clients\",decision=\"denied\"}";
pub(crate) const LOG_RECEIVED: &str = "flow_stream_channel_received_total{channel=\"access-log\"}";
pub(crate) const LOG_WRITTEN: &str =
    "flow_stream_writer_written_bytes_total{writer=\"access-log\"}";
pub(crate) const REDIS_GRANTED: &str =
    "flow_redis_decisions_total{limiter=\"gateway\",decision=\"granted\",source=\"remote\"}";
pub(crate) const REDIS_DENIED: &str =
    "flow_redis_decisions_total{limiter=\"gateway\",decision=\"denied\",source=\"remote\"}";

/// The value of one series in a text of metrics.
fn value(metrics: &str, series: &str) -> Option<u64> {
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(series));
    values.next()?.trim().parse().ok()
}

fn client_mismatches(client: &Seen, counts: &Counts, options: &Options) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = &client.plan.name;
    if !client.other.is_empty() {
        let first = &client.other[0];
        wrong.push(format!(
            "{name} got {} unexpected answers, first {first}",
            client.other.len()
        ));
    }
    if client.sent == 0 && !counts.was_interrupted {
        wrong.push(format!("{name} sent nothing"));
    }
    let decided = counts.decided.get(name).copied().unwrap_or_default();
    if decided != (client.admitted, client.limited) {
        wrong.push(format!(
            "{name} saw {} admitted and {} limited, the server decided {} and {}",
            client.admitted, client.limited, decided.0, decided.1
        ));
    }
    if !client.plan.abusive {
        if client.limited > 0 {
            wrong.push(format!(
                "{name} is polite and was limited {} times",
                client.limited
            ));
        }
        return wrong;
    }
    // Tokens that exist between the first request and the last answer.
    let supplied = options.burst as f64 + options.rate as f64 * client.time.as_secs_f64();
    let (admitted, sent) = (client.admitted as f64, client.sent as f64);
    if sent <= supplied && !counts.was_interrupted {
        wrong.push(format!(
            "could not drive {name} above its rate: it sent {sent}, and burst + rate x time is \
             {supplied:.1}, so nothing was shown; a longer --duration, or less --burst or --rate, \
             shows it"
        ));
    }
    let least = (0.98 * client.found).floor();
    if admitted > supplied || admitted < least {
        wrong.push(format!(
            "{name} was admitted {admitted} times; burst + rate x time is {supplied:.1}, so between \
             {least} and {} were due",
            supplied.floor()
        ));
    }
    wrong
}

fn millis(of: Duration) -> String {
    format!("{:.2} ms", of.as_secs_f64() * 1e3)
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
