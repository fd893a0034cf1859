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
    /// Lines in the access log.
    pub(crate) log_lines: u64,
    /// Requests that the upstream received.
    pub(crate) upstream: u64,
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
    let mut wrong = Vec::new();
    let sum = |of: fn(&Seen) -> u64| counts.seen.iter().map(of).sum::<u64>();
    let (sent, admitted, limited) = (sum(|c| c.sent), sum(|c| c.admitted), sum(|c| c.limited));
    let mut equal = |what: &str, saw: u64, other: &str, counted: u64| {
        if saw != counted {
            wrong.push(format!("clients saw {saw} {what}, {other} {counted}"));
        }
    };
    equal("admitted", admitted, "the server counted", counts.server.0);
    equal("limited", limited, "the server counted", counts.server.1);
    equal("answers", sent, "the server counted", counts.server.2);
    equal(
        "admitted",
        admitted,
        "the upstream received",
        counts.upstream,
    );
    equal(
        "answers",
        sent,
        "the access log has lines:",
        counts.log_lines,
    );
    for (outcome, saw) in [("admitted", admitted), ("limited", limited)] {
        let name = format!("flow_gateway_requests_total{{outcome=\"{outcome}\"}} ");
        let said = counts
            .metrics
            .lines()
            .find_map(|line| line.strip_prefix(name.as_str())?.parse().ok());
        equal(outcome, saw, "/metrics says", said.unwrap_or(u64::MAX));
    }
    for client in &counts.seen {
        wrong.extend(client_mismatches(client, counts, options));
    }
    wrong
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
    let admitted = client.admitted as f64;
    let least = (0.98 * supplied).min(client.sent as f64);
    if admitted > supplied || admitted < least.floor() {
        wrong.push(format!(
            "{name} was admitted {admitted} times; burst + rate x time is {supplied:.1}, so between \
             {least:.0} and {supplied:.0} were due"
        ));
    }
    wrong
}

fn millis(of: Duration) -> String {
    format!("{:.2} ms", of.as_secs_f64() * 1e3)
}
